//go:build unix

package publisher_test

import (
	"syscall"
	"time"
)

// cpuTime returns the processor time that this process has used on all cores. Unlike a rate, it hardly depends on
// what else runs.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
