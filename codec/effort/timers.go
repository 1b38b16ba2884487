package effort

import (
	"sync/atomic"
	"testing"
	"time"
)

// Timers measures how late plain timers fire while a test runs, to find out how busy the machine is.
type Timers struct {
	latest atomic.Int64 // time.Duration
}

// timerPeriod is the interval of the timers.
const timerPeriod = 10 * time.Millisecond

// WatchTimers returns a Timers that measures until the test ends.
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

// Latest returns the longest delay of a timer so far.
func (w *Timers) Latest() time.Duration { return time.Duration(w.latest.Load()) }

// Judge fails the test if took exceeds the sum of bound and the longest delay of a timer. Without -full, or if a timer was
// delayed by more than a tenth of bound, it only logs that it does not judge.
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
