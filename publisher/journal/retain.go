package journal

import (
	"errors"
	"fmt"
	"os"
)

// Retain removes the oldest files, each as a whole, while the total size exceeds RetainBytes or the oldest file
// ended more than RetainAge before now, and with each the side file of its torn end. It never removes the file being
// written. Any goroutine may call it.
// Cursors in a removed file read it to its end.
func (j *Journal) Retain(now int64) error {
	j.retaining.Lock()
	defer j.retaining.Unlock()
	removed := false
	for {
		j.mu.Lock()
		if j.closed {
			j.mu.Unlock()
			return ErrClosed
		}
		if len(j.segments) < 2 {
			j.mu.Unlock()
			break
		}
		oldest := j.segments[0]
		tooBig := j.cfg.RetainBytes > 0 && j.bytesLocked() > j.cfg.RetainBytes
		j.mu.Unlock()
		if !tooBig {
			if j.cfg.RetainAge == 0 || j.lastTime(oldest) >= now-int64(j.cfg.RetainAge) {
				break
			}
		}
		j.mu.Lock()
		j.segments = j.segments[1:]
		oldest.gone = true
		var unread []ReadFile
		if i := j.openLocked(oldest); i >= 0 {
			unread = j.leaveLocked(i)
		}
		j.mu.Unlock()
		closeAll(unread)
		err := j.fs.Remove(j.path(oldest.name + TornSuffix)) // first, so that it is tried again if that fails
		if err == nil || errors.Is(err, os.ErrNotExist) {
			err = j.fs.Remove(j.path(oldest.name))
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			j.mu.Lock()
			j.segments = append([]*segment{oldest}, j.segments...)
			oldest.gone = false
			j.mu.Unlock()
			return fmt.Errorf("journal %s: retention: %w", j.cfg.Dir, err)
		}
		removed = true
	}
	if removed {
		return j.withDescriptors(func() error { return j.fs.SyncDir(j.cfg.Dir) })
	}
	return nil
}
