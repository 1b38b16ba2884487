package wscap_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"tickfeed/feed"
	"tickfeed/feed/files/wscap"
)

// A capture of the depth stream of Binance becomes levels once the snapshot has come.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "capture")
	capture := `100000000000000001 {"stream":"xy@depth","data":{"e":"depthUpdate","E":1723161255208,"s":"XY","U":16,"u":21,"b":[["1","4"]],"a":[]}}
100000000000000002 {"lastUpdateId":20,"bids":[["1.0","5"]],"asks":[["2.0","6"]]}
`
	if err := os.WriteFile(path, []byte(capture), 0o600); err != nil {
		log.Fatal(err)
	}
	src, err := wscap.Open([]string{path}, wscap.Config{})
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
	// XY@BINANCE
	// clear 0
	// level 1
	// level 2
	// level 1
}
