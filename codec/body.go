package codec

import (
	"encoding/binary"
	"math"

	"tickfeed/feed"
)

// A Body decodes the entries of a packet or snapshot part. The zero Body is empty. It refers to
// the bytes it was given; the ticks it returns do not.
type Body struct {
	rest      []byte
	base      int64
	seq       uint64 // number of the next entry; 0 in a snapshot part
	snapshot  bool
	scattered bool // fixed-width entries have other entries between them
	notAsked  uint64
	unknown   uint64
	withheld  uint64
	gone      uint64
	reason    GoneReason
	first     uint64
	remaining uint64 // count of numbers that the entries may still cover
	kept      *kept  // nil until needed
}

// PacketBody returns the Body of a packet with the header h.
func PacketBody(h *Packet, body []byte) Body {
	return Body{rest: body, base: h.Base, seq: h.First, first: h.First, remaining: h.Count}
}

// PartBody returns the Body of a snapshot part. Its ticks have FlagSnapshot and no Seq.
func PartBody(p *SnapshotPart) Body {
	return Body{rest: p.Body, base: p.Base, snapshot: true, remaining: math.MaxUint64}
}

// NotAsked returns the count of numbers skipped so far because they were not asked for.
func (b *Body) NotAsked() uint64 { return b.notAsked }

// Unknown returns the count of ticks so far whose kind this package does not know.
func (b *Body) Unknown() uint64 { return b.unknown }

// Seq returns the number of the next entry, or the end of the packet's range after the last entry.
func (b *Body) Seq() uint64 { return b.seq }

// Withheld returns the count of numbers that the packet withholds under the slow-consumer policy. If it is
// not 0, the packet has no ticks. It is valid once Decode has returned 0 ticks.
func (b *Body) Withheld() uint64 { return b.withheld }

// Gone returns the count of numbers that the packet reports as gone, and the reason. If the count is not 0,
// the packet has no ticks. It is valid once Decode has returned 0 ticks.
func (b *Body) Gone() (uint64, GoneReason) { return b.gone, b.reason }

// Decode decodes ticks into batch, overwriting whole ticks, and returns their number. It returns
// 0 and nil at the end of the body, after checking that the entries cover as many numbers as the header
// announced. An error wraps ErrMalformed; the ticks before it, which Decode returns as well, are valid.
// Only ticks with Extra, which are rare, allocate.
func (b *Body) Decode(batch []feed.Tick) (int, error) {
	rest, seq, base := b.rest, b.seq, b.base
	far := !isPlain(base) // every sum of base and offset needs a check
	n := 0
	for n < len(batch) && len(rest) > 0 {
		room := batch[n:]
		if uint64(len(room)) > b.remaining {
			room = room[:b.remaining]
		}
		k, size := 0, 0
		switch m := rest[0]; m {
		case headQuote, headTrade:
			if far {
				break
			}
			if b.scattered {
				k, size = decodeScalar(rest, room[:min(fixedRun, len(room))], base, seq)
			} else {
				k, size = decodeFixed(rest, room, base, seq)
			}
			b.scattered = k < fixedRun
		case 0xcd: // a skip as AppendSkip writes it; decodeEntry reports an invalid one
			if len(rest) >= 3 && !b.snapshot {
				if skip := uint64(binary.BigEndian.Uint16(rest[1:])); skip != 0 && skip <= b.remaining {
					seq += skip
					b.notAsked += skip
					b.remaining -= skip
					rest = rest[3:]
					continue
				}
			}
		}
		if b.snapshot {
			for i := range room[:k] {
				room[i].Seq = 0
				room[i].Flags |= feed.FlagSnapshot
			}
		} else {
			seq += uint64(k)
			b.remaining -= uint64(k)
		}
		n += k
		if rest = rest[size:]; n == len(batch) || len(rest) == 0 {
			break
		}
		b.rest, b.seq = rest, seq
		size, isTick, err := b.decodeEntry(&batch[n])
		if err != nil {
			return n, err
		}
		rest, seq = rest[size:], b.seq
		if isTick {
			n++
		}
	}
	b.rest, b.seq = rest, seq
	if n == 0 && len(rest) == 0 && !b.snapshot && b.remaining > 0 {
		return 0, malformed("packet: entries end at seq %d, %d numbers early", seq, b.remaining)
	}
	return n, nil
}

// decodeEntry decodes an entry of any kind and accounts for its numbers.
func (b *Body) decodeEntry(t *feed.Tick) (size int, isTick bool, err error) {
	if size := b.decodeCompact(t); size > 0 {
		return size, true, b.number(t)
	}
	c := cursor{p: b.rest, kept: b.kept}
	if m := b.rest[0]; m&0xf0 != 0x90 && m != 0xdc && m != 0xdd {
		n := c.int("skip")
		switch {
		case c.err != nil:
			return 0, false, c.err
		case b.snapshot || n == 0 || n == math.MinInt64:
			return 0, false, malformed("skip of %d numbers", n)
		case n > 0:
			b.notAsked += uint64(n)
			return c.at, false, b.cover(uint64(n))
		}
		b.withheld = uint64(-n)
		return c.at, false, b.coverAll(b.withheld)
	}
	elements := c.entryLen()
	code := c.uint("code")
	if c.err == nil && code == kindGone<<1|1 {
		return 0, false, malformed("gone: code %d, want %d", code, kindGone<<1)
	}
	if c.err == nil && code>>1 == kindGone {
		n, reason := c.uint("gone: count"), c.uint("gone: reason")
		c.skip(elements - 3)
		switch {
		case c.err != nil:
			return 0, false, c.err
		case b.snapshot || n == 0 || reason == 0 || reason > math.MaxUint8:
			return 0, false, malformed("gone: %d numbers, reason %d", n, reason)
		}
		b.gone, b.reason = n, GoneReason(reason)
		return c.at, false, b.coverAll(n)
	}
	*t = feed.Tick{}
	c.tick(t, elements, code, b.base)
	b.kept = c.kept
	switch {
	case c.err != nil:
		return 0, false, c.err
	case b.snapshot:
	case t.Kind == feed.KindSummary:
		return 0, false, malformed("summary of instrument %d outside a snapshot", t.Instrument)
	case !t.Kind.Known():
		b.unknown++
	}
	return c.at, true, b.number(t)
}

// number gives t the next number, or in a snapshot, whose ticks have no numbers, sets FlagSnapshot.
func (b *Body) number(t *feed.Tick) error {
	if b.snapshot {
		t.Seq = 0
		t.Flags |= feed.FlagSnapshot
		return nil
	}
	t.Seq = b.seq
	return b.cover(1)
}

// coverAll is cover for an entry that must be the packet's only one.
func (b *Body) coverAll(n uint64) error {
	if b.seq != b.first || n != b.remaining {
		return malformed("packet: an entry for %d withheld or gone numbers is not the only one", n)
	}
	return b.cover(n)
}

func (b *Body) cover(n uint64) error {
	if n > b.remaining {
		return malformed("packet: entries cover more numbers than its count, at seq %d", b.seq)
	}
	b.seq += n
	b.remaining -= n
	return nil
}
