package dbn_test

import (
	"context"
	"fmt"
	"io"

	"tickfeed/feed"
	"tickfeed/feed/decimal"
	"tickfeed/feed/files/dbn"
)

func Example() {
	src, err := dbn.Open([]string{"testdata/test_data.trades.v1.dbn.zst", "testdata/test_data.mbp-1.v3.dbn.zst"}, dbn.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer src.Close()
	batch := make([]feed.Tick, 256)
	for {
		n, err := src.Next(context.Background(), batch)
		for i := range batch[:n] {
			switch t := &batch[i]; t.Kind {
			case feed.KindDefinition:
				fmt.Println(t.Definition().Name())
			case feed.KindTrade:
				fmt.Printf("%d trade %s %s %d\n", t.EventTime, t.Side, decimal.Append(nil, t.Trade().Price, -9), t.Trade().Size)
			case feed.KindQuote:
				q := t.Quote()
				fmt.Printf("%d quote %s x %s\n", t.EventTime, decimal.Append(nil, q.Bid, -9), decimal.Append(nil, q.Ask, -9))
			}
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	// Output:
	// ESH1@GLBX
	// 1609160400098821953 trade sell 3720.25 5
	// 1609160400107665963 trade sell 3720.25 21
	// 1609160400006001487 quote 3720.25 x 3720.5
	// 1609160400006146661 quote 3720.25 x 3720.5
}
