package sim

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"tickfeed/feed"
	"tickfeed/feed/script"
)

// commands hold the requests of other goroutines, and the facts about the market that they need for them.
type commands struct {
	mu       sync.Mutex
	rules    []*asked // to be added
	removed  []*script.Rule
	triggers []*asked
	waiting  []*script.Rule     // those that have been added, or will be, and have a trigger
	inForce  []*script.Rule     // those that have effects
	listed   []*feed.Definition // by instrument; nil for those that are delisted
	coming   []*feed.Definition // of rules that list instruments
	now      int64              // that the market has reached, in units since the opening
	lastDay  bool
	over     bool // the market has ended
}

// MostRules bounds the rules of a market to which Do adds, and the events that wait for the end of an epoch.
const MostRules = 1000

// An Outcome is what the market has made of a rule that Do gave to it, or of those that Trigger triggered.
type Outcome struct {
	// Events are what has happened at once, in order: that it begins, and remarks.
	// A rule that waits for a time has remarks about instruments that do not trade then.
	Events []Event
	// Next is when a rule that waits for a time happens first, and Now is the present, both by the clock of the market's rules,
	// which nights that are left out do not stop. Next is zero for a rule that waits for Trigger, or that has no trigger.
	Next, Now time.Time
	NextDay   bool // Next is not on the present day of the market
	// Err is why the rule never happens. The market has dropped it.
	Err error
}

// asked is a command that waits for its outcome.
type asked struct {
	rule    *script.Rule // nil for all rules "on name"
	name    string
	outcome Outcome
	answer  chan Outcome // of capacity 1
}

func ask(r *script.Rule, name string) *asked {
	return &asked{rule: r, name: name, answer: make(chan Outcome, 1)}
}

// about reports whether r is of the command.
func (x *asked) about(r *script.Rule) bool {
	return x.rule == r || x.rule == nil && r.Trigger.On(x.name)
}

// Do adds a rule to the scenario. If it has no trigger (see [script.ParseVerb]), it happens once, with the next epoch of the
// market, which is at most a quarter of a second of its time away. The channel then receives the outcome, unless Next is called no
// more; it is closed without one if the market ends first. The error, a *script.Error or one that names MostRules, says why the
// rule can never do anything here: no instrument matches, its time is over for good, or the market has ended. Config.Commands must
// be set. Do may be called by any goroutine.
func (m *Market) Do(r *script.Rule) (<-chan Outcome, error) {
	c := &m.commands
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := cmp.Or(m.checkLocked(r), m.inTimeLocked(r)); err != nil {
		return nil, err
	}
	switch {
	case len(c.rules) >= MostRules:
		return nil, fmt.Errorf("%d events wait for the market already, which is the limit; wait a moment", MostRules)
	case !r.Trigger.AtOnce() && len(c.waiting) >= MostRules:
		return nil, fmt.Errorf("there are %d rules already, which is the limit; remove some", MostRules)
	}
	x := ask(r, "")
	c.rules = append(c.rules, x)
	c.noteLocked(r)
	return x.answer, nil
}

// noteLocked notes a rule that is added.
func (c *commands) noteLocked(r *script.Rule) {
	if a := r.Does.(*action); a.verb == doListing {
		c.coming = append(c.coming, &a.listing.definition)
	}
	if !r.Trigger.AtOnce() {
		c.waiting = append(c.waiting, r)
	}
}

// Remove removes a rule of the scenario, or one that Do has added. The effects of the rule (a multiplied rate, a quiet or locked
// market, a moving price) end with the next epoch. Remove returns false if the rule is not there, or is over. Config.Commands must
// be set. Any goroutine may call Remove.
func (m *Market) Remove(r *script.Rule) bool {
	c := &m.commands
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.waiting, r)
	if i >= 0 {
		c.waiting = slices.Delete(c.waiting, i, i+1)
	} else if !slices.Contains(c.inForce, r) {
		return false
	}
	c.removed = append(c.removed, r)
	return true
}

// InForce reports whether a rule multiplies, quiets, locks or moves something at present. InForce may be called by any goroutine.
func (m *Market) InForce(r *script.Rule) bool {
	m.commands.mu.Lock()
	defer m.commands.mu.Unlock()
	return slices.Contains(m.commands.inForce, r)
}

// Trigger makes the rules "on NAME" happen. It returns nil if there is none. The channel receives the outcome of all of them, as
// that of Do does. Config.Commands must be set. Trigger may be called by any goroutine.
func (m *Market) Trigger(name string) (<-chan Outcome, error) {
	c := &m.commands
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !slices.ContainsFunc(c.waiting, func(r *script.Rule) bool { return r.Trigger.On(name) }):
		return nil, nil
	case c.over:
		return nil, errors.New("the market has ended, so nothing happens in it any more")
	case len(c.triggers) >= MostRules:
		return nil, fmt.Errorf("%d triggers wait for the market already, which is the limit; wait a moment", MostRules)
	}
	x := ask(nil, name)
	c.triggers = append(c.triggers, x)
	return x.answer, nil
}

// idle lets a quarter of a second pass in an epoch without events, and returns false if the rest of the epoch is shorter or
// nobody gives commands. The epoch ends early if a command has come. No number is drawn, so that the ticks are those of a market
// without commands.
func (m *Market) idle() bool {
	const part = maxEpoch * unitsPerSecond
	if !m.config.Commands || m.until-m.arrivals.now <= part {
		return false
	}
	c := &m.commands
	c.mu.Lock()
	c.now = m.arrivals.now
	came := c.rules != nil || c.removed != nil || c.triggers != nil
	c.mu.Unlock()
	m.stage.epochEnded = true
	if came {
		m.until = m.arrivals.now
		return false
	}
	m.arrivals.now += part
	return true
}

// command adds the tasks of the commands that have come, and reports whether there are any.
func (m *Market) command() bool {
	c := &m.commands
	c.mu.Lock()
	c.now, c.lastDay = m.arrivals.now, m.day == m.config.Days
	rules, removed, triggers := c.rules, c.removed, c.triggers
	c.rules, c.removed, c.triggers = nil, nil, nil
	c.mu.Unlock()
	if rules == nil && removed == nil && triggers == nil {
		return false
	}
	if !m.stage.active {
		m.activate()
	}
	s, now := &m.stage, m.arrivals.now
	for _, x := range rules {
		s.asked = append(s.asked, x)
		m.admit(x, now)
	}
	for _, x := range triggers {
		s.asked = append(s.asked, x)
		for _, r := range s.rules {
			if x.about(r) {
				s.add(now, &happening{rule: r})
			}
		}
	}
	for _, r := range removed {
		m.drop(r, now)
	}
	if s.due(now) {
		return true
	}
	m.answer()
	return false
}

// admit takes a rule into the scenario: it happens at once, or is planned, or is refused.
func (m *Market) admit(x *asked, now int64) {
	s, r := &m.stage, x.rule
	never := func(why string) {
		x.outcome.Err = r.Wrong("%s", why)
		m.commands.forget(r)
		m.announce(Event{Time: m.timeOf(now), Rule: r, Never: true, Note: why})
	}
	a := r.Does.(*action)
	if r.Trigger.AtOnce() {
		if !m.tradesAfter(a, now) {
			never(noneOpens)
			return
		}
		s.add(now, &happening{rule: r})
		return
	}
	first, timed := m.first(r)
	at, end := first<<unitShift, m.ends()
	tomorrow := false
	if every := units(r.Trigger.After); r.Trigger.When == script.EveryTime && at < now {
		at += (now - at + every - 1) / every * every
	}
	switch {
	case !timed:
		at = now
	case at < now && r.Trigger.When == script.AtTime:
		never("its time is over, and it happens once")
		return
	case at < now, m.calendar == nil && at >= m.dayUnits:
		at, tomorrow = m.dayUnits+first<<unitShift, true
	}
	switch {
	case at >= end && r.Trigger.When == script.AtClock:
		never("its time is over, and this is the last day")
		return
	case at >= end:
		never("the market ends before this happens")
		return
	case !m.tradesAfter(a, at):
		never(noneOpens)
		return
	}
	if timed {
		if why := m.unopened(r, at); why != "" {
			never(why)
			return
		}
	}
	s.rules = append(s.rules, r)
	if !timed {
		return
	}
	x.outcome.Now, x.outcome.Next, x.outcome.NextDay = m.clock(now), m.clock(at), tomorrow || at >= m.dayUnits
	if tomorrow { // schedule plans it
		x.outcome.Next = m.clock(first << unitShift)
		m.announce(Event{Time: m.timeOf(now), Rule: r, Late: true})
		return
	}
	m.plan(r, at, now)
}

const noneOpens = "none of its instruments trades again before the market ends"

// ends returns the end of the last day, in units since the opening of this one; never if there is none.
func (m *Market) ends() int64 {
	left := int64(m.config.Days - m.day + 1)
	if m.config.Days == 0 || left > never/m.dayUnits {
		return never
	}
	return left * m.dayUnits
}

// tradesAfter reports whether an action can show something at a time or later: an instrument that it is for trades before the
// market ends.
func (m *Market) tradesAfter(a *action, at int64) bool {
	end := m.ends()
	switch {
	case m.calendar == nil || end == never, a.verb == doListing, a.verb == doDelisting, a.verb == doBust:
		return true
	}
	for id, g := range m.calendar.of {
		if a.patterns != nil && !matches(a.patterns, &m.listings[id].definition) || m.isGone(uint32(id)) {
			continue
		}
		if from, _ := g.hours.next(time.Unix(0, m.calendar.origin+at>>unitShift)); m.calendar.units(from.UnixNano()) < end {
			return true
		}
	}
	return false
}

// answer gives the commands their outcomes.
func (m *Market) answer() {
	s := &m.stage
	for i, x := range s.asked {
		x.answer <- x.outcome
		s.asked[i] = nil
	}
	s.asked = s.asked[:0]
}

// forget removes a rule that never happens.
func (c *commands) forget(r *script.Rule) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = slices.DeleteFunc(c.waiting, func(x *script.Rule) bool { return x == r })
}

// drop makes a rule happen no more, and ends its effects.
func (m *Market) drop(r *script.Rule, now int64) {
	s := &m.stage
	s.rules = slices.DeleteFunc(s.rules, func(x *script.Rule) bool { return x == r })
	for _, t := range s.tasks {
		if h, ok := t.do.(*happening); ok && h.rule == r {
			h.removed = true
		}
	}
	var effects []*effect
	for _, e := range s.effects {
		if e.rule == r {
			effects = append(effects, e)
		}
	}
	m.endEffects(effects, now)
}

// activate prepares for the first command in a market without a scenario. The halts of the day that have not begun are left out.
func (m *Market) activate() {
	s, now := &m.stage, m.arrivals.now
	rate, planned := m.demand(now)
	m.prepare()
	s.opened = true
	s.rate, s.planned, s.at = rate, planned, now
	for i := range m.instruments {
		m.rebase(uint32(i))
	}
	for _, c := range m.controls[m.control:] {
		o := &s.overlays[c.id]
		if !c.halt && m.instruments[c.id].special&halted != 0 {
			o.hold.end = c.at
			m.endHold(c.id, nil)
		}
	}
	m.controls, m.control = m.controls[:0], 0
	m.reweigh()
}

// prepare makes the parts of the stage that only a market with events needs.
func (m *Market) prepare() {
	s := &m.stage
	s.active = true
	s.burst.to = never
	s.overlays = make([]overlay, len(m.listings))
	for i := range s.overlays {
		o := &s.overlays[i]
		o.activity, o.depth, o.hold.end = 1, 1, never
		if m.config.Commands {
			m.instruments[i].special |= remembered
		}
	}
}

// setUp prepares for the scenario of the configuration, and for commands.
func (m *Market) setUp() error {
	c, s := &m.config, &m.stage
	if c.Scenario != nil {
		for _, r := range c.Scenario.Rules {
			if _, ok := r.Does.(*action); ok {
				s.rules = append(s.rules, r)
			}
		}
	}
	if len(s.rules) == 0 && !c.Commands {
		return nil
	}
	m.commands.mu.Lock()
	defer m.commands.mu.Unlock()
	m.commands.listed = make([]*feed.Definition, len(m.listings))
	for i := range m.listings {
		m.commands.listed[i] = m.extras[i].Definition
	}
	if len(s.rules) == 0 {
		return nil
	}
	m.prepare()
	for _, r := range s.rules {
		m.commands.noteLocked(r)
	}
	var wrong []error
	for _, r := range s.rules {
		if err := m.checkLocked(r); err != nil {
			if len(wrong) == maxErrors {
				wrong = append(wrong, r.Wrong("there are more mistakes from here on"))
				break
			}
			wrong = append(wrong, err)
		}
		if a := r.Does.(*action); a.verb == doBust {
			for _, id := range m.matching(a.patterns) {
				m.instruments[id].special |= remembered
			}
		}
	}
	return errors.Join(wrong...)
}

// checkLocked refuses a rule that can never do anything.
func (m *Market) checkLocked(r *script.Rule) error {
	a, c := r.Does.(*action), &m.commands
	matching := func(d *feed.Definition) bool { return d != nil && matches(a.patterns, d) }
	if a.patterns != nil && !slices.ContainsFunc(c.listed, matching) && !slices.ContainsFunc(c.coming, matching) {
		text := strings.Join(a.patterns, ",")
		return r.Wrong("no instrument of the market matches %s%s", text, script.DidYouMean(text, c.symbols()))
	}
	if a.verb == doListing && slices.ContainsFunc(c.listed, func(d *feed.Definition) bool { return d != nil && d.Name() == a.listing.definition.Name() }) {
		return r.Wrong("there is an instrument %s already", a.listing.definition.Name())
	}
	if m.calendar != nil { // its days are 24 hours
		return nil
	}
	if at, ok := m.first(r); ok && at >= int64(m.config.DayLength) {
		return r.Wrong("this is not within the market's day, which is %v long from %v", m.config.DayLength, m.config.Start.Format("15:04:05 MST"))
	}
	return nil
}

// inTimeLocked refuses a rule whose time is over for good.
func (m *Market) inTimeLocked(r *script.Rule) error {
	c := &m.commands
	late := false
	if when := r.Trigger.When; when == script.AtTime || when == script.AtClock && m.calendar == nil { // the days of a calendar move
		at, _ := m.first(r)
		late = at < c.now>>unitShift
	}
	reached := time.Duration(c.now >> unitShift).Truncate(time.Millisecond)
	switch {
	case c.over:
		return r.Wrong("the market has ended, so nothing happens in it any more")
	case late && r.Trigger.When == script.AtTime:
		return r.Wrong("its time is over, and it happens once: the market is %v after the opening; add the event without a time, and it happens at once", reached)
	case late && c.lastDay:
		return r.Wrong("its time is over, and this is the last day: the market is %v after the opening; add the event without a time, and it happens at once", reached)
	}
	return nil
}

// end notes that the market has ended.
func (c *commands) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	for _, x := range slices.Concat(c.rules, c.triggers) {
		close(x.answer)
	}
	c.rules, c.triggers = nil, nil
}

// symbols returns the symbols of the instruments.
func (c *commands) symbols() (symbols []string) {
	for _, d := range c.listed {
		if d != nil {
			symbols = append(symbols, d.Symbol)
		}
	}
	return symbols
}

// list notes an instrument that is new, or with d nil one that is delisted.
func (c *commands) list(id uint32, d *feed.Definition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if int(id) == len(c.listed) {
		c.listed = append(c.listed, nil)
		c.coming = slices.DeleteFunc(c.coming, func(coming *feed.Definition) bool { return coming.Name() == d.Name() })
	}
	c.listed[id] = d
}

// show notes the rules of effects.
func (c *commands) show(effects []*effect) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inForce = c.inForce[:0]
	for _, e := range effects {
		c.inForce = append(c.inForce, e.rule)
	}
}
