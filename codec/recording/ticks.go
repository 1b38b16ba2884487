package recording

import (
	"tickfeed/codec"
	"tickfeed/feed"
)

// Ticks reads the ticks of a recording with what belongs to them: their numbers and session, when they were published, and
// what their instruments are. Ticks of snapshots are not told; their definitions are known. Only one goroutine may use it.
type Ticks struct {
	r     *Reader
	want  func(*feed.Definition) bool
	run   []byte // packets still to be read
	body  codec.Body
	open  bool // body is of a packet that was not read to its end
	end   uint64
	batch []feed.Tick
	held  []feed.Tick // of batch, not told yet
	line  Timeline
	timed bool

	defs   []*feed.Definition // by instrument
	wanted []bool
	lines  feed.Lineage
	part   Part
	stats  TicksStats
}

// A Part is ticks of one packet. They are valid until the next call of Next.
type Part struct {
	Session     feed.SessionID
	PublishTime int64
	// Times are those of Ticks on the timeline that SetTimeline set; empty without one.
	Times []int64
	// Ticks have the definitions that Definition tells; one that defines an instrument is the first of its Part.
	Ticks []feed.Tick
}

// TicksStats is what a recording does not hold.
type TicksStats struct {
	NotAsked uint64 // numbers that the recorded line left out; of a filtered one an upper bound
	Withheld uint64 // numbers that its slow-consumer policy left out
	Gone     uint64 // numbers that the recording lists as gone
	// GoneDamaged is those of Gone that were damaged before they were recorded; the publisher did not have the others any
	// more.
	GoneDamaged uint64
	Damaged     uint64 // numbers that damage took
	Damages     int    // damaged places, the torn end of a recording that was not closed not among them
	Torn        int64  // bytes at the end that are a part of something
	Unknown     uint64 // ticks of kinds that this program does not know; not told
	// Undefined is ticks of instruments whose definition the recording lacks, which are told only if all are wanted.
	Undefined uint64
}

// NewTicks reads what r reads, from where it is. Of instruments only those are told for which want is true; nil wants all.
func NewTicks(r *Reader, want func(*feed.Definition) bool) *Ticks {
	return &Ticks{r: r, want: want, batch: make([]feed.Tick, 1024)}
}

// SetTimeline has Next return the times of ticks on line, which stands where the Reader does.
func (t *Ticks) SetTimeline(line Timeline) { t.line, t.timed = line, true }

// Stats tells what was missing so far.
func (t *Ticks) Stats() TicksStats { return t.stats }

// Definition is what instrument id is where Next stands; nil if nothing defines it. It is shared: do not change it.
func (t *Ticks) Definition(id feed.InstrumentID) *feed.Definition {
	if int(id) >= len(t.defs) {
		return nil
	}
	return t.defs[id]
}

// Next returns the next part, which has a tick at least. The error is io.EOF at the end, or the underlying reader's; damage
// is passed over and counted.
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
			t.defs, t.wanted = nil, nil
		}
		t.lines = item.Header.Lineage
		t.part.Session = t.lines.Current().ID
	case KindSnapshot:
		return t.r.SnapshotTicks(item, func(tick *feed.Tick) {
			if d := tick.Definition(); d != nil {
				t.define(tick.Instrument, d)
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
	if err != nil { // the checksum holds, but not what it is of
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

// cut takes the wanted of the held ticks up to the next definition, and applies a definition that they begin with.
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
		id := int(tick.Instrument)
		switch {
		case !tick.Kind.Known(): // counted by the body
		case id >= len(t.defs) || t.defs[id] == nil:
			if t.stats.Undefined++; t.want == nil {
				kept = append(kept, *tick)
			}
		case t.wanted[id]:
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
	for int(id) >= len(t.defs) {
		t.defs, t.wanted = append(t.defs, nil), append(t.wanted, false)
	}
	t.defs[id], t.wanted[id] = d, t.want == nil || t.want(d)
}
