package main

import (
	"fmt"
	"sync"
	"time"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/feed/nouns"
	"tickfeed/subscriber"
)

// A crowd reports the changes of many lines: those of several lines within a second are one message.
type crowd struct {
	say func(format string, args ...any)

	mu         sync.Mutex // guards the fields below
	failures   failures
	failed     []string // reported by failures since the last report
	since      events   // changes since the last report
	cutErr     error
	slowest    time.Duration // slowest recovery
	lostReason string
	final      uint64
	filter     codec.Filter
	from       feed.Range // range of the numbers from which filter applies, over all lines
}

// newCrowd returns a crowd that reports by say. Why attempts to connect fail is reported after the connections that were
// lost before them.
func newCrowd(say func(format string, args ...any), maxAttempts int) *crowd {
	w := &crowd{say: say}
	w.failures = failures{maxAttempts: maxAttempts, say: func(format string, args ...any) {
		w.failed = append(w.failed, fmt.Sprintf(format, args...))
	}}
	return w
}

// events are the kinds of changes, each with the lines it happened to.
type events struct{ cut, recovered, lost, withheld, disowned, ended, filtered event }

// An event counts the lines that a change happened to, and the numbers in it.
type event struct {
	lines   map[*receiver]bool
	numbers uint64
}

func (e *event) add(r *receiver, ns ...subscriber.Numbers) {
	if e.lines == nil {
		e.lines = make(map[*receiver]bool)
	}
	e.lines[r] = true
	for _, n := range ns {
		e.numbers += n.Range.Len()
	}
}

// on describes the connections of e for people.
func (e *event) on() string { return nouns.Count(len(e.lines), "connection") }

// change records a change of the line of r; r.state is still the state before it. It is safe for concurrent use.
func (w *crowd) change(r *receiver, c *subscriber.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := &w.since
	w.failures.note(r, c)
	if c.State == subscriber.Disconnected && r.state != subscriber.Disconnected && r.state != subscriber.Connecting && c.Err != nil {
		e.cut.add(r)
		w.cutErr = c.Err
	}
	if c.Report != nil {
		e.recovered.add(r)
		w.slowest = max(w.slowest, c.Report.Live)
	}
	if len(c.Withheld) > 0 {
		e.withheld.add(r, c.Withheld...)
	}
	if len(c.Lost) > 0 {
		e.lost.add(r, c.Lost...)
		w.lostReason = lostReason(c, e.lost.numbers)
	}
	if len(c.Disowned) > 0 {
		e.disowned.add(r, c.Disowned...)
	}
	if c.End {
		e.ended.add(r)
		w.final = c.Final
	}
	if f := c.Filtered; f != nil {
		if e.filtered.lines == nil {
			w.from = feed.Range{From: f.From, To: f.From}
		}
		e.filtered.add(r)
		w.filter = f.Filter
		w.from = feed.Range{From: min(w.from.From, f.From), To: max(w.from.To, f.From)}
	}
}

// report reports the changes since the last report.
func (w *crowd) report() {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := &w.since
	if e.cut.lines != nil {
		w.say("%s disconnected: %v", e.cut.on(), w.cutErr)
	}
	for _, text := range w.failed {
		w.say("%s", text)
	}
	if e.recovered.lines != nil {
		w.say("%s recovered, the slowest in %s", e.recovered.on(), formatDuration(w.slowest))
	}
	if e.withheld.lines != nil {
		w.say("withheld on %s: %s skipped because the connection was too slow", e.withheld.on(), nouns.Count(e.withheld.numbers, "tick"))
	}
	if e.lost.lines != nil {
		w.say("lost on %s: %s", e.lost.on(), w.lostReason)
	}
	if e.disowned.lines != nil {
		w.say("disowned on %s: %s that no longer belong to any session", e.disowned.on(), nouns.Count(e.disowned.numbers, "number"))
	}
	if e.filtered.lines != nil {
		from := fmt.Sprintf("number %d", w.from.From)
		if w.from.From != w.from.To {
			from = fmt.Sprintf("numbers between %d and %d", w.from.From, w.from.To)
		}
		w.say("%s on %s from %s on", filterText(w.filter), e.filtered.on(), from)
	}
	if e.ended.lines != nil {
		w.say("end of the source on %s: the last number is %d", e.ended.on(), w.final-1)
	}
	w.since, w.slowest, w.failed = events{}, 0, nil
}
