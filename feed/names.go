package feed

import (
	"fmt"
	"hash/maphash"
	"iter"
)

// A name identifies an instrument.
type name struct{ symbol, venue string }

func nameOf(d *Definition) name { return name{d.Symbol, d.Venue} }

var nameSeed = maphash.MakeSeed() // random, so that no outsider can choose names that collide

func (n name) hash() uint32 { return uint32(maphash.Comparable(nameSeed, n)) }

// names is a hash table of ids by the hashes of their names; the definitions hold the names themselves. It
// takes a word per slot and has no pointers: it is copied and grown as an array.
type names struct {
	// The length of slots is 0 or a power of two, and at most three quarters of the slots are in use. A used
	// slot has the hash in its upper half and id + 1 in its lower half. It is at the index that the hash gives,
	// or at the next one that was free, where the first slot follows the last. A free slot is 0.
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

// add adds id, which must not be in the table, with the hash of its name.
func (n *names) add(hash uint32, id InstrumentID) {
	if 4*(n.used+1) > 3*len(n.slots) {
		old := n.slots
		// Growing by 4 rather than 2 rehashes half as often while a late joiner adds all its instruments.
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

// put places s. There must be a free slot.
func (n *names) put(s uint64) {
	mask := uint32(len(n.slots) - 1)
	i := uint32(s>>32) & mask
	for n.slots[i] != 0 {
		i = (i + 1) & mask
	}
	n.slots[i] = s
}

// remove removes id, which was added with hash. It moves up the entries that are behind id because their slots
// were taken, so that no entry is behind a free slot.
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
		if (i-home)&mask >= (i-free)&mask { // its home is at free or before it
			n.slots[free], free = n.slots[i], i
		}
	}
	n.slots[free] = 0
	n.used--
}
