package recording_test

import (
	"fmt"

	"tickfeed/codec/recording"
	"tickfeed/feed"
)

// The trades of one symbol in a recording are counted, and their volume-weighted price is computed.
func ExampleParts() {
	var trades, volume, notional int64
	var aapl *feed.Definition
	for part, err := range recording.Parts("../../testdata/day.tick") {
		if err != nil {
			fmt.Println(err)
			return
		}
		for i := range part.Ticks {
			t := &part.Ticks[i]
			d := part.Definition(t.Instrument)
			if t.Kind == feed.KindTrade && d.Symbol == "AAPL" {
				aapl = d
				trades++
				volume += t.Trade().Size
				notional += t.Trade().Price * t.Trade().Size
			}
		}
	}
	fmt.Println(trades, "trades of", aapl.Size(volume), "at", aapl.Price(notional/volume), "on average")
	// Output:
	// 211 trades of 19976 at 270.89 on average
}
