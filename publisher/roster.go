package publisher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/liveness"
	"tickfeed/feed/nouns"
)

// A roster holds the connections that have logged in, and remembers those that have ended. Its methods are safe for
// concurrent use.
type roster struct {
	most   int           // connections at most
	pulses chan struct{} // 1 slot: a client has confirmed a position, or has left

	draining atomic.Pointer[draining] // set by Drain, under mu; nil before
	skips    atomic.Uint64            // see Summary.Skipped

	mu     sync.Mutex
	conns  map[*conn]struct{}
	users  map[string]int // connections, by user
	counts counts
	losses losses
}

// counts are what a roster has counted. They are protected by roster.mu.
type counts struct {
	joined   uint64                // connections that logged in so far
	returned uint64                // those of them whose clients had been connected before
	left     map[Reason]uint64     // connections that have ended
	refused  map[codec.Code]uint64 // connections that were refused
	sent     uint64                // bytes sent on connections that have ended
}

// losses are the clients whose connections ended before they had everything, and that have not come back. They are
// protected by roster.mu.
type losses struct {
	missing int         // such clients
	last    time.Time   // when the last of them was lost
	absent  []ConnStats // the connections lost last, at most maxAbsent
}

// maxAbsent is how many lost connections are remembered by name.
const maxAbsent = 64

func (r *roster) init(most int) {
	r.most, r.pulses = most, make(chan struct{}, 1)
	r.conns, r.users = make(map[*conn]struct{}), make(map[string]int)
	r.counts.left, r.counts.refused = make(map[Reason]uint64), make(map[codec.Code]uint64)
}

// add adds c, if the publisher is not being drained and there is room; otherwise it returns the refusal of c. It returns
// errEvicted if leaveLobby returns false.
func (r *roster) add(c *conn, leaveLobby func() bool) (*codec.Refusal, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := r.draining.Load(); d != nil {
		return d.refusal(c.p.chance(c.client.number)), nil
	}
	if refusal := r.roomForLocked(c); refusal != nil {
		return refusal, nil
	}
	if !leaveLobby() {
		return nil, errEvicted
	}
	r.conns[c] = struct{}{}
	r.users[c.client.user]++
	r.counts.joined++
	if c.client.back {
		r.counts.returned++
		r.losses.forget(c.stats())
	}
	return nil, nil
}

// roomForLocked returns the refusal of c if there are too many connections, in all or of its user, or nil.
func (r *roster) roomForLocked(c *conn) *codec.Refusal {
	busy := &codec.Refusal{Code: codec.CodeBusy, Retry: true, RetryAfter: time.Second}
	user := c.line.permit
	switch {
	case len(r.conns) >= r.most:
		busy.Text = nouns.Are(len(r.conns), "subscriber", "connected, which is the limit")
	case user != nil && user.Connections > 0 && r.users[user.User] >= user.Connections:
		busy.Text = fmt.Sprintf("user %s has %s, which is the limit", user.User, nouns.Count(r.users[user.User], "connection"))
	default:
		return nil
	}
	return busy
}

// countRefusal counts a connection that was refused.
func (r *roster) countRefusal(code codec.Code) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.refused[code]++
}

// remove removes c, which has ended. next is the number after the last one committed: a client that has not confirmed it
// is missing, unless it has left for good or was asked to leave by a drain.
func (r *roster) remove(c *conn, next uint64) {
	defer r.pulse()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
	if r.users[c.client.user]--; r.users[c.client.user] == 0 {
		delete(r.users, c.client.user)
	}
	r.counts.left[reasonOf(c.reason)]++
	r.counts.sent += c.out.bytes.Load()
	denied := (*deniedError)(nil)
	drained := errors.Is(c.stopCause(), errDrained) // it is expected at the next process
	done := drained || errors.Is(c.reason, errClientLeft) || errors.Is(c.reason, errCovered) || errors.As(c.reason, &denied) && !denied.retry
	if !done && c.progress.confirmed.Load() < next {
		r.losses.note(c.stats())
	}
}

// note records that a client was lost.
func (l *losses) note(lost ConnStats) {
	l.missing++
	l.last = time.Now()
	l.absent = append(l.absent, lost)
	l.absent = l.absent[max(0, len(l.absent)-maxAbsent):]
}

// forget records that a client has come back. It forgets the lost connection with the same client name and address or,
// if there is none, the oldest one.
func (l *losses) forget(back ConnStats) {
	l.missing = max(0, l.missing-1)
	i := slices.IndexFunc(l.absent, back.isClientOf)
	if i < 0 && len(l.absent) > l.missing {
		i = 0
	}
	if i >= 0 {
		l.absent = slices.Delete(l.absent, i, i+1)
	}
}

// drain lets no client in from now on, refusing each as d says, and returns the connections to be ended, oldest first.
func (r *roster) drain(d *draining) ([]*conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.draining.Load() != nil {
		return nil, ErrDraining
	}
	r.draining.Store(d)
	return r.allLocked(), nil
}

// all returns the connections, oldest first.
func (r *roster) all() []*conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.allLocked()
}

func (r *roster) allLocked() []*conn {
	return slices.SortedFunc(maps.Keys(r.conns), func(a, b *conn) int { return cmp.Compare(a.client.number, b.client.number) })
}

// signalAll signals every connection.
func (r *roster) signalAll() {
	for _, c := range r.all() {
		c.signal()
	}
}

// sentTo returns how many connected subscribers were sent everything before number next, how many subscribers are
// connected, and how many have connected so far. While a write from memory is in progress, which pins its segment,
// sent may count a subscriber too early.
func (r *roster) sentTo(next uint64) (sent, connected int, joined uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		if c.progress.told.Load() >= next {
			sent++
		}
	}
	return sent, len(r.conns), r.counts.joined
}

// lacking reports whether a connected client has not confirmed all numbers before final, or whether one is missing and
// may come back within the next wait: each is given patience.
func (r *roster) lacking(final uint64, patience time.Duration) (lacking bool, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		lacking = lacking || c.progress.confirmed.Load() < final
	}
	if wait = time.Until(r.losses.last.Add(patience)); r.losses.missing > 0 && wait > 0 {
		return true, wait
	}
	return lacking, 0
}

// stats returns the connections, and those lost last.
func (r *roster) stats() (conns, absent []ConnStats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	conns = make([]ConnStats, 0, len(r.conns))
	for c := range r.conns {
		conns = append(conns, c.stats())
	}
	return conns, slices.Clone(r.losses.absent)
}

// summarize adds what the roster knows to sum, in which Committed is set.
func (r *roster) summarize(sum *Summary, late delays) {
	sum.Slowest.Passed = sum.Committed
	sum.Draining, sum.Skipped = r.draining.Load() != nil, r.skips.Load()
	r.mu.Lock()
	defer r.mu.Unlock()
	n := &r.counts
	sum.Subscribers, sum.Joined, sum.Returned = len(r.conns), n.joined, n.returned
	sum.Missing, sum.Missed = r.losses.missing, r.losses.last
	sum.Left, sum.Refused, sum.Sent = maps.Clone(n.left), maps.Clone(n.refused), n.sent
	for c := range r.conns {
		at := c.progress.connProgress()
		if at.Passed < sum.Slowest.Passed {
			sum.Slowest = at
		}
		for i := range sum.Behind {
			if late.behind(i, at) {
				sum.Behind[i]++
			}
		}
		sum.Sent += c.out.bytes.Load()
	}
}

// pulse wakes WaitConfirmed.
func (r *roster) pulse() {
	select {
	case r.pulses <- struct{}{}:
	default:
	}
}

// WaitConfirmed waits, after End, until every connected subscriber has confirmed that it has everything. That includes
// subscribers that connect meanwhile; a subscriber whose connection was lost before it had everything is given three
// heartbeat intervals to reconnect. WaitConfirmed returns ctx.Err() if ctx ends first, or ErrClosed. Only one goroutine may
// call it at a time.
func (p *Publisher) WaitConfirmed(ctx context.Context) error {
	r := &p.serving.roster
	for {
		final := p.serving.final.Load()
		lacking, wait := r.lacking(final, liveness.DeadAfter*p.cfg.Heartbeat)
		if final != 0 && !lacking {
			return nil
		}
		var back <-chan time.Time
		if wait > 0 {
			back = time.After(wait)
		}
		select {
		case <-r.pulses:
		case <-back:
		case <-ctx.Done():
			return ctx.Err()
		case <-p.flusher.closing:
			return ErrClosed
		}
	}
}
