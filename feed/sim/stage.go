package sim

import (
	"math"

	"tickfeed/feed"
	"tickfeed/feed/script"
)

// A stage performs tasks at certain times of the market, between two epochs, and says how many ticks are asked for when that is
// not the same all day. Its cost while no task is due is one comparison for each epoch.
type stage struct {
	tasks []task // a heap, the next one first
	order uint64

	all       float64 // activity of the instruments that the market began with
	share     float64 // activity of the instruments that have events now, as a share of all
	reweighed bool    // share, and the table of the arrivals, are those of now

	rate, planned float64 // ticks per second since at, and ticks that were asked for up to at
	at            int64   // units since the opening

	weights []float64
	room    []uint32

	// active says that there is a scenario, or that there may be commands: then the fields below are in use.
	active     bool
	rules      []*script.Rule
	effects    []*effect
	overlays   []overlay // by instrument
	opened     bool      // the instruments of a market without a calendar have opened today
	limitClock bool      // a limitClock is among the tasks
	spacing    spacing
	factor     float64 // of the rate
	lively     float64 // factor of the activity of the instruments that trade
	boost      float64 // of the last epoch: factor times lively; 0 before the first one
	change     int64   // when factor changes next, in units
	burst      burst
	epochEnded bool     // Next may return
	remarks    []remark // to be reported
	bands      bool     // there are bands to be reported
	asked      []*asked // commands that wait for the report of what they make happen
}

// A task is something to do at a time.
type task struct {
	at    int64 // units since the opening
	order uint64
	do    doer
}

// A doer does a task in steps. do writes the ticks of at most one event to out, which is as long as Market.scratch, and returns
// their number, and false if it must be called again. It may add tasks, none of them earlier than its own.
type doer interface {
	do(m *Market, t task, out []feed.Tick) (n int, done bool)
}

// add adds a task at a time, in units since the opening.
func (s *stage) add(at int64, do doer) {
	s.order++
	s.tasks = append(s.tasks, task{at, s.order, do})
	for i := len(s.tasks) - 1; i > 0; {
		up := (i - 1) / 2
		if !s.tasks[i].before(s.tasks[up]) {
			break
		}
		s.tasks[i], s.tasks[up] = s.tasks[up], s.tasks[i]
		i = up
	}
}

func (t task) before(o task) bool { return t.at < o.at || t.at == o.at && t.order < o.order }

// pop removes the next task.
func (s *stage) pop() {
	last := len(s.tasks) - 1
	s.tasks[0] = s.tasks[last]
	s.tasks[last] = task{}
	s.tasks = s.tasks[:last]
	for i := 0; ; {
		least := i
		for _, down := range [2]int{2*i + 1, 2*i + 2} {
			if down < last && s.tasks[down].before(s.tasks[least]) {
				least = down
			}
		}
		if least == i {
			return
		}
		s.tasks[i], s.tasks[least] = s.tasks[least], s.tasks[i]
		i = least
	}
}

// next returns the time of the next task.
func (s *stage) next() int64 {
	if len(s.tasks) == 0 {
		return math.MaxInt64
	}
	return s.tasks[0].at
}

// rebase makes all times those of a day that begins units later.
func (s *stage) rebase(units int64) {
	for i := range s.tasks {
		s.tasks[i].at -= units
	}
	for _, e := range s.effects {
		e.begin -= units
		if e.end != math.MaxInt64 {
			e.end -= units
		}
	}
	s.burst.planned -= s.planned
	if s.burst.to != never {
		s.burst.to -= units
	}
	for i := range s.overlays {
		o := &s.overlays[i]
		if o.hold.end != never {
			o.hold.end -= units
		}
		if x := o.auction; x != nil {
			x.from, x.to = x.from-units, x.to-units
		}
	}
	s.at, s.planned = 0, 0
}

// due reports whether a task is due at now.
func (s *stage) due(now int64) bool { return s.next() <= now }

// perform continues the task that is due, and goes on with the market after the last one.
func (m *Market) perform(out []feed.Tick) (n int) {
	s := &m.stage
	if s.due(m.arrivals.now) {
		t := s.tasks[0]
		var done bool
		if n, done = t.do.do(m, t, out); done {
			s.pop()
		}
	}
	if m.phase == performing && !s.due(m.arrivals.now) {
		m.report(m.arrivals.now)
		m.answer()
		m.commands.show(s.effects)
		m.goOn()
	}
	return n
}

// timeOf returns the event time of a time in units since the opening.
func (m *Market) timeOf(at int64) int64 { return m.open + at>>unitShift }

// demand returns the ticks per second that are asked for from now on if full are asked for when all instruments have events,
// and the ticks that were asked for from the opening to now.
func (s *stage) demand(full float64, now int64) (rate, planned float64) {
	s.planned += s.rate * float64(now-s.at) / unitsPerSecond
	factor, spacing, change := s.rates(now)
	s.factor, s.spacing, s.change = factor, spacing, change
	s.rate, s.at = full*s.share*factor, now
	return s.rate, s.planned
}

// boosted notes how much a scenario boosts the rate, and returns the ticks that were asked for up to now. When a boost falls, the clusters
// of the higher rate end, and so does all of its lead or lag that a market at the lower rate would not have: else the market would be
// silent until it has paid back what the scenario adds.
func (m *Market) boosted(planned float64) float64 {
	s, a := &m.stage, &m.arrivals
	boost := s.factor * s.lively
	if k := boost / s.boost; s.boost > 0 && k < 1 {
		behind := planned - float64(m.dayTicks)
		if behind > 0 {
			behind *= k
		} else {
			behind = max(behind, -s.rate*mostAhead(maxLead, s.rate))
		}
		s.planned = float64(m.dayTicks) + behind
		for i := range a.excited {
			a.excited[i] *= k
		}
		a.rushing *= k
	}
	s.boost = boost
	return s.planned
}

// A burst is the time from one sudden change of the rate to the next.
type burst struct {
	to      int64   // units since the opening; never for none
	planned float64 // ticks that were asked for before it, from the opening
	before  float64 // ticks by which the market was ahead when it began
}

// Bounds of how far the market may be ahead in a burst, so that the mean over the burst is the rate that is asked for: at its end, as
// a share of the ticks that it has asked for, and before its end, as a share of the time that is left.
const (
	burstLead  = 0.03
	burstSlope = 0.5
)

// enterBurst begins a burst if the present one has ended; planned ticks were asked for so far.
func (m *Market) enterBurst(planned float64) {
	s := &m.stage
	to := s.change
	for _, e := range s.effects {
		if e.ids != nil && e.factor != 1 {
			to = min(to, e.end)
		}
	}
	if to != s.burst.to {
		s.burst = burst{to, planned, max(float64(m.dayTicks)-planned, 0)}
	}
}

// ahead returns the seconds by which the market may be ahead at now, at a rate.
func (m *Market) ahead(now int64, rate float64) float64 {
	s := &m.stage
	if !s.active {
		return mostAhead(maxLead, rate)
	}
	lead := mostAhead(maxLead/math.Sqrt(max(s.boost, 1)), rate)
	if b := &s.burst; b.to != never && s.boost > 1 {
		share := max(burstLead*(s.planned-b.planned)/rate, burstSlope*float64(b.to-now)/unitsPerSecond)
		lead = min(lead, b.before/rate+share)
	}
	return lead
}

// mostAhead returns the seconds by which the market may be ahead at a rate if a market of many ticks may be by lead.
func mostAhead(lead, rate float64) float64 { return max(lead-leadTicks/rate, 1) }

// reweigh makes the events come from the instruments by their activity now. An instrument that is closed, halted or quiet takes its
// own events away with it, and one that is listed brings its own: the others go on at their rates.
func (m *Market) reweigh() {
	s := &m.stage
	if len(s.weights) != len(m.listings) {
		s.weights, s.room = make([]float64, len(m.listings)), make([]uint32, 2*len(m.listings))
	}
	now, usual := 0.0, 0.0
	for i := range m.listings {
		w := m.weight(i)
		s.weights[i] = w
		now += w
		if m.stage.active && w > 0 {
			usual += w / s.overlays[i].activity
		}
	}
	s.lively = 1
	if usual > 0 {
		s.lively = now / usual
	}
	if s.all == 0 {
		s.all = totalActivity(m.listings)
	}
	s.share, s.reweighed = now/s.all, true
	if now > 0 {
		fillAliasTable(m.arrivals.byActivity, s.weights, s.room)
	}
}

// weight returns the activity of instrument i now.
func (m *Market) weight(i int) float64 {
	if m.instruments[i].special&(closed|halted) != 0 {
		return 0
	}
	w := m.listings[i].activity
	if m.stage.active {
		w *= m.stage.overlays[i].activity
	}
	if m.calendar != nil {
		w *= m.calendar.busy(i)
	}
	return w
}
