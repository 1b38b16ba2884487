package subscriber

import (
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"tickfeed/codec"
)

// RELIABILITY 16: of a thousand clients cut in the same millisecond, whose first retry was refused, the second retries
// spread over the window, and so do later ones.
func TestBackoffSpreads(t *testing.T) {
	now := time.Unix(0, 0)
	for failures, window := range map[int]time.Duration{1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 5: 1600 * time.Millisecond, 40: 30 * time.Second} {
		var least, most time.Duration = window, 0
		var tenths [10]int
		for client := range uint64(1000) {
			r := newRetry([]string{"pub:1"}, 30*time.Second, rand.New(rand.NewPCG(client, 0)))
			r.ended(now, now, true, io.EOF)
			when, _ := r.next(now)
			assert.Equal(t, now, when, "the first retry comes at once")
			for range failures {
				r.ended(now, now, false, errors.New("connection refused"))
			}
			when, _ = r.next(now)
			wait := when.Sub(now)
			least, most = min(least, wait), max(most, wait)
			tenths[wait*10/window]++
		}
		assert.GreaterOrEqual(t, most-least, window*8/10)
		for i, n := range tenths {
			assert.InDelta(t, 100, n, 45, "%v, tenth %d", window, i)
		}
	}
}

// The backoff goes back to the start only once data has flowed, and not for a connection that was broken by what the
// publisher sent, unless it was good for long.
func TestBackoffReset(t *testing.T) {
	now := time.Unix(0, 0)
	r := newRetry([]string{"pub:1"}, 30*time.Second, rand.New(rand.NewPCG(1, 0)))
	for _, step := range []struct {
		flowed bool
		lived  time.Duration
		err    error
		want   int
	}{
		{false, 0, io.EOF, 1},
		{false, time.Hour, io.EOF, 2},
		{true, 0, violation("x"), 3},
		{true, 0, violation("x"), 4},
		{true, time.Minute, violation("x"), 1},
		{true, 0, io.EOF, 0},
		{true, 0, ErrSilent, 0},
	} {
		r.ended(now, now.Add(step.lived), step.flowed, step.err)
		assert.Equal(t, step.want, r.failures, "%+v", step)
	}
}

// An address whose publisher asked for time is passed over as long as there are others.
func TestRetryAfterIsOfOneAddress(t *testing.T) {
	now := time.Unix(0, 0)
	r := newRetry([]string{"a", "b", "c"}, 30*time.Second, rand.New(rand.NewPCG(1, 0)))
	var got []string
	for range 6 {
		when, addr := r.next(now)
		got = append(got, addr)
		now = when
		if addr == "b" {
			r.ended(now, now, true, &RefusedError{Code: codec.CodeShutdown, Retry: true, RetryAfter: time.Hour})
		} else {
			r.ended(now, now, true, io.EOF)
		}
	}
	assert.Equal(t, []string{"a", "b", "c", "a", "c", "a"}, got)
	for range 2 {
		_, addr := r.next(now)
		r.ended(now, now, true, &RefusedError{Code: codec.CodeShutdown, Retry: true, RetryAfter: 2 * time.Hour})
		assert.NotEqual(t, "b", addr)
	}
	when, addr := r.next(now)
	assert.Equal(t, "b", addr)
	assert.Equal(t, time.Hour, when.Sub(time.Unix(0, 0)))
}
