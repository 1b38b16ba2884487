package usage

import (
	"syscall"
	"time"
)

// CPU returns the processor time that this process has used on all cores, in user and system mode; 0 if it is not known. Unlike
// a rate, it hardly depends on what else runs.
func CPU() time.Duration {
	var created, exited, kernel, user syscall.Filetime
	self, err := syscall.GetCurrentProcess()
	if err != nil || syscall.GetProcessTimes(self, &created, &exited, &kernel, &user) != nil {
		return 0
	}
	ticks := func(f syscall.Filetime) int64 { return int64(f.HighDateTime)<<32 | int64(f.LowDateTime) } // in units of 100 ns
	return time.Duration(ticks(kernel)+ticks(user)) * 100
}
