package textfile_test

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files/textfile"
)

const noon = 1_772_461_800_000_000_000

// everyKind is one tick of each kind, numbered from 1, and the same instrument defined again
// with a finer exponent in the middle.
func everyKind() []feed.Tick {
	def := feed.Definition{Symbol: `A"B,C`, Venue: "XNAS", PriceExponent: -2, Currency: "USD", TickSize: 1, Lot: 100}
	finer := def
	finer.PriceExponent, finer.TickSize = -3, 10
	conditions, _ := feed.ParseConditions(`F,"\`)
	defined := func(d feed.Definition) feed.Tick {
		return feed.Tick{Kind: feed.KindDefinition, EventTime: noon, Extra: &feed.Extra{Definition: &d}}
	}
	trade := feed.Trade{Price: 12345, Size: 7, ID: math.MaxUint64, Conditions: conditions, Side: feed.SideBuy}
	ticks := []feed.Tick{
		defined(def),
		feed.Quote{Bid: 12345, BidSize: 10, Ask: feed.NoPrice}.Tick(0, noon),
		trade.Tick(0, noon),
		defined(finer),
		feed.Quote{Bid: -5, BidSize: 1, Ask: 123456, AskSize: 2}.Tick(0, noon),
		feed.Correction{OldPrice: 1, OldSize: 2, Trade: feed.Trade{Price: 3, Size: 4}}.Tick(0, noon, "A-17"),
		feed.Cancel{Price: 3, Size: 4}.Tick(0, noon, `B"`),
		feed.Level{Side: feed.SideSell, Price: 123000, Size: 40}.Tick(0, noon),
		feed.ClearTick(0, noon, feed.SideBoth),
		feed.StatusTick(0, noon, feed.StatusPreOpen, 20260302),
		feed.StatusTick(0, noon, feed.StatusHalted, 0).Because(`=L,"`, noon+5),
		feed.Auction{Kind: feed.AuctionClosing, Price: 123456, Size: 700, Side: feed.SideSell, Imbalance: 40, Time: noon + 9}.Tick(0, noon),
		feed.Auction{Price: feed.NoPrice}.Tick(0, noon),
	}
	for i := range ticks {
		ticks[i].Seq = uint64(i + 1)
	}
	return ticks
}

// printed returns the lines of ticks, which were published at noon+5.
func printed(f textfile.Format, ticks []feed.Tick) string {
	to := textfile.NewFormatter(f)
	b := []byte(f.Header())
	for i := range ticks {
		b = to.Append(b, 0xdeadbeef, noon+5, &ticks[i], nil)
	}
	return string(b)
}

// unknownPrices are ticks of each kind that may have no price, such as a cancelled trade whose price the venue does not publish.
func unknownPrices() []feed.Tick {
	ticks := everyKind()[:1]
	return append(ticks,
		feed.Quote{Bid: feed.NoPrice, Ask: feed.NoPrice}.Tick(0, noon),
		feed.Trade{Price: feed.NoPrice, Size: 7, ID: 1}.Tick(0, noon),
		feed.Correction{OldPrice: feed.NoPrice, OldSize: 2, Trade: feed.Trade{Price: 3, Size: 4}}.Tick(0, noon, "A-17"),
		feed.Correction{OldPrice: 5, OldSize: 2, Trade: feed.Trade{Price: feed.NoPrice, Size: 4}}.Tick(0, noon, "A-17"),
		feed.Cancel{Price: feed.NoPrice}.Tick(0, noon, "A-17"),
	)
}

// formulas are ticks whose text a spreadsheet would take for formulas, and ticks whose text looks like a defused one.
func formulas() []feed.Tick {
	var ticks []feed.Tick
	for i, text := range []string{"=1+2", "+1", "-2", "@SUM(A1)", "'=1", "''@", "'quoted", "plain", "'", "=A,B\"C"} {
		d := feed.Definition{Symbol: text, Venue: text, Currency: text, PriceExponent: -2}
		id := feed.InstrumentID(i)
		conditions, _ := feed.ParseConditions(text[:min(len(text), feed.MaxConditions)])
		ticks = append(ticks,
			feed.Tick{Kind: feed.KindDefinition, Instrument: id, EventTime: noon, Extra: &feed.Extra{Definition: &d}},
			feed.Trade{Price: -12345, Size: 7, Conditions: conditions}.Tick(id, noon),
			feed.Cancel{Price: -5, Size: 4}.Tick(id, noon, text))
	}
	return ticks
}

// A price that is not known is null in JSON and an empty cell in CSV, never the number that stands for it.
func TestUnknownPricesAreNullOrEmpty(t *testing.T) {
	for name, f := range map[string]textfile.Format{"json": textfile.JSONFormat{}, "csv": textfile.CSVFormat{}} {
		text := printed(f, unknownPrices())
		assert.NotContains(t, text, "9223372036854775808"[:9], name)
	}
	lines := strings.Split(printed(textfile.JSONFormat{}, unknownPrices()), "\n")
	assert.Contains(t, lines[2], `"price":null,"size":7`)
	assert.Contains(t, lines[3], `"old_price":null,"old_size":2,"price":0.03`)
	assert.Contains(t, lines[4], `"old_price":0.05,"old_size":2,"price":null`)
	assert.Contains(t, lines[5], `"price":null,"size":0,"trade_id":"A-17"`)
}

// A cell of text in CSV never begins as a formula does; numbers are as they are.
func TestFormulasAreDefused(t *testing.T) {
	rows, err := csv.NewReader(strings.NewReader(printed(textfile.CSVFormat{}, formulas()))).ReadAll()
	require.NoError(t, err)
	column := make(map[string]int)
	for i, name := range rows[0] {
		column[name] = i
	}
	for _, row := range rows[1:] {
		for _, name := range []string{"symbol", "venue", "currency", "trade_id", "conditions"} {
			assert.NotRegexp(t, "^[=+@\t\r-]", row[column[name]], name)
		}
		if row[column["type"]] == "trade" {
			assert.Equal(t, "-123.45", row[column["price"]])
		}
	}
	assert.Equal(t, "'=1+2", rows[1][column["symbol"]])
	assert.Equal(t, "''=1", rows[13][column["symbol"]])
	assert.Equal(t, "'quoted", rows[19][column["symbol"]])
}

// A Source reads lines of a Formatter back to the same ticks, whatever their kind.
func TestLinesAreReadBackToTheSameTicks(t *testing.T) {
	for name, ticks := range map[string][]feed.Tick{"every kind": everyKind(), "unknown prices": unknownPrices(), "formulas": formulas()} {
		t.Run(name, func(t *testing.T) { readBack(t, ticks) })
	}
}

func readBack(t *testing.T, want []feed.Tick) {
	for i := range want {
		if i%3 != 1 {
			want[i].Flags |= feed.FlagMore
		}
	}
	for name, f := range map[string]textfile.Format{"json": textfile.JSONFormat{}, "raw": textfile.JSONFormat{Raw: true}, "csv": textfile.CSVFormat{}} {
		path := filepath.Join(t.TempDir(), "ticks")
		require.NoError(t, os.WriteFile(path, []byte(printed(f, want)), 0o600))
		src, err := textfile.Open([]string{path}, nil, textfile.Config{})
		require.NoError(t, err)
		defer src.Close()
		var got []feed.Tick
		for err == nil {
			batch := make([]feed.Tick, 4)
			var n int
			n, err = src.Next(context.Background(), batch)
			got = append(got, batch[:n]...)
		}
		require.ErrorIs(t, err, io.EOF, name)
		require.Len(t, got, len(want), name)
		for i := range want {
			w := want[i]
			w.Seq = 0
			assert.True(t, w.Equal(&got[i]), "%s: tick %d: want %+v, got %+v", name, i, w, got[i])
		}
	}
}

// Each JSON line is an object whose prices have the exponent of the last definition before it; ticks of a snapshot have no number.
func TestJSONLinesAreObjects(t *testing.T) {
	ticks := everyKind()
	lines := strings.Split(strings.TrimSpace(printed(textfile.JSONFormat{}, ticks)), "\n")
	require.Len(t, lines, len(ticks))
	for _, l := range lines {
		assert.True(t, json.Valid([]byte(l)), l)
	}
	assert.Equal(t, `{"session":"00000000deadbeef","seq":2,"type":"quote","symbol":"A\"B,C","venue":"XNAS","ts_event":1772461800000000000,`+
		`"ts_publish":1772461800000000005,"bid":123.45,"bid_size":10,"ask":null,"ask_size":0}`, lines[1])
	assert.Contains(t, lines[2], `"price":123.45,"size":7,"side":"buy","trade_id":"18446744073709551615","conditions":"F,\"\\"}`)
	assert.Contains(t, lines[4], `"bid":-0.005,"bid_size":1,"ask":123.456,"ask_size":2}`, "the finer exponent, from its definition on")

	snapshot := ticks[1]
	snapshot.Seq, snapshot.Flags = 0, feed.FlagSnapshot
	to := textfile.NewFormatter(textfile.JSONFormat{})
	to.Append(nil, 1, 0, &ticks[0], nil)
	summary := feed.Tick{Kind: feed.KindSummary, Flags: feed.FlagSnapshot, Extra: &feed.Extra{Summary: &feed.Summary{
		TradingDay: 20260302, Open: 1, High: 2, Low: feed.NoPrice, Last: 3, LastSize: 4, Volume: 5, Trades: 6}}}
	unknown := feed.Tick{Kind: 99, Seq: 5, Instrument: 3}
	var b []byte
	for _, tick := range []feed.Tick{snapshot, summary, unknown} {
		b = to.Append(b, 1, 0, &tick, nil)
	}
	lines = strings.Split(strings.TrimSpace(string(b)), "\n")
	assert.True(t, strings.HasPrefix(lines[0], `{"session":"0000000000000001","snapshot":true,"type":"quote","symbol"`), lines[0])
	assert.NotContains(t, lines[0], "ts_publish")
	assert.Contains(t, lines[1], `"trading_day":20260302,"open":0.01,"high":0.02,"low":null,"last":0.03,"last_size":4,"last_time":0,"volume":5,"trades":6}`)
	assert.Contains(t, lines[2], `"type":"kind(99)","symbol":""`)
}

// Each CSV line has as many cells as the header.
func TestCSVLinesHaveAllColumns(t *testing.T) {
	ticks := everyKind()
	ticks = append(ticks, feed.Tick{Kind: feed.KindSummary, Flags: feed.FlagSnapshot, Extra: &feed.Extra{Summary: &feed.Summary{}}}, feed.Tick{Kind: 99})
	lines := strings.Split(strings.TrimSpace(printed(textfile.CSVFormat{}, ticks)), "\n")
	require.Len(t, lines, len(ticks)+1)
	want := strings.Count(lines[0], ",")
	for _, l := range lines[1:] {
		quoted := strings.NewReplacer(`"A""B,C"`, "", `"F,""\"`, "", `"'=L,"""`, "").Replace(l)
		assert.Equal(t, want, strings.Count(quoted, ","), l)
	}
}

func BenchmarkAppend(b *testing.B) {
	ticks := make([]feed.Tick, 256)
	for i := range ticks {
		ticks[i] = feed.Quote{Bid: 1872500 + int64(i), BidSize: 300, Ask: 1872700, AskSize: 100}.Tick(0, noon+int64(i)*1000)
		ticks[i].Seq = uint64(i + 2)
	}
	def := feed.Tick{Kind: feed.KindDefinition, Seq: 1, Extra: &feed.Extra{Definition: &feed.Definition{Symbol: "AAPL", Venue: "XNAS", PriceExponent: -4}}}
	for name, f := range map[string]textfile.Format{"json": textfile.JSONFormat{}, "csv": textfile.CSVFormat{}} {
		b.Run(name, func(b *testing.B) {
			to := textfile.NewFormatter(f)
			line := to.Append(nil, 1, noon, &def, nil)
			b.ReportAllocs()
			for n := 0; n < b.N; n++ {
				line = to.Append(line[:0], 1, noon, &ticks[n%len(ticks)], nil)
			}
		})
	}
}

// A status has its reason and expected end as JSON, and an auction its kind, price and time.
func TestJSONStatusesAndAuctions(t *testing.T) {
	ticks := append(everyKind()[:1],
		feed.StatusTick(0, noon, feed.StatusHalted, 0).Because(`LU"DP`, noon+300e9),
		feed.Auction{Kind: feed.AuctionClosing, Price: 18725, Size: 70_000, Side: feed.SideSell, Imbalance: 1200, Time: noon + 60e9}.Tick(0, noon),
		feed.Auction{Price: feed.NoPrice}.Tick(0, noon),
	)
	lines := strings.Split(strings.TrimSpace(printed(textfile.JSONFormat{}, ticks)), "\n")
	for i, want := range []map[string]any{
		{"type": "status", "status": "halted", "reason": `LU"DP`},
		{"type": "auction", "auction": "closing", "side": "sell"},
		{"type": "auction", "auction": "unknown", "price": nil},
	} {
		var got map[string]any
		require.NoError(t, json.Unmarshal([]byte(lines[i+1]), &got), lines[i+1])
		for key, value := range want {
			v, ok := got[key]
			assert.True(t, ok && v == value, "%s of %s", key, lines[i+1])
		}
		_, end := got["expected_end"]
		_, at := got["expected_time"]
		assert.Equal(t, i == 0, end)
		assert.Equal(t, i == 1, at)
	}
}

// With RFC3339 times are text with nine decimals, and a time that is not known is null or an empty cell.
func TestTimesAsText(t *testing.T) {
	ticks := []feed.Tick{feed.Quote{Bid: 1, BidSize: 1, Ask: 2, AskSize: 1}.Tick(1, 1_767_623_400_000_000_001), feed.Quote{Bid: 1, BidSize: 1, Ask: 2, AskSize: 1}.Tick(1, 0)}
	lines := strings.Split(printed(textfile.JSONFormat{Times: textfile.RFC3339}, ticks), "\n")
	assert.Contains(t, lines[0], `"ts_event":"2026-01-05T14:30:00.000000001Z","ts_publish":"`)
	assert.Contains(t, lines[1], `"ts_event":null,"ts_publish":"`)
	lines = strings.Split(printed(textfile.CSVFormat{Times: textfile.RFC3339}, ticks), "\n")
	assert.Contains(t, lines[1], `,2026-01-05T14:30:00.000000001Z,2`)
	assert.Contains(t, lines[2], `,quote,,,,2`)
}
