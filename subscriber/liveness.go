package subscriber

import "time"

// A liveness decides whether a peer is alive by how long the subscriber has listened without a sign of life. A complete message
// of a known type is a sign of life, and so are each further aliveBytes of an unfinished one; a heartbeat inside a snapshot is
// not. Time spent in a slow handler does not count. A liveness reads no clock.
type liveness struct {
	interval time.Duration
	since    time.Time // when listening began; zero after a sign of life
	partial  int       // bytes of the unfinished message at the last sign of life
}

// aliveBytes is how many bytes of an unfinished message are a sign of life.
const aliveBytes = 4096

// Intervals of silence until a peer is stale, and dead (PROTOCOL.md, "A connection").
const (
	staleAfter = 2
	deadAfter  = 3
)

// listen notes that a read begins, and returns its deadline.
func (l *liveness) listen(now time.Time) (deadline time.Time) {
	if l.since.IsZero() {
		l.since = now
	}
	if l.stale(now) {
		return l.since.Add(deadAfter * l.interval)
	}
	return l.since.Add(staleAfter * l.interval)
}

// heard notes that a complete message has arrived.
func (l *liveness) heard() { l.since, l.partial = time.Time{}, 0 }

// came notes that n bytes of the next message have arrived.
func (l *liveness) came(n int) {
	if n >= l.partial+aliveBytes {
		l.since, l.partial = time.Time{}, n
	}
}

func (l *liveness) stale(now time.Time) bool { return l.silent(now, staleAfter) }

func (l *liveness) dead(now time.Time) bool { return l.silent(now, deadAfter) }

func (l *liveness) silent(now time.Time, intervals time.Duration) bool {
	return !l.since.IsZero() && now.Sub(l.since) >= intervals*l.interval
}

// pause excludes d, during which the subscriber did not listen.
func (l *liveness) pause(d time.Duration) {
	if !l.since.IsZero() {
		l.since = l.since.Add(d)
	}
}
