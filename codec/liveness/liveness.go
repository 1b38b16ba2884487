// Package liveness decides whether the peer of a connection is alive (PROTOCOL.md, "A connection").
//
//	alive := liveness.Monitor{Interval: time.Second}
//	alive.Listen(now) // from now on, silence counts
//	<-arrived
//	alive.Heard()
//	alive.Listen(clock())
//	if alive.Dead(clock()) { // at alive.DeadAt
//		return errors.New("the peer is silent")
//	}
//	if clock() >= alive.BeatAt() {
//		send(heartbeat)
//		alive.Spoke(clock())
//	}
package liveness

import (
	"sync/atomic"
	"time"
)

// A Monitor decides whether the peer of a connection is alive, by how long this side has listened without a sign of
// life, and when this side must give one itself (PROTOCOL.md, "A connection"). It serves both sides. It reads no clock:
// each time is since an instant that its owner chose.
//
// Interval must be set before use. Came belongs to the goroutine that reads; the other methods are safe for concurrent
// use.
type Monitor struct {
	Interval time.Duration // of heartbeats and pulses

	since   atomic.Int64 // 1 + when listening began, in ns; 0 from a sign of life until listening begins again
	spoke   atomic.Int64 // when something was last sent, in ns
	partial int          // bytes of the unfinished message at the last sign of life
}

// Intervals of silence until a peer is stale, and dead.
const (
	StaleAfter = 2
	DeadAfter  = 3
)

// aliveBytes is how many bytes of an unfinished message are a sign of life.
const aliveBytes = 4096

// Listen notes that this side waits for the peer from now on, unless it does already.
func (l *Monitor) Listen(now time.Duration) { l.since.CompareAndSwap(0, 1+int64(now)) }

// Heard notes a sign of life. Time counts again from the next call of Listen.
func (l *Monitor) Heard() {
	l.since.Store(0)
	l.partial = 0
}

// Came notes that n bytes of an unfinished message have arrived.
func (l *Monitor) Came(n int) {
	if n >= l.partial+aliveBytes {
		l.since.Store(0)
		l.partial = n
	}
}

// Pause excludes d, during which this side did not listen.
func (l *Monitor) Pause(d time.Duration) {
	if since := l.since.Load(); since != 0 {
		l.since.Store(since + int64(d))
	}
}

// StaleAt and DeadAt return when the peer counts as stale, after two intervals of silence, and as dead, after three. A
// side that does not listen at the moment begins to at now.
func (l *Monitor) StaleAt(now time.Duration) time.Duration {
	return l.from(now) + StaleAfter*l.Interval
}

// DeadAt is described with StaleAt.
func (l *Monitor) DeadAt(now time.Duration) time.Duration { return l.from(now) + DeadAfter*l.Interval }

func (l *Monitor) from(now time.Duration) time.Duration {
	if since := l.since.Load(); since != 0 {
		return time.Duration(since - 1)
	}
	return now
}

// Stale reports whether the peer is stale at now.
func (l *Monitor) Stale(now time.Duration) bool { return now >= l.StaleAt(now) }

// Dead reports whether the peer is dead at now.
func (l *Monitor) Dead(now time.Duration) bool { return now >= l.DeadAt(now) }

// Spoke notes that this side sent something at now.
func (l *Monitor) Spoke(now time.Duration) { l.spoke.Store(int64(now)) }

// LastSpoke returns when this side last sent something.
func (l *Monitor) LastSpoke() time.Duration { return time.Duration(l.spoke.Load()) }

// BeatAt returns when this side must give a sign of life, if it sends nothing before.
func (l *Monitor) BeatAt() time.Duration { return l.LastSpoke() + l.Interval }
