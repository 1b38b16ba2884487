package feed_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

func define(id feed.InstrumentID, symbol string) feed.Tick {
	return defineAs(id, feed.Definition{Symbol: symbol, PriceExponent: -2})
}

func defineAs(id feed.InstrumentID, d feed.Definition) feed.Tick {
	return feed.Tick{Kind: feed.KindDefinition, Instrument: id, Extra: &feed.Extra{Definition: &d}}
}

// stateOf returns the state after ticks.
func stateOf(t *testing.T, ticks ...feed.Tick) *feed.State {
	t.Helper()
	s := feed.NewState()
	apply(t, s, ticks...)
	return s
}

func apply(t *testing.T, s *feed.State, ticks ...feed.Tick) {
	t.Helper()
	for i := range ticks {
		if err := s.Apply(&ticks[i]); err != nil {
			require.NoError(t, err, "tick %d: %+v", i, ticks[i])
		}
	}
}

func instrument(t *testing.T, s *feed.State, id feed.InstrumentID) feed.Instrument {
	t.Helper()
	in, ok := s.Instrument(id)
	require.True(t, ok, "instrument %d", id)
	return in
}

func trade(price, size int64, id uint64) feed.Tick {
	return feed.Trade{Price: price, Size: size, ID: id, Side: feed.SideBuy}.Tick(0, 1000+price)
}

func correction(oldPrice, oldSize, price, size int64, id uint64, ref string) feed.Tick {
	return feed.Correction{
		OldPrice: oldPrice, OldSize: oldSize, Trade: feed.Trade{Price: price, Size: size, ID: id, Side: feed.SideSell},
	}.Tick(0, 2000, ref)
}

func cancel(price, size int64, id uint64) feed.Tick {
	return feed.Cancel{Price: price, Size: size, ID: id}.Tick(0, 2000, "")
}

const none = feed.NoPrice

// The trading day of an instrument is a fold over its trades, corrections and cancels.
func TestStateTradingDay(t *testing.T) {
	withRef := trade(10, 5, 0)
	withRef.Extra = &feed.Extra{TradeRef: "T-1"}
	last := func(m feed.Summary, price, size int64, id uint64, ref string) feed.Summary {
		m.Last, m.LastSize, m.LastSide, m.LastTime, m.LastID, m.LastRef = price, size, feed.SideBuy, 1000+price, id, ref
		return m
	}
	corrected := func(m feed.Summary) feed.Summary {
		m.LastSide = feed.SideSell
		return m
	}
	empty := feed.Summary{Open: none, High: none, Low: none, Last: none}
	for _, c := range []struct {
		name  string
		ticks []feed.Tick
		want  feed.Summary
	}{
		{"no trade", nil, empty},
		{"trades", []feed.Tick{trade(10, 5, 1), trade(12, 1, 2), trade(-9, 2, 3)},
			last(feed.Summary{Open: 10, High: 12, Low: -9, Volume: 8, Trades: 3}, -9, 2, 3, "")},
		{"a trade without a price counts, and is no extreme", []feed.Tick{trade(none, 5, 1), trade(12, 1, 2), trade(none, 2, 3), trade(11, 1, 4)},
			last(feed.Summary{Open: 12, High: 12, Low: 11, Volume: 9, Trades: 4}, 11, 1, 4, "")},
		{"correction of a trade without a price, to one", []feed.Tick{trade(none, 5, 1), correction(none, 5, 90, 5, 1, ""), trade(95, 1, 2)},
			last(feed.Summary{Open: 95, High: 95, Low: 90, Volume: 6, Trades: 2}, 95, 1, 2, "")},
		{"correction to no price of an older trade", []feed.Tick{trade(10, 5, 1), trade(12, 1, 2), correction(10, 5, none, 6, 1, "")},
			last(feed.Summary{Open: 10, High: 12, Low: 10, Volume: 7, Trades: 2}, 12, 1, 2, "")},
		{"correction of the last trade, by id", []feed.Tick{trade(10, 5, 1), trade(12, 1, 2), correction(0, 1, 14, 3, 2, "")},
			func() feed.Summary {
				m := corrected(last(feed.Summary{Open: 10, High: 14, Low: 10, Volume: 8, Trades: 2}, 12, 3, 2, ""))
				m.Last = 14
				return m
			}()},
		{"correction of an older trade with the price and size of the last", []feed.Tick{trade(10, 5, 1), trade(10, 5, 2), correction(10, 5, 8, 4, 1, "")},
			last(feed.Summary{Open: 10, High: 10, Low: 8, Volume: 9, Trades: 2}, 10, 5, 2, "")},
		{"correction without id of the last trade, by price and size", []feed.Tick{trade(10, 5, 1), correction(10, 5, 10, 4, 0, "")},
			corrected(last(feed.Summary{Open: 10, High: 10, Low: 10, Volume: 4, Trades: 1}, 10, 4, 1, ""))},
		{"correction without id of another trade", []feed.Tick{trade(10, 5, 1), correction(10, 6, 11, 5, 0, "")},
			last(feed.Summary{Open: 10, High: 11, Low: 10, Volume: 4, Trades: 1}, 10, 5, 1, "")},
		{"correction of the last trade, by textual id", []feed.Tick{withRef, correction(0, 5, 10, 6, 0, "T-1")},
			corrected(last(feed.Summary{Open: 10, High: 10, Low: 10, Volume: 6, Trades: 1}, 10, 6, 0, "T-1"))},
		{"correction of another textual id", []feed.Tick{withRef, correction(10, 5, 10, 6, 0, "T-2")},
			last(feed.Summary{Open: 10, High: 10, Low: 10, Volume: 6, Trades: 1}, 10, 5, 0, "T-1")},
		{"a trade without textual id forgets that of the one before", []feed.Tick{withRef, trade(10, 5, 7)},
			last(feed.Summary{Open: 10, High: 10, Low: 10, Volume: 10, Trades: 2}, 10, 5, 7, "")},
		{"cancel", []feed.Tick{trade(10, 5, 1), trade(12, 1, 2), cancel(10, 5, 1)},
			last(feed.Summary{Open: 10, High: 12, Low: 10, Volume: 1, Trades: 1}, 12, 1, 2, "")},
		{"cancel of every trade", []feed.Tick{withRef, cancel(10, 5, 0)}, empty},
		{"cancel and correction of another day's trade", []feed.Tick{cancel(10, 5, 1), correction(10, 5, 11, 9, 1, "")}, empty},
		{"cancel of more than there was", []feed.Tick{trade(10, 5, 1), trade(10, 5, 2), cancel(10, 50, 1)},
			last(feed.Summary{Open: 10, High: 10, Low: 10, Volume: 0, Trades: 1}, 10, 5, 2, "")},
		{"correction to less than nothing", []feed.Tick{trade(10, 5, 1), correction(9, 50, 9, 1, 7, "")},
			last(feed.Summary{Open: 10, High: 10, Low: 9, Volume: 0, Trades: 1}, 10, 5, 1, "")},
		{"volume beyond the bound", []feed.Tick{trade(10, feed.MaxSize, 1), trade(10, 5, 2)},
			last(feed.Summary{Open: 10, High: 10, Low: 10, Volume: feed.MaxSize, Trades: 2}, 10, 5, 2, "")},
		{"a new day", []feed.Tick{withRef, feed.StatusTick(0, 1, feed.StatusTrading, 20261123)},
			feed.Summary{TradingDay: 20261123, Open: none, High: none, Low: none, Last: none}},
		{"a status within the day", []feed.Tick{feed.StatusTick(0, 1, feed.StatusTrading, 20261123), trade(10, 5, 1), feed.StatusTick(0, 1, feed.StatusHalted, 0)},
			last(feed.Summary{TradingDay: 20261123, Open: 10, High: 10, Low: 10, Volume: 5, Trades: 1}, 10, 5, 1, "")},
		{"a summary", []feed.Tick{withRef, {Kind: feed.KindSummary, Extra: &feed.Extra{Summary: &feed.Summary{TradingDay: 1, Open: 1, High: 4, Low: 0, Last: 2, Volume: 9, Trades: 3}}}},
			feed.Summary{TradingDay: 1, Open: 1, High: 4, Low: 0, Last: 2, Volume: 9, Trades: 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := stateOf(t, define(0, "AAPL"))
			apply(t, s, c.ticks...)
			assert.Equal(t, c.want, instrument(t, s, 0).Summary)
		})
	}
}

// Status, quote and book outlive the trading day; each keeps its event time.
func TestStateKeepsQuoteStatusAndBook(t *testing.T) {
	q := feed.Quote{Bid: 10, BidSize: 1, Ask: none}
	s := stateOf(t, define(0, "AAPL"), define(1, "MSFT"),
		q.Tick(0, 42), feed.Level{Side: feed.SideBuy, Price: 10, Size: 1}.Tick(0, 41),
		feed.StatusTick(0, 44, feed.StatusTrading, 20261123))

	in := instrument(t, s, 0)
	assert.Equal(t, "AAPL", in.Definition.Symbol)
	assert.Equal(t, feed.StatusTrading, in.Status)
	assert.Equal(t, int64(44), in.StatusTime)
	assert.True(t, in.HasQuote)
	assert.Equal(t, q, in.Quote)
	assert.Equal(t, int64(42), in.QuoteTime)
	assert.Equal(t, []feed.BookLevel{{Price: 10, Size: 1, EventTime: 41}}, in.Bids)
	assert.Empty(t, in.Asks)
	assert.False(t, instrument(t, s, 1).HasQuote)
}

// A level sets the size at a price; a book side is sorted, best first, and bounded.
func TestStateBook(t *testing.T) {
	level := func(side feed.Side, price, size int64) feed.Tick {
		return feed.Level{Side: side, Price: price, Size: size}.Tick(0, price)
	}
	prices := func(levels []feed.BookLevel) (ps []int64) {
		for _, l := range levels {
			ps = append(ps, l.Price)
		}
		return ps
	}
	book := func(t *testing.T, ticks ...feed.Tick) (bids, asks []feed.BookLevel) {
		s := stateOf(t, define(0, "AAPL"))
		apply(t, s, ticks...)
		in := instrument(t, s, 0)
		return in.Bids, in.Asks
	}
	t.Run("best first on both sides", func(t *testing.T) {
		var ticks []feed.Tick
		for _, p := range []int64{3, -1, 7, 5, math.MaxInt64} {
			ticks = append(ticks, level(feed.SideBuy, p, 1), level(feed.SideSell, p, 1))
		}
		bids, asks := book(t, ticks...)
		assert.Equal(t, []int64{math.MaxInt64, 7, 5, 3, -1}, prices(bids))
		assert.Equal(t, []int64{-1, 3, 5, 7, math.MaxInt64}, prices(asks))
	})
	t.Run("change and remove", func(t *testing.T) {
		bids, _ := book(t, level(feed.SideBuy, 3, 1), level(feed.SideBuy, 4, 1), level(feed.SideBuy, 3, 9),
			level(feed.SideBuy, 4, 0), level(feed.SideBuy, 5, 0))
		assert.Equal(t, []feed.BookLevel{{Price: 3, Size: 9, EventTime: 3}}, bids)
	})
	for side, want := range map[feed.Side][2]int{feed.SideBuy: {0, 1}, feed.SideSell: {1, 0}, feed.SideBoth: {0, 0}} {
		t.Run("clear "+side.String(), func(t *testing.T) {
			bids, asks := book(t, level(feed.SideBuy, 3, 1), level(feed.SideSell, 4, 1), feed.ClearTick(0, 1, side))
			assert.Equal(t, want, [2]int{len(bids), len(asks)})
		})
	}
	t.Run("beyond the bound the level farthest from the touch goes", func(t *testing.T) {
		var ticks []feed.Tick
		for p := range int64(feed.MaxLevels) {
			ticks = append(ticks, level(feed.SideBuy, p, 1), level(feed.SideSell, p, 1))
		}
		bids, asks := book(t, append(ticks, level(feed.SideBuy, feed.MaxLevels, 1), level(feed.SideSell, -1, 1))...)
		require.Len(t, bids, feed.MaxLevels)
		require.Len(t, asks, feed.MaxLevels)
		assert.Equal(t, []int64{feed.MaxLevels, 1}, []int64{bids[0].Price, bids[feed.MaxLevels-1].Price})
		assert.Equal(t, []int64{-1, feed.MaxLevels - 2}, []int64{asks[0].Price, asks[feed.MaxLevels-1].Price})

		bids, _ = book(t, append(ticks, level(feed.SideBuy, -1, 1))...)
		assert.Equal(t, int64(0), bids[feed.MaxLevels-1].Price, "a level beyond all others does not come")
		bids, _ = book(t, append(ticks, level(feed.SideBuy, 7, 9))...)
		assert.Equal(t, int64(9), bids[feed.MaxLevels-1-7].Size, "a level that is there changes")
	})
}

// A tick that cannot be folded is an error and changes nothing; a tick of an unknown kind is only counted.
func TestStateRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		tick feed.Tick
		want string
	}{
		{"undefined", feed.Quote{}.Tick(1, 0), "tick 0: quote of instrument 1, which is not defined"},
		{"id beyond the bound", feed.Quote{}.Tick(feed.MaxInstruments, 0), "tick 0: quote of instrument 16777216, ids are below 16777216"},
		{"greatest id", feed.Quote{}.Tick(math.MaxUint32, 0), "tick 0: quote of instrument 4294967295, ids are below 16777216"},
		{"definition beyond the bound", define(feed.MaxInstruments, "X"), "tick 0: definition of instrument 16777216, ids are below 16777216"},
		{"definition of nothing", feed.Tick{Kind: feed.KindDefinition, Instrument: 3}, "tick 0: definition of instrument 3 is empty"},
		{"definition that is not valid", define(3, ""), "tick 0: definition: Symbol is empty"},
		{"one symbol twice", define(3, "AAPL"), "tick 0: definition of AAPL as instrument 3: it is instrument 0"},
		{"summary of nothing", feed.Tick{Kind: feed.KindSummary}, "tick 0: summary of instrument 0 is empty"},
		{"level of no side", feed.Level{Price: 1, Size: 1}.Tick(0, 0), `tick 0: level of instrument 0: side must be buy or sell, got ""`},
		{"level of both sides", feed.Level{Side: feed.SideBoth, Price: 1, Size: 1}.Tick(0, 0), `tick 0: level of instrument 0: side must be buy or sell, got "both"`},
		{"clear of no side", feed.ClearTick(0, 0, feed.SideNone), `tick 0: clear of instrument 0: side must be buy, sell or both, got ""`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := stateOf(t, define(0, "AAPL"))
			before := s.Clone()
			assert.EqualError(t, s.Apply(&c.tick), c.want)
			assert.Empty(t, s.Diff(before))
			assert.Equal(t, 1, s.Len())
		})
	}

	s := stateOf(t, define(0, "AAPL"))
	before := s.Clone()
	var undefined *feed.UndefinedError
	require.ErrorAs(t, s.Apply(&feed.Tick{Seq: 41, Kind: feed.KindTrade, Instrument: 7}), &undefined)
	assert.Equal(t, feed.UndefinedError{Instrument: 7, Kind: feed.KindTrade, Seq: 41}, *undefined)
	apply(t, s, feed.Tick{Kind: 99, Instrument: 0}, feed.Tick{Kind: 99, Instrument: math.MaxUint32}, feed.Tick{})
	assert.Equal(t, uint64(3), s.Unknown())
	assert.Empty(t, s.Diff(before))
}

// Ids may be far apart; Len, Lookup and the order of entries follow the ids.
func TestStateSparseIDs(t *testing.T) {
	s := stateOf(t, define(700, "C"), define(feed.MaxInstruments-1, "D"), define(0, "A"), define(63, "B"))
	assert.Equal(t, feed.MaxInstruments, s.Len())
	var symbols []string
	for e := range s.Definitions(nil) {
		symbols = append(symbols, e.Definition().Symbol)
		assert.Equal(t, feed.FlagSnapshot, e.Flags)
	}
	assert.Equal(t, []string{"A", "B", "C", "D"}, symbols)
	for id, symbol := range map[feed.InstrumentID]string{0: "A", 63: "B", 700: "C", feed.MaxInstruments - 1: "D"} {
		apply(t, s, feed.Quote{Bid: int64(id)}.Tick(id, 1))
		d, ok := s.Definition(id)
		require.True(t, ok)
		assert.Equal(t, symbol, d.Symbol)
		assert.True(t, s.Defined(id))
		got, ok := s.Lookup(symbol, "")
		assert.True(t, ok)
		assert.Equal(t, id, got)
		assert.Equal(t, int64(id), instrument(t, s, id).Quote.Bid)
	}
	for _, id := range []feed.InstrumentID{1, 62, 64, 699, 701, feed.MaxInstruments - 2, feed.MaxInstruments, math.MaxUint32} {
		_, ok := s.Definition(id)
		assert.False(t, ok, id)
		assert.False(t, s.Defined(id), id)
		_, ok = s.Instrument(id)
		assert.False(t, ok, id)
	}
	_, ok := s.Lookup("A", "XNAS")
	assert.False(t, ok)

	s = stateOf(t, define(5, "F"), define(1, "B"))
	apply(t, s, feed.Quote{Bid: 1}.Tick(1, 1), feed.Quote{Bid: 5}.Tick(5, 1))
	assert.Equal(t, int64(1), instrument(t, s, 1).Quote.Bid)
	assert.Equal(t, int64(5), instrument(t, s, 5).Quote.Bid)
	var undefined *feed.UndefinedError
	assert.ErrorAs(t, s.Apply(&feed.Tick{Kind: feed.KindQuote}), &undefined)
}

// One definition costs little memory, whatever its id.
func TestStateMemoryIsProportionalToDefinitions(t *testing.T) {
	var before, after runtime.MemStats
	tick := define(feed.MaxInstruments-1, "X")
	runtime.ReadMemStats(&before)
	s := feed.NewState()
	mustApply(s, tick)
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(s)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(256<<10))
}

// Ticks of the common kinds allocate nothing, whether ids are dense or not.
func TestStateApplyAllocatesNothing(t *testing.T) {
	for _, id := range []feed.InstrumentID{0, 7000} {
		s := stateOf(t, define(id, "AAPL"))
		ticks := []feed.Tick{
			feed.Quote{Bid: 1, Ask: 2}.Tick(id, 1), feed.Trade{Price: 1, Size: 1, ID: 9}.Tick(id, 1),
			feed.Level{Side: feed.SideBuy, Price: 10, Size: 1}.Tick(id, 1), feed.Level{Side: feed.SideBuy, Price: 10}.Tick(id, 1),
			feed.ClearTick(id, 1, feed.SideBoth), feed.StatusTick(id, 1, feed.StatusHalted, 20261123), feed.Cancel{}.Tick(id, 1, ""),
		}
		assert.Zero(t, testing.AllocsPerRun(100, func() {
			for i := range ticks {
				mustApply(s, ticks[i])
			}
		}))
	}
}

// script returns random but valid ticks of up to the given number of instruments, whose ids are stride apart.
type script struct {
	rng         *rand.Rand
	instruments int
	stride      int
	defined     []feed.InstrumentID
	time        int64
}

func (g *script) next() feed.Tick {
	g.time++
	if len(g.defined) == 0 || len(g.defined) < g.instruments && g.rng.IntN(10) == 0 {
		id := feed.InstrumentID(len(g.defined) * g.stride)
		g.defined = append(g.defined, id)
		return define(id, fmt.Sprintf("S%d", id))
	}
	id := g.defined[g.rng.IntN(len(g.defined))]
	price, size := g.rng.Int64N(8), g.rng.Int64N(4)
	ref := []string{"", "", "T-1", "T-2"}[g.rng.IntN(4)]
	side := feed.SideBuy + feed.Side(g.rng.IntN(2))
	tr := feed.Trade{Price: price, Size: size, ID: g.rng.Uint64N(3), Side: side}
	switch g.rng.IntN(12) {
	case 0:
		d := feed.Definition{Symbol: fmt.Sprintf("S%d", id), PriceExponent: int8(g.rng.IntN(3)), TickSize: g.rng.Int64N(2)}
		return defineAs(id, d)
	case 1, 2:
		return feed.Quote{Bid: price, BidSize: size, Ask: price + 1, AskSize: size}.Tick(id, g.time)
	case 3, 4, 5:
		t := tr.Tick(id, g.time)
		if ref != "" {
			t.Extra = &feed.Extra{TradeRef: ref}
		}
		return t
	case 6:
		return feed.Correction{OldPrice: g.rng.Int64N(8), OldSize: g.rng.Int64N(4), Trade: tr}.Tick(id, g.time, ref)
	case 7:
		return feed.Cancel{Price: price, Size: size, ID: tr.ID}.Tick(id, g.time, ref)
	case 8:
		return feed.StatusTick(id, g.time, feed.Status(g.rng.IntN(6)), int32(g.rng.IntN(3))).Because(ref, g.rng.Int64N(3))
	case 9:
		return feed.ClearTick(id, g.time, feed.SideBuy+feed.Side(g.rng.IntN(3)))
	default:
		return feed.Level{Side: side, Price: price, Size: size}.Tick(id, g.time)
	}
}

func (g *script) ticks(n int) []feed.Tick {
	ts := make([]feed.Tick, n)
	for i := range ts {
		ts[i] = g.next()
	}
	return ts
}

func eachSeed(t *testing.T, n int, f func(t *testing.T, rng *rand.Rand)) {
	for seed := range uint64(n) {
		if !t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { f(t, rand.New(rand.NewPCG(seed, 1))) }) {
			return
		}
	}
}

// ApplyAll does the same as Apply for each tick, and stops where Apply would.
func TestStateApplyAll(t *testing.T) {
	eachSeed(t, 100, func(t *testing.T, rng *rand.Rand) {
		g := &script{rng: rng, instruments: 1 + rng.IntN(100), stride: 1 + rng.IntN(2)}
		all, each := feed.NewState(), feed.NewState()
		for range 20 {
			ticks := g.ticks(rng.IntN(100))
			bad := len(ticks)
			if rng.IntN(3) == 0 {
				bad = rng.IntN(len(ticks) + 1)
				ticks = slices.Insert(ticks, bad, feed.Quote{Bid: 1, Ask: 2}.Tick(999_999, 1))
			}
			before := all.Clone() // all owns nothing after this
			n, err := all.ApplyAll(ticks)
			require.Equal(t, bad, n)
			require.Empty(t, before.Diff(each), "the clone was changed")
			apply(t, each, ticks[:bad]...)
			require.Empty(t, all.Diff(each))
			_, again := before.ApplyAll(ticks)
			require.Equal(t, again, err)
			require.Empty(t, before.Diff(each))
			if bad < len(ticks) {
				require.ErrorAs(t, err, new(*feed.UndefinedError))
				apply(t, all, ticks[bad+1:]...)
				apply(t, each, ticks[bad+1:]...)
			}
		}
	})
}

// ApplyKnown does the same as Apply for each tick that Apply takes, and goes on after the others.
func TestStateApplyKnown(t *testing.T) {
	eachSeed(t, 100, func(t *testing.T, rng *rand.Rand) {
		g := &script{rng: rng, instruments: 1 + rng.IntN(100), stride: 1 + rng.IntN(2)}
		known, each := feed.NewState(), feed.NewState()
		ticks, undefined, refused := g.ticks(rng.IntN(200)), 0, error(nil)
		for range rng.IntN(5) {
			bad := feed.Quote{Bid: 1, Ask: 2}.Tick(999_999, 1)
			if rng.IntN(3) == 0 {
				bad = feed.Tick{Kind: feed.KindDefinition, Instrument: 7}
			}
			ticks = slices.Insert(ticks, rng.IntN(len(ticks)+1), bad)
		}
		for i := range ticks {
			switch err := each.Apply(&ticks[i]); {
			case errors.As(err, new(*feed.UndefinedError)):
				undefined++
			case err != nil && refused == nil:
				refused = err
			}
		}
		n, err := known.ApplyKnown(ticks)
		require.Equal(t, undefined, n)
		require.Equal(t, refused, err)
		require.Empty(t, known.Diff(each))
	})
}

// Volume and counts agree with a plain list of the day's trades, as long as corrections and cancels name trades
// in it.
func TestStateVolumeAgreesWithAList(t *testing.T) {
	eachSeed(t, 50, func(t *testing.T, rng *rand.Rand) {
		s := stateOf(t, define(0, "AAPL"))
		var day []feed.Trade
		for n := range uint64(300) {
			switch i := rng.IntN(len(day) + 1); {
			case rng.IntN(4) > 0 || i == len(day):
				tr := feed.Trade{Price: rng.Int64N(9), Size: rng.Int64N(100), ID: n + 1}
				day = append(day, tr)
				apply(t, s, tr.Tick(0, 1))
			case rng.IntN(2) == 0:
				apply(t, s, feed.Cancel{Price: day[i].Price, Size: day[i].Size, ID: day[i].ID}.Tick(0, 1, ""))
				day = slices.Delete(day, i, i+1)
			default:
				now := feed.Trade{Price: rng.Int64N(9), Size: rng.Int64N(100), ID: day[i].ID}
				apply(t, s, feed.Correction{OldPrice: day[i].Price, OldSize: day[i].Size, Trade: now}.Tick(0, 1, ""))
				day[i] = now
			}
			var volume int64
			for _, tr := range day {
				volume += tr.Size
			}
			m := instrument(t, s, 0).Summary
			require.Equal(t, [2]int64{volume, int64(len(day))}, [2]int64{m.Volume, m.Trades})
			require.Equal(t, len(day) == 0, m.Open == none && m.High == none && m.Low == none && m.Last == none)
			within := func(tr feed.Trade) bool { return m.Low <= tr.Price && tr.Price <= m.High }
			require.False(t, slices.ContainsFunc(day, func(tr feed.Trade) bool { return !within(tr) }))
		}
	})
}

// A definition handed out by a state never changes: neither if its instrument is redefined, nor by later
// definitions in a clone or in the state that was cloned.
func TestStateDefinitionsStay(t *testing.T) {
	names := func(s *feed.State) (out []string) {
		for tick := range s.Definitions(nil) {
			out = append(out, tick.Definition().Symbol)
		}
		return out
	}
	s := stateOf(t, define(0, "A"), define(1, "B"))
	was, _ := s.Definition(1)
	clone := s.Clone()
	apply(t, s, define(2, "C"))
	apply(t, clone, define(2, "D"))
	assert.Equal(t, []string{"A", "B", "C"}, names(s))
	apply(t, s, define(1, "B2"))
	apply(t, clone, define(0, "A2"), define(3, "E"))
	assert.Equal(t, "B", was.Symbol)
	assert.Equal(t, []string{"A", "B2", "C"}, names(s))
	assert.Equal(t, []string{"A2", "B", "D", "E"}, names(clone))

	for id := range feed.InstrumentID(70) { // beyond one chunk, in both
		if id > 3 {
			apply(t, s, define(id, fmt.Sprint("s", id)))
			apply(t, clone, define(id, fmt.Sprint("c", id)))
		}
	}
	for id := range feed.InstrumentID(70) {
		d, _ := s.Definition(id)
		e, _ := clone.Definition(id)
		if id > 3 {
			assert.Equal(t, []string{fmt.Sprint("s", id), fmt.Sprint("c", id)}, []string{d.Symbol, e.Symbol})
		}
	}

	extra := define(9, "X").Extra
	tick := feed.Tick{Kind: feed.KindDefinition, Instrument: 99, Extra: extra}
	apply(t, s, tick)
	extra.Definition.Symbol = "Y" // the tick belongs to its owner again
	d, _ := s.Definition(99)
	assert.Equal(t, "X", d.Symbol)
}

// A catalog holds the definitions that the state had when the catalog was taken, whatever is defined later.
func TestCatalogStaysAsItIs(t *testing.T) {
	s := feed.NewState()
	apply := func(tick feed.Tick) { require.NoError(t, s.Apply(&tick)) }
	names := func(c feed.Catalog) (all []string) {
		for tick := range c.Definitions(nil) {
			all = append(all, fmt.Sprint(tick.Instrument, " ", tick.Definition().Symbol))
		}
		return all
	}
	empty := s.Catalog()
	apply(define(0, "A"))
	apply(define(1, "B"))
	two := s.Catalog()
	apply(define(1, "C"))
	apply(define(70, "D"))
	assert.Empty(t, names(empty))
	assert.Equal(t, []string{"0 A", "1 B"}, names(two))
	assert.Equal(t, []string{"0 A", "1 C", "70 D"}, names(s.Catalog()))
}

// A status has the reason and the expected end that it came with; a snapshot carries them, and the next status replaces them. An
// auction changes nothing.
func TestStatusReason(t *testing.T) {
	s := stateOf(t, define(0, "A"), feed.StatusTick(0, 5, feed.StatusHalted, 0).Because("LUDP", 500))
	in := instrument(t, s, 0)
	assert.Equal(t, "LUDP", in.StatusReason)
	assert.EqualValues(t, 500, in.StatusEnd)
	before := s.Clone()
	again := feed.NewState()
	for e := range s.Entries(nil) {
		mustApply(again, e)
	}
	assert.Empty(t, again.Diff(s))
	apply(t, s, feed.Auction{Kind: feed.AuctionHalt, Price: 7}.Tick(0, 6))
	assert.Empty(t, s.Diff(before), "an auction")
	assert.Zero(t, s.Unknown())
	apply(t, s, feed.StatusTick(0, 7, feed.StatusTrading, 0))
	assert.Empty(t, instrument(t, s, 0).StatusReason)
	assert.Zero(t, instrument(t, s, 0).StatusEnd)
	assert.NotEmpty(t, s.Diff(before))
	assert.Equal(t, "LUDP", instrument(t, before, 0).StatusReason, "a clone goes its own way")
	var undefined *feed.UndefinedError
	assert.ErrorAs(t, s.Apply(&feed.Tick{Kind: feed.KindAuction, Instrument: 4}), &undefined)
}
