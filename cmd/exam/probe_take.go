package exam

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/start"
	"tickfeed/feed"
)

// take judges one message. It returns a sentence if it is wrong.
func (l *line) take(typ codec.Type, raw []byte, now time.Time) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.welcome != nil {
		l.longest = max(l.longest, now.Sub(l.heard))
	}
	l.heard = now
	if l.goodbye != nil || l.refusal != nil {
		return fmt.Sprintf("%v follows the %s", typ, l.farewell())
	}
	switch typ {
	case codec.TypePacket:
		h, body, err := codec.ParsePacket(raw)
		if err != nil {
			return err.Error()
		}
		l.note(fmt.Sprintf("packet %v", h.Range()))
		return l.packet(raw, &h, body)
	case codec.TypeSnapshotPart:
		seed := l.seed
		if l.p.lacks(Checksums) { // whatever it is
			raw = resealed(raw, seed)
		}
		part, err := codec.ParsePart(raw, seed)
		l.note(fmt.Sprintf("part %d of the snapshot as of %d", part.Index, part.Seq))
		if err != nil {
			return err.Error()
		}
		return l.snapshotPart(&part)
	}
	m, err := codec.Decode(raw)
	if err != nil {
		return err.Error()
	}
	l.note(strings.TrimPrefix(fmt.Sprintf("%v %+v", typ, m), "&"))
	return l.control(m)
}

func (l *line) note(text string) {
	l.recent = append(l.recent[max(0, len(l.recent)-around):], text)
}

func (l *line) control(m codec.Message) string {
	if l.welcome == nil {
		switch m := m.(type) {
		case *codec.Welcome:
			return l.start(m)
		case *codec.Refusal:
			l.refusal = m
			return ""
		case *codec.Goodbye:
			l.goodbye = m
			return ""
		}
		return fmt.Sprintf("%v comes before the welcome", m.Type())
	}
	if l.begin != nil {
		switch m.(type) {
		case *codec.Heartbeat, *codec.SnapshotEnd, *codec.Goodbye:
		default:
			return fmt.Sprintf("%v stands inside a snapshot", m.Type())
		}
	}
	if l.final != 0 {
		switch m.(type) {
		case *codec.Heartbeat, *codec.SessionChange, *codec.Subscribed, *codec.Goodbye, *codec.SnapshotEnd:
		case *codec.SnapshotBegin:
			if !l.due {
				return "a snapshot begins after the end"
			}
		default:
			return fmt.Sprintf("%v comes after the end", m.Type())
		}
	}
	switch m := m.(type) {
	case *codec.Heartbeat:
		return l.heartbeat(m)
	case *codec.SnapshotBegin:
		return l.snapshotBegin(m)
	case *codec.SnapshotEnd:
		return l.snapshotEnd(m)
	case *codec.SessionChange:
		return l.sessionChange(m)
	case *codec.Subscribed:
		return l.subscribed(m)
	case *codec.End:
		if m.Final != l.at {
			return fmt.Sprintf("the end says %d, and the line has covered the numbers below %d", m.Final, l.at)
		}
		l.final, l.head = m.Final, m.Final
		l.events = append(l.events, fmt.Sprintf("end %d", m.Final))
	case *codec.Goodbye:
		l.goodbye = m
		l.events = append(l.events, "goodbye "+m.Code.String())
	default:
		return fmt.Sprintf("a publisher does not send %v here", m.Type())
	}
	return ""
}

// start judges the welcome.
func (l *line) start(w *codec.Welcome) string {
	placed, err := start.Place(&l.hello, w)
	if err != nil {
		return err.Error()
	}
	owner, owned, _ := w.Lineage.Owner(w.Start)
	l.welcome, l.placed, l.interval, l.echo = w, placed, w.Heartbeat, w.Now
	l.lineage, l.session, l.owned = w.Lineage, owner.ID, owned
	l.at, l.next, l.head, l.seed, l.low = w.Start, placed.Position, w.Head, w.Seed, placed.Position
	if w.Granted != nil {
		l.filter = *w.Granted
	}
	switch {
	case w.Version != codec.Version:
		return fmt.Sprintf("the welcome has version %d, which the hello does not speak", w.Version)
	case w.Tail > w.Head:
		return fmt.Sprintf("the welcome has tail %d beyond head %d", w.Tail, w.Head)
	case w.Mode == codec.ModeReplay:
		return "the welcome says that this is a replay"
	case w.Heartbeat > mostBeat:
		return fmt.Sprintf("heartbeats come every %v, and the hello wants them every %v: the exam needs at most %v", w.Heartbeat, l.hello.Heartbeat, mostBeat)
	case l.filter.All() && w.Seed != codec.LineSeed(owner.ID, nil) && !l.p.lacks(Checksums):
		return fmt.Sprintf("the seed of the full line is %08x; that of session %v is %08x", w.Seed, owner.ID, codec.LineSeed(owner.ID, nil))
	}
	for _, f := range w.Features {
		if !slices.Contains(l.hello.Features, f) {
			return fmt.Sprintf("the welcome grants the feature %q, which the hello does not name", f)
		}
	}
	l.scope = codec.ScopeAll
	if w.Reason == codec.StartedAsAsked && l.hello.Start.Kind == codec.StartLive {
		l.scope = codec.ScopeDefinitions
	}
	if l.next == 1 {
		l.state = feed.NewState()
	}
	l.due = l.next != 1 && !(w.Reason == codec.StartedResumed && l.hello.HasState)
	l.events = append(l.events, fmt.Sprintf("welcome %v", w.Reason))
	return ""
}

// mostBeat bounds the heartbeat interval of a publisher under exam.
const mostBeat = 2 * time.Second

func (l *line) heartbeat(m *codec.Heartbeat) string {
	l.beats++
	l.echo = m.Now
	switch {
	case m.Covered != l.at:
		return fmt.Sprintf("the heartbeat says that numbers below %d are covered, and the line has covered those below %d", m.Covered, l.at)
	case m.Head < m.Covered:
		return fmt.Sprintf("the heartbeat has head %d below covered %d", m.Head, m.Covered)
	case l.final != 0 && m.Head > l.final:
		return fmt.Sprintf("the heartbeat has head %d, and the session has ended at %d", m.Head, l.final)
	case m.Head < l.head && l.lineage.Current().ID == l.session:
		return fmt.Sprintf("the heartbeat has head %d, and it was %d before", m.Head, l.head)
	}
	l.head = m.Head
	return ""
}

func (l *line) snapshotBegin(m *codec.SnapshotBegin) string {
	if m.Seq != l.next {
		return fmt.Sprintf("the snapshot is as of %d, and the position is %d", m.Seq, l.next)
	}
	if l.due {
		switch {
		case m.Scope != l.scope:
			return fmt.Sprintf("the snapshot has scope %d, want %d", m.Scope, l.scope)
		case m.Scope == codec.ScopeAdded && !slices.Equal(m.Filter, l.added):
			return fmt.Sprintf("the snapshot gives the patterns %q; those that are new are %q", m.Filter, l.added)
		}
	} else if m.Scope != codec.ScopeAll {
		return fmt.Sprintf("a snapshot of scope %d begins, and none is due", m.Scope)
	}
	if m.Scope != codec.ScopeAdded && len(m.Filter) > 0 {
		return fmt.Sprintf("a snapshot of scope %d has a filter", m.Scope)
	}
	l.begin, l.part, l.parts = m, feed.NewState(), 0
	return ""
}

func (l *line) snapshotPart(m *codec.SnapshotPart) string {
	switch {
	case l.begin == nil:
		return "a part comes outside a snapshot"
	case m.Seq != l.begin.Seq:
		return fmt.Sprintf("a part as of %d stands in the snapshot as of %d", m.Seq, l.begin.Seq)
	case m.Index != l.parts:
		return fmt.Sprintf("part %d comes where part %d should", m.Index, l.parts)
	}
	l.parts++
	body := codec.PartBody(m)
	return each(&body, func(t *feed.Tick) string {
		if err := l.part.Apply(t); err != nil {
			return "an entry of the snapshot: " + err.Error()
		}
		return ""
	})
}

func (l *line) snapshotEnd(m *codec.SnapshotEnd) string {
	switch {
	case l.begin == nil:
		return "the end of a snapshot comes outside one"
	case m.Seq != l.begin.Seq || m.Parts != l.parts:
		return fmt.Sprintf("the snapshot as of %d in %d parts ends with %d in %d", l.begin.Seq, l.parts, m.Seq, m.Parts)
	}
	filter := l.filter
	var scope func(feed.InstrumentID, *feed.Definition) bool
	if l.begin.Scope == codec.ScopeAdded {
		filter = l.begin.Filter
		scope = func(_ feed.InstrumentID, d *feed.Definition) bool { return filter.Match(d) }
	}
	l.state.Replace(scope, l.part)
	lineage, _ := l.lineage.Until(l.session)
	l.p.book.mu.Lock()
	l.p.book.snapshots = append(l.p.book.snapshots, bookSnapshot{l.name, lineage, l.begin.Seq, l.begin.Scope, filter, l.part})
	l.p.book.mu.Unlock()
	l.events = append(l.events, fmt.Sprintf("snapshot %d scope %d", l.begin.Seq, l.begin.Scope))
	l.begin, l.part, l.due = nil, nil, false
	return ""
}

func (l *line) sessionChange(m *codec.SessionChange) string {
	owner, owned, ok := m.Lineage.Owner(m.Next)
	if !ok {
		return fmt.Sprintf("no session of %v owns %d", m.Lineage, m.Next)
	}
	fork, common := m.Lineage.Fork(l.lineage, l.next)
	switch {
	case !common:
		l.next, l.due, l.scope = m.Next, m.Next != 1, codec.ScopeAll
	case fork < l.next:
		if m.Next > fork {
			return fmt.Sprintf("the line continues at %d, and the lineages part at %d", m.Next, fork)
		}
		l.events = append(l.events, fmt.Sprintf("disowned [%d, %d)", fork, l.next))
		l.next, l.due, l.scope = fork, fork != 1, codec.ScopeAll
	case m.Next != l.at:
		return fmt.Sprintf("the line continues at %d in the next session, and has covered the numbers below %d", m.Next, l.at)
	}
	if l.filter.All() && m.Seed != codec.LineSeed(owner.ID, nil) && !l.p.lacks(Checksums) {
		return fmt.Sprintf("the seed of the full line is %08x; that of session %v is %08x", m.Seed, owner.ID, codec.LineSeed(owner.ID, nil))
	}
	l.lineage, l.session, l.owned, l.at, l.seed, l.final = m.Lineage, owner.ID, owned, m.Next, m.Seed, 0
	l.head = max(l.at, l.head)
	l.events = append(l.events, fmt.Sprintf("session %v", owner.ID))
	return ""
}

func (l *line) subscribed(m *codec.Subscribed) string {
	switch {
	case len(l.requests) == 0 || l.requests[0].Request != m.Request:
		return fmt.Sprintf("request %d is answered, and it is not the oldest without an answer", m.Request)
	case m.From != l.at:
		return fmt.Sprintf("subscribed says from %d, and the line has covered the numbers below %d", m.From, l.at)
	case l.due:
		return "subscribed comes where a snapshot is due"
	}
	before := l.filter
	l.filter = l.requests[0].Filter
	if m.Granted != nil {
		l.filter = *m.Granted
	}
	l.requests = l.requests[1:]
	if l.filter.All() && m.Seed != codec.LineSeed(l.session, nil) && !l.p.lacks(Checksums) {
		return fmt.Sprintf("the seed of the full line is %08x, that of session %v is %08x", m.Seed, l.session, codec.LineSeed(l.session, nil))
	}
	l.seed, l.added = m.Seed, nil
	l.events = append(l.events, fmt.Sprintf("subscribed %d", m.Request))
	if before.All() {
		return ""
	}
	for _, p := range l.filter {
		if !slices.Contains(before, p) {
			l.added = append(l.added, p)
		}
	}
	if len(l.added) > 0 || l.filter.All() {
		l.due, l.scope = l.next != 1, codec.ScopeAdded
	}
	return ""
}

func (l *line) packet(raw []byte, h *codec.Packet, b []byte) string {
	switch {
	case l.welcome == nil:
		return "a packet comes before the welcome"
	case l.begin != nil:
		return "a packet stands inside a snapshot"
	case l.final != 0:
		return "a packet comes after the end"
	case h.First != l.at:
		return fmt.Sprintf("the packet covers %v, and the line has covered the numbers below %d: ranges must join", h.Range(), l.at)
	case h.First+h.Count > l.owned.To:
		return fmt.Sprintf("the packet covers %v, and session %v owns %v", h.Range(), l.session, l.owned)
	case !l.p.lacks(Checksums) && !codec.VerifyPacket(raw, l.seed):
		return "the checksum of the packet is wrong"
	case h.PublishTime < l.publish:
		return fmt.Sprintf("publish time %d of the packet is earlier than %d before it", h.PublishTime, l.publish)
	}
	l.publish = h.PublishTime
	l.packets = append(l.packets, h.Range())
	body := codec.PacketBody(h, b)
	covered := h.First
	text := each(&body, func(t *feed.Tick) string {
		if t.Seq > covered {
			l.skip(feed.Range{From: covered, To: t.Seq})
		}
		covered = t.Seq + 1
		return l.tick(t, h.PublishTime)
	})
	if text != "" {
		return text
	}
	if body.Unknown() > 0 {
		return "the packet has a tick of a kind that PROTOCOL.md does not name"
	}
	l.at = h.First + h.Count
	withheld := body.Withheld()
	gone, reason := body.Gone()
	switch {
	case withheld > 0 && l.hello.Slow != codec.SlowLatest:
		return fmt.Sprintf("%v is withheld from a client whose policy is %v", h.Range(), l.hello.Slow)
	case withheld > 0:
		l.events = append(l.events, fmt.Sprintf("withheld %v", h.Range()))
	case gone > 0:
		l.events = append(l.events, fmt.Sprintf("gone %v %v", h.Range(), reason))
	case body.NotAsked() > 0 && l.filter.All():
		return fmt.Sprintf("%v is skipped on a line of everything", h.Range())
	case body.NotAsked() > 0 && l.due:
		return "numbers are skipped where a snapshot is due"
	case covered < l.at:
		l.skip(feed.Range{From: covered, To: l.at})
	}
	if withheld+gone > 0 && l.at > l.next {
		l.due, l.scope = true, codec.ScopeAll
	}
	l.next = max(l.next, l.at)
	l.head = max(l.head, l.at)
	return ""
}

func (l *line) skip(r feed.Range) {
	l.p.book.mu.Lock()
	defer l.p.book.mu.Unlock()
	l.p.book.skips = append(l.p.book.skips, bookSkip{l.name, l.session, r, l.filter})
}

func (l *line) tick(t *feed.Tick, publish int64) string {
	if l.due {
		return fmt.Sprintf("number %d comes where a snapshot is due", t.Seq)
	}
	if t.Seq >= l.next {
		if t.Kind == feed.KindDefinition && l.filter.All() && l.low == 1 && int(t.Instrument) > l.state.Len() {
			return fmt.Sprintf("number %d defines id %d, and the next new id is %d", t.Seq, t.Instrument, l.state.Len())
		}
		if err := l.state.Apply(t); err != nil {
			return fmt.Sprintf("number %d: %v", t.Seq, err)
		}
	}
	d, ok := l.state.Definition(t.Instrument)
	switch {
	case !ok:
		return fmt.Sprintf("number %d is of instrument %d, which is not defined", t.Seq, t.Instrument)
	case !l.filter.Match(d):
		return fmt.Sprintf("number %d is of %s, and the filter is %q", t.Seq, d.Name(), l.filter)
	}
	place, text := l.p.book.add(l.session, t, d.Name(), publish, l.filter.All())
	if t.Seq >= l.next && t.Kind != feed.KindDefinition {
		l.ticks++
		l.last = place
	}
	return text
}

// each calls f for the ticks of body until it returns a sentence.
func each(body *codec.Body, f func(*feed.Tick) string) string {
	var batch [64]feed.Tick
	for {
		n, err := body.Decode(batch[:])
		if err != nil {
			return err.Error()
		}
		if n == 0 {
			return ""
		}
		for i := range batch[:n] {
			if text := f(&batch[i]); text != "" {
				return text
			}
		}
	}
}

// resealed returns a snapshot part with the checksum of a line with that seed.
func resealed(raw []byte, seed uint32) []byte {
	p := slices.Clone(raw)
	if len(p) >= codec.PartHeader {
		codec.SealPart(p, &codec.SnapshotPart{
			Seq: binary.BigEndian.Uint64(p[8:]), Index: binary.BigEndian.Uint64(p[17:]), Base: int64(binary.BigEndian.Uint64(p[26:])),
		}, seed)
	}
	return p
}
