//go:build !purego

package codec

import (
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/cpu"

	"tickfeed/feed"
)

// hasVector says that the processor has what vector_amd64.s needs: AVX-512 with permutation of bytes,
// as AMD has since Zen 4, and Intel's servers since Ice Lake.
var hasVector = cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512VBMI && cpu.X86.HasBMI1

// decodeVector is decodeFixed for as many entries as it can: it stops at any without one of the fixed-width
// patterns (and at a few with one, whose values are odd), and at a tick of batch that has Extra. It reads
// nothing of a page that p is not on. It is to be called only if hasVector.
//
// A tick is 64 bytes, one register, and an entry less. So all four patterns are decoded by the same
// instructions with other constants, and no branch waits for which of quote and trade it is.
//
//go:noescape
func decodeVector(p []byte, batch []feed.Tick, base int64, seq uint64, by *[4]vectorPattern) (n, size int)

// encodeVector is AppendFixed for as many ticks as it can, and as long as dst, where it writes them, has
// vectorRoom bytes left. It is to be called only if hasVector.
//
//go:noescape
func encodeVector(dst []byte, ticks []feed.Tick, base, since int64, by *[4]vectorPattern) (n, size int, latest int64)

// A vectorPattern is how an entry of one pattern becomes a tick, or a tick an entry. The bytes of what is
// there are checked and moved, and bits of them inverted.
type vectorPattern struct {
	low, span [64]byte // the least that each byte may be, and how much more
	from      [64]byte // of the result, which byte each byte is
	flip      [64]byte // and which of its bits are inverted
	text      uint64   // the bytes, as bits, that are conditions: 0 is good too, if only 0 follows
	textEnd   uint64   // the lowest of them, as a bit
	_         [240]byte
}

// The assembler counts on it.
var _ [512]byte = [unsafe.Sizeof(vectorPattern{})]byte{}

// fixedPatterns are those of tick.go: narrow and wide, of quotes and of trades. A letter is half a byte
// of a field: k the code, i the instrument, t the time, u v w x the values, s the side, z the conditions.
var fixedPatterns = [4]string{
	"97 kk cd iiii d2 tttttttt ce uuuuuuuu cd vvvv ce wwwwwwww cd xxxx",
	"98 kk cd iiii d2 tttttttt ce uuuuuuuu ce vvvvvvvv ss ce wwwwwwww a4 zzzzzzzz",
	"97 kk ce iiiiiiii d3 tttttttttttttttt d3 uuuuuuuuuuuuuuuu cf vvvvvvvvvvvvvvvv d3 wwwwwwwwwwwwwwww cf xxxxxxxxxxxxxxxx",
	"98 kk ce iiiiiiii d3 tttttttttttttttt d3 uuuuuuuuuuuuuuuu cf vvvvvvvvvvvvvvvv ss cf wwwwwwwwwwwwwwww a8 zzzzzzzzzzzzzzzz",
}

var vectorDecoding, vectorEncoding = vectorPatterns()

// vectorPatterns are allocated, because a variable would begin anywhere: rows that lie in two lines of the cache
// make it all twice as slow.
func vectorPatterns() (decoding, encoding *[4]vectorPattern) {
	decoding, encoding = new([4]vectorPattern), new([4]vectorPattern)
	const (
		kind   = int(unsafe.Offsetof(feed.Tick{}.Kind))
		values = int(unsafe.Offsetof(feed.Tick{}.Values))
		// zeroOfTick is a byte that is 0 in each tick that has a pattern: ids have fewer bits.
		zeroOfTick = int(unsafe.Offsetof(feed.Tick{}.Instrument)) + 3
	)
	fields := map[byte]int{
		'k': int(unsafe.Offsetof(feed.Tick{}.Flags)), 'i': int(unsafe.Offsetof(feed.Tick{}.Instrument)), 't': int(unsafe.Offsetof(feed.Tick{}.EventTime)),
		'u': values, 'v': values + 8, 'w': values + 16, 'x': values + 24, 's': int(unsafe.Offsetof(feed.Tick{}.Side)),
	}
	for i, pattern := range fixedPatterns {
		d, e := &decoding[i], &encoding[i]
		trade, wide := i%2 == 1, i >= 2
		tickKind := feed.KindQuote
		if trade {
			tickKind = feed.KindTrade
		}
		code := byte(tickKind) << 1
		for b := range d.from {
			d.from[b] = 63               // a 0: no entry is so long
			e.from[b] = byte(zeroOfTick) // one
		}
		at := 0 // in the entry
		for token := range strings.FieldsSeq(pattern) {
			if mark, err := strconv.ParseUint(token, 16, 8); err == nil {
				d.low[at], e.flip[at] = byte(mark), byte(mark)
				at++
				continue
			}
			letter, n := token[0], len(token)/2
			for b := range n { // the most significant byte comes first
				to := fields[letter] + n - 1 - b // in the tick
				if letter == 'z' {
					to = values + 31 - b
				}
				low, span := byteBounds(letter, b, n, trade)
				d.low[at], d.span[at], d.from[to] = low, span, byte(at)
				e.low[to], e.span[to], e.from[at] = low, span, byte(to)
				switch {
				case letter == 'k':
					d.low[at] = code
					d.flip[to], e.flip[at] = code, code
				case letter == 'z':
					d.text, d.textEnd = d.text|1<<at, 1<<(at-b)
					e.text, e.textEnd = e.text|1<<to, 1<<to
				case letter == 't' && !wide && b == 0: // the sign; what is added is 1<<31 off
					d.flip[to], e.flip[at] = 0x80, 0x80
				}
				at++
			}
		}
		for ; at < len(d.span); at++ { // of what follows
			d.span[at] = 0xff
		}
		d.flip[kind] = byte(tickKind)
		// What an entry does not tell must be 0 in a tick, but for these.
		e.span[kind], e.span[unsafe.Offsetof(feed.Tick{}.Status)] = 0xff, 0xff
		for b := range unsafe.Sizeof(feed.Tick{}.Seq) {
			e.span[unsafe.Offsetof(feed.Tick{}.Seq)+b] = 0xff
		}
	}
	return decoding, encoding
}

// byteBounds are the least that byte b of a field of n bytes may be, and how much more.
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
