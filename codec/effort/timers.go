package effort

import (
	"sync/atomic"
	"testing"
	"time"
)

// Timers measures how late plain timers fire while a test runs: how busy the machine is.
type Timers struct {
	latest atomic.Int64 // time.Duration
}

// timerPeriod is how often a timer of Timers fires.
const timerPeriod = 10 * time.Millisecond

// WatchTimers measures until the test ends.
func WatchTimers(t testing.TB) *Timers {
	w := &Timers{}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			due := time.Now().Add(timerPeriod)
			select {
			case <-time.After(timerPeriod):
				w.latest.Store(max(w.latest.Load(), int64(time.Since(due))))
			case <-done:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(done)
		<-ended
	})
	return w
}

// Latest returns how late the latest timer fired so far.
func (w *Timers) Latest() time.Duration { return time.Duration(w.latest.Load()) }

// Judge fails the test if took is longer than bound and the latest timer's delay together. It logs instead that it does not
// judge without -full, and if a timer was later than a tenth of bound.
func (w *Timers) Judge(t testing.TB, what string, took, bound time.Duration) {
	t.Helper()
	late := w.Latest()
	switch {
	case !Full():
		t.Logf("%s: %v, the bound is %v; -full judges it", what, took, bound)
	case late > bound/10:
		t.Logf("not judged: %s: %v, the bound is %v, and a plain timer was %v late", what, took, bound, late)
	default:
		report := t.Logf
		if took > bound+late {
			report = t.Errorf
		}
		report("%s: %v, the bound is %v; a plain timer was at most %v late", what, took, bound, late)
	}
}
