package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"tickfeed/codec/filemode"
	"tickfeed/codec/recording"
	"tickfeed/codec/syncdir"
)

// FS is the file system that a journal needs. Names are paths as made by [filepath.Join]. Many goroutines may
// call its methods at once.
type FS interface {
	// MkdirAll creates a directory and its parents if they do not exist.
	MkdirAll(dir string) error
	// Lock locks a file, which it creates if need be, until the result is closed or the process ends. It does
	// not wait: the error wraps ErrLocked if another process holds the lock.
	Lock(name string) (io.Closer, error)
	// Names returns the names of the files in a directory, without the directory.
	Names(dir string) ([]string, error)
	// Create creates a file, which must not exist, for writing from its beginning.
	Create(name string) (recording.File, error)
	// Prepare makes a file without a name, for directory dir, and reserves size bytes of disk for it. It returns an
	// error if the file system cannot do so or does not gain from it, or if less than as much again remains free.
	Prepare(dir string, size int64) (PreparedFile, error)
	// Open opens a file for reading; the error wraps os.ErrNotExist if there is none.
	Open(name string) (ReadFile, error)
	// Truncate cuts a file to size bytes, durably.
	Truncate(name string, size int64) error
	// Remove removes a file.
	Remove(name string) error
	// SyncDir makes the list of files in a directory durable.
	SyncDir(dir string) error
	// Check returns nil if name still names f, which Create or Lock returned, and, as far as can be found out
	// without creating one, more files can be created beside it. The error wraps os.ErrNotExist if name no
	// longer names f because the file, or a directory above it, was removed, moved or replaced.
	Check(name string, f io.Closer) error
	// Reserve takes a file descriptor and holds it unused until the result is closed.
	Reserve() (io.Closer, error)
}

// A PreparedFile is an empty file without a name. It is gone once it is closed or the process ends, however it ends.
type PreparedFile interface {
	// Link gives the file its name, which must not exist, and returns it for writing from its beginning; to close
	// that frees the reserved space that was not used. Unless Link fails, no other method may be called then.
	Link(name string) (recording.File, error)
	io.Closer
}

// A ReadFile is a file opened for reading. Many goroutines may read at once.
type ReadFile interface {
	io.ReaderAt
	io.Closer
	// Size returns the current length of the file.
	Size() (int64, error)
}

// OS is the file system of the operating system.
type OS struct{}

// MkdirAll implements FS.
func (OS) MkdirAll(dir string) error { return os.MkdirAll(dir, filemode.Dir()) }

// Lock implements FS with an advisory lock, which ends with the process however the process ends.
func (OS) Lock(name string) (io.Closer, error) {
	l := flock.New(name, flock.SetPermissions(filemode.File()))
	ok, err := l.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	if !ok {
		return nil, fmt.Errorf("lock %s: %w", name, ErrLocked)
	}
	return l, nil
}

// Names implements FS.
func (OS) Names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Create implements FS.
func (OS) Create(name string) (recording.File, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, filemode.File())
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Prepare implements FS.
func (OS) Prepare(dir string, size int64) (PreparedFile, error) { return prepareFile(dir, size) }

// Open implements FS.
func (OS) Open(name string) (ReadFile, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return osReadFile{f}, nil
}

// Truncate implements FS.
func (OS) Truncate(name string, size int64) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	err = f.Truncate(size)
	if err == nil {
		err = fsync(f)
	}
	return errors.Join(err, f.Close())
}

// Remove implements FS.
func (OS) Remove(name string) error { return os.Remove(name) }

// SyncDir implements FS.
func (OS) SyncDir(dir string) error { return syncdir.Sync(filepath.Clean(dir), fsync) }

// Check implements FS.
func (OS) Check(name string, f io.Closer) error {
	there, err := os.Stat(name)
	if err != nil {
		return err
	}
	if s, ok := f.(interface{ Stat() (os.FileInfo, error) }); ok {
		held, err := s.Stat()
		if err != nil {
			return err
		}
		if !os.SameFile(there, held) {
			return &os.PathError{Op: "check", Path: name, Err: errReplaced}
		}
	}
	return writable(filepath.Dir(name))
}

// errReplaced is returned if another file has the name.
var errReplaced = fmt.Errorf("another file has this name: %w", os.ErrNotExist)

// Reserve implements FS.
func (OS) Reserve() (io.Closer, error) { return os.Open(os.DevNull) }

// An osFile is a file that is written.
type osFile struct{ *os.File }

// Sync makes the contents of the file durable, and the metadata needed to read them.
func (f osFile) Sync() error { return fdatasync(f.File) }

// Tests replace fsync and fdatasync to see that they are called: only a power cut would show it otherwise.
var (
	fsync     = (*os.File).Sync
	fdatasync = datasync
)

type osReadFile struct{ *os.File }

func (f osReadFile) Size() (int64, error) {
	s, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return s.Size(), nil
}
