package replay

import (
	"syscall"
	"time"
)

// coarse is how long before a tick Go's timers are left: they are up to a millisecond late when
// the process is idle, because the poller that they wait in counts in milliseconds.
const coarse = 2 * time.Millisecond

// sleep waits for about d in the kernel, which is some 60 µs late; a signal may end it early.
func sleep(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil)
}
