package publisher

import (
	"fmt"
	"time"

	"tickfeed/publisher/journal"
)

// Bounds of what a power cut may cost if the journal is synced: the age of the oldest unsynced append, and the bytes
// that were written after it. At a bound, publishing waits for the disk. A disk that needs less than a second for a
// sync never reaches the age.
const (
	maxUnsyncedAge   = 2 * time.Second
	maxUnsyncedBytes = 256 << 20
)

// A behindError reports a disk that does not sync as fast as ticks are published, or that does not respond. It passes,
// like a full disk: errors.Is reports that it is journal.ErrFull.
type behindError struct {
	bytes int64
	age   time.Duration
}

func (e *behindError) Error() string {
	return fmt.Sprintf("journal: the disk does not keep up: %d bytes are not synced, the oldest for %v", e.bytes, e.age.Round(time.Second/10))
}

func (e *behindError) Is(target error) bool { return target == journal.ErrFull }

// hangs reports whether the wait has lasted long enough to be logged. Waits for bytes alone are short: a feed that is
// faster than the disk has one with each sync.
func (e *behindError) hangs() bool { return e.age > maxUnsyncedAge }

// behind returns a *behindError if more is unsynced than the bounds allow.
func behind(bytes int64, age time.Duration) error {
	if bytes <= maxUnsyncedBytes && age <= maxUnsyncedAge {
		return nil
	}
	return &behindError{bytes, age}
}

// behind returns a *behindError if more of the journal is unsynced than the bounds allow.
func (f *flusher) behind() error {
	if f.journal == nil || f.sync == journal.SyncNone {
		return nil
	}
	bytes, since := f.journal.Unsynced()
	if since.IsZero() {
		return nil
	}
	return behind(bytes, time.Since(since))
}
