package replay

import (
	"syscall"
	"time"
)

// coarse is how long before a tick Go's timers are left: they are up to a millisecond late when
// the process is idle, because the poller that they wait in counts in milliseconds.
const coarse = 3 * time.Millisecond

// The kernel is 50 to 200 µs late as well. Where ticks are so far apart that it costs little, a
// tenth of a core at most, it is asked to be early, and the rest is spun.
const (
	spinFrom = time.Millisecond
	spinTime = 100 * time.Microsecond
)

// sleep waits for d; a signal may end it early.
func sleep(d time.Duration) {
	if d < spinFrom {
		nanosleep(d)
		return
	}
	until := time.Now().Add(d)
	nanosleep(d - spinTime)
	if time.Until(until) > spinTime {
		return // a signal: the caller looks again
	}
	for time.Until(until) > 0 {
	}
}

func nanosleep(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil)
}
