package main

import (
	"encoding/json"
	"io"
	"math/big"
	"path/filepath"
	"strings"
	"testing"

	"tickfeed/feed/recorded"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Recorded trades, published at full speed and received as JSON, add up to what an
// independent decoder found in the file.
func TestTAQTradesAddUp(t *testing.T) {
	const file = "taq/ETF_AAA_BBB_trades_2014-09-17.csv.gz"
	dir := recordedData(t)
	want := recorded.Expected[recorded.TAQ](t, dir, file)

	t.Chdir(t.TempDir())           // a short path for the socket
	published := make(chan int, 1) // heartbeats are few: a busy machine may give the test no time for seconds
	go func() {
		published <- run([]string{"publish", filepath.Join(dir, file), "--zone", "America/New_York",
			"--listen", "unix:p.sock", "--journal", "j", "--wait-for", "1", "--exit-at-end",
			"--heartbeat", "10s"}, strings.NewReader(""), io.Discard, io.Discard)
	}()
	r, w := io.Pipe()
	received := make(chan int, 1)
	var account strings.Builder
	go func() {
		defer w.Close()
		received <- run([]string{"subscribe", "unix:p.sock", "--from", "beginning", "--until-end", "--json"}, nil, w, &account)
	}()

	type sums struct {
		trades, volume     int64
		low, high, nominal *big.Rat
	}
	got := make(map[string]*sums)
	lines := json.NewDecoder(r)
	next := uint64(1)
	for lines.More() {
		var tick struct {
			Seq          uint64
			Type, Symbol string
			Price        json.Number
			Size         int64
		}
		require.NoError(t, lines.Decode(&tick))
		require.Equal(t, next, tick.Seq)
		next++
		if tick.Type != "trade" {
			require.Equal(t, "definition", tick.Type)
			continue
		}
		price, ok := new(big.Rat).SetString(tick.Price.String())
		require.True(t, ok)
		s := got[tick.Symbol]
		if s == nil {
			s = &sums{low: price, high: price, nominal: new(big.Rat)}
			got[tick.Symbol] = s
		}
		s.trades++
		s.volume += tick.Size
		if price.Cmp(s.low) < 0 {
			s.low = price
		}
		if price.Cmp(s.high) > 0 {
			s.high = price
		}
		s.nominal.Add(s.nominal, new(big.Rat).Mul(price, new(big.Rat).SetInt64(tick.Size)))
	}
	assert.Equal(t, exitDone, <-received, account.String())
	assert.Equal(t, exitDone, <-published)
	assert.Contains(t, account.String(), " 0 recoveries, 0 withheld, 0 lost, 0 disowned, 0 duplicated; next seq ")
	assert.Len(t, got, len(want.PerSymbol))
	for symbol, x := range want.PerSymbol {
		s := got[symbol]
		require.NotNil(t, s, symbol)
		assert.Equal(t, x.Trades, s.trades, symbol)
		assert.Equal(t, x.Volume, s.volume, symbol)
		for text, v := range map[string]*big.Rat{x.MinPrice: s.low, x.MaxPrice: s.high, x.Notional: s.nominal} {
			w, ok := new(big.Rat).SetString(text)
			require.True(t, ok)
			assert.Zero(t, w.Cmp(v), "%s: want %s, got %v", symbol, text, v)
		}
	}
}
