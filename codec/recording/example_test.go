package recording_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"tickfeed/codec"
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

// A part of a recording becomes a recording of its own, which begins with the state there.
func ExampleCut() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	day, err := recording.Open("../../testdata/day.tick")
	if err != nil {
		log.Fatal(err)
	}
	defer day.Close()
	path := filepath.Join(dir, "noon.tick")
	file, err := recording.CreateNew(path)
	if err != nil {
		log.Fatal(err)
	}
	from, err := recording.ParsePlace("seq:4000", nil)
	if err != nil {
		log.Fatal(err)
	}
	to, err := recording.ParsePlace("seq:4100", nil)
	if err != nil {
		log.Fatal(err)
	}
	reader, err := day.Reader()
	if err != nil {
		log.Fatal(err)
	}
	_, err = recording.Cut(context.Background(), file, reader, recording.CutConfig{From: from, To: to, Filter: codec.Filter{"AAPL"}})
	if err != nil {
		log.Fatal(err)
	}
	trades := 0
	for part, err := range recording.Parts(path) {
		if err != nil {
			log.Fatal(err)
		}
		for i := range part.Ticks {
			if part.Ticks[i].Kind == feed.KindTrade {
				trades++
			}
		}
	}
	fmt.Println(trades, "trades")
	// Output:
	// 4 trades
}

// A recording of ticks is made: the builder numbers and packs them.
func ExampleNewBuilder() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "mine.tick")
	file, err := recording.CreateNew(path)
	if err != nil {
		log.Fatal(err)
	}
	const noon = 1_772_461_800_000_000_000
	builder, err := recording.NewBuilder(file, codec.FileHeader{
		Version: codec.Version, Lineage: feed.Lineage{{ID: feed.NewSessionID(), First: 1}}, Source: "an example", Next: 1, Created: noon,
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	err = builder.Append([]feed.Tick{
		{Kind: feed.KindDefinition, EventTime: noon, Extra: &feed.Extra{Definition: &feed.Definition{Symbol: "AAPL", PriceExponent: -2}}},
		feed.Quote{Bid: 27090, BidSize: 40, Ask: 27096, AskSize: 80}.Tick(0, noon),
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := builder.Close(); err != nil {
		log.Fatal(err)
	}
	for part, err := range recording.Parts(path) {
		if err != nil {
			log.Fatal(err)
		}
		for i := range part.Ticks {
			fmt.Println(part.Ticks[i].Seq, part.Ticks[i].Kind)
		}
	}
	// Output:
	// 1 definition
	// 2 quote
}
