package publisher

import (
	"time"

	"tickfeed/codec"
	"tickfeed/feed"
)

// wanted is the set of instruments that a filter matches. Ids and names of a lineage belong
// together for good, so that it only ever grows, by definitions.
type wanted struct {
	filter codec.Filter
	bits   []uint64            // by instrument id
	ids    []feed.InstrumentID // the same, in no order
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
	if !w.filter.Match(d) || w.has(id) {
		return
	}
	w.ids = append(w.ids, id)
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

// A filtered is packets in the making, of the ticks that a filter wants. Ticks of packets that
// were published at about the same time are told in one.
type filtered struct {
	dst  []byte
	seed uint32
	next uint64 // number after what the whole packets in dst tell, or where they begin

	open  bool
	at    int          // of the open packet in dst
	h     codec.Packet // its header, but for Count
	told  uint64       // number after its last tick
	until uint64       // number after the packet of the log that its last tick is of
	since int64        // publish time of the first packet of the log in it
}

// mergeTime is how far apart packets may be published whose ticks a filter puts into one.
const mergeTime = time.Millisecond

// add adds a tick, numbered seq, of a packet of the log whose header is h.
func (f *filtered) add(h *codec.Packet, entry []byte, seq uint64) {
	if f.open && (h.PublishTime-f.since > int64(mergeTime) || len(f.dst)-f.at > codec.PacketHeader+packetTarget ||
		!codec.CanRebase(entry, h.Base-f.h.Base)) {
		f.until = min(f.until, seq) // in the midst of a packet of the log
		f.seal()
	}
	if !f.open {
		if f.next == 0 {
			f.next = h.First
		}
		f.open, f.at, f.told, f.since = true, len(f.dst), f.next, h.PublishTime
		f.h = codec.Packet{First: f.next, Base: h.Base}
		f.dst = append(f.dst, make([]byte, codec.PacketHeader)...)
	}
	if seq > f.told {
		f.dst = codec.AppendSkip(f.dst, seq-f.told)
	}
	f.dst = codec.AppendRebased(f.dst, entry, h.Base-f.h.Base)
	f.told, f.until, f.h.PublishTime = seq+1, h.First+h.Count, h.PublishTime
}

// seal ends the open packet, if there is one, with the packet of the log that its last tick is of.
func (f *filtered) seal() {
	if !f.open {
		return
	}
	if f.until > f.told {
		f.dst = codec.AppendSkip(f.dst, f.until-f.told)
	}
	f.h.Count = f.until - f.h.First
	codec.SealPacket(f.dst[f.at:], &f.h, f.seed)
	f.open, f.next = false, f.until
}

// filter appends to dst what the filter lets through of packets, until dst is about full. It
// returns how many bytes of packets it used and the number after what dst tells: numbers that
// were left out at the end stay pending until there is something to tell, or until skip. If the
// packets are in memory, v is their view.
func (l *line) filterPackets(packets []byte, v *view, dst []byte) (out []byte, used int, next uint64) {
	f := filtered{dst: dst, seed: l.seed, next: l.next}
	ok := false
	if v.seg != nil && l.p.serving.filters.Load() >= indexFrom {
		used, ok = l.filterIndexed(v, &f)
	}
	for !ok && used < len(packets) && len(f.dst) < chunkTarget {
		used += l.filterPacket(packets[used:], &f)
	}
	f.seal()
	return f.dst, used, f.next
}

// filterPacket filters the first of packets by looking at each of its ticks, and returns its size.
func (l *line) filterPacket(packets []byte, f *filtered) (size int) {
	size = codec.PacketSize(packets)
	h := codec.PacketAt(packets)
	seq := h.First
	for body := packets[codec.PacketHeader:size]; len(body) > 0; {
		e := entryAt(body)
		if e.Tick && e.Kind == feed.KindDefinition && !l.wanted.has(e.Instrument) {
			l.learn(body[:e.Size])
		}
		if e.Tick && l.wanted.has(e.Instrument) {
			f.add(&h, body[:e.Size], seq)
		}
		seq += e.Covers
		body = body[e.Size:]
	}
	l.read = h.First + h.Count
	return size
}

func entryAt(body []byte) codec.Entry {
	e, err := codec.EntryAt(body)
	if err != nil {
		panic("publisher: internal error: the log holds a malformed entry: " + err.Error())
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
