package rawfile_test

import (
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"

	"tickfeed/feed"
	"tickfeed/feed/files/rawfile"
)

// A file is unpacked whatever its name is.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "quotes.csv")
	packed, err := os.Create(path)
	if err != nil {
		log.Fatal(err)
	}
	defer packed.Close()
	zip := gzip.NewWriter(packed)
	fmt.Fprint(zip, "time,symbol,bid,ask")
	if err := zip.Close(); err != nil {
		log.Fatal(err)
	}

	f, err := rawfile.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	fmt.Println(string(text), err)
	// Output:
	// time,symbol,bid,ask <nil>
}

// A lastSale decodes records of 12 bytes: a symbol of eight characters, and a price in cents.
type lastSale struct {
	count *rawfile.Stats
	names rawfile.Instruments
}

func (d *lastSale) Begin(*rawfile.Reader) error { return nil }

func (d *lastSale) Decode(r *rawfile.Reader, out []feed.Tick) ([]feed.Tick, error) {
	record, err := r.Peek(12)
	if err != nil {
		return out, r.Torn("a record", err)
	}
	defer r.Skip(12)
	d.count.Messages++
	id, out, err := d.names.Define(out, feed.Definition{Symbol: rawfile.Text(record[:8]), PriceExponent: -2}, 0)
	if err != nil {
		return out, err
	}
	price := int64(binary.BigEndian.Uint32(record[8:]))
	return append(out, feed.Trade{Price: price, Size: 1}.Tick(id, 0)), nil
}

func (d *lastSale) End(out []feed.Tick) []feed.Tick { return out }

// An importer is a Decoder. The source reads the files, passes the ticks on, and says where a file is damaged.
func ExampleNewSource() {
	count := new(rawfile.Stats)
	src, err := rawfile.NewSource([]string{rawfile.Stdin}, 0, &lastSale{count: count}, count)
	if err != nil {
		log.Fatal(err)
	}
	defer src.Close()
	src.Stdin(strings.NewReader("AAPL    \x00\x00\x49\x25MSFT  "))
	batch := make([]feed.Tick, 64)
	for err == nil {
		var n int
		n, err = src.Next(context.Background(), batch)
		for i := range batch[:n] {
			switch t := &batch[i]; t.Kind {
			case feed.KindDefinition:
				fmt.Println("definition", t.Definition().Symbol)
			case feed.KindTrade:
				fmt.Println("trade", t.Trade().Price)
			}
		}
	}
	fmt.Println(err)
	// Output:
	// definition AAPL
	// trade 18725
	// stdin: offset 12: the file ends 6 bytes into a record
}

// Lines that are too long are reported, and reading continues after them.
func ExampleNewLines() {
	lines := rawfile.NewLines(strings.NewReader("AAPL,187.25\nMSFT,402.1000000000000\nGOOG,141.80\n"), 16)
	for {
		line, err := lines.Next()
		switch err {
		case nil:
			fmt.Println(lines.Number(), string(line))
		case rawfile.ErrLongLine:
			fmt.Println(lines.Bad("quotes.csv", err.Error(), err))
		default:
			fmt.Println(err)
			return
		}
	}
	// Output:
	// 1 AAPL,187.25
	// quotes.csv:2: byte 12: the line is too long
	// 3 GOOG,141.80
	// EOF
}
