package sim

import (
	"math"
	"slices"

	"tickfeed/feed"
	"tickfeed/feed/script"
)

// addListing adds an instrument with the hours of the first one of its venue, or of all if there is none there. It returns why not if
// there is one of its name, or there are too many.
func (m *Market) addListing(l *listing, at int64) (why string) {
	for i := range m.listings {
		if m.listings[i].definition.Name() == l.definition.Name() {
			return "there is an instrument of that name already, or was before it was delisted"
		}
	}
	id := uint32(len(m.listings))
	if id == feed.MaxInstruments {
		return "there can be no more instruments"
	}
	m.listings = append(m.listings, *l)
	definition := l.definition
	m.extras = append(m.extras, feed.Extra{Definition: &definition})
	m.commands.list(id, &definition)
	in := newInstrument(l)
	in.special |= remembered
	m.instruments = append(m.instruments, in)
	m.shares = append(m.shares, l.activity/m.stage.all)
	if x := m.calendar; x != nil {
		g := x.groups[0]
		if i := slices.IndexFunc(m.listings[:id], func(o listing) bool { return o.definition.Venue == l.definition.Venue }); i >= 0 {
			g = x.of[i]
		}
		g.ids = append(g.ids, id)
		x.of = append(x.of, g)
		if g.next <= toOpen && !(g.hours.roundClock && g.sessions > 0) {
			m.instruments[id].special |= closed
		}
	}
	m.startDayOf(id)
	m.settle(&m.instruments[id])
	m.arrivals.byActivity = append(m.arrivals.byActivity, aliasSlot{})
	if m.config.Depth > 0 {
		m.books.levels = append(m.books.levels, make([]level, 2*m.config.Depth)...)
		m.books.counts = append(m.books.counts, 0, 0)
	}
	m.stage.overlays = append(m.stage.overlays, overlay{activity: 1, depth: 1, hold: hold{end: never}})
	m.rebase(id)
	m.reweigh()
	m.stage.add(at, &visit{ids: []uint32{id, id, id}, one: m.introduce(id)})
	return ""
}

func totalActivity(listings []listing) (sum float64) {
	for i := range listings {
		sum += listings[i].activity
	}
	return sum
}

// introduce returns the steps that make a new instrument known: its definition, its day, and its first quote.
func (m *Market) introduce(id uint32) func(id uint32, at int64, out []feed.Tick) int {
	step := 0
	return func(_ uint32, at int64, out []feed.Tick) int {
		when := m.timeOf(at)
		switch step++; {
		case step == 1:
			out[0] = feed.Tick{Kind: feed.KindDefinition, Instrument: feed.InstrumentID(id), EventTime: when, Extra: &m.extras[id]}
			return 1
		case step == 2:
			return m.silence(out, id, feed.StatusTick(feed.InstrumentID(id), when, feed.StatusPreOpen, m.tradingDay(id)))
		case m.instruments[id].special&closed != 0:
			return 0
		}
		out[0] = feed.StatusTick(feed.InstrumentID(id), when, feed.StatusTrading, 0)
		return 1 + m.requote(out[1:], id, when)
	}
}

// tradingDay returns the trading day of an instrument, as the number yyyymmdd.
func (m *Market) tradingDay(id uint32) int32 {
	if m.calendar != nil {
		return m.calendar.of[id].date()
	}
	return int32(m.date.Year()*10_000 + int(m.date.Month())*100 + m.date.Day())
}

// delist closes an instrument for good.
func (m *Market) delist(out []feed.Tick, id uint32, at int64, reason string) int {
	o, in := &m.stage.overlays[id], &m.instruments[id]
	if o.gone {
		return 0
	}
	m.release(id)
	o.gone = true
	m.commands.list(id, nil)
	in.special |= closed
	return m.silence(out, id, feed.StatusTick(feed.InstrumentID(id), m.timeOf(at), feed.StatusClosed, 0).Because(reason, 0))
}

// split makes N shares out of M. The trading day begins anew, so that no price of before is compared with one of after.
func (m *Market) split(out []feed.Tick, id uint32, at int64, r *script.Rule) int {
	o, in, l, a := &m.stage.overlays[id], &m.instruments[id], &m.listings[id], r.Does.(*action)
	if !m.ask(r, toSplit, id, at, never).granted {
		return 0
	}
	k := float64(a.of) / float64(a.n)
	if k*max(math.Abs(in.fair), math.Abs(l.price)) > in.highest() || l.signed && k*l.own > in.highest() {
		m.remark(r, id, "it is not split: its price would be too high for 64 bits")
		return 0
	}
	in.fair = in.bounded(in.fair * k)
	l.price = max(math.Round(l.price*k), 2)
	s := &o.scales
	s.market, s.own, s.push, s.spread = s.market*k, s.own*k, s.push*k, max(s.spread*k, min(s.spread, 1))
	l.spread = s.spread
	if l.signed {
		l.own *= k
	}
	m.retune(id)
	o.recent = nil
	if o.limits != nil {
		o.limits.restart(in.fair)
	}
	name, when := feed.InstrumentID(id), m.timeOf(at)
	n := m.silence(out, id, feed.StatusTick(name, when, feed.StatusHalted, 0).Because("split "+itoa(a.n)+":"+itoa(a.of), when))
	out[n] = feed.StatusTick(name, when, feed.StatusPreOpen, m.tradingDay(id))
	out[n+1] = m.tradingStatus(id, when)
	n += 2
	return n + m.requote(out[n:], id, when)
}
