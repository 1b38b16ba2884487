package textfile

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"testing"

	"tickfeed/feed"
)

// FuzzCSV: no file makes a Source panic, hang, yield a tick that is not valid, or take more
// memory than the file is large.
func FuzzCSV(f *testing.F) {
	for _, name := range []string{"testdata/quotes.csv", "testdata/both.csv"} {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("\xef\xbb\xbfDT,EX,SYMBOL,COND,SIZE,PRICE,CORR\r\n2018-01-02 05:01:21.479,P,XXX,\"F \"\"I\",2,157.8,0\r\n"))
	f.Add([]byte("date|time|sym|px|qty\n20180102|9:30:00.1|A|1e-7|1E+3\n"))
	f.Add([]byte("sym,ts,bid_px_00,bid_sz_00,ask_px_00,ask_sz_00,bid_px_01,bid_sz_01\nA,1,1,2,3,4,0.5,9\nA,2,1,2,3,4,0.25,9.5\n"))
	f.Fuzz(func(t *testing.T, data []byte) { fuzz(t, data, formatCSV) })
}

// FuzzNDJSON is FuzzCSV for NDJSON.
func FuzzNDJSON(f *testing.F) {
	b, err := os.ReadFile("testdata/subscribe.ndjson")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"time":"2018-01-02 05:01:21","symbol":"\u0041\ud83d\ude00\n","price":-1.5e-3,"size":1,"x":[{"y":"]"}]}`))
	f.Add([]byte(`{"hd":{"ts_event":"1","rtype":10},"symbol":"A","action":"A","levels":[{"bid_px":"1","bid_sz":2},{"ask_px":"3","ask_sz":4}]}`))
	f.Fuzz(func(t *testing.T, data []byte) { fuzz(t, data, formatNDJSON) })
}

func fuzz(t *testing.T, data []byte, format string) {
	src, err := Open([]string{"-"}, bytes.NewReader(data), Config{Format: format, Zone: "America/New_York", SkipBad: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	src.lines.in = newInput([]string{"-"}, bytes.NewReader(data), 512)
	batch := make([]feed.Tick, 7)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var defs []*feed.Definition
	ticks := 0
	for {
		n, err := src.Next(context.Background(), batch)
		for i := range batch[:n] {
			tick := &batch[i]
			if d := tick.Definition(); d != nil {
				if err := d.Validate(); err != nil {
					t.Fatal(err)
				}
				if int(tick.Instrument) == len(defs) {
					defs = append(defs, d)
				} else if old := defs[tick.Instrument]; old.Symbol != d.Symbol || old.Venue != d.Venue {
					t.Fatalf("instrument %d was %s, is %s", tick.Instrument, old.Name(), d.Name())
				}
			}
			if int(tick.Instrument) >= len(defs) {
				t.Fatalf("instrument %d is not defined", tick.Instrument)
			}
			check(t, tick)
		}
		if ticks += n; err == io.EOF {
			break
		}
		if bad := (*LineError)(nil); errors.As(err, &bad) && bad.Error() != "" {
			break // of the header
		}
		if err != nil {
			if len(data) > 1 && (data[0] == 0x1f || data[0] == 0x28) || len(data) > 0 && data[0]>>4 == 5 {
				return // it looked packed
			}
			t.Fatal(err)
		}
		if n == 0 {
			t.Fatal("neither ticks nor an error")
		}
	}
	if stats := src.Stats(); stats.Ticks != int64(ticks) || stats.Skipped > stats.Rows {
		t.Fatalf("%d ticks, %+v", ticks, stats)
	}
	runtime.ReadMemStats(&after)
	if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(1<<20+1000*len(data)); got > limit {
		t.Fatalf("%d bytes took %d bytes of memory, want at most %d", len(data), got, limit)
	}
}

// A line without an end takes no more memory than MaxLine, doubled by growing.
func TestEndlessLine(t *testing.T) {
	l := lines{in: newInput([]string{"-"}, io.LimitReader(endless{}, 16*MaxLine), 4096)}
	defer l.in.close()
	_, err := l.next(context.Background(), true)
	if err != errLong {
		t.Fatalf("got %v, want %v", err, errLong)
	}
	if cap(l.tail) > 2*MaxLine {
		t.Fatalf("%d bytes are kept, want at most %d", cap(l.tail), 2*MaxLine)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func check(t *testing.T, tick *feed.Tick) {
	switch tick.Kind {
	case feed.KindQuote:
		if q := tick.Quote(); q.BidSize < 0 || q.AskSize < 0 {
			t.Fatalf("quote %+v", q)
		}
	case feed.KindTrade, feed.KindCorrection, feed.KindCancel, feed.KindLevel:
		tr := tick.Trade()
		if tr.Size < 0 || tr.Price == feed.NoPrice && tick.Kind == feed.KindLevel || !tr.Conditions.Valid() || feed.ValidateText(tick.TradeRef()) != nil {
			t.Fatalf("%v %+v", tick.Kind, tr)
		}
		if o := tick.Correction(); o.OldSize < 0 {
			t.Fatalf("%+v", o)
		}
	case feed.KindDefinition, feed.KindClear, feed.KindStatus:
	default:
		t.Fatalf("kind %v", tick.Kind)
	}
}
