package codec

import (
	"encoding/binary"
	"math"
	"math/bits"

	"tickfeed/feed"
)

// This file writes, reads, scans and rebases entries with the fixed-width patterns of fixedPatterns, one at a time; AppendFixed
// and decodeFixed try vectors first (vector_amd64.go). A narrow entry is written with four stores and recognised with three
// loads, a mask and one branch. Shifts and offsets that were looked up in the table instead of standing here made ScanFixed
// take twice as long (BenchmarkScan).

// The patterns of fixedPatterns as constants, for the loops below: sizes, and bytes as big-endian words. TestFixedPatterns
// compares what the loops do with the table, at each byte of each pattern.
const (
	narrowQuote = 26
	narrowTrade = 31
	wideQuote   = 52
	wideTrade   = 53

	codeQuote = uint64(feed.KindQuote) << 1
	codeTrade = uint64(feed.KindTrade) << 1

	headQuote = 0x97 // an array of seven
	headTrade = 0x98

	headMask = 0xff_fe_ff_0000_ff_0000 // bytes 0 to 7; the low bit of kk is "more"
	headNQ   = 0x97_00_cd_0000_d2_0000 | codeQuote<<48
	headNT   = 0x98_00_cd_0000_d2_0000 | codeTrade<<48

	pairMask = 0x0000_ff_00000000_ff // bytes 8 to 15, and 16 to 23
	pairNQ   = 0x0000_ce_00000000_cd
	pairNT   = 0x0000_ce_00000000_ce

	headWideMask = 0xff_fe_ff_00000000_ff
	headWQ       = 0x97_00_ce_00000000_d3 | codeQuote<<48
	headWT       = 0x98_00_ce_00000000_d3 | codeTrade<<48
)

// IsFixed reports whether t is valid and has a fixed-width pattern, so that AppendFixed accepts it. (AppendFixed does not
// call it: without vectors it is faster to check for a narrow pattern first.)
func IsFixed(t *feed.Tick) bool {
	v := &t.Values
	switch t.Kind {
	case feed.KindQuote:
		return t.Side <= feed.SideBoth && v[0] != feed.NoPrice && v[2] != feed.NoPrice && v[1]|v[3] >= 0 && t.Instrument < feed.MaxInstruments && isNear(t.EventTime)
	case feed.KindTrade:
		return t.Side <= feed.SideSell && t.Extra == nil && (v[3] == 0 || feed.Conditions(v[3]).Valid()) &&
			v[0] != feed.NoPrice && v[1] >= 0 && t.Instrument < feed.MaxInstruments && isNear(t.EventTime)
	}
	return false
}

// AppendFixed appends ticks as AppendTick would, until it reaches a tick that is not a valid quote or trade with a
// fixed-width pattern, or until dst has less than MaxEntry bytes of spare capacity. It returns the number of ticks that it
// appended, and the latest of their event times and since. For many ticks it is much cheaper than ValidateTick and
// AppendTick, especially with vectors (see BenchmarkAppendFixed and BenchmarkAppendTick).
func AppendFixed(dst []byte, ticks []feed.Tick, base, since int64) (_ []byte, n int, latest int64) {
	for latest = since; n < len(ticks); {
		some := ticks[n:]
		if at := len(dst); hasVector && len(some) >= fixedRun && cap(dst)-at >= MaxEntry {
			var k, size int
			k, size, latest = encodeVector(dst[at:cap(dst)-(MaxEntry-vectorRoom)], some, base, latest, vectorEncoding)
			dst, n, some = dst[:at+size], n+k, some[k:min(k+scalarRun, len(some))]
		}
		var k int
		dst, k, latest = appendScalar(dst, some, base, latest)
		if n += k; k < len(some) {
			break
		}
	}
	return dst, n, latest
}

// appendScalar is AppendFixed without vectors.
func appendScalar(dst []byte, ticks []feed.Tick, base, since int64) (_ []byte, n int, latest int64) {
	at := len(dst)
	dst = dst[:cap(dst)]
	latest = since
	for n < len(ticks) && len(dst)-at >= MaxEntry {
		t := &ticks[n]
		offset := t.EventTime - base
		code := uint64(t.Kind)<<1 | uint64(t.Flags&feed.FlagMore)
		switch {
		case t.Kind == feed.KindQuote && t.Side <= feed.SideBoth:
			if narrowQuoteFits(t, offset) {
				putNarrowQuote((*[narrowQuote]byte)(dst[at:]), t, code, offset)
				at += narrowQuote
			} else if t.Values[0] != feed.NoPrice && t.Values[2] != feed.NoPrice && t.Values[1]|t.Values[3] >= 0 && t.Instrument < feed.MaxInstruments && isNear(t.EventTime) {
				putWideQuote((*[wideQuote]byte)(dst[at:]), t, code, offset)
				at += wideQuote
			} else {
				return dst[:at], n, latest
			}
		case t.Kind == feed.KindTrade && t.Side <= feed.SideSell && t.Extra == nil &&
			(t.Values[3] == 0 || feed.Conditions(t.Values[3]).Valid()):
			if narrowTradeFits(t, offset) {
				putNarrowTrade((*[narrowTrade]byte)(dst[at:]), t, code, offset)
				at += narrowTrade
			} else if t.Values[0] != feed.NoPrice && t.Values[1] >= 0 && t.Instrument < feed.MaxInstruments && isNear(t.EventTime) {
				putWideTrade((*[wideTrade]byte)(dst[at:]), t, code, offset)
				at += wideTrade
			} else {
				return dst[:at], n, latest
			}
		default:
			return dst[:at], n, latest
		}
		latest = max(latest, t.EventTime)
		n++
	}
	return dst[:at], n, latest
}

func narrowQuoteFits(t *feed.Tick, offset int64) bool {
	v := &t.Values
	return uint64(t.Instrument)>>16|uint64(v[0]|v[2])>>32|uint64(v[1]|v[3])>>16|uint64(offset+1<<31)>>32 == 0
}

func putNarrowQuote(b *[narrowQuote]byte, t *feed.Tick, code uint64, offset int64) {
	v := &t.Values
	binary.BigEndian.PutUint64(b[:], headNQ|code<<48|uint64(t.Instrument)<<24|uint64(uint32(offset))>>16)
	binary.BigEndian.PutUint64(b[8:], uint64(offset)<<48|pairNQ|uint64(v[0])<<8)
	binary.BigEndian.PutUint64(b[16:], uint64(v[1])<<48|pairNQ|uint64(v[2])<<8)
	binary.BigEndian.PutUint16(b[24:], uint16(v[3]))
}

func narrowTradeFits(t *feed.Tick, offset int64) bool {
	v := &t.Values
	return uint64(t.Instrument)>>16|uint64(v[0]|v[1]|v[2])>>32|uint64(uint32(v[3]))|uint64(offset+1<<31)>>32 == 0
}

func putNarrowTrade(b *[narrowTrade]byte, t *feed.Tick, code uint64, offset int64) {
	v := &t.Values
	binary.BigEndian.PutUint64(b[:], headNT|code<<48|uint64(t.Instrument)<<24|uint64(uint32(offset))>>16)
	binary.BigEndian.PutUint64(b[8:], uint64(offset)<<48|pairNT|uint64(v[0])<<8)
	binary.BigEndian.PutUint64(b[16:], uint64(v[1])<<32|uint64(t.Side)<<24|0xce<<16|uint64(v[2])>>16)
	binary.BigEndian.PutUint64(b[23:], uint64(v[2])<<40|0xa4<<32|uint64(v[3])>>32)
}

func putWideQuote(b *[wideQuote]byte, t *feed.Tick, code uint64, offset int64) {
	v := &t.Values
	binary.BigEndian.PutUint64(b[:], headWQ|code<<48|uint64(t.Instrument)<<8)
	binary.BigEndian.PutUint64(b[8:], uint64(offset))
	putMarked(b[16:], 0xd3, v[0])
	putMarked(b[25:], 0xcf, v[1])
	putMarked(b[34:], 0xd3, v[2])
	putMarked(b[43:], 0xcf, v[3])
}

func putWideTrade(b *[wideTrade]byte, t *feed.Tick, code uint64, offset int64) {
	v := &t.Values
	binary.BigEndian.PutUint64(b[:], headWT|code<<48|uint64(t.Instrument)<<8)
	binary.BigEndian.PutUint64(b[8:], uint64(offset))
	putMarked(b[16:], 0xd3, v[0])
	putMarked(b[25:], 0xcf, v[1])
	b[34] = byte(t.Side)
	putMarked(b[35:], 0xcf, v[2])
	putMarked(b[44:], 0xa8, v[3])
}

func putMarked(b []byte, marker byte, v int64) {
	_ = b[8]
	b[0] = marker
	binary.BigEndian.PutUint64(b[1:], uint64(v))
}

// fixedRun is the least number of consecutive fixed-width entries that do not count as scattered. For scattered entries, on
// filtered lines and in snapshots, the preparations of decodeFixed cost more than they save.
const fixedRun = 4

// vectorRoom is the number of bytes that encodeVector writes for each entry, whatever its size.
const vectorRoom = 64

// scalarRun is the number of ticks that are processed one by one before vectors are tried again. Trying after each tick would
// cost more than it saves if vectors can process none.
const scalarRun = 16

// decodeFixed decodes the fixed-width entries at the start of p into batch, numbered from seq. It sets all fields of each
// tick, and returns the number of ticks and their size in p.
func decodeFixed(p []byte, batch []feed.Tick, base int64, seq uint64) (n, size int) {
	for n < len(batch) && len(p) > size {
		room := batch[n:]
		if hasVector {
			k, s := decodeVector(p[size:], room, base, seq+uint64(n), vectorDecoding)
			n, size, room = n+k, size+s, room[k:min(k+scalarRun, len(room))]
		}
		k, s := decodeScalar(p[size:], room, base, seq+uint64(n))
		n, size = n+k, size+s
		if k < len(room) {
			break
		}
	}
	return n, size
}

// decodeScalar is decodeFixed without vectors.
//
// It is one loop, because a call for each entry is slower. It loads the fields again instead of
// shifting them out of the compared words, because the compiler would run out of registers.
// The branch between quotes and trades is unpredictable, but code without it was slower
// (BenchmarkDecodeTicks, BenchmarkDecodeMarket).
func decodeScalar(p []byte, batch []feed.Tick, base int64, seq uint64) (n, size int) {
	for n := range batch {
		if size+narrowQuote > len(p) {
			return n, size
		}
		b := (*[narrowQuote]byte)(p[size : size+narrowQuote])
		w0 := binary.BigEndian.Uint64(b[:])
		w1 := binary.BigEndian.Uint64(b[8:])
		w2 := binary.BigEndian.Uint64(b[16:])
		if (w0^headNQ)&headMask|((w1^pairNQ)|(w2^pairNQ))&pairMask == 0 {
			t := &batch[n]
			t.Values[1], t.Values[2] = int64(w2>>48), int64(uint32(w2>>8))
			t.Values[0], t.Values[3] = int64(binary.BigEndian.Uint32(b[11:])), int64(binary.BigEndian.Uint16(b[24:]))
			t.Seq = seq + uint64(n)
			t.EventTime = base + int64(int32(binary.BigEndian.Uint32(b[6:])))
			t.Instrument = feed.InstrumentID(binary.BigEndian.Uint16(b[3:]))
			m := quoteMarks[b[1]&1]
			t.Kind, t.Flags, t.Side, t.Status = feed.Kind(m), feed.Flags(m>>8), feed.Side(m>>16), feed.Status(m>>24)
			if t.Extra != nil { // rare; storing a pointer costs more than this check
				t.Extra = nil
			}
			size += narrowQuote
			continue
		}
		if size+narrowTrade > len(p) {
			return n, size
		}
		t := &batch[n]
		w3 := binary.BigEndian.Uint64(p[size+23:])
		side := uint32(w2 >> 24 & 3)
		if (w0^headNT)&headMask|(w1^pairNT)&pairMask|(w2^0xce0000)&0xfcff0000|(w3^0xa4<<32)&(0xff<<32) != 0 ||
			side > uint32(feed.SideSell) || !validConditions(uint32(w3)) {
			wide := decodeWide(p[size:], t, base)
			if wide == 0 {
				return n, size
			}
			t.Seq = seq + uint64(n)
			size += wide
			continue
		}
		t.Values[1], t.Values[2], t.Values[3] = int64(w2>>32), int64(w2&0xff00<<16|w3>>40), int64(w3<<32)
		t.Values[0] = int64(binary.BigEndian.Uint32(b[11:]))
		t.Seq = seq + uint64(n)
		t.EventTime = base + int64(int32(binary.BigEndian.Uint32(b[6:])))
		t.Instrument = feed.InstrumentID(binary.BigEndian.Uint16(b[3:]))
		m := quoteMarks[b[1]&1] + uint32(feed.KindTrade-feed.KindQuote) + side<<16
		t.Kind, t.Flags, t.Side, t.Status = feed.Kind(m), feed.Flags(m>>8), feed.Side(m>>16), feed.Status(m>>24)
		if t.Extra != nil {
			t.Extra = nil
		}
		size += narrowTrade
	}
	return len(batch), size
}

// quoteMarks holds kind, flags, side and status of a quote in one word, by the "more" bit of its code, so that one store
// replaces four.
var quoteMarks = [2]uint32{uint32(feed.KindQuote), uint32(feed.KindQuote) | uint32(feed.FlagMore)<<8}

// validConditions is [feed.Conditions.Valid] for conditions with at most four characters.
// It has no branch, because the number of characters is unpredictable.
func validConditions(c uint32) bool {
	x := uint64(c)
	end := bits.TrailingZeros64(x|1<<32) & 56 // the end of the characters, in bits
	last := x >> end & 0xff
	x |= '!' * 0x01010101 & (1<<end - 1) // put a valid character in each empty place
	return (x|(x-' '*0x01010101)|(x+0x01010101))&0x80808080|((last^' ')-1)>>63 == 0
}

// decodeWide decodes an entry in one of the wide patterns and returns its size, or 0 if p does not begin with one. It sets all
// fields of t except Seq.
func decodeWide(p []byte, t *feed.Tick, base int64) int {
	if len(p) < wideQuote {
		return 0
	}
	w0 := binary.BigEndian.Uint64(p)
	v := [4]int64{int64(binary.BigEndian.Uint64(p[17:])), int64(binary.BigEndian.Uint64(p[26:]))}
	switch {
	case (w0^headWQ)&headWideMask == 0 && p[16] == 0xd3 && p[25] == 0xcf && p[34] == 0xd3 && p[43] == 0xcf:
		v[2], v[3] = int64(binary.BigEndian.Uint64(p[35:])), int64(binary.BigEndian.Uint64(p[44:]))
		if v[1]|v[3] < 0 || v[0] == feed.NoPrice || v[2] == feed.NoPrice {
			return 0
		}
		t.Kind, t.Side = feed.KindQuote, 0
		p = p[:wideQuote]
	case len(p) >= wideTrade && (w0^headWT)&headWideMask == 0 &&
		p[16] == 0xd3 && p[25] == 0xcf && p[34] <= byte(feed.SideSell) && p[35] == 0xcf && p[44] == 0xa8:
		v[2], v[3] = int64(binary.BigEndian.Uint64(p[36:])), int64(binary.BigEndian.Uint64(p[45:]))
		if v[1] < 0 || v[0] == feed.NoPrice || v[3] != 0 && !feed.Conditions(v[3]).Valid() {
			return 0
		}
		t.Kind, t.Side = feed.KindTrade, feed.Side(p[34])
		p = p[:wideTrade]
	default:
		return 0
	}
	id, offset := w0>>8&0xffffffff, int64(binary.BigEndian.Uint64(p[8:]))
	if id >= feed.MaxInstruments || !isNear(offset) || !isNear(base+offset) {
		return 0
	}
	t.EventTime = base + offset
	t.Instrument = feed.InstrumentID(id)
	t.Flags, t.Status, t.Values = feed.Flags(w0>>48&1), 0, v
	if t.Extra != nil {
		t.Extra = nil
	}
	return len(p)
}

// ScanFixed stores the instruments and the sizes, in bytes, of the fixed-width ticks at the start of a body. It stops at the
// first other entry, or when ids is full, and returns the number of ticks. sizes must be at least as long as ids. The body
// must be one that this package wrote: ScanFixed checks the marks of the patterns, but not the values.
func ScanFixed(body []byte, ids []feed.InstrumentID, sizes []uint8) (n int) {
	sizes = sizes[:len(ids)]
	for n < len(ids) && len(body) >= narrowQuote {
		w0 := binary.BigEndian.Uint64(body)
		size, id := 0, feed.InstrumentID(w0>>24&0xffff)
		switch {
		case (w0^headNQ)&headMask == 0 && (binary.BigEndian.Uint64(body[8:])^pairNQ)&pairMask|(binary.BigEndian.Uint64(body[16:])^pairNQ)&pairMask == 0:
			size = narrowQuote
		case (w0^headNT)&headMask == 0 && len(body) >= narrowTrade && body[10] == 0xce && body[15] == 0xce &&
			body[20] < 0x80 && body[21] == 0xce && body[26] == 0xa4:
			size = narrowTrade
		case (w0^headWQ)&headWideMask == 0 && len(body) >= wideQuote && body[16] == 0xd3 && body[25] == 0xcf && body[34] == 0xd3 && body[43] == 0xcf:
			size, id = wideQuote, feed.InstrumentID(w0>>8)
		case (w0^headWT)&headWideMask == 0 && len(body) >= wideTrade && body[16] == 0xd3 && body[25] == 0xcf && body[34] < 0x80 && body[35] == 0xcf && body[44] == 0xa8:
			size, id = wideTrade, feed.InstrumentID(w0>>8)
		default:
			return n
		}
		ids[n], sizes[n] = id, uint8(size)
		body = body[size:]
		n++
	}
	return n
}

// fixedAt is ScanFixed for one entry: it returns size 0 if the entry has no pattern.
func fixedAt(p []byte) (size int, id feed.InstrumentID) {
	var (
		ids   [1]feed.InstrumentID
		sizes [1]uint8
	)
	ScanFixed(p, ids[:], sizes[:])
	return int(sizes[0]), ids[0]
}

// The heads of the narrow and the wide patterns, of any kind and number of elements: bytes 0 to 7.
const (
	anyKind        = 0x0f_7e << 48
	rebaseMask     = headMask &^ anyKind
	rebaseNarrow   = headNQ &^ anyKind
	rebaseWideMask = headWideMask &^ anyKind
	rebaseWide     = headWQ &^ anyKind
)

// AppendRebased appends a skip of the given count of numbers, unless it is 0, and the tick in entry, for a packet whose base
// event time is delta nanoseconds earlier than that of the entry's packet. It
// returns dst unchanged and false if the entry cannot be rebased. The entry must be from a body that this
// package wrote.
func AppendRebased(dst []byte, skip uint64, entry []byte, delta int64) ([]byte, bool) {
	if len(entry) < narrowQuote {
		return appendRebased(dst, skip, entry, delta)
	}
	w0 := binary.BigEndian.Uint64(entry)
	at, size := len(dst), len(entry)
	// Moving 16 bytes twice, and writing a skip even if there is none, is cheaper than calls and branches for each length.
	if w0&rebaseMask == rebaseNarrow && size <= 32 && skip <= math.MaxUint16 && cap(dst)-at >= 3+32 {
		offset := int64(int32(binary.BigEndian.Uint32(entry[6:]))) + delta
		if int64(int32(offset)) != offset {
			return dst, false
		}
		b := dst[at : at+3+32]
		b[0] = 0xcd
		binary.BigEndian.PutUint16(b[1:], uint16(skip))
		if skip != 0 {
			b, at = b[3:], at+3
		}
		*(*[16]byte)(b) = [16]byte(entry)
		*(*[16]byte)(b[size-16:]) = [16]byte(entry[size-16:])
		binary.BigEndian.PutUint32(b[6:], uint32(offset))
		return dst[:at+size], true
	}
	if w0&rebaseWideMask == rebaseWide {
		dst = append(appendSome(dst, skip), entry...)
		b := dst[len(dst)-size+8:]
		binary.BigEndian.PutUint64(b, binary.BigEndian.Uint64(b)+uint64(delta))
		return dst, true
	}
	return appendRebased(dst, skip, entry, delta)
}

// appendRebased is AppendRebased for any entry.
func appendRebased(dst []byte, skip uint64, entry []byte, delta int64) ([]byte, bool) {
	if delta == 0 {
		return append(appendSome(dst, skip), entry...), true
	}
	c := cursor{p: entry}
	c.entryLen()
	kind := feed.Kind(c.uint("code") >> 1)
	c.uint("instrument")
	from := c.at
	offset := c.int("time")
	if c.err != nil || !kind.Known() || kind == feed.KindSummary {
		return dst, false
	}
	dst = append(appendSome(dst, skip), entry[:from]...)
	dst = appendInt(dst, offset+delta)
	return append(dst, entry[c.at:]...), true
}
