package journal

import (
	"os"
	"syscall"
)

func datasync(f *os.File) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = c.Control(func(fd uintptr) {
		for {
			if serr = syscall.Fdatasync(int(fd)); serr != syscall.EINTR {
				return
			}
		}
	})
	if err == nil && serr != nil {
		err = &os.PathError{Op: "fdatasync", Path: f.Name(), Err: serr}
	}
	return err
}

// reserve allocates n bytes of disk for f from offset, without changing the size of f.
func reserve(f *os.File, offset, n int64) bool {
	const keepSize = 1 // FALLOC_FL_KEEP_SIZE
	c, err := f.SyscallConn()
	if err != nil {
		return false
	}
	done := false
	err = c.Control(func(fd uintptr) { done = syscall.Fallocate(int(fd), keepSize, offset, n) == nil })
	return err == nil && done
}
