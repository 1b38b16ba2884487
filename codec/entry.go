package codec

import (
	"encoding/binary"
	"fmt"
	"math"

	"tickfeed/feed"
)

// The body of a packet or snapshot part is a sequence of entries. This file writes them; body.go reads them, and fixed.go does
// both for the entries with a fixed-width pattern. PROTOCOL.md, "Body entries", is the specification.

// Maximum sizes of an entry, in bytes.
const (
	MaxEntry = 512       // that AppendTick writes
	MaxFixed = wideTrade // that AppendFixed writes
)

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

// grow extends dst by n bytes and returns the whole slice and the new part.
func grow(dst []byte, n int) (whole, part []byte) {
	l := len(dst)
	if cap(dst)-l < n {
		dst = append(dst, make([]byte, n)...)
	}
	dst = dst[: l+n : cap(dst)]
	return dst, dst[l : l+n : l+n]
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

const kindGone = 10 // the kind of an entry that is no tick

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

// A GoneReason is why some numbers cannot be had any more.
type GoneReason uint8

// The reasons.
const (
	GoneExpired GoneReason = 1 + iota // retention dropped them
	GoneDamaged                       // the journal, or the recording, is damaged there, or lacks them
	GoneDenied                        // they are older than the client may see
)

func (r GoneReason) String() string {
	switch r {
	case GoneExpired:
		return "expired"
	case GoneDamaged:
		return "damaged"
	case GoneDenied:
		return "denied"
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
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

// EntryAt describes the entry at the start of p without decoding it. The body must be one that this
// program wrote or verified. An error wraps ErrMalformed.
func EntryAt(p []byte) (Entry, error) {
	if size, id := fixedAt(p); size > 0 {
		return Entry{Size: size, Covers: 1, Tick: true, Kind: feed.Kind(p[1] >> 1), Instrument: id}, nil
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
