package sim

import (
	"fmt"
	"math"
	"time"

	"tickfeed/feed"
	"tickfeed/feed/script"
)

// limits keep the trades of an instrument within a band around the mean price of its recent trades: limit up, limit down.
type limits struct {
	rule         *script.Rule
	rules        luldRules
	reference    float64 // ticks
	lower, upper int64   // ticks: trades are within them, both included
	wide         float64 // multiple of the band at this time of the day
	limited      bool    // the price is outside the band
	moved        bool    // the band has not been reported
	sent         bool    // a status has the band
	episode      uint32  // counts the times that the price has left the band
	// sums and counts are of the trades in each of the last parts of referenceTime; the first is going on.
	sums   [referenceParts]float64
	counts [referenceParts]float64
}

// The reference price is the mean of the trades of referenceTime, and changes if that differs by leastChange.
const (
	referenceTime  = 5 * time.Minute
	referenceParts = 10
	leastChange    = 0.01

	openingWide = 15 * time.Minute // after the opening, and closingWide before the close, bands are twice as wide
	closingWide = 25 * time.Minute
)

func newLimits(r *script.Rule, rules luldRules, reference, wide float64) *limits {
	l := &limits{rule: r, rules: rules, wide: wide}
	l.restart(reference)
	return l
}

// restart forgets the trades: the reference is a new price.
func (l *limits) restart(reference float64) {
	l.sums, l.counts, l.limited = [referenceParts]float64{}, [referenceParts]float64{}, false
	l.sums[0], l.counts[0] = reference, 1
	l.set(reference)
}

func (l *limits) set(reference float64) {
	l.reference = reference
	band := min(l.rules.band*l.wide, 0.9)
	l.lower = max(int64(math.Ceil(reference*(1-band))), 1)
	l.upper = max(int64(math.Floor(reference*(1+band))), l.lower+1)
	l.moved, l.sent = true, false
}

// tradingStatus returns the status of an instrument that trades from now on: its reason is the bands, if there are any, so that a
// subscriber has them.
func (m *Market) tradingStatus(id uint32, at int64) feed.Tick {
	t := feed.StatusTick(feed.InstrumentID(id), at, feed.StatusTrading, 0)
	if !m.stage.active || m.stage.overlays[id].limits == nil {
		return t
	}
	m.stage.overlays[id].limits.sent = true
	return t.Because("LULD bands "+m.bandsText(id), 0)
}

// bandsText says between which prices an instrument with limits trades.
func (m *Market) bandsText(id uint32) string {
	l, in, e := m.stage.overlays[id].limits, &m.instruments[id], m.listings[id].definition.PriceExponent
	return fixedDecimal(l.lower*in.tickSize, e) + " to " + fixedDecimal(l.upper*in.tickSize, e)
}

// sendBands plans a status for each of some instruments that trade, with the bands that they have now. An instrument that is halted
// or in a limit state has its bands with the status that ends this, and one that is quiet when its bands are looked at next.
func (m *Market) sendBands(ids []uint32, at int64) {
	m.stage.add(at, &visit{ids: ids, one: func(id uint32, at int64, out []feed.Tick) int {
		l := m.stage.overlays[id].limits
		if m.stateOf(id) != trades || m.instruments[id].special&quiet != 0 || m.calendar == nil && !m.stage.opened || l != nil && (l.limited || l.sent) {
			return 0
		}
		out[0] = m.tradingStatus(id, m.timeOf(at))
		return 1
	}})
}

// shownBands bounds the bands in one report.
const shownBands = 5

// showBands reports the bands that have begun or moved.
func (m *Market) showBands(at int64) {
	if m.config.Happens == nil {
		return
	}
	var rule *script.Rule
	text, n := "", 0
	for i := range m.stage.overlays {
		l := m.stage.overlays[i].limits
		if l == nil || !l.moved {
			continue
		}
		l.moved = false
		if n++; n > shownBands {
			continue
		}
		rule = l.rule
		if n > 1 {
			text += ", "
		}
		text += m.listings[i].definition.Symbol + " " + m.bandsText(uint32(i))
	}
	if n == 0 {
		return
	}
	if n > shownBands {
		text += fmt.Sprintf(" and %d more", n-shownBands)
	}
	m.config.Happens(Event{Time: m.timeOf(at), Rule: rule, Instruments: n, Note: "bands: " + text, Bands: true})
}

func (l *limits) trade(price float64) {
	l.sums[0] += price
	l.counts[0]++
}

// shift begins the next part of the reference time.
func (l *limits) shift(wide float64) {
	sum, count := 0.0, 0.0
	for i := range l.sums {
		sum += l.sums[i]
		count += l.counts[i]
	}
	reference := l.reference
	if count > 0 && math.Abs(sum/count/l.reference-1) >= leastChange {
		reference = sum / count
	}
	if reference != l.reference || wide != l.wide {
		l.wide = wide
		l.set(reference)
	}
	copy(l.sums[1:], l.sums[:referenceParts-1])
	copy(l.counts[1:], l.counts[:referenceParts-1])
	l.sums[0], l.counts[0] = 0, 0
}

// widthOf returns how much wider the bands are at a time of the day.
func (m *Market) widthOf(id uint32, at int64) float64 {
	from, to := int64(0), m.dayUnits
	if m.calendar != nil {
		g := m.calendar.of[id]
		if g.hours.roundClock {
			return 1
		}
		from, to = m.calendar.units(g.from), m.calendar.units(g.to)
	}
	if at-from < int64(openingWide)<<unitShift || to-at < int64(closingWide)<<unitShift {
		return 2
	}
	return 1
}

// limit is an event of an instrument with limits. taken is false if it may be an ordinary one.
func (m *Market) limit(out []feed.Tick, id uint32, in *instrument, at int64) (n int, taken bool) {
	o := &m.stage.overlays[id]
	l := o.limits
	lower, upper := float64(l.lower), float64(l.upper)
	switch {
	case in.fair < lower || in.fair > upper:
		if !l.limited {
			return m.enterLimit(out, id, in, at), true
		}
		m.drift(in)
		return m.pinAtLimit(out, id, in, at), true
	case l.limited:
		l.limited = false
		out[0] = m.tradingStatus(id, at)
		return 1 + m.pinInside(out[1:], id, in, at), true
	case in.quoted && (in.bid < l.lower || in.ask > l.upper):
		// A trade would be outside the band: there are only quotes.
		m.drift(in)
		return m.pinInside(out, id, in, at), true
	}
	return 0, false
}

// pinInside publishes the quote that fits the fair price, no side of it outside the band.
func (m *Market) pinInside(out []feed.Tick, id uint32, in *instrument, at int64) int {
	l := m.stage.overlays[id].limits
	bid, ask := in.target(m.climate.spread)
	bid = min(max(bid, l.lower), l.upper-1)
	ask = max(min(ask, l.upper), bid+1)
	return m.pin(out, id, in, at, bid, ask)
}

// pinAtLimit publishes the quote of a limit state: the best offer at the lower band, or the best bid at the upper one.
func (m *Market) pinAtLimit(out []feed.Tick, id uint32, in *instrument, at int64) int {
	l := m.stage.overlays[id].limits
	gap := max(int64(in.spread), 1)
	if in.fair < float64(l.lower) {
		return m.pin(out, id, in, at, max(l.lower-gap, in.lowest), l.lower)
	}
	return m.pin(out, id, in, at, l.upper, l.upper+gap)
}

// enterLimit begins a limit state, which pauses trading if it lasts.
func (m *Market) enterLimit(out []feed.Tick, id uint32, in *instrument, at int64) int {
	l := m.stage.overlays[id].limits
	l.limited = true
	l.episode++
	reason := "limit down"
	if in.fair > float64(l.upper) {
		reason = "limit up"
	}
	due := m.arrivals.now + int64(l.rules.limit)<<unitShift
	out[0] = feed.StatusTick(feed.InstrumentID(id), at, feed.StatusTrading, 0).Because(reason, m.timeOf(due))
	m.stage.add(due, &limitCheck{id, l.episode, l})
	m.until = min(m.until, due) // the epoch is already going on
	return 1 + m.pinAtLimit(out[1:], id, in, at)
}

// A limitCheck pauses an instrument that is still in a limit state.
type limitCheck struct {
	id      uint32
	episode uint32
	limits  *limits
}

func (c *limitCheck) do(m *Market, t task, out []feed.Tick) (int, bool) {
	o := &m.stage.overlays[c.id]
	if o.limits != c.limits || !c.limits.limited || c.limits.episode != c.episode {
		return 0, true
	}
	c.limits.limited = false
	rules := c.limits.rules
	return m.halt(out, c.id, t.at, &holdFor{c.limits.rule, toPause, "LULD pause", rules.pause, rules.auction}), true
}

// A limitClock moves the reference prices of the instruments with limits.
type limitClock struct{}

func (c *limitClock) do(m *Market, t task, _ []feed.Tick) (int, bool) {
	any := false
	var ids []uint32
	for i := range m.stage.overlays {
		if l := m.stage.overlays[i].limits; l != nil {
			any = true
			if l.shift(m.widthOf(uint32(i), t.at)); !l.sent {
				ids = append(ids, uint32(i))
			}
		}
	}
	m.stage.bands = true
	m.sendBands(ids, t.at)
	if any {
		m.stage.add(t.at+int64(referenceTime/referenceParts)<<unitShift, c)
	} else {
		m.stage.limitClock = false
	}
	return 0, true
}
