package codec

import "tickfeed/feed"

// AppendRest appends the part of packet p that covers the number from and those after it, as a packet of the line with the
// given seed. Times and entries keep their bytes, except an entry that covers numbers on both sides of from, which is
// written anew. The number from must be in p, but not its first. An error wraps ErrMalformed.
func AppendRest(dst, p []byte, from uint64, seed uint32) ([]byte, error) {
	h, body, err := ParsePacket(p)
	if err != nil {
		return dst, err
	}
	if from <= h.First || from >= h.First+h.Count {
		return dst, malformed("packet %v does not hold what is before and from %d", h.Range(), from)
	}
	rest := make([]byte, 0, 16)
	for before := from - h.First; before > 0; {
		e, err := EntryAt(body)
		if err != nil {
			return dst, err
		}
		if e.Covers == 0 {
			return dst, malformed("packet: an entry covers nothing")
		}
		if e.Covers > before {
			if rest, err = appendCovers(rest, body[:e.Size], e.Covers, e.Covers-before); err != nil {
				return dst, err
			}
			before = 0
		} else {
			before -= e.Covers
		}
		body = body[e.Size:]
	}
	h.Count -= from - h.First
	h.First = from
	return AppendPacket(dst, &h, append(rest, body...), seed), nil
}

// appendCovers appends entry, a skip, withheld or gone entry that covers the given count of numbers, for n of them.
func appendCovers(dst, entry []byte, covers, n uint64) ([]byte, error) {
	var none [1]feed.Tick
	b := PacketBody(&Packet{First: 1, Count: covers}, entry)
	if _, err := b.Decode(none[:]); err != nil {
		return dst, err
	}
	if _, reason := b.Gone(); reason != 0 {
		return AppendGone(dst, n, reason), nil
	}
	if b.Withheld() > 0 {
		return AppendWithheld(dst, n), nil
	}
	return AppendSkip(dst, n), nil
}
