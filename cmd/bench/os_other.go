//go:build !linux

package bench

import (
	"errors"
	"runtime"
)

// resident returns the resident memory of this process in bytes.
func resident() (int64, error) {
	return 0, errors.New("the resident memory of a process cannot be read on " + runtime.GOOS)
}

// kernelMemory returns the kernel's memory for the sockets of this process in bytes.
func kernelMemory() (int64, error) {
	return 0, errors.New("the memory of sockets cannot be read on " + runtime.GOOS)
}

// keenTimers has no effect on this system.
func keenTimers() (undo func()) { return func() {} }
