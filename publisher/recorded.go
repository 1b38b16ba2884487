package publisher

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
)

// A Recorded publishes recorded ticks. It keeps their numbers, and reports the numbers that the recording lacks: numbers
// that the recording client did not ask for remain a skip, and numbers that were withheld or gone are reported so again,
// followed by a snapshot, as section "Body entries" of codec/PROTOCOL.md requires.
type Recorded struct{ *Publisher }

// An Origin is where recorded ticks come from.
type Origin struct {
	Session feed.SessionID // the recorded session; 0 if unknown
	First   uint64         // number that the session of the publisher begins with; 0 for 1
	State   *feed.State    // state as of First, which the publisher takes over; nil for an empty one
}

// NewRecorded is New for recorded ticks; the mode is codec.ModeReplay. If origin.First is not 0, the journal must be
// empty. NewRecorded returns the errors of New.
func NewRecorded(cfg Config, origin Origin) (*Recorded, error) {
	cfg.Mode = codec.ModeReplay
	p, err := open(cfg, origin)
	if err != nil {
		return nil, err
	}
	return &Recorded{p}, nil
}

// ErrMoved, as the cause of the context of Serve, says that the replay continues in a sibling session at the same
// address.
var ErrMoved = errors.New("the replay continues elsewhere in the recording")

// Republish is Publish for ticks that keep their numbers: the Seq of each tick must be the next number or a greater
// one. Numbers between ticks, and after the last tick up to end, are published as not asked for. A tick whose
// instrument is undefined, because its definition was lost, is published as it is. Republish returns the errors of
// Publish, or an error if a Seq is below the next number.
func (r *Recorded) Republish(ctx context.Context, ticks []feed.Tick, end uint64) error {
	s := &r.seq
	s.lock()
	s.recorded = true
	err := s.appendNumberedLocked(ctx, ticks, end)
	s.mu.Unlock()
	r.flusher.flushSome()
	return err
}

func (s *sequencer) appendNumberedLocked(ctx context.Context, ticks []feed.Tick, end uint64) error {
	for i := 0; i < len(ticks); {
		if err := s.skipLocked(ctx, ticks[i].Seq, ticks[i].EventTime); err != nil {
			return &PublishError{Published: i, Err: err}
		}
		n := 1
		for i+n < len(ticks) && ticks[i+n].Seq == ticks[i].Seq+uint64(n) {
			n++
		}
		if err := s.appendLocked(ctx, ticks[i:i+n]); err != nil {
			partial := err.(*PublishError)
			partial.Published += i
			return partial
		}
		i += n
	}
	if end <= s.next {
		return nil
	}
	return s.skipLocked(ctx, end, s.event)
}

// Relay is Republish for whole packets of a recording, which are published unchanged except for their headers. It
// returns how many bytes of packets were published, and how many ticks they hold. It stops without an error at a
// packet that it cannot relay: one that does not follow the last number, cannot be decoded, or holds entries other
// than ticks and numbers that were not asked for. Nor does it relay definitions, because those can be refused. It
// returns the errors of Publish, except errors about ticks.
func (r *Recorded) Relay(ctx context.Context, packets []byte) (n, ticks int, err error) {
	s := &r.seq
	s.lock()
	s.recorded = true
	for n < len(packets) {
		size := codec.PacketSize(packets[n:])
		k := 0
		if k, err = s.relayLocked(ctx, packets[n:n+size]); k == 0 {
			break
		}
		n, ticks = n+size, ticks+k
	}
	s.mu.Unlock()
	r.flusher.flushSome()
	return n, ticks, err
}

// relayLocked appends packet. It returns zero ticks and no error if Relay must not publish the packet.
func (s *sequencer) relayLocked(ctx context.Context, packet []byte) (ticks int, err error) {
	if err := s.roomLocked(ctx, len(packet)); err != nil {
		return 0, err
	}
	h := codec.PacketAt(packet)
	if s.ended {
		return 0, ErrEnded
	} else if h.First != s.next || h.Count > codec.MaxSpan || h.First+h.Count > codec.MaxSeq {
		return 0, nil
	}
	all, ok := s.decodeLocked(&h, packet[codec.PacketHeader:])
	if !ok {
		return 0, nil
	}
	_, _ = s.state.ApplyKnown(all) // no error: decodeLocked has left only ticks that are refused if their definition was lost
	for i := range all {
		s.event = max(s.event, all[i].EventTime)
	}
	s.open, s.first, s.base, s.next = s.off, h.First, h.Base, h.First+h.Count
	s.off += copy(s.seg.buf[s.off:], packet)
	s.sealLocked()
	return len(all), nil
}

// decodeLocked returns the ticks of a packet, valid until the next call. It returns false if Relay must not publish
// the packet.
func (s *sequencer) decodeLocked(h *codec.Packet, packet []byte) ([]feed.Tick, bool) {
	body := codec.PacketBody(h, packet)
	all := s.relayed[:0]
	for {
		all = slices.Grow(all, 64)
		n, err := body.Decode(all[len(all):cap(all)])
		if err != nil {
			return nil, false
		}
		if n == 0 {
			break
		}
		all = all[:len(all)+n]
	}
	s.relayed = all
	for i := range all {
		if k := all[i].Kind; !k.Known() || k == feed.KindDefinition || k == feed.KindSummary {
			return nil, false
		}
	}
	return all, len(all) > 0 // a packet that only reports numbers as withheld or gone has no ticks
}

// skipLocked appends a skip up to, but not including, number to. base is the event time of the tick that follows.
func (s *sequencer) skipLocked(ctx context.Context, to uint64, base int64) error {
	switch {
	case to == s.next:
		return nil
	case s.ended:
		return ErrEnded
	case to < s.next || to > codec.MaxSeq || to-s.next > codec.MaxSpan:
		return fmt.Errorf("publisher: cannot skip to number %d after %d", to, s.next-1)
	}
	if s.open < 0 || s.off+codec.MaxEntry > len(s.seg.buf) || to-s.first > codec.MaxSpan {
		if err := s.openPacketLocked(ctx); err != nil {
			return err
		}
		s.base = base
	}
	s.off = len(codec.AppendSkip(s.seg.buf[:s.off], to-s.next))
	s.next = to
	return nil
}

// Skip advances the sequence by n, 1 to codec.MaxSpan, without ticks, for the reason why. Unless why is
// recording.SkipNotAsked, subscribers are also sent a snapshot as of the new head: state, which the publisher takes
// over, or its own state if state is nil. Skip returns the errors of Publish; after an error the sequence has not
// advanced.
func (r *Recorded) Skip(ctx context.Context, n uint64, why recording.SkipKind, state *feed.State) error {
	s := &r.seq
	s.lock()
	var err error
	if why == recording.SkipNotAsked {
		err = s.skipLocked(ctx, s.next+n, s.event)
	} else {
		err = s.holeLocked(ctx, n, why, state)
	}
	s.mu.Unlock()
	r.flusher.flushSome()
	return err
}

// holeLocked appends a packet that reports why n numbers have no ticks. A given state begins a new segment, and with
// it a new journal file, so that the packet and the state become visible together.
func (s *sequencer) holeLocked(ctx context.Context, n uint64, why recording.SkipKind, state *feed.State) error {
	switch {
	case s.ended:
		return ErrEnded
	case n == 0 || n > codec.MaxSpan || s.next+n > codec.MaxSeq:
		return fmt.Errorf("publisher: cannot skip %d numbers at %d", n, s.next)
	}
	s.log.holed.Store(true)
	for {
		if err := s.openPacketLocked(ctx); err != nil {
			return err
		}
		if state == nil || s.log.canExtend() {
			break
		}
		s.sealLocked()
		if err := s.waitForRoomLocked(ctx); err != nil {
			return err
		}
	}
	at := s.seg.buf[:s.off]
	switch why {
	case recording.SkipWithheld:
		at = codec.AppendWithheld(at, n)
	case recording.SkipExpired:
		at = codec.AppendGone(at, n, codec.GoneExpired)
	default:
		at = codec.AppendGone(at, n, codec.GoneDamaged)
	}
	s.off, s.base = len(at), 0
	s.next += n
	s.sealLocked()
	if state != nil {
		s.state = state
		s.seg, _ = s.log.extend(s.next, state.Clone())
		s.seg.restated, s.off = true, 0
	}
	return nil
}

func isUndefined(err error) bool {
	_, undefined := err.(*feed.UndefinedError)
	return undefined
}
