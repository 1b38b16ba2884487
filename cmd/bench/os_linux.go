package bench

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"

	"tickfeed/codec/usage"
)

// resident returns the resident memory of this process in bytes, after returning garbage to the system.
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

// kernelMemory returns the kernel's memory for the sockets of this process in bytes: sent and unacknowledged
// data, received and unread data, and memory reserved for more.
func kernelMemory() (int64, error) {
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, f := range files {
		fd, err := strconv.Atoi(f.Name())
		if err != nil {
			continue
		}
		if memory, ok := usage.Socket(uintptr(fd)); ok { // not ok if it is a file, or was closed meanwhile
			sum += memory
		}
	}
	return sum, nil
}

const (
	prSetTimerslack   = 29 // of prctl(2)
	defaultTimerSlack = 50_000
)

// keenTimers binds the calling goroutine to its thread and makes the thread's sleeps as exact as possible; by
// default they may be 50 µs late. undo undoes both.
func keenTimers() (undo func()) {
	runtime.LockOSThread()
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetTimerslack, 1, 0)
	return func() {
		_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetTimerslack, defaultTimerSlack, 0)
		runtime.UnlockOSThread()
	}
}
