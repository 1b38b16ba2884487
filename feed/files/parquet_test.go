package files_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files"
	"tickfeed/feed/files/parquetfile"
	"tickfeed/feed/files/textfile"
	"tickfeed/feed/recorded"
)

// Ticks that are exported as Parquet are read back unchanged, including events of several ticks.
func TestParquetOfOurOwn(t *testing.T) {
	at := int64(1_700_000_000_000_000_001)
	d := &feed.Definition{Symbol: "=AB", Venue: "XNAS", PriceExponent: -2, Currency: "USD", TickSize: 1, Lot: 100}
	level := feed.Level{Side: feed.SideBuy, Price: 18725, Size: 3}.Tick(0, at)
	level.Flags = feed.FlagMore
	ticks := []feed.Tick{
		{Kind: feed.KindDefinition, EventTime: at, Extra: &feed.Extra{Definition: d}},
		level,
		feed.Quote{Bid: 18725, BidSize: 3, Ask: feed.NoPrice}.Tick(0, at),
		feed.Trade{Price: 18726, Size: 1, ID: 1 << 63, Side: feed.SideSell, Conditions: feed.Conditions('F') << 56}.Tick(0, at+1),
		feed.StatusTick(0, at+2, feed.StatusHalted, 20231114),
		feed.ClearTick(0, at+3, feed.SideBoth),
	}
	var survey parquetfile.Survey
	for i := range ticks {
		survey.Add(&ticks[i], d)
	}
	var out bytes.Buffer
	w, err := parquetfile.New(&out, parquetfile.Kinds(), &survey)
	require.NoError(t, err)
	for i := range ticks {
		require.NoError(t, w.Write(1, at+9, &ticks[i], d))
	}
	require.NoError(t, w.Close())

	path := write(t, "x", out.Bytes())
	src, err := files.Open([]string{path}, nil, files.Config{})
	require.NoError(t, err)
	assert.Equal(t, files.Parquet, src.Format())
	got, _ := recorded.ReadAll(t, src)
	assert.Equal(t, ticks, got)
	assert.EqualValues(t, len(ticks), src.Stats().Messages)
	assert.Positive(t, src.Read())
}

// Prices of Databento are floats, or whole numbers of 10^-9; a float may be whole, too.
func TestParquetOfDatabento(t *testing.T) {
	type head struct {
		Time   int64  `parquet:"ts_event,timestamp(nanosecond)"`
		Type   uint8  `parquet:"rtype"`
		Action string `parquet:"action,dict"`
		Symbol string `parquet:"symbol,dict"`
		Size   uint32 `parquet:"size"`
	}
	type floats struct {
		head
		Price float64 `parquet:"price"`
	}
	type decimals struct {
		head
		Price int64 `parquet:"price,decimal(2:18)"`
	}
	type integers struct {
		head
		Price int64 `parquet:"price"`
	}
	prices := func(content []byte) (all []int64) {
		src, err := files.Open([]string{write(t, "x.parquet", content)}, nil, files.Config{})
		require.NoError(t, err)
		got, _ := recorded.ReadAll(t, src)
		for _, tick := range recorded.Only(got, feed.KindTrade) {
			all = append(all, tick.Trade().Price)
		}
		return all
	}
	h := head{1772461800000000001, 0, "T", "ESH6", 3}
	var b bytes.Buffer
	fw := parquet.NewGenericWriter[floats](&b)
	_, err := fw.Write([]floats{{h, 5000}, {h, 5000.25}, {h, -37}})
	require.NoError(t, err)
	require.NoError(t, fw.Close())
	assert.Equal(t, []int64{50000000, 50002500, -370000}, prices(b.Bytes()))
	b.Reset()
	dw := parquet.NewGenericWriter[decimals](&b)
	_, err = dw.Write([]decimals{{h, 500000}, {h, 500025}})
	require.NoError(t, err)
	require.NoError(t, dw.Close())
	assert.Equal(t, []int64{50000000, 50002500}, prices(b.Bytes()))
	b.Reset()
	iw := parquet.NewGenericWriter[integers](&b, parquet.Compression(&parquet.Zstd))
	_, err = iw.Write([]integers{{h, 5000000000000}, {h, 5000250000000}})
	require.NoError(t, err)
	require.NoError(t, iw.Close())
	assert.Equal(t, []int64{50000000, 50002500}, prices(b.Bytes()))
}

// A trade that two Parquet files have counts once.
func TestTradesOfSeveralParquetFiles(t *testing.T) {
	type line struct {
		Time   int64   `parquet:"time"`
		Symbol string  `parquet:"symbol"`
		Price  float64 `parquet:"price"`
		Size   int64   `parquet:"size"`
		ID     int64   `parquet:"trade_id"`
	}
	file := func(name string, lines ...line) string {
		var out bytes.Buffer
		pw := parquet.NewGenericWriter[line](&out)
		_, err := pw.Write(lines)
		require.NoError(t, err)
		require.NoError(t, pw.Close())
		return write(t, name, out.Bytes())
	}
	a, b := line{1700000000, "A", 1.25, 9, 3}, line{1700000001, "A", 1.5, 9, 4}
	second := file("b.parquet", b, b)
	src, err := files.Open([]string{file("a.parquet", a, b), second}, nil, files.Config{})
	require.NoError(t, err)
	got, _ := recorded.ReadAll(t, src)
	assert.Len(t, recorded.Only(got, feed.KindTrade), 3)
	assert.Equal(t, []string{second + ": trades left out because an earlier file has them: 1"}, src.Stats().Notes)
}

// Columns of any Parquet file are recognised by the names of CSV, or stated. The error for a bad row names its file, and the row
// may be skipped.
func TestParquetOfOthers(t *testing.T) {
	type line struct {
		Timestamp int64   `parquet:"timestamp"`
		Ticker    string  `parquet:"ticker"`
		Px        float64 `parquet:"px"`
		Odd       float64 `parquet:"odd,optional"`
		Qty       int64   `parquet:"qty"`
	}
	var out bytes.Buffer
	pw := parquet.NewGenericWriter[line](&out)
	_, err := pw.Write([]line{{1700000000, "A", 1.25, 9, 3}, {1700000001, "A", 1.5, 0, -1}, {1700000002, "B", 2, 8, 4}})
	require.NoError(t, err)
	require.NoError(t, pw.Close())
	path := write(t, "x.parquet", out.Bytes())

	src, err := files.Open([]string{path}, nil, files.Config{})
	require.NoError(t, err)
	_, _, err = recorded.Read(t, src)
	assert.ErrorContains(t, err, path+":3: ", "the second row; the header counts as the first line")
	assert.True(t, files.Skippable(err))

	src, err = files.Open([]string{path}, nil, files.Config{SkipBad: 1, Venue: "X", Text: textfile.Config{Columns: map[string]string{"price": "odd"}}})
	require.NoError(t, err)
	got, state := recorded.ReadAll(t, src)
	trades := recorded.Only(got, feed.KindTrade)
	require.Len(t, trades, 2)
	def, _ := state.Definition(trades[1].Instrument)
	assert.Equal(t, "B@X", def.Name())
	assert.EqualValues(t, 8, trades[1].Trade().Price/10000)
	assert.ErrorContains(t, src.Stats().FirstBad, path)
	assert.EqualValues(t, 1, src.Stats().Skipped)

	src, err = files.Open([]string{path}, nil, files.Config{})
	require.NoError(t, err)
	require.NoError(t, src.Close(), "before it is read")
	_, err = src.Next(context.Background(), make([]feed.Tick, 1))
	assert.Error(t, err)
}
