package subscriber

import "time"

// A liveness judges a peer by how long it was listened to in vain. Time spent elsewhere, in a slow handler, does not count.
// It reads no clock.
type liveness struct {
	interval time.Duration
	since    time.Time // when listening began; zero after something was heard
}

// Intervals of silence until a peer is stale, and dead (PROTOCOL.md, "A connection").
const (
	staleAfter = 2
	deadAfter  = 3
)

// listen notes that a read begins, and returns by when it must be over.
func (l *liveness) listen(now time.Time) (deadline time.Time) {
	if l.since.IsZero() {
		l.since = now
	}
	if l.stale(now) {
		return l.since.Add(deadAfter * l.interval)
	}
	return l.since.Add(staleAfter * l.interval)
}

func (l *liveness) heard() { l.since = time.Time{} }

func (l *liveness) stale(now time.Time) bool { return l.silent(now, staleAfter) }

func (l *liveness) dead(now time.Time) bool { return l.silent(now, deadAfter) }

func (l *liveness) silent(now time.Time, intervals time.Duration) bool {
	return !l.since.IsZero() && now.Sub(l.since) >= intervals*l.interval
}

// pause takes d out of the account: it was spent elsewhere.
func (l *liveness) pause(d time.Duration) {
	if !l.since.IsZero() {
		l.since = l.since.Add(d)
	}
}
