package parquetfile_test

import (
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"tickfeed/feed"
	"tickfeed/feed/files/parquetfile"
)

// Ticks are written in two passes: the first determines the types of the columns. The file is then read as CSV.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "quotes.parquet")
	file, err := os.Create(path)
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()

	const noon = 1_772_461_800_000_000_000
	aapl := &feed.Definition{Symbol: "AAPL", Venue: "XNAS", PriceExponent: -2}
	ticks := []feed.Tick{
		feed.Quote{Bid: 18725, BidSize: 300, Ask: 18726, AskSize: 500}.Tick(0, noon),
		feed.Quote{Bid: 18724, BidSize: 100, Ask: feed.NoPrice}.Tick(0, noon+1),
	}
	var survey parquetfile.Survey
	for i := range ticks {
		ticks[i].Seq = uint64(i) + 2
		survey.Add(&ticks[i], aapl)
	}
	w, err := parquetfile.New(file, []feed.Kind{feed.KindQuote}, &survey)
	if err != nil {
		log.Fatal(err)
	}
	for i := range ticks {
		if err := w.Write(0x20261122a, noon+5, &ticks[i], aapl); err != nil {
			log.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}

	rows, err := parquetfile.OpenRows([]string{path}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer rows.Close()
	csv, err := io.ReadAll(rows)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(string(csv))
	// Output:
	// session,seq,type,symbol,venue,ts_event,ts_publish,bid,bid_size,ask,ask_size
	// 000000020261122a,2,quote,AAPL,XNAS,2026-03-02T14:30:00Z,2026-03-02T14:30:00.000000005Z,187.25,300,187.26,500
	// 000000020261122a,3,quote,AAPL,XNAS,2026-03-02T14:30:00.000000001Z,2026-03-02T14:30:00.000000005Z,187.24,100,,0
}
