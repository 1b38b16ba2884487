//go:build !windows

package recording

import (
	"errors"
	"syscall"
)

// IsFull reports whether err, of a write, says that there is no room now: a full disk, a quota, a bound on the size of files.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
