package edit

import (
	"context"
	"errors"
	"io"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/place"
	"tickfeed/feed"
)

// A Source yields the ticks of recordings, one recording after another, for renumbering; it implements
// [feed.Source]. An instrument that occurs in several recordings is one instrument. If a recording does not
// begin at 1, and after missing numbers, ticks restate the state: definitions, statuses, quotes and books, but
// not the trading day, whose trades are missing. These ticks come at the publish time of the packet after the
// state.
//
// Make one with NewSource. Only one goroutine may use it, except that Stats may be called after its end.
type Source struct {
	readers []*recording.Reader
	run     []byte // packets not read yet
	body    codec.Body
	inBody  bool
	end     uint64 // number after the current packet
	pending []feed.Tick
	waiting []feed.Tick // ticks that restate a state: they become pending with the next packet
	stating bool        // the last result of Next restates a state
	err     error       // once set, Next repeats it

	ids feed.Table[uint32] // maps the recording's ids to 1 + the id of the source; 0 if the recording does not define it
	*directory
	time int64 // publish time of the last result of Next; NoTime before
	// byEvent reports whether the current packet was published with the last of its events, as by a Builder;
	// its ticks are then due at their own event times.
	byEvent bool
	// line, if the caller wants the times of ticks, is the current place of the source; dues are the times of
	// the last result of Next on line. They do not decrease.
	line  *place.Timeline
	dues  []int64
	first int64 // event time of the first tick after pending's state; 0 if it has none
	stats SourceStats
}

// A directory assigns ids of the source to instruments.
type directory struct {
	names map[name]feed.InstrumentID
	defs  []*feed.Definition // the last definitions, by id of the source
}

func newDirectory() *directory { return &directory{names: make(map[name]feed.InstrumentID)} }

type name struct{ symbol, venue string }

// SourceStats counts what a Source has read and returned.
type SourceStats struct {
	Ticks     uint64 // returned
	Lost      uint64 // numbers that are gone or lost by damage
	Expired   uint64 // numbers of Lost that the publisher no longer had
	Damaged   uint64 // numbers of Lost that are lost by damage
	Damages   uint64 // damaged places, except the torn end of a recording that was not closed
	Dropped   uint64 // ticks without a definition, or of unknown kinds
	LeftOut   uint64 // numbers that the recording leaves out: not asked for, or withheld
	Withheld  uint64 // numbers of LeftOut that were withheld
	Snapshots uint64 // snapshots restated by ticks
}

// NewSource returns a Source of readers, each read from its current place.
func NewSource(readers ...*recording.Reader) *Source {
	return &Source{readers: readers, directory: newDirectory(), time: place.NoTime}
}

var _ feed.Source = (*Source)(nil)

// Next implements [feed.Source]. The error is io.EOF at the end of the last recording, or comes from reading;
// damage is skipped and counted.
func (s *Source) Next(ctx context.Context, batch []feed.Tick) (int, error) {
	if err := ctx.Err(); err != nil || len(batch) == 0 {
		return 0, err
	}
	s.dues = s.dues[:0]
	for {
		n := copy(batch, s.pending)
		if s.stating = n > 0; s.stating {
			s.pending = s.pending[n:]
			s.passState(batch[:n])
			s.stats.Ticks += uint64(n)
			return n, nil
		}
		if s.inBody {
			if n := s.decode(batch); n > 0 {
				s.stats.Ticks += uint64(n)
				return n, nil
			}
			continue
		}
		if len(s.run) > 0 {
			s.packet()
			continue
		}
		if s.err == nil {
			s.err = s.item()
		}
		if s.err != nil && len(s.pending) == 0 {
			return 0, s.err
		}
	}
}

// item reads the next item of the current recording.
func (s *Source) item() error {
	if len(s.readers) == 0 {
		return io.EOF
	}
	r := s.readers[0]
	item, err := r.Next()
	if err == io.EOF {
		s.readers, s.ids = s.readers[1:], feed.Table[uint32]{}
		s.pending, s.waiting = s.waiting, nil
		return nil
	}
	if err != nil {
		return err
	}
	switch item.Kind {
	case recording.KindPackets:
		s.run = item.Data
		if len(s.waiting) > 0 {
			s.pending, s.waiting = s.waiting, nil
			s.time = codec.PacketAt(s.run).PublishTime
			first, byEvent := eventsOf(s.run[:codec.PacketSize(s.run)])
			if s.first = first; byEvent {
				s.time = first
			}
		}
	case recording.KindDamage, recording.KindTorn:
		if item.Kind == recording.KindDamage {
			s.stats.Damages++
		}
		s.stats.Lost += item.Range.Len()
		s.stats.Damaged += item.Range.Len()
	case recording.KindSnapshot:
		state, err := r.State(item)
		if err != nil {
			return err
		}
		s.restate(state)
	}
	return nil
}

// packet advances to the next packet of the run.
func (s *Source) packet() {
	n := codec.PacketSize(s.run)
	packet := s.run[:n]
	h, body, err := codec.ParsePacket(packet)
	s.run = s.run[n:]
	if err == nil {
		s.body, s.inBody, s.end = codec.PacketBody(&h, body), true, h.First+h.Count
		s.time = h.PublishTime
		_, s.byEvent = eventsOf(packet)
	}
}

// eventsOf returns the event time of the first tick of a packet, and whether the packet was published with the
// last of its events.
func eventsOf(packet []byte) (first int64, byEvent bool) {
	h, body, err := codec.ParsePacket(packet)
	if err != nil {
		return 0, false
	}
	b := codec.PacketBody(&h, body)
	var ticks [64]feed.Tick
	greatest, any := int64(place.NoTime), false
	for {
		n, err := b.Decode(ticks[:])
		if n > 0 && !any {
			first, any = ticks[0].EventTime, true
		}
		for i := range ticks[:n] {
			greatest = max(greatest, ticks[i].EventTime)
		}
		if err != nil || n == 0 {
			return first, any && greatest == h.PublishTime
		}
	}
}

// decode fills batch from the current packet. If it returns 0, nothing is left of the packet.
func (s *Source) decode(batch []feed.Tick) int {
	for {
		n, err := s.body.Decode(batch)
		kept := 0
		for i := range batch[:n] {
			t := &batch[i]
			due := s.pass(t.EventTime)
			if !s.rename(t) {
				continue
			}
			batch[kept] = *t
			kept++
			if s.line != nil {
				s.dues = append(s.dues, due)
			}
		}
		if err != nil { // the checksum is right, but the contents are malformed
			s.stats.Damages++
			s.stats.Lost += s.end - s.body.Seq()
			s.stats.Damaged += s.end - s.body.Seq()
		}
		if err != nil || n == 0 {
			s.inBody = false
			gone, reason := s.body.Gone()
			s.stats.Lost += gone
			if reason != codec.GoneDamaged {
				s.stats.Expired += gone
			}
			s.stats.LeftOut += s.body.NotAsked() + s.body.Withheld()
			s.stats.Withheld += s.body.Withheld()
			if s.line != nil && s.line.Clock == place.PublishClock && !s.byEvent {
				s.line.Pass(0, s.time) // the packet may have no ticks
			}
		}
		if kept > 0 || !s.inBody {
			return kept
		}
	}
}

// pass advances the line to a tick of the current packet with event time event, and returns when the tick is
// due.
func (s *Source) pass(event int64) int64 {
	switch {
	case s.line == nil:
		return 0
	case s.line.Clock == place.PublishClock && s.byEvent:
		return s.line.Pass(0, event)
	}
	return s.line.Pass(event, s.time)
}

// passState makes ticks that restate a state due with the first tick of the packet after it, or at their event
// times if there is no packet.
func (s *Source) passState(ticks []feed.Tick) {
	if s.line == nil {
		return
	}
	if s.time == place.NoTime {
		for i := range ticks {
			s.line.Pass(0, ticks[i].EventTime)
		}
	} else {
		s.line.Pass(s.first, s.time)
	}
	for range ticks {
		s.dues = append(s.dues, s.line.At)
	}
}

// rename gives t its id in this source. It returns false if that is not possible.
func (s *Source) rename(t *feed.Tick) bool {
	t.Seq = 0
	if d := t.Definition(); d != nil {
		id, ok := s.define(t.Instrument, d)
		t.Instrument = id
		return ok
	}
	here := s.ids.Lookup(t.Instrument)
	if here == nil || *here == 0 || !t.Kind.Known() {
		s.stats.Dropped++
		return false
	}
	t.Instrument = feed.InstrumentID(*here - 1)
	return true
}

// define returns the id in this source of d, whose id in the recording is recorded.
func (s *Source) define(recorded feed.InstrumentID, d *feed.Definition) (feed.InstrumentID, bool) {
	key := name{d.Symbol, d.Venue}
	id, known := s.names[key]
	if !known {
		if len(s.defs) >= feed.MaxInstruments {
			s.stats.Dropped++
			return 0, false
		}
		id = feed.InstrumentID(len(s.defs))
		s.names[key] = id
		s.defs = append(s.defs, nil)
	}
	s.defs[id] = d
	*s.ids.At(recorded) = uint32(id) + 1
	return id, true
}

// restate makes the ticks that restate state wait for the next packet. A state that is already waiting is older,
// and its definitions are known.
func (s *Source) restate(state *feed.State) {
	s.stats.Snapshots++
	out := s.waiting
	for t := range state.Entries(nil) {
		t.Flags &^= feed.FlagSnapshot
		switch t.Kind {
		case feed.KindSummary:
			continue
		case feed.KindDefinition:
			id, known := s.names[name{t.Definition().Symbol, t.Definition().Venue}]
			same := known && *s.defs[id] == *t.Definition()
			recorded := t.Instrument
			if !s.rename(&t) {
				continue
			}
			merging := s.line != nil // the merger finds out later which definitions and clears are needed
			if !same || merging {
				out = append(out, t)
			}
			if in, _ := state.Instrument(recorded); known || merging {
				out = append(out, feed.ClearTick(t.Instrument, max(in.QuoteTime, in.StatusTime), feed.SideBoth))
			}
			continue
		}
		if s.rename(&t) {
			out = append(out, t)
		}
	}
	s.waiting = out
}

// Stats returns the counts so far.
func (s *Source) Stats() SourceStats { return s.stats }

// Close implements [feed.Source]. It does not close the files, which belong to the caller.
func (s *Source) Close() error {
	if s.err == nil {
		s.err = errSourceClosed
	}
	s.pending, s.waiting, s.run, s.inBody = nil, nil, nil, false
	return nil
}

var errSourceClosed = errors.New("recording: the source is closed")
