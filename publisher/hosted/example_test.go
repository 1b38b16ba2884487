package hosted_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"time"

	"tickfeed/codec/lab"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/hosted"
)

// A publisher is killed and started again over its journal: the numbering goes on.
func Example() {
	ctx := context.Background()
	network := netsim.New(1, netsim.Config{})
	p, err := hosted.New(ctx, hosted.Config{
		Publisher: publisher.Config{Sleep: time.Sleep},
		Listen:    func(life uint64) (net.Listener, error) { return network.Listen(fmt.Sprintf("pub:%d", life)) },
		Dial:      network.Dial,
	})
	if err != nil {
		log.Fatal(err)
	}
	define := func(symbol string) {
		err := p.Do(ctx, func(pub *publisher.Publisher) error {
			_, err := pub.Define(ctx, feed.Definition{Symbol: symbol})
			if err == nil {
				err = pub.Flush(ctx)
			}
			fmt.Println(symbol, "published, next", pub.Stats().Head, "in session", len(pub.Lineage()))
			return err
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	define("AAPL")
	if err := p.Kill(); err != nil {
		log.Fatal(err)
	}
	if err := p.Start(ctx, lab.SameJournal); err != nil {
		log.Fatal(err)
	}
	define("MSFT")
	if err := p.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// AAPL published, next 2 in session 1
	// MSFT published, next 3 in session 2
}
