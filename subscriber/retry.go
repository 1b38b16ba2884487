package subscriber

import (
	"errors"
	"math/rand/v2"
	"time"
)

// A retry says when, and where, to connect next: at once after a connection on which data flowed, then after a random part
// of a window that doubles from firstWindow to max. It reads no clock.
type retry struct {
	addrs     []string
	notBefore []time.Time // by address, as its publisher asked
	at        int         // address of the present attempt
	failures  int         // connections without data, in a row
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
	window := r.max
	if n := r.failures - 1; n < 32 && firstWindow<<n < r.max {
		window = firstWindow << n
	}
	return time.Duration(r.random.Int64N(int64(window)))
}

// ended notes how a connection, or an attempt, went: when it began, whether a packet or heartbeat arrived, and how it ended.
// One that the publisher broke by what it sent counts as failed, unless it was good for long.
func (r *retry) ended(began, now time.Time, flowed bool, err error) {
	cause := CauseOf(err)
	broken := cause == CauseProtocol || cause == CauseGap
	if flowed && (!broken || now.Sub(began) >= r.max) {
		r.failures = 0
	}
	if !flowed || broken {
		r.failures++
	}
	if after := retryAfter(err); after > 0 {
		r.notBefore[r.at] = now.Add(after)
	}
}

// retryAfter is how long the publisher asked to wait.
func retryAfter(err error) time.Duration {
	var refused *RefusedError
	if errors.As(err, &refused) {
		return refused.RetryAfter
	}
	return 0
}
