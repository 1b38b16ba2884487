package simulation_test

import (
	"fmt"
	"log"

	"tickfeed/cmd/simulation"
	"tickfeed/feed"
)

// A recording is read by the text of the protocol alone.
func ExampleReadRecordings() {
	var trades, volume int64
	recorded, err := simulation.ReadRecordings(func(r *simulation.Record) error {
		if r.Tick.Kind == feed.KindTrade && r.Definition.Symbol == "AAPL" {
			trades++
			volume += r.Tick.Trade().Size
		}
		return nil
	}, "../../testdata/day.tick")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(trades, "trades of", volume, "and the next number is", recorded.Next)
	// Output:
	// 211 trades of 19976 and the next number is 7849
}
