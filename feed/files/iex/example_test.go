package iex_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"tickfeed/feed"
	"tickfeed/feed/files/iex"
)

// The price level updates of DEEP become levels, and the best bid and offer of each event become a quote.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "deep.pcap")
	capture := append(header(), packet(1, 1, levelMessage(1872500, 300), levelMessage(1872600, 100))...)
	if err := os.WriteFile(path, capture, 0o600); err != nil {
		log.Fatal(err)
	}

	src, err := iex.Open([]string{path}, iex.Config{})
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
			case feed.KindLevel:
				fmt.Println("level", t.Side, d.Price(t.Level().Price), d.Size(t.Level().Size))
			case feed.KindQuote:
				fmt.Println("quote", d.Price(t.Quote().Bid), d.Size(t.Quote().BidSize))
			}
		}
		if err == io.EOF {
			break
		} else if err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(src.Stats().Messages, "messages")
	// Output:
	// XYZ@IEXG
	// level buy 187.25 300
	// quote 187.25 300
	// level buy 187.26 100
	// quote 187.26 100
	// 2 messages
}
