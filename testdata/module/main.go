// Command prices prints the quotes of a tickfeed publisher, from a module of its own: prices [HOST:PORT].
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"

	"tickfeed/feed"
	"tickfeed/subscriber"
)

func main() {
	addr := "localhost:8425"
	if len(os.Args) > 1 {
		addr = os.Args[1]
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	sub, err := subscriber.New(subscriber.Config{Addrs: []string{addr}, Start: subscriber.Beginning})
	if err != nil {
		log.Fatal(err)
	}
	for t, err := range sub.Ticks(ctx) {
		switch {
		case ctx.Err() != nil:
			fmt.Fprint(os.Stderr, sub.Ledger())
			return
		case err != nil:
			log.Fatal(err)
		case t.Kind == feed.KindQuote:
			fmt.Println(t.Seq, t.Symbol, t.Price(t.Quote().Bid), t.Price(t.Quote().Ask))
		}
	}
}
