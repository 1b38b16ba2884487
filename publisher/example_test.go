package publisher_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"sync"
	"time"

	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/subscriber"
)

// A publisher of one instrument, and a subscriber that reads its feed from the beginning.
func Example() {
	pub, err := publisher.New(publisher.Config{}) // with Journal, it survives being killed
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { _ = pub.Serve(ctx, listener) })

	aapl, err := pub.Define(ctx, feed.Definition{Symbol: "AAPL", PriceExponent: -2, Currency: "USD"})
	if err != nil {
		log.Fatal(err)
	}
	now := time.Now().UnixNano()
	err = pub.Publish(ctx, []feed.Tick{
		feed.Quote{Bid: 27090, BidSize: 40, Ask: 27096, AskSize: 80}.Tick(aapl, now),
		feed.Trade{Price: 27096, Size: 10, Side: feed.SideBuy}.Tick(aapl, now),
	})
	if err != nil {
		log.Fatal(err)
	}

	sub, err := subscriber.New(subscriber.Config{
		Addrs: []string{listener.Addr().String()},
		Start: subscriber.Beginning,
	})
	if err != nil {
		log.Fatal(err)
	}
	for tick, err := range sub.Ticks(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		switch tick.Kind {
		case feed.KindQuote:
			q := tick.Quote()
			fmt.Println(tick.Seq, tick.Symbol, "quote", tick.Price(q.Bid), "x", tick.Size(q.BidSize), "|", tick.Price(q.Ask), "x", tick.Size(q.AskSize))
		case feed.KindTrade:
			trade := tick.Trade()
			fmt.Println(tick.Seq, tick.Symbol, "trade", tick.Price(trade.Price), "x", tick.Size(trade.Size))
		}
		if tick.Seq == 3 {
			break
		}
	}
	fmt.Println(sub.Ledger().Totals().Delivered, "delivered")

	stop()
	serving.Wait()
	if err := pub.Close(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 2 AAPL quote 270.9 x 40 | 270.96 x 80
	// 3 AAPL trade 270.96 x 10
	// 3 delivered
}

// Recorded ticks keep their numbers, and numbers that were not recorded are reported as not asked for.
func ExampleNewRecorded() {
	ctx := context.Background()
	pub, err := publisher.NewRecorded(publisher.Config{}, publisher.Origin{Session: 0x20261122a, First: 1})
	if err != nil {
		log.Fatal(err)
	}
	const noon = 1_772_461_800_000_000_000
	definition := feed.Tick{Kind: feed.KindDefinition, EventTime: noon, Extra: &feed.Extra{Definition: &feed.Definition{Symbol: "AAPL"}}}
	definition.Seq = 1
	trade := feed.Trade{Price: 27096, Size: 10}.Tick(0, noon)
	trade.Seq = 41
	if err := pub.Republish(ctx, []feed.Tick{definition, trade}, 42); err != nil {
		log.Fatal(err)
	}
	_, next := pub.State()
	fmt.Println("the next number is", next)
	if err := pub.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// the next number is 42
}
