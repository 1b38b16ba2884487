package journal

import (
	"errors"
	"fmt"
	"io"
	"os"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
)

// A Cursor reads a journal from a given number, also while the journal is written. Only one goroutine may use
// it.
type Cursor struct {
	j   *Journal
	seq uint64 // every number before it was returned

	s *segment // the segment that r reads; nil between files
	r *recording.Reader
	f *openFile
}

// A Chunk is what a Cursor returns: packets, or numbers that are gone.
type Chunk struct {
	// Data is whole packets of one session that join, verbatim, with verified checksums. It is valid until the
	// next call of Next or Close.
	Data []byte
	// Range is the numbers that Data covers, and Session the session that numbered them. The first packet that
	// a cursor returns may begin before the number asked for.
	Range   feed.Range
	Session feed.Session
	// Gone, if not empty, is numbers that are not available, and Reason says why. Data is empty then.
	Gone   feed.Range
	Reason codec.GoneReason
}

// Cursor returns a cursor at number seq, from 1 to Next or beyond. Its first packet is the one that covers seq.
// The caller must close the cursor.
func (j *Journal) Cursor(seq uint64) *Cursor { return &Cursor{j: j, seq: max(seq, 1)} }

// Next returns the next chunk. At the end of the appended data it returns io.EOF, and may be called again.
// Numbers that retention removed or that are damaged are returned once, as gone. Any other error comes from the
// file system and concerns this cursor only; if it wraps ErrFull, Next may be called again.
func (c *Cursor) Next() (Chunk, error) {
	for {
		if c.s == nil {
			chunk, err := c.enter()
			if err != nil || !chunk.Gone.Empty() {
				return chunk, err
			}
		}
		to, size, last, err := c.bounds()
		if err != nil {
			return Chunk{}, err
		}
		if c.seq >= to {
			if last {
				return Chunk{}, io.EOF
			}
			c.leave()
			continue
		}
		c.r.Grow(size)
		item, err := c.r.Next()
		switch {
		case err == io.EOF:
			return c.gone(to, codec.GoneDamaged), nil
		case errors.Is(err, os.ErrNotExist):
			return c.absent(to), nil
		case err != nil:
			err = fmt.Errorf("journal file %s: %w", c.s.name, err)
			c.leave() // the next call starts over at seq
			return Chunk{}, err
		case item.Kind == recording.KindPackets:
			data, r := within(item.Data, item.Range, feed.Range{From: c.seq, To: to})
			if r.Empty() {
				continue
			}
			if item.Range.From > c.seq {
				c.r.Return(item)
				return c.gone(r.From, codec.GoneDamaged), nil
			}
			c.seq = r.To
			return Chunk{Data: data, Range: r, Session: c.s.session()}, nil
		}
	}
}

// within returns the packets of run, which covers r, that cover numbers of want and end inside it.
func within(run []byte, r, want feed.Range) ([]byte, feed.Range) {
	if r.To <= want.To && r.From >= want.From {
		return run, r
	}
	for len(run) > 0 {
		n := codec.PacketSize(run)
		h := codec.PacketAt(run)
		if h.First+h.Count > want.From {
			break
		}
		run, r.From = run[n:], h.First+h.Count
	}
	if r.To <= want.To {
		return run, r
	}
	size := 0
	r.To = r.From
	for size < len(run) {
		h := codec.PacketAt(run[size:])
		if h.First+h.Count > want.To {
			break
		}
		r.To = h.First + h.Count
		size += codec.PacketSize(run[size:])
	}
	return run[:size], r
}

func (c *Cursor) gone(to uint64, reason codec.GoneReason) Chunk {
	r := feed.Range{From: c.seq, To: to}
	c.seq = to
	return Chunk{Gone: r, Reason: reason}
}

// enter opens the file that holds c.seq. If there is none, it returns the numbers that are gone, or io.EOF.
func (c *Cursor) enter() (Chunk, error) {
	j := c.j
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return Chunk{}, ErrClosed
	}
	tail, next := j.tailLocked(), j.shownLocked()
	i := j.indexLocked(c.seq)
	var s *segment
	if i >= 0 {
		s = j.segments[i]
	}
	to := next
	if i >= 0 && s.to > 0 {
		to = s.to
	}
	j.mu.Unlock()
	switch {
	case c.seq < tail:
		return c.gone(tail, j.goneBefore()), nil
	case c.seq >= next:
		return Chunk{}, io.EOF
	}
	r, f, err := j.open(s)
	if err == nil {
		if err = j.seek(s, r, c.seq); err != nil {
			r.Release()
			j.done(f)
			err = fmt.Errorf("file %s: %w", s.name, err)
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		return c.absent(to), nil
	} else if errors.Is(err, recording.ErrNoHeader) {
		return c.gone(to, codec.GoneDamaged), nil
	} else if err != nil {
		return Chunk{}, fmt.Errorf("journal %w", err)
	}
	c.s, c.r, c.f = s, r, f
	return Chunk{}, nil
}

// seek moves r, which reads segment s, to number seq. An index missing from the file is made once for all
// readers.
func (j *Journal) seek(s *segment, r *recording.Reader, seq uint64) error {
	marks, made := j.marksOf(s)
	if marks == nil {
		made <- struct{}{}
		defer func() { <-made }()
		marks, _ = j.marksOf(s) // another goroutine may have made them
	}
	if marks != nil {
		r.SetMarks(marks)
		return r.SeekSeq(seq)
	}
	if err := r.SeekSeq(seq); err != nil {
		return err
	}
	j.keepMarks(s, r)
	return nil
}

// marksOf returns the marks of s, or nil if none are known, and the channel whose one slot is taken while they
// are made. The disk may hang meanwhile, so mu is not held.
func (j *Journal) marksOf(s *segment) (marks []codec.Mark, made chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if s.indexing == nil {
		s.indexing = make(chan struct{}, 1)
	}
	return s.marks, s.indexing
}

// absent reports as gone the numbers from c.seq to to, whose file is missing: retention removed it meanwhile,
// or someone else did.
func (c *Cursor) absent(to uint64) Chunk {
	c.leave()
	if tail := c.j.Tail(); tail > c.seq {
		return c.gone(tail, c.j.goneBefore())
	}
	return c.gone(to, codec.GoneDamaged)
}

// goneBefore returns why numbers before the tail are gone: they can expire only if retention is configured.
func (j *Journal) goneBefore() codec.GoneReason {
	if j.cfg.RetainBytes > 0 || j.cfg.RetainAge > 0 {
		return codec.GoneExpired
	}
	return codec.GoneDamaged
}

// bounds returns the number up to which the cursor's file owns its contents, how many bytes of it may be read,
// and whether it is the last file.
func (c *Cursor) bounds() (to uint64, size int64, last bool, err error) {
	j := c.j
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return 0, 0, false, ErrClosed
	}
	if c.s.to > 0 {
		return c.s.to, j.readableLocked(c.s), false, nil
	}
	return j.shownLocked(), j.readableLocked(c.s), true, nil
}

func (c *Cursor) leave() {
	if c.f != nil {
		c.r.Release()
		c.j.done(c.f)
	}
	c.s, c.r, c.f = nil, nil, nil
}

// Close closes the cursor's file. The cursor must not be used afterwards.
func (c *Cursor) Close() error {
	c.leave()
	return nil
}
