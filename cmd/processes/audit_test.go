package processes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/audit"
	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/subscriber"
)

// An auditor holds the tick that was received under each number of each session, by any subscriber. It shares only the
// form of a tick with the code that it judges.
type auditor struct {
	mu     sync.Mutex
	seen   audit.Book[uint64]      // hashes; 0: not seen
	ticks  uint64                  // numbers seen
	roots  map[feed.SessionID]bool // sessions that are nobody's child
	wrongs []string
}

func newAuditor() *auditor { return &auditor{roots: make(map[feed.SessionID]bool)} }

// root notes that session begins anew: subscribers of others may jump to it.
func (a *auditor) root(session feed.SessionID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.roots[session] = true
}

func (a *auditor) isRoot(session feed.SessionID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.roots[session]
}

// see records that the subscriber named who received ticks of session.
func (a *auditor) see(who string, session feed.SessionID, ticks []feed.Tick) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range ticks {
		t := &ticks[i]
		h := a.seen.At(session, t.Seq)
		switch v := audit.Hash(t); *h {
		case 0:
			*h = v
			a.ticks++
		case v:
		default:
			a.wrongLocked("%s: number %d of session %v is another tick than before: %+v", who, t.Seq, session, *t)
		}
	}
}

func (a *auditor) wrong(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wrongLocked(format, args...)
}

// maxWrongs bounds the contradictions that a failed test reports.
const maxWrongs = 10

func (a *auditor) wrongLocked(format string, args ...any) {
	if len(a.wrongs) < maxWrongs {
		a.wrongs = append(a.wrongs, fmt.Sprintf(format, args...))
	}
}

// total is how many numbers were seen.
func (a *auditor) total() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ticks
}

// judge fails the test if anything was wrong.
func (a *auditor) judge(t *testing.T) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.wrongs {
		assert.Fail(t, w)
	}
}

// A follower is a subscriber in this process that takes everything, and keeps an account of
// its own of what it received and what was reported to it.
type follower struct {
	name  string
	audit *auditor
	sub   *subscriber.Subscriber
	stop  context.CancelFunc
	done  chan error

	moved chan struct{} // 1 slot: something has come

	mu       sync.Mutex
	session  feed.SessionID
	next     uint64 // number that must come next; 0 if any may
	begun    uint64 // number of the first tick
	got      uint64 // ticks
	account  audit.Account
	disowned []subscriber.Numbers
	lost     []subscriber.Numbers
	reports  []subscriber.Report
	down     bool // the connection was lost
	sparse   bool // it does not take everything: numbers between two ticks may be missing
	final    uint64
	each     func(feed.SessionID, *feed.Tick, *feed.State)

	// For tests that look at one recovery.
	held           uint64 // next, before it
	disownedBefore int
}

// follow starts a follower; addr names the publisher of the moment.
func follow(t *testing.T, name string, a *auditor, addr *address, change func(*subscriber.Config, *follower)) *follower {
	t.Helper()
	f := &follower{
		name: name, audit: a, done: make(chan error, 1), moved: make(chan struct{}, 1),
	}
	cfg := subscriber.Config{
		Addrs: []string{"the publisher"}, Client: name, Start: codec.Start{Kind: codec.StartBeginning},
		MaxBackoff: 10 * time.Millisecond, Dial: addr.dial,
	}
	if change != nil {
		change(&cfg, f)
	}
	var err error
	f.sub, err = subscriber.New(cfg)
	require.NoError(t, err)
	var ctx context.Context
	ctx, f.stop = context.WithCancel(context.Background())
	go func() { f.done <- f.sub.Run(ctx, f.handle) }()
	t.Cleanup(func() { f.leave() })
	return f
}

// patiently has a follower take only a very long silence for the end of its connection: no busy machine ends it.
func patiently(c *subscriber.Config, _ *follower) { c.Heartbeat = patience / 3 }

// leave ends the follower and waits for it.
func (f *follower) leave() {
	f.stop()
	if err := <-f.done; err != nil && !errors.Is(err, context.Canceled) {
		f.audit.wrong("%s: %v", f.name, err)
	}
	f.done <- nil
}

func (f *follower) handle(b *subscriber.Batch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer func() {
		select {
		case f.moved <- struct{}{}:
		default:
		}
	}()
	switch {
	case b.Change != nil:
		f.change(b.Change)
	case !b.Snapshot:
		f.take(b)
	}
	return nil
}

// take notes ticks: each follows the last one, or begins where a change has put the position.
func (f *follower) take(b *subscriber.Batch) {
	if f.got == 0 {
		f.begun = b.Ticks[0].Seq
	}
	if b.Session != f.session {
		if f.session != 0 && b.Ticks[0].Seq != f.next && !f.sparse {
			if !f.audit.isRoot(b.Session) {
				f.audit.wrong("%s: session %v goes on at %d in session %v, want %d", f.name, f.session, b.Ticks[0].Seq, b.Session, f.next)
			}
			f.next = 0
		}
		f.session = b.Session
	}
	for i := range b.Ticks {
		t := &b.Ticks[i]
		if f.sparse && t.Seq > f.next {
			f.next = t.Seq
		}
		if f.next != 0 && t.Seq != f.next || t.Seq == 0 {
			f.audit.wrong("%s: number %d of session %v comes, want %d", f.name, t.Seq, b.Session, f.next)
		}
		f.next = t.Seq + 1
		f.note(b.Session, feed.Range{From: t.Seq, To: t.Seq + 1}, audit.Delivered, audit.Unaccounted)
		if f.each != nil {
			f.each(b.Session, t, b.State)
		}
	}
	f.got += uint64(len(b.Ticks))
	f.audit.see(f.name, b.Session, b.Ticks)
}

func (f *follower) change(c *subscriber.Change) {
	f.down = c.State == subscriber.Disconnected || c.State == subscriber.Connecting
	for _, n := range c.Disowned {
		f.disowned = append(f.disowned, n)
		// They were lost before if the follower joined a new journal late, which then lost its end.
		f.note(n.Session, n.Range, audit.Disowned, audit.Delivered, audit.Lost)
		f.next = min(f.next, n.Range.From)
	}
	for _, n := range c.Lost {
		f.lost = append(f.lost, n)
		f.note(n.Session, n.Range, audit.Lost, audit.Unaccounted)
		f.next = max(f.next, n.Range.To)
	}
	for _, n := range c.Withheld {
		f.note(n.Session, n.Range, audit.Withheld, audit.Unaccounted)
		f.next = max(f.next, n.Range.To)
	}
	if c.Report != nil {
		f.reports = append(f.reports, *c.Report)
	}
	if c.End {
		f.final = c.Final
	}
}

// note notes what became of numbers, each of which was one of before.
func (f *follower) note(session feed.SessionID, r feed.Range, o audit.Outcome, before ...audit.Outcome) {
	if err := f.account.Note(session, r, o, before...); err != nil {
		f.audit.wrong("%s: %v", f.name, err)
	}
}

// wait waits until what holds of the follower, whose lock is held then.
func (f *follower) wait(t *testing.T, what string, holds func() bool) {
	t.Helper()
	require.True(t, f.within(patience, holds), "%s: not in time: %s; it stands at %d of session %v",
		f.name, what, f.sub.Position().Next, f.sub.Position().Lineage.Current().ID)
}

// within is wait for as long as limit, and false if that was not enough.
func (f *follower) within(limit time.Duration, holds func() bool) bool {
	timeout := time.After(limit)
	for {
		f.mu.Lock()
		ok := holds()
		f.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-f.moved:
		case <-timeout:
			return false
		}
	}
}

// reconcile compares the follower's account with the subscriber's ledger: every number has
// the same outcome in both, and only one.
func (f *follower) reconcile() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.account.Compare(f.sub.Ledger()); err != nil {
		f.audit.wrong("%s: %v", f.name, err)
	}
}

// An address is where the publisher of the moment listens; dialling waits until there is one.
type address struct {
	mu    sync.Mutex
	addr  string
	known chan struct{} // closed when addr is set
}

func newAddress() *address { return &address{known: make(chan struct{})} }

// is names the publisher; empty for none now.
func (a *address) is(addr string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.addr == "" && addr != "" {
		close(a.known)
	} else if a.addr != "" && addr == "" {
		a.known = make(chan struct{})
	}
	a.addr = addr
}

func (a *address) dial(ctx context.Context, _ string) (net.Conn, error) {
	for {
		a.mu.Lock()
		addr, known := a.addr, a.known
		a.mu.Unlock()
		if addr != "" {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		}
		select {
		case <-known:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// The auditor finds what it is there to find.
func TestAuditorFindsWrongAccounts(t *testing.T) {
	quote := func(seq uint64, bid int64) feed.Tick {
		tick := feed.Quote{Bid: bid, BidSize: 100, Ask: bid + 1, AskSize: 100}.Tick(0, 1)
		tick.Seq = seq
		return tick
	}
	batch := func(session feed.SessionID, ticks ...feed.Tick) *subscriber.Batch {
		return &subscriber.Batch{Session: session, Ticks: ticks}
	}
	gone := func(session feed.SessionID, from, to uint64) *subscriber.Batch {
		return &subscriber.Batch{Change: &subscriber.Change{
			Disowned: []subscriber.Numbers{{Session: session, Range: feed.Range{From: from, To: to}}},
		}}
	}
	lose := func(session feed.SessionID, from, to uint64) *subscriber.Batch {
		return &subscriber.Batch{Change: &subscriber.Change{
			Lost: []subscriber.Numbers{{Session: session, Range: feed.Range{From: from, To: to}}},
		}}
	}
	const a, b = feed.SessionID(0xa), feed.SessionID(0xb)
	for _, c := range []struct {
		name    string
		batches []*subscriber.Batch
		wrongs  int
	}{
		{"in order", []*subscriber.Batch{batch(a, quote(1, 5), quote(2, 6)), batch(a, quote(3, 5))}, 0},
		{"a tick twice", []*subscriber.Batch{batch(a, quote(1, 5), quote(2, 6)), batch(a, quote(2, 6))}, 2},
		{"a tick missing", []*subscriber.Batch{batch(a, quote(1, 5)), batch(a, quote(3, 5))}, 1},
		{"other bytes", []*subscriber.Batch{batch(a, quote(1, 5)), gone(a, 1, 2), batch(a, quote(1, 6))}, 2},
		{"a child after a fork", []*subscriber.Batch{batch(a, quote(1, 5), quote(2, 6)), gone(a, 2, 3), batch(b, quote(2, 7))}, 0},
		{"a child beyond the fork", []*subscriber.Batch{batch(a, quote(1, 5), quote(2, 6)), gone(a, 2, 3), batch(b, quote(3, 7))}, 1},
		{"disowned what was not delivered", []*subscriber.Batch{batch(a, quote(1, 5)), gone(a, 1, 3)}, 1},
		{"disowned what was lost", []*subscriber.Batch{lose(a, 1, 3), batch(a, quote(3, 5)), gone(a, 2, 4)}, 0},
		{"a session out of nowhere", []*subscriber.Batch{batch(a, quote(1, 5)), batch(b, quote(7, 5))}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			audit := newAuditor()
			f := &follower{name: "f", audit: audit}
			for _, batch := range c.batches {
				require.NoError(t, f.handle(batch))
			}
			assert.Len(t, audit.wrongs, c.wrongs, "%q", audit.wrongs)
		})
	}
}
