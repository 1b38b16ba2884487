package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// reservedFiles is how many unused file descriptors a journal holds. When the process has none left, the
// journal gives them up one by one, so that it can create the next file and read files even if other parts of
// the process have taken the descriptors that the last file gave back.
const reservedFiles = 4

// OutOfDescriptors reports whether err says that the process or the system has no file descriptor left.
func OutOfDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// withDescriptors calls open, which takes one file descriptor. If none is left, it tries again after closing
// descriptors that the journal can spare: first files that are not being read, then the reserve.
func (j *Journal) withDescriptors(open func() error) error {
	for {
		err := open()
		if !OutOfDescriptors(err) {
			return err
		}
		j.mu.Lock()
		idle := j.idleLocked(len(j.opened) - 1)
		var spare io.Closer
		if n := len(j.reserve); n > 0 && len(idle) == 0 {
			spare, j.reserve = j.reserve[n-1], j.reserve[:n-1]
		}
		j.mu.Unlock()
		closeAll(idle)
		switch {
		case spare != nil:
			spare.Close()
		case len(idle) == 0:
			return err
		}
	}
}

// fillReserve fills up the reserve of file descriptors.
func (j *Journal) fillReserve() error {
	for {
		j.mu.Lock()
		full := len(j.reserve) >= reservedFiles || j.closed
		j.mu.Unlock()
		if full {
			return nil
		}
		f, err := j.fs.Reserve()
		if err != nil {
			return fmt.Errorf("reserve of file descriptors: %w", err)
		}
		j.mu.Lock()
		j.reserve = append(j.reserve, f)
		j.mu.Unlock()
	}
}

func (j *Journal) emptyReserve() {
	j.mu.Lock()
	reserve := j.reserve
	j.reserve = nil
	j.mu.Unlock()
	for _, f := range reserve {
		f.Close()
	}
}

// Check refills the reserve of file descriptors and checks that the directory still has the current file and
// the lock, and accepts more files. It returns nil if so, else the problem. If the file or the lock is missing,
// Missing returns true and Check returns an error until the next file is made. Any goroutine may call Check.
func (j *Journal) Check() error {
	if err := j.fillReserve(); err != nil && !OutOfDescriptors(err) {
		return err
	}
	// While the slot is taken no other goroutine closes the file.
	j.syncing <- struct{}{}
	defer func() { <-j.syncing }()
	j.mu.Lock()
	current, lock, missing := j.current, j.lock, j.missing
	usable := !j.closed && j.failed == nil
	j.mu.Unlock()
	if !usable || current == nil && !missing {
		return nil // no current file
	}
	var err error
	if current != nil {
		err = j.fs.Check(j.path(current.name), current.f)
	}
	if err == nil {
		err = j.fs.Check(j.path(lockName), lock)
	}
	switch {
	case isGone(err):
		j.miss()
	case err == nil && missing:
		err = errNoFile
	}
	if err != nil {
		return fmt.Errorf("journal %s: %w", j.cfg.Dir, err)
	}
	return nil
}

// errNoFile is returned if a file was missing and the next one is not made yet.
var errNoFile = errors.New("a file was missing, and the next one is not made yet")

// isGone reports whether err says that a name no longer leads to its file.
func isGone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ESTALE)
}

func (j *Journal) miss() {
	j.mu.Lock()
	j.missing = true
	j.mu.Unlock()
}

// Missing reports whether Check, or an attempt to create a file, found that the current file or the lock is no
// longer in the directory. Rotate continues in a new file there.
func (j *Journal) Missing() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.missing
}

// returnHome creates the directory and takes the lock in it if they are missing. The error wraps ErrLocked if
// another publisher has begun there meanwhile.
func (j *Journal) returnHome() error {
	if !j.Missing() {
		return nil
	}
	if err := j.fs.MkdirAll(j.cfg.Dir); err != nil {
		return err
	}
	path := j.path(lockName)
	err := j.fs.Check(path, j.lock)
	if isGone(err) {
		var lock io.Closer
		err = j.withDescriptors(func() (err error) {
			lock, err = j.fs.Lock(path)
			return err
		})
		if err == nil {
			j.mu.Lock()
			lock, j.lock = j.lock, lock
			j.mu.Unlock()
			lock.Close()
		}
	}
	return err
}

// lockName is the name of the lock file.
const lockName = "LOCK"
