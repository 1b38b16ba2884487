package bench

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"
)

// resident is the memory of this process that is in use, in bytes, after what is garbage was
// given back.
func resident() (int64, error) {
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		return 0, fmt.Errorf("/proc/self/statm: %w", err)
	}
	return pages * int64(os.Getpagesize()), nil
}

const (
	prSetTimerslack   = 29 // of prctl(2)
	defaultTimerSlack = 50_000
)

// keenTimers makes sleeps of the calling goroutine, which is bound to its thread, as exact as
// the machine can; by default they may be 50 µs late. The result undoes it.
func keenTimers() (undo func()) {
	runtime.LockOSThread()
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetTimerslack, 1, 0)
	return func() {
		_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetTimerslack, defaultTimerSlack, 0)
		runtime.UnlockOSThread()
	}
}

// nap sleeps for d by the clock of the system; the timers of Go round up to a millisecond on
// an idle machine.
func nap(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil) // cut short by a signal: the caller looks at the clock
}
