package subscriber

import (
	"errors"
	"math/rand/v2"
	"time"
)

// A retry decides when, and where, to connect next: at once after a line that was worth its connection, then after a random part
// of a window that doubles from firstWindow to max. It reads no clock.
type retry struct {
	addrs     []string
	notBefore []time.Time // by address, as its publisher asked
	at        int         // address of the present attempt
	failures  int         // attempts in a row that were not worth their connection
	max       time.Duration
	random    *rand.Rand
}

// firstWindow is the window of the second attempt.
const firstWindow = 100 * time.Millisecond

func newRetry(addrs []string, limit time.Duration, random *rand.Rand) *retry {
	return &retry{addrs: addrs, notBefore: make([]time.Time, len(addrs)), at: len(addrs) - 1, max: limit, random: random}
}

// next is when to connect and to which address: the next of the list that does not ask for a longer wait, or the one that
// asks for the shortest.
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
	if r.failures == 0 {
		return 0
	}
	return time.Duration(r.random.Int64N(int64(r.window())))
}

// window bounds the wait before the present attempt; before an attempt that had none it is firstWindow.
func (r *retry) window() time.Duration {
	if n := max(r.failures-1, 0); n < 32 && firstWindow<<n < r.max {
		return firstWindow << n
	}
	return r.max
}

// An outcome is what came of an attempt to connect.
type outcome struct {
	began  time.Time
	flowed bool // a packet or heartbeat arrived
	fresh  bool // the line covered a number at or above the position, or began anew in other sessions
	slow   bool // the subscriber asked to be disconnected when it lags, and lagged
}

// ended notes how an attempt went, and reports whether it was worth its connection: the line covered a number at or above the
// position, or the connection lived longer than the window of the wait before it. The next attempt waits all the same if the
// publisher sent something that it must not send, or if the subscriber was too slow, unless the connection was good for long.
func (r *retry) ended(o outcome, now time.Time, err error) (worth bool) {
	cause, lived := CauseOf(err), now.Sub(o.began)
	broken := cause == CauseProtocol || cause == CauseGap || o.slow && (cause == CauseCut || cause == CauseGoodbye)
	worth = o.fresh || o.flowed && lived > r.window()
	if worth && (!broken || lived >= r.max) {
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

// retryAfter is how long the publisher asked to wait.
func retryAfter(err error) time.Duration {
	var refused *RefusedError
	if errors.As(err, &refused) {
		return refused.RetryAfter
	}
	return 0
}
