package feed_test

import (
	"fmt"

	"tickfeed/feed"
)

// Ticks are folded into the state of their instruments.
func ExampleState() {
	state := feed.NewState()
	const aapl, noon = 0, 1_767_700_800_000_000_000
	for _, t := range []feed.Tick{
		{Kind: feed.KindDefinition, Instrument: aapl, Extra: &feed.Extra{Definition: &feed.Definition{Symbol: "AAPL", PriceExponent: -2}}},
		feed.Quote{Bid: 18725, BidSize: 300, Ask: 18726, AskSize: 500}.Tick(aapl, noon),
		feed.Trade{Price: 18726, Size: 100}.Tick(aapl, noon+1),
		feed.Trade{Price: 18720, Size: 50}.Tick(aapl, noon+2),
	} {
		if err := state.Apply(&t); err != nil {
			panic(err)
		}
	}
	id, _ := state.Lookup("AAPL", "")
	in, _ := state.Instrument(id)
	d := in.Definition
	fmt.Println(d.Symbol, d.Price(in.Quote.Bid), d.Price(in.Quote.Ask), "low", d.Price(in.Summary.Low), "volume", d.Size(in.Summary.Volume))
	// Output:
	// AAPL 187.25 187.26 low 187.2 volume 150
}
