// Package book keeps order books: the size at each price of both sides of one instrument, and, if a venue sends
// them, the single orders behind the sizes. Changes are returned as level ticks and as quotes of the best bid
// and offer.
package book

import (
	"slices"

	"tickfeed/feed"
)

// MaxLevels bounds the levels on each side of a book. Beyond it the worst price is dropped.
const MaxLevels = 1 << 16

// A Book is both sides of one instrument. The zero Book is empty and has quoted nothing. It is not safe for
// concurrent use.
type Book struct {
	ID   feed.InstrumentID
	bids []level // the best price last, because most changes are near it
	asks []level // also the best price last
	told feed.Quote
	has  bool // told is the last quote
}

type level struct{ price, size int64 }

// find returns the index in levels at which price is, or would be inserted, and whether it is there.
func find(levels []level, side feed.Side, price int64) (int, bool) {
	// Most changes are near the best price.
	i := len(levels)
	for near := 0; i > 0 && near < 8; near++ {
		p := levels[i-1].price
		if p == price {
			return i - 1, true
		}
		if (p < price) == (side == feed.SideBuy) {
			return i, false
		}
		i--
	}
	lo, hi := 0, i
	for lo < hi {
		m := int(uint(lo+hi) / 2)
		p := levels[m].price
		if p == price {
			return m, true
		}
		if (p < price) == (side == feed.SideBuy) {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo, false
}

func (b *Book) side(side feed.Side) *[]level {
	if side == feed.SideBuy {
		return &b.bids
	}
	return &b.asks
}

// Set sets the size at price on side, SideBuy or SideSell; 0 or less removes the level.
func (b *Book) Set(side feed.Side, price, size int64) {
	levels := b.side(side)
	i, found := find(*levels, side, price)
	switch {
	case found && size > 0:
		(*levels)[i].size = size
	case found:
		*levels = slices.Delete(*levels, i, i+1)
	case size > 0:
		insert(levels, i, level{price, size})
	}
}

func insert(levels *[]level, i int, l level) {
	if len(*levels) >= MaxLevels {
		if i == 0 {
			return
		}
		copy(*levels, (*levels)[1:i])
		(*levels)[i-1] = l
		return
	}
	*levels = slices.Insert(*levels, i, l)
}

// Add adds delta, which may be negative, to the size at price on side, SideBuy or SideSell, and returns the new
// size, which is never below 0.
func (b *Book) Add(side feed.Side, price, delta int64) (size int64) {
	levels := b.side(side)
	i, found := find(*levels, side, price)
	if !found {
		if delta > 0 {
			insert(levels, i, level{price, delta})
		}
		return max(delta, 0)
	}
	l := &(*levels)[i]
	if l.size += delta; l.size > 0 {
		return l.size
	}
	*levels = slices.Delete(*levels, i, i+1)
	return 0
}

// Size returns the size at price on side, or 0 if there is none.
func (b *Book) Size(side feed.Side, price int64) int64 {
	levels := *b.side(side)
	if i, found := find(levels, side, price); found {
		return levels[i].size
	}
	return 0
}

// Replace replaces the levels of side, SideBuy or SideSell, by prices with their sizes, and appends the changes
// as level ticks. A price whose size is 0 or less is not a level.
func (b *Book) Replace(out []feed.Tick, eventTime int64, side feed.Side, prices, sizes []int64) []feed.Tick {
	start := len(out)
	for price := range b.Levels(side) {
		if i := slices.Index(prices, price); i < 0 || sizes[i] <= 0 {
			out = append(out, feed.Level{Side: side, Price: price}.Tick(b.ID, eventTime))
		}
	}
	for _, gone := range out[start:] {
		b.Set(side, gone.Level().Price, 0)
	}
	for i, price := range prices {
		if sizes[i] > 0 && b.Size(side, price) != sizes[i] {
			b.Set(side, price, sizes[i])
			out = append(out, feed.Level{Side: side, Price: price, Size: sizes[i]}.Tick(b.ID, eventTime))
		}
	}
	return out
}

// Scale multiplies all prices by price and all sizes by size, both positive, to change the book to finer units.
func (b *Book) Scale(price, size int64) {
	for _, levels := range [...][]level{b.bids, b.asks} {
		for i := range levels {
			levels[i].price *= price
			levels[i].size *= size
		}
	}
	for _, p := range [...]*int64{&b.told.Bid, &b.told.Ask} {
		if *p != feed.NoPrice {
			*p *= price
		}
	}
	b.told.BidSize *= size
	b.told.AskSize *= size
}

// Clear empties a side, or both with SideBoth. It reports whether there was a level.
func (b *Book) Clear(side feed.Side) (any bool) {
	if side != feed.SideSell {
		any = len(b.bids) > 0
		b.bids = b.bids[:0]
	}
	if side != feed.SideBuy {
		any = any || len(b.asks) > 0
		b.asks = b.asks[:0]
	}
	return any
}

// Levels yields the levels of a side, the best price first.
func (b *Book) Levels(side feed.Side) func(yield func(price, size int64) bool) {
	return func(yield func(price, size int64) bool) {
		levels := *b.side(side)
		for i := len(levels) - 1; i >= 0; i-- {
			if !yield(levels[i].price, levels[i].size) {
				return
			}
		}
	}
}

// Best returns the best bid and offer.
func (b *Book) Best() feed.Quote {
	q := feed.Quote{Bid: feed.NoPrice, Ask: feed.NoPrice}
	if n := len(b.bids); n > 0 {
		q.Bid, q.BidSize = b.bids[n-1].price, b.bids[n-1].size
	}
	if n := len(b.asks); n > 0 {
		q.Ask, q.AskSize = b.asks[n-1].price, b.asks[n-1].size
	}
	return q
}

// Change adds delta to the size at price on side and appends a level tick with the new size.
func (b *Book) Change(out []feed.Tick, eventTime int64, side feed.Side, price, delta int64) []feed.Tick {
	size := b.Add(side, price, delta)
	return append(out, feed.Level{Side: side, Price: price, Size: size}.Tick(b.ID, eventTime))
}

// Quote appends the best bid and offer as a quote if they differ from the last quote. An empty book that has
// quoted nothing appends nothing.
func (b *Book) Quote(out []feed.Tick, eventTime int64) []feed.Tick {
	q := b.Best()
	if b.has && q == b.told {
		return out
	}
	if !b.has && q.Bid == feed.NoPrice && q.Ask == feed.NoPrice {
		return out
	}
	b.told, b.has = q, true
	return append(out, q.Tick(b.ID, eventTime))
}

// More sets FlagMore on all but the last of ticks.
func More(ticks []feed.Tick) {
	for i := 0; i < len(ticks)-1; i++ {
		ticks[i].Flags |= feed.FlagMore
	}
}
