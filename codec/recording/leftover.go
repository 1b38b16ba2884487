package recording

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/gofrs/flock"

	"tickfeed/codec/filemode"
)

// The temporary file of an output is locked while its process lives, so that a later process that creates the same file can remove the
// temporary files that killed processes left beside it.

const (
	// maxNames is how many names of the directory removeLeftovers reads at most.
	maxNames = 1 << 16
	// maxLeftovers is how many files removeLeftovers removes at most.
	maxLeftovers = 64
	// maxTries is how many temporary files Create makes at most, because another process may take a new one for a leftover.
	maxTries = 10
)

// hasLocks is false on Windows, where a locked file can be neither written through another handle nor renamed. There, leftovers stay.
const hasLocks = runtime.GOOS != "windows"

// createTemporary creates the temporary file of o and locks it.
func (o *Output) createTemporary() (err error) {
	removeLeftovers(o.path)
	for range maxTries {
		o.temporary = filepath.Join(filepath.Dir(o.path), temporaryName(filepath.Base(o.path), rand.Uint32()))
		o.file, err = os.OpenFile(o.temporary, os.O_RDWR|os.O_CREATE|os.O_EXCL, filemode.File())
		if err != nil || !hasLocks {
			return err
		}
		o.lock = readLock(o.temporary)
		locked, err := o.lock.TryLock()
		notOpened := (*fs.PathError)(nil)
		if err != nil && !errors.As(err, &notOpened) {
			return nil // The file system has no locks, so no process can take the file for a leftover.
		}
		if locked && isAt(o.temporary, o.file) {
			return nil
		}
		_ = o.file.Close()
		_ = os.Remove(o.temporary)
		o.unlock()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err // out of descriptors, for example
		}
		// Another process saw the file before it was locked, and removes it.
	}
	return &fs.PathError{Op: "create", Path: o.path, Err: errors.New("other processes remove its temporary file at once")}
}

// unlock releases the lock of the temporary file, if it has one.
func (o *Output) unlock() {
	if o.lock != nil {
		_ = o.lock.Close()
	}
}

// temporaryName returns the name of a temporary file for the file base.
func temporaryName(base string, random uint32) string {
	return fmt.Sprintf(".%s.%08x.tmp", base, random)
}

// isTemporaryName reports whether temporaryName returns name for base and some number.
func isTemporaryName(name, base string) bool {
	digits, before := strings.CutPrefix(name, "."+base+".")
	digits, after := strings.CutSuffix(digits, ".tmp")
	return before && after && len(digits) == 8 && strings.Trim(digits, "0123456789abcdef") == ""
}

// readLock returns the lock of the file at path. Unlike a plain flock.Flock it does not create the file.
func readLock(path string) *flock.Flock { return flock.New(path, flock.SetFlag(os.O_RDONLY)) }

// removeLeftovers removes the temporary files of killed processes that were to become the file at path.
func removeLeftovers(path string) {
	if !hasLocks {
		return
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(maxNames) // after an error, those read before it
	removed := 0
	for _, name := range names {
		if !isTemporaryName(name, filepath.Base(path)) || !removeLeftover(filepath.Join(filepath.Dir(path), name)) {
			continue
		}
		if removed++; removed == maxLeftovers {
			return
		}
	}
}

// removeLeftover removes the temporary file at path if no process has locked it, and reports whether it did.
func removeLeftover(path string) bool {
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
		return false
	}
	lock := readLock(path)
	if locked, err := lock.TryLock(); err != nil || !locked {
		return false
	}
	defer lock.Close()
	return isAt(path, lock) && os.Remove(path) == nil
}

// isAt reports whether path is the file that is open as f, and not a link to it.
func isAt(path string, f interface{ Stat() (fs.FileInfo, error) }) bool {
	is, err := os.Lstat(path)
	if err != nil {
		return false
	}
	open, err := f.Stat()
	return err == nil && os.SameFile(is, open)
}
