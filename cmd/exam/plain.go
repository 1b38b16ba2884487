package exam

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"tickfeed/feed"
)

// A plain is a subscriber written from the text of PROTOCOL.md: it shares no code with packages codec and
// subscriber. It has more patterns than fit into a hello, so it asks for everything, drops unwanted ticks
// itself, and sends its patterns by subscribe once the line has reached the position. Whatever happens, it must
// get every tick that it wants once.
type plain struct {
	w    *world
	name string
	dial func(context.Context, string) (net.Conn, error)
	rand *rand.Rand
	beat time.Duration
	want atomic.Pointer[[]string] // nil for everything; replaced by the driver

	cancel context.CancelFunc
	done   chan struct{}
	at     atomic.Uint64 // the position, for other goroutines
	ended  atomic.Uint64 // final number of the end message; 0 before it

	// The goroutine of run owns the fields below until done is closed.
	lineage    feed.Lineage
	next       uint64
	anew       bool              // the line has gone to sessions without one in common with those before, and may come back
	holds      bool              // symbols has the definitions of all instruments as of next
	symbols    map[uint64]string // by instrument
	accounts   map[feed.SessionID]*plainAccount
	order      []feed.SessionID
	delivered  uint64
	reconnects uint64
}

// A plainAccount accounts for the numbers of one session.
type plainAccount struct {
	owned                        feed.Range
	covered, delivered, disowned []feed.Range
}

// A plainLine is one connection.
type plainLine struct {
	*plain
	nc       net.Conn
	in       []byte
	heard    time.Time
	pulse    time.Time
	interval time.Duration

	welcomed bool
	session  feed.SessionID
	owned    feed.Range
	at       uint64
	seed     uint32
	publish  int64
	flowed   bool            // a packet or heartbeat has come
	filter   []string        // filter of the line; nil for everything
	force    []string        // patterns of the ticks to deliver; nil for everything
	matched  map[string]bool // by symbol, whether force matches it; a cache
	due      bool            // a snapshot must come before the next packet
	ticks    []feed.Tick
	had      *plainAccount // account of the session if the line may have been in it before; else nil

	asked   []string // the filter of the request without an answer
	request uint64
	open    bool // request is not answered yet

	snapshot bool
	seq      uint64 // number of the snapshot
	parts    uint64
	scope    uint64
	symbols  map[uint64]string // defined by the snapshot's parts
}

func (w *world) newPlain(i int) *plain {
	p := &plain{
		w: w, name: fmt.Sprintf("plain%d", i), rand: w.chance(200 + uint64(i)), beat: w.heartbeat + 17_000_059,
		symbols: make(map[uint64]string), accounts: make(map[feed.SessionID]*plainAccount),
	}
	p.dial = w.net.From(p.name).Dial
	if p.rand.IntN(4) > 0 {
		p.wants([]string{"A*", "C01"})
	}
	return p
}

// wants replaces the patterns of the client, and adds so many that they do not fit into a hello.
func (p *plain) wants(patterns []string) {
	all := append([]string(nil), patterns...)
	for i := range 70 {
		all = append(all, fmt.Sprintf("no-such-instrument-%043d", i))
	}
	p.want.Store(&all)
}

func (p *plain) wanted() []string {
	if want := p.want.Load(); want != nil {
		return *want
	}
	return nil
}

// errBroken is returned for bytes, from the publisher or from a middlebox, that break a rule of PROTOCOL.md.
var errBroken = errors.New("against the protocol")

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errBroken}, args...)...)
}

// A plainBye is a refusal or goodbye.
type plainBye struct {
	text  string
	retry bool
	after time.Duration
}

func (b *plainBye) Error() string { return "the publisher said: " + b.text }

func (p *plain) start() {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel, p.done = cancel, make(chan struct{})
	go func() {
		defer close(p.done)
		p.run(ctx)
	}()
}

func (p *plain) stop() error {
	p.cancel()
	<-p.done
	return p.judge()
}

// run connects repeatedly: at once, then with exponential backoff and full jitter.
func (p *plain) run(ctx context.Context) {
	wait := time.Duration(0)
	for turn := 0; ctx.Err() == nil; turn++ {
		l := &plainLine{plain: p}
		err := l.connection(ctx, p.w.addrs[turn%len(p.w.addrs)])
		if ctx.Err() != nil {
			return
		}
		p.w.log("%s: next %d: %v", p.name, p.next, err)
		if l.snapshot {
			p.w.see(CutInSnapshot)
		}
		if l.flowed {
			wait = 0
		}
		var bye *plainBye
		if errors.As(err, &bye) {
			if !bye.retry {
				p.w.fail(fmt.Errorf("%s: refused: %s", p.name, bye.text))
				return
			}
			wait = max(wait, bye.after)
		}
		if wait > 0 {
			select {
			case <-time.After(time.Duration(p.rand.Int64N(int64(wait))) + 1009):
			case <-ctx.Done():
				return
			}
		}
		wait = min(max(2*wait, 100*time.Millisecond), 3*time.Second)
	}
}

func (l *plainLine) connection(ctx context.Context, addr string) error {
	dialing, cancel := context.WithTimeout(ctx, 5*time.Second)
	nc, err := l.dial(dialing, addr)
	cancel()
	if err != nil {
		return err
	}
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	l.nc, l.heard, l.interval = nc, time.Now(), l.beat
	l.pulse = l.heard.Add(time.Hour) // no pulse before the welcome
	l.force = l.wanted()
	l.reconnects++
	hello := appendWire(nil, []any{1, 1, 1, l.name, "", []string{}, 2, 0, 0, 0, uint64(l.beat), l.holds, l.lineage, l.next})
	if len(hello) > 4096 {
		return fmt.Errorf("a hello of %d bytes", len(hello))
	}
	if len(l.lineage) > 0 && l.force != nil {
		l.w.see(LongFilterResumed)
	}
	if err := l.say(hello); err != nil {
		return err
	}
	var buf [16 << 10]byte
	for {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		dead := l.heard.Add(3 * l.interval)
		wake := dead
		if l.pulse.Before(wake) {
			wake = l.pulse
		}
		_ = nc.SetReadDeadline(wake)
		n, err := nc.Read(buf[:])
		l.in = append(l.in, buf[:n]...)
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			err = l.messages()
		}
		if err != nil {
			return err
		}
		now := time.Now()
		if !now.Before(l.heard.Add(3 * l.interval)) {
			return errors.New("silent for three intervals")
		}
		if !now.Before(l.pulse) {
			l.pulse = now.Add(l.interval)
			if err := l.say(appendWire(nil, []any{13, l.next, 0})); err != nil {
				return err
			}
		}
		if err := l.ask(); err != nil {
			return err
		}
	}
}

func (l *plainLine) say(b []byte) error {
	_ = l.nc.SetWriteDeadline(time.Now().Add(3 * l.interval))
	_, err := l.nc.Write(b)
	return err
}

// ask sends the patterns that did not fit into the hello, once the line has reached the position.
func (l *plainLine) ask() error {
	want := l.wanted()
	if !l.welcomed || l.open || l.due || l.snapshot || l.at < l.next || slices.Equal(want, l.filter) {
		return nil
	}
	l.open, l.asked = true, want
	l.request++
	list := want
	if list == nil {
		list = []string{}
	}
	return l.say(appendWire(nil, []any{11, l.request, list}))
}

// messages handles the complete messages.
func (l *plainLine) messages() error {
	for {
		size, err := wireSize(l.in, 1)
		if err != nil {
			return broken("%v", err)
		}
		if size == 0 {
			return nil
		}
		raw := l.in[:size:size]
		l.in = l.in[size:]
		if err := l.message(raw); err != nil {
			return err
		}
		l.heard = time.Now()
	}
}

func (l *plainLine) message(raw []byte) error {
	v, _ := wireValue(raw)
	m := wireMessage{}
	m.fields, _ = v.([]any)
	typ := m.uint(0)
	switch {
	case m.bad:
		return broken("a message without a type")
	case typ == typeRefusal, typ == typeGoodbye:
		bye := &plainBye{text: m.text(2), retry: m.bool(3), after: time.Duration(m.uint(4))}
		if m.bad {
			return broken("a goodbye: %v", m.fields)
		}
		return bye
	case l.welcomed == (typ == typeWelcome):
		return broken("message %d, welcomed %t", typ, l.welcomed)
	case l.snapshot && typ != typeSnapshotPart && typ != typeSnapshotEnd && typ != typeHeartbeat:
		return broken("message %d inside a snapshot", typ)
	}
	var err error
	switch typ {
	case typeWelcome:
		err = l.welcome(&m)
	case typePacket:
		err = l.packet(raw)
	case typeHeartbeat:
		l.flowed = true
		err = l.joins(m.uint(1), "a heartbeat")
	case typeSnapshotBegin:
		l.snapshot, l.seq, l.scope, l.parts, l.symbols = true, m.uint(1), m.uint(2), 0, make(map[uint64]string)
		if l.seq != l.next {
			err = broken("a snapshot as of %d, the position is %d", l.seq, l.next)
		}
	case typeSnapshotPart:
		err = l.part(raw, &m)
	case typeSnapshotEnd:
		err = l.snapshotEnd(&m)
	case typeSession:
		err = l.sessionChange(&m)
	case typeSubscribed:
		err = l.subscribed(&m)
	case typeEnd:
		if err = l.joins(m.uint(1), "the end"); err == nil {
			l.ended.Store(m.uint(1))
		}
	default:
		err = broken("message %d from a publisher", typ)
	}
	if err == nil && m.bad {
		err = broken("message %d: %v", typ, m.fields)
	}
	l.plain.at.Store(l.next)
	return err
}

func (l *plainLine) joins(seq uint64, what string) error {
	if seq != l.at {
		return broken("%s at %d, the line has covered up to %d", what, seq, l.at)
	}
	return nil
}

func (l *plainLine) welcome(m *wireMessage) error {
	lineage, start, reason := m.lineage(4), m.uint(10), m.uint(11)
	l.interval = time.Duration(m.uint(8))
	if m.bad || reason > 3 || l.interval < time.Millisecond {
		return broken("welcome: %v", m.fields)
	}
	l.welcomed = true
	l.pulse = time.Now().Add(l.interval)
	l.seed, l.at = uint32(m.uint(9)), start
	l.due = !l.holds || reason != 1
	fork, common := forkOf(lineage, l.lineage, l.next)
	l.anew = l.anew || l.lineage != nil && !common
	if err := l.inSession(lineage, start); err != nil {
		return err
	}
	switch reason {
	case 1:
		if !common || fork != l.next || start > l.next {
			return broken("resumed at %d, the position is %d and the fork %d", start, l.next, fork)
		}
	case 2:
		if !common || fork >= l.next || start > fork {
			return broken("rewound to %d, the position is %d and the fork %d", start, l.next, fork)
		}
		l.disown(fork)
	default:
		if reason == 0 && l.lineage != nil {
			return broken("the line begins as asked, the hello had a position")
		}
		if common && start < fork {
			return broken("a snapshot as of %d, the fork is at %d", start, fork)
		}
		if common {
			l.disown(fork)
		}
		l.lineage = lineage
		from := uint64(1)
		if common {
			from = fork
		}
		l.cover(feed.Range{From: from, To: start}, nil) // not available
	}
	l.lineage, l.next = lineage, l.position(reason, start, fork)
	l.due = l.due && l.next > 1
	if l.next == 1 {
		l.plain.symbols = make(map[uint64]string)
	}
	l.through()
	return nil
}

func (l *plainLine) position(reason, start, fork uint64) uint64 {
	switch reason {
	case 1:
		return l.next
	case 2:
		return fork
	}
	return start
}

// inSession sets the line's session to the owner of seq in lineage.
func (l *plainLine) inSession(lineage feed.Lineage, seq uint64) error {
	for i := range lineage {
		r := feed.Range{From: lineage[i].First, To: 1 << 63}
		if i+1 < len(lineage) {
			r.To = lineage[i+1].First
		}
		if r.From <= seq && seq < r.To {
			l.session, l.owned, l.had = lineage[i].ID, r, nil
			if l.anew {
				l.had = l.accounts[l.session]
			}
			return nil
		}
	}
	return broken("no session owns %d in %v", seq, lineage)
}

// forkOf returns the fork of two lineages as PROTOCOL.md defines it. It returns false if they have no session in common.
func forkOf(theirs, ours feed.Lineage, next uint64) (fork uint64, common bool) {
	for i := len(ours) - 1; i >= 0; i-- {
		for k := range theirs {
			if theirs[k].ID != ours[i].ID {
				continue
			}
			fork = next
			if i+1 < len(ours) {
				fork = min(fork, ours[i+1].First)
			}
			if k+1 < len(theirs) {
				fork = min(fork, theirs[k+1].First)
			}
			return fork, true
		}
	}
	return 0, false
}

func (l *plainLine) sessionChange(m *wireMessage) error {
	lineage, next := m.lineage(2), m.uint(5)
	l.seed = uint32(m.uint(4))
	if m.bad {
		return nil
	}
	fork, common := forkOf(lineage, l.lineage, l.next)
	switch {
	case !common:
		l.next, l.due, l.anew = next, true, true
	case fork < l.next:
		l.disown(fork)
		l.next, l.due = fork, true
	default:
		if err := l.joins(next, "a session"); err != nil {
			return err
		}
	}
	l.at, l.lineage = next, lineage
	l.through()
	return l.inSession(lineage, next)
}

func (l *plainLine) subscribed(m *wireMessage) error {
	if request := m.uint(1); !l.open || request != l.request {
		return broken("an answer to request %d", request)
	}
	if err := l.joins(m.uint(2), "subscribed"); err != nil {
		return err
	}
	if l.filter != nil { // after everything, no pattern is new
		for _, p := range l.asked {
			l.due = l.due || !slices.Contains(l.filter, p)
		}
		l.due = l.due || l.asked == nil
	}
	l.matched = nil
	l.open, l.filter, l.force, l.seed = false, l.asked, l.asked, uint32(m.uint(3))
	l.holds = l.filter == nil && !l.due
	return nil
}

func (l *plainLine) part(raw []byte, m *wireMessage) error {
	if !l.snapshot || len(raw) < 37 {
		return broken("a part outside a snapshot")
	}
	if sum := uint32(m.uint(1)); sum != wireChecksum(l.seed, raw) {
		return broken("a snapshot part's checksum")
	}
	if m.uint(2) != l.seq || m.uint(3) != l.parts {
		return broken("part %d as of %d, want %d as of %d", m.uint(3), m.uint(2), l.parts, l.seq)
	}
	l.parts++
	for body := raw[37:]; len(body) > 0; {
		size, err := wireSize(body, 1)
		if size == 0 || err != nil {
			return broken("a part's body: %v", err)
		}
		v, _ := wireValue(body)
		body = body[size:]
		entry, _ := v.([]any)
		e := wireMessage{fields: entry}
		if code := e.uint(0); code>>1 == 1 {
			l.symbols[e.uint(1)] = e.text(3)
		}
		if e.bad {
			return broken("a snapshot's entry: %v", v)
		}
	}
	return nil
}

func (l *plainLine) snapshotEnd(m *wireMessage) error {
	if !l.snapshot || m.uint(1) != l.seq || m.uint(2) != l.parts {
		return broken("the end of a snapshot: %v", m.fields)
	}
	if l.scope == 0 {
		l.plain.symbols = l.symbols
	} else {
		for id, symbol := range l.symbols {
			l.plain.symbols[id] = symbol
		}
	}
	l.snapshot, l.due = false, false
	l.holds = l.filter == nil
	return nil
}

func (l *plainLine) packet(raw []byte) error {
	p, err := readPacket(raw)
	switch {
	case err != nil:
		return broken("%v", err)
	case p.checksum != wireChecksum(l.seed, raw):
		return broken("a packet's checksum")
	case p.count == 0 || p.count > 1<<62 || p.first+p.count > l.owned.To:
		return broken("a packet of %d numbers from %d of a session that owns %v", p.count, p.first, l.owned)
	case p.publish < l.publish:
		return l.wrong("publish time %d of packet %d after %d", p.publish, p.first, l.publish)
	}
	if err := l.joins(p.first, "a packet"); err != nil {
		return err
	}
	l.publish, l.flowed = p.publish, true
	ticks, gone := l.ticks[:0], false
	for body := p.body; len(body) > 0; {
		size, err := wireSize(body, 1)
		if size == 0 || err != nil {
			return broken("a packet's body: %v", err)
		}
		v, _ := wireValue(body)
		body = body[size:]
		switch v := v.(type) {
		case int64:
			r := feed.Range{From: l.at, To: l.at + uint64(v)}
			if v < 0 {
				return l.wrong("numbers were withheld without a request: %d", v)
			}
			if l.filter == nil {
				return l.wrong("%v was skipped on a line of everything", r)
			}
			l.at = r.To
		case []any:
			e := wireMessage{fields: v}
			if e.uint(0) == kindGone {
				r := feed.Range{From: l.at, To: l.at + e.uint(1)}
				l.cover(r, nil)
				l.at, l.next, l.due, gone = r.To, max(l.next, r.To), true, true
				break
			}
			if l.due {
				return broken("a tick before the required snapshot")
			}
			t, known, err := wireTick(v, p.base)
			if err != nil {
				return broken("%v", err)
			}
			t.Seq = l.at
			if known && t.Kind == feed.KindDefinition {
				l.plain.symbols[uint64(t.Instrument)] = t.Definition().Symbol
			}
			symbol, defined := l.plain.symbols[uint64(t.Instrument)]
			if !defined && !l.w.damaged.Load() {
				return broken("tick %d is of instrument %d, which is not defined", t.Seq, t.Instrument)
			}
			if l.had != nil && within(l.had.delivered, t.Seq) {
				l.at++ // it came before the line went to unrelated sessions, and is not new
				break
			}
			if t.Seq >= l.next && (l.force == nil || defined && l.needs(symbol)) {
				ticks = append(ticks, t)
			}
			l.at++
		default:
			return broken("an entry: %v", v)
		}
		if m := l.at - p.first; m > p.count {
			return broken("a packet of %d numbers has entries for %d", p.count, m)
		}
	}
	if l.at != p.first+p.count {
		return broken("a packet of %d numbers has entries for %d", p.count, l.at-p.first)
	}
	l.ticks = ticks
	if gone {
		return nil
	}
	return l.deliver(p.publish, feed.Range{From: max(p.first, l.next), To: l.at}, ticks)
}

// wrong reports a fault that no middlebox can cause, and fails the simulation.
func (l *plainLine) wrong(format string, args ...any) error {
	err := fmt.Errorf(l.name+": "+format, args...)
	l.w.fail(err)
	return err
}

// deliver passes ticks to the auditor, and accounts for numbers r.
func (l *plainLine) deliver(publish int64, r feed.Range, ticks []feed.Tick) error {
	if err := l.w.audit.Received(l.name, l.session, ticks, nil); err != nil {
		l.w.fail(err)
		return err
	}
	exact := time.Duration(0)
	if l.filter != nil {
		exact = mergedWithin
	}
	for i := range ticks {
		seq := ticks[i].Seq
		if err := l.w.audit.Sealed(l.name, l.session, feed.Range{From: seq, To: seq + 1}, publish, exact); err != nil {
			l.w.fail(err)
			return err
		}
	}
	if l.next < r.To {
		l.missed(r, ticks)
		l.cover(r, ticks)
		l.next = r.To
	}
	l.delivered += uint64(len(ticks))
	return nil
}

// needs reports whether the client wants ticks of symbol.
func (l *plainLine) needs(symbol string) bool {
	want, known := l.matched[symbol]
	if !known {
		if l.matched == nil {
			l.matched = make(map[string]bool)
		}
		want = matches(l.force, symbol)
		l.matched[symbol] = want
	}
	return want
}

// missed asks the auditor for the instruments of the numbers of r that are not among ticks, and fails the simulation if the
// client wants one of them.
func (l *plainLine) missed(r feed.Range, ticks []feed.Tick) {
	if l.w.damaged.Load() {
		return // the publisher cannot match ticks whose definition is lost
	}
	for seq := r.From; seq < r.To; seq++ {
		if len(ticks) > 0 && ticks[0].Seq == seq {
			ticks = ticks[1:]
			continue
		}
		if l.had != nil && within(l.had.delivered, seq) {
			continue
		}
		if symbol, known := l.w.audit.Subject(l.session, seq); known && l.needs(symbol) {
			_ = l.wrong("number %d of session %v is of %s, which is wanted, and was not delivered", seq, l.session, symbol)
			return
		}
	}
}

// account returns the account of session id.
func (p *plain) account(id feed.SessionID) *plainAccount {
	a := p.accounts[id]
	if a == nil {
		a = &plainAccount{}
		p.accounts[id] = a
		p.order = append(p.order, id)
	}
	return a
}

// cover accounts for numbers r of the lineage, of which ticks were delivered.
func (p *plain) cover(r feed.Range, ticks []feed.Tick) {
	for session, part := range parts(p.lineage, r) {
		a := p.account(session)
		if len(a.disowned) > 0 {
			a.disowned = minus(a.disowned, []feed.Range{part})
		}
		a.covered = with(a.covered, part)
		for i := range ticks {
			seq := ticks[i].Seq
			if within(a.delivered, seq) {
				p.w.fail(fmt.Errorf("%s: number %d of session %v was delivered twice", p.name, seq, session))
			}
			a.delivered = with(a.delivered, feed.Range{From: seq, To: seq + 1})
		}
	}
}

// with returns rs with r added. It is fast if r comes after rs.
func with(rs []feed.Range, r feed.Range) []feed.Range {
	if n := len(rs); n == 0 || rs[n-1].To <= r.From {
		return extend(rs, r)
	}
	return union(rs, []feed.Range{r})
}

// disown moves the numbers from fork to the position to disowned.
func (p *plain) disown(fork uint64) {
	for session, part := range parts(p.lineage, feed.Range{From: fork, To: p.next}) {
		a, r := p.account(session), []feed.Range{part}
		a.covered, a.delivered, a.disowned = minus(a.covered, r), minus(a.delivered, r), union(a.disowned, r)
	}
}

// through adds the numbers below the position to those that the line has covered.
func (p *plain) through() {
	for session, r := range below(p.lineage, p.next) {
		a := p.account(session)
		a.owned = spanning(a.owned, r)
	}
}

// judge returns an error if numbers that the line has covered are in no account.
func (p *plain) judge() error {
	p.through()
	for _, id := range p.order {
		a := p.accounts[id]
		if missing := minus(minus([]feed.Range{a.owned}, a.covered), a.disowned); len(missing) > 0 {
			return fmt.Errorf("%s: session %v: %v is in no account", p.name, id, missing[0])
		}
	}
	return nil
}

// well returns an error unless the line has reached head, and its end.
func (p *plain) well(head uint64) error {
	if at, end := p.at.Load(), p.ended.Load(); at != head || end != head {
		return fmt.Errorf("%s: next is %d and the end %d, want %d", p.name, at, end, head)
	}
	return nil
}
