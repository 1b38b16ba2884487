package publisher

import (
	"math/bits"
	"sort"
	"sync"

	"tickfeed/codec"
	"tickfeed/feed"
)

// An index says where in a segment the ticks of an instrument are, so that a filtered line need
// not look at all the others. It is made once for all lines, as far as one asked for it: 8 bytes
// and about 5 ns a tick, after which a line pays for the instruments and ticks that it wants.
type index struct {
	mu      sync.RWMutex
	end     int // of the bytes that are indexed
	packets []indexedPacket
	ticks   []indexedTick
	last    []uint32 // by instrument: 1 + its last tick, 0 for none
	defined []uint32 // the ticks that are definitions
	odd     bool     // there are numbers without ticks: the index is of no use
}

// An indexedPacket is where a packet begins, in the segment and in ticks.
type indexedPacket struct {
	first  uint64
	offset uint32
	tick   uint32
}

type indexedTick struct {
	offset   uint32
	previous uint32 // 1 + the tick before it of the same instrument, 0 for none
}

// reset empties the index for another segment of the same size.
func (x *index) reset() {
	x.end, x.odd = 0, false
	x.packets, x.ticks, x.defined = x.packets[:0], x.ticks[:0], x.defined[:0]
	clear(x.last)
}

// extend indexes the segment's bytes up to end, which are committed. It is false if the index
// cannot be used.
func (x *index) extend(buf []byte, end int) bool {
	x.mu.RLock()
	done, odd := x.end >= end, x.odd
	x.mu.RUnlock()
	if done || odd {
		return !odd
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for x.end < end && !x.odd {
		x.add(buf)
	}
	return !x.odd
}

// add indexes the packet at x.end.
func (x *index) add(buf []byte) {
	h := codec.PacketAt(buf[x.end:])
	size := codec.PacketSize(buf[x.end:])
	x.packets = append(x.packets, indexedPacket{first: h.First, offset: uint32(x.end), tick: uint32(len(x.ticks))})
	before := len(x.ticks)
	for at := x.end + codec.PacketHeader; at < x.end+size; {
		e := entryAt(buf[at : x.end+size])
		if !e.Tick {
			x.odd = true
			return
		}
		for int(e.Instrument) >= len(x.last) {
			x.last = append(x.last, 0)
		}
		if e.Kind == feed.KindDefinition {
			x.defined = append(x.defined, uint32(len(x.ticks)))
		}
		x.ticks = append(x.ticks, indexedTick{offset: uint32(at), previous: x.last[e.Instrument]})
		x.last[e.Instrument] = uint32(len(x.ticks))
		at += e.Size
	}
	x.odd = uint64(len(x.ticks)-before) != h.Count
	x.end += size
}

// at is the number in packets of the one that begins at or after offset; the caller holds mu.
func (x *index) at(offset int) int {
	return sort.Search(len(x.packets), func(i int) bool { return int(x.packets[i].offset) >= offset })
}

// tickOf is the first tick of packet number i, or the one after all.
func (x *index) tickOf(i int) uint32 {
	if i < len(x.packets) {
		return x.packets[i].tick
	}
	return uint32(len(x.ticks))
}

// mark sets the bits of the ticks of instruments from from on and before to; bit 0 is from.
func (x *index) mark(marks []uint64, instruments []feed.InstrumentID, from, to uint32) {
	for _, id := range instruments {
		if int(id) >= len(x.last) {
			continue
		}
		next := x.last[id]
		for next > to {
			next = x.ticks[next-1].previous
		}
		for next > from {
			bit := next - 1 - from
			marks[bit/64] |= 1 << (bit % 64)
			next = x.ticks[next-1].previous
		}
	}
}

// indexFrom is how many filtered subscribers there must be for an index to pay.
const indexFrom = 3

// marksPool holds scratch memory of lines: bits for the ticks of a view.
var marksPool = sync.Pool{New: func() any { return new([]uint64) }}

// filterIndexed is filterPackets for a view of memory, by the segment's index. It is false if
// that is of no use, or does not pay.
func (l *line) filterIndexed(v *view, out *filtered) (used int, ok bool) {
	seg, from, end := v.seg, v.at.offset, v.at.offset+len(v.data)
	if !seg.index.extend(seg.buf, end) {
		return 0, false
	}
	x := &seg.index
	x.mu.RLock()
	defer x.mu.RUnlock()
	packet, last := x.at(from), x.at(end)
	first, after := x.tickOf(packet), x.tickOf(last)
	for _, d := range x.defined[sort.Search(len(x.defined), func(i int) bool { return x.defined[i] >= first }):] {
		if d >= after {
			break
		}
		entry := seg.buf[x.ticks[d].offset:end]
		if e := entryAt(entry); !l.wanted.has(e.Instrument) {
			l.learn(entry[:e.Size])
		}
	}
	if len(l.wanted.ids) > int(after-first) {
		return 0, false // looking at each tick is less
	}
	pooled := marksPool.Get().(*[]uint64)
	defer marksPool.Put(pooled)
	words := int(after-first+63) / 64
	if cap(*pooled) < words {
		*pooled = make([]uint64, words)
	}
	marks := (*pooled)[:words]
	clear(marks)
	x.mark(marks, l.wanted.ids, first, after)
	var h codec.Packet
	begun := -1 // number of the packet that h is of
	for i, word := range marks {
		for ; word != 0; word &= word - 1 {
			tick := first + uint32(64*i+bits.TrailingZeros64(word))
			for packet+1 < last && x.packets[packet+1].tick <= tick {
				packet++
			}
			if packet != begun {
				if len(out.dst) >= chunkTarget {
					l.read = x.packets[packet].first
					return int(x.packets[packet].offset) - from, true
				}
				h, begun = codec.PacketAt(seg.buf[x.packets[packet].offset:]), packet
			}
			entry := seg.buf[x.ticks[tick].offset:end]
			out.add(&h, entry[:entryAt(entry).Size], h.First+uint64(tick-x.packets[packet].tick))
		}
	}
	l.read = v.end
	return len(v.data), true
}
