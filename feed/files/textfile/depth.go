package textfile

import (
	"fmt"

	"tickfeed/feed"
	"tickfeed/feed/files/internal/book"
)

// Rows of some files hold several levels of a book, such as Databento's mbp-10 (bid_px_03) and
// Tardis's book_snapshot (bids[3].price). The best level is in fieldBid, fieldBidSize, fieldAsk and fieldAskSize; each of the
// other levels has four fields above noField.
const (
	maxDeep   = 49 // levels below the best
	deepField = noField + 1
	deepWidth = 4
	allFields = int(deepField) + maxDeep*deepWidth
)

// deepOf returns the field of a level, from 1, that corresponds to the field f of the best level.
func deepOf(level int, f field) field {
	return deepField + field((level-1)*deepWidth) + f - fieldBid
}

// ofBest returns the level of f, which is above noField, and the corresponding field of the best level.
func (f field) ofBest() (best field, level int) {
	n := int(f - deepField)
	return fieldBid + field(n%deepWidth), n/deepWidth + 1
}

// A deepLevel holds the bid, its size, the ask and its size, as text.
type deepLevel [deepWidth][]byte

func init() {
	for level := 1; level <= maxDeep; level++ {
		for f, names := range map[field][]string{
			fieldBid:     {fmt.Sprintf("bidpx%02d", level), fmt.Sprintf("bids[%d]price", level)},
			fieldBidSize: {fmt.Sprintf("bidsz%02d", level), fmt.Sprintf("bids[%d]amount", level)},
			fieldAsk:     {fmt.Sprintf("askpx%02d", level), fmt.Sprintf("asks[%d]price", level)},
			fieldAskSize: {fmt.Sprintf("asksz%02d", level), fmt.Sprintf("asks[%d]amount", level)},
		} {
			for rank, name := range names {
				known[name] = place{deepOf(level, f), rank}
			}
		}
		deepPrices = append(deepPrices, deepOf(level, fieldBid), deepOf(level, fieldAsk))
		deepSizes = append(deepSizes, deepOf(level, fieldBidSize), deepOf(level, fieldAskSize))
	}
}

// deepPrices and deepSizes are the fields of all levels below the best, two for each level.
var deepPrices, deepSizes []field

// deepen extends r.deep to the level of f.
func (r *row) deepen(f field) {
	for _, level := f.ofBest(); len(r.deep) < level; {
		r.deep = append(r.deep, deepLevel{})
	}
}

// setDeep sets f, a field of a level below the best.
func (r *row) setDeep(f field, cell []byte) {
	r.deepen(f)
	n := int(f - deepField)
	r.deep[n/deepWidth][n%deepWidth] = cell
}

// hasDeep reports whether f, a field of a level below the best, has a value.
func (r *row) hasDeep(f field) bool {
	n := int(f - deepField)
	return n/deepWidth < len(r.deep) && r.deep[n/deepWidth][n%deepWidth] != nil
}

// hasDepth reports whether the levels of r below the best are used.
func (d *desk) hasDepth(r *row, kind feed.Kind) bool {
	return len(r.deep) > 0 && !d.quotesOnly && (kind == feed.KindQuote || kind == shapeBoth)
}

// deepNumbers parses the levels of r below the best as numbers does, with the exponents of def or finer ones.
func (d *desk) deepNumbers(r *row, def *feed.Definition) (bad *LineError) {
	n := 2 * len(r.deep)
	if def.PriceExponent, bad = d.exact(r, deepPrices[:n], def.PriceExponent); bad != nil {
		return bad
	}
	if def.SizeExponent, bad = d.exact(r, deepSizes[:n], def.SizeExponent); bad != nil {
		return bad
	}
	for _, f := range deepSizes[:n] {
		if d.values[f] < 0 {
			return r.bad(f, "is negative", nil)
		}
	}
	return nil
}

// depth appends the changes from the book of inst to the levels of r, whose best level is q, as levels, and
// a quote if the best bid or ask has changed, as package dbn does.
func (d *desk) depth(out []feed.Tick, inst *instrument, r *row, q feed.Quote, at int64) []feed.Tick {
	if inst.book == nil {
		inst.book = &book.Book{ID: inst.id}
	}
	for _, side := range [...]feed.Side{feed.SideBuy, feed.SideSell} {
		price, size, f := q.Bid, q.BidSize, fieldBid
		if side == feed.SideSell {
			price, size, f = q.Ask, q.AskSize, fieldAsk
		}
		d.prices, d.sizes = d.prices[:0], d.sizes[:0]
		if price != feed.NoPrice {
			d.prices, d.sizes = append(d.prices, price), append(d.sizes, size)
		}
		for i := range r.deep {
			f := deepOf(i+1, f)
			if r.has(f) && (d.values[f] != 0 || d.zeroIsPrice) {
				d.prices, d.sizes = append(d.prices, d.values[f]), append(d.sizes, d.values[f+1])
			}
		}
		out = inst.book.Replace(out, at, side, d.prices, d.sizes)
	}
	return inst.book.Quote(out, at)
}
