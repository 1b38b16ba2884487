//go:build !purego

// On amd64 with AVX-512, assembly processes fixed-width ticks and checksums. It gives the same results as the Go code that
// other processors use.

package codec

import (
	"unsafe"

	"golang.org/x/sys/cpu"

	"tickfeed/feed"
)

// hasVector reports whether the processor has the instructions that vector_amd64.s uses: AVX-512 with permutation of bytes,
// which AMD processors have since Zen 4, and Intel servers since Ice Lake.
var hasVector = cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512VBMI && cpu.X86.HasBMI1

// decodeVector is decodeFixed for as many entries as possible: it stops at an entry without a fixed-width
// pattern, at a few entries with unusual values, and at a tick of batch that has Extra. It may read beyond p, but only
// on pages that p is on. Call it only if hasVector.
//
// A tick has 64 bytes, the size of a register, and an entry has fewer. So the same instructions decode all four patterns, with
// different constants, and no branch depends on whether the entry is a quote or a trade.
//
//go:noescape
func decodeVector(p []byte, batch []feed.Tick, base int64, seq uint64, by *[4]vectorPattern) (n, size int)

// encodeVector is AppendFixed for as many ticks as possible. It writes them to dst, as long as dst has
// vectorRoom bytes left. Call it only if hasVector.
//
//go:noescape
func encodeVector(dst []byte, ticks []feed.Tick, base, since int64, by *[4]vectorPattern) (n, size int, latest int64)

// A vectorPattern describes how an entry of one pattern is converted to a tick, or a tick to an entry. The source bytes
// are checked, moved to their places in the result, and some of their bits inverted.
type vectorPattern struct {
	low, span [64]byte // each source byte must be from low to low+span
	from      [64]byte // for each byte of the result, the index of its source byte
	flip      [64]byte // for each byte of the result, the bits to invert
	text      uint64   // a bit for each source byte of the conditions, which may also be 0 if only 0 follows
	textEnd   uint64   // the lowest bit of text
	_         [240]byte
}

// The assembly relies on this size.
var _ [512]byte = [unsafe.Sizeof(vectorPattern{})]byte{}

var vectorDecoding, vectorEncoding = vectorPatterns()

// vectorPatterns allocates the patterns, because an allocation is aligned and a variable may not be: rows that cross cache
// lines are much slower.
func vectorPatterns() (decoding, encoding *[4]vectorPattern) {
	decoding, encoding = new([4]vectorPattern), new([4]vectorPattern)
	const (
		kind   = int(unsafe.Offsetof(feed.Tick{}.Kind))
		values = int(unsafe.Offsetof(feed.Tick{}.Values))
		// zeroOfTick is the index of a byte that is 0 in each tick with a pattern: the highest byte of the instrument.
		zeroOfTick = int(unsafe.Offsetof(feed.Tick{}.Instrument)) + 3
	)
	places := map[byte]int{ // in a tick
		'k': int(unsafe.Offsetof(feed.Tick{}.Flags)), 'i': int(unsafe.Offsetof(feed.Tick{}.Instrument)), 't': int(unsafe.Offsetof(feed.Tick{}.EventTime)),
		'u': values, 'v': values + 8, 'w': values + 16, 'x': values + 24, 's': int(unsafe.Offsetof(feed.Tick{}.Side)),
	}
	for i := range decoding {
		d, e := &decoding[i], &encoding[i]
		tickKind := fixedPatterns[i].kind
		fields, entrySize := fixedFields(fixedPatterns[i].bytes)
		code := byte(tickKind) << 1
		for b := range d.from {
			d.from[b] = 63               // a 0: no entry has 64 bytes
			e.from[b] = byte(zeroOfTick) // a 0
		}
		for _, field := range fields {
			letter, n := field.letter, field.size
			if letter == 0 {
				d.low[field.at], e.flip[field.at] = field.mark, field.mark
				continue
			}
			for b := range n { // the most significant byte comes first
				at, to := field.at+b, places[letter]+n-1-b // in the entry, in the tick
				if letter == 'z' {
					to = values + 31 - b
				}
				low, span := byteBounds(letter, b, n, tickKind == feed.KindTrade)
				d.low[at], d.span[at], d.from[to] = low, span, byte(at)
				e.low[to], e.span[to], e.from[at] = low, span, byte(to)
				switch {
				case letter == 'k':
					d.low[at] = code
					d.flip[to], e.flip[at] = code, code
				case letter == 'z':
					d.text, d.textEnd = d.text|1<<at, 1<<field.at
					e.text, e.textEnd = e.text|1<<to, 1<<to
				case letter == 't' && n == 4 && b == 0: // the sign; the assembly adds a base that is 1<<31 off
					d.flip[to], e.flip[at] = 0x80, 0x80
				}
			}
		}
		for at := entrySize; at < len(d.span); at++ { // the bytes after the entry may have any value
			d.span[at] = 0xff
		}
		d.flip[kind] = byte(tickKind)
		// Bytes of a tick that are not in an entry must be 0, except these.
		e.span[kind], e.span[unsafe.Offsetof(feed.Tick{}.Status)] = 0xff, 0xff
		for b := range unsafe.Sizeof(feed.Tick{}.Seq) {
			e.span[unsafe.Offsetof(feed.Tick{}.Seq)+b] = 0xff
		}
	}
	return decoding, encoding
}

// byteBounds returns the bounds of byte b of a field of n bytes: it must be from low to low+span.
func byteBounds(letter byte, b, n int, trade bool) (low, span byte) {
	switch top := b == 0 && n == 8; {
	case letter == 'k':
		return 0, byte(feed.FlagMore)
	case letter == 's':
		return 0, byte(feed.SideSell)
	case letter == 'z':
		return ' ', '~' - ' '
	case letter == 'i' && n == 4: // below feed.MaxInstruments
		return 0, [4]byte{0, feed.MaxInstruments>>16 - 1, 0xff, 0xff}[b]
	case top && letter == 't': // within maxTime-maxBase
		return 0xf0, 0x1f
	case top && (letter == 'v' || letter == 'x'): // sizes are not negative
		return 0, 0x7f
	case top && (letter == 'u' || letter == 'w' && !trade): // prices are not feed.NoPrice, nor near it
		return 0x81, 0xfe
	}
	return 0, 0xff
}
