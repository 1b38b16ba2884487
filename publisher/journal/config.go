package journal

import (
	"errors"
	"fmt"
	"time"

	"tickfeed/feed"
	"tickfeed/feed/words"
)

// A Sync is a policy that says when appended data becomes durable.
type Sync int

// The policies. The journal itself syncs only when it begins a session, settles a file or closes; in between, its
// owner calls [Journal.Sync].
const (
	SyncNone     Sync = iota // files are synced when a session begins and at Close; other files count as synced once they are closed
	SyncInterval             // the owner calls Sync from time to time
	SyncAlways               // the owner calls Sync after Append and before it sends; cursors see synced data only
)

// The word for SyncInterval is the interval of a publisher.
var syncWords = words.List{What: "sync", Words: []string{"none", "1s", "always"}}

// String returns none, 1s or always.
func (s Sync) String() string { return syncWords.Word(int(s)) }

// MarshalText writes the word that String returns.
func (s Sync) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the word that String returns.
func (s *Sync) UnmarshalText(text []byte) error { return words.Parse(s, &syncWords, text) }

// A Config says how a journal is kept.
type Config struct {
	Dir string // created if it does not exist
	FS  FS     // nil for the operating system's
	// SegmentSize is the approximate size of a file in bytes, at least MinSegmentSize. Zero means
	// DefaultSegmentSize, or an eighth of RetainBytes if that is less.
	SegmentSize int64
	// RetainBytes and RetainAge bound what Retain keeps: the total size of the files, and the age of the last
	// packet of a file by its publish time. Zero means no bound. No file is written to for longer than an
	// eighth of RetainAge. Disk space that Prepare reserved comes on top: at most SegmentSize for each of two files.
	RetainBytes int64
	RetainAge   time.Duration
	Sync        Sync
	Source      string         // description of the recorded data, for a person
	Origin      feed.SessionID // the recorded session if this is a replay; else 0
	Now         func() int64   // wall clock in ns since the Unix epoch; nil for the system's
}

// Sizes of files, in bytes.
const (
	DefaultSegmentSize = 256 << 20
	MinSegmentSize     = 1 << 10
)

// retained is the least number of files that the retained journal is split into, unless SegmentSize asks for
// larger ones.
const retained = 8

func (c *Config) validate() error {
	switch {
	case c.Dir == "":
		return errors.New("the config's Dir must not be empty")
	case c.SegmentSize != 0 && c.SegmentSize < MinSegmentSize:
		return fmt.Errorf("SegmentSize must be 0 or at least %d, got %d", MinSegmentSize, c.SegmentSize)
	case c.RetainBytes < 0:
		return fmt.Errorf("RetainBytes must not be negative, got %d", c.RetainBytes)
	case c.RetainAge < 0:
		return fmt.Errorf("RetainAge must not be negative, got %v", c.RetainAge)
	case c.Sync < SyncNone || c.Sync > SyncAlways:
		return fmt.Errorf("Sync must be %v, got %v", &syncWords, c.Sync)
	}
	return nil
}
