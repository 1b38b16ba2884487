// Package scratch makes temporary directories: of a command, and of a file that is not complete yet. A directory is locked while its
// process lives, so that a later process can remove the directories of processes that were killed.
package scratch

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
)

// A Dir is a temporary directory.
type Dir struct {
	// Path is its path. Whatever the process puts there, except what it locks or keeps open itself, is removed with the directory.
	Path string
	lock *flock.Flock
}

const (
	prefix   = "tickfeed-"    // of the name of each directory of New
	suffix   = ".tmp"         // of the name of each directory of Beside
	lockName = "SCRATCH.LOCK" // of the file that is locked; no journal has one of this name

	// maxNames is how many names of the parent are read at most in search of directories of killed processes.
	maxNames = 1 << 16
	// maxAbandoned is how many directories of killed processes are removed at most.
	maxAbandoned = 64
	// maxTries is how many directories are made at most, because another process may take a new one for abandoned.
	maxTries = 10
)

// New makes a directory in parent, or in the system's directory for temporary files if parent is empty. kind is part of its name. New
// first removes the directories in parent that killed processes left.
func New(parent, kind string) (*Dir, error) {
	if parent == "" {
		parent = os.TempDir()
	}
	return create(parent, prefix+kind+"-*", func(name string) bool { return strings.HasPrefix(name, prefix) })
}

// Beside makes a directory in the directory of path, for a file that is to be renamed to path. Beside first removes the directories that
// killed processes left for the same path.
func Beside(path string) (*Dir, error) {
	start := "." + filepath.Base(path) + "."
	return create(filepath.Dir(path), start+"*"+suffix, func(name string) bool {
		digits, starts := strings.CutPrefix(name, start)
		digits, ends := strings.CutSuffix(digits, suffix)
		return starts && ends && digits != "" && strings.Trim(digits, "0123456789") == ""
	})
}

// create makes a directory in parent whose name follows pattern, as in os.MkdirTemp. It first removes the abandoned directories whose
// names are ours.
func create(parent, pattern string, ours func(name string) bool) (*Dir, error) {
	removeAbandoned(parent, ours)
	for range maxTries {
		path, err := os.MkdirTemp(parent, pattern)
		if err != nil {
			return nil, err
		}
		d := &Dir{Path: path, lock: flock.New(filepath.Join(path, lockName))}
		locked, err := d.lock.TryLock()
		notOpened := (*fs.PathError)(nil)
		if err != nil && !errors.As(err, &notOpened) {
			return d, nil // The file system has no locks, so no process can take the directory for abandoned.
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(err, d.Remove())
		}
		if _, err := os.Lstat(d.lock.Path()); locked && err == nil {
			return d, nil
		}
		_ = d.lock.Close() // another process removes the directory
	}
	return nil, &fs.PathError{Op: "make a temporary directory in", Path: parent, Err: errors.New("other processes remove it at once")}
}

// Remove removes the directory with all that is in it. A nil Dir has nothing to remove.
func (d *Dir) Remove() error {
	if d == nil {
		return nil
	}
	_ = os.RemoveAll(d.Path) // before it is unlocked; a system that does not remove open files leaves the lock
	return errors.Join(d.lock.Close(), os.RemoveAll(d.Path))
}

// removeAbandoned removes the directories in parent whose names are ours and whose lock no process holds. It leaves those alone that it
// may not remove, and those without a lock, which another process may be about to lock.
func removeAbandoned(parent string, ours func(name string) bool) {
	in, err := os.Open(parent)
	if err != nil {
		return
	}
	defer in.Close()
	entries, _ := in.ReadDir(maxNames) // after an error, those read before it
	removed := 0
	for _, e := range entries {
		d := Dir{Path: filepath.Join(parent, e.Name())}
		name := filepath.Join(d.Path, lockName)
		if !e.IsDir() || !ours(e.Name()) {
			continue
		}
		if info, err := os.Lstat(name); err != nil || !info.Mode().IsRegular() {
			continue
		}
		d.lock = flock.New(name)
		if locked, err := d.lock.TryLock(); err != nil || !locked {
			_ = d.lock.Close()
			continue
		}
		_ = d.Remove()
		if removed++; removed == maxAbandoned {
			return
		}
	}
}
