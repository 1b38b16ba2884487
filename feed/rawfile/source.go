package rawfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"tickfeed/feed"
)

// A Decoder turns the bytes of one format into ticks. It keeps what it knows (instruments,
// books) from one file to the next.
type Decoder interface {
	// Begin is called at the start of each file. Its errors end the source.
	Begin(r *Reader) error
	// Decode reads the next record, message or packet and appends its ticks to out. It
	// returns io.EOF at the end of the file, and the errors of r.Bad or r.Torn for what it
	// has passed over.
	Decode(r *Reader, out []feed.Tick) ([]feed.Tick, error)
	// End appends what is still to be told after a file.
	End(out []feed.Tick) []feed.Tick
}

// A Source yields the ticks of files of one format. It implements [feed.Source].
type Source struct {
	paths   []string
	skipBad int64
	meter   *Meter
	decoder Decoder
	file    *File // nil between files
	next    int   // index of the file to open next
	reader  Reader
	buf     []feed.Tick
	pending []feed.Tick // part of buf
	err     error       // once set, Next repeats it

	count *Stats // the decoder's, of the goroutine in Next
	mu    sync.Mutex
	stats Stats // what Stats returns
}

var _ feed.Source = (*Source)(nil)

// NewSource reads the files at paths one after the other through d, which counts in count. A
// path that is not there, or a directory, is an error now. skipBad is how many damaged parts
// are passed over, in all files together, before one ends the source; not negative.
func NewSource(paths []string, skipBad int, d Decoder, count *Stats) (*Source, error) {
	if len(paths) == 0 {
		return nil, errors.New("no file to read")
	}
	if skipBad < 0 {
		return nil, fmt.Errorf("SkipBad must not be negative, got %d", skipBad)
	}
	for _, p := range paths {
		if info, err := os.Stat(p); err != nil {
			return nil, err
		} else if info.IsDir() {
			return nil, fmt.Errorf("%s is a directory; name its files", p)
		}
	}
	return &Source{paths: slices.Clone(paths), skipBad: int64(skipBad), decoder: d, count: count}, nil
}

// Meter makes m count what is read of the files. It is called before the first Next.
func (s *Source) Meter(m *Meter) { s.meter = m }

// Next implements [feed.Source]. The error is io.EOF after the last file, a [*DamageError]
// where a file is damaged and SkipBad is used up or nothing can be read behind the damage, a
// [*FormatError] where a file is not of the format or holds no ticks, or names the file
// that cannot be opened.
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

// fill decodes until want ticks are pending, or the source ends.
func (s *Source) fill(want int) {
	out := s.buf[:0]
	for len(out) < want && s.err == nil {
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
	f, err := OpenMetered(s.paths[s.next], s.meter)
	if err != nil {
		return err
	}
	s.next++
	s.file = f
	s.count.Files++
	s.reader.reset(f.Path, f)
	return s.decoder.Begin(&s.reader)
}

// Stats is what was read so far, as of the last return from Next. It may be called at any
// time, from any goroutine.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Notes = slices.Clip(stats.Notes)
	return stats
}

// Close closes the file at hand. It may be called more than once; the error is always nil.
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

// Stats counts what a Source has read. Each format's package says what its messages are.
type Stats struct {
	Files    int64
	Packets  int64      // of a capture, those of the format; heartbeats among them
	Foreign  int64      // packets of a capture that are not of the format
	Messages int64      // messages, or records
	Types    [256]int64 // messages by their type byte
	Ticks    int64      // given out, definitions among them
	Ignored  int64      // messages of types, or with contents, that are no ticks

	Gaps       int64 // holes in the numbering of the venue, or marks that something may be missing
	Missing    int64 // messages that the holes cover, where numbers tell
	Duplicates int64 // messages that came before, left out
	Resets     int64 // new sessions of the venue after the first
	Unknown    int64 // messages about orders or trades that nothing before told of

	Skipped  int64        // damaged parts passed over
	FirstBad *DamageError // nil if there is none
	Notes    []string     // gaps, resets and the like in words, the first MaxNotes of them
}

// MaxNotes bounds Stats.Notes.
const MaxNotes = 16

// Note adds to Notes, if there is room.
func (s *Stats) Note(format string, args ...any) {
	if len(s.Notes) < MaxNotes {
		s.Notes = append(s.Notes, fmt.Sprintf(format, args...))
	}
}
