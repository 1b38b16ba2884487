package subscriber

import (
	"iter"
	"math"
	"sort"
	"time"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A line is one subscription's view of its sessions, over all connections: the position, the state, the ledger, and what the
// current connection may send next. Its methods take messages; ticks to deliver and changes are added to out. It
// does no I/O and reads no clock. An error of any method is a *ProtocolError or a *RefusedError and ends the connection; the
// ticks in out are valid even then, and must still be delivered.
//
// For each connection, call connect, welcome, then open and fill for each packet (take after each batch was delivered) and
// control for each other message, and lost at the end.
type line struct {
	position  codec.Position // after the ticks delivered so far; no lineage before the first welcome
	begun     codec.Position // the position that the line was made with: an earlier process accounted for everything below it
	state     *feed.State    // the state at the end of out.ticks, if need is needNothing
	need      need           // the snapshot that must arrive before state is valid
	had       uint64         // ticks before had were delivered when the line was in these sessions before: they only update state
	scope     scope
	until     uint64 // no tick from until on is delivered
	ledger    feed.Ledger
	head      uint64    // the next number of the position's last session, as far as known
	opening   bool      // the line began at the oldest number or at a time, and only gone entries have arrived
	recovery  *recovery // the recovery under way, or nil
	unknown   uint64    // count of ticks of unknown kinds
	undefined uint64    // count of ticks of instruments without a definition

	c   connected
	out delivery
}

// A scope is which instruments a line has.
type scope struct {
	asked   codec.Filter // the filter of the line and the state, as requested
	granted codec.Filter // the granted part of asked
	limits  string       // what the line lacks of it, in the words of the publisher; empty for nothing
	handed  Filtered     // the filter of the delivered ticks, as reported to the application
}

// A delivery is what the line has for the application.
type delivery struct {
	ticks     []feed.Tick // the first n are to be delivered
	n         int
	size      int         // ticks are delivered once there are size of them
	most      int         // no more than most are delivered at once
	rest      []feed.Tick // ticks of a packet that ticks has no room for; part of spare
	spare     []feed.Tick
	published []Published // the publish times of the first n ticks
	upto      uint64      // the position once ticks is delivered
	publish   int64       // publish time of the last delivered tick; 0 before the first
	changes   []Change
	told      ConnState // the state of the last change
}

// A need is a snapshot that must arrive before the next tick.
type need uint8

const (
	needNothing need = iota
	needState        // a snapshot of everything
	needAdded        // a snapshot of the added instruments
)

// connected is what the line knows about one connection.
type connected struct {
	addr     string
	welcomed bool
	flowed   bool // a packet or heartbeat has arrived
	fresh    bool // the line has covered a number at or above the position that it began with
	anew     bool // the line began in sessions that have none in common with the position
	stale    bool // the loop has not heard from the publisher for two intervals
	recorded bool // Recorder.Begin was called for the line as it is now
	ended    bool
	at       uint64 // the number after those that the line has covered
	target   uint64 // the line is live once the position is at target
	echo     int64  // the publisher's clock, as last received: of a heartbeat, the welcome, or a packet

	from    source
	terms   terms
	awaited awaited
	change  filterChange
	packet  incoming

	greeting *Connected // for the next change, which is the first one after the welcome
}

// A source is the session that the packets are from.
type source struct {
	session feed.SessionID
	mode    codec.Mode
	origin  feed.SessionID
	owned   feed.Range // the numbers that session owns
	seed    uint32
}

// terms are what the publisher grants.
type terms struct {
	filtered bool          // numbers between ticks may be skipped
	granted  *codec.Filter // the part of the filter that the publisher grants; nil for all of it
	ack      bool          // the publisher accepts a sign of life at any time
	narrows  bool          // the publisher may change what it grants, unasked
}

// awaited is the snapshot that must arrive, or is under way.
type awaited struct {
	definitions bool // a snapshot of the definitions alone is sufficient
	snapshot    *collecting
}

// A filterChange is a change of the filter that the publisher may not have answered.
type filterChange struct {
	narrow  *narrow         // drops unwanted ticks if the line has more than is wanted; nil otherwise
	request codec.Subscribe // the last request; not answered yet if asked is set
	asked   bool
}

// incoming is the packet that is being read.
type incoming struct {
	body    codec.Body
	decoded bool   // all of body is decoded
	first   uint64 // first number of the packet
	sealed  int64  // publish time of the packet
	repeat  bool   // the packet begins before the position
	absent  absent
	reason  codec.GoneReason
}

// absent is what the packet reports instead of ticks.
type absent uint8

const (
	absentNone absent = iota
	absentWithheld
	absentGone
)

// collecting is a snapshot whose end has not arrived.
type collecting struct {
	begin *codec.SnapshotBegin
	state *feed.State
	parts uint64
	size  int
}

// entries returns the entries of the snapshot that are in its scope and, if n is not nil, wanted by n.
func (s *collecting) entries(n *narrow) iter.Seq[feed.Tick] {
	return s.state.Entries(func(id feed.InstrumentID) bool {
		d, _ := s.state.Definition(id)
		return (s.begin.Scope != codec.ScopeAdded || s.begin.Filter.Match(d)) && (n == nil || n.filter.Match(d))
	})
}

// A narrow drops unwanted ticks from an unfiltered line whose filter was too long for the hello, until the publisher has
// answered the subscribe that carries the filter.
type narrow struct {
	filter codec.Filter
	wanted map[feed.InstrumentID]bool
}

// keep moves the wanted ticks to the front and returns them. The caller must have applied all ticks to state.
func (n *narrow) keep(state *feed.State, ticks []feed.Tick) []feed.Tick {
	kept := ticks[:0]
	for i := range ticks {
		id := ticks[i].Instrument
		want, known := n.wanted[id]
		if !known || ticks[i].Kind == feed.KindDefinition {
			d, defined := state.Definition(id)
			want = defined && n.filter.Match(d)
			n.wanted[id] = want
		}
		if want {
			kept = append(kept, ticks[i])
		}
	}
	return kept
}

// maxSnapshot bounds the total size of the parts of a snapshot, in bytes.
const maxSnapshot = 512 << 20

// newLine returns a line that delivers batches of at most size ticks. If size is 0, batches hold whole packets and are
// delivered from defaultBatch ticks on.
func newLine(held codec.Position, size int) *line {
	l := &line{position: held, begun: held, state: feed.NewState(), until: math.MaxUint64}
	l.out.size, l.out.most = size, size
	if size == 0 {
		l.out.size, l.out.most = defaultBatch, math.MaxInt
	}
	l.out.ticks = make([]feed.Tick, l.out.size)
	if len(held.Lineage) > 0 {
		l.need = needState
	}
	return l
}

// connect begins a connection to addr.
func (l *line) connect(addr string) {
	l.c = connected{addr: addr}
	if l.recovery != nil {
		l.recovery.report.Attempts++
	}
}

// hasState reports whether a line with filter f can continue at the position without a snapshot.
func (l *line) hasState(f codec.Filter) bool {
	return len(l.position.Lineage) > 0 && l.need == needNothing && sameFilter(l.scope.granted, f) && l.scope.limits == ""
}

// open begins a packet, which must continue the line. fill then decodes it.
func (l *line) open(raw []byte) error {
	switch c := &l.c; {
	case !c.welcomed:
		return violation("packet before the welcome")
	case c.awaited.snapshot != nil:
		return violation("packet inside a snapshot")
	case c.ended:
		return violation("packet after the end")
	}
	h, body, err := codec.ParsePacket(raw)
	if err != nil {
		return &ProtocolError{What: "packet", Err: err}
	}
	if h.First != l.c.at {
		return l.gap(h.First, "packet begins")
	}
	end := h.First + h.Count
	if end > l.c.from.owned.To {
		return violation("packet %v goes beyond session %v, which ends at %d", h.Range(), l.c.from.session, l.c.from.owned.To)
	}
	if !codec.VerifyPacket(raw, l.c.from.seed) {
		return violation("packet %v: wrong checksum for this line", h.Range())
	}
	l.c.at, l.c.awaited.definitions, l.c.packet.decoded = end, false, false
	l.c.packet.first, l.c.packet.repeat = h.First, h.First < l.position.Next
	l.c.packet.body = codec.PacketBody(&h, body)
	l.c.packet.sealed = h.PublishTime
	return nil
}

func (l *line) gap(seq uint64, what string) *ProtocolError {
	e := violation("%s at %d, want %d", what, seq, l.c.at)
	if seq > l.c.at {
		e.Missing = feed.Range{From: l.c.at, To: seq}
	}
	return e
}

// fill decodes the open packet into out and applies it to the state. If out becomes full, fill returns more = true, and
// must be called again after out was delivered. A packet counts only as a whole: after an error, out and the position are
// as they were before the packet.
func (l *line) fill() (more bool, err error) {
	if !l.c.packet.decoded {
		return l.decode()
	}
	k := copy(l.out.ticks[l.out.n:l.out.most], l.out.rest)
	upto := l.c.packet.body.Seq()
	if l.out.rest = l.out.rest[k:]; len(l.out.rest) > 0 {
		upto = l.out.rest[0].Seq
	}
	return len(l.out.rest) > 0, l.fold(k, upto)
}

// decode is fill for a packet that is not decoded yet.
func (l *line) decode() (more bool, err error) {
	b, end := &l.c.packet.body, l.out.n
	for {
		if end == len(l.out.ticks) {
			l.out.ticks = append(l.out.ticks, make([]feed.Tick, len(l.out.ticks))...)
		}
		k, err := b.Decode(l.out.ticks[end:])
		if err != nil {
			return false, &ProtocolError{What: "packet", Err: err}
		}
		if k == 0 {
			break
		}
		end += k
	}
	l.c.packet.decoded = true
	for end > l.out.n && l.out.ticks[end-1].Seq >= l.until {
		end--
	}
	ticks := l.out.ticks[l.out.n:end]
	if l.need != needNothing {
		for i := range ticks {
			if ticks[i].Seq >= l.position.Next {
				return false, violation("tick %d before the snapshot that was due", ticks[i].Seq)
			}
		}
		if b.NotAsked() > 0 && b.Seq() > l.position.Next {
			return false, violation("a skip up to %d before the snapshot that was due", b.Seq())
		}
	}
	l.unknown += b.Unknown()
	l.head = max(l.head, b.Seq())
	if b.Withheld() > 0 {
		l.c.packet.absent = absentWithheld
	} else if n, reason := b.Gone(); n > 0 {
		l.c.packet.absent, l.c.packet.reason = absentGone, reason
	}
	if end <= l.out.most {
		return false, l.fold(len(ticks), b.Seq())
	}
	if err := l.tryDefinitions(ticks); err != nil {
		return false, err
	}
	l.out.spare = append(l.out.spare[:0], ticks...)
	l.out.rest = l.out.spare
	return l.fill()
}

// tryDefinitions returns the error that fold would find in ticks. A state refuses only definitions.
func (l *line) tryDefinitions(ticks []feed.Tick) error {
	var trial *feed.State
	for i := range ticks {
		if ticks[i].Kind != feed.KindDefinition {
			continue
		}
		if trial == nil {
			trial = l.state.Clone()
		}
		if err := trial.Apply(&ticks[i]); err != nil {
			return &ProtocolError{What: "packet", Err: err}
		}
	}
	return nil
}

// fold applies the k ticks after the first n of out to the state, and adds those to deliver to out. Once they are
// delivered, the position is upto.
func (l *line) fold(k int, upto uint64) error {
	upto = min(upto, l.until)
	ticks := l.out.ticks[l.out.n : l.out.n+k]
	if l.c.packet.repeat {
		ticks = l.dropRepeats(ticks, l.position.Next)
	}
	undefined, err := l.state.ApplyKnown(ticks)
	l.undefined += uint64(undefined)
	if err != nil {
		l.need = needState // the state already has the ticks beside this one
		return &ProtocolError{What: "packet", Err: err}
	}
	if len(ticks) > 0 && ticks[0].Seq < l.had {
		ticks = l.dropRepeats(ticks, l.had)
	}
	if l.c.change.narrow != nil {
		ticks = l.c.change.narrow.keep(l.state, ticks)
	}
	if len(ticks) > 0 {
		l.out.n += len(ticks)
		l.stamp()
	}
	l.c.flowed, l.c.fresh = true, l.c.fresh || upto > l.out.upto
	l.out.upto = max(l.out.upto, upto)
	if l.c.packet.absent != absentGone {
		l.opening = false
	}
	return nil
}

// stamp records the publish time of the open packet for the ticks that were added to out.
func (l *line) stamp() {
	if k := len(l.out.published); k > 0 && l.out.published[k-1].Time == l.c.packet.sealed {
		l.out.published[k-1].End = l.out.n
		return
	}
	l.out.published = append(l.out.published, Published{End: l.out.n, Time: l.c.packet.sealed})
}

// dropRepeats moves the ticks from number next on to the front and returns them. Earlier ticks count as duplicates if they
// were delivered; those that were lost, withheld, disowned or not asked for stay so in the ledger.
func (l *line) dropRepeats(ticks []feed.Tick, next uint64) []feed.Tick {
	k := 0
	for k < len(ticks) && ticks[k].Seq < next {
		k++
	}
	if r := l.recovery; r != nil && k > 0 {
		a := l.ledger.Account(l.c.from.session)
		for i := range ticks[:k] {
			seq := ticks[i].Seq
			if !a.Lost.Contains(seq) && !a.Withheld.Contains(seq) && !a.NotAsked.Contains(seq) && !a.Disowned.Contains(seq) {
				r.report.Duplicates++ // a number in no account was delivered to an earlier process
			}
		}
	}
	return ticks[:copy(ticks, ticks[k:])]
}

// covered reports whether nothing below until is missing once out is delivered.
func (l *line) covered() bool {
	return len(l.position.Lineage) > 0 && max(l.out.upto, l.position.Next) >= l.until
}

// pending reports whether take has something to account for.
func (l *line) pending() bool { return l.out.upto > l.position.Next || l.c.packet.absent != absentNone }

// handing records the time of the first tick of a recovery. It is called when out is about to be delivered.
func (l *line) handing(now time.Time) {
	if rec := l.recovery; rec != nil && rec.report.FirstTick == 0 {
		rec.report.FirstTick = max(1, now.Sub(rec.since))
	}
}

// take accounts for out after it was delivered, and for the numbers that the packet reported as withheld or gone.
func (l *line) take() {
	r := feed.Range{From: l.position.Next, To: l.out.upto}
	if l.c.packet.absent != absentNone {
		r.To = max(r.From, l.c.packet.first)
	}
	if had := min(l.had, r.To); had > r.From {
		r.From, l.position.Next = had, had
	}
	n := uint64(l.out.n)
	if n > 0 {
		l.out.publish = publishTime(l.out.published, l.out.n-1)
		l.c.echo = max(l.c.echo, l.out.publish) // a busy line has no heartbeats
	}
	if rec := l.recovery; rec != nil {
		rec.report.Replayed += uint64(sort.Search(l.out.n, func(i int) bool { return l.out.ticks[i].Seq >= l.c.target }))
	}
	l.out.n, l.out.published = 0, l.out.published[:0]
	if !r.Empty() {
		l.c.terms.filtered = l.c.terms.filtered || n != r.Len()
		if l.c.terms.filtered {
			l.ledger.DeliverFiltered(l.c.from.session, r, n)
		} else {
			l.ledger.Deliver(l.c.from.session, r)
		}
		l.position.Next = r.To
	}
	if l.c.packet.absent != absentNone {
		l.skip(feed.Range{From: l.position.Next, To: l.out.upto})
	}
}

// takeSome is take if only the first k ticks of out were used. The connection ends.
func (l *line) takeSome(k int) {
	if k < l.out.n {
		l.out.upto, l.out.n = l.out.ticks[k].Seq, k
		l.c.packet.absent = absentNone
	}
	l.need = needState
	l.take()
}

// drop discards out, which was not used. The connection ends.
func (l *line) drop() {
	l.out.n, l.out.published = 0, l.out.published[:0]
	l.out.upto, l.c.packet.absent, l.need = l.position.Next, absentNone, needState
	l.out.changes = l.out.changes[:0]
}

// skip accounts for r, which the packet reported as withheld or gone. A snapshot is due.
func (l *line) skip(r feed.Range) {
	withheld := l.c.packet.absent == absentWithheld
	l.c.packet.absent = absentNone
	if r.Empty() {
		return // all of it was accounted for before
	}
	ns := []Numbers{{Session: l.c.from.session, Range: r}}
	c := Change{}
	if withheld {
		before := l.ledger.Account(l.c.from.session).Withheld
		l.ledger.Withhold(l.c.from.session, r)
		// If the line was in this session before, numbers delivered then stay delivered; lost or disowned ones become withheld.
		for _, added := range l.ledger.Account(l.c.from.session).Withheld.Minus(before).Ranges() {
			c.Withheld = append(c.Withheld, Numbers{Session: l.c.from.session, Range: added})
		}
	} else {
		c.Lost, c.Reason = l.lose(ns, l.opening && (l.c.packet.reason == codec.GoneExpired || l.c.packet.reason == codec.GoneDenied)), l.c.packet.reason
		if rec := l.recovery; rec != nil {
			rec.report.Resume = ResumeSnapshot
		}
	}
	l.position.Next = r.To
	l.need = needState
	l.tell(c)
}

// phase returns the state of the line.
func (l *line) phase() ConnState {
	switch c := &l.c; {
	case !c.welcomed:
		return Connecting
	case c.stale:
		return Stale
	case l.need == needState || c.awaited.snapshot != nil && c.awaited.snapshot.begin.Scope != codec.ScopeAdded:
		return Snapshotting
	case c.ended:
		return Ended
	case l.position.Next < c.target:
		return Replaying
	}
	return Live
}

// settle adds a change if the state of the line is a new one. If that ends a recovery, the change has its report.
func (l *line) settle(now time.Time) {
	p := l.phase()
	over := l.recovery != nil && (p == Live || p == Ended)
	if p == l.out.told && !over {
		return
	}
	c := Change{State: p}
	if over {
		r := l.recovery.report
		r.Live = max(1, now.Sub(l.recovery.since))
		c.Report = &r
		l.recovery = nil
	}
	l.change(c)
}

// tell adds c, with the state of the line as it is.
func (l *line) tell(c Change) {
	c.State = l.phase()
	l.change(c)
}

// change adds c, whose State the caller has set.
func (l *line) change(c Change) {
	if c.Addr == "" {
		c.Addr = l.c.addr
	}
	l.out.told = c.State
	c.Connected, l.c.greeting = l.c.greeting, nil
	l.out.changes = append(l.out.changes, c)
}

// lost ends the connection, or the attempt to make one, and begins a recovery if there was a welcome.
func (l *line) lost(err error, now time.Time) {
	if l.c.welcomed && l.recovery == nil {
		l.recovery = &recovery{since: now, report: Report{Cause: CauseOf(err), Detail: err.Error()}}
	}
	l.c.welcomed, l.c.awaited.snapshot, l.c.change.asked, l.c.packet.absent = false, nil, false, absentNone
	if l.need == needAdded {
		l.need = needState
	}
	l.change(Change{State: Disconnected, Err: err})
}
