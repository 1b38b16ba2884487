//go:build !windows

package journal

import (
	"math"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// FileLimit returns how many file descriptors the process may have (RLIMIT_NOFILE, which Go has raised as far
// as it may be), and how many it has now; both are zero if there is no limit to reach or it is not known.
func FileLimit() (limit, open int) {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil || uint64(r.Cur) >= math.MaxInt32 {
		return 0, 0
	}
	if d, err := os.Open("/dev/fd"); err == nil {
		if names, err := d.Readdirnames(-1); err == nil {
			open = len(names) - 1 // one is d itself
		}
		d.Close()
	}
	return int(r.Cur), open
}

var access = unix.Access // replaced by tests, which may run as root

// writable returns why no file can be created in dir, or nil if no obstacle is found.
func writable(dir string) error {
	if err := access(dir, unix.W_OK|unix.X_OK); err != nil {
		return &os.PathError{Op: "access", Path: dir, Err: err}
	}
	return nil
}
