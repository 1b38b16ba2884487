package simulation

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
// get every tick that it wants once, and the auditor must agree with its ledger, as with those of package subscriber.
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
	head       uint64            // greatest head of the lineage that it was sent
	anew       bool              // the line has gone to sessions without one in common with those before, and may come back
	holds      bool              // symbols has the definitions of all instruments as of next
	symbols    map[uint64]string // by instrument
	accounts   map[feed.SessionID]*plainAccount
	order      []feed.SessionID // of accounts
	witness    *Witness         // of what it reports
	delivered  uint64
	reconnects uint64
}

// A plainLine is one connection.
type plainLine struct {
	*plain
	nc       net.Conn
	in       []byte
	began    time.Time
	heard    time.Time // last sign of life
	partial  int       // bytes of an incomplete message at the last sign of life
	early    int       // bytes of messages of unknown types before the welcome
	pulse    time.Time
	interval time.Duration

	welcomed bool
	session  feed.SessionID
	owned    feed.Range
	at       uint64
	seed     uint32
	publish  int64
	brought  bool            // it covered a number at or above the position, or began in unrelated sessions
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
	p.witness = w.audit.witness(p.name)
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

// The bounds of the waits between attempts.
const (
	firstWait = 100 * time.Millisecond
	mostWait  = 3 * time.Second // less than what PROTOCOL.md says, so that the simulation can end in time
)

// run connects repeatedly: at once after a cut, and after a random time up to a bound that doubles with each attempt.
func (p *plain) run(ctx context.Context) {
	bound := time.Duration(0)
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
		if l.welcomed && !errors.Is(err, errBroken) && (l.brought || time.Since(l.began) > max(bound, firstWait)) {
			bound = 0
		}
		wait := time.Duration(0)
		if bound > 0 {
			wait = time.Duration(p.rand.Int64N(int64(bound))) + 1009
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
			case <-time.After(wait):
			case <-ctx.Done():
				return
			}
		}
		bound = min(max(2*bound, firstWait), mostWait)
	}
}

func (l *plainLine) connection(ctx context.Context, addr string) (err error) {
	l.began = time.Now()
	dialing, cancel := context.WithTimeout(ctx, 5*time.Second)
	nc, err := l.dial(dialing, addr)
	cancel()
	if err != nil {
		return err
	}
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { nc.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	defer func() { l.leave(ctx, err) }()
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
			return errPlainSilent
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

var errPlainSilent = errors.New("silent for three intervals")

// leave says goodbye, if the connection ends for a reason that the publisher does not know.
func (l *plainLine) leave(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
		_ = l.say(appendWire(nil, []any{typeGoodbye, 10, "", false, 0}))
	case errors.Is(err, errBroken):
		_ = l.say(appendWire(nil, []any{typeGoodbye, 5, err.Error(), true, 0}))
	case errors.Is(err, errPlainSilent):
		_ = l.say(appendWire(nil, []any{typeGoodbye, 8, err.Error(), true, 0}))
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
			if len(l.in) >= l.partial+4096 {
				l.heard, l.partial = time.Now(), len(l.in)
			}
			return nil
		}
		raw := l.in[:size:size]
		l.in, l.partial = l.in[size:], 0
		if err := l.message(raw); err != nil {
			return err
		}
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
	case typ >= 64 && typ <= 127: // of a later version
		if l.early += len(raw); !l.welcomed && l.early > 16384 {
			return broken("%d bytes of messages of unknown types before the welcome", l.early)
		}
		return nil
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
	if !l.snapshot || typ != typeHeartbeat {
		l.heard = time.Now()
	}
	var err error
	switch typ {
	case typeWelcome:
		err = l.welcome(&m)
	case typePacket:
		err = l.packet(raw)
	case typeHeartbeat:
		if err = l.joins(m.uint(1), "a heartbeat"); err == nil {
			l.head = max(l.head, m.uint(2))
		}
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
	l.brought = l.lineage != nil && !common
	if err := l.inSession(lineage, start); err != nil {
		return err
	}
	if err := l.seeded(); err != nil {
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
		if reason == 0 && l.lineage != nil || reason == 3 && (l.lineage == nil || common) {
			return broken("reason %d of a line that begins at %d, the position is %d of %v", reason, start, l.next, l.lineage)
		}
		l.lose(feed.Range{From: l.next, To: l.head}) // of the sessions left
		l.lineage = lineage
		l.lose(feed.Range{From: lineage[0].First, To: start})
	}
	l.lineage, l.next = lineage, l.position(reason, start, fork)
	l.head = m.uint(6)
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
		l.lose(feed.Range{From: l.next, To: l.head})
		l.next, l.head, l.due, l.anew, l.brought = next, next, true, true, true
	case fork < l.next:
		l.disown(fork)
		l.next, l.head, l.due = fork, fork, true
	default:
		if err := l.joins(next, "a session"); err != nil {
			return err
		}
	}
	l.at, l.lineage = next, lineage
	l.through()
	if err := l.inSession(lineage, next); err != nil {
		return err
	}
	return l.seeded()
}

// seeded returns an error for a line of everything whose seed is not that of its session: a subscribed was lost.
func (l *plainLine) seeded() error {
	if l.filter == nil && l.seed != fullSeed(l.session) {
		return broken("the seed of a line of everything in session %v is %08x", l.session, l.seed)
	}
	return nil
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
	return l.seeded()
}
