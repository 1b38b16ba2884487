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

// A publisher of recorded ticks keeps their numbers (Config.First), and reports the numbers that the recording lacks:
// numbers that the recording client did not ask for remain a skip, and numbers that were withheld or gone are reported
// so again, followed by a snapshot, as section "Body entries" of codec/PROTOCOL.md requires.

// ErrMoved, as the cause of the context of Serve, says that the replay continues in a sibling session at the same
// address.
var ErrMoved = errors.New("the replay continues elsewhere in the recording")

// Republish is Publish for ticks that keep their numbers: the Seq of each tick must be the next number or a greater
// one. Numbers between ticks, and after the last tick up to end, are published as not asked for. A tick whose
// instrument is undefined, because its definition was lost, is published as it is. Republish returns the errors of
// Publish, or an error if a Seq is below the next number.
func (p *Publisher) Republish(ctx context.Context, ticks []feed.Tick, end uint64) error {
	p.lock()
	p.recorded = true
	err := p.appendNumberedLocked(ctx, ticks, end)
	p.mu.Unlock()
	p.appendedSome()
	return err
}

func (p *Publisher) appendNumberedLocked(ctx context.Context, ticks []feed.Tick, end uint64) error {
	for i := 0; i < len(ticks); {
		if err := p.skipLocked(ctx, ticks[i].Seq, ticks[i].EventTime); err != nil {
			return &PublishError{Published: i, Err: err}
		}
		n := 1
		for i+n < len(ticks) && ticks[i+n].Seq == ticks[i].Seq+uint64(n) {
			n++
		}
		if err := p.appendLocked(ctx, ticks[i:i+n]); err != nil {
			partial := err.(*PublishError)
			partial.Published += i
			return partial
		}
		i += n
	}
	if end <= p.next {
		return nil
	}
	return p.skipLocked(ctx, end, p.event)
}

// Relay is Republish for whole packets of a recording, which are published unchanged except for their headers. It
// returns how many bytes of packets were published, and how many ticks they hold. It stops without an error at a
// packet that it cannot relay: one that does not follow the last number, cannot be decoded, or holds entries other
// than ticks and numbers that were not asked for. Nor does it relay definitions, because those can be refused. It
// returns the errors of Publish, except errors about ticks.
func (p *Publisher) Relay(ctx context.Context, packets []byte) (n, ticks int, err error) {
	p.lock()
	p.recorded = true
	for n < len(packets) {
		size := codec.PacketSize(packets[n:])
		k := 0
		if k, err = p.relayLocked(ctx, packets[n:n+size]); k == 0 {
			break
		}
		n, ticks = n+size, ticks+k
	}
	p.mu.Unlock()
	p.appendedSome()
	return n, ticks, err
}

// relayLocked appends packet. It returns zero ticks and no error if Relay must not publish the packet.
func (p *Publisher) relayLocked(ctx context.Context, packet []byte) (ticks int, err error) {
	if err := p.roomLocked(ctx, len(packet)); err != nil {
		return 0, err
	}
	h := codec.PacketAt(packet)
	if p.ended {
		return 0, ErrEnded
	} else if h.First != p.next || h.Count > codec.MaxSpan || h.First+h.Count > codec.MaxSeq {
		return 0, nil
	}
	all, ok := p.decodeLocked(&h, packet[codec.PacketHeader:])
	if !ok {
		return 0, nil
	}
	for left := all; len(left) > 0; {
		n, err := p.state.ApplyAll(left)
		if err != nil {
			n++ // its definition was lost: ApplyAll refuses no other ticks here
		}
		left = left[n:]
	}
	for i := range all {
		p.event = max(p.event, all[i].EventTime)
	}
	p.open, p.first, p.base, p.next = p.off, h.First, h.Base, h.First+h.Count
	p.off += copy(p.seg.buf[p.off:], packet)
	p.sealLocked()
	return len(all), nil
}

// decodeLocked returns the ticks of a packet, valid until the next call. It returns false if Relay must not publish
// the packet.
func (p *Publisher) decodeLocked(h *codec.Packet, packet []byte) ([]feed.Tick, bool) {
	body := codec.PacketBody(h, packet)
	all := p.relayed[:0]
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
	p.relayed = all
	for i := range all {
		if k := all[i].Kind; !k.Known() || k == feed.KindDefinition || k == feed.KindSummary {
			return nil, false
		}
	}
	return all, len(all) > 0 // a packet that only reports numbers as withheld or gone has no ticks
}

// skipLocked appends a skip up to, but not including, number to. base is the event time of the tick that follows.
func (p *Publisher) skipLocked(ctx context.Context, to uint64, base int64) error {
	switch {
	case to == p.next:
		return nil
	case p.ended:
		return ErrEnded
	case to < p.next || to > codec.MaxSeq || to-p.next > codec.MaxSpan:
		return fmt.Errorf("publisher: cannot skip to number %d after %d", to, p.next-1)
	}
	if p.open < 0 || p.off+codec.MaxEntry > len(p.seg.buf) || to-p.first > codec.MaxSpan {
		if err := p.openPacketLocked(ctx); err != nil {
			return err
		}
		p.base = base
	}
	p.off = len(codec.AppendSkip(p.seg.buf[:p.off], to-p.next))
	p.next = to
	return nil
}

// Skip advances the sequence by n, 1 to codec.MaxSpan, without ticks, for the reason why. Unless why is
// recording.SkipNotAsked, subscribers are also sent a snapshot as of the new head: state, which the publisher takes
// over, or its own state if state is nil. Skip returns the errors of Publish; after an error the sequence has not
// advanced.
func (p *Publisher) Skip(ctx context.Context, n uint64, why recording.SkipKind, state *feed.State) error {
	p.lock()
	var err error
	if why == recording.SkipNotAsked {
		err = p.skipLocked(ctx, p.next+n, p.event)
	} else {
		err = p.holeLocked(ctx, n, why, state)
	}
	p.mu.Unlock()
	p.appendedSome()
	return err
}

// holeLocked appends a packet that reports why n numbers have no ticks. A given state begins a new segment, and with
// it a new journal file, so that the packet and the state become visible together.
func (p *Publisher) holeLocked(ctx context.Context, n uint64, why recording.SkipKind, state *feed.State) error {
	switch {
	case p.ended:
		return ErrEnded
	case n == 0 || n > codec.MaxSpan || p.next+n > codec.MaxSeq:
		return fmt.Errorf("publisher: cannot skip %d numbers at %d", n, p.next)
	}
	p.holed.Store(true)
	for {
		if err := p.openPacketLocked(ctx); err != nil {
			return err
		}
		if state == nil || p.log.canExtend() {
			break
		}
		p.sealLocked()
		if err := p.waitForRoomLocked(ctx); err != nil {
			return err
		}
	}
	at := p.seg.buf[:p.off]
	switch why {
	case recording.SkipWithheld:
		at = codec.AppendWithheld(at, n)
	case recording.SkipExpired:
		at = codec.AppendGone(at, n, codec.GoneExpired)
	default:
		at = codec.AppendGone(at, n, codec.GoneDamaged)
	}
	p.off, p.base = len(at), 0
	p.next += n
	p.sealLocked()
	if state != nil {
		p.state = state
		p.seg, _ = p.log.extend(p.next, state.Clone())
		p.seg.restated, p.off = true, 0
	}
	return nil
}

// State returns a copy of the state as of the next number, and that number.
func (p *Publisher) State() (*feed.State, uint64) {
	p.lock()
	defer p.mu.Unlock()
	return p.state.Clone(), p.next
}

// applyRecorded applies t to state. It ignores a tick of an undefined instrument, whose definition was lost.
func applyRecorded(state *feed.State, t *feed.Tick) error {
	if err := state.Apply(t); err != nil && !isUndefined(err) {
		return err
	}
	return nil
}

func isUndefined(err error) bool {
	_, undefined := err.(*feed.UndefinedError)
	return undefined
}
