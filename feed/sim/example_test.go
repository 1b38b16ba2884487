package sim_test

import (
	"context"
	"fmt"
	"time"

	"tickfeed/feed"
	"tickfeed/feed/sim"
)

// A market runs at a hundred times its own pace: the publishing program waits before each tick until its event
// time, counted from the first one, divided by the speed.
func ExampleNew() {
	market, err := sim.New(sim.Config{Seed: 1, Instruments: 2, Rate: 100})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer market.Close()

	const speed = 100
	batch := make([]feed.Tick, 8)
	n, err := market.Next(context.Background(), batch)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range batch[:n] {
		tick := &batch[i]
		due := time.Duration(tick.EventTime-batch[0].EventTime) / speed
		fmt.Printf("%-11v %v of instrument %d\n", due, tick.Kind, tick.Instrument)
	}
	// Output:
	// 0s          definition of instrument 0
	// 0s          definition of instrument 1
	// 0s          status of instrument 0
	// 0s          status of instrument 1
	// 10ms        status of instrument 0
	// 10ms        status of instrument 1
	// 10.106638ms quote of instrument 1
	// 12.818735ms quote of instrument 0
}
