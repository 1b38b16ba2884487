package journal

import (
	"cmp"
	"time"
)

// A stamp says when numbers were appended: first at time at, the numbers after it at that time or later.
type stamp struct {
	first uint64
	at    time.Time
}

// Bounds of stamps. Appends that follow a stamp within stampInterval share it, and so do all later ones once there
// are maxStamps.
const (
	stampInterval = 10 * time.Millisecond
	maxStamps     = 1024
)

// maxUnsettled is how many ended files may wait for Settle. Full returns false at this bound, so the current file
// grows instead.
const maxUnsettled = 2

// Settle finishes the files that Rotate ended: it syncs each of them unless the policy is SyncNone, writes its
// index and trailer, and closes it. Any goroutine may call it; appends continue meanwhile. After ErrFull the
// caller may call it again; any other error wraps ErrFailed.
func (j *Journal) Settle() error {
	j.syncing <- struct{}{}
	defer func() { <-j.syncing }()
	return j.settle(j.cfg.Sync != SyncNone)
}

// settle does the work of Settle. The caller must hold the slot of syncing.
func (j *Journal) settle(durably bool) error {
	for {
		j.mu.Lock()
		if len(j.out) == 0 || j.out[0] == j.current {
			j.mu.Unlock()
			return nil
		}
		out := j.out[0]
		broken := out.broken
		j.mu.Unlock()
		if broken {
			_ = out.w.CloseTorn()
			j.settled(out)
			continue
		}
		if durably {
			if err := j.syncFile(out); err != nil {
				return err
			}
		}
		_ = out.w.Finish() // the index only makes reading faster
		if durably {
			if err := out.w.Sync(); err != nil {
				return j.breaks(out, err)
			}
		}
		err := out.w.Close()
		j.settled(out)
		if err != nil {
			return j.failedTo("close", finalError{err})
		}
	}
}

// settled removes out, the oldest file open for writing, which is closed now.
func (j *Journal) settled(out *outFile) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.out = j.out[1:]
	out.safe = out.size
	j.advanceLocked()
}

// closeOut ends the current file and settles all files durably; it closes the files that it cannot sync without
// index and trailer. It returns the first error.
func (j *Journal) closeOut() (first error) {
	j.syncing <- struct{}{}
	defer func() { <-j.syncing }()
	for {
		j.mu.Lock()
		j.current = nil
		var oldest *outFile
		if len(j.out) > 0 {
			oldest = j.out[0]
		}
		j.mu.Unlock()
		err := j.settle(true)
		if err == nil {
			return first
		}
		first = cmp.Or(first, err)
		j.mu.Lock()
		if len(j.out) > 0 && j.out[0] == oldest {
			oldest.broken = true
		}
		j.mu.Unlock()
	}
}

// Sync makes appended data durable, in the current file and in those that wait for Settle. Any goroutine may call
// it; appends continue meanwhile. After ErrFull, about the directory, the caller may call it again. Any other
// error wraps ErrFailed and is final, because the operating system drops data that it could not write.
func (j *Journal) Sync() error {
	j.syncing <- struct{}{}
	defer func() { <-j.syncing }()
	j.mu.Lock()
	err := j.usableLocked()
	files := j.out
	j.mu.Unlock()
	if err != nil {
		return err
	}
	for _, out := range files {
		if err := j.syncFile(out); err != nil {
			return err
		}
	}
	return nil
}

// syncFile makes what was appended to out durable, and its name. The caller must hold the slot of syncing.
func (j *Journal) syncFile(out *outFile) error {
	j.mu.Lock()
	size, next, named := out.size, out.next, out.named
	done := named && out.safe == size
	files := j.out
	j.mu.Unlock()
	if done {
		return nil
	}
	if !named {
		if err := j.withDescriptors(func() error { return j.fs.SyncDir(j.cfg.Dir) }); err != nil {
			return j.failedTo("sync the directory", err)
		}
		j.mu.Lock()
		for _, o := range files {
			o.named = true
		}
		j.mu.Unlock()
	}
	if err := out.w.Sync(); err != nil {
		return j.breaks(out, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	out.safe, out.synced = size, next
	j.advanceLocked()
	return nil
}

// breaks records that a sync of out returned err.
func (j *Journal) breaks(out *outFile, err error) error {
	j.mu.Lock()
	out.broken = true
	j.mu.Unlock()
	return j.failedTo("sync", finalError{err})
}

// advanceLocked computes synced from the files that are open for writing.
func (j *Journal) advanceLocked() {
	if j.failed != nil {
		return
	}
	for _, out := range j.out {
		j.synced = max(j.synced, out.synced)
		if out.safe < out.size {
			break
		}
	}
	for len(j.stamps) > 1 && j.stamps[1].first <= j.synced {
		j.stamps = j.stamps[1:]
	}
	if j.synced == j.next {
		j.stamps = j.stamps[:0]
	}
}

// A finalError hides its cause from passes: a sync that failed for lack of room has failed for good.
type finalError struct{ err error }

func (e finalError) Error() string { return e.err.Error() }

// Unsynced returns what a power cut may cost: the number of bytes that were written and not synced, in all files,
// and when the oldest unsynced append was made, up to 10 ms too early; the zero time if every append is synced.
func (j *Journal) Unsynced() (bytes int64, since time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, out := range j.out {
		bytes += out.size - out.safe
	}
	if len(j.stamps) > 0 {
		since = j.stamps[0].at
	}
	return bytes, since
}

// stampLocked records that the numbers from first on are appended now.
func (j *Journal) stampLocked(first uint64, now time.Time) {
	n := len(j.stamps)
	if n == 0 || n < maxStamps && now.Sub(j.stamps[n-1].at) >= stampInterval {
		j.stamps = append(j.stamps, stamp{first, now})
	}
}
