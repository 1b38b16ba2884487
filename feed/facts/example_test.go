package facts_test

import (
	"context"
	"errors"
	"fmt"
	"io"

	"tickfeed/feed"
	"tickfeed/feed/facts"
	"tickfeed/feed/sim"
)

// The simulated market is examined like a recording: here whether the sides of its orders have a memory.
func Example() {
	market, err := sim.New(sim.Config{Seed: 1, Instruments: 5, Rate: 20, Days: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer market.Close()
	m := facts.New(0, 1, 2, 3, 4)
	for batch := make([]feed.Tick, 256); ; {
		n, err := market.Next(context.Background(), batch)
		m.Add(batch[:n])
		if errors.Is(err, io.EOF) {
			break
		}
	}
	report := m.Report()
	for _, row := range facts.Rows {
		if v, n := report.Median(row.ID); row.ID == "7a" || row.ID == "7c" {
			fmt.Printf("%s: %.3f, the median of %d, want %v\n", row.Name, v, n, row.Range)
		}
	}
	// Output:
	// of trade signs, 1 trade later: 0.675, the median of 5, want 0.55 to 0.85
	// of trade signs, 10 trades later: 0.238, the median of 5, want 0.15 to 0.6
}
