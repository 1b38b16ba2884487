package publisher

import (
	"iter"
	"math"
	"slices"
	"sync"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/pattern"
	"tickfeed/feed"
)

// wanted is the set of instruments that a filter matches and a user may see. The name of an instrument id never changes within a
// lineage, so definitions can only add to the set.
type wanted struct {
	filter  codec.Filter
	permit  *Permission // of the user; nil for everything
	matcher *pattern.Matcher
	steps   int                 // steps that the matcher took to make the set
	bits    []uint64            // by instrument id
	n       int                 // number of instruments in the set
	ids     []feed.InstrumentID // the set as a list, in no order; nil if it has more than maxListed
}

// maxListed bounds the list of the instruments that a connection wants. A longer list has no benefit.
const maxListed = 4096

// definitions is a source of the instruments of a session: its state, or the catalog of its state.
type definitions interface {
	Definitions(want func(feed.InstrumentID) bool) iter.Seq[feed.Tick]
}

// newWanted returns the set of the instruments in known that filter matches and permit permits, or nil if that is everything.
func newWanted(filter codec.Filter, permit *Permission, known definitions) *wanted {
	if filter.All() && permit.whole() {
		return nil
	}
	w := &wanted{filter: filter, permit: permit, matcher: pattern.NewMatcher(filter)}
	for t := range known.Definitions(nil) {
		w.define(t.Instrument, t.Definition())
	}
	return w
}

// wants is newWanted, run in a slot of server.work.
func (p *Publisher) wants(filter codec.Filter, permit *Permission, known definitions) *wanted {
	if filter.All() && permit.whole() {
		return nil
	}
	p.serving.work <- struct{}{}
	defer func() { <-p.serving.work }()
	return newWanted(filter, permit, known)
}

func (w *wanted) define(id feed.InstrumentID, d *feed.Definition) {
	if w.has(id) {
		return
	}
	match, steps := w.matcher.Count(d)
	if w.steps += steps; !match || !w.permit.sees(d) {
		return
	}
	if w.n++; w.n <= maxListed {
		w.ids = append(w.ids, id)
	} else {
		w.ids = nil
	}
	for int(id/64) >= len(w.bits) {
		w.bits = append(w.bits, 0)
	}
	w.bits[id/64] |= 1 << (id % 64)
}

// cost returns how many steps it took to make w.
func (w *wanted) cost() int {
	if w == nil {
		return 0
	}
	return w.steps
}

// count returns how many instruments the filter matches if there are all instruments in total.
func (w *wanted) count(all int) int {
	if w == nil {
		return all
	}
	return w.n
}

// has reports whether the filter matches instrument id. A nil set has every instrument.
func (w *wanted) has(id feed.InstrumentID) bool {
	return w == nil || int(id/64) < len(w.bits) && w.bits[id/64]>>(id%64)&1 != 0
}

// chunkTarget is the approximate size in bytes of a chunk that has to be encoded. spillAt is the size at which an
// output of a pass for several filters is sent.
const (
	chunkTarget = 128 << 10
	spillAt     = 64 << 10
)

// A filtered is an output of a filtering: packets with the ticks that a filter matches. Ticks of packets that were
// published at about the same time are put into one packet.
type filtered struct {
	lines []*line // the lines that share the output, all with the same filter and position
	dst   []byte
	seed  uint32
	flat  bool   // the lines have no levels of the book
	next  uint64 // number after the sealed packets in dst, or where dst begins

	open  bool
	at    int          // offset of the open packet in dst
	h     codec.Packet // header of the open packet, except Count
	told  uint64       // number after the last tick of the open packet
	since int64        // publish time of the first packet of the log that the open packet has ticks of

	// The packet of the log that the last tick is from.
	from, until uint64 // its numbers
	delta       int64  // its base event time minus the base of the open packet
}

// mergeTime is the greatest difference between the publish times of packets whose ticks are merged into one packet.
const mergeTime = time.Millisecond

// add adds the tick numbered seq of a packet of the log whose header is h.
func (f *filtered) add(h *codec.Packet, entry []byte, seq uint64) {
	if !f.open || f.from != h.First {
		f.enter(h)
	}
	if len(f.dst)-f.at <= codec.PacketHeader+packetTarget {
		var ok bool
		if f.dst, ok = codec.AppendRebased(f.dst, seq-f.told, entry, f.delta); ok {
			f.told = seq + 1
			return
		}
	}
	f.until = seq // within a packet of the log
	f.seal()
	f.enter(h)
	f.dst, _ = codec.AppendRebased(f.dst, seq-f.told, entry, 0)
	f.told = seq + 1
}

// enter makes h the packet of the log that the next tick is from, and opens an output packet if none is open.
func (f *filtered) enter(h *codec.Packet) {
	if f.open && h.PublishTime-f.since > int64(mergeTime) {
		f.seal()
	}
	if !f.open {
		if f.next == 0 {
			f.next = h.First
		}
		f.open, f.at, f.told, f.since = true, len(f.dst), f.next, h.PublishTime
		f.h = codec.Packet{First: f.next, Base: h.Base}
		f.dst = append(slices.Grow(f.dst, aboutPacket), emptyHeader[:]...)
	}
	f.from, f.until, f.delta = h.First, h.First+h.Count, h.Base-f.h.Base
	f.h.PublishTime = h.PublishTime
}

var emptyHeader [codec.PacketHeader]byte

// aboutPacket is the initial room for the ticks of a packet, in bytes.
const aboutPacket = 1 << 10

// seal seals the open packet, if there is one. It covers the packet of the log that its last tick is from.
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

// A filtering is one pass over packets of the log for several lines at the same position. The cost of a tick does not
// depend on the number of lines that do not want it.
type filtering struct {
	outs    []filtered
	equal   map[uint32]int      // index in outs by seed
	wanting []uint16            // by instrument: 1 + index of the one output that wants it; 0 for none; several for more than one
	several [][]uint16          // by instrument: the outputs, if more than one wants it
	listed  []feed.InstrumentID // instruments that an output wants
	broad   []uint16            // outputs that want too many instruments to list them
	read    uint64              // number after the packets passed so far

	ids   [256]feed.InstrumentID // instruments of the scanned ticks
	sizes [256]uint8             // sizes of the scanned ticks, in bytes
	hits  [256]hit               // the scanned ticks that an output wants
}

// A hit is a scanned tick that an output wants.
type hit struct {
	at   uint16 // offset from the first scanned tick, in bytes
	out  uint16 // as in wanting
	n    uint8  // index among the scanned ticks
	size uint8  // in bytes
}

// maxOuts is the greatest number of outputs of a pass. With spillAt it bounds the memory of a pass.
const maxOuts = 128

// filterings pools filterings with their memory.
var filterings = sync.Pool{New: func() any { return &filtering{equal: make(map[uint32]int)} }}

// add adds l to the pass, which covers about the given number of ticks, and returns the index of its output. It
// returns false if the pass has maxOuts outputs already.
func (f *filtering) add(l *line, ticks uint64) (out int, ok bool) {
	if i, shared := f.equal[l.seed]; shared {
		if o := &f.outs[i]; o.next == l.next && slices.Equal(o.lines[0].filter, l.filter) && o.lines[0].permit.sameView(l.permit) {
			o.lines = append(o.lines, l)
			return i, true
		}
	}
	i := len(f.outs)
	switch {
	case i == maxOuts:
		return 0, false
	case i < cap(f.outs): // reuse its memory
		f.outs = f.outs[:i+1]
	default:
		f.outs = append(f.outs, filtered{})
	}
	o := &f.outs[i]
	*o = filtered{lines: append(o.lines[:0], l), dst: o.dst[:0], seed: l.seed, next: l.next, flat: l.permit.shallow()}
	f.equal[l.seed] = i
	if uint64(l.wanted.n) > ticks || l.wanted.n > maxListed {
		f.broad = append(f.broad, uint16(i))
		return i, true
	}
	for _, id := range l.wanted.ids {
		f.list(id, i)
	}
	return i, true
}

// several marks instruments in wanting that more than one output wants.
const several = math.MaxUint16

// list records that output out wants instrument id.
func (f *filtering) list(id feed.InstrumentID, out int) {
	f.reach(id)
	if more := int(id) + 1 - len(f.several); more > 0 {
		f.several = append(f.several, make([][]uint16, more)...)
	}
	switch first := f.wanting[id]; first {
	case 0:
		f.wanting[id], f.listed = uint16(out)+1, append(f.listed, id)
	case several:
		f.several[id] = append(f.several[id], uint16(out))
	default:
		f.wanting[id], f.several[id] = several, append(f.several[id], first-1, uint16(out))
	}
}

// reach extends wanting to include id.
func (f *filtering) reach(id feed.InstrumentID) {
	if more := int(id) + 1 - len(f.wanting); more > 0 {
		f.wanting = append(f.wanting, make([]uint16, more)...)
	}
}

// reset resets f for another pass.
func (f *filtering) reset() {
	for _, id := range f.listed {
		f.wanting[id], f.several[id] = 0, f.several[id][:0]
	}
	for i := range f.outs {
		clear(f.outs[i].lines)
	}
	clear(f.equal)
	f.outs, f.listed, f.broad = f.outs[:0], f.listed[:0], f.broad[:0]
}

// packet filters the first of packets and returns its size in bytes.
func (f *filtering) packet(packets []byte) (size int) {
	size = codec.PacketSize(packets)
	h := codec.PacketAt(packets)
	seq := h.First
	for body := packets[codec.PacketHeader:size]; len(body) > 0; {
		n := codec.ScanFixed(body, f.ids[:], f.sizes[:])
		body = body[f.fixed(&h, body, seq, n):]
		seq += uint64(n)
		if len(body) == 0 {
			break
		}
		e := entryAt(body)
		if e.Tick {
			if e.Kind == feed.KindDefinition {
				f.learn(body[:e.Size])
			}
			f.tick(&h, body[:e.Size], seq, e.Instrument, isBook(e.Kind))
		}
		seq += e.Covers
		body = body[e.Size:]
	}
	f.read = h.First + h.Count
	return size
}

// fixed gives the first scanned ticks of body to the outputs that want them, and returns their size in bytes. seq is
// the number of the first tick. The branch on wanting[id] is unpredictable, so the hits are collected first, without
// branches. See BenchmarkFilter.
func (f *filtering) fixed(h *codec.Packet, body []byte, seq uint64, scanned int) (size int) {
	ids, sizes, wanting := f.ids[:scanned], f.sizes[:scanned], f.wanting
	if len(f.broad) > 0 {
		for i, id := range ids {
			f.tick(h, body[size:size+int(sizes[i])], seq+uint64(i), id, false)
			size += int(sizes[i])
		}
		return size
	}
	hits := 0
	for i, id := range ids {
		if int(id) >= len(wanting) {
			f.reach(id)
			wanting = f.wanting
		}
		out := wanting[id]
		f.hits[hits&(len(f.hits)-1)] = hit{at: uint16(size), out: out, n: uint8(i), size: sizes[i]}
		hits += int((uint32(out) + math.MaxUint16) >> 16) // 0 if out is 0, otherwise 1
		size += int(sizes[i])
	}
	for _, hit := range f.hits[:hits] {
		f.give(hit.out, h, body[hit.at:][:hit.size], seq+uint64(hit.n), ids[hit.n], false)
	}
	return size
}

// tick gives the tick numbered seq to the outputs that want it. book says that it changes the book only.
func (f *filtering) tick(h *codec.Packet, entry []byte, seq uint64, id feed.InstrumentID, book bool) {
	if int(id) < len(f.wanting) {
		f.give(f.wanting[id], h, entry, seq, id, book)
	}
	for _, i := range f.broad {
		if o := &f.outs[i]; o.lines[0].wanted.has(id) && !(book && o.flat) {
			o.add(h, entry, seq)
		}
	}
}

// give gives a tick to out, the entry of wanting for its instrument.
func (f *filtering) give(out uint16, h *codec.Packet, entry []byte, seq uint64, id feed.InstrumentID, book bool) {
	switch out {
	case 0:
	case several:
		for _, i := range f.several[id] {
			if o := &f.outs[i]; !(book && o.flat) {
				o.add(h, entry, seq)
			}
		}
	default:
		if o := &f.outs[out-1]; !(book && o.flat) {
			o.add(h, entry, seq)
		}
	}
}

// learn adds the instrument defined by a definition entry to the sets of the lines whose filter matches it.
func (f *filtering) learn(entry []byte) {
	var t [1]feed.Tick
	b := codec.PacketBody(&codec.Packet{First: 1, Count: 1}, entry)
	if _, err := b.Decode(t[:]); err != nil {
		panic("publisher: internal error: the log holds a malformed definition: " + err.Error())
	}
	id, d := t[0].Instrument, t[0].Definition()
	for i := range f.outs {
		o := &f.outs[i]
		had := o.lines[0].wanted.has(id)
		for _, l := range o.lines {
			l.wanted.define(id, d)
		}
		if !had && o.lines[0].wanted.has(id) && !slices.Contains(f.broad, uint16(i)) {
			f.list(id, i)
		}
	}
}

// pass filters the log from at, where all lines stand, up to number end, and advances the lines. It passes outputs of
// at least most bytes to spill, and ends early if spill returns false.
func (f *filtering) pass(log *memlog, at place, end uint64, most int, spill func(out int) bool) {
	f.read = 0
	for going := true; f.read < end && going; {
		v, ok := log.view(at)
		if !ok || len(v.data) == 0 {
			v.release()
			break
		}
		used := 0
		for looked := 0; used < len(v.data) && f.read < end && going; {
			used += f.packet(v.data[used:])
			at = place{v.at.segment, v.at.offset + used}
			if used-looked > packetTarget {
				looked = used
				for i := range f.outs {
					if o := &f.outs[i]; len(o.dst) >= most {
						f.settle(o, at)
						going = spill(i) && going
						o.dst = o.dst[:0]
					}
				}
			}
		}
		v.release()
	}
	for i := range f.outs {
		f.settle(&f.outs[i], at)
	}
}

// settle seals the open packet of o and moves its lines to at.
func (f *filtering) settle(o *filtered, at place) {
	o.seal()
	for _, l := range o.lines {
		l.at = at
		l.read, l.next = f.read, o.next
	}
}

// filterPackets appends to dst the ticks of packets that the filter matches, until dst has about chunkTarget bytes.
// It returns dst, how many bytes of packets it used, and the number after the packets in dst. Numbers that the filter
// left out at the end stay pending until the next packet, or until skip is called.
func (l *line) filterPackets(packets, dst []byte) (out []byte, used int, next uint64) {
	f := filterings.Get().(*filtering)
	defer filterings.Put(f)
	defer f.reset()
	f.add(l, 0)
	o := &f.outs[0]
	kept := o.dst
	o.dst = dst
	for used < len(packets) && len(o.dst) < chunkTarget {
		used += f.packet(packets[used:])
	}
	o.seal()
	l.read = f.read
	out, o.dst = o.dst, kept
	return out, used, o.next
}

func entryAt(body []byte) codec.Entry {
	e, err := codec.EntryAt(body)
	if err != nil {
		panic("publisher: internal error: the log holds a malformed entry: " + err.Error())
	}
	return e
}
