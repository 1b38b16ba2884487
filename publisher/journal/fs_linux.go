package journal

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"tickfeed/codec/filemode"
	"tickfeed/codec/recording"
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

// reservable returns nil if disk space is to be reserved for a file of size bytes. Only ext4, which otherwise has to
// find room for each new page, gains from it. As much again must remain free.
func reservable(fs *unix.Statfs_t, size int64) error {
	switch {
	case int64(fs.Type) != unix.EXT4_SUPER_MAGIC:
		return errors.ErrUnsupported
	case size > int64(fs.Bavail)*int64(fs.Bsize)/2:
		return unix.ENOSPC
	}
	return nil
}

// prepareFile implements OS.Prepare. No name leads to the file, so nothing is left of it if the process is killed.
func prepareFile(dir string, size int64) (PreparedFile, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return nil, err
	}
	if err := reservable(&fs, size); err != nil {
		return nil, err
	}
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, uint32(filemode.File()))
	if err != nil {
		return nil, err
	}
	if err := unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 0, size); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return namelessFile(fd), nil
}

// A namelessFile is the descriptor of a file that has no name.
type namelessFile int

// Link implements PreparedFile.
func (fd namelessFile) Link(name string) (recording.File, error) {
	// To link the descriptor itself (AT_EMPTY_PATH) takes a privilege on older kernels.
	self := fmt.Sprintf("/proc/self/fd/%d", int(fd))
	if err := unix.Linkat(unix.AT_FDCWD, self, unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW); err != nil {
		return nil, err
	}
	return reservedFile{osFile{os.NewFile(uintptr(fd), name)}}, nil
}

// Close implements PreparedFile.
func (fd namelessFile) Close() error { return unix.Close(int(fd)) }

// A reservedFile has disk space beyond its end.
type reservedFile struct{ osFile }

// Close frees the space that was not used.
func (f reservedFile) Close() error {
	if info, err := f.Stat(); err == nil {
		_ = f.Truncate(info.Size())
	}
	return f.osFile.Close()
}
