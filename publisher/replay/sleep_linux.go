package replay

import (
	"time"

	"tickfeed/codec/nap"
)

// coarse is how long before a tick the player stops using timers: in an idle process a timer is late by up to the unit in
// which the poller of the runtime waits, a millisecond.
const coarse = 3 * time.Millisecond

// The kernel wakes up late as well. For sleeps of at least spinFrom, sleep wakes up spinTime early and spins for the rest,
// which uses spinTime/spinFrom of a core at most. BenchmarkServe has how late ticks are then.
const (
	spinFrom = time.Millisecond
	spinTime = 100 * time.Microsecond
)

// sleep sleeps for d; a signal may end it early.
func sleep(d time.Duration) {
	if d < spinFrom {
		nap.Sleep(d)
		return
	}
	until := time.Now().Add(d)
	nap.Sleep(d - spinTime)
	if time.Until(until) > spinTime {
		return // woken by a signal: the caller checks the time
	}
	for time.Until(until) > 0 {
	}
}
