// Package subscribertest records what a subscriber delivers, and asserts that nothing is missing, doubled or out of
// order.
//
//	r := subscribertest.Start(t, subscriber.Config{Addrs: []string{s.Addr}, Start: subscriber.Beginning})
//	r.Wait(1001)                  // until every number below 1001 is accounted for
//	r.Complete(1, 1001)           // each delivered once, in order; not counting what was disowned
//	seq, after := r.Resumed(1)    // what came first after the first cut, and when
//	r.Recoveries()[0].Live        // how long it took until everything missed was there
//
// A method that fails ends the test with t.Fatal; only the goroutine of the test may call them. The examples of package
// publishertest are whole tests.
package subscribertest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"tickfeed/feed"
	"tickfeed/subscriber"
)

// A Recorder is a subscriber and all that it has delivered.
type Recorder struct {
	// Subscriber is the subscriber that Start made.
	Subscriber *subscriber.Subscriber

	t    testing.TB
	done chan struct{} // closed when Run has returned
	stop context.CancelFunc

	mu        sync.Mutex
	changed   chan struct{} // closed and replaced with each batch
	ticks     []feed.Tick
	sessions  []feed.SessionID // of ticks
	snapshots int
	changes   []subscriber.Change
	cut       time.Time // when the connection was lost; zero since the first tick after that
	resumed   []resumption
	err       error
}

// A resumption is the first tick after the loss of a connection.
type resumption struct {
	seq   uint64
	after time.Duration
}

// Patience is how long Wait, WaitFor and Stop wait before they fail the test.
const Patience = 30 * time.Second

// Start makes a subscriber and runs it until the test ends.
func Start(t testing.TB, cfg subscriber.Config) *Recorder {
	t.Helper()
	sub, err := subscriber.New(cfg)
	if err != nil {
		t.Fatal("subscribertest: ", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Recorder{Subscriber: sub, t: t, done: make(chan struct{}), stop: cancel, changed: make(chan struct{})}
	go func() {
		err := sub.Run(ctx, r.handle)
		r.mu.Lock()
		defer r.mu.Unlock()
		if ctx.Err() == nil {
			r.err = err
		}
		close(r.changed)
		r.changed = make(chan struct{})
		close(r.done)
	}()
	t.Cleanup(func() {
		cancel()
		<-r.done
	})
	return r
}

func (r *Recorder) handle(b *subscriber.Batch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case b.Snapshot:
		r.snapshots++
	default:
		if len(b.Ticks) > 0 && !r.cut.IsZero() {
			r.resumed = append(r.resumed, resumption{b.Ticks[0].Seq, time.Since(r.cut)})
			r.cut = time.Time{}
		}
		for _, t := range b.Ticks {
			if t.Extra != nil {
				extra := *t.Extra
				t.Extra = &extra
			}
			r.ticks, r.sessions = append(r.ticks, t), append(r.sessions, b.Session)
		}
	}
	if b.Change != nil {
		r.changes = append(r.changes, *b.Change)
		if b.Change.State == subscriber.Disconnected && r.cut.IsZero() && len(r.ticks) > 0 {
			r.cut = time.Now()
		}
	}
	close(r.changed)
	r.changed = make(chan struct{})
	return nil
}

// Ticks returns the ticks delivered so far, without the entries of snapshots.
func (r *Recorder) Ticks() []feed.Tick {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ticks)
}

// Changes returns the changes delivered so far.
func (r *Recorder) Changes() []subscriber.Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.changes)
}

// Recoveries returns the reports of the recoveries so far.
func (r *Recorder) Recoveries() (reports []subscriber.Report) {
	for _, c := range r.Changes() {
		if c.Report != nil {
			reports = append(reports, *c.Report)
		}
	}
	return reports
}

// Resumed waits until the handler has seen a tick after the n-th loss of a connection, counted from 1. It returns the number of
// that tick, and how long after the loss was noticed the handler saw it.
func (r *Recorder) Resumed(n int) (seq uint64, after time.Duration) {
	r.t.Helper()
	if n < 1 {
		r.t.Fatalf("subscribertest: Resumed(%d): losses of the connection are counted from 1", n)
	}
	r.WaitFor(fmt.Sprintf("a tick after loss %d of the connection", n), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.resumed) >= n
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.resumed[n-1].seq, r.resumed[n-1].after
}

// Snapshots returns how many batches of snapshot entries were delivered so far.
func (r *Recorder) Snapshots() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.snapshots
}

// Err returns the error with which the subscriber has ended by itself, or nil.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// poll is how often WaitFor looks when no batch comes: the subscriber's position and ledger change only once the handler of the
// last batch has returned.
const poll = 5 * time.Millisecond

// WaitFor waits until is returns true; it is called with each batch, and every few milliseconds. what names it, for a failure.
func (r *Recorder) WaitFor(what string, is func() bool) {
	r.t.Helper()
	timeout := time.NewTimer(Patience)
	defer timeout.Stop()
	again := time.NewTicker(poll)
	defer again.Stop()
	for {
		r.mu.Lock()
		changed := r.changed
		r.mu.Unlock()
		if is() {
			return
		}
		select {
		case <-changed:
		case <-again.C:
		case <-r.done:
			if is() {
				return
			}
			r.t.Fatalf("subscribertest: the subscriber has ended before %s: %v", what, r.Err())
		case <-timeout.C:
			r.t.Fatalf("subscribertest: %s: not within %v; the position is %d", what, Patience, r.Subscriber.Position().Next)
		}
	}
}

// Wait waits until every number below next is accounted for and delivered.
func (r *Recorder) Wait(next uint64) {
	r.t.Helper()
	r.WaitFor(fmt.Sprintf("number %d", next-1), func() bool {
		if r.Subscriber.Position().Next < next {
			return false
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		return uint64(len(r.ticks)) >= r.Subscriber.Ledger().Totals().Delivered
	})
}

// WaitRecovered waits for n recoveries.
func (r *Recorder) WaitRecovered(n int) {
	r.t.Helper()
	r.WaitFor(fmt.Sprintf("recovery %d", n), func() bool { return len(r.Recoveries()) >= n })
}

// Complete fails the test unless each number in [from, to) of the sessions that the subscriber is in now was delivered once, in
// order. Ticks that were disowned, and those of a publisher that was replaced, do not count. An empty range fails.
func (r *Recorder) Complete(from, to uint64) {
	r.t.Helper()
	if from >= to {
		r.t.Fatalf("subscribertest: Complete(%d, %d): there is no number in that range", from, to)
	}
	lineage := r.Subscriber.Position().Lineage
	r.mu.Lock()
	ticks, sessions := slices.Clone(r.ticks), slices.Clone(r.sessions)
	r.mu.Unlock()
	next := from
	for i, t := range ticks {
		owner, _, ok := lineage.Owner(t.Seq)
		switch {
		case t.Seq < from, t.Seq >= to, !ok, owner.ID != sessions[i]:
			continue
		case t.Seq < next:
			r.t.Fatalf("subscribertest: tick %d of those delivered has number %d, which comes a second time or out of order: %d is next", i, t.Seq, next)
		case t.Seq > next:
			r.t.Fatalf("subscribertest: numbers from %d to %d were not delivered", next, t.Seq-1)
		}
		next++
	}
	if next < to {
		r.t.Fatalf("subscribertest: numbers from %d to %d were not delivered", next, to-1)
	}
	if err := r.Subscriber.Ledger().Check(); err != nil {
		r.t.Fatal("subscribertest: the ledger: ", err)
	}
}

// Lost returns the numbers that the ledger counts as lost, over all sessions.
func (r *Recorder) Lost() uint64 { return r.Subscriber.Ledger().Totals().Lost }

// Stop ends the subscriber, and returns the error of Run.
func (r *Recorder) Stop() error {
	r.t.Helper()
	r.stop()
	select {
	case <-r.done:
	case <-time.After(Patience):
		r.t.Fatalf("subscribertest: the subscriber has not ended within %v", Patience)
	}
	return r.Err()
}
