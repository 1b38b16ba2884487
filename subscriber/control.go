package subscriber

import (
	"fmt"
	"math"

	"tickfeed/codec"
	"tickfeed/feed"
)

// control handles every message except packets and the welcome. The caller must have delivered out. If the message ends a
// snapshot, control returns it, and the caller must deliver its entries.
func (l *line) control(t codec.Type, raw []byte) (told *collecting, err error) {
	if t == codec.TypeSnapshotPart {
		return nil, l.part(raw)
	}
	if !l.c.welcomed && t != codec.TypeRefusal && t != codec.TypeGoodbye {
		return nil, violation("%v before the welcome", t)
	}
	m, err := codec.Decode(raw)
	if err != nil {
		return nil, &ProtocolError{What: t.String(), Err: err}
	}
	if l.c.awaited.snapshot != nil {
		switch t {
		case codec.TypeHeartbeat, codec.TypeSnapshotEnd, codec.TypeGoodbye:
		default:
			return nil, violation("%v inside a snapshot", t)
		}
	}
	switch m := m.(type) {
	case *codec.Heartbeat:
		return nil, l.heartbeat(m)
	case *codec.SnapshotBegin:
		return nil, l.begin(m)
	case *codec.SnapshotEnd:
		return l.end(m)
	case *codec.SessionChange:
		return nil, l.session(m)
	case *codec.Subscribed:
		return nil, l.subscribed(m)
	case *codec.End:
		return nil, l.sessionEnd(m)
	case *codec.Goodbye:
		if m.Code == codec.CodeDone && l.c.welcomed && l.until != math.MaxUint64 && l.c.at < l.until {
			return nil, l.gap(l.until, "goodbye, as the line has covered everything asked for, and ends")
		}
		return nil, l.farewell(codec.Farewell(*m))
	case *codec.Refusal:
		if !l.c.welcomed {
			return nil, l.farewell(codec.Farewell(*m))
		}
	case *codec.Welcome:
		return nil, violation("a second welcome")
	}
	return nil, violation("%v from a publisher", t)
}

func (l *line) farewell(f codec.Farewell) error {
	return &RefusedError{
		Addr: l.c.addr, Code: f.Code, Text: f.Text, Retry: f.Retry, RetryAfter: f.RetryAfter, Goodbye: l.c.welcomed,
	}
}

func (l *line) heartbeat(m *codec.Heartbeat) error {
	switch {
	case m.Covered != l.c.at:
		return l.gap(m.Covered, "heartbeat covers up to")
	case m.Head < m.Covered:
		return violation("heartbeat: head %d is below covered %d", m.Head, m.Covered)
	case l.c.ended && m.Head != l.c.at:
		return violation("heartbeat: head %d after the end at %d", m.Head, l.c.at)
	}
	l.head, l.c.echo, l.c.flowed = m.Head, m.Now, true
	return nil
}

func (l *line) begin(m *codec.SnapshotBegin) error {
	switch {
	case m.Seq != l.position.Next:
		return violation("snapshot as of %d, the position is %d", m.Seq, l.position.Next)
	case m.Scope != codec.ScopeAdded && len(m.Filter) > 0:
		return violation("snapshot of scope %v with a filter", m.Scope)
	case l.c.ended && l.need == needNothing:
		return violation("a snapshot after the end")
	case l.need == needState && l.c.awaited.definitions && m.Scope == codec.ScopeAll:
		return violation("snapshot of scope all where definitions are due")
	case m.Scope == codec.ScopeAdded && l.need == needState, m.Scope == codec.ScopeDefinitions && !l.c.awaited.definitions:
		return violation("snapshot of scope %v where the whole state is due", m.Scope)
	}
	l.c.awaited.snapshot = &collecting{begin: m, state: feed.NewState()}
	return nil
}

func (l *line) part(raw []byte) error {
	s := l.c.awaited.snapshot
	if s == nil {
		return violation("snapshot part outside a snapshot")
	}
	p, err := codec.ParsePart(raw, l.c.from.seed)
	if err != nil {
		return &ProtocolError{What: "snapshot", Err: err}
	}
	if p.Seq != s.begin.Seq || p.Index != s.parts {
		return violation("snapshot part %d as of %d, want part %d as of %d", p.Index, p.Seq, s.parts, s.begin.Seq)
	}
	s.parts++
	if s.size += len(raw); s.size > maxSnapshot {
		return violation("snapshot of more than %d MiB", maxSnapshot>>20)
	}
	if err := p.Fold(s.state); err != nil {
		return &ProtocolError{What: "snapshot", Err: err}
	}
	return nil
}

func (l *line) end(m *codec.SnapshotEnd) (*collecting, error) {
	s := l.c.awaited.snapshot
	if s == nil {
		return nil, violation("snapshot end outside a snapshot")
	}
	if m.Seq != s.begin.Seq || m.Parts != s.parts {
		return nil, violation("snapshot end as of %d with %d parts, %d parts as of %d have come", m.Seq, m.Parts, s.parts, s.begin.Seq)
	}
	l.c.awaited.snapshot = nil
	l.c.awaited.definitions, l.c.recorded = false, false
	l.need = needNothing
	if s.begin.Scope == codec.ScopeAdded {
		l.state.Replace(func(_ feed.InstrumentID, d *feed.Definition) bool { return s.begin.Filter.Match(d) }, s.state)
		l.tell(Change{Snapshot: s.begin})
		return s, nil
	}
	l.state = s.state
	l.change(Change{State: Snapshotting, Snapshot: s.begin}) // until its entries were delivered and settle is called
	return s, nil
}

// session continues the line in the session that m announces.
func (l *line) session(m *codec.SessionChange) error {
	owner, owned, ok := m.Lineage.Owner(m.Next)
	if current := m.Lineage.Current(); !ok || owner != current {
		return violation("session %v: the line goes on at %d, which it does not own", current.ID, m.Next)
	}
	if err := checkSeed(m.Seed, owner.ID, l.scope.granted); err != nil {
		return err
	}
	position, target := l.position.Next, l.c.target
	var disowned, lost []Numbers
	fork, common := m.Lineage.Fork(l.position.Lineage, position)
	switch {
	case !common:
		if err := l.checkNew(m.Lineage, m.Next); err != nil {
			return err
		}
		lost = l.lose(l.behind(), false)
		position, target = m.Next, m.Next
		l.need = needState
	case fork == position && m.Next != l.c.at:
		return l.gap(m.Next, "session goes on")
	case fork < position && m.Next > fork:
		return l.gap(m.Next, fmt.Sprintf("session forks off at %d and goes on", fork))
	case fork < position:
		disowned = l.disown(l.position.Lineage.Split(feed.Range{From: fork, To: position}))
		position, target = fork, fork
		l.need = needState
	}
	c := &l.c
	c.from.session, c.from.mode, c.from.origin, c.from.owned, c.from.seed = owner.ID, m.Mode, m.Origin, owned, m.Seed
	c.recorded = false
	l.head = max(m.Next, target)
	c.at, c.target, c.ended = m.Next, target, false
	l.goTo(codec.Position{Lineage: m.Lineage, Next: position})
	if len(disowned)+len(lost) > 0 {
		l.tell(Change{Disowned: disowned, Lost: lost, Unrelated: !common})
	}
	return nil
}

// subscribe returns a request for filter f. It returns false if f is the filter already, another request is open, or the line
// is at a point where it could not place the answer.
func (l *line) subscribe(f codec.Filter) (m *codec.Subscribe, ok bool) {
	if !l.c.welcomed || l.c.change.asked || l.need != needNothing || l.c.awaited.snapshot != nil || l.c.at < l.position.Next || sameFilter(f, l.scope.asked) {
		return nil, false
	}
	l.c.change.asked = true
	l.c.change.request = codec.Subscribe{Request: l.c.change.request.Request + 1, Filter: f}
	m = &codec.Subscribe{Request: l.c.change.request.Request, Filter: f}
	return m, true
}

func (l *line) subscribed(m *codec.Subscribed) error {
	unasked := m.Request == 0 && l.c.terms.narrows // requests begin with 1
	switch {
	case !unasked && (!l.c.change.asked || m.Request != l.c.change.request.Request):
		return violation("subscribed to request %d, which was not made", m.Request)
	case unasked && (l.c.at < l.position.Next || l.need != needNothing):
		return violation("subscribed without a request before the position, or where a snapshot is due")
	case m.From != l.c.at:
		return l.gap(m.From, "subscribed from")
	}
	f := l.c.change.request.Filter
	if unasked {
		f = l.scope.asked
	}
	granted, err := grantedOf(f, m.Granted)
	if err != nil {
		return err
	}
	if err := checkSeed(m.Seed, l.c.from.session, granted); err != nil {
		return err
	}
	switch {
	case unasked && m.From > 1:
		l.need = needState
	case !unasked && adds(l.scope.asked, f) && l.need == needNothing:
		l.need = needAdded
	}
	answer := !unasked && l.c.change.narrow == nil // to SetFilter
	if !unasked {
		l.c.change.asked, l.c.change.narrow = false, nil
	}
	l.c.from.seed, l.c.recorded = m.Seed, false
	l.c.terms.filtered, l.c.terms.granted = !granted.All(), m.Granted
	l.scope.asked, l.scope.granted, l.scope.limits = f, granted, m.Limits
	if l.c.change.narrow == nil { // otherwise what is handed out is still less
		l.refilter(granted, m.From, answer)
	}
	return nil
}

func sameFilter(a, b codec.Filter) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// adds reports whether to has a pattern that from lacks. Both are canonical.
func adds(from, to codec.Filter) bool {
	if from.All() || to.All() {
		return to.All() && !from.All()
	}
	for _, p := range to {
		found := false
		for _, q := range from {
			found = found || p == q
		}
		if !found {
			return true
		}
	}
	return false
}

func (l *line) sessionEnd(m *codec.End) error {
	switch {
	case l.c.ended:
		return violation("a second end")
	case l.need != needNothing && m.Final > 1:
		return violation("the session ends although a snapshot is due")
	case m.Final != l.c.at:
		return l.gap(m.Final, "the session ends")
	case m.Final < l.position.Next:
		return violation("the session ends at %d, below the position %d", m.Final, l.position.Next)
	}
	l.c.ended, l.head, l.c.flowed = true, m.Final, true
	l.c.from.owned.To = m.Final
	l.tell(Change{End: true, Final: m.Final})
	return nil
}
