package recording

import (
	"context"
	"errors"
	"io"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A Source yields the ticks of recordings, one after the other, to be numbered anew: it
// implements [feed.Source]. An instrument of several recordings is one. Where a recording
// does not begin at 1, and after numbers that are missing, the state is told by ticks:
// definitions, statuses, quotes and books, but not the trading day, whose trades are not there.
// They come when the packet after the state was published.
//
// Make one with NewSource. Only one goroutine may use it, but for Stats after its end.
type Source struct {
	readers []*Reader
	run     []byte // packets still to be read
	body    codec.Body
	inBody  bool
	end     uint64 // number after the packet at hand
	pending []feed.Tick
	waiting []feed.Tick // that tell a state: pending when the next packet is there
	stating bool        // the ticks that Next returned last tell a state
	err     error       // once set, Next repeats it

	ids []int64 // by the recording's id: the id here, or notDefined
	*directory
	time int64 // publish time of what Next returned last; minTime before
	// byEvent says that the packet at hand was published with the last of its events, as a Builder
	// does: its ticks are due at their own times.
	byEvent bool
	// line, if the times of ticks are wanted, is where the source stands; dues are the times on it of the ticks that Next
	// returned last. They do not decrease.
	line  *Timeline
	dues  []int64
	first int64 // event time of the first tick after the state in pending; 0 if it has none
	stats SourceStats
}

// A directory gives instruments their ids here.
type directory struct {
	names map[name]feed.InstrumentID
	defs  []*feed.Definition // by id here, as told last
}

func newDirectory() *directory { return &directory{names: make(map[name]feed.InstrumentID)} }

type name struct{ symbol, venue string }

const notDefined = -1

// SourceStats is what a Source has come across.
type SourceStats struct {
	Ticks     uint64 // given out
	Lost      uint64 // numbers that damage took, or that are gone
	Expired   uint64 // those of them that are gone because the publisher did not have them any more
	Damages   uint64 // damaged places
	Dropped   uint64 // ticks of instruments whose definition was lost, or of kinds not known
	Untold    uint64 // numbers that the recording leaves out: not asked for, or withheld
	Withheld  uint64 // those of them that were withheld
	Snapshots uint64 // snapshots that were told as ticks
}

// NewSource yields what readers read, from where they are.
func NewSource(readers ...*Reader) *Source {
	return &Source{readers: readers, directory: newDirectory(), time: minTime}
}

var _ feed.Source = (*Source)(nil)

// Next implements [feed.Source]. The error is io.EOF at the end of the last recording, or what
// reading gave; damage is passed over and counted.
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

// item reads the next item of the recording at hand.
func (s *Source) item() error {
	if len(s.readers) == 0 {
		return io.EOF
	}
	r := s.readers[0]
	item, err := r.Next()
	if err == io.EOF {
		s.readers, s.ids = s.readers[1:], s.ids[:0]
		s.pending, s.waiting = s.waiting, nil
		return nil
	}
	if err != nil {
		return err
	}
	switch item.Kind {
	case KindPackets:
		s.run = item.Data
		if len(s.waiting) > 0 {
			s.pending, s.waiting = s.waiting, nil
			s.time = codec.PacketAt(s.run).PublishTime
			first, byEvent := eventsOf(s.run[:codec.PacketSize(s.run)])
			if s.first = first; byEvent {
				s.time = first
			}
		}
	case KindDamage, KindTorn:
		s.stats.Damages++
		s.stats.Lost += item.Range.Len()
	case KindSnapshot:
		state, err := r.State(item)
		if err != nil {
			return err
		}
		s.tell(state)
	}
	return nil
}

// packet goes on to the next packet of the run.
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

// eventsOf is the event time of the first tick of a packet, and whether the packet was published
// with the last of its events.
func eventsOf(packet []byte) (first int64, byEvent bool) {
	h, body, err := codec.ParsePacket(packet)
	if err != nil {
		return 0, false
	}
	b := codec.PacketBody(&h, body)
	var ticks [64]feed.Tick
	greatest, any := int64(minTime), false
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

// decode fills batch from the packet at hand, of which nothing is left where it returns 0.
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
		if err != nil { // the checksum holds, but not what it is of
			s.stats.Damages++
			s.stats.Lost += s.end - s.body.Seq()
		}
		if err != nil || n == 0 {
			s.inBody = false
			gone, reason := s.body.Gone()
			s.stats.Lost += gone
			if reason == codec.GoneExpired {
				s.stats.Expired += gone
			}
			s.stats.Untold += s.body.NotAsked() + s.body.Withheld()
			s.stats.Withheld += s.body.Withheld()
			if s.line != nil && s.line.Clock == PublishClock && !s.byEvent {
				s.line.Pass(0, s.time) // the packet may have no ticks
			}
		}
		if kept > 0 || !s.inBody {
			return kept
		}
	}
}

// pass moves the line on to a tick of the packet at hand that happened at event, and returns when that is due.
func (s *Source) pass(event int64) int64 {
	switch {
	case s.line == nil:
		return 0
	case s.line.Clock == PublishClock && s.byEvent:
		return s.line.Pass(0, event)
	}
	return s.line.Pass(event, s.time)
}

// passState makes ticks, which tell a state, due with the first tick of the packet after it; if there is none, when they happened.
func (s *Source) passState(ticks []feed.Tick) {
	if s.line == nil {
		return
	}
	if s.time == minTime {
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

// rename makes t one of this source; it reports false if it cannot.
func (s *Source) rename(t *feed.Tick) bool {
	t.Seq = 0
	if d := t.Definition(); d != nil {
		id, ok := s.define(t.Instrument, d)
		t.Instrument = id
		return ok
	}
	if int(t.Instrument) >= len(s.ids) || s.ids[t.Instrument] == notDefined || !t.Kind.Known() {
		s.stats.Dropped++
		return false
	}
	t.Instrument = feed.InstrumentID(s.ids[t.Instrument])
	return true
}

// define is the id here of d, which has the id recorded in the recording.
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
	for int(recorded) >= len(s.ids) {
		s.ids = append(s.ids, notDefined)
	}
	s.ids[recorded] = int64(id)
	return id, true
}

// tell makes the ticks that lead to state wait for the next packet. A state that waits already is older, and its
// definitions are known.
func (s *Source) tell(state *feed.State) {
	s.stats.Snapshots++
	out := s.waiting
	for t := range state.Entries(nil) {
		t.Flags &^= feed.FlagSnapshot
		switch t.Kind {
		case feed.KindSummary:
			continue
		case feed.KindDefinition:
			id, known := s.names[name{t.Definition().Symbol, t.Definition().Venue}]
			told := known && *s.defs[id] == *t.Definition()
			recorded := t.Instrument
			if !s.rename(&t) {
				continue
			}
			merging := s.line != nil // the merger knows what is told and what there is to clear, when it comes to it
			if !told || merging {
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

// Stats is what was come across so far.
func (s *Source) Stats() SourceStats { return s.stats }

// Close implements [feed.Source]. The files stay the caller's to close.
func (s *Source) Close() error {
	if s.err == nil {
		s.err = errSourceClosed
	}
	s.pending, s.waiting, s.run, s.inBody = nil, nil, nil, false
	return nil
}

var errSourceClosed = errors.New("recording: the source is closed")
