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
	path := filepath.Join(dir, "noon.tick")
	if err := cutDay(path, "seq:4000", "seq:4100"); err != nil {
		log.Fatal(err)
	}
	in, reader := reading(path)
	defer in.Close()
	fmt.Println("numbers from", reader.Header().Next)
	// Output:
	// numbers from 4000
}

// Recordings of one session that overlap become one.
func ExampleJoin() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var readers []*recording.Reader
	for _, part := range [][2]string{{"seq:1", "seq:60"}, {"seq:50", "seq:101"}} {
		path := filepath.Join(dir, part[0]+".tick")
		if err := cutDay(path, part[0], part[1]); err != nil {
			log.Fatal(err)
		}
		in, reader := reading(path)
		defer in.Close()
		readers = append(readers, reader)
	}
	file, err := recording.CreateNew(filepath.Join(dir, "whole.tick"))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := recording.Join(context.Background(), file, readers[1].Header().Lineage, readers, nil); err != nil {
		log.Fatal(err)
	}
	ticks := 0
	for part, err := range recording.Parts(filepath.Join(dir, "whole.tick")) {
		if err != nil {
			log.Fatal(err)
		}
		ticks += len(part.Ticks)
	}
	fmt.Println(ticks, "ticks")
	// Output:
	// 100 ticks
}

// cutDay writes a part of the day in testdata to path.
func cutDay(path, from, to string) error {
	in, day := reading("../../testdata/day.tick")
	defer in.Close()
	file, err := recording.CreateNew(path)
	if err != nil {
		return err
	}
	var cfg recording.CutConfig
	if cfg.From, err = recording.ParsePlace(from, nil); err != nil {
		return err
	}
	if cfg.To, err = recording.ParsePlace(to, nil); err != nil {
		return err
	}
	_, err = recording.Cut(context.Background(), file, day, cfg)
	return err
}

// reading opens a recording. The caller must close the input.
func reading(path string) (*recording.Input, *recording.Reader) {
	in, err := recording.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	reader, err := in.Reader()
	if err != nil {
		log.Fatal(err)
	}
	return in, reader
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
