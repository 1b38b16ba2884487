package lab

import (
	"tickfeed/codec"
	"tickfeed/feed"
)

// split splits a packet before number at, which it covers, and seals both parts. left is nil if at is its first number.
// It returns false if the packet cannot be split there: at is inside numbers that are withheld or gone, or the body is
// not as expected.
func split(raw []byte, at uint64, seed uint32) (left, right []byte, ok bool) {
	h, body, err := codec.ParsePacket(raw)
	if err != nil {
		return nil, nil, false
	}
	if at <= h.First {
		return nil, raw, true
	}
	seq, offset := h.First, 0
	for offset < len(body) && seq < at {
		e, err := codec.EntryAt(body[offset:])
		if err != nil || e.Size <= 0 || e.Hole {
			return nil, nil, false
		}
		if seq+e.Covers > at { // inside a skip
			first := codec.AppendSkip(append([]byte(nil), body[:offset]...), at-seq)
			rest := append(codec.AppendSkip(nil, seq+e.Covers-at), body[offset+e.Size:]...)
			return seal(&h, h.First, at, first, seed), seal(&h, at, h.First+h.Count, rest, seed), true
		}
		seq, offset = seq+e.Covers, offset+e.Size
	}
	if seq != at {
		return nil, nil, false
	}
	left = seal(&h, h.First, at, body[:offset], seed)
	if at == h.First+h.Count {
		return left, nil, true
	}
	return left, seal(&h, at, h.First+h.Count, body[offset:], seed), true
}

// cleave is split, also of a packet of numbers that are withheld or gone, which has no other entry.
func cleave(raw []byte, at uint64, seed uint32) (left, right []byte, ok bool) {
	if left, right, ok = split(raw, at, seed); ok {
		return left, right, ok
	}
	h, body, err := codec.ParsePacket(raw)
	if err != nil {
		return nil, nil, false
	}
	b := codec.PacketBody(&h, body)
	var none [1]feed.Tick
	if n, err := b.Decode(none[:]); n > 0 || err != nil || at <= h.First || at >= h.First+h.Count {
		return nil, nil, false
	}
	part := func(from, to uint64) []byte {
		if _, reason := b.Gone(); reason != 0 {
			return seal(&h, from, to, codec.AppendGone(nil, to-from, reason), seed)
		}
		return seal(&h, from, to, codec.AppendWithheld(nil, to-from), seed)
	}
	return part(h.First, at), part(at, h.First+h.Count), true
}

func seal(h *codec.Packet, from, to uint64, body []byte, seed uint32) []byte {
	p := *h
	p.First, p.Count = from, to-from
	return codec.AppendPacket(nil, &p, body, seed)
}

// forge moves a packet by one number and seals it again.
func forge(raw []byte, seed uint32) []byte {
	h, body, err := codec.ParsePacket(raw)
	if err != nil {
		return raw
	}
	return seal(&h, h.First+1, h.First+1+h.Count, append([]byte(nil), body...), seed)
}

// flip returns a copy of raw with a bit of its last byte changed.
func flip(raw []byte) []byte {
	b := append([]byte(nil), raw...)
	b[len(b)-1] ^= 1
	return b
}
