package codec_test

import (
	"bytes"
	"fmt"
	"io"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A stream is split into messages, and the ticks of its packets are decoded.
func ExampleReader() {
	const noon = 1_767_700_800_000_000_000
	session := feed.SessionID(0x20261122a)
	seed := codec.LineSeed(session, nil)
	quote := feed.Quote{Bid: 18725, BidSize: 300, Ask: 18726, AskSize: 500}.Tick(7, noon)
	body := codec.AppendTick(nil, &quote, noon)
	stream := codec.AppendPacket(nil, &codec.Packet{First: 41, Count: 1, PublishTime: noon, Base: noon}, body, seed)
	stream, err := codec.Append(stream, &codec.Heartbeat{Covered: 42, Head: 42})
	if err != nil {
		panic(err)
	}

	r := codec.NewReader(bytes.NewReader(stream), 0)
	batch := make([]feed.Tick, 256)
	for {
		typ, raw, err := r.Next()
		if err == io.EOF {
			return
		} else if err != nil {
			panic(err)
		}
		if typ != codec.TypePacket {
			m, err := codec.Decode(raw)
			fmt.Printf("%v %+v %v\n", typ, m, err)
			continue
		}
		if !codec.VerifyPacket(raw, seed) {
			panic("damaged, or of another line")
		}
		h, body, err := codec.ParsePacket(raw)
		if err != nil {
			panic(err)
		}
		ticks := codec.PacketBody(&h, body)
		for n := 1; n > 0; {
			if n, err = ticks.Decode(batch); err != nil {
				panic(err)
			}
			for _, t := range batch[:n] {
				fmt.Println(t.Seq, t.Kind, "of instrument", t.Instrument, t.Quote().Bid, t.Quote().Ask)
			}
		}
	}
	// Output:
	// 41 quote of instrument 7 18725 18726
	// heartbeat &{Covered:42 Head:42 Now:0} <nil>
}

// A filter is a list of patterns, in one order and without those that others include.
func ExampleNewFilter() {
	filter, err := codec.NewFilter([]string{"ES*", "AAPL", "ES*"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(filter, filter.Match(&feed.Definition{Symbol: "ESH6"}), filter.Match(&feed.Definition{Symbol: "MSFT"}))
	// Output:
	// [AAPL ES*] true false
}
