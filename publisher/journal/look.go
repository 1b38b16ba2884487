package journal

import (
	"errors"
	"io"
	"os"

	"github.com/gofrs/flock"

	"tickfeed/codec/recording"
)

// A Found is what Look finds in the directory of a journal.
type Found struct {
	Recovered
	Source string // what the last session is of, as its publisher described it
	InUse  bool   // another publisher writes the journal: what else is here may be from a moment ago
}

// Look returns what Open would find, and changes nothing. It returns nil if there is no such directory. The error is that of
// Open, except that the journal may be in use. The journal is one of the file system of the operating system.
func Look(cfg Config) (*Found, error) {
	dir := cfg.Dir
	if info, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err == nil && !info.IsDir() {
		return nil, &os.PathError{Op: "open", Path: dir, Err: errors.New("not a directory")}
	}
	looked := &looking{}
	cfg.FS = looked
	j, err := Open(cfg)
	if err != nil {
		return nil, err
	}
	defer j.Close()
	f := &Found{Recovered: *j.Recovered(), InUse: looked.inUse}
	if n := len(j.segments); n > 0 {
		in, err := recording.Open(j.path(j.segments[n-1].name))
		if err != nil {
			return nil, err
		}
		defer in.Close()
		r, err := in.Reader()
		if err != nil {
			return nil, err
		}
		f.Source = r.Header().Source
	}
	return f, nil
}

// A looking is the file system of the operating system, of which it changes nothing.
type looking struct {
	OS
	inUse bool
}

func (l *looking) MkdirAll(string) error { return nil }

// Lock notes whether another process holds the lock. It does not create the file.
func (l *looking) Lock(name string) (io.Closer, error) {
	if _, err := os.Stat(name); err != nil {
		return nowhere{}, nil
	}
	lock := flock.New(name, flock.SetFlag(os.O_RDONLY))
	ok, err := lock.TryRLock()
	l.inUse = err == nil && !ok
	return nowhere{}, errors.Join(err, lock.Close())
}

func (l *looking) Create(string) (recording.File, error) { return nowhere{}, nil }
func (l *looking) Truncate(string, int64) error          { return nil }
func (l *looking) Remove(string) error                   { return nil }
func (l *looking) SyncDir(string) error                  { return nil }
func (l *looking) Reserve() (io.Closer, error)           { return nowhere{}, nil }

// A nowhere takes what is written and keeps nothing.
type nowhere struct{}

func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) Sync() error                 { return nil }
func (nowhere) Close() error                { return nil }
