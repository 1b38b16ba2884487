package sim

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// A stageJudge checks, tick by tick, the rules that a market keeps whatever its scenario does.
type stageJudge struct {
	t     testing.TB
	m     *Market
	state *feed.State
	last  int64
	seen  map[feed.InstrumentID]*staged
	bands [][2]int64 // in ticks, by instrument, before the event; zero for none
	ticks []feed.Tick
	found map[string][]feed.Tick // what of has found
}

type staged struct {
	status    feed.Status
	end       int64
	quote     feed.Quote
	uncrossed bool // a trade has come in the auction
	book      [3]map[int64]int64
}

// play runs a market to its end and checks every tick. It returns the ticks.
func play(t testing.TB, c Config) *stageJudge {
	t.Helper()
	m, err := New(c)
	require.NoError(t, err)
	j := &stageJudge{t: t, m: m, state: feed.NewState(), seen: map[feed.InstrumentID]*staged{}, found: map[string][]feed.Tick{}}
	out := make([]feed.Tick, len(m.scratch))
	for m.phase != ended {
		j.bands = append(j.bands[:0], make([][2]int64, len(m.stage.overlays))...)
		for i := range m.stage.overlays {
			if l := m.stage.overlays[i].limits; l != nil && m.phase == trading {
				j.bands[i] = [2]int64{l.lower, l.upper}
			}
		}
		n := m.step(out)
		for i := range out[:n] {
			j.visit(&out[i])
		}
		j.ticks = append(j.ticks, out[:n]...)
	}
	return j
}

func (j *stageJudge) visit(k *feed.Tick) {
	check := func(ok bool, rule string) {
		if !ok {
			require.FailNow(j.t, rule, describe(k))
		}
	}
	check(k.EventTime >= j.last, "event times never decrease")
	j.last = k.EventTime
	if err := j.state.Apply(k); err != nil {
		require.NoError(j.t, err, describe(k))
	}
	in := j.seen[k.Instrument]
	if in == nil {
		in = &staged{book: [3]map[int64]int64{{}, {}, {}}}
		j.seen[k.Instrument] = in
	}
	cross := j.m.instruments[k.Instrument].special&locked != 0
	switch k.Kind {
	case feed.KindStatus:
		if in.status == feed.StatusAuction && k.Status == feed.StatusTrading && k.EventTime >= in.end {
			check(in.uncrossed, "an auction that ends has an uncross")
		}
		in.status, in.end, in.uncrossed = k.Status, k.StatusEnd(), false
	case feed.KindQuote:
		q := k.Quote()
		check(in.status == feed.StatusTrading, "quotes only while trading")
		check(q.Bid < q.Ask || cross, "no locked and no crossed quote")
		check(q.BidSize > 0 && q.AskSize > 0, "quotes have sizes")
		in.quote = q
	case feed.KindTrade:
		tr := k.Trade()
		check(tr.Size > 0 && !cross, "a trade has a size, and there is none in a locked market")
		if in.status == feed.StatusAuction {
			check(k.EventTime == in.end && !in.uncrossed, "in an auction no trade before the uncross, and one then")
			in.uncrossed = true
			break
		}
		check(in.status == feed.StatusTrading, "no trades during a halt")
		check(tr.Price >= in.quote.Bid && tr.Price <= in.quote.Ask, "a trade is within the quote")
		if b := j.bands[k.Instrument]; b != [2]int64{} {
			price := tr.Price / j.m.instruments[k.Instrument].tickSize
			check(price >= b[0] && price <= b[1], fmt.Sprintf("no trade outside the band %v", b))
		}
	case feed.KindAuction:
		check(in.status == feed.StatusAuction, "indicative prices only in an auction")
	case feed.KindClear:
		clear(in.book[feed.SideBuy])
		clear(in.book[feed.SideSell])
	case feed.KindLevel:
		l := k.Level()
		if in.book[l.Side][l.Price] = l.Size; l.Size == 0 {
			delete(in.book[l.Side], l.Price)
		}
	}
	if j.m.config.Depth > 0 && k.Flags&feed.FlagMore == 0 && k.Kind == feed.KindLevel && !cross {
		bid, ask := best(in.book)
		check(bid == in.quote.Bid && ask == in.quote.Ask && in.book[feed.SideBuy][bid] == in.quote.BidSize, "after each event the best levels are the quote")
	}
}

// of returns the ticks of a kind of the instrument called symbol.
func (j *stageJudge) of(symbol string, kinds ...feed.Kind) (ticks []feed.Tick) {
	id, ok := j.state.Lookup(symbol, venue)
	require.True(j.t, ok, symbol)
	key := fmt.Sprint(symbol, kinds)
	if ticks, ok := j.found[key]; ok {
		return ticks
	}
	defer func() { j.found[key] = ticks }()
	for _, k := range j.ticks {
		if k.Instrument == id && slices.Contains(kinds, k.Kind) {
			ticks = append(ticks, k)
		}
	}
	return ticks
}

// mid returns the middle of the last quote of an instrument before a time after the opening.
func (j *stageJudge) mid(symbol string, before time.Duration) float64 {
	quotes := j.of(symbol, feed.KindQuote)
	at := j.m.config.Start.UnixNano() + int64(before)
	i, _ := slices.BinarySearchFunc(quotes, at, func(k feed.Tick, at int64) int { return cmp.Compare(k.EventTime, at) })
	require.Positive(j.t, i, "no quote of %s before %v", symbol, before)
	return float64(quotes[i-1].Quote().Bid+quotes[i-1].Quote().Ask) / 2
}

// after returns the time of a tick since the opening.
func (j *stageJudge) after(k feed.Tick) time.Duration {
	return time.Duration(k.EventTime - j.m.config.Start.UnixNano())
}
