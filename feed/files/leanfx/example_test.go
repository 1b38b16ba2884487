package leanfx_test

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"tickfeed/feed"
	"tickfeed/feed/files/leanfx"
)

// A day of a pair becomes quotes. The name of the file in the zip says which day and pair it is.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	member, err := z.Create("20240102_eurusd_tick_quote.csv")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprint(member, "1,1.10405,1.10412\n250,1.10406,1.10412\n")
	if err := z.Close(); err != nil {
		log.Fatal(err)
	}
	path := filepath.Join(dir, "oanda_20240102_quote.zip")
	if err := os.WriteFile(path, packed.Bytes(), 0o600); err != nil {
		log.Fatal(err)
	}
	src, err := leanfx.Open([]string{path}, leanfx.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer src.Close()
	batch := make([]feed.Tick, 64)
	n, _ := src.Next(context.Background(), batch)
	for i := range batch[:n] {
		if t := &batch[i]; t.Kind == feed.KindDefinition {
			fmt.Println(t.Definition().Name())
		} else if q := t.Quote(); t.Kind == feed.KindQuote {
			fmt.Println(q.Bid, q.Ask)
		}
	}
	// Output:
	// EURUSD@OANDA
	// 110405 110412
	// 110406 110412
}
