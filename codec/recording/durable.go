package recording

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"tickfeed/codec/filemode"
	"tickfeed/codec/syncdir"
)

// A disk makes files and their names durable.
type disk interface {
	Sync(f *os.File) error
	SyncDir(dir string) error
	Rename(from, to string) error
}

// system is the disk of the operating system; tests replace it.
var system disk = osDisk{}

type osDisk struct{}

func (osDisk) Sync(f *os.File) error { return f.Sync() }

func (osDisk) Rename(from, to string) error { return os.Rename(from, to) }

func (osDisk) SyncDir(dir string) error { return syncdir.Sync(dir, (*os.File).Sync) }

// syncName makes the name of the file at path durable.
func syncName(path string) error {
	dir := filepath.Dir(path)
	if err := system.SyncDir(dir); err != nil {
		return fmt.Errorf("%s is written, but after a power cut its name may be lost: sync directory %s: %w", path, dir, err)
	}
	return nil
}

// A durableFile is a file that Close makes durable.
type durableFile struct{ *os.File }

// Sync implements File.
func (f durableFile) Sync() error { return system.Sync(f.File) }

// Close makes the file durable and closes it. It closes the file even if Sync fails.
func (f durableFile) Close() error {
	return errors.Join(system.Sync(f.File), f.File.Close())
}

// CreateNew creates the file path, which must not exist, and makes its name durable. Close makes its contents
// durable. The error wraps fs.ErrExist if the file exists.
func CreateNew(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, filemode.File())
	if err != nil {
		return nil, err
	}
	if err := syncName(path); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	return durableFile{f}, nil
}
