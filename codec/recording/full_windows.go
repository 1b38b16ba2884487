package recording

import (
	"errors"
	"syscall"
)

// IsFull reports whether err, returned by a write, says that there is no room at the moment: a full disk, a
// quota.
func IsFull(err error) bool {
	const handleDiskFull, diskFull, quotaExceeded = syscall.Errno(39), syscall.Errno(112), syscall.Errno(1816)
	return errors.Is(err, handleDiskFull) || errors.Is(err, diskFull) || errors.Is(err, quotaExceeded)
}
