package feed_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// A redefined instrument keeps its id and the rest of its state.
func TestStateRedefinition(t *testing.T) {
	full := func() *feed.State {
		withRef := trade(10, 5, 0)
		withRef.Extra = &feed.Extra{TradeRef: "T-1"}
		return stateOf(t, define(0, "AAPL"), feed.StatusTick(0, 3, feed.StatusTrading, 20261123), feed.Quote{Bid: 1, Ask: 2}.Tick(0, 4),
			withRef, feed.Level{Side: feed.SideBuy, Price: 10, Size: 1}.Tick(0, 5))
	}
	s := full()
	apply(t, s, defineAs(0, feed.Definition{Symbol: "APPL", Venue: "XNAS", PriceExponent: -2}))
	_, found := s.Lookup("AAPL", "")
	assert.False(t, found, "the old name")
	id, found := s.Lookup("APPL", "XNAS")
	assert.True(t, found)
	assert.Zero(t, id)
	assert.Equal(t, 1, s.Len())
	was, is := instrument(t, full(), 0), instrument(t, s, 0)
	assert.Equal(t, "XNAS", is.Definition.Venue)
	is.Definition = was.Definition
	assert.Equal(t, was, is)
}

// After a change of exponents, prices and sizes keep their meaning if each of them stays an exact integer;
// otherwise all but the status and the date of the trading day is dropped.
func TestStateRescales(t *testing.T) {
	const inPrices, inSizes = 6, -6 // the first exponents, far enough from the bounds
	definition := func(price, size int) feed.Tick {
		return defineAs(0, feed.Definition{Symbol: "AAPL", PriceExponent: int8(price), SizeExponent: int8(size), TickSize: 5, Lot: 100})
	}
	type numbers struct {
		prices [8]int64 // bid, ask, open, high, low, last, of a bid level, of an ask level
		sizes  [6]int64 // of bid, of ask, last, volume, of a bid level, of an ask level
	}
	told := func(n numbers) []feed.Tick {
		return []feed.Tick{
			feed.StatusTick(0, 1, feed.StatusTrading, 20261123),
			feed.Quote{Bid: n.prices[0], BidSize: n.sizes[0], Ask: n.prices[1], AskSize: n.sizes[1]}.Tick(0, 2),
			{Kind: feed.KindSummary, EventTime: 3, Extra: &feed.Extra{Summary: &feed.Summary{
				TradingDay: 20261123, Open: n.prices[2], High: n.prices[3], Low: n.prices[4], Last: n.prices[5], LastSize: n.sizes[2],
				LastSide: feed.SideSell, LastTime: 3, LastID: 1001, LastRef: "T-1", Volume: n.sizes[3], Trades: 77,
			}}},
			feed.Level{Side: feed.SideBuy, Price: n.prices[6], Size: n.sizes[4]}.Tick(0, 4),
			feed.Level{Side: feed.SideSell, Price: n.prices[7], Size: n.sizes[5]}.Tick(0, 5),
		}
	}
	plain := numbers{[8]int64{-100, 200, 300, 400, -500, 600, 700, 800}, [6]int64{1000, 2000, 3000, 4000, 5000, 6000}}
	with := func(change func(*numbers)) numbers {
		n := plain
		change(&n)
		return n
	}
	type rescaling struct {
		was         numbers
		price, size int      // the new exponents minus the old
		is          *numbers // nil if dropped
	}
	cases := map[string]rescaling{
		"finer prices": {plain, -2, 0, &numbers{[8]int64{-10000, 20000, 30000, 40000, -50000, 60000, 70000, 80000}, plain.sizes}},
		"finer sizes":  {plain, 0, -1, &numbers{plain.prices, [6]int64{10000, 20000, 30000, 40000, 50000, 60000}}},
		"coarser prices, finer sizes": {plain, 2, -1,
			&numbers{[8]int64{-1, 2, 3, 4, -5, 6, 7, 8}, [6]int64{10000, 20000, 30000, 40000, 50000, 60000}}},
		"coarser sizes":               {plain, 0, 3, &numbers{plain.prices, [6]int64{1, 2, 3, 4, 5, 6}}},
		"prices coarser than exact":   {plain, 3, 0, nil},
		"sizes coarser than exact":    {plain, 0, 4, nil},
		"sizes exact, prices not":     {plain, 3, 3, nil},
		"beyond all powers of ten":    {plain, -19, 0, nil},
		"one, beyond all powers":      {numbers{[8]int64{1, 1, 1, 1, 1, 1, 1, 1}, plain.sizes}, -19, 0, nil},
		"coarser than all powers":     {plain, 0, 20, nil},
		"no price stays no price":     {with(func(n *numbers) { n.prices[0] = none }), 2, 0, &numbers{[8]int64{none, 2, 3, 4, -5, 6, 7, 8}, plain.sizes}},
		"no price is not an overflow": {with(func(n *numbers) { n.prices[1] = none }), -1, 0, &numbers{[8]int64{-1000, none, 3000, 4000, -5000, 6000, 7000, 8000}, plain.sizes}},
		"nothing known": {numbers{prices: [8]int64{0, 0, none, none, none, none, 0, 0}}, -24, 24,
			&numbers{prices: [8]int64{0, 0, none, none, none, none, 0, 0}}},
	}
	for i := range plain.prices {
		name := fmt.Sprintf(", price %d", i)
		cases["inexact"+name] = rescaling{with(func(n *numbers) { n.prices[i]++ }), 1, 0, nil}
		cases["too great"+name] = rescaling{with(func(n *numbers) { n.prices[i] = math.MaxInt64/10 + 1 }), -1, 0, nil}
		cases["too small"+name] = rescaling{with(func(n *numbers) { n.prices[i] = math.MinInt64/10 - 1 }), -1, 0, nil}
	}
	for i := range plain.sizes {
		name := fmt.Sprintf(", size %d", i)
		cases["inexact"+name] = rescaling{with(func(n *numbers) { n.sizes[i]++ }), 0, 1, nil}
		cases["too great"+name] = rescaling{with(func(n *numbers) { n.sizes[i] = math.MaxInt64/1000 + 1 }), 0, -3, nil}
	}
	greatest := with(func(n *numbers) {
		n.prices[3], n.prices[4], n.sizes[3] = math.MaxInt64/10, math.MinInt64/10, math.MaxInt64/10
	})
	rescaled := numbers{}
	for i, p := range greatest.prices {
		rescaled.prices[i] = 10 * p
	}
	for i, n := range greatest.sizes {
		rescaled.sizes[i] = 10 * n
	}
	cases["as great as may be"] = rescaling{greatest, -1, -1, &rescaled}

	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := stateOf(t, append([]feed.Tick{definition(inPrices, inSizes)}, told(c.was)...)...)
			other, before := s.Clone(), s.Clone()
			apply(t, s, definition(inPrices+c.price, inSizes+c.size))
			want := stateOf(t, definition(inPrices+c.price, inSizes+c.size), feed.StatusTick(0, 1, feed.StatusTrading, 20261123))
			if c.is != nil {
				apply(t, want, told(*c.is)...)
			}
			assert.Empty(t, s.Diff(want))
			assert.Empty(t, other.Diff(before), "a clone")
		})
	}
}

// Rescaling is a fold too: folding ticks in one exponent and then redefining it gives the same state as folding
// the same ticks in the other exponent.
func TestStateRescalesWhateverItHolds(t *testing.T) {
	eachSeed(t, 100, func(t *testing.T, rng *rand.Rand) {
		const price, size = 1000, 10
		g := &script{rng: rng, instruments: 1 + rng.IntN(40), stride: 1 + rng.IntN(3)}
		coarse, fine := feed.NewState(), feed.NewState()
		definition := func(id feed.InstrumentID, d feed.Definition, finer bool) feed.Tick {
			d.PriceExponent, d.SizeExponent = 0, 0
			if finer {
				d.PriceExponent, d.SizeExponent = -3, -1
			}
			return defineAs(id, d)
		}
		both := func(n int) {
			for _, tick := range g.ticks(n) {
				if tick.Kind == feed.KindDefinition {
					apply(t, coarse, definition(tick.Instrument, *tick.Definition(), false))
					apply(t, fine, definition(tick.Instrument, *tick.Definition(), true))
					continue
				}
				apply(t, coarse, tick)
				switch tick.Kind {
				case feed.KindQuote:
					tick.Values[2], tick.Values[3] = tick.Values[2]*price, tick.Values[3]*size
					fallthrough
				case feed.KindTrade, feed.KindCorrection, feed.KindCancel, feed.KindLevel:
					tick.Values[0], tick.Values[1] = tick.Values[0]*price, tick.Values[1]*size
				}
				if tick.Kind == feed.KindCorrection {
					extra := *tick.Extra
					extra.OldPrice, extra.OldSize = extra.OldPrice*price, extra.OldSize*size
					tick.Extra = &extra
				}
				apply(t, fine, tick)
			}
		}
		redefine := func(s *feed.State, finer bool) *feed.State {
			s = s.Clone()
			for _, e := range slices.Collect(s.Definitions(nil)) {
				apply(t, s, definition(e.Instrument, *e.Definition(), finer))
			}
			return s
		}
		for range 3 {
			both(300)
			require.Empty(t, redefine(coarse, true).Diff(fine))
			require.Empty(t, redefine(fine, false).Diff(coarse))
			if rng.IntN(2) == 0 {
				coarse, fine = redefine(fine, false), redefine(coarse, true)
			}
		}
	})
}
