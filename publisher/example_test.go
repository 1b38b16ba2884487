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
