package lobster_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"tickfeed/feed"
	"tickfeed/feed/files/lobster"
)

// A pair of files becomes ticks: here a bid, and then a trade with it.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	messages := filepath.Join(dir, "XYZ_2024-03-11_34200000_57600000_message_1.csv")
	for path, rows := range map[string]string{
		messages: "34200.5,1,11,100,1000000,1\n34200.6,4,11,40,1000000,1\n",
		filepath.Join(dir, "XYZ_2024-03-11_34200000_57600000_orderbook_1.csv"): "9999999999,0,1000000,100\n9999999999,0,1000000,60\n",
	} {
		if err := os.WriteFile(path, []byte(rows), 0o600); err != nil {
			log.Fatal(err)
		}
	}
	src, err := lobster.Open([]string{messages}, lobster.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer src.Close()
	for batch := make([]feed.Tick, 64); ; {
		n, err := src.Next(context.Background(), batch)
		for i := range batch[:n] {
			if t := &batch[i]; t.Kind == feed.KindDefinition {
				fmt.Println(t.Definition().Name())
			} else {
				fmt.Println(t.Kind, t.Values[0])
			}
		}
		if err == io.EOF {
			return
		} else if err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// XYZ@NASDAQ
	// status 20240311
	// level 1000000
	// quote 1000000
	// trade 1000000
	// level 1000000
	// quote 1000000
}
