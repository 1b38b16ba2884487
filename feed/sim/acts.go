package sim

import (
	"maps"
	"math"
	"slices"
	"time"

	"tickfeed/feed"
	"tickfeed/feed/decimal"
	"tickfeed/feed/nouns"
	"tickfeed/feed/script"
)

// An Event is something that a scenario or a command has made happen, or that is too late.
type Event struct {
	Time        int64 // of the market, in ns since the Unix epoch
	Rule        *script.Rule
	Instruments int  // how many it happened to; 0 with an event of the whole market
	Matching    int  // how many match; 0 with a remark, and with an event of the whole market
	Nothing     bool // it happened to nothing, for the reason in Note if all have the same: no instrument matches, or all refuse
	Late        bool // it did not happen: its time was over today when the rule was added. It happens on the next day
	Never       bool // it never happens, for the reason in Note, and the rule is dropped
	// Note is a sentence about what the rule does otherwise than it says, or does by itself, to some instruments: to as many as
	// Instruments, or to all that match if Nothing, of which Symbol is the first. Empty if the rule begins to happen.
	Note, Symbol string
	// InAll is the factor by which all that overlaps multiplies the activity, spread, depth or volatility from now on, such as "x400",
	// "x2 to x400" if not that of all instruments, or "x100,000,000, the limit". Empty if it is the factor of the rule.
	InAll string
	Bands bool // Note lists bands of luld that have begun or moved, which happens again and again; Symbol is empty
}

// Begins reports whether the rule begins to happen as it says: e is no remark, it is not too late, and it happens to an instrument.
func (e *Event) Begins() bool { return e.Note == "" && !e.Late && !e.Nothing }

// plan adds a task for a rule that happens at a time, unless that is before now.
func (m *Market) plan(r *script.Rule, at, now int64) {
	if at >= now {
		m.stage.add(at, &happening{rule: r, again: r.Trigger.When == script.EveryTime})
	}
}

// first returns when a rule happens first on a day, in ns since its beginning; ok is false if it happens by hand only.
func (m *Market) first(r *script.Rule) (at int64, ok bool) {
	switch r.Trigger.When {
	case script.AtTime, script.EveryTime:
		return int64(r.Trigger.After), true
	case script.AtClock:
		begins := m.clock(0)
		midnight := time.Date(begins.Year(), begins.Month(), begins.Day(), 0, 0, 0, 0, begins.Location())
		after := int64(r.Trigger.After) - int64(begins.Sub(midnight))
		if after < 0 {
			after += int64(24 * time.Hour)
		}
		return after, true
	}
	return 0, false
}

// clock returns a time of the day, in units, as the clock has it by which rules happen: nights that are left out do not stop it.
func (m *Market) clock(at int64) time.Time {
	begins := m.config.Start
	if m.calendar != nil {
		begins = time.Unix(0, m.calendar.origin).In(begins.Location())
	}
	return begins.Add(time.Duration(at >> unitShift))
}

// schedule plans what the scenario does on a day that begins. A market without a calendar begins it without any effect.
func (m *Market) schedule() {
	s := &m.stage
	if !s.active {
		return
	}
	if m.calendar == nil {
		s.tasks, s.effects, s.opened = s.tasks[:0], nil, false
		s.at, s.planned, s.rate, s.boost, s.burst = 0, 0, 0, 0, burst{to: never}
		any := false
		for i := range s.overlays {
			o := &s.overlays[i]
			m.release(uint32(i))
			o.shut, o.recent = false, nil
			m.rebase(uint32(i))
			if o.limits != nil {
				any = true
				o.limits.restart(m.instruments[i].fair)
			}
		}
		if s.limitClock = any; any {
			s.add(int64(referenceTime/referenceParts)<<unitShift, &limitClock{})
		}
		m.reweigh()
	}
	for _, r := range s.rules {
		at, ok := m.first(r)
		if !ok || r.Trigger.When == script.AtTime && m.day > 1 || r.Trigger.When == script.EveryTime && m.calendar != nil && m.day > 1 {
			continue
		}
		m.plan(r, at<<unitShift, 0)
	}
}

// isGone reports whether an instrument was delisted.
func (m *Market) isGone(id uint32) bool { return m.stage.active && m.stage.overlays[id].gone }

// passesOver reports whether a phase that visits all instruments passes over this one.
func (m *Market) passesOver(id uint32) bool {
	o := &m.stage.overlays[id]
	return o.gone || m.phase == closing && o.shut || m.phase == opening && m.instruments[id].special&halted != 0
}

// matching returns the ids of the instruments that match, except those that are gone.
func (m *Market) matching(patterns []string) (ids []uint32) {
	for i := range m.listings {
		if matches(patterns, &m.listings[i].definition) && !m.isGone(uint32(i)) {
			ids = append(ids, uint32(i))
		}
	}
	return ids
}

// A happening is a rule that happens.
type happening struct {
	rule    *script.Rule
	again   bool
	removed bool
}

// Bounds of what goes on at a time.
const (
	mostEffects = 1000
	mostTasks   = 1 << 20
)

func (h *happening) do(m *Market, t task, _ []feed.Tick) (int, bool) {
	switch {
	case h.removed:
		return 0, true
	case h.rule.Does.(*action).verb == doCalm:
	case len(m.stage.effects) >= mostEffects, len(m.stage.tasks) >= mostTasks:
		m.announce(Event{Time: m.timeOf(t.at), Rule: h.rule, Nothing: true, Note: "too much goes on already; calm ends it"})
		return 0, true
	}
	if h.again {
		m.stage.add(t.at+int64(h.rule.Trigger.After)<<unitShift, h)
	}
	a := h.rule.Does.(*action)
	var ids []uint32
	if a.patterns != nil {
		ids = m.matching(a.patterns)
	}
	if a.patterns == nil || len(ids) > 0 {
		m.act(h.rule, a, ids, t.at)
	} else {
		m.begun(h.rule, nil, 0, t.at)
	}
	return 0, true
}

// announce reports an event.
func (m *Market) announce(e Event) {
	if m.config.Happens != nil {
		m.config.Happens(e)
	}
	for _, x := range m.stage.asked {
		if !e.Bands && x.about(e.Rule) {
			x.outcome.Events = append(x.outcome.Events, e)
		}
	}
}

// begun reports that rule r, which is for the given instruments, has happened to some of them.
func (m *Market) begun(r *script.Rule, ids []uint32, happened int, at int64) {
	m.commands.show(m.stage.effects) // before the report, so that a rule that has happened is in force
	e := Event{Time: m.timeOf(at), Rule: r, Instruments: happened, Matching: len(ids), Nothing: r.Does.(*action).patterns != nil && happened == 0}
	if !e.Nothing {
		e.InAll = m.inAll(r)
	}
	if s := &m.stage; e.Nothing && len(ids) > 0 { // the reason of all is no remark about some
		if i := slices.IndexFunc(s.remarks, func(x remark) bool { return x.rule == r && x.n == len(ids) }); i >= 0 {
			e.Note, e.Symbol = s.remarks[i].text, m.listings[ids[0]].definition.Symbol
			s.remarks = slices.Delete(s.remarks, i, i+1)
		}
	}
	m.announce(e)
}

// A visit is a task for each of some instruments, and for all of them afterwards. one writes the ticks of one of them, and after
// receives how many of them have ticks.
type visit struct {
	ids   []uint32
	one   func(id uint32, at int64, out []feed.Tick) int
	after func(at int64, ticked int)
	i     int

	ticked int
}

func (e *visit) do(m *Market, t task, out []feed.Tick) (int, bool) {
	for e.i < len(e.ids) {
		id := e.ids[e.i]
		e.i++
		if n := e.one(id, t.at, out); n > 0 {
			e.ticked++
			return n, false
		}
	}
	if e.after != nil {
		e.after(t.at, e.ticked)
	}
	return 0, true
}

// A moment is a task for the whole market.
type moment func(at int64)

func (f moment) do(_ *Market, t task, _ []feed.Tick) (int, bool) {
	f(t.at)
	return 0, true
}

// units returns a duration in units.
func units(d time.Duration) int64 { return int64(d) << unitShift }

// act makes a, of rule r, happen at a time, to the given instruments, and reports to how many it has happened.
func (m *Market) act(r *script.Rule, a *action, ids []uint32, at int64) {
	s := &m.stage
	// An instrument that refuses has no ticks.
	each := func(one func(id uint32, at int64, out []feed.Tick) int) {
		s.add(at, &visit{ids: ids, one: one, after: func(at int64, ticked int) { m.begun(r, ids, ticked, at) }})
	}
	happened := len(ids)
	switch a.verb {
	case doHalt:
		each(func(id uint32, at int64, out []feed.Tick) int {
			return m.halt(out, id, at, &holdFor{r, toHalt, a.reason, a.span, a.luld.auction})
		})
		return
	case doResume:
		each(func(id uint32, at int64, out []feed.Tick) int { return m.resume(out, id, at, r) })
		return
	case doAuction:
		each(func(id uint32, at int64, out []feed.Tick) int {
			return m.beginAuction(out, id, at, &auctionFor{r, toAuction, a.auction, a.span})
		})
		return
	case doLULD:
		happened = m.setLimits(r, a, ids, at)
	case doNews:
		m.tell(r, a, ids, at)
	case doCrash:
		m.crash(r, a, ids, at)
	case doSpread, doDepth, doVolatility, doActivity, doQuiet, doLock, doCross:
		seen := m.seen(r, a, ids, at)
		if happened = len(seen); happened > 0 {
			m.beginEffect(r, a, seen, at)
		}
	case doRate:
		e := &effect{rule: r, vol: 1, spread: 1, depth: 1, factor: a.factor, factor2: a.factor2, rate: a.rate, every: units(a.every), begin: at, end: math.MaxInt64}
		switch {
		case a.rate == burstRate:
			if e.span = units(a.span); a.every == 0 {
				e.end = at + e.span
			}
		case a.span > 0:
			e.end = at + units(a.span)
		}
		s.effects = slices.DeleteFunc(s.effects, func(e *effect) bool { return e.ids == nil })
		m.begin(e)
		if e.end != math.MaxInt64 && a.rate != rampRate { // a ramp stays at its end
			s.add(e.end, moment(func(int64) { m.finish(e) }))
		}
	case doListing:
		if why := m.addListing(&a.listing, at); why != "" {
			m.announce(Event{Time: m.timeOf(at), Rule: r, Nothing: true, Note: why})
			return
		}
		if id := uint32(len(m.listings) - 1); m.instruments[id].special&closed != 0 {
			m.remark(r, id, m.closedText(r, "it trades when its market opens", id, at))
		}
	case doDelisting:
		each(func(id uint32, at int64, out []feed.Tick) int { return m.delist(out, id, at, a.reason) })
		return
	case doSplit:
		each(func(id uint32, at int64, out []feed.Tick) int { return m.split(out, id, at, r) })
		return
	case doBust:
		each(func(id uint32, at int64, out []feed.Tick) int { return m.bust(out, id, at, r) })
		return
	case doCalm:
		m.endEffects(slices.Clone(s.effects), at)
	}
	m.begun(r, ids, happened, at)
}

// seen returns those of ids that show an effect which begins now: a market that is closed until its end shows nothing of it.
func (m *Market) seen(r *script.Rule, a *action, ids []uint32, at int64) (seen []uint32) {
	for _, id := range ids {
		opens := int64(never) // the effects of a market without a calendar end with the day
		switch s := m.stateOf(id); {
		case s != isClosed && s != isShut:
			opens = at
		case m.calendar != nil:
			opens = m.calendar.opens(id, s)
		}
		switch {
		case opens == at, opens < never && (a.span == 0 || at+units(a.span) > opens):
			seen = append(seen, id)
		case a.span > 0:
			m.remark(r, id, m.closedText(r, "its market is closed until this is over", id, at))
		default:
			m.remark(r, id, m.closedText(r, "its market is closed", id, at))
		}
	}
	return seen
}

// endEffects ends effects.
func (m *Market) endEffects(effects []*effect, at int64) {
	requoted := make(map[uint32]bool)
	for _, e := range effects {
		m.finish(e)
		if e.locked || e.depth != 1 {
			for _, id := range e.ids {
				requoted[id] = true
			}
		}
	}
	m.anew(slices.Sorted(maps.Keys(requoted)), at)
}

// anew clears the books of instruments, whose sizes or prices do not fit any more, and quotes them again.
func (m *Market) anew(ids []uint32, at int64) {
	m.stage.add(at, &visit{ids: ids, one: func(id uint32, at int64, out []feed.Tick) int {
		if m.instruments[id].special&(halted|closed|quiet) != 0 {
			return 0
		}
		n := 0
		if m.config.Depth > 0 {
			m.books.clear(id)
			out[0] = feed.ClearTick(feed.InstrumentID(id), m.timeOf(at), feed.SideBoth)
			out[0].Flags = feed.FlagMore
			n = 1
		}
		return n + m.requote(out[n:], id, m.timeOf(at))
	}})
}

// beginEffect begins the effect of a on instruments, and plans its end.
func (m *Market) beginEffect(r *script.Rule, a *action, ids []uint32, at int64) {
	e := &effect{rule: r, ids: ids, vol: a.vol, spread: a.spread, depth: a.depth, factor: a.factor, quiet: a.verb == doQuiet,
		locked: a.verb == doLock || a.verb == doCross, begin: at, end: math.MaxInt64}
	if a.verb == doCross {
		e.crossed = a.n
	}
	shows := func(at int64) {
		if e.locked || e.depth != 1 || e.spread != 1 {
			m.anew(ids, at)
		}
	}
	m.begin(e)
	shows(at)
	if a.span == 0 {
		return
	}
	e.end = at + units(a.span)
	m.stage.add(e.end, moment(func(at int64) {
		if slices.Contains(m.stage.effects, e) {
			m.finish(e)
			shows(at)
		}
	}))
}

// setLimits switches the bands of instruments on or off, and returns of how many.
func (m *Market) setLimits(r *script.Rule, a *action, ids []uint32, at int64) (set int) {
	s := &m.stage
	set = len(ids)
	var changed []uint32
	for _, id := range ids {
		o, in := &s.overlays[id], &m.instruments[id]
		if o.limits != nil || a.on && !m.listings[id].signed {
			changed = append(changed, id)
		}
		if !a.on || m.listings[id].signed {
			if a.on {
				m.remark(r, id, "its price may be negative, so it has no bands")
				set--
			}
			o.limits = nil
			in.special &^= limited
			continue
		}
		o.limits = newLimits(r, a.luld, in.fair, m.widthOf(id, at))
		in.special |= limited
	}
	s.bands = true
	m.sendBands(changed, at)
	if a.on && !s.limitClock {
		s.limitClock = true
		s.add(at+units(referenceTime/referenceParts), &limitClock{})
	}
	return set
}

// tell makes news of instruments.
func (m *Market) tell(r *script.Rule, a *action, ids []uint32, at int64) {
	e := &effect{rule: r, ids: ids, vol: a.vol, spread: 1, depth: 1, factor: 1, begin: at, end: math.MaxInt64}
	moved := ids // and then those that are correlated with them
	if a.correlate != 0 {
		moved = slices.Clone(ids)
		sectors := make(map[uint16]bool)
		for _, id := range ids {
			if sector := m.instruments[id].sector; sector != 0 {
				sectors[sector] = true
			}
		}
		for i := range m.instruments {
			if !e.has(uint32(i)) && !m.isGone(uint32(i)) && !m.listings[i].signed && (len(sectors) == 0 || sectors[m.instruments[i].sector]) {
				moved = append(moved, uint32(i))
			}
		}
	}
	m.stage.add(at, &visit{ids: moved, one: func(id uint32, at int64, out []feed.Tick) int {
		in, l := &m.instruments[id], &m.listings[id]
		move := a.move
		if !e.has(id) {
			move = max(a.move*a.correlate*l.beta, -0.99)
		}
		in.shift(l, move)
		return m.requote(out, id, m.timeOf(at))
	}})
	if a.vol == 1 {
		return
	}
	m.begin(e)
	// The volatility fades in steps of a quarter of the half-life.
	const steps = 4
	step := max(units(a.halflife)/steps, 1)
	var fade moment
	fade = func(at int64) {
		if !slices.Contains(m.stage.effects, e) {
			return
		}
		e.vol = 1 + float64((e.vol-1)*0.8408964152537145) // 2 to the power of -1/4
		if math.Abs(e.vol-1) < 0.05 {
			m.finish(e)
			return
		}
		m.retuneAll(e)
		m.stage.add(at+step, fade)
	}
	m.stage.add(at+step, fade)
}

// crashStep is the time between two moves of a crash.
const crashStep = 250 * time.Millisecond

// crash moves instruments by a share, and back by a share of that.
func (m *Market) crash(r *script.Rule, a *action, ids []uint32, at int64) {
	s := &m.stage
	e := &effect{rule: r, ids: ids, vol: a.vol, spread: a.spread, depth: a.depth, factor: 1, begin: at, end: math.MaxInt64}
	m.begin(e)
	if a.depth != 1 {
		m.anew(ids, at)
	}
	// glide moves by a factor of 1 + by in a time, and then calls after.
	glide := func(at int64, by float64, in time.Duration, after func(at int64)) {
		steps := min(max(int64(in/crashStep), 1), 10_000)
		factor := math.Pow(1+by, 1/float64(steps)) - 1
		done := int64(0)
		var move moment
		move = func(now int64) {
			if !slices.Contains(s.effects, e) { // calm, or the rule was removed
				return
			}
			for _, id := range ids {
				step := factor
				if m.listings[id].signed {
					step = by / float64(steps)
				}
				m.instruments[id].shift(&m.listings[id], step)
			}
			if done++; done == steps {
				after(now)
				return
			}
			s.add(at+units(in)*(done+1)/steps, move)
		}
		s.add(at+units(in)/steps, move)
	}
	finish := func(at int64) {
		m.finish(e)
		m.anew(ids, at)
	}
	glide(at, a.move, a.span, func(at int64) {
		if a.rebound == 0 {
			finish(at)
			return
		}
		m.anew(ids, at)
		back := (1+float64(a.move*(1-a.rebound)))/(1+a.move) - 1
		glide(at, back, a.back, finish)
	})
}

func itoa(n int64) string { return string(decimal.Append(nil, n, 0)) }

// bust cancels or corrects the last trades of an instrument, the last one first.
func (m *Market) bust(out []feed.Tick, id uint32, at int64, r *script.Rule) int {
	a := r.Does.(*action)
	o, in, l := &m.stage.overlays[id], &m.instruments[id], &m.listings[id]
	if k := len(o.recent); k < int(a.n) {
		m.remark(r, id, "it has only "+nouns.Count(k, "trade")+" to bust")
	}
	n := 0
	for len(o.recent) > 0 && n < int(a.n) {
		t := o.recent[len(o.recent)-1]
		o.recent = o.recent[:len(o.recent)-1]
		name, when := feed.InstrumentID(id), m.timeOf(at)
		if !a.correct {
			out[n] = feed.Cancel{Price: t.Price, Size: t.Size, ID: t.ID}.Tick(name, when, "")
			n++
			continue
		}
		c := feed.Correction{OldPrice: t.Price, OldSize: t.Size, Trade: t}
		by := float64(t.Price/in.tickSize) * a.move
		if l.signed {
			by = a.move * 100 * l.own
		}
		corrected := min(float64(t.Price/in.tickSize)+math.Round(by), 2*in.highest())
		c.Trade.Price = max(int64(corrected), in.lowest) * in.tickSize
		out[n] = c.Tick(name, when, "")
		n++
	}
	for i := range max(n-1, 0) {
		out[i].Flags = feed.FlagMore
	}
	return n
}

// Bounds of the ticks of an auction.
const (
	auctionStep  = time.Second
	leastIndices = 4
	mostIndices  = 120
)

// auctionConditions are the sale conditions of the trade of an auction: those of the consolidated tape.
var auctionConditions = [...]feed.Conditions{
	feed.AuctionUnknown: 'X', feed.AuctionOpening: 'O', feed.AuctionClosing: '6', feed.AuctionIntraday: 'X', feed.AuctionHalt: '5', feed.AuctionIPO: 'O',
}
