package subscriber

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
)

// If a thousand clients are cut in the same millisecond and their first retries are refused, their second and later retries
// spread over the window.
func TestBackoffSpreads(t *testing.T) {
	now := time.Unix(0, 0)
	for failures, window := range map[int]time.Duration{1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 5: 1600 * time.Millisecond, 40: 30 * time.Second} {
		var least, most time.Duration = window, 0
		var tenths [10]int
		for client := range uint64(1000) {
			r := newRetry([]string{"pub:1"}, 30*time.Second, rand.New(rand.NewPCG(client, 0)))
			r.ended(outcome{began: now, flowed: true, fresh: true}, now, io.EOF)
			when, _ := r.next(now)
			assert.Equal(t, now, when, "the first retry comes at once")
			for range failures {
				r.ended(outcome{began: now}, now, errors.New("connection refused"))
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

// The count of failures is reset after a connection whose line covered a number at or above the position, or that lived longer than
// the window of the wait before it. If the publisher broke the protocol, the count becomes 1 if the line covered such a number, and
// otherwise grows by 1. If the subscriber was too slow for its own policy, the count grows by 1, unless the
// connection lived for at least the longest wait.
func TestBackoffReset(t *testing.T) {
	now := time.Unix(0, 0)
	r := newRetry([]string{"pub:1"}, 30*time.Second, rand.New(rand.NewPCG(1, 0)))
	for _, step := range []struct {
		flowed, fresh bool
		lived         time.Duration
		err           error
		want          int
		slow          bool
	}{
		{false, false, 0, io.EOF, 1, false},
		{false, false, time.Hour, io.EOF, 2, false},
		{true, true, 0, violation("x"), 1, false},
		{true, true, 0, violation("x"), 1, false},
		{true, false, 0, violation("x"), 2, false},
		{true, false, 0, violation("x"), 3, false},
		{true, true, time.Minute, violation("x"), 1, false},
		{true, true, 0, io.EOF, 0, false},
		{true, true, 0, ErrSilent, 0, false},
		{true, false, 99 * time.Millisecond, io.EOF, 1, false},
		{true, false, 100 * time.Millisecond, io.EOF, 2, false},
		{true, false, 200 * time.Millisecond, io.EOF, 3, false},
		{true, false, 401 * time.Millisecond, io.EOF, 0, false},
		{true, false, 101 * time.Millisecond, ErrSilent, 0, false},
		{true, true, 0, io.EOF, 1, true},
		{true, true, 0, &RefusedError{Code: codec.CodeSlow, Retry: true, Goodbye: true}, 2, true},
		{true, true, 0, io.EOF, 0, false},
	} {
		worth := r.ended(outcome{now, step.flowed, step.fresh, step.slow}, now.Add(step.lived), step.err)
		assert.Equal(t, step.want, r.failures, "%+v", step)
		assert.Equal(t, step.fresh || step.flowed && step.want == 0, worth, "%+v", step)
	}
}

// The waits grow for a publisher that welcomes, sends one heartbeat and closes. If it sends new numbers each
// time, or begins another session, the subscriber reconnects at once. If a gap follows the new numbers, it waits, and the waits do not
// grow.
func TestWaitsGrowWithoutProgress(t *testing.T) {
	for _, brings := range []string{"nothing", "a number", "another session", "a number and a gap"} {
		t.Run(brings, func(t *testing.T) {
			inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
				var connections atomic.Int64
				ctx, cancel := context.WithCancel(t.Context())
				stop := publish(network, "pub:1", func(p *peer) {
					n := uint64(connections.Add(1))
					if n == 100 {
						cancel()
					}
					switch brings {
					case "nothing":
						p.send(message(welcomeA(1, 1, codec.StartedAsAsked)), heartbeat(1, 1))
						return
					case "another session": // as a paused replay that is wound again and again
						w := welcomeA(1, 1, codec.StartedBySnapshot)
						if n == 1 {
							w.Reason = codec.StartedAsAsked
						}
						w.Lineage = feed.Lineage{{ID: feed.SessionID(n), First: 1}}
						w.Seed = codec.LineSeed(feed.SessionID(n), nil)
						p.send(message(w), heartbeat(1, 1))
						return
					}
					w := welcomeA(n, n, codec.StartedAsAsked)
					if n > 1 {
						w.Reason = codec.StartedResumed
					}
					p.send(message(w), packet(seedA(), n, definition(feed.InstrumentID(n-1))))
					if brings == "a number and a gap" {
						p.send(packet(seedA(), n+5, definition(feed.InstrumentID(n))))
					}
				})
				began := time.Now()
				s := mustNew(t, cfg)
				ctx, done := context.WithTimeout(ctx, time.Minute)
				require.Error(t, s.Run(ctx, (&app{}).handle))
				done()
				cancel()
				stop()
				switch brings {
				case "nothing":
					assert.Less(t, connections.Load(), int64(30), "in a minute")
				case "a number and a gap":
					assert.EqualValues(t, 100, connections.Load())
					assert.Greater(t, time.Since(began), 2*time.Second)
					assert.Less(t, time.Since(began), 100*firstWindow)
				default:
					assert.EqualValues(t, 100, connections.Load())
					assert.Less(t, time.Since(began), time.Second)
				}
			})
		})
	}
}

// An address whose publisher asked for a wait is skipped as long as there are others.
func TestRetryAfterSkipsOneAddress(t *testing.T) {
	now := time.Unix(0, 0)
	r := newRetry([]string{"a", "b", "c"}, 30*time.Second, rand.New(rand.NewPCG(1, 0)))
	var got []string
	for range 6 {
		when, addr := r.next(now)
		got = append(got, addr)
		now = when
		if addr == "b" {
			r.ended(outcome{began: now, flowed: true, fresh: true}, now, &RefusedError{Code: codec.CodeShutdown, Retry: true, RetryAfter: time.Hour})
		} else {
			r.ended(outcome{began: now, flowed: true, fresh: true}, now, io.EOF)
		}
	}
	assert.Equal(t, []string{"a", "b", "c", "a", "c", "a"}, got)
	for range 2 {
		_, addr := r.next(now)
		r.ended(outcome{began: now, flowed: true, fresh: true}, now, &RefusedError{Code: codec.CodeShutdown, Retry: true, RetryAfter: 2 * time.Hour})
		assert.NotEqual(t, "b", addr)
	}
	when, addr := r.next(now)
	assert.Equal(t, "b", addr)
	assert.Equal(t, time.Hour, when.Sub(time.Unix(0, 0)))
}

// After a connection that was of use the first attempt is made at once or, with TLS, after a random part of firstJitter, so that
// the handshakes of many subscribers spread; the very first attempt never waits (PROTOCOL.md, "Reconnecting").
func TestFirstAttemptIsSpreadOverTLS(t *testing.T) {
	began := time.Unix(1_000_000, 0)
	for _, jitter := range []time.Duration{0, firstJitter} {
		var least, most time.Duration = time.Hour, 0
		for seed := range uint64(200) {
			r := newRetry([]string{"a"}, 30*time.Second, rand.New(rand.NewPCG(seed, 0)))
			r.jitter = jitter
			when, _ := r.next(began)
			require.Equal(t, began, when, "the first attempt")
			r.ended(outcome{began: began, flowed: true, fresh: true}, began.Add(time.Second), io.EOF)
			when, _ = r.next(began)
			least, most = min(least, when.Sub(began)), max(most, when.Sub(began))
		}
		assert.LessOrEqual(t, least, jitter/10)
		assert.LessOrEqual(t, most, jitter)
		assert.GreaterOrEqual(t, most, jitter*9/10)
	}
}
