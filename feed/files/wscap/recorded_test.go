package wscap_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/decimal"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/files/wscap"
	"tickfeed/feed/recorded"
)

// expected fills e with the result of an independent decoder for file.
func expected(t testing.TB, dir, file string, e any) {
	t.Helper()
	all := recorded.All(t, dir)
	require.Contains(t, all, file)
	require.NoError(t, json.Unmarshal(all[file], e))
}

// A tally is what the trades and quotes of one instrument add up to, in units of 10^-8.
type tally struct {
	trades, quotes, sold int64
	size                 int64
	notional             big.Int // in units of 10^-16
	low, high            int64
	minBid, maxAsk       int64
	firstID, lastID      uint64
	first, last          row // trades
	firstQuote           row
	lastQuote            row
}

// A row is a tick with the definition that was in force.
type row struct {
	feed.Tick
	def *feed.Definition
}

// eight is v, in units of 10^exponent, in units of 10^-8.
func eight(v int64, exponent int8) int64 {
	for ; exponent > -8; exponent-- {
		v *= 10
	}
	return v
}

func tallies(t testing.TB, src *wscap.Source) (map[string]*tally, *feed.State) {
	t.Helper()
	got := map[string]*tally{}
	var last *feed.State
	require.NoError(t, recorded.Each(t, src, func(tick *feed.Tick, state *feed.State) {
		last = state
		if tick.Kind != feed.KindTrade && tick.Kind != feed.KindQuote {
			return
		}
		d, _ := state.Definition(tick.Instrument)
		a := got[d.Symbol]
		if a == nil {
			a = &tally{low: math.MaxInt64, minBid: math.MaxInt64}
			got[d.Symbol] = a
		}
		if tick.Kind == feed.KindQuote {
			q := tick.Quote()
			if a.quotes++; a.quotes == 1 {
				a.firstQuote = row{*tick, d}
			}
			a.lastQuote = row{*tick, d}
			a.minBid, a.maxAsk = min(a.minBid, eight(q.Bid, d.PriceExponent)), max(a.maxAsk, eight(q.Ask, d.PriceExponent))
			return
		}
		tr := tick.Trade()
		price, size := eight(tr.Price, d.PriceExponent), eight(tr.Size, d.SizeExponent)
		if a.trades++; a.trades == 1 {
			a.first, a.firstID = row{*tick, d}, tr.ID
		}
		a.last, a.lastID = row{*tick, d}, tr.ID
		if tr.Side == feed.SideSell {
			a.sold++
		}
		a.size += size
		a.low, a.high = min(a.low, price), max(a.high, price)
		a.notional.Add(&a.notional, new(big.Int).Mul(big.NewInt(price), big.NewInt(size)))
	}))
	return got, last
}

func rat(v int64, exponent int8) *big.Rat {
	return rational(string(decimal.Append(nil, v, exponent)))
}

func rational(s string) *big.Rat {
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		panic(s)
	}
	return r
}

func equal(t testing.TB, want string, got int64, what string) {
	t.Helper()
	assert.Zero(t, rational(want).Cmp(rat(got, -8)), "%s: want %s, got %d × 10^-8", what, want, got)
}

type binanceTrade struct {
	Local int64  `json:"local_ns"`
	T     int64  `json:"T"`
	ID    uint64 `json:"t"`
	Price string `json:"p"`
	Size  string `json:"q"`
	Maker bool   `json:"m"`
}

type binanceTicker struct {
	Local   int64  `json:"local_ns"`
	Bid     string `json:"b"`
	BidSize string `json:"B"`
	Ask     string `json:"a"`
	AskSize string `json:"A"`
}

type binanceExpectation struct {
	Lines    int64            `json:"lines"`
	ByStream map[string]int64 `json:"by_stream"`
	Trades   map[string]struct {
		Trades   int64  `json:"trades"`
		Size     string `json:"qty"`
		Notional string `json:"notional"`
		Low      string `json:"min_price"`
		High     string `json:"max_price"`
		Sold     int64  `json:"buyer_is_maker"`
	} `json:"trades"`
	Tickers map[string]struct {
		Updates int64  `json:"updates"`
		MinBid  string `json:"min_bid"`
		MaxAsk  string `json:"max_ask"`
	} `json:"book_ticker"`
	FirstTrade  binanceTrade  `json:"first_trade"`
	LastTrade   binanceTrade  `json:"last_trade"`
	FirstTicker binanceTicker `json:"first_book_ticker"`
	LastTicker  binanceTicker `json:"last_book_ticker"`
}

func (w *binanceTrade) check(t *testing.T, got *row) {
	t.Helper()
	d := got.def
	tr := got.Trade()
	assert.Equal(t, w.ID, tr.ID)
	assert.Equal(t, w.T*1e6, got.EventTime, "the exchange's time of the trade")
	assert.Equal(t, w.Maker, tr.Side == feed.SideSell, "the buyer is the maker: the aggressor sold")
	equal(t, w.Price, eight(tr.Price, d.PriceExponent), "price")
	equal(t, w.Size, eight(tr.Size, d.SizeExponent), "size")
}

func (w *binanceTicker) check(t *testing.T, got *row) {
	t.Helper()
	d := got.def
	q := got.Quote()
	if d.Venue == "BINANCE" {
		assert.Equal(t, w.Local, got.EventTime, "spot bookTicker has no time of the exchange")
	} else {
		assert.InDelta(t, w.Local, got.EventTime, 3e9)
		assert.NotEqual(t, w.Local, got.EventTime)
	}
	equal(t, w.Bid, eight(q.Bid, d.PriceExponent), "bid")
	equal(t, w.BidSize, eight(q.BidSize, d.SizeExponent), "bid size")
	equal(t, w.Ask, eight(q.Ask, d.PriceExponent), "ask")
	equal(t, w.AskSize, eight(q.AskSize, d.SizeExponent), "ask size")
}

// The recorded Binance captures agree with an independent decoder.
func TestBinanceAgreesWithAnotherDecoder(t *testing.T) {
	dir := recorded.Dir(t)
	for _, c := range []struct {
		file, symbol, venue        string
		held, depth, old, snapshot int64
	}{
		{file: "spot_btcusdt_20240808.gz", symbol: "BTCUSDT", venue: "BINANCE", depth: 3451, old: 2, snapshot: 1},
		{file: "spot_btcusdt_20240809.gz", symbol: "BTCUSDT", venue: "BINANCE", depth: 3044, held: 3044},
		{file: "spot_ethusdt_20240808.gz", symbol: "ETHUSDT", venue: "BINANCE", depth: 3434, old: 2, snapshot: 1},
		{file: "usdm_btcusdt_20240808.gz", symbol: "BTCUSDT", venue: "BINANCE_USDM", depth: 6551, old: 4, snapshot: 1},
	} {
		t.Run(c.file, func(t *testing.T) {
			var want binanceExpectation
			expected(t, dir, "binance/"+c.file, &want)
			src, err := wscap.Open([]string{filepath.Join(dir, "binance", c.file)}, wscap.Config{})
			require.NoError(t, err)
			all, state := tallies(t, src)
			got := all[c.symbol]
			require.Len(t, all, 1)
			require.NotNil(t, got)
			id, _ := state.Lookup(c.symbol, c.venue)
			in, _ := state.Instrument(id)

			wt := want.Trades[c.symbol]
			assert.Equal(t, wt.Trades, got.trades)
			assert.Equal(t, wt.Sold, got.sold)
			equal(t, wt.Size, got.size, "size")
			notional := new(big.Rat).SetFrac(&got.notional, big.NewInt(1e16))
			assert.Zero(t, rational(wt.Notional).Cmp(notional), "notional")
			equal(t, wt.Low, got.low, "low")
			equal(t, wt.High, got.high, "high")
			wq := want.Tickers[c.symbol]
			assert.Equal(t, wq.Updates, got.quotes)
			equal(t, wq.MinBid, got.minBid, "bid")
			equal(t, wq.MaxAsk, got.maxAsk, "ask")

			st := src.Stats()
			assert.Equal(t, want.Lines, st.Lines)
			assert.Equal(t, c.snapshot, st.Snapshots)
			assert.Equal(t, c.held, st.Unanchored)
			assert.Equal(t, c.depth-c.old-c.held, st.Updates)
			assert.Equal(t, c.old, st.Repeated, "updates that the snapshot holds")
			assert.Zero(t, st.Gaps)
			assert.Zero(t, st.Resets)
			assert.Zero(t, st.Other)
			assert.InDelta(t, 1.2e9, st.SkewMin, 0.2e9, "the local clock is behind the exchange's")
			if c.snapshot > 0 {
				require.NotEmpty(t, in.Bids)
				assert.InDelta(t, in.Quote.Bid, in.Bids[0].Price, float64(in.Quote.Bid)/1e3)
				assert.Less(t, in.Bids[0].Price, in.Asks[0].Price)
				assert.Greater(t, len(in.Bids), 900)
			} else {
				assert.Empty(t, in.Bids)
			}
			want.FirstTrade.check(t, &got.first)
			want.LastTrade.check(t, &got.last)
			want.FirstTicker.check(t, &got.firstQuote)
			want.LastTicker.check(t, &got.lastQuote)
		})
	}
}

// Two files of one session: book and trade ids continue at midnight without a gap.
func TestBinanceAcrossMidnight(t *testing.T) {
	dir := filepath.Join(recorded.Dir(t), "binance")
	src, err := wscap.Open([]string{
		filepath.Join(dir, "spot_btcusdt_20240808.gz"), filepath.Join(dir, "spot_btcusdt_20240809.gz"),
	}, wscap.Config{Clock: wscap.ClockArrival})
	require.NoError(t, err)
	var at int64
	crossed := 0
	require.NoError(t, recorded.Each(t, src, func(tick *feed.Tick, state *feed.State) {
		if tick.Kind == feed.KindLevel && tick.Flags&feed.FlagMore == 0 {
			in, _ := state.Instrument(tick.Instrument)
			if len(in.Bids) == 0 || len(in.Asks) == 0 || in.Bids[0].Price >= in.Asks[0].Price {
				crossed++
			}
		}
		if tick.EventTime < at && tick.Kind != feed.KindLevel { // those held for the snapshot are older
			require.Fail(t, "the local clock goes back")
		}
		at = tick.EventTime
	}))
	assert.Zero(t, crossed, "a book that is put together rightly is never crossed")
	st := src.Stats()
	assert.Equal(t, int64(3451-2+3044), st.Updates)
	assert.Zero(t, st.Unanchored)
	assert.Zero(t, st.Gaps)
	assert.Equal(t, int64(9757+10147), st.Trades)
}

// The capture of four futures has no snapshots: its books are left out unless PartialBooks is set.
func TestBinanceFutures(t *testing.T) {
	dir := recorded.Dir(t)
	const file = "binance-futures-ws/BINANCE_FUTURES.ws.1.0.gz"
	var want struct {
		Lines    int64            `json:"lines"`
		ByStream map[string]int64 `json:"by_stream"`
		Trades   map[string]struct {
			Trades int64  `json:"agg_trades"`
			Size   string `json:"qty"`
			Low    string `json:"min_price"`
			High   string `json:"max_price"`
		} `json:"agg_trades"`
		Quotes map[string]int64 `json:"book_ticker_updates"`
	}
	expected(t, dir, file, &want)
	for _, partial := range []bool{false, true} {
		src, err := wscap.Open([]string{filepath.Join(dir, file)}, wscap.Config{PartialBooks: partial})
		require.NoError(t, err)
		all, state := tallies(t, src)
		assert.Len(t, all, len(want.Trades))
		for symbol, w := range want.Trades {
			got := all[symbol]
			require.NotNil(t, got, symbol)
			assert.Equal(t, w.Trades, got.trades, symbol)
			assert.Equal(t, want.Quotes[symbol], got.quotes, symbol)
			equal(t, w.Size, got.size, symbol)
			equal(t, w.Low, got.low, symbol)
			equal(t, w.High, got.high, symbol)
			id, _ := state.Lookup(symbol, "BINANCE_USDM")
			in, _ := state.Instrument(id)
			assert.Equal(t, partial, len(in.Bids) > 0)
		}
		st := src.Stats()
		assert.Equal(t, want.Lines, st.Lines)
		assert.Equal(t, want.ByStream["(ctl line)"], st.Control)
		assert.Equal(t, want.ByStream["kline_1m"], st.Other)
		assert.Equal(t, want.ByStream["depth@100ms"], st.Unanchored)
		assert.Zero(t, st.Gaps)
		assert.Zero(t, st.Resets)
	}
}

func TestCoinbaseAgreesWithAnotherDecoder(t *testing.T) {
	dir := recorded.Dir(t)
	const file = "coinbase/COINBASE.ws.28.0.gz"
	type match struct {
		ID      uint64    `json:"trade_id"`
		Product string    `json:"product_id"`
		Price   string    `json:"price"`
		Size    string    `json:"size"`
		Side    string    `json:"side"`
		Time    time.Time `json:"time"`
	}
	var want struct {
		Lines   int64            `json:"lines"`
		ByType  map[string]int64 `json:"by_type"`
		Matches map[string]struct {
			Matches int64  `json:"matches"`
			Size    string `json:"size"`
			Low     string `json:"min_price"`
			High    string `json:"max_price"`
			First   uint64 `json:"first_trade_id"`
			Last    uint64 `json:"last_trade_id"`
		} `json:"matches_per_product"`
		Tickers map[string]int64 `json:"tickers_per_product"`
		First   match            `json:"first_match"`
		Last    match            `json:"last_match"`
	}
	expected(t, dir, file, &want)
	src, err := wscap.Open([]string{filepath.Join(dir, file)}, wscap.Config{})
	require.NoError(t, err)
	all, state := tallies(t, src)
	assert.Len(t, all, len(want.Tickers))
	for product, quotes := range want.Tickers {
		got, w := all[product], want.Matches[product]
		require.NotNil(t, got, product)
		assert.Equal(t, quotes, got.quotes, product)
		require.Equal(t, w.Matches, got.trades, product)
		id, _ := state.Lookup(product, "COINBASE")
		in, _ := state.Instrument(id)
		assert.Equal(t, strings.Split(product, "-")[1], in.Definition.Currency)
		if w.Matches == 0 {
			continue
		}
		equal(t, w.Size, got.size, product)
		equal(t, w.Low, got.low, product)
		equal(t, w.High, got.high, product)
		assert.Equal(t, w.First, got.firstID, "last_match is no new trade")
		assert.Equal(t, w.Last, got.lastID, product)
		assert.Less(t, in.Bids[0].Price, in.Asks[0].Price, product)
	}
	first, last := all[want.First.Product].first, all[want.Last.Product].last
	assert.Equal(t, want.First.Time.UnixNano(), first.EventTime)
	assert.Equal(t, feed.SideBuy, first.Side, "side %s is the maker's", want.First.Side)
	assert.Equal(t, want.Last.Time.UnixNano(), last.EventTime)
	assert.Equal(t, feed.SideSell, last.Side, "side %s is the maker's", want.Last.Side)
	st := src.Stats()
	assert.Equal(t, want.Lines, st.Lines)
	assert.Equal(t, want.ByType["(ctl line)"], st.Control)
	assert.Equal(t, want.ByType["l2update"], st.Updates)
	assert.Equal(t, want.ByType["snapshot"], st.Snapshots)
	assert.Equal(t, want.ByType["last_match"], st.Repeated)
	assert.Equal(t, want.ByType["subscriptions"], st.Other)
	assert.Zero(t, st.Gaps)
	assert.Zero(t, st.Resets)
}

func TestKrakenAgreesWithAnotherDecoder(t *testing.T) {
	dir := recorded.Dir(t)
	const file = "kraken/KRAKEN_FUTURES.ws.1.0.gz"
	var want struct {
		Lines  int64            `json:"lines"`
		ByFeed map[string]int64 `json:"by_feed"`
		Trades []struct {
			Product string `json:"product_id"`
			UID     string `json:"uid"`
			Side    string `json:"side"`
			Time    int64  `json:"time"`
			Size    string `json:"qty"`
			Price   string `json:"price"`
		} `json:"trades"`
	}
	expected(t, dir, file, &want)
	src, err := wscap.Open([]string{filepath.Join(dir, file)}, wscap.Config{})
	require.NoError(t, err)
	var got []string
	quotes, levels := int64(0), 0
	var last *feed.State
	require.NoError(t, recorded.Each(t, src, func(tick *feed.Tick, state *feed.State) {
		last = state
		d, _ := state.Definition(tick.Instrument)
		switch tick.Kind {
		case feed.KindTrade:
			tr := tick.Trade()
			assert.Zero(t, tr.ID)
			assert.Zero(t, tr.Conditions)
			got = append(got, fmt.Sprintln(d.Symbol, tick.TradeRef(), tr.Side, tick.EventTime,
				string(decimal.Append(nil, tr.Size, d.SizeExponent)), string(decimal.Append(nil, tr.Price, d.PriceExponent))))
		case feed.KindQuote:
			quotes++
		case feed.KindLevel:
			levels++
		}
	}))
	require.Len(t, got, len(want.Trades))
	for i, w := range want.Trades {
		assert.Equal(t, fmt.Sprintln(w.Product, w.UID, w.Side, w.Time*1e6, strings.TrimSuffix(w.Size, ".0"), w.Price), got[i])
	}
	st := src.Stats()
	assert.Equal(t, want.Lines, st.Lines)
	assert.Equal(t, want.ByFeed["(ctl line)"], st.Control)
	assert.Equal(t, want.ByFeed["book"], st.Updates)
	assert.Equal(t, want.ByFeed["book_snapshot"], st.Snapshots)
	assert.Equal(t, want.ByFeed["ticker_lite"], quotes)
	assert.Equal(t, want.ByFeed["trade_snapshot"], st.Repeated)
	assert.Equal(t, int64(31), st.Other)
	assert.Zero(t, st.Gaps)
	assert.Greater(t, levels, 7014)
	for id := range feed.InstrumentID(last.Len()) {
		in, _ := last.Instrument(id)
		assert.Less(t, in.Bids[0].Price, in.Asks[0].Price, in.Definition.Symbol)
	}
}

// Recorded captures are recognised, and files of other formats are not.
func TestRecogniseRecorded(t *testing.T) {
	dir := recorded.Dir(t)
	for path, want := range map[string]bool{
		"binance/spot_btcusdt_20240808.gz":                           true,
		"binance/spot_btcusdt_20240809.gz":                           true,
		"binance-futures-ws/BINANCE_FUTURES.ws.1.0.gz":               true,
		"coinbase/COINBASE.ws.28.0.gz":                               true,
		"kraken/KRAKEN_FUTURES.ws.1.0.gz":                            true,
		"lobster/AMZN_2012-06-21_34200000_57600000_message_1.csv.gz": false,
		"taq/XXX_quotes_2018-01-02.csv.gz":                           false,
		"fx/fxcm_eurusd_20140507_quote.zip":                          false,
	} {
		head, err := rawfile.Head(filepath.Join(dir, path), rawfile.HeadSize)
		require.NoError(t, err)
		assert.Equal(t, want, wscap.Recognise(head), path)
	}
}

func BenchmarkRecorded(b *testing.B) {
	dir := recorded.Dir(b)
	for _, file := range []string{"binance/usdm_btcusdt_20240808.gz", "coinbase/COINBASE.ws.28.0.gz", "kraken/KRAKEN_FUTURES.ws.1.0.gz"} {
		b.Run(filepath.Dir(file), func(b *testing.B) {
			batch := make([]feed.Tick, 256)
			lines, ticks := int64(0), int64(0)
			for b.Loop() {
				src, err := wscap.Open([]string{filepath.Join(dir, file)}, wscap.Config{})
				require.NoError(b, err)
				for err == nil {
					_, err = src.Next(context.Background(), batch)
				}
				require.Equal(b, io.EOF, err)
				lines += src.Stats().Lines
				ticks += src.Stats().Ticks
				src.Close()
			}
			b.ReportMetric(float64(lines)/b.Elapsed().Seconds(), "messages/s")
			b.ReportMetric(float64(ticks)/b.Elapsed().Seconds(), "ticks/s")
		})
	}
}
