package wscap

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"

	"tickfeed/feed"
	"tickfeed/feed/decimal"
)

// A krakenBook is the book of one instrument of Kraken spot. Kraken
// keeps a fixed number of levels on each side, does not send the removal of a level beyond
// them, and sends a checksum of the ten best levels (Kraken API documentation, "Spot Websockets Book
// Checksum").
type krakenBook struct {
	depth      int
	price      int8 // the exponent of prices: as many decimals as Kraken prints
	size       int8 // the exponent of sizes, likewise
	unchecked  bool // the checksum of the snapshot did not match its levels
	bids, asks []krakenLevel
	undo       []krakenChange // undoes the current message
}

type krakenLevel struct{ price, size int64 }

// A krakenChange is a level before a change; its size is 0 if there was none.
type krakenChange struct {
	side feed.Side
	krakenLevel
}

// krakenDepths are the depths that Kraken offers.
var krakenDepths = [...]int{10, 25, 100, 500, 1000}

const maxKrakenDepth = 1000

// depthOf returns the smallest depth that holds n levels.
func depthOf(n int) int {
	for _, d := range krakenDepths {
		if n <= d {
			return d
		}
	}
	return maxKrakenDepth
}

// A krakenLevels is a message about a book.
type krakenLevels struct {
	depth    int    // depth of the channel; 0 if the message does not state it
	whole    bool   // the message is a snapshot
	checksum []byte // empty if there is none
	key      uint64 // the hash of the message
}

// krakenBook appends the levels of the current message, which belong to a book of Kraken spot.
func (s *Source) krakenBook(in *instrument, at int64, m krakenLevels) string {
	bk := &in.book
	if !m.whole && !bk.live {
		s.count.Now.Unanchored++
		s.useful = true
		if !s.cfg.PartialBooks {
			return ""
		}
		reason := s.tellLevels(in, at, false)
		s.unnumber(in)
		return reason
	}
	if bk.live && m.depth != 0 && m.depth != bk.kraken.depth {
		s.count.Now.Repeated++ // the same book, from another subscription
		return ""
	}
	key := m.key ^ s.hash([]byte(in.def.Symbol))
	if !m.whole && s.stated != 0 && s.repeated(key) {
		return ""
	}
	start := len(s.buf)
	if reason := s.resolve(in, at); reason != "" {
		return reason
	}
	k := bk.kraken
	if m.whole {
		k = &krakenBook{depth: m.depth}
	}
	k.undo = k.undo[:0]
	if reason := k.apply(s.sides, s.numbers); reason != "" {
		k.revert()
		return reason
	}
	switch fits := len(m.checksum) == 0 || k.unchecked || string(m.checksum) == strconv.FormatUint(uint64(k.checksum()), 10); {
	case fits:
	case m.whole:
		k.unchecked = true
		s.report("%s: the checksum of a snapshot is not that of its levels, as if a program had changed the numbers; the book is not checked", in.def.Name())
	case s.stated != 0 && s.stated <= bk.at: // late, from another collector
		k.revert()
		s.count.Now.Repeated++
		return ""
	default:
		s.breakBook(in, at, "the checksum %s of the book is not that of the levels told, so updates are missing", m.checksum)
		return ""
	}
	s.useful = true
	if m.whole {
		if k.depth == 0 {
			k.depth = depthOf(max(len(k.bids), len(k.asks)))
		}
		s.appendLevels(in, at, true, start)
		bk.kraken, bk.at = k, max(bk.at, s.stated)
		s.count.Now.Snapshots++
		s.startBook(in)
		return ""
	}
	if len(k.undo) == 0 {
		s.count.Now.Repeated++
		return ""
	}
	s.seen.Add(key)
	for _, gone := range k.cut() {
		price, _ := rescale(gone.price, k.price, in.def.PriceExponent)
		s.sides = append(s.sides, gone.side)
		s.numbers = append(s.numbers, number{value: price}, number{size: true})
	}
	s.appendLevels(in, at, false, start)
	bk.at = max(bk.at, s.stated)
	s.count.Now.Updates++
	return ""
}

// apply applies levels to the book; each level has two numbers.
func (k *krakenBook) apply(sides []feed.Side, numbers []number) string {
	price, size := k.price, k.size
	for _, n := range numbers {
		if n.size {
			size = min(size, printedExponent(n.text))
		} else {
			price = min(price, printedExponent(n.text))
		}
	}
	if !k.refine(price, size) {
		return "the levels need so many decimals that those before them do not fit 64 bits"
	}
	for i, side := range sides {
		price, err := decimal.Parse(numbers[2*i].text, k.price)
		if err != nil {
			return fmt.Sprintf("price %.40q: %v (in units of 10^%d)", numbers[2*i].text, err, k.price)
		}
		size, err := decimal.Parse(numbers[2*i+1].text, k.size)
		if err != nil {
			return fmt.Sprintf("size %.40q: %v (in units of 10^%d)", numbers[2*i+1].text, err, k.size)
		}
		k.set(side, krakenLevel{price, size}, true)
	}
	return ""
}

// printedExponent returns the exponent of the last digit of b, including zeros.
func printedExponent(b []byte) int8 {
	e := 0
	if _, scanned, err := decimal.Scan(b); err == nil {
		e = scanned
	}
	if i := bytes.IndexByte(b, '.'); i >= 0 && !bytes.ContainsAny(b, "eE") {
		e = i + 1 - len(b)
	}
	return int8(min(0, max(e, feed.MinExponent)))
}

// refine sets the exponents of the book to price and size, which are not coarser. It returns false if
// a level does not fit.
func (k *krakenBook) refine(price, size int8) bool {
	if price == k.price && size == k.size {
		return true
	}
	var fine [2][]krakenLevel
	for i, levels := range [...][]krakenLevel{k.bids, k.asks} {
		for _, l := range levels {
			p, ok := rescale(l.price, k.price, price)
			n, fits := rescale(l.size, k.size, size)
			if !ok || !fits {
				return false
			}
			fine[i] = append(fine[i], krakenLevel{p, n})
		}
	}
	k.bids, k.asks, k.price, k.size = fine[0], fine[1], price, size
	return true
}

func (k *krakenBook) side(side feed.Side) *[]krakenLevel {
	if side == feed.SideBuy {
		return &k.bids
	}
	return &k.asks
}

// set sets the level at the price of l; a size of 0 removes it. If note is true, the previous level is added to undo.
func (k *krakenBook) set(side feed.Side, l krakenLevel, note bool) {
	levels := k.side(side)
	i, found := slices.BinarySearchFunc(*levels, l.price, func(x krakenLevel, price int64) int {
		if x.price == price {
			return 0
		}
		if (x.price > price) == (side == feed.SideBuy) {
			return -1
		}
		return 1
	})
	before := krakenLevel{price: l.price}
	if found {
		before = (*levels)[i]
	}
	if before == l {
		return
	}
	if note {
		k.undo = append(k.undo, krakenChange{side, before})
	}
	switch {
	case l.size == 0:
		*levels = slices.Delete(*levels, i, i+1)
	case found:
		(*levels)[i] = l
	default:
		*levels = slices.Insert(*levels, i, l)
	}
}

// revert undoes the changes of the current message.
func (k *krakenBook) revert() {
	for _, c := range slices.Backward(k.undo) {
		k.set(c.side, c.krakenLevel, false)
	}
}

// cut removes the levels beyond the depth of the book, and returns them.
func (k *krakenBook) cut() (gone []krakenChange) {
	for _, side := range [...]feed.Side{feed.SideBuy, feed.SideSell} {
		levels := k.side(side)
		for len(*levels) > k.depth {
			last := len(*levels) - 1
			gone = append(gone, krakenChange{side, (*levels)[last]})
			*levels = (*levels)[:last]
		}
	}
	return gone
}

// checksum returns the CRC-32 of the digits of the ten best asks and the ten best bids: each price
// and size without the point and without leading zeros.
func (k *krakenBook) checksum() uint32 {
	const best = 10
	var buf [2 * best * 40]byte
	b := buf[:0]
	for _, levels := range [...][]krakenLevel{k.asks, k.bids} {
		for _, l := range levels[:min(best, len(levels))] {
			b = strconv.AppendInt(b, l.price, 10)
			b = strconv.AppendInt(b, l.size, 10)
		}
	}
	return crc32.ChecksumIEEE(b)
}

// rescale converts v from exponent from to exponent to. It returns false if the result is not exact.
func rescale(v int64, from, to int8) (int64, bool) {
	for ; from > to; from-- {
		if v > (1<<63-1)/10 {
			return 0, false
		}
		v *= 10
	}
	for ; from < to; from++ {
		if v%10 != 0 {
			return 0, false
		}
		v /= 10
	}
	return v, true
}
