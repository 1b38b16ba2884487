package replay

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
)

// A scratchDir is the directory in which a Stage keeps the logs of its publishers until Close. It is locked while the process
// lives, so that a later process can remove the directories of processes that were killed.
type scratchDir struct {
	path string
	lock *flock.Flock
}

const (
	scratchPrefix = "tickfeed-replay-"
	scratchLock   = "LOCK"
)

// newScratchDir makes a directory in dir, the system's for temporary files if dir is empty. It removes those in dir that
// killed processes left.
func newScratchDir(dir string) (*scratchDir, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	removeAbandoned(dir)
	path, err := os.MkdirTemp(dir, scratchPrefix)
	if err != nil {
		return nil, err
	}
	s := &scratchDir{path: path, lock: flock.New(filepath.Join(path, scratchLock))}
	if _, err := s.lock.TryLock(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(path))
	}
	return s, nil
}

// remove removes the directory with all that is in it.
func (s *scratchDir) remove() error {
	return errors.Join(s.lock.Close(), os.RemoveAll(s.path))
}

// removeAbandoned removes the scratch directories in dir whose lock no process holds. It leaves those alone that it may not
// remove, and those without a lock file, which another process may be about to lock.
func removeAbandoned(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		name := filepath.Join(path, scratchLock)
		if !e.IsDir() || !strings.HasPrefix(e.Name(), scratchPrefix) {
			continue
		}
		if info, err := os.Lstat(name); err != nil || !info.Mode().IsRegular() {
			continue
		}
		lock := flock.New(name)
		if locked, err := lock.TryLock(); err == nil && locked {
			_ = (&scratchDir{path, lock}).remove()
		}
	}
}
