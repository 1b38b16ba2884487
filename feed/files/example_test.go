package files_test

import (
	"context"
	"fmt"
	"io"
	"strings"

	"tickfeed/feed"
	"tickfeed/feed/files"
)

// Ticks are read from standard input, whatever format it has.
func ExampleOpen() {
	stdin := strings.NewReader("time,symbol,bid,bid_size,ask,ask_size\n2026-03-02T14:30:00Z,AAPL,187.25,300,187.26,500\n")
	src, err := files.Open([]string{"-"}, stdin, files.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer src.Close()
	state, batch := feed.NewState(), make([]feed.Tick, 256)
	for {
		n, err := src.Next(context.Background(), batch)
		if err == io.EOF {
			return
		} else if err != nil {
			fmt.Println(err)
			return
		}
		for i := range batch[:n] {
			t := &batch[i]
			if err := state.Apply(t); err != nil {
				fmt.Println(err)
			}
			if d, ok := state.Definition(t.Instrument); ok && t.Kind == feed.KindQuote {
				fmt.Println(d.Name(), d.Price(t.Quote().Bid), d.Price(t.Quote().Ask))
			}
		}
	}
	// Output:
	// AAPL 187.25 187.26
}
