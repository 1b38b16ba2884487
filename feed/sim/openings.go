package sim

import (
	"strings"
	"time"

	"tickfeed/feed/script"
)

// trading returns for how long an action shows something if its instruments trade meanwhile. It returns false if the action does
// something to instruments that do not trade, or goes on until they do.
func (a *action) trading() (span time.Duration, ok bool) {
	switch a.verb {
	case doHalt, doResume, doAuction, doSplit:
		return time.Nanosecond, true
	case doSpread, doDepth, doVolatility, doActivity, doQuiet, doLock, doCross:
		return a.span, a.span > 0
	}
	return 0, false
}

// within reports whether a session of h is open at a time, or opens within span after it.
func (h *hours) within(at time.Time, span time.Duration) bool {
	from, _ := h.next(at)
	return from.Before(at.Add(span))
}

// mostOccasions bounds how many times of a rule are compared with the hours of its instruments. Rules for a time of day happen at
// the same time of each day of a week, so that eight show all there is.
const mostOccasions = 8

// everWithin reports whether a session of h is open when a rule happens, first at a time, or within span after it. It returns true
// if the rule happens too often to say.
func (h *hours) everWithin(t script.Trigger, first, end time.Time, span time.Duration) bool {
	at := first
	for range mostOccasions {
		if h.within(at, span) {
			return true
		}
		switch t.When {
		case script.AtClock:
			at = at.AddDate(0, 0, 1)
		case script.EveryTime: // the next one that goes on until the session opens
			from, _ := h.next(at)
			missed := (from.Sub(at) - span) / t.After
			at = at.Add((missed + 1) * t.After)
		default:
			return false
		}
		if !at.Before(end) {
			return false
		}
	}
	return t.When == script.EveryTime
}

// unopened compares the hours of instruments with rule r, which happens first at a time in units. It returns why r never does
// anything, or else announces which instruments do not trade at that time. A rule that happens so long after the start of a market
// without end is only announced: the start may be on another day of the week the next time, and must not fail then.
func (m *Market) unopened(r *script.Rule, at int64) (never string) {
	a := r.Does.(*action)
	span, ok := a.trading()
	switch {
	case m.calendar == nil:
		return ""
	case at >= m.ends():
		return "the market ends before this happens"
	case !m.tradesAfter(a, at):
		return noneOpens
	case !ok:
		return ""
	}
	first, end := m.clock(at), m.clock(min(m.ends(), at+units(mostOccasions*calendarDay)))
	closed := "its market is closed on " + first.Format(openingLayout) + "; "
	var remarks []Event
	open, hours := false, []string(nil)
	for _, g := range m.calendar.groups {
		e := Event{Time: m.timeOf(m.arrivals.now), Rule: r}
		for _, id := range g.ids {
			if matches(a.patterns, &m.listings[id].definition) && !m.isGone(id) {
				if e.Instruments++; e.Instruments == 1 {
					e.Symbol, e.Note = m.listings[id].definition.Symbol, m.hoursText(id)+m.nextText(id, at)
				}
			}
		}
		if e.Instruments == 0 {
			continue
		}
		ever := g.hours.everWithin(r.Trigger, first, end, span)
		open = open || ever
		if r.Trigger.When == script.EveryTime && ever || g.hours.within(first, span) {
			continue
		}
		hours = append(hours, e.Note)
		e.Note = closed + e.Note
		remarks = append(remarks, e)
	}
	if lasting := r.Trigger.When == script.AtTime && m.config.Days == 0; !open && hours != nil && !lasting {
		return closed + strings.Join(hours[:min(len(hours), mostHours)], "; ")
	}
	for _, e := range remarks {
		m.announce(e)
	}
	return ""
}

// mostHours bounds the hours that one error lists.
const mostHours = 3

// openingLayout is how an opening is written.
const openingLayout = "Mon 2006-01-02 15:04 MST"

// hoursText says when instrument id trades.
func (m *Market) hoursText(id uint32) string {
	return m.listings[id].definition.Venue + " trades " + m.calendar.of[id].hours.String()
}

// nextText says when instrument id opens next after a time in units, by the clock of the market's rules.
func (m *Market) nextText(id uint32, at int64) string {
	next, _ := m.calendar.of[id].hours.next(m.clock(at))
	return ", next from " + next.Format(openingLayout)
}

// closedText adds the hours of instrument id, which is closed at a time, to a sentence of rule r that says so. The remarks of a rule
// that happens each day stay the same.
func (m *Market) closedText(r *script.Rule, text string, id uint32, at int64) string {
	if m.calendar == nil || r == nil {
		return text
	}
	text += "; " + m.hoursText(id)
	if r.Trigger.AtOnce() || r.Trigger.When == script.ByHand {
		text += m.nextText(id, at)
	}
	return text
}
