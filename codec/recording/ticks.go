package recording

import (
	"fmt"
	"io"
	"iter"

	"tickfeed/codec"
	"tickfeed/codec/recording/place"
	"tickfeed/feed"
)

// Ticks reads the ticks of a recording together with their numbers, session, publish times and definitions. It
// does not return the ticks of snapshots, but uses their definitions. Only one goroutine may use it.
type Ticks struct {
	r     *Reader
	want  func(*feed.Definition) bool
	run   []byte // packets not read yet
	body  codec.Body
	open  bool // body is of a packet that is not read to its end
	end   uint64
	batch []feed.Tick
	held  []feed.Tick // the rest of batch, not returned yet
	line  place.Timeline
	timed bool

	known feed.Table[known]
	lines feed.Lineage
	part  Part
	stats TicksStats
}

// A known instrument is one that the recording has defined.
type known struct {
	def    *feed.Definition // nil if it has not
	wanted bool
}

// A Part is ticks of one packet. They are valid until the next call of Next.
type Part struct {
	Session     feed.SessionID
	PublishTime int64
	// Times are the times of Ticks on the timeline given to SetTimeline; empty without one.
	Times []int64
	// Ticks are in order. A tick that defines an instrument is the first of its Part, so that Definition holds for all of them.
	Ticks []feed.Tick

	of *Ticks
}

// Definition returns the definition of instrument id at Ticks, or nil if the recording lacks it. It is shared: do not change
// it.
func (p *Part) Definition(id feed.InstrumentID) *feed.Definition { return p.of.Definition(id) }

// Parts iterates over the ticks of the recording at path, a packet or less at a time. A part is valid until the next one.
// Damage is passed over; a recording that has some, or lacks numbers for another reason, ends with a *MissingError. Any other
// error is of the file, and ends the iteration too.
func Parts(path string) iter.Seq2[*Part, error] {
	return func(yield func(*Part, error) bool) {
		in, err := Open(path)
		if err != nil {
			yield(nil, err)
			return
		}
		defer in.Close()
		r, err := in.Reader()
		if err != nil {
			yield(nil, fmt.Errorf("%s: %w", path, err))
			return
		}
		ticks := NewTicks(r, nil)
		for {
			part, err := ticks.Next()
			if err == io.EOF {
				if s := ticks.Stats(); s.Gone+s.Damaged > 0 || s.Damages > 0 {
					yield(nil, &MissingError{path, s})
				}
				return
			}
			if err != nil {
				yield(nil, fmt.Errorf("%s: %w", path, err))
				return
			}
			if !yield(part, nil) {
				return
			}
		}
	}
}

// A MissingError reports numbers that a recording should hold and does not.
type MissingError struct {
	Path  string
	Stats TicksStats
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s: %d numbers are gone, %d are lost at %d damaged places", e.Path, e.Stats.Gone, e.Stats.Damaged, e.Stats.Damages)
}

// TicksStats counts what a recording lacks.
type TicksStats struct {
	NotAsked uint64 // numbers that the recorded line left out; an upper bound if the line is filtered
	Withheld uint64 // numbers that the line's slow-consumer policy left out
	Gone     uint64 // numbers that the recording lists as gone
	// GoneDamaged is the part of Gone that was damaged, or missing, in what the recording was made of; the publisher had discarded
	// the rest.
	GoneDamaged uint64
	Damaged     uint64 // numbers lost by damage
	Damages     int    // damaged places, except the torn end of a recording that was not closed
	Torn        int64  // bytes of an incomplete message at the end
	Unknown     uint64 // ticks of kinds that this program does not know; not returned
	// Undefined counts ticks without a definition in the recording, which are returned only if all are wanted.
	Undefined uint64
}

// NewTicks returns Ticks that reads r from its current place. It returns only ticks of instruments that want
// accepts; nil accepts all.
func NewTicks(r *Reader, want func(*feed.Definition) bool) *Ticks {
	t := &Ticks{r: r, want: want, batch: make([]feed.Tick, 1024)}
	t.part.of = t
	return t
}

// SetTimeline makes Next return the times of ticks on line, which must be at the place of the Reader.
func (t *Ticks) SetTimeline(line place.Timeline) { t.line, t.timed = line, true }

// Stats returns the counts so far.
func (t *Ticks) Stats() TicksStats { return t.stats }

// Definition returns the definition of instrument id as of the last tick of Next, or nil if there is none. It
// is shared: do not change it.
func (t *Ticks) Definition(id feed.InstrumentID) *feed.Definition {
	if in := t.known.Lookup(id); in != nil {
		return in.def
	}
	return nil
}

// Next returns the next part, which has at least one tick. The error is io.EOF at the end, or comes from the
// underlying reader; damage is skipped and counted.
func (t *Ticks) Next() (*Part, error) {
	for {
		if len(t.held) > 0 {
			if t.part.Ticks = t.cut(); len(t.part.Ticks) > 0 {
				return &t.part, nil
			}
			continue
		}
		if t.open {
			t.decode()
			continue
		}
		if len(t.run) > 0 {
			n := codec.PacketSize(t.run)
			h, body, err := codec.ParsePacket(t.run[:n])
			t.run = t.run[n:]
			if err == nil {
				t.body, t.open, t.end = codec.PacketBody(&h, body), true, h.First+h.Count
				t.part.PublishTime = h.PublishTime
			}
			continue
		}
		if err := t.item(); err != nil {
			return nil, err
		}
	}
}

// item reads the next item of the recording.
func (t *Ticks) item() error {
	item, err := t.r.Next()
	if err != nil {
		return err
	}
	switch item.Kind {
	case KindHeader:
		if _, related := item.Header.Lineage.Fork(t.lines, 1); !related {
			t.known = feed.Table[known]{}
		}
		t.lines = item.Header.Lineage
		t.part.Session = t.lines.Current().ID
	case KindSnapshot:
		return t.r.SnapshotTicks(item, func(ticks []feed.Tick) {
			for i := range ticks {
				if d := ticks[i].Definition(); d != nil {
					t.define(ticks[i].Instrument, d)
				}
			}
		})
	case KindPackets:
		t.run = item.Data
	case KindDamage:
		t.stats.Damages++
		t.stats.Damaged += item.Range.Len()
	case KindTorn:
		t.stats.Torn += item.Size
	}
	return nil
}

// decode fills batch from the open packet.
func (t *Ticks) decode() {
	n, err := t.body.Decode(t.batch)
	t.held = t.batch[:n]
	if err == nil && n > 0 {
		return
	}
	t.open = false
	if err != nil { // the checksum is right, but the contents are malformed
		t.stats.Damages++
		t.stats.Damaged += t.end - t.body.Seq()
	}
	gone, reason := t.body.Gone()
	t.stats.Gone += gone
	if reason == codec.GoneDamaged {
		t.stats.GoneDamaged += gone
	}
	t.stats.NotAsked += t.body.NotAsked()
	t.stats.Withheld += t.body.Withheld()
	t.stats.Unknown += t.body.Unknown()
}

// cut takes the wanted ticks of held up to the next definition. It applies a definition at the beginning of
// held.
func (t *Ticks) cut() []feed.Tick {
	held := t.held
	if d := held[0].Definition(); d != nil {
		t.define(held[0].Instrument, d)
	}
	n := 1
	for n < len(held) && held[n].Kind != feed.KindDefinition {
		n++
	}
	t.held = held[n:]
	kept := held[:0]
	t.part.Times = t.part.Times[:0]
	for i := range held[:n] {
		tick := &held[i]
		if t.timed {
			t.line.Pass(tick.EventTime, t.part.PublishTime)
		}
		before := len(kept)
		in := t.known.Lookup(tick.Instrument)
		switch {
		case !tick.Kind.Known(): // counted by body
		case in == nil || in.def == nil:
			if t.stats.Undefined++; t.want == nil {
				kept = append(kept, *tick)
			}
		case in.wanted:
			if len(kept) != i {
				kept = append(kept, *tick)
			} else {
				kept = held[:i+1]
			}
		}
		if t.timed && len(kept) > before {
			t.part.Times = append(t.part.Times, t.line.At)
		}
	}
	return kept
}

func (t *Ticks) define(id feed.InstrumentID, d *feed.Definition) {
	*t.known.At(id) = known{d, t.want == nil || t.want(d)}
}
