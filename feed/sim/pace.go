package sim

import (
	"math"

	"tickfeed/feed"
)

const (
	epochEvents = 256  // approximate number of events that share one state of the climate
	maxEpoch    = 0.25 // seconds

	// These constants keep the rate. startEpoch makes up for a lag within catchUp, and for a lead within payBack,
	// by background events that come at most maxPace times as fast as usual. A cluster ends early if the day's
	// ticks are maxLead ahead. These are in seconds at the rate of the time of day, so that at 10 ticks a
	// second and more any minute has its ticks within 10 %, and a second may have five times its ticks.
	catchUp   = 0.12
	payBack   = 8.0
	maxLead   = 4.7
	leadTicks = 12.0 // ticks by which maxLead is less: a feed of few ticks a second may lag by as many
	minPace   = 1e-6 // not 0, so that a wait can be drawn
	maxPace   = 30

	// A market with a Profile has the clusters of a recording: it makes up for a lag or a lead within calmCatchUp seconds, by
	// background events that come at most calmPace times as fast, or slow, as usual.
	calmCatchUp = 900.0
	calmPace    = 3.0

	// Rushes are what makes the busiest second of a day: each instrument has rushesPerDay of them on average. A
	// rush has as many events as the instrument has in leastRush seconds to mostRush seconds, with a Pareto
	// distribution of exponent 1.
	rushesPerDay = 12.0
	leastRush    = 10.0
	mostRush     = 75.0
)

// endEpoch applies the halts and resumptions due at the end of an epoch, and begins the next epoch or ends the
// day.
func (m *Market) endEpoch(out []feed.Tick, at int64) int {
	n := 0
	for m.control < len(m.controls) && m.controls[m.control].at <= m.arrivals.now {
		c := m.controls[m.control]
		m.control++
		if c.halt {
			m.instruments[c.id].special |= halted
			n += m.silence(out[n:], c.id, feed.StatusTick(feed.InstrumentID(c.id), at, feed.StatusHalted, 0))
			continue
		}
		out[n] = feed.StatusTick(feed.InstrumentID(c.id), at, feed.StatusTrading, 0)
		n++
		m.instruments[c.id].reopen(m.rng.NormFloat64())
		for range reopeningRush {
			m.arrivals.excite(c.id)
		}
	}
	switch {
	case m.stage.due(m.arrivals.now):
		m.phase = performing
	default:
		m.goOn()
	}
	return n
}

// goOn begins the next epoch, or ends the day.
func (m *Market) goOn() {
	switch {
	case m.config.Commands && m.command():
		m.phase = performing
	case m.stage.active && m.calendar == nil && !m.stage.opened:
		m.phase = opening
	case m.arrivals.now < m.dayUnits:
		m.phase = trading
		m.startEpoch()
	case m.calendar != nil:
		m.turn()
	default:
		m.phase = closing
	}
}

// startEpoch sets the climate and the intensity of the next epoch. The epoch lasts about epochEvents events, at
// most maxEpoch seconds and at most a thousandth of the day. The intensity makes up, within catchUp, for the
// difference between the day's ticks so far and the number that its shape demands.
func (m *Market) startEpoch() {
	now := m.arrivals.now
	if m.stage.active && !m.stage.reweighed {
		m.reweigh()
	}
	rate, planned := m.demand(now)
	if m.stage.active {
		planned = m.boosted(planned)
		m.enterBurst(planned)
	}
	m.until = m.dayUnits
	if m.control < len(m.controls) {
		m.until = min(m.until, m.controls[m.control].at)
	}
	m.until = min(m.until, m.stage.next())
	m.stage.epochEnded = m.config.Commands
	if m.stage.active {
		m.until = min(m.until, m.stage.change)
		m.arrivals.spacing = m.stage.spacing
	}
	if rate == 0 { // every instrument is closed or quiet
		m.skipNight(now, m.until)
		m.arrivals.background = 0
		m.arrivals.calm()
		m.climate.step(now, m.until-now, m.dayUnits)
		return
	}
	eventRate := rate * m.events / m.ticks
	epoch := min(float64(m.dayUnits)/1000, maxEpoch*unitsPerSecond, epochEvents/eventRate*unitsPerSecond)
	m.until = min(m.until, now+max(int64(epoch), 1<<unitShift))
	m.climate.step(now, m.until-now, m.dayUnits)
	m.pace = m.climate.pace
	if m.calendar == nil {
		m.pace /= m.shape.at(float64(now) / float64(m.dayUnits))
	}
	if m.stage.active { // at a higher rate an event brings less: the market's day stays the same
		m.pace /= m.stage.factor
	}

	behind := (planned - float64(m.dayTicks)) / rate
	pace := max(1+behind/payBack, minPace)
	if behind > 0 {
		pace = min(1+behind/catchUp, maxPace)
	}
	m.most = int64(planned + rate*(m.ahead(now, rate)+float64(m.until-now)/unitsPerSecond))
	if m.habits != nil {
		pace, m.most = min(max(1+behind/calmCatchUp, 1/calmPace), calmPace), math.MaxInt64
	}
	m.arrivals.background = m.arrivals.kernels.rest * eventRate * pace
	m.startRush(eventRate, float64(m.until-now)/float64(m.dayUnits))
	if m.arrivals.spacing != clustered {
		m.arrivals.background /= m.arrivals.kernels.rest
	}
}

// demand returns the ticks per second that are asked for at now, and the ticks that are asked for from the opening to now.
func (m *Market) demand(now int64) (rate, planned float64) {
	if m.calendar != nil {
		return m.stage.demand(m.config.Rate, now)
	}
	done := float64(now) / float64(m.dayUnits)
	if m.stage.active {
		return m.stage.demand(m.config.Rate*m.shape.at(done), now)
	}
	rate = m.config.Rate * m.shape.at(done)
	return rate, m.config.Rate * m.config.DayLength.Seconds() * m.shape.done(done)
}

// cost returns what an event of n ticks counts towards the rate.
func (m *Market) cost(n int) int {
	if m.byEvents {
		return min(n, 1)
	}
	return n
}

// startRush begins a rush of some instrument, or more likely none, in an epoch that is share of the day.
func (m *Market) startRush(eventRate, share float64) {
	if m.habits != nil {
		return
	}
	u := uniform(m.bits.Uint64()) / (float64(len(m.instruments)) * rushesPerDay * share)
	if u >= 1 {
		return
	}
	id := m.rng.IntN(len(m.instruments))
	if m.calendar != nil {
		eventRate /= m.stage.share
	}
	events := eventRate * m.shares[id] * min(leastRush/u, mostRush)
	if events >= 1/m.arrivals.kernels.rest && m.instruments[id].special&^remembered == 0 {
		m.arrivals.rush(uint32(id), events)
	}
}
