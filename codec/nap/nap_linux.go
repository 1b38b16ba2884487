package nap

import (
	"syscall"
	"time"
)

// Sleep sleeps for about d. A signal may end it early.
func Sleep(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil)
}
