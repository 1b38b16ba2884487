package recording_test

import (
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
