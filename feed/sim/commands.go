package sim

import (
	"cmp"
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
	rules    []*script.Rule // to be added
	removed  []*script.Rule
	triggers []string
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

// Do adds a rule to the scenario. If it has no trigger (see [script.ParseVerb]), it happens once, with the next epoch of the
// market, which is at most a quarter of a second of its time away. The error, a *script.Error or one that names MostRules, says why
// the rule can never do anything here: no instrument matches, its time is over for good, or the market has ended. Config.Commands must be set. Do may be called by any goroutine.
func (m *Market) Do(r *script.Rule) error {
	c := &m.commands
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := cmp.Or(m.checkLocked(r), m.inTimeLocked(r)); err != nil {
		return err
	}
	switch {
	case len(c.rules) >= MostRules:
		return fmt.Errorf("%d events wait for the market already, which is the limit; wait a moment", MostRules)
	case !r.Trigger.AtOnce() && len(c.waiting) >= MostRules:
		return fmt.Errorf("there are %d rules already, which is the limit; remove some", MostRules)
	}
	c.rules = append(c.rules, r)
	c.noteLocked(r)
	return nil
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

// Trigger makes the rules "on NAME" happen. It returns false if there is none. Config.Commands must be set. Trigger may be called
// by any goroutine.
func (m *Market) Trigger(name string) bool {
	c := &m.commands
	c.mu.Lock()
	defer c.mu.Unlock()
	known := slices.ContainsFunc(c.waiting, func(r *script.Rule) bool { return r.Trigger.On(name) })
	if known && len(c.triggers) < MostRules {
		c.triggers = append(c.triggers, name)
	}
	return known
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
	told := c.rules != nil || c.removed != nil || c.triggers != nil
	c.mu.Unlock()
	m.stage.epochEnded = true
	if told {
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
	for _, r := range rules {
		if r.Trigger.AtOnce() {
			s.add(now, &happening{rule: r})
			continue
		}
		s.rules = append(s.rules, r)
		if at, ok := m.first(r); ok && !m.plan(r, at<<unitShift, now) && m.config.Happens != nil {
			m.config.Happens(Event{Time: m.timeOf(now), Rule: r, Late: true})
		}
	}
	for _, name := range triggers {
		for _, r := range s.rules {
			if r.Trigger.On(name) {
				s.add(now, &happening{rule: r})
			}
		}
	}
	for _, r := range removed {
		m.drop(r, now)
	}
	return s.due(now)
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
	for _, r := range s.rules {
		if err := m.checkLocked(r); err != nil {
			return err
		}
		if a := r.Does.(*action); a.verb == doBust {
			for _, id := range m.matching(a.patterns) {
				m.instruments[id].special |= remembered
			}
		}
	}
	return nil
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
		return r.Wrong("this is not within the market's day, which is %v long from %v", m.config.DayLength, m.config.Start.Format("15:04:05"))
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
