package publisher

import (
	"tickfeed/codec"
	"tickfeed/feed"
)

// wanted is the set of instruments that a filter matches. Ids and names of a lineage belong
// together for good, so that it only ever grows, by definitions.
type wanted struct {
	filter codec.Filter
	bits   []uint64 // by instrument id
}

// newWanted is the set for filter among the instruments that state knows; nil for all.
func newWanted(filter codec.Filter, state *feed.State) *wanted {
	if filter.All() {
		return nil
	}
	w := &wanted{filter: filter}
	for t := range state.Definitions(nil) {
		w.define(t.Instrument, t.Definition())
	}
	return w
}

func (w *wanted) define(id feed.InstrumentID, d *feed.Definition) {
	if !w.filter.Match(d) {
		return
	}
	for int(id/64) >= len(w.bits) {
		w.bits = append(w.bits, 0)
	}
	w.bits[id/64] |= 1 << (id % 64)
}

// has reports whether the filter wants instrument id. A nil set has all.
func (w *wanted) has(id feed.InstrumentID) bool {
	return w == nil || int(id/64) < len(w.bits) && w.bits[id/64]>>(id%64)&1 != 0
}

// chunkTarget is about how much a chunk holds that had to be made, in bytes.
const chunkTarget = 128 << 10

// filterPackets appends to dst what the filter lets through of packets, until dst is about
// full. It returns how many bytes of packets it used and the number after what dst tells:
// numbers that were left out at the end stay pending until there is something to tell, or
// until skip.
func (l *line) filterPackets(packets, dst []byte) (out []byte, used int, next uint64) {
	next = l.next
	for used < len(packets) && len(dst) < chunkTarget {
		size := codec.PacketSize(packets[used:])
		h := codec.PacketAt(packets[used:])
		body := packets[used+codec.PacketHeader : used+size]
		used += size
		end := h.First + h.Count
		l.read = end
		if !l.anyWanted(body) {
			continue
		}
		at := len(dst)
		dst = append(dst, make([]byte, codec.PacketHeader)...)
		first := h.First
		var skip uint64
		if next > 0 && next < h.First {
			skip, first = h.First-next, next
		}
		dst = l.filterBody(dst, body, skip)
		h.First, h.Count = first, end-first
		codec.SealPacket(dst[at:], &h, l.seed)
		next = end
	}
	return dst, used, next
}

// anyWanted reports whether a body has a tick that the filter wants; it learns definitions.
func (l *line) anyWanted(body []byte) bool {
	for len(body) > 0 {
		e := l.entry(body)
		if e.Tick && l.wanted.has(e.Instrument) {
			return true
		}
		body = body[e.Size:]
	}
	return false
}

// filterBody appends the wanted entries of body, after a skip, with skips between them.
func (l *line) filterBody(dst, body []byte, skip uint64) []byte {
	for len(body) > 0 {
		e := l.entry(body)
		if e.Tick && l.wanted.has(e.Instrument) {
			if skip > 0 {
				dst = codec.AppendSkip(dst, skip)
				skip = 0
			}
			dst = append(dst, body[:e.Size]...)
		} else {
			skip += e.Covers
		}
		body = body[e.Size:]
	}
	if skip > 0 {
		dst = codec.AppendSkip(dst, skip)
	}
	return dst
}

func (l *line) entry(body []byte) codec.Entry {
	e, err := codec.EntryAt(body)
	if err != nil {
		panic("publisher: internal error: the log holds a malformed entry: " + err.Error())
	}
	if e.Kind == feed.KindDefinition && e.Tick && !l.wanted.has(e.Instrument) {
		l.learn(body[:e.Size])
	}
	return e
}

// learn adds the instrument that a definition entry defines, if the filter matches it.
func (l *line) learn(entry []byte) {
	var t [1]feed.Tick
	b := codec.PacketBody(&codec.Packet{First: 1, Count: 1}, entry)
	if _, err := b.Decode(t[:]); err != nil {
		panic("publisher: internal error: the log holds a malformed definition: " + err.Error())
	}
	l.wanted.define(t[0].Instrument, t[0].Definition())
}
