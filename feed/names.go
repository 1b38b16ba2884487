package feed

import (
	"fmt"
	"hash/maphash"
	"iter"
)

// A name is what an instrument is found by.
type name struct{ symbol, venue string }

func nameOf(d *Definition) name { return name{d.Symbol, d.Venue} }

var nameSeed = maphash.MakeSeed() // so that nobody outside can choose names that collide

func (n name) hash() uint32 { return uint32(maphash.Comparable(nameSeed, n)) }

// names is a hash table of ids by the hashes of their names; the names themselves are in the
// definitions. It has a word for each id and no pointers: it is copied and grown as an array.
type names struct {
	// slots are a power of two or none, at most three quarters of them in use. One in use is the
	// hash in the upper half and the id + 1 in the lower, at the slot that the hash says or the
	// next one that was free; the first follows the last. A free one is 0.
	slots []uint64
	used  int
}

const leastNames = 16

func nameSlot(hash uint32, id InstrumentID) uint64 { return uint64(hash)<<32 | uint64(id) + 1 }

// with yields the ids whose names have hash.
func (n *names) with(hash uint32) iter.Seq[InstrumentID] {
	return func(yield func(InstrumentID) bool) {
		if len(n.slots) == 0 {
			return
		}
		mask := uint32(len(n.slots) - 1)
		for i := hash & mask; n.slots[i] != 0; i = (i + 1) & mask {
			if s := n.slots[i]; uint32(s>>32) == hash && !yield(InstrumentID(uint32(s)-1)) {
				return
			}
		}
	}
}

// add adds id, which is not there, by the hash of its name.
func (n *names) add(hash uint32, id InstrumentID) {
	if 4*(n.used+1) > 3*len(n.slots) {
		old := n.slots
		// By 4: to double, and put all again as often, is 5 % of the time of a late joiner.
		n.slots = make([]uint64, max(leastNames, 4*len(old)))
		for _, s := range old {
			if s != 0 {
				n.put(s)
			}
		}
	}
	n.put(nameSlot(hash, id))
	n.used++
}

// put places s, for which there is room.
func (n *names) put(s uint64) {
	mask := uint32(len(n.slots) - 1)
	i := uint32(s>>32) & mask
	for n.slots[i] != 0 {
		i = (i + 1) & mask
	}
	n.slots[i] = s
}

// remove removes id, which was added by hash. Those that stood behind it because their places
// were taken move up, so that none is behind a free slot.
func (n *names) remove(hash uint32, id InstrumentID) {
	mask := uint32(len(n.slots) - 1)
	free := hash & mask
	for s := nameSlot(hash, id); n.slots[free] != s; free = (free + 1) & mask {
		if n.slots[free] == 0 {
			panic(fmt.Sprintf("feed: internal error: instrument %d has no name to remove", id))
		}
	}
	for i := (free + 1) & mask; n.slots[i] != 0; i = (i + 1) & mask {
		home := uint32(n.slots[i]>>32) & mask
		if (i-home)&mask >= (i-free)&mask { // its home is at free or before
			n.slots[free], free = n.slots[i], i
		}
	}
	n.slots[free] = 0
	n.used--
}
