// Package scratch makes the temporary directories of commands. A directory is locked while its process lives, so that a later process
// can remove the directories of processes that were killed.
package scratch

import (
	"errors"
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
	prefix   = "tickfeed-"    // of the name of each directory
	lockName = "SCRATCH.LOCK" // of the file that is locked; no journal has one of this name

	// maxAbandoned is how many directories of killed processes New removes at most.
	maxAbandoned = 64
	// maxTries is how many directories New makes at most, because another process may take a new one for abandoned.
	maxTries = 10
)

// New makes a directory in parent, or in the system's directory for temporary files if parent is empty. kind is part of its name. New
// first removes the directories in parent that killed processes left.
func New(parent, kind string) (*Dir, error) {
	if parent == "" {
		parent = os.TempDir()
	}
	removeAbandoned(parent)
	for range maxTries {
		path, err := os.MkdirTemp(parent, prefix+kind+"-")
		if err != nil {
			return nil, err
		}
		d := &Dir{Path: path, lock: flock.New(filepath.Join(path, lockName))}
		locked, err := d.lock.TryLock()
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, errors.Join(err, d.Remove())
		}
		if _, err := os.Lstat(d.lock.Path()); locked && err == nil {
			return d, nil
		}
		_ = d.lock.Close() // another process removes the directory
	}
	return nil, errors.New("make a temporary directory in " + parent + ": other processes remove it at once")
}

// Remove removes the directory with all that is in it. A nil Dir has nothing to remove.
func (d *Dir) Remove() error {
	if d == nil {
		return nil
	}
	_ = os.RemoveAll(d.Path) // before it is unlocked; a system that does not remove open files leaves the lock
	return errors.Join(d.lock.Close(), os.RemoveAll(d.Path))
}

// removeAbandoned removes the directories in parent whose lock no process holds. It leaves those alone that it may not remove, and
// those without a lock, which another process may be about to lock.
func removeAbandoned(parent string) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	removed := 0
	for _, e := range entries {
		d := Dir{Path: filepath.Join(parent, e.Name())}
		name := filepath.Join(d.Path, lockName)
		if !e.IsDir() || !strings.HasPrefix(e.Name(), prefix) {
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
