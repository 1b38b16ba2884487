//go:build !windows

package recording

import (
	"errors"
	"syscall"
)

// IsFull reports whether err, returned by a write, says that there is no room at the moment: a full disk, a
// quota, a limit on file sizes.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
