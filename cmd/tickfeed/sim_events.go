package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tickfeed/feed/nouns"
	"tickfeed/feed/sim"
)

// mostOdd bounds the kinds of odd events that sim prints one by one.
const mostOdd = 20

// marketEvents are the events of a market that sim simulates.
type marketEvents struct {
	happened, odd uint64
	kinds         []oddEvent // in the order in which they happened first
	more          uint64     // odd events of other kinds
}

// An oddEvent is something that has happened otherwise than it is written.
type oddEvent struct {
	first sim.Event
	n     uint64
}

// add notes what happens in the market.
func (m *marketEvents) add(e sim.Event) {
	switch {
	case e.Bands:
		return
	case e.Begins():
		m.happened++
		return
	}
	m.odd++
	same := func(x oddEvent) bool { return x.first.Rule == e.Rule && x.first.Note == e.Note }
	switch i := slices.IndexFunc(m.kinds, same); {
	case i >= 0:
		m.kinds[i].n++
	case len(m.kinds) < mostOdd:
		m.kinds = append(m.kinds, oddEvent{e, 1})
	default:
		m.more++
	}
}

// lines say what happened otherwise than it is written, for people.
func (m *marketEvents) lines() (lines []string) {
	for _, x := range m.kinds {
		line := happenedText(&x.first)
		if x.n > 1 {
			line += fmt.Sprintf(" (%s times)", nouns.Thousands(x.n))
		}
		lines = append(lines, line)
	}
	if m.more > 0 {
		lines = append(lines, nouns.Count(m.more, "more remark")+" about events")
	}
	return lines
}

// summary counts the events, for people.
func (m *marketEvents) summary() string {
	text := nouns.Thousands(m.happened) + " happened"
	if m.odd > 0 {
		text += ", " + nouns.Count(m.odd, "remark")
	}
	return text
}

// happenedText says what has happened in the market, for people.
func happenedText(e *sim.Event) string {
	to := ""
	switch {
	case e.Nothing:
		to = ": NOTHING" + strings.TrimPrefix(nothingText(e), "nothing")
	case e.Never:
		to = ": NEVER HAPPENS, " + e.Note
	case e.Late:
		to = ": " + lateText
	case e.Note != "":
		to = ": " + noteOf(e)
	case e.Instruments > 0:
		to = ": " + shareText(e)
	}
	return fmt.Sprintf("market at %s: %s%s", marketTime(e), e.Rule.Text, to)
}

// nothingText says that nothing happens, and why if all instruments have the same reason.
func nothingText(e *sim.Event) string {
	switch {
	case e.Note != "":
		return "nothing happens, " + noteOf(e)
	case e.Matching == 0:
		return "nothing happens, no instrument matches"
	}
	return "nothing happens"
}

// shareText counts the instruments to which e happens, of those that match, and says what e multiplies in all.
func shareText(e *sim.Event) string {
	text := nouns.Count(e.Instruments, "instrument")
	if e.Instruments != e.Matching {
		text = nouns.Thousands(uint64(e.Instruments)) + " of " + nouns.Count(e.Matching, "instrument")
	}
	if e.InAll != "" {
		text += ", in all " + e.InAll
	}
	return text
}

// lateText is about an event whose time was over when its rule was added.
const lateText = "TOO LATE for today, it happens on the next day of the market"

// marketTime is when e happened.
func marketTime(e *sim.Event) string { return time.Unix(0, e.Time).UTC().Format("15:04:05.000Z") }
