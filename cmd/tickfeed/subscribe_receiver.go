package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/feed/files/parquetfile"
	"tickfeed/feed/files/textfile"
	"tickfeed/feed/nouns"
	"tickfeed/subscriber"
)

// errEnough ends a subscription that has received everything it was asked for.
var errEnough = errors.New("enough")

// A receiver handles the batches of one subscription for subscribe.
type receiver struct {
	say       func(format string, args ...any)
	failures  failures
	crowd     *crowd    // reports changes instead of say and failures, if this is one of many lines; otherwise nil
	printer   *printer  // nil: print nothing
	quiet     bool      // print no ticks
	events    bool      // print a line for each event
	reports   io.Writer // nil: none
	count     uint64    // ticks to end after, received one per batch; 0 for no bound
	stop      func(error)
	recovered func(*subscriber.Report) // called for each recovery; it may be nil
	untilEnd  bool
	patterns
	kinds      []feed.Kind // kinds that are printed and counted; nil for all
	noSnapshot bool        // print no ticks of snapshots
	brief      bool        // print one line for a snapshot of many instruments
	passing    bool        // that line stands for the ticks of the present snapshot

	savedNext uint64      // position of the last saved event
	last      *feed.State // state as of the last batch
	link
	ticks      uint64
	chosen     uint64      // ticks of kinds
	few        []feed.Tick // buffer of choose
	recoveries uint64
	order      order
}

// handle is the handler for subscriber.Run.
func (r *receiver) handle(b *subscriber.Batch) error {
	r.last = b.State
	if c := b.Change; c != nil {
		if r.events {
			for _, e := range eventsOf(b.Session, c) {
				r.printer.event(e)
			}
			if c.Saved != nil {
				r.savedNext = c.Saved.Next
			}
			if err := r.printer.flush(); err != nil {
				return err
			}
		}
		if c.Snapshot != nil && r.brief {
			if err := r.summarize(c.Snapshot, b.State); err != nil {
				return err
			}
		}
		if err := r.change(c); err != nil {
			return err
		}
		if text, ok := r.compare(c, b.State); ok {
			if text != "" {
				r.say("%s", text)
			}
			r.report(outcome{granted: r.filter, limits: r.limits, warning: text})
		}
		if c.State == subscriber.Closed {
			r.report(outcome{closed: true, err: c.Err})
		}
		return nil
	}
	if r.count > 0 && r.chosen >= r.count {
		return errEnough
	}
	if r.printer != nil && !r.quiet && !(b.Snapshot && (r.noSnapshot || r.passing)) {
		for publish, ticks := range b.ByPublishTime() {
			if err := r.printer.append(b.Session, publish, r.choose(ticks), b.State); err != nil {
				return err
			}
		}
		if err := r.printer.flush(); err != nil {
			return err
		}
	}
	if !b.Snapshot {
		r.order.check(b.Session, b.Ticks)
		r.ticks += uint64(len(b.Ticks))
		r.chosen += uint64(len(r.choose(b.Ticks)))
	}
	if r.count > 0 && r.chosen >= r.count {
		r.stop(errEnough) // this batch still counts
	}
	return nil
}

// fewInstruments is how many instruments a snapshot may have whose ticks are all printed as text.
const fewInstruments = 10

// summarize prints a line instead of the ticks of a snapshot, which gave state, if they are many.
func (r *receiver) summarize(s *codec.SnapshotBegin, state *feed.State) error {
	n := 0
	for range state.Definitions(func(feed.InstrumentID) bool { return true }) {
		n++
	}
	if r.passing = n > fewInstruments; !r.passing {
		return nil
	}
	what := "snapshot of " + nouns.Count(n, "instrument")
	switch s.Scope {
	case codec.ScopeDefinitions:
		what = "definitions of " + nouns.Count(n, "instrument")
	case codec.ScopeAdded:
		what = "snapshot of the added instruments"
	}
	r.printer.buf = fmt.Appendf(r.printer.buf, "%*s%s as of number %s (--snapshot prints it)\n", seqWidth+1, "", what, nouns.Thousands(s.Seq))
	return r.printer.flush()
}

// printEnd writes what --events and --final-state print at the end.
func (r *receiver) printEnd(out io.Writer, o *subscribeOptions, format textfile.JSONFormat, s *subscriber.Subscriber) error {
	held := s.Position()
	if o.events {
		if o.state != "" && held.Next != r.savedNext && len(held.Lineage) > 0 {
			r.printer.event(saved(held))
		}
		if err := r.printer.flush(); err != nil {
			return err
		}
	}
	if o.finalState && r.last != nil && len(held.Lineage) > 0 {
		format.State = true
		if err := newPrinter(out, format).state(held.Lineage.Current().ID, r.last, r.filter); err != nil {
			return err
		}
	}
	if o.events {
		r.printer.event(left(held, s.Ledger()))
		return r.printer.flush()
	}
	return nil
}

// choose returns the ticks of the wanted kinds. The result is valid until the next call.
func (r *receiver) choose(ticks []feed.Tick) []feed.Tick {
	if r.kinds == nil {
		return ticks
	}
	r.few = r.few[:0]
	for i := range ticks {
		if slices.Contains(r.kinds, ticks[i].Kind) {
			r.few = append(r.few, ticks[i])
		}
	}
	return r.few
}

// parseKinds parses --kinds. It returns nil for all kinds.
func parseKinds(names []string) (kinds []feed.Kind, err error) {
	all := parquetfile.Kinds()
	for _, name := range names {
		name = strings.ToLower(strings.TrimSpace(name))
		if name == "all" {
			return nil, nil
		}
		i := slices.IndexFunc(all, func(k feed.Kind) bool { return k.String() == name || k.String() == strings.TrimSuffix(name, "s") })
		if i < 0 {
			return nil, usage("--kinds: there is no kind %q; want some of definition, quote, trade, correction, cancel, level, clear, status, auction, or all", name)
		}
		kinds = append(kinds, all[i])
	}
	return kinds, nil
}

func (r *receiver) change(c *subscriber.Change) error {
	if r.crowd != nil {
		r.crowd.change(r, c)
	} else {
		r.failures.note(r, c)
		for _, text := range describe(c, r.state, r.greeted) {
			r.say("%s", text)
		}
	}
	r.link.note(c)
	if c.Report != nil {
		r.recoveries++
		if r.recovered != nil {
			r.recovered(c.Report)
		}
		if r.reports != nil {
			b, err := json.Marshal(c.Report)
			if err == nil {
				_, err = r.reports.Write(append(b, '\n'))
			}
			if err != nil {
				return fmt.Errorf("--reports: %w", err)
			}
		}
	}
	if c.End && r.untilEnd {
		return errEnough
	}
	return nil
}

// patterns are the filter of a subscription, which is compared with the instruments that there are.
type patterns struct {
	filter  codec.Filter
	limits  string        // why filter is not what was asked for: what the user may not see; empty if it is
	changed bool          // filter is not that of --symbols
	matched bool          // filter was compared with a complete state
	settled func(outcome) // called when it was, and when the subscription has ended; it may be nil
}

// report calls settled.
func (p *patterns) report(o outcome) {
	if p.settled != nil {
		p.settled(o)
	}
}

// compare compares the filter with state if that is complete after c, for the first time with this filter. The warning names the
// patterns that match no instrument; it is empty if there are none.
func (p *patterns) compare(c *subscriber.Change, state *feed.State) (warning string, ok bool) {
	complete := c.State == subscriber.Live
	if f := c.Filtered; f != nil {
		complete = complete && p.matched && !adds(p.filter, f.Filter) // otherwise a snapshot follows
		p.filter, p.limits, p.changed, p.matched = f.Filter, f.Limits, p.changed || p.matched, false
	}
	if p.matched || !complete {
		return "", false
	}
	p.matched = true
	missing, meant := unmatched(p.filter, state)
	if len(missing) == 0 {
		return "", true
	}
	text := fmt.Sprintf("no instrument matches %s so far", firstPatterns(missing))
	switch {
	case p.limits != "": // they need not be those that were asked for
		return text + ", to which the publisher limits this user", true
	case meant == "":
		text += "; patterns are case-sensitive"
	}
	if p.changed {
		return symbolsCommand + ": " + text + meant, true
	}
	return "--symbols: " + text + meant, true
}

// adds reports whether to has a pattern that from lacks.
func adds(from, to codec.Filter) bool {
	return !from.All() && (to.All() || slices.ContainsFunc(to, func(p string) bool { return !slices.Contains(from, p) }))
}

// unmatched returns the patterns of f that match no instrument of state, and what symbolMeant says about them.
func unmatched(f codec.Filter, state *feed.State) (missing []string, meant string) {
	seen := make(map[string]bool) // SYMBOL and SYMBOL@VENUE
	var all []*feed.Definition
	if state != nil {
		for t := range state.Definitions(nil) {
			d := t.Definition()
			all = append(all, d)
			seen[d.Symbol], seen[d.Symbol+"@"+d.Venue] = true, true
		}
	}
	for _, p := range f {
		found := seen[p]
		if strings.ContainsAny(p, "*?") {
			found = slices.ContainsFunc(all, codec.Filter{p}.Match)
		}
		if found {
			continue
		}
		missing = append(missing, p)
	}
	if len(missing) == 0 {
		return nil, ""
	}
	return missing, symbolMeant(missing, slices.Sorted(maps.Keys(seen)))
}

// account returns the last line of standard error.
func (r *receiver) account(l *feed.Ledger, next uint64) string {
	return accountText(r.ticks, r.recoveries, r.unfinished(), l.Totals(), r.order.repeated, positionText(next))
}

// positionText describes the position of a subscriber, whose next number is next; 0 if no publisher has welcomed it yet.
func positionText(next uint64) string {
	if next == 0 {
		return "nothing received yet"
	}
	return fmt.Sprintf("next seq %d", next)
}

// A link is what the changes so far say about the connection of a receiver.
type link struct {
	state       subscriber.ConnState // after the last change
	greeted     bool                 // the connection has been replaying or live
	recovering  bool                 // a connection was lost, and no report has come since
	reconnected bool                 // while recovering: a publisher has welcomed the subscriber since
}

func (l *link) note(c *subscriber.Change) {
	switch c.State {
	case subscriber.Replaying, subscriber.Live:
		l.greeted = true
	case subscriber.Connecting, subscriber.Disconnected:
		l.recovering = l.recovering || l.state != subscriber.Connecting && l.state != subscriber.Disconnected
		l.greeted = false
	}
	l.recovering = l.recovering && c.Report == nil
	l.reconnected = l.recovering && (l.reconnected || c.Connected != nil)
	l.state = c.State
}

// unfinished returns 1 if the subscriber is connected again, but has not received all that it missed.
func (l *link) unfinished() uint64 {
	if l.reconnected {
		return 1
	}
	return 0
}

// accountText formats an account for people, ending with end. unfinished counts recoveries that were not over, and are not in
// recoveries.
func accountText(ticks, recoveries, unfinished uint64, t feed.Totals, repeated uint64, end string) string {
	expired := ""
	if t.Expired > 0 {
		expired = fmt.Sprintf(" (%s expired)", nouns.Thousands(t.Expired))
	}
	open := ""
	if unfinished > 0 {
		open = fmt.Sprintf(" (%s not over)", nouns.Thousands(unfinished))
	}
	return fmt.Sprintf("account: %s, %s%s, %s withheld, %s lost%s, %s disowned, %s duplicated; %s",
		nouns.Count(ticks, "tick"), nouns.Count(recoveries+unfinished, "recovery"), open, nouns.Thousands(t.Withheld), nouns.Thousands(t.Lost), expired,
		nouns.Thousands(t.Disowned), nouns.Thousands(repeated), end)
}

// An order checks, independently of the subscriber, that no number of a session comes twice or after a greater one.
type order struct {
	session  feed.SessionID
	last     uint64 // the greatest number of session
	before   map[feed.SessionID]uint64
	repeated uint64 // numbers that were not greater than the last of their session
}

func (o *order) check(session feed.SessionID, ticks []feed.Tick) {
	if session != o.session {
		if o.before == nil {
			o.before = make(map[feed.SessionID]uint64)
		}
		o.before[o.session] = o.last
		o.session, o.last = session, o.before[session]
	}
	for i := range ticks {
		seq := ticks[i].Seq
		if seq <= o.last {
			o.repeated++
			continue
		}
		o.last = seq
	}
}
