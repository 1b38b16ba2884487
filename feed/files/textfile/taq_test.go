package textfile_test

import (
	"context"
	"io"
	"math"
	"math/big"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/decimal"
	"tickfeed/feed/files/textfile"
	"tickfeed/feed/recorded"
)

// sums adds up the ticks of one instrument in a file.
type sums struct {
	trades, volume, first, last int64
	low, high                   int64 // in units of 10^-4
	notional                    big.Int
}

// The TAQ files are read without any mapping except the zone, and nothing in them is lost.
func TestTAQTrades(t *testing.T) {
	dir := recorded.Dir(t)
	for _, c := range []struct {
		file, zone string
	}{
		{"taq/XXX_trades_2018-01-02.csv.gz", "America/New_York"},
		{"taq/ETF_AAA_BBB_trades_2014-09-17.csv.gz", "America/New_York"},
	} {
		t.Run(c.file, func(t *testing.T) {
			want := recorded.Expected[recorded.TAQ](t, dir, c.file)
			zone, err := time.LoadLocation(c.zone)
			require.NoError(t, err)
			src, err := textfile.Open([]string{filepath.Join(dir, c.file)}, nil, textfile.Config{Zone: c.zone})
			require.NoError(t, err)
			got := map[string]*sums{}
			perExchange := map[string]int64{}
			var sameTime, before int64
			err = eachDefined(t, src, func(tick *feed.Tick, def *feed.Definition) {
				if tick.Kind == feed.KindDefinition {
					return
				}
				require.Equal(t, feed.KindTrade, tick.Kind)
				require.Equal(t, int8(-4), def.PriceExponent)
				require.Equal(t, int8(0), def.SizeExponent)
				s := got[def.Symbol]
				if s == nil {
					s = &sums{first: tick.EventTime, low: math.MaxInt64}
					got[def.Symbol] = s
				}
				tr := tick.Trade()
				s.trades++
				s.volume += tr.Size
				s.low, s.high, s.last = min(s.low, tr.Price), max(s.high, tr.Price), tick.EventTime
				s.notional.Add(&s.notional, new(big.Int).Mul(big.NewInt(tr.Price), big.NewInt(tr.Size)))
				perExchange[def.Venue]++
				if tick.EventTime == before {
					sameTime++
				}
				before = tick.EventTime
			})
			require.NoError(t, err)
			assert.Equal(t, want.Rows, src.Stats().Rows)
			assert.Equal(t, want.SameTime, sameTime)
			if want.PerExchange != nil {
				assert.Equal(t, want.PerExchange, perExchange)
			}
			assert.Len(t, got, len(want.PerSymbol))
			for symbol, w := range want.PerSymbol {
				s := got[symbol]
				require.NotNil(t, s, symbol)
				assert.Equal(t, w.Trades, s.trades, symbol)
				assert.Equal(t, w.Volume, s.volume, symbol)
				assert.Equal(t, w.MinPrice, price(s.low), symbol)
				assert.Equal(t, w.MaxPrice, price(s.high), symbol)
				assert.Equal(t, w.Notional, price(s.notional.Int64()), symbol)
				assert.Equal(t, w.First, wallClock(s.first, zone), symbol)
				assert.Equal(t, w.Last, wallClock(s.last, zone), symbol)
			}
		})
	}
}

func price(v int64) string { return string(decimal.Append(nil, v, -4)) }

func wallClock(ns int64, zone *time.Location) string {
	return time.Unix(0, ns).In(zone).Format("2006-01-02 15:04:05.000000")
}

func TestTAQQuotes(t *testing.T) {
	dir := recorded.Dir(t)
	const file = "taq/XXX_quotes_2018-01-02.csv.gz"
	want := recorded.Expected[recorded.TAQ](t, dir, file)
	src, err := textfile.Open([]string{filepath.Join(dir, file)}, nil, textfile.Config{Zone: "-05:00"})
	require.NoError(t, err)
	got := recorded.TAQ{PerExchange: map[string]int64{}}
	minBid, maxBid, minAsk, maxAsk := int64(math.MaxInt64), int64(0), int64(math.MaxInt64), int64(0)
	var first, last feed.Tick
	err = eachDefined(t, src, func(tick *feed.Tick, def *feed.Definition) {
		if tick.Kind == feed.KindDefinition {
			return
		}
		require.Equal(t, feed.KindQuote, tick.Kind)
		if got.Rows++; got.Rows == 1 {
			first = *tick
		} else if tick.EventTime == last.EventTime {
			got.SameTime++
		}
		last = *tick
		q := tick.Quote()
		got.PerExchange[def.Venue]++
		got.BidSizes += q.BidSize
		got.AskSizes += q.AskSize
		if q.Bid == feed.NoPrice {
			got.BidZero++
		} else {
			minBid, maxBid = min(minBid, q.Bid), max(maxBid, q.Bid)
		}
		if q.Ask == feed.NoPrice {
			got.AskZero++
		} else {
			minAsk, maxAsk = min(minAsk, q.Ask), max(maxAsk, q.Ask)
		}
		switch {
		case q.Bid == q.Ask:
			got.BidEquals++ // the file's 21 rows without any quote
		case q.Bid > q.Ask && q.Ask != feed.NoPrice:
			got.BidAbove++
		}
	})
	require.NoError(t, err)
	got.MinBid, got.MaxBid, got.MinAsk, got.MaxAsk = price(minBid), price(maxBid), price(minAsk), price(maxAsk)
	assert.Equal(t, want, got)

	at := func(s string) int64 {
		v, err := time.Parse("2006-01-02 15:04:05.999999 -07:00", s+" -05:00")
		require.NoError(t, err)
		return v.UnixNano()
	}
	assert.Equal(t, feed.Quote{Bid: 1565700, BidSize: 1, Ask: 1588500, AskSize: 1}, first.Quote())
	assert.Equal(t, at("2018-01-02 04:04:13.125"), first.EventTime)
	assert.Equal(t, feed.Quote{Bid: 1560000, BidSize: 1, Ask: 1578900, AskSize: 2}, last.Quote())
	assert.Equal(t, at("2018-01-02 20:00:00.05"), last.EventTime)
}

func BenchmarkTAQ(b *testing.B) {
	dir := recorded.Dir(b)
	for _, file := range []string{"XXX_trades_2018-01-02.csv.gz", "XXX_quotes_2018-01-02.csv.gz"} {
		b.Run(file, func(b *testing.B) {
			batch := make([]feed.Tick, 256)
			rows := int64(0)
			for b.Loop() {
				src, err := textfile.Open([]string{filepath.Join(dir, "taq", file)}, nil, textfile.Config{Zone: "America/New_York"})
				require.NoError(b, err)
				for err == nil {
					_, err = src.Next(context.Background(), batch)
				}
				require.Equal(b, io.EOF, err)
				rows += src.Stats().Rows
				src.Close()
			}
			b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
