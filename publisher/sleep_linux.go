package publisher

import (
	"syscall"
	"time"
)

// sleep sleeps for about d. It does not use a timer, because a Go timer rounds up to a millisecond in a process that
// is otherwise idle.
func sleep(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil) // a signal may end it early
}
