//go:build !purego

package codec

import (
	"unsafe"

	"tickfeed/feed"
)

// vectorTables reports whether the constants of the vector code can be tested. The functions below do in Go, byte by byte, what
// the assembly does with them, so that they are tested on any processor.
const vectorTables = true

// decodeByVectorTable does what decodeVector does with one entry, by the constants of pattern i. It reports whether the entry
// has the pattern, and no value that is left to decodeScalar.
func decodeByVectorTable(i int, entry []byte, base int64, seq uint64) (t feed.Tick, ok bool) {
	if i >= len(vectorDecoding) {
		return t, false
	}
	p := &vectorDecoding[i]
	var from [64]byte
	copy(from[:], entry)
	to, ok := p.convert(&from, func(n int) int { return n })
	if !ok {
		return t, false
	}
	t = *(*feed.Tick)(unsafe.Pointer(&to))
	t.Seq += seq
	t.EventTime += base
	if i < 2 {
		t.EventTime -= 1 << 31
	}
	return t, true
}

// encodeByVectorTable does what encodeVector does with one tick, by the constants of pattern i.
func encodeByVectorTable(i int, t *feed.Tick, base int64) (entry []byte, ok bool) {
	from := *t
	from.EventTime -= base
	if i < 2 {
		from.EventTime += 1 << 31
	}
	to, ok := vectorEncoding[i].convert((*[64]byte)(unsafe.Pointer(&from)), func(n int) int { return 63 - n })
	_, size := fixedFields(fixedPatterns[i].bytes)
	return to[:size], ok
}

// convert checks all bytes of from, moves them, and inverts bits. The conditions are checked in the order of the places in
// from that order returns.
func (p *vectorPattern) convert(from *[64]byte, order func(int) int) (to [64]byte, ok bool) {
	last, ended := byte(0), false
	for n := range from {
		b := order(n)
		c := from[b]
		isText := p.text>>b&1 == 1
		switch {
		case isText && c == 0:
			ended = true
		case c-p.low[b] > p.span[b], isText && ended:
			return to, false
		case isText:
			last = c
		}
	}
	for b := range to {
		to[b] = from[p.from[b]] ^ p.flip[b]
	}
	return to, last != ' '
}
