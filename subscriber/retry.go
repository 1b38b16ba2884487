package subscriber

import (
	"errors"
	"math/rand/v2"
	"time"
)

// A retry decides when and to which address to connect next: immediately (under TLS after a random part of firstJitter) after a
// connection that was of use, then after a random part of a window that doubles from firstWindow to max. It reads no clock.
type retry struct {
	addrs     []string
	notBefore []time.Time // by address: the earliest time that its publisher allowed
	at        int         // index of the current address
	failures  int         // attempts in a row that count as failed, see ended
	max       time.Duration
	jitter    time.Duration // bound of the wait before the first attempt after a connection that was of use
	again     bool          // there was a connection that was of use
	random    *rand.Rand
}

// firstWindow is the window of the second attempt.
const firstWindow = 100 * time.Millisecond

func newRetry(addrs []string, limit time.Duration, random *rand.Rand) *retry {
	return &retry{addrs: addrs, notBefore: make([]time.Time, len(addrs)), at: len(addrs) - 1, max: limit, random: random}
}

// next returns when to connect, and to which address: the next one in the list whose publisher did not ask for a longer wait,
// or else the one with the shortest wait.
func (r *retry) next(now time.Time) (when time.Time, addr string) {
	when = now.Add(r.delay())
	best := -1
	for i := range r.addrs {
		n := (r.at + 1 + i) % len(r.addrs)
		if best < 0 || r.notBefore[n].Before(r.notBefore[best]) {
			best = n
		}
		if !r.notBefore[n].After(when) {
			best = n
			break
		}
	}
	r.at = best
	if t := r.notBefore[best]; t.After(when) {
		when = t
	}
	return when, r.addrs[best]
}

func (r *retry) delay() time.Duration {
	switch {
	case r.failures == 0 && r.again && r.jitter > 0:
		return time.Duration(r.random.Int64N(int64(r.jitter)))
	case r.failures == 0:
		return 0
	}
	return time.Duration(r.random.Int64N(int64(r.window())))
}

// window returns the bound of the wait before the current attempt, or firstWindow if there was no wait.
func (r *retry) window() time.Duration {
	if n := max(r.failures-1, 0); n < 32 && firstWindow<<n < r.max {
		return firstWindow << n
	}
	return r.max
}

// An outcome describes an attempt to connect.
type outcome struct {
	began  time.Time
	flowed bool // a packet or heartbeat arrived
	fresh  bool // the line covered a number at or above the position, or began in unrelated sessions
	slow   bool // the subscriber asked to be disconnected if it lags, and lagged
}

// ended records the outcome of an attempt, and reports whether the connection was of use: the line covered a number at or above
// the position, or messages flowed and the connection lived longer than the window of the wait before it. Even then, if the
// publisher broke the protocol or the subscriber was too slow, the next attempt waits. Earlier failures still count, unless the
// connection lived for at least max, or the publisher broke the protocol after the line covered a number at or above the
// position: faults now and then must not add up.
func (r *retry) ended(o outcome, now time.Time, err error) (worth bool) {
	cause, lived := CauseOf(err), now.Sub(o.began)
	slow := o.slow && (cause == CauseCut || cause == CauseGoodbye)
	broken := cause == CauseProtocol || cause == CauseGap || slow
	worth = o.fresh || o.flowed && lived > r.window()
	switch {
	case worth && (!broken || lived >= r.max):
		r.failures, r.again = 0, true
	case o.fresh && !slow:
		r.failures = 0
	}
	if !worth || broken {
		r.failures++
	}
	if after := retryAfter(err); after > 0 {
		r.notBefore[r.at] = now.Add(after)
	}
	return worth
}

// retryAfter returns how long the publisher asked the subscriber to wait; 0 if it did not ask.
func retryAfter(err error) time.Duration {
	var refused *RefusedError
	if errors.As(err, &refused) {
		return refused.RetryAfter
	}
	return 0
}
