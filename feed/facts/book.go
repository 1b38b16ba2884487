package facts

import (
	"slices"

	"tickfeed/feed"
)

// A book measures the depth of one instrument from its level ticks.
type book struct {
	sides [2][]bookLevel // bids and asks, best first; at most feed.MaxLevels each
	// dealt is what the trades of the event at hand took, by side of the book.
	dealt  [2]int64
	events [2]bookEvent // by side of the book

	profile    [profileDepth]moments // size by level, sampled once a second
	arrived    [profileDepth]float64 // new orders by level
	far        float64               // new orders beyond profileDepth
	cancels    float64               // sizes that shrank and were not dealt
	executions float64
	used       bool
}

type bookLevel struct{ price, size int64 }

// A bookEvent is what one event did to one side of a book. Many feeds send a window of the best levels: a level that an event
// pushes out of the window was not cancelled, and one that it lets in is no new order. Both are known at the end of the event.
type bookEvent struct {
	began   bool
	full    bool      // the window was full before the event
	last    int64     // price of the last level then
	width   int       // most levels at the end of an event so far
	arrived []levelAt // levels that grew or are new
	gone    []int64   // prices of levels that shrank or went, beyond what trades took
}

// A levelAt is a level by its price and its index.
type levelAt struct {
	price int64
	index int
}

func (b *book) clear(side feed.Side) {
	if side != feed.SideSell {
		b.clearSide(0)
	}
	if side != feed.SideBuy {
		b.clearSide(1)
	}
}

func (b *book) clearSide(side int) {
	e := &b.events[side]
	b.sides[side], e.began, e.arrived, e.gone = b.sides[side][:0], false, e.arrived[:0], e.gone[:0]
}

// traded notes a trade: the size that it takes from the book is not cancelled.
func (b *book) traded(tr feed.Trade) {
	b.executions++
	switch tr.Side {
	case feed.SideBuy:
		b.dealt[1] += tr.Size
	case feed.SideSell:
		b.dealt[0] += tr.Size
	}
}

// endEvent counts the new orders and the cancels of the event.
func (b *book) endEvent() {
	b.dealt = [2]int64{}
	for side := range b.events {
		e, levels := &b.events[side], b.sides[side]
		if !e.began {
			continue
		}
		beyond := func(price, last int64) bool { return price != last && (price < last) == (side == 0) }
		for _, l := range e.arrived {
			switch {
			case e.width == 0: // the book that the recording begins with
			case e.full && beyond(l.price, e.last):
			case l.index < profileDepth:
				b.arrived[l.index]++
			default:
				b.far++
			}
		}
		full := len(levels) > 0 && len(levels) >= e.width
		for _, price := range e.gone {
			if !full || !beyond(price, levels[len(levels)-1].price) {
				b.cancels++
			}
		}
		e.began, e.arrived, e.gone, e.width = false, e.arrived[:0], e.gone[:0], max(e.width, len(levels))
	}
}

func (b *book) add(l feed.Level) {
	b.used = true
	side := int(l.Side - feed.SideBuy)
	if side < 0 || side > 1 {
		return
	}
	levels, e := b.sides[side], &b.events[side]
	if !e.began {
		e.began, e.full = true, len(levels) > 0 && len(levels) >= e.width
		if e.full {
			e.last = levels[len(levels)-1].price
		}
	}
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
		e.arrived = append(e.arrived, levelAt{l.Price, i})
	case l.Size < before:
		if took := min(before-l.Size, b.dealt[side]); took > 0 {
			b.dealt[side] -= took
		} else {
			e.gone = append(e.gone, l.Price)
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
