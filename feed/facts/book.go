package facts

import (
	"slices"

	"tickfeed/feed"
)

// A book measures the depth of one instrument from its level ticks.
type book struct {
	sides [2][]bookLevel // bids and asks, best first; at most feed.MaxLevels each
	// dealt is what the trades of the event at hand took, by side of the book.
	dealt [2]int64

	profile    [profileDepth]moments // size by level, sampled once a second
	arrived    [profileDepth]float64 // new orders by level
	far        float64               // new orders beyond profileDepth
	cancels    float64               // sizes that shrank and were not dealt
	executions float64
	used       bool
}

type bookLevel struct{ price, size int64 }

func (b *book) clear(side feed.Side) {
	if side != feed.SideSell {
		b.sides[0] = b.sides[0][:0]
	}
	if side != feed.SideBuy {
		b.sides[1] = b.sides[1][:0]
	}
}

// traded notes a trade: what it took is no cancel.
func (b *book) traded(tr feed.Trade) {
	b.executions++
	switch tr.Side {
	case feed.SideBuy:
		b.dealt[1] += tr.Size
	case feed.SideSell:
		b.dealt[0] += tr.Size
	}
}

func (b *book) endEvent() { b.dealt = [2]int64{} }

func (b *book) add(l feed.Level) {
	b.used = true
	side := int(l.Side - feed.SideBuy)
	if side < 0 || side > 1 {
		return
	}
	levels := b.sides[side]
	i, found := slices.BinarySearchFunc(levels, l.Price, func(x bookLevel, price int64) int {
		if (x.price > price) == (side == 0) && x.price != price {
			return -1
		} else if x.price == price {
			return 0
		}
		return 1
	})
	before := int64(0)
	if found {
		before = levels[i].size
	}
	switch {
	case l.Size > before:
		if i < profileDepth {
			b.arrived[i]++
		} else {
			b.far++
		}
	case l.Size < before:
		if took := min(before-l.Size, b.dealt[side]); took > 0 {
			b.dealt[side] -= took
		} else {
			b.cancels++
		}
	}
	switch {
	case l.Size <= 0 && found:
		b.sides[side] = slices.Delete(levels, i, i+1)
	case l.Size <= 0:
	case found:
		levels[i].size = l.Size
	case i < feed.MaxLevels:
		if len(levels) == feed.MaxLevels {
			levels = levels[:feed.MaxLevels-1]
		}
		b.sides[side] = slices.Insert(levels, i, bookLevel{l.Price, l.Size})
	}
}

func (b *book) sample() {
	if !b.used {
		return
	}
	for _, side := range b.sides {
		for i := range min(len(side), profileDepth) {
			b.profile[i].add(float64(side[i].size))
		}
	}
}
