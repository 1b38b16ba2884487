package itch_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"tickfeed/feed"
	"tickfeed/feed/files/itch"
)

// Orders make quotes, and an execution makes a trade. The date is that in the name of the file.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "01302020.NASDAQ_ITCH50")
	var w writer
	w.add(1, 10, 'B', 300, 1872500).add(2, 11, 'S', 500, 1872600)
	w.order('E', 3, 11, 31, 100, 901) // 100 of the order to sell are executed
	if err := os.WriteFile(path, w, 0o600); err != nil {
		log.Fatal(err)
	}

	src, err := itch.Open([]string{path}, itch.Config{QuotesOnly: true})
	if err != nil {
		log.Fatal(err)
	}
	defer src.Close()
	var d *feed.Definition
	for batch := make([]feed.Tick, 64); ; {
		n, err := src.Next(context.Background(), batch)
		for i := range batch[:n] {
			switch t := &batch[i]; t.Kind {
			case feed.KindDefinition:
				d = t.Definition()
				fmt.Println(d.Name())
			case feed.KindQuote:
				q := t.Quote()
				fmt.Printf("quote %s x %s, %s x %s\n", d.Price(q.Bid), d.Size(q.BidSize), d.Price(q.Ask), d.Size(q.AskSize))
			case feed.KindTrade:
				fmt.Println("trade", t.Side, d.Price(t.Trade().Price), d.Size(t.Trade().Size))
			}
		}
		if err == io.EOF {
			return
		} else if err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// XYZ@XNAS
	// quote 187.25 x 300, - x 0
	// quote 187.25 x 300, 187.26 x 500
	// trade buy 187.26 100
	// quote 187.25 x 300, 187.26 x 400
}
