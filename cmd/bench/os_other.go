//go:build !linux

package bench

import (
	"errors"
	"runtime"
	"time"
)

// resident is the memory of this process that is in use, in bytes.
func resident() (int64, error) {
	return 0, errors.New("the resident memory of a process cannot be read on " + runtime.GOOS)
}

// kernelMemory is what the kernel holds for the sockets of this process, in bytes.
func kernelMemory() (int64, error) {
	return 0, errors.New("the memory of sockets cannot be read on " + runtime.GOOS)
}

// keenTimers does nothing here.
func keenTimers() (undo func()) { return func() {} }

// nap sleeps for d.
func nap(d time.Duration) { time.Sleep(d) }
