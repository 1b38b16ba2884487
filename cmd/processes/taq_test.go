package processes

import (
	"bufio"
	"bytes"
	"encoding/json"
	"math/big"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/effort"
	"tickfeed/feed/recorded"
)

// A row is a line that subscribe prints with --json. Numbers keep every digit.
type row struct {
	Seq     uint64       `json:"seq"`
	Type    string       `json:"type"`
	Symbol  string       `json:"symbol"`
	Venue   string       `json:"venue"`
	Event   int64        `json:"ts_event"`
	Price   json.Number  `json:"price"`
	Size    json.Number  `json:"size"`
	Bid     *json.Number `json:"bid"`
	BidSize json.Number  `json:"bid_size"`
	Ask     *json.Number `json:"ask"`
	AskSize json.Number  `json:"ask_size"`
}

// rows reads what subscribe printed.
func rows(t *testing.T, printed []byte) []row {
	t.Helper()
	var out []row
	lines := bufio.NewScanner(bytes.NewReader(printed))
	for lines.Scan() {
		var r row
		require.NoError(t, json.Unmarshal(lines.Bytes(), &r), "%s", lines.Text())
		out = append(out, r)
	}
	return out
}

func exact(t *testing.T, n json.Number) *big.Rat {
	t.Helper()
	v, ok := new(big.Rat).SetString(n.String())
	require.True(t, ok, "%q is no number", n)
	return v
}

// A span is the least and the greatest of some numbers.
type span struct{ least, most *big.Rat }

func (s *span) add(v *big.Rat) {
	if s.least == nil || v.Cmp(s.least) < 0 {
		s.least = v
	}
	if s.most == nil || v.Cmp(s.most) > 0 {
		s.most = v
	}
}

func equals(t *testing.T, want string, got *big.Rat, what string) {
	t.Helper()
	v, ok := new(big.Rat).SetString(want)
	require.True(t, ok, "%q is no number", want)
	if assert.NotNil(t, got, what) {
		assert.Zero(t, v.Cmp(got), "%s: want %s, got %s", what, want, got.FloatString(10))
	}
}

// A recorded day goes through two processes and a journal at full speed, and what comes out
// adds up to what an independent program found in the file.
func TestRecordedDays(t *testing.T) {
	t.Parallel()
	dir := recorded.Dir(t)
	newYork, err := time.LoadLocation("America/New_York")
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(dir, "taq", "*.csv.gz"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files[:effort.Of(t, len(files), 1)] {
		name := "taq/" + filepath.Base(file)
		t.Run(filepath.Base(file), func(t *testing.T) {
			want := recorded.Expected[recorded.TAQ](t, dir, name)
			p := publish(t, file, "--zone", "America/New_York", "--journal", filepath.Join(t.TempDir(), "journal"), "--exit-at-end", "--wait-for", "1")
			s := start(t, exec.Command(tickfeed(t), "subscribe", p.addr, "--from", "beginning", "--until-end", "--json"))
			require.Equal(t, 0, s.wait(), "%v", s.said())
			require.Equal(t, 0, p.wait(), "%v", p.said())
			got := rows(t, s.stdout.Bytes())
			said := s.said()
			assert.Contains(t, said[len(said)-1], "0 recoveries, 0 withheld, 0 lost, 0 disowned, 0 duplicated")

			defined := map[string]bool{}
			perExchange := map[string]int64{}
			var ticks int64
			for i, r := range got {
				require.Equal(t, uint64(i+1), r.Seq)
				if r.Type == "definition" {
					defined[r.Symbol+"@"+r.Venue] = true
					continue
				}
				require.True(t, defined[r.Symbol+"@"+r.Venue], "number %d is of an instrument that was not defined", r.Seq)
				perExchange[r.Venue]++
				ticks++
			}
			assert.Equal(t, want.Rows, ticks)
			if want.PerExchange != nil {
				assert.Equal(t, want.PerExchange, perExchange)
			}
			if strings.Contains(name, "quotes") {
				checkQuotes(t, got, &want)
			} else {
				checkTrades(t, got, &want, newYork)
			}
			t.Logf("%d rows", ticks)
		})
	}
}

func checkTrades(t *testing.T, got []row, want *recorded.TAQ, zone *time.Location) {
	type sums struct {
		trades           int64
		volume, notional big.Rat
		prices           span
		first, last      int64
	}
	bySymbol := map[string]*sums{}
	for _, r := range got {
		if r.Type == "definition" {
			continue
		}
		require.Equal(t, "trade", r.Type)
		s := bySymbol[r.Symbol]
		if s == nil {
			s = &sums{first: r.Event}
			bySymbol[r.Symbol] = s
		}
		price, size := exact(t, r.Price), exact(t, r.Size)
		s.trades++
		s.volume.Add(&s.volume, size)
		s.notional.Add(&s.notional, new(big.Rat).Mul(price, size))
		s.prices.add(price)
		s.last = r.Event
	}
	assert.Len(t, bySymbol, len(want.PerSymbol))
	clock := func(ns int64) string { return time.Unix(0, ns).In(zone).Format("2006-01-02 15:04:05.000000") }
	for symbol, w := range want.PerSymbol {
		s := bySymbol[symbol]
		require.NotNil(t, s, symbol)
		assert.Equal(t, w.Trades, s.trades, symbol)
		assert.Zero(t, s.volume.Cmp(new(big.Rat).SetInt64(w.Volume)), "%s: volume %s", symbol, s.volume.FloatString(0))
		equals(t, w.Notional, &s.notional, symbol+" notional")
		equals(t, w.MinPrice, s.prices.least, symbol+" least price")
		equals(t, w.MaxPrice, s.prices.most, symbol+" greatest price")
		assert.Equal(t, w.First, clock(s.first), symbol)
		assert.Equal(t, w.Last, clock(s.last), symbol)
	}
}

func checkQuotes(t *testing.T, got []row, want *recorded.TAQ) {
	var bids, asks span
	bidSizes, askSizes := new(big.Rat), new(big.Rat)
	var noBid, noAsk int64
	for _, r := range got {
		if r.Type == "definition" {
			continue
		}
		require.Equal(t, "quote", r.Type)
		bidSizes.Add(bidSizes, exact(t, r.BidSize))
		askSizes.Add(askSizes, exact(t, r.AskSize))
		if r.Bid == nil {
			noBid++
		} else {
			bids.add(exact(t, *r.Bid))
		}
		if r.Ask == nil {
			noAsk++
		} else {
			asks.add(exact(t, *r.Ask))
		}
	}
	assert.Equal(t, want.BidZero, noBid, "rows without a bid")
	assert.Equal(t, want.AskZero, noAsk, "rows without an offer")
	assert.Zero(t, bidSizes.Cmp(new(big.Rat).SetInt64(want.BidSizes)), "bid sizes %s", bidSizes.FloatString(0))
	assert.Zero(t, askSizes.Cmp(new(big.Rat).SetInt64(want.AskSizes)), "ask sizes %s", askSizes.FloatString(0))
	equals(t, want.MinBid, bids.least, "least bid")
	equals(t, want.MaxBid, bids.most, "greatest bid")
	equals(t, want.MinAsk, asks.least, "least offer")
	equals(t, want.MaxAsk, asks.most, "greatest offer")
}
