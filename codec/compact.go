package codec

import (
	"encoding/binary"
	"strings"

	"tickfeed/feed"
)

// A snapshot has thousands of definitions, statuses, summaries and book levels, with compact
// integers of varied widths. This file reads these entries as AppendTick writes them, with texts in ASCII. It reports no
// errors: it leaves any other entry to the general path, which reads every valid width and returns the errors.

// The first two bytes of the entries that decodeCompact reads: the array with its number of elements, and the code.
const (
	headDefinition = 0x9a<<8 | uint16(feed.KindDefinition)<<1
	headLevel      = 0x96<<8 | uint16(feed.KindLevel)<<1
	headStatus     = 0x95<<8 | uint16(feed.KindStatus)<<1
	headSummary    = 0x9e<<8 | uint16(feed.KindSummary)<<1
)

// decodeCompact decodes the next entry into t, except Seq, and returns the size of the entry. It returns 0 if the general path
// must decode the entry; the content of t is then undefined.
func (b *Body) decodeCompact(t *feed.Tick) int {
	p := b.rest
	if len(p) < 2 {
		return 0
	}
	id, at := compactInt(p, 2)
	offset, at := compactInt(p, at)
	if uint64(id) >= feed.MaxInstruments || !isPlain(b.base) || !isNear(offset) || !isNear(b.base+offset) {
		return 0
	}
	head := uint16(p[0])<<8 | uint16(p[1])
	*t = feed.Tick{
		Kind: feed.Kind(p[1] >> 1), Flags: feed.Flags(head & 1), Instrument: feed.InstrumentID(id), EventTime: b.base + offset,
	}
	switch head &^ 1 {
	case headDefinition:
		symbol, at := compactText(p, at)
		venue, at := compactText(p, at)
		price, at := compactInt(p, at)
		size, at := compactInt(p, at)
		currency, at := compactText(p, at)
		step, at := compactInt(p, at)
		lot, at := compactInt(p, at)
		if at > len(p) || len(symbol) == 0 || step|lot < 0 || min(price, size) < feed.MinExponent || max(price, size) > feed.MaxExponent {
			return 0
		}
		k := b.keep()
		t.Extra = k.definition()
		k.venue, k.currency = k.textAgain(venue), k.textAgain(currency)
		*t.Extra.Definition = feed.Definition{
			Symbol: k.text(symbol), Venue: k.venue, PriceExponent: int8(price), SizeExponent: int8(size),
			Currency: k.currency, TickSize: step, Lot: lot,
		}
		return at
	case headLevel:
		side, at := compactInt(p, at)
		price, at := compactInt(p, at)
		size, at := compactInt(p, at)
		t.Side, t.Values[0], t.Values[1] = feed.Side(side), price, size
		if at > len(p) || side != int64(feed.SideBuy) && side != int64(feed.SideSell) || price == feed.NoPrice || size < 0 {
			return 0
		}
		return at
	case headStatus:
		status, at := compactInt(p, at)
		day, at := compactInt(p, at)
		t.Status, t.Values[0] = feed.Status(status), day
		if at > len(p) || uint64(status) > 255 || uint64(day) > maxTradingDay {
			return 0
		}
		return at
	case headSummary:
		day, at := compactInt(p, at)
		open, at := compactPrice(p, at)
		high, at := compactPrice(p, at)
		low, at := compactPrice(p, at)
		last, at := compactPrice(p, at)
		lastSize, at := compactInt(p, at)
		lastSide, at := compactInt(p, at)
		lastTime, at := compactInt(p, at)
		volume, at := compactInt(p, at)
		trades, at := compactInt(p, at)
		lastID, at := compactInt(p, at)
		if at > len(p) || !b.snapshot || uint64(day) > maxTradingDay || uint64(lastSide) > uint64(feed.SideSell) ||
			lastSize|volume|trades|lastID < 0 || !isNear(lastTime) || !isNear(b.base+lastTime) {
			return 0
		}
		t.Extra = b.keep().summary()
		*t.Extra.Summary = feed.Summary{
			TradingDay: int32(day), Open: open, High: high, Low: low, Last: last,
			LastSize: lastSize, LastSide: feed.Side(lastSide), LastTime: b.base + lastTime,
			LastID: uint64(lastID), Volume: volume, Trades: trades,
		}
		return at
	}
	return 0
}

// unusual is the end that the functions below return if the general path must decode the entry. It is beyond any body.
const unusual = 1 << 30

// compactInt reads the integer at p[at], of any width, and returns the index after it, which is beyond p if the integer is cut
// short. It leaves integers beyond 63 bits to the general path.
func compactInt(p []byte, at int) (v int64, end int) {
	if at+9 > len(p) {
		if at >= len(p) {
			return 0, unusual
		}
		var tail [18]byte
		copy(tail[:], p[at:])
		v, end = compactInt(tail[:], 0)
		return v, at + end
	}
	word := binary.BigEndian.Uint64(p[at:])
	m := byte(word >> 56)
	if m < 0x80 || m >= 0xe0 {
		return int64(word) >> 56, at + 1
	}
	switch word <<= 8; m {
	case 0xcc:
		return int64(word >> 56), at + 2
	case 0xcd:
		return int64(word >> 48), at + 3
	case 0xce:
		return int64(word >> 32), at + 5
	case 0xd0:
		return int64(word) >> 56, at + 2
	case 0xd1:
		return int64(word) >> 48, at + 3
	case 0xd2:
		return int64(word) >> 32, at + 5
	case 0xcf, 0xd3:
		if v = int64(binary.BigEndian.Uint64(p[at+1:])); v >= 0 || m == 0xd3 {
			return v, at + 9
		}
	}
	return 0, unusual
}

// compactPrice reads an integer, or nil for feed.NoPrice.
func compactPrice(p []byte, at int) (v int64, end int) {
	if at < len(p) && p[at] == 0xc0 {
		return feed.NoPrice, at + 1
	}
	v, end = compactInt(p, at)
	if v == feed.NoPrice {
		end = unusual
	}
	return v, end
}

// compactText reads a str of printable ASCII, at most feed.MaxText bytes long. The text it returns is part of p.
func compactText(p []byte, at int) (text []byte, end int) {
	if at+2 > len(p) {
		return nil, unusual
	}
	n := int(p[at])
	switch {
	case n&0xe0 == 0xa0:
		n &= 0x1f
		at++
	case n == 0xd9:
		n = int(p[at+1])
		at += 2
	default:
		return nil, unusual
	}
	if end = at + n; end > len(p) || n > feed.MaxText {
		return nil, unusual
	}
	text = p[at:end]
	odd := false
	for _, c := range text {
		odd = odd || c-' ' > '~'-' '
	}
	if odd {
		return nil, unusual
	}
	return text, end
}

// kept allocates the definitions, summaries and texts that the ticks of a body point to, several at a time, because a snapshot
// has thousands of them. The memory belongs to the ticks: a caller that keeps one tick keeps the memory of a few others.
type kept struct {
	definitions     []keptDefinition // room for the next ones
	summaries       []keptSummary
	defined, summed int             // definitions and summaries so far
	texts           strings.Builder // texts of definitions; replaced when it is full
	venue, currency string          // those of the last definition, which the next one often repeats
}

type keptDefinition struct {
	extra      feed.Extra
	definition feed.Definition
}

type keptSummary struct {
	extra   feed.Extra
	summary feed.Summary
}

// maxKept bounds how many definitions, or summaries, are allocated at once. Up to that bound, as many are allocated as there
// were before, so that a single one is allocated alone.
const maxKept = 32

// textRoom is the number of bytes allocated for the texts of each allocated definition.
const textRoom = 8

func (b *Body) keep() *kept {
	if b.kept == nil {
		b.kept = new(kept)
	}
	return b.kept
}

// definition returns a new Extra with an empty definition.
func (k *kept) definition() *feed.Extra {
	if len(k.definitions) == 0 {
		k.definitions = make([]keptDefinition, min(max(k.defined, 1), maxKept))
	}
	x := &k.definitions[0]
	k.definitions = k.definitions[1:]
	k.defined++
	x.extra.Definition = &x.definition
	return &x.extra
}

// summary returns a new Extra with an empty summary.
func (k *kept) summary() *feed.Extra {
	if len(k.summaries) == 0 {
		k.summaries = make([]keptSummary, min(max(k.summed, 1), maxKept))
	}
	x := &k.summaries[0]
	k.summaries = k.summaries[1:]
	k.summed++
	x.extra.Summary = &x.summary
	return &x.extra
}

// text returns b as a string.
func (k *kept) text(b []byte) string {
	if k.texts.Cap()-k.texts.Len() < len(b) {
		k.texts.Reset()
		k.texts.Grow(max(len(b), textRoom*min(k.defined, maxKept)))
	}
	at := k.texts.Len()
	k.texts.Write(b)
	return k.texts.String()[at:]
}

// textAgain returns b as a string. It shares memory with the last definition's venue or currency if it equals one of them.
func (k *kept) textAgain(b []byte) string {
	switch {
	case string(b) == k.venue:
		return k.venue
	case string(b) == k.currency:
		return k.currency
	}
	return k.text(b)
}
