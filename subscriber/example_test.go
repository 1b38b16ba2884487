package subscriber_test

import (
	"context"
	"fmt"
	"net"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
	"tickfeed/subscriber"
)

// A subscriber takes each tick from an iterator. Here the publisher sends one definition and two quotes, and cuts the
// connection between them; the loop does not notice.
func ExampleSubscriber_Ticks() {
	network := netsim.New(1, netsim.Config{})
	ln, err := network.Listen("pub:8425")
	if err != nil {
		panic(err)
	}
	go publish(ln)

	s, err := subscriber.New(subscriber.Config{Addrs: []string{"pub:8425"}, Dial: network.Dial})
	if err != nil {
		panic(err)
	}
	for tick, err := range s.Ticks(context.Background()) {
		if err != nil {
			panic(err)
		}
		fmt.Println(tick.Seq, tick.Kind)
		if tick.Seq == 3 {
			break
		}
	}
	ln.Close()
	fmt.Print(s.Ledger())
	// Output:
	// 1 definition
	// 2 quote
	// 3 quote
	// session 000000020261122a
	//   delivered         3  [1, 4)
}

// A program that wants more than ticks gives a function for each thing: here the reports of recoveries, and each quote with the
// state of its instrument.
func ExampleHandler() {
	network := netsim.New(1, netsim.Config{})
	ln, err := network.Listen("pub:8425")
	if err != nil {
		panic(err)
	}
	go publish(ln)

	s, err := subscriber.New(subscriber.Config{Addrs: []string{"pub:8425"}, Dial: network.Dial})
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	err = s.Run(ctx, subscriber.Handler{
		Ticks: func(b *subscriber.Batch) error {
			for i := range b.Ticks {
				t := &b.Ticks[i]
				if d, ok := b.State.Definition(t.Instrument); ok && t.Kind == feed.KindQuote {
					fmt.Println(t.Seq, d.Symbol, d.Price(t.Quote().Bid), d.Price(t.Quote().Ask))
				}
				if t.Seq == 3 {
					stop()
				}
			}
			return nil
		},
		Recovery: func(r *subscriber.Report) error {
			fmt.Println("recovered from:", r.Cause, "by", r.Resume)
			return nil
		},
	}.Handle)
	ln.Close()
	fmt.Println(err)
	// Output:
	// 2 AAPL 187.25 187.26
	// 3 AAPL 187.24 187.26
	// recovered from: cut by replay
	// context canceled
}

// publish stands for a real publisher.
func publish(ln net.Listener) {
	lineage := feed.Lineage{{ID: 0x20261122a, First: 1}}
	seed := codec.LineSeed(lineage[0].ID, nil)
	ticks := []feed.Tick{
		{Kind: feed.KindDefinition, Extra: &feed.Extra{Definition: &feed.Definition{Symbol: "AAPL", PriceExponent: -2}}},
		feed.Quote{Bid: 18725, BidSize: 300, Ask: 18726, AskSize: 500}.Tick(0, 0),
		feed.Quote{Bid: 18724, BidSize: 100, Ask: 18726, AskSize: 500}.Tick(0, 0),
	}
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		_, raw, _ := codec.NewReader(conn, 0).Next()
		hello, _ := codec.Decode(raw)
		w := &codec.Welcome{Version: 1, Lineage: lineage, Head: 4, Tail: 1, Heartbeat: 1e9, Seed: seed, Start: 1}
		if next := hello.(*codec.Hello).Position.Next; next > 0 {
			w.Start, w.Reason = next, codec.StartedResumed
		}
		out, _ := codec.Append(nil, w)
		for seq := w.Start; seq < 4; seq++ {
			body := codec.AppendTick(nil, &ticks[seq-1], 0)
			out = codec.AppendPacket(out, &codec.Packet{First: seq, Count: 1}, body, seed)
			if seq == 2 {
				break
			}
		}
		conn.Write(out)
		conn.Close()
	}
}

// The fast way: the handler is given the ticks of each packet at once, together with the state after them.
func ExampleSubscriber_Run() {
	network := netsim.New(1, netsim.Config{})
	ln, err := network.Listen("pub:8425")
	if err != nil {
		panic(err)
	}
	go publish(ln)

	s, err := subscriber.New(subscriber.Config{Addrs: []string{"pub:8425"}, Dial: network.Dial, Start: subscriber.Beginning})
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	err = s.Run(ctx, func(b *subscriber.Batch) error {
		for i := range b.Ticks {
			if t := &b.Ticks[i]; t.Kind == feed.KindQuote {
				d, _ := b.State.Definition(t.Instrument)
				fmt.Println(t.Seq, d.Symbol, d.Price(t.Quote().Bid))
			}
			if b.Ticks[i].Seq == 3 {
				stop()
			}
		}
		return nil
	})
	ln.Close()
	fmt.Println(err)
	// Output:
	// 2 AAPL 187.25
	// 3 AAPL 187.24
	// context canceled
}
