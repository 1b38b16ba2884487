package rawfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"tickfeed/feed"
)

// A Decoder turns the bytes of one format into ticks. It keeps its state (instruments, books) from one file to
// the next.
type Decoder interface {
	// Begin is called at the start of each file. Its errors end the source.
	Begin(r *Reader) error
	// Decode reads the next record, message or packet and appends its ticks to out. It returns io.EOF at the
	// end of the file, and an error from r.Bad or r.Torn for a part that it has skipped.
	Decode(r *Reader, out []feed.Tick) ([]feed.Tick, error)
	// End appends the remaining ticks at the end of a file.
	End(out []feed.Tick) []feed.Tick
}

// A Source yields the ticks of files of one format. It implements [feed.Source].
type Source struct {
	paths   []string
	skipBad int64
	meter   *Meter
	stdin   io.Reader // nil if there is none
	decoder Decoder
	file    *File // nil between files
	next    int   // index of the file to open next
	reader  Reader
	buf     []feed.Tick
	pending []feed.Tick // part of buf
	err     error       // once set, Next repeats it

	count *Stats // the decoder's, used by the goroutine in Next
	mu    sync.Mutex
	stats Stats // what Stats returns
}

var _ feed.Source = (*Source)(nil)

// NewSource reads the files at paths one after another through d, which counts in count. It returns an error if
// a path does not exist or is a directory; [Stdin] reads the reader given to Source.Stdin. skipBad is how many
// damaged parts are skipped, in all files together, before one ends the source; not negative.
func NewSource(paths []string, skipBad int, d Decoder, count *Stats) (*Source, error) {
	if len(paths) == 0 {
		return nil, errors.New("no file to read")
	}
	if skipBad < 0 {
		return nil, fmt.Errorf("SkipBad must not be negative, got %d", skipBad)
	}
	for _, p := range paths {
		if p == Stdin {
			continue
		}
		if info, err := os.Stat(p); err != nil {
			return nil, err
		} else if info.IsDir() {
			return nil, fmt.Errorf("%s is a directory; name its files", p)
		}
	}
	return &Source{paths: slices.Clone(paths), skipBad: int64(skipBad), decoder: d, count: count}, nil
}

// Stdin is the path that stands for standard input.
const Stdin = "-"

// StdinName is the name of standard input in messages.
const StdinName = "stdin"

// AsGiven returns err with ours, such as the path of a temporary file, replaced by given, the name that the user gave. It returns err
// itself if its text does not have ours.
func AsGiven(err error, ours, given string) error {
	if err == nil || ours == "" || !strings.Contains(err.Error(), ours) {
		return err
	}
	return &namedError{err, ours, given}
}

type namedError struct {
	error
	ours, given string
}

func (e *namedError) Error() string { return strings.ReplaceAll(e.error.Error(), e.ours, e.given) }

func (e *namedError) Unwrap() error { return e.error }

// Stdin sets the reader for the path [Stdin]. It must be called before the first Next.
func (s *Source) Stdin(r io.Reader) { s.stdin = r }

// Meter makes m count the bytes read from the files. It must be called before the first Next.
func (s *Source) Meter(m *Meter) { s.meter = m }

// Next implements [feed.Source]. The error is io.EOF after the last file; a [*DamageError] if a file is damaged
// and either SkipBad is used up or nothing can be read after the damage; a [*FormatError] if a file is not of
// the format or holds no ticks; or it names the file that cannot be opened.
func (s *Source) Next(ctx context.Context, batch []feed.Tick) (int, error) {
	if len(s.pending) == 0 && s.err != nil {
		return 0, s.err
	}
	if err := ctx.Err(); err != nil || len(batch) == 0 {
		return 0, err
	}
	if len(s.pending) == 0 {
		s.fill(len(batch))
	}
	n := copy(batch, s.pending)
	s.pending = s.pending[n:]
	s.count.Ticks += int64(n)
	s.mu.Lock()
	s.stats = *s.count
	s.mu.Unlock()
	if len(s.pending) > 0 {
		return n, nil
	}
	return n, s.err
}

// fill decodes until at least want ticks are pending, or the source ends.
func (s *Source) fill(want int) {
	out := s.buf[:0]
	for len(out) < want && s.err == nil {
		if len(out) > 0 && s.stdin != nil && s.reader.w == s.reader.r {
			break // ticks from a pipe are returned at once
		}
		if s.file == nil {
			s.err = s.open()
			continue
		}
		var err error
		out, err = s.decoder.Decode(&s.reader, out)
		if err == nil {
			continue
		}
		if err == io.EOF {
			out = s.decoder.End(out)
			if s.file.Trailing() {
				s.count.Note("%s: %s", s.file.Path, TrailingNote)
			}
			s.file.Close()
			s.file = nil
			continue
		}
		var damage *DamageError
		if errors.As(err, &damage) {
			if s.count.FirstBad == nil {
				s.count.FirstBad = damage
			}
			if damage.passed && s.count.Skipped < s.skipBad {
				s.count.Skipped++
				continue
			}
		}
		s.err = err
	}
	s.buf, s.pending = out, out
}

func (s *Source) open() error {
	if s.next == len(s.paths) {
		return io.EOF
	}
	f, err := OpenOrStdin(s.paths[s.next], s.stdin, s.meter)
	if err != nil {
		return err
	}
	s.next++
	s.file = f
	s.count.Files++
	s.reader.reset(f.Path, f)
	s.reader.last = s.next == len(s.paths)
	return s.decoder.Begin(&s.reader)
}

// OpenOrStdin is OpenMetered, or OpenReader of stdin if path is [Stdin].
func OpenOrStdin(path string, stdin io.Reader, m *Meter) (*File, error) {
	if path != Stdin {
		return OpenMetered(path, m)
	}
	if stdin == nil {
		return nil, errors.New("there is no standard input to read (-)")
	}
	return OpenReader(StdinName, stdin, m)
}

// Stats returns the counts as of the last return of Next. Any goroutine may call it at any time.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Notes = slices.Clip(stats.Notes)
	return stats
}

// Close closes the open file. It may be called more than once; the error is always nil.
func (s *Source) Close() error {
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
	s.pending = nil
	if s.err == nil {
		s.err = errClosed
	}
	return nil
}

var errClosed = errors.New("the source is closed")

// Stats counts what a Source has read and returned. The package of each format says what its messages are.
type Stats struct {
	Files    int64
	Packets  int64      // packets of the format in captures, heartbeats included
	Foreign  int64      // packets of a capture that are not of the format
	Messages int64      // messages, or records
	Types    [256]int64 // messages by their type byte
	Ticks    int64      // returned, definitions included
	Ignored  int64      // messages whose type or contents give no ticks

	Gaps       int64 // holes in the numbering of the venue, or marks that something may be missing
	Missing    int64 // messages that the holes cover, if they are numbered
	Duplicates int64 // messages left out because they came before
	Resets     int64 // new sessions of the venue after the first
	Unknown    int64 // messages about unknown orders or trades

	Skipped  int64        // damaged parts skipped
	FirstBad *DamageError // nil if there is none
	Notes    []string     // gaps, resets and the like in words, at most the first MaxNotes of them
}

// MaxNotes bounds Stats.Notes.
const MaxNotes = 16

// Note appends to Notes if there is room.
func (s *Stats) Note(format string, args ...any) {
	if len(s.Notes) < MaxNotes {
		s.Notes = append(s.Notes, fmt.Sprintf(format, args...))
	}
}
