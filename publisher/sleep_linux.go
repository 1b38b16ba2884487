package publisher

import (
	"syscall"
	"time"
)

// sleep sleeps for about d. Go's timers round up to a millisecond where all else sleeps too.
func sleep(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil) // may be cut short by a signal
}
