package sim

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// A judge checks, tick by tick, every rule that a market keeps.
type judge struct {
	t     testing.TB
	depth int
	time  int64
	more  *feed.Tick // the previous tick, if it is of the same event as the next
	seen  map[feed.InstrumentID]*judged
	state *feed.State
}

type judged struct {
	definition feed.Definition
	status     feed.Status
	quote      feed.Quote // reduced by the trades since
	quoted     bool
	dealt      bool // a trade came since the quote
	tradeID    uint64
	book       [3]map[int64]int64
}

func newJudge(t testing.TB, depth int) *judge {
	return &judge{t: t, depth: depth, seen: map[feed.InstrumentID]*judged{}, state: feed.NewState()}
}

func (j *judge) visit(k *feed.Tick) {
	// Comparing before asserting keeps a day of ticks cheap.
	check := func(ok bool, rule string) {
		if !ok {
			require.FailNow(j.t, rule, describe(k))
		}
	}
	check(k.Seq == 0, "a source gives no numbers")
	check(k.EventTime >= j.time, "event times never decrease")
	j.time = k.EventTime
	if err := j.state.Apply(k); err != nil {
		require.NoError(j.t, err, describe(k))
	}
	if j.more != nil {
		check(k.Instrument == j.more.Instrument && k.EventTime == j.more.EventTime, "an event is of one instrument and time")
	}
	j.more = nil
	if k.Flags&feed.FlagMore != 0 {
		copied := *k
		j.more = &copied
	}
	in := j.seen[k.Instrument]
	check((in == nil) == (k.Kind == feed.KindDefinition), "defined once, before it is used")

	switch k.Kind {
	case feed.KindDefinition:
		check(int(k.Instrument) == len(j.seen), "ids are dense")
		check(k.Definition().Validate() == nil, "definitions are valid")
		in = &judged{definition: *k.Definition()}
		in.book[feed.SideBuy], in.book[feed.SideSell] = map[int64]int64{}, map[int64]int64{}
		j.seen[k.Instrument] = in
		return
	case feed.KindStatus:
		check(k.Status != in.status || k.TradingDay() != 0, "a status changes, or begins a day")
		check((k.TradingDay() != 0) == (k.Status == feed.StatusPreOpen || k.Status == in.status), "a pre-open begins a trading day, or midnight does")
		in.status, in.quoted = k.Status, in.quoted && k.Status == in.status
		check((k.Flags != 0) == (j.depth > 0 && (k.Status == feed.StatusPreOpen || k.Status == feed.StatusHalted)),
			"with levels a clear follows")
		return
	case feed.KindClear:
		check(j.depth > 0 && k.Side == feed.SideBoth && k.Flags == 0, "a clear empties the book")
		clear(in.book[feed.SideBuy])
		clear(in.book[feed.SideSell])
		return
	}
	check(in.status == feed.StatusTrading, "quotes and trades only while trading")
	tick := in.definition.TickSize
	switch k.Kind {
	case feed.KindQuote:
		q := k.Quote()
		check(q.Bid < q.Ask, "no crossed and no locked quote")
		check(q.Bid%tick == 0 && q.Ask%tick == 0, "quotes lie on the grid")
		check(q.BidSize > 0 && q.AskSize > 0, "quotes have sizes")
		check(!in.quoted || q != in.quote || in.dealt, "a quote tells something new")
		check(q.Bid > 0 || strings.Contains(in.definition.Symbol, "-") || in.definition.Symbol == "POWER", "prices are positive, but of spreads")
		in.quote, in.quoted, in.dealt = q, true, false
	case feed.KindTrade:
		tr := k.Trade()
		check(in.quoted, "a trade meets a quote")
		check(tr.Side == feed.SideBuy && tr.Price == in.quote.Ask || tr.Side == feed.SideSell && tr.Price == in.quote.Bid,
			"a trade is at the touch, on the aggressor's side")
		left := &in.quote.AskSize
		if tr.Side == feed.SideSell {
			left = &in.quote.BidSize
		}
		*left -= tr.Size
		in.dealt = true
		check(tr.Size > 0 && *left >= 0, "a trade takes what is shown and what trades before it left")
		check(tr.ID == in.tradeID+1, "trade ids increase by one")
		in.tradeID = tr.ID
		check(tr.Conditions.Valid(), "conditions are valid")
		check(strings.Contains(tr.Conditions.String(), "I") == (tr.Size < in.definition.Lot), "odd lots say so")
		check(k.Flags == feed.FlagMore, "the quote that a trade causes follows")
	case feed.KindLevel:
		l := k.Level()
		book := in.book[l.Side]
		check(j.depth > 0 && l.Price%tick == 0 && l.Size >= 0, "levels lie on the grid")
		check(book[l.Price] != l.Size, "a level changes")
		if book[l.Price] = l.Size; l.Size == 0 {
			delete(book, l.Price)
		}
		for _, s := range []feed.Side{feed.SideBuy, feed.SideSell} {
			check(len(in.book[s]) <= j.depth, "no more levels than asked for")
		}
	default:
		check(false, "an unexpected kind")
	}
	if j.depth > 0 {
		bid, ask := best(in.book)
		check(bid < ask, "the book is never crossed")
		if k.Flags == 0 && in.quoted {
			check(bid == in.quote.Bid && in.book[feed.SideBuy][bid] == in.quote.BidSize &&
				ask == in.quote.Ask && in.book[feed.SideSell][ask] == in.quote.AskSize,
				"after each event the best levels are the quote")
			check(len(in.book[feed.SideSell]) == j.depth, "the book is as deep as asked for")
		}
	}
}

func best(book [3]map[int64]int64) (bid, ask int64) {
	bid, ask = math.MinInt64, math.MaxInt64
	for p := range book[feed.SideBuy] {
		bid = max(bid, p)
	}
	for p := range book[feed.SideSell] {
		ask = min(ask, p)
	}
	return bid, ask
}
