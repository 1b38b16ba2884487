package parquetfile

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

const noon = 1_772_461_800_000_000_001

// A row is a tick and the definition of its instrument.
type row struct {
	feed.Tick
	d *feed.Definition
}

func written(t *testing.T, kinds []feed.Kind, rows ...row) []byte {
	t.Helper()
	var s Survey
	for i := range rows {
		s.Add(&rows[i].Tick, rows[i].d)
	}
	var out bytes.Buffer
	w, err := New(&out, kinds, &s)
	require.NoError(t, err)
	for i := range rows {
		rows[i].Seq = uint64(i + 1)
		require.NoError(t, w.Write(0xdeadbeef, noon+5, &rows[i].Tick, rows[i].d))
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

// read is the columns of a file, "name type", and its rows as text: decimals and times as any reader of the schema has to take
// them.
func read(t *testing.T, file []byte) (columns []string, rows []string) {
	t.Helper()
	f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	require.NoError(t, err)
	fields := f.Schema().Fields()
	for _, field := range fields {
		columns = append(columns, field.Name()+" "+field.Type().String())
	}
	r := parquet.NewReader(f)
	defer r.Close()
	buf := make([]parquet.Row, 1)
	for {
		n, err := r.ReadRows(buf)
		if n == 0 {
			require.ErrorIs(t, err, io.EOF)
			return columns, rows
		}
		var cells []string
		for _, v := range buf[0] {
			field := fields[v.Column()]
			if v.IsNull() {
				cells = append(cells, "-")
				continue
			}
			cell := v.String()
			if l := field.Type().LogicalType(); l != nil && strings.HasPrefix(field.Type().String(), "DECIMAL") {
				n := new(big.Int)
				if v.Kind() == parquet.Int64 {
					n.SetInt64(v.Int64())
				} else {
					n.SetBytes(v.ByteArray())
					if v.ByteArray()[0] >= 0x80 {
						n.Sub(n, new(big.Int).Lsh(big.NewInt(1), 128))
					}
				}
				scale := shortScale
				if v.Kind() != parquet.Int64 {
					scale = longScale
				}
				cell = new(big.Rat).SetFrac(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)).FloatString(scale)
				cell = strings.TrimSuffix(strings.TrimRight(cell, "0"), ".")
			}
			cells = append(cells, cell)
		}
		rows = append(rows, strings.Join(cells, " "))
	}
}

var quotesAndTrades = []feed.Kind{feed.KindQuote, feed.KindTrade}

// A file has the columns of its kinds, in the documented order, and each value exactly.
func TestColumnsAreThoseOfTheKinds(t *testing.T) {
	aapl := &feed.Definition{Symbol: "AAPL", Venue: "XNAS", PriceExponent: -2, Currency: "USD", TickSize: 1, Lot: 100}
	conditions, err := feed.ParseConditions("F I")
	require.NoError(t, err)
	ref := feed.Trade{Price: 1, Size: 2}.Tick(0, 0)
	ref.Extra = &feed.Extra{TradeRef: "T-17"}
	rows := []row{
		{feed.Quote{Bid: 18725, BidSize: 300, Ask: feed.NoPrice}.Tick(0, noon), aapl},
		{feed.Trade{Price: -18726, Size: 100, ID: math.MaxUint64, Conditions: conditions, Side: feed.SideBuy}.Tick(0, noon+1), aapl},
		{ref, nil},
	}
	columns, got := read(t, written(t, quotesAndTrades, rows...))
	assert.Equal(t, []string{
		"session STRING", "seq INT(64,true)", "type STRING", "symbol STRING", "venue STRING",
		"ts_event TIMESTAMP(isAdjustedToUTC=false,unit=NANOS)", "ts_publish TIMESTAMP(isAdjustedToUTC=false,unit=NANOS)",
		"bid DECIMAL(18,9)", "bid_size INT(64,true)", "ask DECIMAL(18,9)", "ask_size INT(64,true)",
		"price DECIMAL(18,9)", "size INT(64,true)", "side STRING", "trade_id STRING", "conditions STRING",
	}, columns)
	assert.Equal(t, []string{
		"00000000deadbeef 1 quote AAPL XNAS 1772461800000000001 1772461800000000006 187.25 300 - 0 - - - - -",
		"00000000deadbeef 2 trade AAPL XNAS 1772461800000000002 1772461800000000006 - - - - -187.26 100 buy 18446744073709551615 F I",
		"00000000deadbeef 3 trade - - - 1772461800000000006 - - - - 1 2 - T-17 -",
	}, got)

	rows = []row{
		{feed.Tick{Kind: feed.KindDefinition, EventTime: noon, Extra: &feed.Extra{Definition: aapl}}, aapl},
		{feed.Correction{OldPrice: 1, OldSize: 2, Trade: feed.Trade{Price: 3, Size: 4}}.Tick(0, noon, "A-17"), aapl},
		{feed.Cancel{Price: 3, Size: 4, ID: 9}.Tick(0, noon, ""), aapl},
		{feed.Level{Side: feed.SideSell, Price: 100, Size: 40}.Tick(0, noon), aapl},
		{feed.ClearTick(0, noon, feed.SideBoth), aapl},
		{feed.StatusTick(0, noon, feed.StatusPreOpen, 20260302).Because("LUDP", noon+9), aapl},
		{feed.Auction{Kind: feed.AuctionClosing, Price: 18725, Size: 7, Side: feed.SideSell, Imbalance: 3, Time: noon + 9}.Tick(0, noon), aapl},
	}
	columns, got = read(t, written(t, Kinds(), rows...))
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i], _, _ = strings.Cut(c, " ")
	}
	assert.Equal(t, "session seq type symbol venue ts_event ts_publish bid bid_size ask ask_size price size side trade_id conditions old_price old_size "+
		"status trading_day price_exponent size_exponent currency tick_size lot reason expected_end auction imbalance expected_time", strings.Join(names, " "))
	for i, want := range []string{
		"definition AAPL XNAS - - - - - - - - - - - - - -2 0 USD 0.01 100 - - - - -",
		"correction AAPL XNAS - - - - 0.03 4 - A-17 - 0.01 2 - - - - - - - - - - - -",
		"cancel AAPL XNAS - - - - 0.03 4 - 9 - - - - - - - - - - - - - - -",
		"level AAPL XNAS - - - - 1 40 ask - - - - - - - - - - - - - - - -",
		"clear AAPL XNAS - - - - - - both - - - - - - - - - - - - - - - -",
		"status AAPL XNAS - - - - - - - - - - - pre-open 20260302 - - - - - LUDP 1772461800000000010 - - -",
		"auction AAPL XNAS - - - - 187.25 7 sell - - - - - - - - - - - - - closing 3 1772461800000000010",
	} {
		cells := strings.Fields(got[i])
		assert.Equal(t, want, strings.Join(slices.Delete(cells[2:], 3, 5), " "))
	}
	columns, _ = read(t, written(t, []feed.Kind{feed.KindQuote}))
	assert.Len(t, columns, 11, "a file without rows, of quotes only")
}

// Prices and sizes are stored in the narrowest of three types that holds all of them exactly; bounds are met from both sides.
func TestDecimalsAreExactInTheNarrowestType(t *testing.T) {
	for _, c := range []struct {
		exponent int8
		value    int64
		price    string // type
		size     string
		text     string
	}{
		{0, 999_999_999, "DECIMAL(18,9)", "INT(64,true)", "999999999"},
		{0, 1_000_000_000, "DECIMAL(38,18)", "INT(64,true)", "1000000000"},
		{0, math.MaxInt64, "DECIMAL(38,18)", "INT(64,true)", "9223372036854775807"},
		{-9, 999_999_999_999_999_999, "DECIMAL(18,9)", "DECIMAL(18,9)", "999999999.999999999"},
		{-9, 1_000_000_000_000_000_000, "DECIMAL(38,18)", "DECIMAL(38,18)", "1000000000"},
		{-10, 1, "DECIMAL(38,18)", "DECIMAL(38,18)", "0.0000000001"},
		{-18, math.MaxInt64, "DECIMAL(38,18)", "DECIMAL(38,18)", "9.223372036854775807"},
		{1, 99_999_999, "DECIMAL(18,9)", "DECIMAL(18,9)", "999999990"},
		{1, math.MaxInt64, "DECIMAL(38,18)", "DECIMAL(38,18)", "92233720368547758070"},
		{18, 1, "DECIMAL(38,18)", "DECIMAL(38,18)", "1000000000000000000"},
		{18, 0, "DECIMAL(18,9)", "DECIMAL(18,9)", "0"},
	} {
		d := &feed.Definition{Symbol: "X", PriceExponent: c.exponent, SizeExponent: c.exponent}
		for _, sign := range []int64{1, -1} {
			columns, rows := read(t, written(t, []feed.Kind{feed.KindLevel}, row{feed.Level{Side: feed.SideBuy, Price: sign * c.value, Size: c.value}.Tick(0, noon), d}))
			name := fmt.Sprintf("%d × 10^%d", c.value, c.exponent)
			text := c.text
			if sign < 0 && c.value != 0 {
				text = "-" + text
			}
			require.Contains(t, columns, "price "+c.price, name)
			require.Contains(t, columns, "size "+c.size, name)
			cells := strings.Fields(rows[0])
			require.Equal(t, []string{text, c.text}, cells[7:9], name)
		}
	}
	var s Survey
	tick := feed.Level{Side: feed.SideBuy, Price: math.MaxInt64, Size: 1}.Tick(0, noon)
	s.Add(&tick, &feed.Definition{Symbol: "X", PriceExponent: 2})
	_, err := New(io.Discard, quotesAndTrades, &s)
	require.ErrorContains(t, err, "parquet: a price of 9223372036854775807 × 10^2 does not fit in decimal(38, 18)")
}

// Rows of several batches and row groups stay in order.
func TestManyRows(t *testing.T) {
	const n = groupRows + batchRows + 3
	d := [2]*feed.Definition{{Symbol: "A"}, {Symbol: "B"}}
	var s Survey
	var out bytes.Buffer
	w, err := New(&out, quotesAndTrades, &s)
	require.NoError(t, err)
	for i := range n {
		tick := feed.Trade{Price: int64(i % 1000), Size: int64(i), ID: uint64(i)}.Tick(0, noon)
		tick.Seq = uint64(i + 1)
		require.NoError(t, w.Write(1, noon, &tick, d[i%2]))
	}
	require.NoError(t, w.Close())
	f, err := parquet.OpenFile(bytes.NewReader(out.Bytes()), int64(out.Len()))
	require.NoError(t, err)
	assert.Len(t, f.RowGroups(), 2)
	require.Equal(t, int64(n), f.NumRows())
	r := parquet.NewReader(f)
	defer r.Close()
	rows := make([]parquet.Row, 1000)
	seen := 0
	for seen < n {
		k, err := r.ReadRows(rows)
		if k == 0 {
			require.NoError(t, err)
		}
		for _, row := range rows[:k] {
			if row[1].Int64() != int64(seen+1) || row[3].String() != d[seen%2].Symbol || row[12].Int64() != int64(seen) ||
				(seen > 0) != (row[14].String() == fmt.Sprint(seen)) {
				require.Failf(t, "wrong row", "%d: %v", seen, row)
			}
			seen++
		}
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// An error of the output repeats.
func TestWriteFails(t *testing.T) {
	w, err := New(failing{}, quotesAndTrades, &Survey{})
	require.NoError(t, err)
	tick := feed.Trade{Price: 1, Size: 2}.Tick(0, noon)
	require.NoError(t, w.Write(1, noon, &tick, &none))
	require.ErrorIs(t, w.Close(), io.ErrClosedPipe)
	require.ErrorIs(t, w.Write(1, noon, &tick, &none), io.ErrClosedPipe)
	require.ErrorIs(t, w.Close(), io.ErrClosedPipe)
}
