package subscriber

import (
	"slices"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/start"
	"tickfeed/feed"
)

// welcome begins the line that h asked for. The filter wanted is the filter of h or a part of it.
func (l *line) welcome(h *codec.Hello, w *codec.Welcome, wanted codec.Filter, now time.Time) error {
	if l.c.welcomed {
		return violation("a second welcome")
	}
	if w.Version != codec.Version {
		return violation("welcome: version %d, the hello offered %d", w.Version, codec.Version)
	}
	p, err := start.Place(h, w)
	if err != nil {
		return violation("%v", err)
	}
	owner, owned, _ := w.Lineage.Owner(w.Start)
	granted, err := grantedOf(h.Filter, w.Granted)
	if err != nil {
		return err
	}
	if err := checkSeed(w.Seed, owner.ID, granted); err != nil {
		return err
	}
	switch {
	case p.Unrelated:
		if l.had, err = l.heldOf(w.Lineage, p.Position); err != nil {
			return err
		}
	case w.Reason != codec.StartedResumed:
		l.had = min(l.had, p.Position)
	}
	l.c.welcomed, l.c.anew = true, p.Unrelated
	l.c.from.session, l.c.from.mode, l.c.from.origin, l.c.from.owned, l.c.from.seed = owner.ID, w.Mode, w.Origin, owned, w.Seed
	l.c.at, l.c.target, l.c.echo = w.Start, w.Head, w.Now
	l.c.terms.filtered, l.c.terms.granted = !granted.All(), w.Granted
	l.c.terms.ack = slices.Contains(h.Features, codec.FeatureAck) && slices.Contains(w.Features, codec.FeatureAck)
	l.c.terms.narrows = slices.Contains(h.Features, codec.FeatureNarrow) && slices.Contains(w.Features, codec.FeatureNarrow)
	l.c.awaited.definitions = w.Reason == codec.StartedAsAsked && h.Start.Kind == codec.StartLive
	if !h.HasState || w.Reason != codec.StartedResumed || !sameFilter(granted, l.scope.granted) || w.Limits != "" {
		l.need = needState
	}
	l.scope.asked, l.scope.granted, l.scope.limits = h.Filter, granted, w.Limits
	if !sameFilter(wanted, h.Filter) {
		l.c.change.narrow = &narrow{filter: wanted, wanted: make(map[feed.InstrumentID]bool)}
	}

	disowned := l.disown(p.Disowned)
	for _, n := range p.NotAsked {
		l.ledger.NotAsked(n.Session, n.Range)
	}
	if p.Unrelated {
		p.Lost = append(l.behind(), p.Lost...)
	}
	lost := l.lose(p.Lost, false)
	l.head = w.Head
	if w.Reason == codec.StartedAsAsked {
		// A publisher that was meant to keep more than it has starts the line before its tail; one without a journal does not.
		l.opening = (h.Start.Kind == codec.StartBeginning || h.Start.Kind == codec.StartTime) && w.Start < w.Tail
	}
	l.goTo(codec.Position{Lineage: w.Lineage, Next: p.Position})
	if r := l.recovery; r != nil {
		r.report.Down = now.Sub(r.since)
		r.report.Addr, r.report.Session = l.c.addr, w.Lineage.Current().ID
		switch {
		case p.Unrelated:
			r.report.Resume = ResumeNewSession
		case w.Reason == codec.StartedRewound:
			r.report.Resume = ResumeRewound
		default:
			if r.report.Resume == "" { // otherwise an earlier connection of this recovery skipped numbers
				r.report.Resume = ResumeReplay
			}
		}
	}
	l.c.greeting = &Connected{Session: owner.ID, Mode: w.Mode, Reason: w.Reason, Position: p.Position, Head: w.Head}
	if len(disowned)+len(lost) > 0 {
		l.tell(Change{Disowned: disowned, Lost: lost, Unrelated: p.Unrelated})
	}
	if sameFilter(wanted, h.Filter) {
		wanted = granted
	}
	l.refilter(wanted, l.position.Next, false)
	return nil
}

// refilter notes that filter f, with the limits of the line, applies to the ticks delivered from number from on, and adds a change
// if that is new, or answers SetFilter.
func (l *line) refilter(f codec.Filter, from uint64, answer bool) {
	if answer || !sameFilter(l.scope.handed.Filter, f) || l.scope.handed.Limits != l.scope.limits {
		l.scope.handed = Filtered{Filter: f, Limits: l.scope.limits, From: from}
		l.tell(Change{Filtered: new(l.scope.handed)})
	}
}

// grantedOf returns the filter of a line, given the filter that was asked for and the publisher's answer, which is nil if it
// grants all of asked.
func grantedOf(asked codec.Filter, granted *codec.Filter) (codec.Filter, error) {
	switch {
	case granted == nil:
		return asked, nil
	case granted.All() && !asked.All():
		return nil, violation("everything is granted, where %d patterns were asked for", len(asked))
	}
	return *granted, nil
}

// checkSeed refuses a wrong seed for an unfiltered line. It accepts any seed for a filtered line.
func checkSeed(seed uint32, id feed.SessionID, f codec.Filter) error {
	if f.All() && seed != codec.LineSeed(id, nil) {
		return violation("seed %08x is not that of session %v", seed, id)
	}
	return nil
}

// heldOf returns the end of the numbers of lineage that are accounted for, from number from on, without a hole. A session that
// the subscriber left comes back if an old copy of a journal was restored, or if there are two publishers. Its delivered ticks
// are then skipped, and numbers that were lost after all of them can still be received. If ticks were delivered after a hole,
// they cannot be skipped, and heldOf returns an error.
func (l *line) heldOf(lineage feed.Lineage, from uint64) (held uint64, err error) {
	held = from
	numbers := lineage.Split(feed.Range{From: from, To: codec.MaxSeq})
	last := 0 // the last session with delivered ticks
	for i, n := range numbers {
		if a := l.ledger.Account(n.Session); deliveredTo(&a) > n.Range.From {
			last = i
		}
	}
	for i, n := range numbers {
		if held == n.Range.From {
			held = n.Range.To
			a := l.ledger.Account(n.Session)
			end := deliveredTo(&a)
			open := append(l.gaps(n), a.Disowned.Ranges()...)
			for _, r := range a.Lost.Ranges() {
				if i >= last && r.From >= end {
					open = append(open, r)
				}
			}
			for _, r := range open {
				if r.To > n.Range.From {
					held = min(held, max(r.From, n.Range.From))
				}
			}
		}
		if held < n.Range.To {
			return held, l.checkNew(lineage, held)
		}
	}
	return held, nil
}

// gaps lists the parts of n that neither this process nor an earlier one has accounted for.
func (l *line) gaps(n Numbers) []feed.Range {
	gaps := feed.NewRangeSet(l.ledger.Gaps(n.Session, n.Range)...)
	for _, earlier := range l.begun.Lineage.Split(feed.Range{From: 1, To: l.begun.Next}) {
		if earlier.Session == n.Session {
			gaps = gaps.Minus(feed.NewRangeSet(earlier.Range))
		}
	}
	return gaps.Ranges()
}

// checkNew returns an error if lineage, from number from on, has a session that the subscriber left and that would start again
// before ticks that were delivered.
func (l *line) checkNew(lineage feed.Lineage, from uint64) error {
	for _, n := range lineage.Split(feed.Range{From: from, To: codec.MaxSeq}) {
		a := l.ledger.Account(n.Session)
		if end := deliveredTo(&a); end > n.Range.From {
			return violation("session %v goes back to %d, %d was delivered", n.Session, n.Range.From, end-1)
		}
	}
	return nil
}

// deliveredTo returns the number after the last number that was delivered, or covered by a filtered line.
func deliveredTo(a *feed.Account) uint64 {
	end := uint64(0)
	if rs := a.Delivered.Ranges(); len(rs) > 0 {
		end = rs[len(rs)-1].To
	}
	if len(a.Filtered) > 0 {
		end = max(end, a.Filtered[len(a.Filtered)-1].To)
	}
	return end
}

// goTo sets the position. At number 1 the state is empty, and no snapshot is needed.
func (l *line) goTo(p codec.Position) {
	l.position = p
	l.out.upto = p.Next
	if p.Next == 1 {
		l.state, l.need = feed.NewState(), needNothing
	}
}

func (l *line) disown(ns []Numbers) []Numbers {
	for _, n := range ns {
		for _, gap := range l.ledger.Gaps(n.Session, n.Range) {
			l.ledger.Deliver(n.Session, gap) // delivered to an earlier process: the gap is before the position
		}
		l.ledger.Disown(n.Session, n.Range)
	}
	if r := l.recovery; r != nil {
		r.report.Disowned = append(r.report.Disowned, ns...)
	}
	return ns
}

// behind returns the numbers from the position to head: those that the line knows of and has not received.
func (l *line) behind() []Numbers {
	return l.position.Lineage.Split(feed.Range{From: l.position.Next, To: max(l.position.Next, l.head)})
}

// lose counts the numbers of ns that are not accounted for yet as expired, or only as lost, and returns them.
func (l *line) lose(ns []Numbers, expired bool) []Numbers {
	var lost []Numbers
	for _, n := range ns {
		disowned := l.ledger.Account(n.Session).Disowned.Intersect(feed.NewRangeSet(n.Range))
		for _, open := range feed.NewRangeSet(l.ledger.Gaps(n.Session, n.Range)...).Union(disowned).Ranges() {
			if expired {
				l.ledger.Expire(n.Session, open)
			} else {
				l.ledger.Lose(n.Session, open)
			}
			lost = append(lost, Numbers{Session: n.Session, Range: open})
		}
	}
	if r := l.recovery; r != nil {
		r.report.Lost = append(r.report.Lost, lost...)
	}
	return lost
}
