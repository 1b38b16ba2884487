package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"

	"tickfeed/feed"
)

// The body of a packet or snapshot part is a sequence of entries. This file writes and reads
// them; PROTOCOL.md, "Body entries", is the specification.
//
// Quotes and trades have two fixed-width patterns each. Their fields are at constant
// offsets, so that an entry is written with four stores and recognised with three loads, a
// mask and one branch; compact integers would cost one branch per field, which is often
// mispredicted on varied data. Other entries take the general path, which reads
// every valid msgpack width.

// The fixed-width patterns, as big-endian words. kk is the code (kind<<1 | more).
//
//	quote, narrow  97 kk cd iiii d2 tttttttt ce bbbbbbbb cd ssss ce aaaaaaaa cd ssss
//	trade, narrow  98 kk cd iiii d2 tttttttt ce pppppppp ce ssssssss dd ce nnnnnnnn a4 cccccccc
//	quote, wide    97 kk ce i4 d3 t8 d3 b8 cf s8 d3 a8 cf s8
//	trade, wide    98 kk ce i4 d3 t8 d3 p8 cf s8 dd cf n8 a8 c8
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

// MaxEntry is the maximum size of an entry that AppendTick writes, in bytes.
const MaxEntry = 512

const kindGone = 10 // the kind of an entry that is no tick

// A GoneReason is why the publisher no longer has some numbers.
type GoneReason uint8

// The reasons.
const (
	GoneExpired GoneReason = 1 + iota // retention dropped them
	GoneDamaged                       // their part of the journal is damaged
)

func (r GoneReason) String() string {
	switch r {
	case GoneExpired:
		return "expired"
	case GoneDamaged:
		return "damaged"
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// AppendTick appends t as an entry of a packet with the given base event time. It
// allocates nothing if dst has MaxEntry bytes of spare capacity. The tick must be valid, see [ValidateTick]: its kind is known,
// its sizes are not negative, and its texts are at most feed.MaxText bytes long.
func AppendTick(dst []byte, t *feed.Tick, base int64) []byte {
	code := uint64(t.Kind)<<1 | uint64(t.Flags&feed.FlagMore)
	offset := t.EventTime - base
	v := &t.Values
	switch t.Kind {
	case feed.KindQuote:
		if narrowQuoteFits(t, offset) {
			dst, b := grow(dst, narrowQuote)
			putNarrowQuote((*[narrowQuote]byte)(b), t, code, offset)
			return dst
		}
		if v[0] != feed.NoPrice && v[2] != feed.NoPrice {
			dst, b := grow(dst, wideQuote)
			putWideQuote((*[wideQuote]byte)(b), t, code, offset)
			return dst
		}
	case feed.KindTrade:
		if t.Extra != nil {
			break
		}
		if narrowTradeFits(t, offset) {
			dst, b := grow(dst, narrowTrade)
			putNarrowTrade((*[narrowTrade]byte)(b), t, code, offset)
			return dst
		}
		if v[0] != feed.NoPrice {
			dst, b := grow(dst, wideTrade)
			putWideTrade((*[wideTrade]byte)(b), t, code, offset)
			return dst
		}
	}
	return appendGeneral(dst, t, code, offset)
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

// MaxFixed is the maximum size of an entry that AppendFixed writes, in bytes.
const MaxFixed = wideTrade

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

// maxTime bounds event times before and after the epoch: the years 1823 to 2116. The difference of any two fits in 64 bits.
const maxTime = 1 << 62

// maxBase bounds the base of a packet whose fixed-width entries are decoded without a check of each sum of base and offset.
// Vectors also require that the offset of a wide entry is within maxTime-maxBase.
const maxBase = maxTime - maxTime>>2

// isNear reports whether t, a time or an offset between times, is within maxTime.
func isNear(t int64) bool { return uint64(t+maxTime) < 2*maxTime }

// isPlain reports whether a base is within maxBase: up to the year 2079.
func isPlain(base int64) bool { return uint64(base+maxBase) < 2*maxBase }

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

// grow extends dst by n bytes and returns the whole slice and the new part.
func grow(dst []byte, n int) (whole, part []byte) {
	l := len(dst)
	if cap(dst)-l < n {
		dst = append(dst, make([]byte, n)...)
	}
	dst = dst[: l+n : cap(dst)]
	return dst, dst[l : l+n : l+n]
}

func putMarked(b []byte, marker byte, v int64) {
	_ = b[8]
	b[0] = marker
	binary.BigEndian.PutUint64(b[1:], uint64(v))
}

// appendGeneral writes any kind, with compact integers.
func appendGeneral(dst []byte, t *feed.Tick, code uint64, offset int64) []byte {
	head := func(elements int) {
		if elements < 16 {
			dst = append(dst, 0x90|byte(elements))
		} else {
			dst = append(dst, 0xdc, 0, byte(elements))
		}
		dst = appendUint(dst, code)
		dst = appendUint(dst, uint64(t.Instrument))
		dst = appendInt(dst, offset)
	}
	ref := "" // the optional last element
	switch t.Kind {
	case feed.KindTrade, feed.KindCorrection, feed.KindCancel:
		ref = t.TradeRef()
	case feed.KindSummary:
		ref = t.Summary().LastRef
	}
	optional := min(len(ref), 1)
	v := &t.Values
	switch t.Kind {
	case feed.KindDefinition:
		d := t.Definition()
		head(10)
		dst = appendText(dst, d.Symbol)
		dst = appendText(dst, d.Venue)
		dst = appendInt(dst, int64(d.PriceExponent))
		dst = appendInt(dst, int64(d.SizeExponent))
		dst = appendText(dst, d.Currency)
		dst = appendInt(dst, d.TickSize)
		dst = appendInt(dst, d.Lot)
	case feed.KindQuote:
		head(7)
		dst = appendPrice(dst, v[0])
		dst = appendInt(dst, v[1])
		dst = appendPrice(dst, v[2])
		dst = appendInt(dst, v[3])
	case feed.KindTrade:
		head(8 + optional)
		dst = appendPrice(dst, v[0])
		dst = appendInt(dst, v[1])
		dst = appendUint(dst, uint64(t.Side))
		dst = appendUint(dst, uint64(v[2]))
		dst = appendText(dst, feed.Conditions(v[3]).String())
	case feed.KindCorrection:
		c := t.Correction()
		head(10 + optional)
		dst = appendPrice(dst, v[0])
		dst = appendInt(dst, v[1])
		dst = appendUint(dst, uint64(t.Side))
		dst = appendUint(dst, uint64(v[2]))
		dst = appendText(dst, feed.Conditions(v[3]).String())
		dst = appendPrice(dst, c.OldPrice)
		dst = appendInt(dst, c.OldSize)
	case feed.KindCancel:
		head(6 + optional)
		dst = appendPrice(dst, v[0])
		dst = appendInt(dst, v[1])
		dst = appendUint(dst, uint64(v[2]))
	case feed.KindLevel:
		head(6)
		dst = appendUint(dst, uint64(t.Side))
		dst = appendInt(dst, v[0])
		dst = appendInt(dst, v[1])
	case feed.KindClear:
		head(4)
		dst = appendUint(dst, uint64(t.Side))
	case feed.KindStatus:
		reason, end := t.StatusReason(), t.StatusEnd()
		elements := 5
		if end != 0 {
			elements = 7
		} else if reason != "" {
			elements = 6
		}
		head(elements)
		dst = appendUint(dst, uint64(t.Status))
		dst = appendInt(dst, v[0])
		if elements > 5 {
			dst = appendText(dst, reason)
		}
		if elements > 6 {
			dst = appendInt(dst, end-t.EventTime)
		}
	case feed.KindAuction:
		head(9)
		dst = appendUint(dst, uint64(t.Status))
		dst = appendPrice(dst, v[0])
		dst = appendInt(dst, v[1])
		dst = appendUint(dst, uint64(t.Side))
		dst = appendInt(dst, v[2])
		if v[3] == 0 {
			dst = append(dst, 0xc0)
		} else {
			dst = appendInt(dst, v[3]-t.EventTime)
		}
	case feed.KindSummary:
		s := t.Summary()
		head(14 + optional)
		dst = appendInt(dst, int64(s.TradingDay))
		for _, p := range [...]int64{s.Open, s.High, s.Low, s.Last} {
			dst = appendPrice(dst, p)
		}
		dst = appendInt(dst, s.LastSize)
		dst = appendUint(dst, uint64(s.LastSide))
		dst = appendInt(dst, s.LastTime-(t.EventTime-offset))
		dst = appendInt(dst, s.Volume)
		dst = appendInt(dst, s.Trades)
		dst = appendUint(dst, s.LastID)
	default: // a kind of a later version: the entry keeps its number, but its values are unknown
		head(3)
	}
	if optional == 1 {
		dst = appendText(dst, ref)
	}
	return dst
}

func appendUint(dst []byte, v uint64) []byte {
	switch {
	case v < 0x80:
		return append(dst, byte(v))
	case v <= math.MaxUint8:
		return append(dst, 0xcc, byte(v))
	case v <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, 0xcd), uint16(v))
	case v <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, 0xce), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(dst, 0xcf), v)
}

func appendInt(dst []byte, v int64) []byte {
	switch {
	case v >= 0:
		return appendUint(dst, uint64(v))
	case v >= -32:
		return append(dst, byte(v))
	case v >= math.MinInt8:
		return append(dst, 0xd0, byte(v))
	case v >= math.MinInt16:
		return binary.BigEndian.AppendUint16(append(dst, 0xd1), uint16(v))
	case v >= math.MinInt32:
		return binary.BigEndian.AppendUint32(append(dst, 0xd2), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(dst, 0xd3), uint64(v))
}

func appendPrice(dst []byte, v int64) []byte {
	if v == feed.NoPrice {
		return append(dst, 0xc0)
	}
	return appendInt(dst, v)
}

func appendText(dst []byte, s string) []byte {
	if len(s) < 32 {
		dst = append(dst, 0xa0|byte(len(s)))
	} else {
		dst = append(dst, 0xd9, byte(len(s)))
	}
	return append(dst, s...)
}

// ValidateTick returns an error if t cannot be published: its kind is unknown, a value is out of bounds, or
// its definition or summary is missing. It does not check Seq.
func ValidateTick(t *feed.Tick) error {
	v := &t.Values
	bad := func(field string, value any) error {
		return fmt.Errorf("%v of instrument %d: %s %v is out of bounds", t.Kind, t.Instrument, field, value)
	}
	if t.Instrument >= feed.MaxInstruments {
		return bad("instrument", t.Instrument)
	}
	if t.Side > feed.SideBoth {
		return bad("side", t.Side)
	}
	if !isNear(t.EventTime) {
		return bad("event time", t.EventTime)
	}
	switch t.Kind {
	case feed.KindQuote:
		if v[1]|v[3] < 0 {
			return bad("size", min(v[1], v[3]))
		}
		return nil
	case feed.KindTrade, feed.KindCancel, feed.KindCorrection:
		if v[1] < 0 {
			return bad("size", v[1])
		}
		if t.Side > feed.SideSell {
			return bad("side", t.Side)
		}
		if v[3] != 0 && !feed.Conditions(v[3]).Valid() {
			return bad("conditions", fmt.Sprintf("%x", v[3]))
		}
		if t.Extra == nil {
			return nil
		}
		if t.Extra.OldSize < 0 {
			return bad("old size", t.Extra.OldSize)
		}
		return feed.ValidateText(t.Extra.TradeRef)
	case feed.KindDefinition:
		d := t.Definition()
		if d == nil {
			return fmt.Errorf("definition of instrument %d: Extra.Definition is nil", t.Instrument)
		}
		return d.Validate()
	case feed.KindLevel:
		if v[0] == feed.NoPrice {
			return bad("price", "none")
		}
		if v[1] < 0 {
			return bad("size", v[1])
		}
		if t.Side != feed.SideBuy && t.Side != feed.SideSell {
			return bad("side", t.Side)
		}
		return nil
	case feed.KindClear:
		if t.Side == feed.SideNone {
			return bad("side", t.Side)
		}
		return nil
	case feed.KindStatus:
		if v[0] < 0 || v[0] > maxTradingDay {
			return bad("trading day", v[0])
		}
		if !isNear(v[1]) {
			return bad("expected end", v[1])
		}
		return feed.ValidateText(t.StatusReason())
	case feed.KindAuction:
		if v[1]|v[2] < 0 {
			return bad("size", min(v[1], v[2]))
		}
		if t.Side > feed.SideSell {
			return bad("side", t.Side)
		}
		if !isNear(v[3]) {
			return bad("expected time", v[3])
		}
		return nil
	case feed.KindSummary:
		s := t.Summary()
		if s == nil {
			return fmt.Errorf("summary of instrument %d: Extra.Summary is nil", t.Instrument)
		}
		if s.LastSize < 0 || s.Volume < 0 || s.Trades < 0 || s.TradingDay < 0 || s.TradingDay > maxTradingDay ||
			s.LastSide > feed.SideSell || !isNear(s.LastTime) {
			return bad("summary", *s)
		}
		return feed.ValidateText(s.LastRef)
	}
	return fmt.Errorf("tick of unknown kind %d", t.Kind)
}

const maxTradingDay = 9999_12_31

// ErrMalformed is wrapped by every error about bytes that PROTOCOL.md does not allow.
var ErrMalformed = errors.New("malformed")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// A Body decodes the entries of a packet or snapshot part. The zero Body is empty. It refers to
// the bytes it was given; the ticks it returns do not.
type Body struct {
	rest      []byte
	base      int64
	seq       uint64 // number of the next entry; 0 in a snapshot part
	snapshot  bool
	scattered bool // fixed-width entries have other entries between them
	notAsked  uint64
	unknown   uint64
	withheld  uint64
	gone      uint64
	reason    GoneReason
	first     uint64
	remaining uint64 // count of numbers that the entries may still cover
	kept      *kept  // nil until needed
}

// PacketBody returns the Body of a packet with the header h.
func PacketBody(h *Packet, body []byte) Body {
	return Body{rest: body, base: h.Base, seq: h.First, first: h.First, remaining: h.Count}
}

// PartBody returns the Body of a snapshot part. Its ticks have FlagSnapshot and no Seq.
func PartBody(p *SnapshotPart) Body {
	return Body{rest: p.Body, base: p.Base, snapshot: true, remaining: math.MaxUint64}
}

// NotAsked returns the count of numbers skipped so far because they were not asked for.
func (b *Body) NotAsked() uint64 { return b.notAsked }

// Unknown returns the count of ticks so far whose kind this package does not know.
func (b *Body) Unknown() uint64 { return b.unknown }

// Seq returns the number of the next entry, or the end of the packet's range after the last entry.
func (b *Body) Seq() uint64 { return b.seq }

// Withheld returns the count of numbers that the packet withholds under the slow-consumer policy. If it is
// not 0, the packet has no ticks. It is valid once Decode has returned 0 ticks.
func (b *Body) Withheld() uint64 { return b.withheld }

// Gone returns the count of numbers that the packet reports as gone, and the reason. If the count is not 0,
// the packet has no ticks. It is valid once Decode has returned 0 ticks.
func (b *Body) Gone() (uint64, GoneReason) { return b.gone, b.reason }

// Decode decodes ticks into batch, overwriting whole ticks, and returns their number. It returns
// 0 and nil at the end of the body, after checking that the entries cover as many numbers as the header
// announced. An error wraps ErrMalformed; the ticks before it, which Decode returns as well, are valid.
// Only ticks with Extra, which are rare, allocate.
func (b *Body) Decode(batch []feed.Tick) (int, error) {
	rest, seq, base := b.rest, b.seq, b.base
	far := !isPlain(base) // every sum of base and offset needs a check
	n := 0
	for n < len(batch) && len(rest) > 0 {
		room := batch[n:]
		if uint64(len(room)) > b.remaining {
			room = room[:b.remaining]
		}
		k, size := 0, 0
		switch m := rest[0]; m {
		case headQuote, headTrade:
			if far {
				break
			}
			if b.scattered {
				k, size = decodeScalar(rest, room[:min(fixedRun, len(room))], base, seq)
			} else {
				k, size = decodeFixed(rest, room, base, seq)
			}
			b.scattered = k < fixedRun
		case 0xcd: // a skip as AppendSkip writes it; decodeEntry reports an invalid one
			if len(rest) >= 3 && !b.snapshot {
				if skip := uint64(binary.BigEndian.Uint16(rest[1:])); skip != 0 && skip <= b.remaining {
					seq += skip
					b.notAsked += skip
					b.remaining -= skip
					rest = rest[3:]
					continue
				}
			}
		}
		if b.snapshot {
			for i := range room[:k] {
				room[i].Seq = 0
				room[i].Flags |= feed.FlagSnapshot
			}
		} else {
			seq += uint64(k)
			b.remaining -= uint64(k)
		}
		n += k
		if rest = rest[size:]; n == len(batch) || len(rest) == 0 {
			break
		}
		b.rest, b.seq = rest, seq
		size, isTick, err := b.decodeEntry(&batch[n])
		if err != nil {
			return n, err
		}
		rest, seq = rest[size:], b.seq
		if isTick {
			n++
		}
	}
	b.rest, b.seq = rest, seq
	if n == 0 && len(rest) == 0 && !b.snapshot && b.remaining > 0 {
		return 0, malformed("packet: entries end at seq %d, %d numbers early", seq, b.remaining)
	}
	return n, nil
}

// fixedRun is the least number of consecutive fixed-width entries that do not count as scattered. For scattered entries, on
// filtered lines and in snapshots, the preparations of decodeFixed cost more than they save.
const fixedRun = 4

// quoteMarks holds kind, flags, side and status of a quote in one word, by the "more" bit of its code, so that one store
// replaces four.
var quoteMarks = [2]uint32{uint32(feed.KindQuote), uint32(feed.KindQuote) | uint32(feed.FlagMore)<<8}

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

// vectorRoom is the number of bytes that encodeVector writes for each entry, whatever its size.
const vectorRoom = 64

// scalarRun is the number of ticks that are processed one by one before vectors are tried again. Trying after each tick would
// cost more than it saves if vectors can process none.
const scalarRun = 16

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

// decodeEntry decodes an entry of any kind and accounts for its numbers.
func (b *Body) decodeEntry(t *feed.Tick) (size int, isTick bool, err error) {
	if size := b.decodeCompact(t); size > 0 {
		return size, true, b.number(t)
	}
	c := cursor{p: b.rest, kept: b.kept}
	if m := b.rest[0]; m&0xf0 != 0x90 && m != 0xdc && m != 0xdd {
		n := c.int("skip")
		switch {
		case c.err != nil:
			return 0, false, c.err
		case b.snapshot || n == 0 || n == math.MinInt64:
			return 0, false, malformed("skip of %d numbers", n)
		case n > 0:
			b.notAsked += uint64(n)
			return c.at, false, b.cover(uint64(n))
		}
		b.withheld = uint64(-n)
		return c.at, false, b.coverAll(b.withheld)
	}
	elements := c.entryLen()
	code := c.uint("code")
	if c.err == nil && code == kindGone<<1|1 {
		return 0, false, malformed("gone: code %d, want %d", code, kindGone<<1)
	}
	if c.err == nil && code>>1 == kindGone {
		n, reason := c.uint("gone: count"), c.uint("gone: reason")
		c.skip(elements - 3)
		switch {
		case c.err != nil:
			return 0, false, c.err
		case b.snapshot || n == 0 || reason == 0 || reason > math.MaxUint8:
			return 0, false, malformed("gone: %d numbers, reason %d", n, reason)
		}
		b.gone, b.reason = n, GoneReason(reason)
		return c.at, false, b.coverAll(n)
	}
	*t = feed.Tick{}
	c.tick(t, elements, code, b.base)
	b.kept = c.kept
	switch {
	case c.err != nil:
		return 0, false, c.err
	case b.snapshot:
	case t.Kind == feed.KindSummary:
		return 0, false, malformed("summary of instrument %d outside a snapshot", t.Instrument)
	case !t.Kind.Known():
		b.unknown++
	}
	return c.at, true, b.number(t)
}

// number gives t the next number, or in a snapshot, whose ticks have no numbers, sets FlagSnapshot.
func (b *Body) number(t *feed.Tick) error {
	if b.snapshot {
		t.Seq = 0
		t.Flags |= feed.FlagSnapshot
		return nil
	}
	t.Seq = b.seq
	return b.cover(1)
}

// coverAll is cover for an entry that must be the packet's only one.
func (b *Body) coverAll(n uint64) error {
	if b.seq != b.first || n != b.remaining {
		return malformed("packet: an entry for %d withheld or gone numbers is not the only one", n)
	}
	return b.cover(n)
}

func (b *Body) cover(n uint64) error {
	if n > b.remaining {
		return malformed("packet: entries cover more numbers than its count, at seq %d", b.seq)
	}
	b.seq += n
	b.remaining -= n
	return nil
}

// The heads of the narrow and the wide patterns of any kind: bytes 0 to 7.
const (
	rebaseMask     = 0xf0_80_ff_0000_ff_0000
	rebaseNarrow   = 0x90_00_cd_0000_d2_0000
	rebaseWideMask = 0xf0_80_ff_00000000_ff
	rebaseWide     = 0x90_00_ce_00000000_d3
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

// appendSome appends a skip of n numbers, if n is not 0.
func appendSome(dst []byte, n uint64) []byte {
	if n == 0 {
		return dst
	}
	return AppendSkip(dst, n)
}

// An Entry describes a body entry, for filters.
type Entry struct {
	Size       int               // size of the entry in bytes
	Covers     uint64            // count of numbers that the entry covers
	Hole       bool              // whether the entry reports its numbers as withheld or gone
	Tick       bool              // whether the entry is a tick
	Kind       feed.Kind         // kind of the tick
	Instrument feed.InstrumentID // instrument of the tick
}

// ScanFixed stores the instruments and the sizes, in bytes, of the fixed-width ticks at the start of a body. It stops at the
// first other entry, or when ids is full, and returns the number of ticks. sizes must be at least as long as ids. The body
// must be one that this package wrote: ScanFixed checks only the bytes that distinguish the patterns.
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

// EntryAt describes the entry at the start of p without decoding it. The body must be one that this
// program wrote or verified. An error wraps ErrMalformed.
func EntryAt(p []byte) (Entry, error) {
	if len(p) >= narrowQuote {
		w0 := binary.BigEndian.Uint64(p)
		e := Entry{Covers: 1, Tick: true, Kind: feed.Kind(w0 >> 49 & 0x7f)}
		switch {
		case (w0^headNQ)&headMask == 0 &&
			(binary.BigEndian.Uint64(p[8:])^pairNQ)&pairMask|(binary.BigEndian.Uint64(p[16:])^pairNQ)&pairMask == 0:
			e.Size, e.Instrument = narrowQuote, feed.InstrumentID(w0>>24&0xffff)
			return e, nil
		case (w0^headNT)&headMask == 0 && len(p) >= narrowTrade && p[10] == 0xce && p[15] == 0xce &&
			p[20] < 0x80 && p[21] == 0xce && p[26] == 0xa4:
			e.Size, e.Instrument = narrowTrade, feed.InstrumentID(w0>>24&0xffff)
			return e, nil
		}
	}
	if len(p) == 0 {
		return Entry{}, malformed("entry: the body ends")
	}
	c := cursor{p: p}
	if m := p[0]; m&0xf0 != 0x90 && m != 0xdc && m != 0xdd {
		n := c.int("skip")
		e := Entry{Size: c.at, Covers: uint64(n), Hole: n < 0}
		if e.Hole {
			e.Covers = uint64(-n)
		}
		return e, c.err
	}
	elements := c.entryLen()
	code := c.uint("code")
	second := c.uint("instrument")
	c.skip(elements - 2)
	e := Entry{Size: c.at, Covers: 1, Tick: true, Kind: feed.Kind(code >> 1), Instrument: feed.InstrumentID(second)}
	if code>>1 == kindGone {
		e = Entry{Size: c.at, Covers: second, Hole: true}
	}
	return e, c.err
}

// FixedSize returns the size of the entry at the start of p if it has one of the fixed-width patterns of
// quotes and trades, or 0 otherwise. It checks the marks of the pattern, but not the values.
func FixedSize(p []byte) int {
	if len(p) < narrowQuote {
		return 0
	}
	w0, w1, w2 := binary.BigEndian.Uint64(p), binary.BigEndian.Uint64(p[8:]), binary.BigEndian.Uint64(p[16:])
	switch {
	case (w0^headNQ)&headMask|(w1^pairNQ)&pairMask|(w2^pairNQ)&pairMask == 0:
		return narrowQuote
	case len(p) >= narrowTrade && (w0^headNT)&headMask|(w1^pairNT)&pairMask|(w2^0xce0000)&0x80ff0000 == 0 && p[26] == 0xa4:
		return narrowTrade
	case len(p) >= wideQuote && (w0^headWQ)&headWideMask == 0 && p[16] == 0xd3 && p[25] == 0xcf && p[34] == 0xd3 && p[43] == 0xcf:
		return wideQuote
	case len(p) >= wideTrade && (w0^headWT)&headWideMask == 0 && p[16] == 0xd3 && p[25] == 0xcf && p[34] < 0x80 && p[35] == 0xcf && p[44] == 0xa8:
		return wideTrade
	}
	return 0
}

// AppendSkip appends an entry that skips n numbers that were not asked for. The entry has three bytes if
// n fits in 16 bits: a filtered line has a skip before each tick, and varying lengths would cause mispredicted branches.
func AppendSkip(dst []byte, n uint64) []byte {
	if n <= math.MaxUint16 {
		return binary.BigEndian.AppendUint16(append(dst, 0xcd), uint16(n))
	}
	return appendUint(dst, n)
}

// AppendWithheld appends an entry for n numbers that are withheld under the slow-consumer policy. It
// must be the only entry of its packet.
func AppendWithheld(dst []byte, n uint64) []byte { return appendInt(dst, -int64(n)) }

// AppendGone appends an entry for n numbers that the publisher no longer has. It must be the
// only entry of its packet.
func AppendGone(dst []byte, n uint64, reason GoneReason) []byte {
	dst = appendUint(append(dst, 0x93), kindGone<<1)
	return appendUint(appendUint(dst, n), uint64(reason))
}
