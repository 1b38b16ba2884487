package recording_test

import (
	"context"
	"errors"
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
	list(path)
	// Output:
	// 1 definition
	// 2 quote
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
	if _, err := recording.Merge(context.Background(), file, h, readers, recording.MarketClock, nil); err != nil {
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

// list prints the numbers and kinds of the ticks of a recording, and how many it lacks.
func list(path string) {
	for part, err := range recording.Parts(path) {
		var missing *recording.MissingError
		if errors.As(err, &missing) {
			fmt.Println(missing.Stats.Gone, "are gone")
			return
		} else if err != nil {
			log.Fatal(err)
		}
		for i := range part.Ticks {
			fmt.Println(part.Ticks[i].Seq, part.Ticks[i].Kind)
		}
	}
}

// sealed returns the packet of one tick of a session.
func sealed(seq uint64, t feed.Tick, seed uint32) []byte {
	body := codec.AppendTick(nil, &t, t.EventTime)
	return codec.AppendPacket(nil, &codec.Packet{First: seq, Count: 1, PublishTime: t.EventTime, Base: t.EventTime}, body, seed)
}

// A writer appends packets that are sealed already, as a journal does.
func ExampleNewWriter() {
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
	const session, noon = 0x20261122a, 1_772_461_800_000_000_000
	seed := codec.LineSeed(session, nil)
	h := codec.FileHeader{Version: codec.Version, Lineage: feed.Lineage{{ID: session, First: 1}}, Seed: seed, Next: 1, Created: noon}
	w, err := recording.NewWriter(file, h, nil)
	if err != nil {
		log.Fatal(err)
	}
	for seq := w.Next(); seq <= 3; seq++ {
		quote := feed.Quote{Bid: 27090, BidSize: 40, Ask: 27096, AskSize: 80}.Tick(0, noon+int64(seq))
		if err := w.Append(sealed(seq, quote, seed), seq+1, quote.EventTime); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("next:", w.Next())
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}
	list(path)
	// Output:
	// next: 4
	// 1 quote
	// 2 quote
	// 3 quote
}

// A recorder writes what a subscriber receives. Here the line loses numbers 3 and 4, so the recording lists them as gone.
func ExampleNewRecorder() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "received.tick")
	const session, noon = 0x20261122a, 1_772_461_800_000_000_000
	recorder := recording.NewRecorder(recording.RecorderConfig{
		Create: func(int) (recording.File, error) { return recording.CreateNew(path) },
		Now:    func() int64 { return noon },
	})

	seed := codec.LineSeed(session, nil)
	h := codec.FileHeader{Version: codec.Version, Lineage: feed.Lineage{{ID: session, First: 1}}, Seed: seed, Next: 1}
	state := feed.NewState()
	receive := func(seqs feed.Range) {
		for seq := seqs.From; seq < seqs.To; seq++ {
			p := sealed(seq, feed.Trade{Price: 27096, Size: 10}.Tick(0, noon+int64(seq)), seed)
			if err := recorder.Before(codec.PacketAt(p), state); err != nil {
				log.Fatal(err)
			}
			if err := recorder.Packet(p); err != nil {
				log.Fatal(err)
			}
		}
	}
	if err := recorder.Begin(h, state, feed.Range{}); err != nil {
		log.Fatal(err)
	}
	receive(feed.Range{From: 1, To: 3})
	h.Next = 5 // after a reconnect
	if err := recorder.Begin(h, state, feed.Range{From: 3, To: 5}); err != nil {
		log.Fatal(err)
	}
	receive(feed.Range{From: 5, To: 6})
	if err := recorder.Close(); err != nil {
		log.Fatal(err)
	}

	list(path)
	// Output:
	// 1 trade
	// 2 trade
	// 5 trade
	// 2 are gone
}
