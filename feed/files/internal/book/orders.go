package book

import (
	"errors"
	"math/bits"
	"math/rand/v2"

	"tickfeed/feed"
)

// MaxOrders bounds the number of live orders.
const MaxOrders = 1 << 23

// ErrTooManyOrders is returned for an order beyond MaxOrders.
var ErrTooManyOrders = errors.New("more than 8388608 live orders")

// An Order is one live order. It holds no pointer, so that millions of orders cost the garbage collector
// nothing.
type Order struct {
	Price int64
	Size  uint32
	Book  uint32 // the caller's number of the book that holds it
	Side  feed.Side
}

// Orders is the set of live orders by the venue's reference. The zero Orders is empty and ready to use.
//
// Slots are in one table with linear probing, at most 3/4 full, except that reference 0 has a place of its own.
type Orders struct {
	slots []slot // a power of two, or none
	n     int    // used slots
	shift uint
	zero  Order
	has0  bool

	factor uint64 // random, odd
}

type slot struct {
	ref   uint64 // 0: free
	order Order
}

// Len returns the number of live orders.
func (o *Orders) Len() int {
	if o.has0 {
		return o.n + 1
	}
	return o.n
}

// home returns the slot where the search for ref begins. Consecutive references share a block of 8 slots,
// because orders that arrive together often leave together. A random factor scatters the blocks, so that no one
// can write a file whose references all collide.
func (o *Orders) home(ref uint64) uint { return uint(ref>>3*o.factor>>o.shift)<<3 | uint(ref&7) }

// Get returns the order ref, or nil if there is none. The caller may change it until the next Add or Delete.
func (o *Orders) Get(ref uint64) *Order {
	if ref == 0 {
		if o.has0 {
			return &o.zero
		}
		return nil
	}
	if o.n == 0 {
		return nil
	}
	mask := uint(len(o.slots) - 1)
	for i := o.home(ref); ; i = (i + 1) & mask {
		s := &o.slots[i]
		if s.ref == ref {
			return &s.order
		}
		if s.ref == 0 {
			return nil
		}
	}
}

// Add adds the order ref, which must not be live. It returns ErrTooManyOrders if there is no room.
func (o *Orders) Add(ref uint64, order Order) error {
	if ref == 0 {
		o.zero, o.has0 = order, true
		return nil
	}
	if o.n >= MaxOrders {
		return ErrTooManyOrders
	}
	if 4*(o.n+1) > 3*len(o.slots) {
		o.grow()
	}
	o.put(ref, order)
	o.n++
	return nil
}

func (o *Orders) put(ref uint64, order Order) {
	mask := uint(len(o.slots) - 1)
	i := o.home(ref)
	for o.slots[i].ref != 0 {
		i = (i + 1) & mask
	}
	o.slots[i] = slot{ref, order}
}

func (o *Orders) grow() {
	old := o.slots
	o.slots = make([]slot, max(64, 2*len(old)))
	o.shift = uint(68 - bits.Len(uint(len(o.slots)))) // there are an eighth as many blocks as slots
	if o.factor == 0 {
		o.factor = rand.Uint64() | 1
	}
	for i := range old {
		if old[i].ref != 0 {
			o.put(old[i].ref, old[i].order)
		}
	}
}

// Delete removes the order ref, if it is live. The orders after it in its run move up.
func (o *Orders) Delete(ref uint64) {
	if ref == 0 {
		o.has0 = false
		return
	}
	if o.n == 0 {
		return
	}
	mask := uint(len(o.slots) - 1)
	i := o.home(ref)
	for ; o.slots[i].ref != ref; i = (i + 1) & mask {
		if o.slots[i].ref == 0 {
			return
		}
	}
	o.n--
	for j := (i + 1) & mask; ; j = (j + 1) & mask {
		s := &o.slots[j]
		if s.ref == 0 {
			break
		}
		// s may move to the hole at i unless its home is after i on the way to j.
		if (j-o.home(s.ref))&mask >= (j-i)&mask {
			o.slots[i] = *s
			i = j
		}
	}
	o.slots[i] = slot{}
}

// Clear removes all orders.
func (o *Orders) Clear() {
	clear(o.slots)
	o.n, o.has0 = 0, false
}

// Sizes returns the sum of the sizes of all live orders.
func (o *Orders) Sizes() (sum int64) {
	for i := range o.slots {
		if o.slots[i].ref != 0 {
			sum += int64(o.slots[i].order.Size)
		}
	}
	if o.has0 {
		sum += int64(o.zero.Size)
	}
	return sum
}
