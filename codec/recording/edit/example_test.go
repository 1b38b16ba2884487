package edit_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/edit"
	"tickfeed/codec/recording/place"
	"tickfeed/feed"
)

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
	if _, err := edit.Join(context.Background(), file, readers[1].Header().Lineage, readers, nil); err != nil {
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
	in, day := reading("../../../testdata/day.tick")
	defer in.Close()
	file, err := recording.CreateNew(path)
	if err != nil {
		return err
	}
	var cfg edit.CutConfig
	if cfg.From, err = place.Parse(from, nil); err != nil {
		return err
	}
	if cfg.To, err = place.Parse(to, nil); err != nil {
		return err
	}
	_, err = edit.Cut(context.Background(), file, day, cfg)
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

// Two recordings of one market, one of quotes and one of trades, become one recording in the order of their times.
func ExampleMerge() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	const noon = 1_772_461_800_000_000_000
	var readers []*recording.Reader
	for name, ticks := range map[string][]feed.Tick{
		"quotes.tick": {
			feed.Quote{Bid: 27090, BidSize: 40, Ask: 27096, AskSize: 80}.Tick(0, noon+1e6),
			feed.Quote{Bid: 27091, BidSize: 60, Ask: 27096, AskSize: 80}.Tick(0, noon+3e6),
		},
		"trades.tick": {feed.Trade{Price: 27096, Size: 10}.Tick(0, noon+2e6)},
	} {
		path := filepath.Join(dir, name)
		if err := record(path, noon, ticks); err != nil {
			log.Fatal(err)
		}
		in, reader := reading(path)
		defer in.Close()
		readers = append(readers, reader)
	}

	path := filepath.Join(dir, "both.tick")
	file, err := recording.CreateNew(path)
	if err != nil {
		log.Fatal(err)
	}
	h := codec.FileHeader{Lineage: feed.Lineage{{ID: feed.NewSessionID(), First: 1}}, Source: "quotes and trades", Next: 1}
	if _, err := edit.Merge(context.Background(), file, h, readers, place.MarketClock, nil); err != nil {
		log.Fatal(err)
	}
	list(path)
	// Output:
	// 1 definition
	// 2 quote
	// 3 trade
	// 4 quote
}

// record writes ticks of one instrument to path, and its definition before them.
func record(path string, at int64, ticks []feed.Tick) error {
	file, err := recording.CreateNew(path)
	if err != nil {
		return err
	}
	builder, err := recording.NewBuilder(file, codec.FileHeader{Lineage: feed.Lineage{{ID: feed.NewSessionID(), First: 1}}, Next: 1}, nil)
	if err != nil {
		return err
	}
	define := feed.Tick{Kind: feed.KindDefinition, EventTime: at, Extra: &feed.Extra{Definition: &feed.Definition{Symbol: "AAPL", PriceExponent: -2}}}
	if err := builder.Append(append([]feed.Tick{define}, ticks...)); err != nil {
		return err
	}
	return builder.Close()
}

// The quote of an instrument in the middle of a recorded day.
func ExampleStateAt() {
	in, day := reading("../../../testdata/day.tick")
	defer in.Close()
	at, err := place.Parse("14:45", nil)
	if err != nil {
		log.Fatal(err)
	}
	moment, err := edit.StateAt(context.Background(), day, at, place.MarketClock, nil)
	if err != nil {
		log.Fatal(err)
	}
	id, _ := moment.State.Lookup("AAPL", "XNAS")
	aapl, _ := moment.State.Instrument(id)
	fmt.Println("as of number", moment.Next, "AAPL is", aapl.Definition.Price(aapl.Quote.Bid), "to", aapl.Definition.Price(aapl.Quote.Ask))
	// Output:
	// as of number 966 AAPL is 269.68 to 270.32
}

// The ticks of a recording are read without their numbers, as a publisher takes them from any other source.
func ExampleNewSource() {
	in, day := reading("../../../testdata/day.tick")
	defer in.Close()
	source := edit.NewSource(day)
	defer source.Close()
	batch := make([]feed.Tick, 512)
	for {
		n, err := source.Next(context.Background(), batch)
		if n == 0 && err != nil { // io.EOF at the end
			break
		}
	}
	fmt.Println(source.Stats().Ticks, "ticks")
	// Output:
	// 7848 ticks
}

// list prints the numbers and kinds of the ticks of a recording.
func list(path string) {
	for part, err := range recording.Parts(path) {
		if err != nil {
			log.Fatal(err)
		}
		for i := range part.Ticks {
			fmt.Println(part.Ticks[i].Seq, part.Ticks[i].Kind)
		}
	}
}
