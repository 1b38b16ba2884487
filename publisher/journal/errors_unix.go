//go:build !windows

package journal

import (
	"errors"
	"syscall"
)

// isFull reports whether err says that there is no room now.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
