package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync/atomic"
	"syscall"

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
// Open, except that the journal may be in use, or that of ctx once ctx has ended. The journal is one of the file system of the
// operating system. Look adds to read how many bytes it has read, unless read is nil.
func Look(ctx context.Context, cfg Config, read *atomic.Int64) (*Found, error) {
	dir := cfg.Dir
	if info, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err == nil && !info.IsDir() {
		return nil, &os.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
	}
	looked := &looking{ctx: ctx, read: read}
	cfg.FS = looked
	j, err := Open(cfg)
	if err == nil {
		defer j.Close()
	}
	if ctx.Err() != nil { // it may have been taken for damage
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
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

// filesAttempts is how often Files reads the directory of a journal that another process writes: a file may be half begun, or
// removed, at that moment.
const filesAttempts = 3

// Files returns the names of the files in the directory of a journal that hold its ticks, in the order of their numbers, and what
// is missing: files that the journal cannot use, and numbers that are in none of its files. Damage within a file is reported only
// if its header is damaged. Files reads headers and trailers, and further packets only of files that lack one of them; it changes
// nothing. Names and missing are empty if the directory holds no file that is named like a journal's. The error is that of Open,
// except that the journal may be in use, or that of ctx once ctx has ended.
func Files(ctx context.Context, cfg Config) (names []string, missing []Damage, err error) {
	looked := &looking{ctx: ctx}
	cfg.FS = looked
	for range filesAttempts {
		names, missing, err = files(cfg)
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if err == nil && len(missing) == 0 || err != nil && !errors.Is(err, os.ErrNotExist) || !looked.inUse {
			break
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("journal %s: %w", cfg.Dir, err)
	}
	return names, missing, nil
}

func files(cfg Config) (names []string, missing []Damage, err error) {
	j, err := newJournal(cfg)
	if err != nil {
		return nil, nil, err
	}
	defer j.closeFiles()
	if _, err := j.fs.Lock(j.path(lockName)); err != nil {
		return nil, nil, err
	}
	j.recovered = &Recovered{}
	segments, err := j.scanDir()
	if err != nil {
		return nil, nil, err
	}
	if j.segments, _ = j.chain(segments); len(j.segments) > 0 {
		j.reportGaps()
	}
	missing = j.recovered.Damage
	for _, s := range segments {
		if !slices.ContainsFunc(missing, func(d Damage) bool { return d.Unused && d.File == s.name }) {
			names = append(names, s.name)
		}
	}
	slices.Sort(names) // by first number
	return names, missing, nil
}

// A looking is the file system of the operating system, of which it changes nothing.
type looking struct {
	OS
	ctx   context.Context
	read  *atomic.Int64 // bytes read; may be nil
	inUse bool
}

// Open opens a file that can be read until ctx ends.
func (l *looking) Open(name string) (ReadFile, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return lookedFile{osReadFile{f}, l}, nil
}

type lookedFile struct {
	osReadFile
	l *looking
}

func (f lookedFile) ReadAt(b []byte, at int64) (int, error) {
	if err := f.l.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := f.osReadFile.ReadAt(b, at)
	if f.l.read != nil {
		f.l.read.Add(int64(n))
	}
	return n, err
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

// ReadFrom implements io.ReaderFrom, for io.Copy: a torn end need not be read.
func (nowhere) ReadFrom(io.Reader) (int64, error) { return 0, nil }
