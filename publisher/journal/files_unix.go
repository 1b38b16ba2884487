//go:build !windows

package journal

import (
	"math"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// FileLimit is how many file descriptors the process may have (RLIMIT_NOFILE, which Go has raised as
// far as it may be), and how many it has now; zero if that is not known.
func FileLimit() (limit, open int) {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil || uint64(r.Cur) >= math.MaxInt32 {
		return 0, 0
	}
	if d, err := os.Open("/dev/fd"); err == nil {
		if names, err := d.Readdirnames(-1); err == nil {
			open = len(names) - 1 // one of them is that of d
		}
		d.Close()
	}
	return int(r.Cur), open
}

var access = unix.Access // for tests, whose user may write everywhere

// writable reports why no file can be made in dir; nil if nothing speaks against it.
func writable(dir string) error {
	if err := access(dir, unix.W_OK|unix.X_OK); err != nil {
		return &os.PathError{Op: "access", Path: dir, Err: err}
	}
	return nil
}
