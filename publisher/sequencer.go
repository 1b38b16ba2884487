package publisher

import (
	"context"
	"fmt"
	"sync"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A sequencer numbers ticks and encodes them into the memory log. It is the one place where ticks are numbered, and the
// only one that writes to the log beyond the committed ticks. The flusher takes the sealed packets.
type sequencer struct {
	mode     codec.Mode
	now      func() int64 // wall clock in ns since the Unix epoch
	seed     uint32
	log      *memlog
	flusher  *flusher
	audience *audience

	// mu is held while ticks are encoded, never while anything blocks. Acquire it with lock, not mu.Lock, before reading
	// the fields below: lock first appends held ticks.
	mu       sync.Mutex
	held     []feed.Tick // published, in order, not yet appended to the open packet: see holdLocked
	state    *feed.State // state as of next
	next     uint64      // number of the next tick
	seg      *segment    // the segment being filled
	off      int         // offset of the next entry in seg.buf
	open     int         // offset of the open packet in seg.buf; -1 if none is open
	first    uint64      // number of the first tick of the open packet
	base     int64       // base event time of the open packet
	lastTime int64       // publish time of the last sealed packet
	event    int64       // event time of the last tick that had an event time
	ended    bool
	recorded bool          // Republish or Relay was called
	relayed  []feed.Tick   // buffer of Relay, reused by each call
	room     chan struct{} // closed and replaced whenever the flusher makes progress
	pieces   []piece       // sealed, not yet in the journal; in order
	spare    []piece       // empty slice that takePieces swaps with pieces
}

// A piece is a run of sealed packets of one segment.
type piece struct {
	seg      *segment
	from, to int
	next     uint64
	time     int64
	tried    bool // the journal may already hold part of the piece: it must be appended again unchanged
}

// begin continues at the end of the log with the given state; event is the event time of the last tick that had one.
func (s *sequencer) begin(state *feed.State, event int64) {
	s.seg, s.state, s.event, s.open = s.log.newest(), state, event, -1
	s.next, s.lastTime = s.log.head()
	s.room = make(chan struct{})
	s.held = make([]feed.Tick, 0, mostHeld)
}

// publish appends ticks: see Publisher.Publish.
func (s *sequencer) publish(ctx context.Context, ticks []feed.Tick) error {
	s.mu.Lock()
	n := 0
	if len(ticks) < heldAtOnce {
		n = s.holdLocked(ticks)
	}
	var err error
	if n < len(ticks) {
		s.settleLocked()
		err = s.appendLocked(ctx, ticks[n:])
	}
	s.mu.Unlock()
	if partial, ok := err.(*PublishError); ok {
		partial.Published += n
	}
	return err
}

// define is Define with an event time for the definition tick; 0 selects the event time of the last tick. It also
// reports whether a tick was published.
func (s *sequencer) define(ctx context.Context, d feed.Definition, eventTime int64) (_ feed.InstrumentID, published bool, _ error) {
	if err := d.Validate(); err != nil {
		return 0, false, fmt.Errorf("publisher: %w", err)
	}
	s.lock()
	id, known := s.state.Lookup(d.Symbol, d.Venue)
	if known {
		if old, _ := s.state.Definition(id); *old == d {
			s.mu.Unlock()
			return id, false, nil
		}
	} else if id = feed.InstrumentID(s.state.Len()); id >= feed.MaxInstruments {
		s.mu.Unlock()
		return 0, false, fmt.Errorf("publisher: %s would be instrument %d, at most %d", d.Name(), id, feed.MaxInstruments)
	}
	if eventTime == 0 {
		eventTime = s.event
	}
	def := d
	t := feed.Tick{Kind: feed.KindDefinition, Instrument: id, EventTime: eventTime, Extra: &feed.Extra{Definition: &def}}
	err := s.appendLocked(ctx, []feed.Tick{t})
	s.mu.Unlock()
	return id, err == nil, err
}

// lock acquires s.mu and appends the held ticks.
func (s *sequencer) lock() {
	s.mu.Lock()
	s.settleLocked()
}

// Bounds of the held ticks.
const (
	mostHeld   = 64 // ticks that are held at most
	heldAtOnce = 8  // calls of Publish with this many ticks or more append them directly
)

// holdLocked holds the first of ticks, to append them later together with others. It stops at the first tick that may
// be refused, or may not fit into the open packet, and returns how many it holds. A tick appended with many others
// costs a third of a tick appended alone, and the typical call of Publish has one. Held ticks are numbered by
// settleLocked.
func (s *sequencer) holdLocked(ticks []feed.Tick) (n int) {
	if s.ended || s.open < 0 || s.base == 0 {
		return 0
	}
	for n = range ticks {
		t := &ticks[n]
		if len(s.held) == mostHeld {
			s.settleLocked()
		}
		at := len(s.held)
		if !s.state.Defined(t.Instrument) || !codec.IsFixed(t) || s.off+at*codec.MaxFixed+codec.MaxEntry > s.fullLocked() {
			return n
		}
		s.held = s.held[:at+1]
		s.held[at] = *t
	}
	return len(ticks)
}

// settleLocked appends the held ticks.
func (s *sequencer) settleLocked() {
	if len(s.held) == 0 {
		return
	}
	if n := s.appendFixedLocked(s.held); n < len(s.held) {
		panic(fmt.Sprintf("publisher: internal error: of %d ticks that were held, %d were appended", len(s.held), n))
	}
	s.held = s.held[:0]
}

// appendLocked encodes ticks into the open packet, sealing packets and opening segments as they fill. It releases
// s.mu while it waits for room.
func (s *sequencer) appendLocked(ctx context.Context, ticks []feed.Tick) error {
	for i := 0; i < len(ticks); {
		if n := s.appendFixedLocked(ticks[i:]); n > 0 {
			i += n
			continue
		}
		if err := s.appendTickLocked(ctx, &ticks[i]); err != nil {
			return &PublishError{Published: i, Err: err}
		}
		i++
	}
	return nil
}

// appendFixedLocked appends the leading ticks that have the common fixed layout and fit into the open packet, and
// returns how many. It is the fast path of appendLocked; appendTickLocked handles the other ticks and all errors.
func (s *sequencer) appendFixedLocked(ticks []feed.Tick) int {
	if s.ended || s.open < 0 || s.base == 0 {
		return 0
	}
	full := s.fullLocked()
	if s.off >= full {
		return 0
	}
	dst := s.seg.buf[:s.off:full]
	body, n, latest := codec.AppendFixed(dst, ticks, s.base, s.event)
	applied, err := s.state.ApplyAll(ticks[:n])
	if err != nil {
		body, _, latest = codec.AppendFixed(dst, ticks[:applied], s.base, s.event)
	}
	s.off, s.event = len(body), latest
	s.next += uint64(applied)
	return applied
}

// fullLocked returns the offset at which the buffer of the open packet ends.
func (s *sequencer) fullLocked() int {
	return min(s.open+codec.PacketHeader+packetTarget+codec.MaxEntry, len(s.seg.buf))
}

func (s *sequencer) appendTickLocked(ctx context.Context, t *feed.Tick) error {
	if s.ended {
		return ErrEnded
	}
	if err := codec.ValidateTick(t); err != nil {
		return err
	}
	if t.Kind == feed.KindSummary {
		return fmt.Errorf("a summary cannot be published: it stands in snapshots only")
	}
	if id := t.Instrument; t.Kind == feed.KindDefinition && s.mode != codec.ModeReplay && int(id) > s.state.Len() {
		return fmt.Errorf("definition of instrument %d: ids are given in order, and the next one is %d", id, s.state.Len())
	}
	if s.open < 0 || s.off-s.open > codec.PacketHeader+packetTarget || s.off+codec.MaxEntry > len(s.seg.buf) ||
		s.base == 0 && t.EventTime != 0 { // offsets from base 0 would all be wide
		if err := s.openPacketLocked(ctx); err != nil {
			return err
		}
		s.base = t.EventTime
	}
	if err := s.state.Apply(t); err != nil && !(s.recorded && isUndefined(err)) {
		return err
	}
	s.off = len(codec.AppendTick(s.seg.buf[:s.off], t, s.base))
	if t.EventTime > s.event {
		s.event = t.EventTime
	}
	s.next++
	return nil
}

// openPacketLocked seals the open packet and opens the next one.
func (s *sequencer) openPacketLocked(ctx context.Context) error {
	if err := s.roomLocked(ctx, codec.PacketHeader+codec.MaxEntry); err != nil {
		return err
	}
	s.open, s.first = s.off, s.next
	s.off += codec.PacketHeader
	return nil
}

// roomLocked seals the open packet and makes room for size bytes of the next one.
func (s *sequencer) roomLocked(ctx context.Context, size int) error {
	s.sealLocked()
	for s.off+size > len(s.seg.buf) {
		if err := s.flusher.usable(); err != nil {
			return err
		}
		var state *feed.State
		if s.audience.mustWait() {
			if err := s.waitForSubscribersLocked(ctx); err != nil {
				return err
			}
			continue
		}
		if s.log.stateDue(s.next, s.state.Len()) {
			state = s.state.Clone()
		}
		if seg, ok := s.log.extend(s.next, state); ok {
			s.seg, s.off = seg, 0
			break
		}
		if err := s.waitForRoomLocked(ctx); err != nil {
			return err
		}
	}
	return s.flusher.usable()
}

// waitForRoomLocked releases the lock and waits until the flusher has made progress. Another goroutine may have
// opened a packet meanwhile, also in a new segment; that packet is sealed.
func (s *sequencer) waitForRoomLocked(ctx context.Context) error {
	room := s.room
	s.mu.Unlock()
	s.flusher.wake()
	select {
	case <-room:
	case <-s.flusher.closing:
	case <-ctx.Done():
	}
	s.lock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if s.ended {
		return ErrEnded
	}
	s.sealLocked()
	return nil
}

// waitForSubscribersLocked releases the lock and waits for the audience.
func (s *sequencer) waitForSubscribersLocked(ctx context.Context) error {
	s.mu.Unlock()
	defer s.lock()
	s.flusher.wake()
	return s.audience.wait(ctx, s.flusher.closing)
}

// sealLocked seals the open packet for the flusher, or discards it if it has no ticks.
func (s *sequencer) sealLocked() {
	if s.open < 0 {
		return
	}
	if s.next == s.first { // the tick that opened it was refused
		s.off, s.open = s.open, -1
		return
	}
	s.lastTime = max(s.lastTime, s.now())
	codec.SealPacket(s.seg.buf[s.open:s.off], &codec.Packet{
		First: s.first, Count: s.next - s.first, PublishTime: s.lastTime, Base: s.base,
	}, s.seed)
	if n := len(s.pieces); n > 0 && s.pieces[n-1].seg == s.seg && !s.pieces[n-1].tried {
		l := &s.pieces[n-1]
		l.to, l.next, l.time = s.off, s.next, s.lastTime
	} else {
		s.pieces = append(s.pieces, piece{seg: s.seg, from: s.open, to: s.off, next: s.next, time: s.lastTime})
	}
	s.open = -1
}

// takePieces seals the open packet and returns all pieces that are not in the journal. The flusher gives the slice back with
// piecesDone or putBack.
func (s *sequencer) takePieces() []piece {
	s.lock()
	defer s.mu.Unlock()
	s.sealLocked()
	pieces := s.pieces
	s.pieces = s.spare[:0]
	return pieces
}

// putBack returns pieces that the journal did not take, ahead of those sealed meanwhile.
func (s *sequencer) putBack(pieces []piece) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pieces = append(append([]piece(nil), pieces...), s.pieces...)
	s.mergePiecesLocked()
}

// mergePiecesLocked joins neighbouring pieces of one segment, so that there are about as few pieces as segments.
func (s *sequencer) mergePiecesLocked() {
	out := s.pieces[:0]
	for _, x := range s.pieces {
		if n := len(out); n > 0 && out[n-1].seg == x.seg && !out[n-1].tried {
			out[n-1].to, out[n-1].next, out[n-1].time = x.to, x.next, x.time
			continue
		}
		out = append(out, x)
	}
	s.pieces = out
}

// piecesDone notes that the flusher is done with pieces, which were taken, and wakes the callers that wait for room.
func (s *sequencer) piecesDone(pieces []piece) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spare = pieces
	if len(pieces) > 0 {
		s.wakeLocked()
	}
}

func (s *sequencer) wakeLocked() {
	close(s.room)
	s.room = make(chan struct{})
}

// wakeWaiters wakes the callers that wait for room, after the journal has failed for good.
func (s *sequencer) wakeWaiters() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wakeLocked()
}

// pending reports whether ticks are appended that the flusher has not taken.
func (s *sequencer) pending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open >= 0 || len(s.pieces) > 0
}

// seal seals the open packet. It returns the next number, and a channel that is closed when the flusher makes progress.
func (s *sequencer) seal() (next uint64, progress <-chan struct{}) {
	s.lock()
	defer s.mu.Unlock()
	s.sealLocked()
	return s.next, s.room
}

// endSession refuses ticks from now on, and returns the number after the last one.
func (s *sequencer) endSession() (final uint64) {
	s.lock()
	defer s.mu.Unlock()
	s.ended = true
	return s.next
}

// appended returns the number of the next tick.
func (s *sequencer) appended() uint64 {
	s.lock()
	defer s.mu.Unlock()
	return s.next
}

// catalog returns all instruments defined so far. It may include definitions newer than any number read before the
// call.
func (s *sequencer) catalog() feed.Catalog {
	s.lock()
	defer s.mu.Unlock()
	return s.state.Catalog()
}

// copyState returns a copy of the state as of the next number, and that number.
func (s *sequencer) copyState() (*feed.State, uint64) {
	s.lock()
	defer s.mu.Unlock()
	return s.state.Clone(), s.next
}
