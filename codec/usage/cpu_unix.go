//go:build unix

package usage

import (
	"syscall"
	"time"
)

// CPU returns the processor time that this process has used on all cores, in user and system mode; 0 if it is not known. Unlike
// a rate, it hardly depends on what else runs.
func CPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
