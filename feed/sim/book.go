package sim

import "tickfeed/feed"

// books holds the published levels of every instrument that were not removed: for each side at most depth, best
// first, where the best level equals the quote.
type books struct {
	depth  int
	levels []level
	counts []uint8 // levels held by instrument and side
}

// A level is a price, in ticks, and the size there.
type level struct{ price, size int64 }

// depthShape is the mean size by level, as a multiple of that of the best one: it rises, and falls again (Bouchaud,
// Mézard, Potters, arXiv cond-mat/0203511).
var depthShape = [...]float64{1, 1.6, 2.0, 1.9, 1.6, 1.4, 1.25, 1.1, 1}

// A wing is one side of one instrument's book.
type wing struct {
	levels []level // all places of the side, in use or not
	count  *uint8  // how many places are in use
	side   feed.Side
	away   int64 // +1 or -1: the direction from the best price to worse ones
}

func newBooks(instruments, depth int) books {
	return books{depth, make([]level, 2*instruments*depth), make([]uint8, 2*instruments)}
}

// bids and asks return the two wings of an instrument.
func (b *books) bids(id uint32) wing { return b.wing(2*int(id), feed.SideBuy, -1) }
func (b *books) asks(id uint32) wing { return b.wing(2*int(id)+1, feed.SideSell, +1) }

func (b *books) wing(place int, side feed.Side, away int64) wing {
	from, to := place*b.depth, (place+1)*b.depth
	return wing{b.levels[from:to:to], &b.counts[place], side, away}
}

// clear empties the book of an instrument.
func (b *books) clear(id uint32) { b.counts[2*id], b.counts[2*id+1] = 0, 0 }

// second returns the level behind the best. It returns false if there is none.
func (w wing) second() (level, bool) {
	if *w.count < 2 {
		return level{}, false
	}
	return w.levels[1], true
}

// maxLevelTicks bounds the level ticks of one event: on either side, every level is removed and replaced, and
// one size changes.
func maxLevelTicks(depth int) int { return 2 * (2*depth + 2) }

// syncBook appends to out[:n] the level ticks that make the book agree with the quote.
func (m *Market) syncBook(out []feed.Tick, n int, id uint32, in *instrument, at int64) int {
	bids, asks := m.books.bids(id), m.books.asks(id)
	// Removing levels first ensures that the book is never crossed.
	n = m.removeBetter(out, n, bids, in.bid, id, at)
	n = m.removeBetter(out, n, asks, in.ask, id, at)
	n = m.setBest(out, n, bids, level{in.bid, in.bidSize}, id, at)
	n = m.setBest(out, n, asks, level{in.ask, in.askSize}, id, at)
	n = m.fill(out, n, bids, id, at)
	return m.fill(out, n, asks, id, at)
}

// removeBetter removes the levels better than price.
func (m *Market) removeBetter(out []feed.Tick, n int, w wing, price int64, id uint32, at int64) int {
	gone := 0
	for gone < int(*w.count) && (price-w.levels[gone].price)*w.away > 0 {
		n = m.putLevel(out, n, w.side, level{w.levels[gone].price, 0}, id, at)
		gone++
	}
	*w.count -= uint8(gone)
	copy(w.levels, w.levels[gone:gone+int(*w.count)])
	return n
}

// setBest makes l the best level. No better level may be left.
func (m *Market) setBest(out []feed.Tick, n int, w wing, l level, id uint32, at int64) int {
	switch {
	case *w.count > 0 && w.levels[0] == l:
		return n
	case *w.count > 0 && w.levels[0].price == l.price:
		w.levels[0] = l
		return m.putLevel(out, n, w.side, l, id, at)
	case int(*w.count) == len(w.levels):
		last := w.levels[len(w.levels)-1]
		n = m.putLevel(out, n, w.side, level{last.price, 0}, id, at)
	default:
		*w.count++
	}
	copy(w.levels[1:*w.count], w.levels)
	w.levels[0] = l
	return m.putLevel(out, n, w.side, l, id, at)
}

// fill adds levels behind the worst one until the wing is full or the prices end.
func (m *Market) fill(out []feed.Tick, n int, w wing, id uint32, at int64) int {
	in := &m.instruments[id]
	for int(*w.count) < len(w.levels) {
		r := m.bits.Uint64()
		gap := 1 + int64((r>>40&1023)*uint64(in.spread)>>10)
		l := level{w.levels[*w.count-1].price + w.away*gap, m.sizeAt(id, in, r, int(*w.count))}
		if l.price < in.lowest {
			break
		}
		w.levels[*w.count] = l
		*w.count++
		n = m.putLevel(out, n, w.side, l, id, at)
	}
	return n
}

// deepen changes the size of a level behind the best, chosen by the bits of r: an event without a quote.
func (m *Market) deepen(out []feed.Tick, id uint32, in *instrument, at int64, r uint64) int {
	w := m.books.bids(id)
	if r>>62&1 == 0 {
		w = m.books.asks(id)
	}
	if *w.count < 2 {
		return 0
	}
	// Most orders come close to the best price: the level is the least of two.
	behind := uint64(*w.count) - 1
	i := 1 + min((r>>44&1023)*behind>>10, (r>>34&1023)*behind>>10)
	l := &w.levels[i]
	if size := m.sizeAt(id, in, r>>12, int(i)); size != l.size {
		l.size = size
	} else {
		l.size += int64(in.lot)
	}
	return m.putLevel(out, 0, w.side, *l, id, at)
}

// sizeAt returns a size of a level, 0 for the best one, chosen by the bits of r.
func (m *Market) sizeAt(id uint32, in *instrument, r uint64, level int) int64 {
	if m.habits != nil {
		return m.habits[id].sizeAt(r, level)
	}
	return in.size(r, depthShape[min(level, len(depthShape)-1)])
}

func (m *Market) putLevel(out []feed.Tick, n int, side feed.Side, l level, id uint32, at int64) int {
	price := l.price * m.instruments[id].tickSize
	out[n] = feed.Level{Side: side, Price: price, Size: l.size}.Tick(feed.InstrumentID(id), at)
	return n + 1
}
