package codec

import (
	"encoding/binary"
	"math"

	"tickfeed/feed"
)

// A cursor reads the msgpack values of body entries, of any valid width. After the first error
// it no longer advances, and every value is zero. It allocates only texts and the Extra of ticks.
type cursor struct {
	p    []byte
	at   int
	err  error
	kept *kept // allocates the Extra of ticks; nil until needed
}

func (c *cursor) fail(what, want string) {
	if c.err != nil {
		return
	}
	if c.at >= len(c.p) {
		c.err = malformed("%s: the body ends", what)
		return
	}
	c.err = malformed("%s: want %s, got marker %#02x", what, want, c.p[c.at])
}

// number reads an integer of any width. It returns its 64 bits, and reports whether it is negative.
func (c *cursor) number(what string) (v uint64, negative bool) {
	if c.err != nil || c.at >= len(c.p) {
		c.fail(what, "an integer")
		return 0, false
	}
	m := c.p[c.at]
	switch {
	case m < 0x80:
		c.at++
		return uint64(m), false
	case m >= 0xe0:
		c.at++
		return uint64(int64(int8(m))), true
	case m < 0xcc || m > 0xd3:
		c.fail(what, "an integer")
		return 0, false
	}
	width := 1 << (m & 3)
	if len(c.p)-c.at <= width {
		c.at = len(c.p)
		c.fail(what, "an integer")
		return 0, false
	}
	p := c.p[c.at+1:]
	c.at += 1 + width
	switch m {
	case 0xcc:
		return uint64(p[0]), false
	case 0xcd:
		return uint64(binary.BigEndian.Uint16(p)), false
	case 0xce:
		return uint64(binary.BigEndian.Uint32(p)), false
	case 0xcf:
		return binary.BigEndian.Uint64(p), false
	case 0xd0:
		v = uint64(int64(int8(p[0])))
	case 0xd1:
		v = uint64(int64(int16(binary.BigEndian.Uint16(p))))
	case 0xd2:
		v = uint64(int64(int32(binary.BigEndian.Uint32(p))))
	case 0xd3:
		v = binary.BigEndian.Uint64(p)
	}
	return v, int64(v) < 0
}

func (c *cursor) uint(what string) uint64 {
	v, negative := c.number(what)
	if negative && c.err == nil {
		c.err = malformed("%s: %d is negative", what, int64(v))
		return 0
	}
	return v
}

func (c *cursor) int(what string) int64 {
	v, negative := c.number(what)
	if !negative && v > math.MaxInt64 && c.err == nil {
		c.err = malformed("%s: %d is beyond 63 bits", what, v)
		return 0
	}
	return int64(v)
}

// time reads an offset from base and returns their sum, which must be within maxTime.
func (c *cursor) time(what string, base int64) int64 {
	offset := c.int(what)
	sum := base + offset
	if ((base^sum)&(offset^sum) < 0 || !isNear(sum)) && c.err == nil {
		c.err = malformed("%s: %d after %d is beyond the bound", what, offset, base)
		return 0
	}
	return sum
}

// timeOrNil reads an offset like time, or nil for 0.
func (c *cursor) timeOrNil(what string, base int64) int64 {
	if c.err == nil && c.at < len(c.p) && c.p[c.at] == 0xc0 {
		c.at++
		return 0
	}
	return c.time(what, base)
}

// bounded reads an integer in [0, limit].
func (c *cursor) bounded(what string, limit uint64) uint64 {
	v := c.uint(what)
	if v > limit && c.err == nil {
		c.err = malformed("%s: %d, at most %d", what, v, limit)
		return 0
	}
	return v
}

func (c *cursor) size(what string) int64 { return int64(c.bounded(what, feed.MaxSize)) }

// price reads an integer, or nil for feed.NoPrice.
func (c *cursor) price(what string) int64 {
	if c.err == nil && c.at < len(c.p) && c.p[c.at] == 0xc0 {
		c.at++
		return feed.NoPrice
	}
	v := c.int(what)
	if v == feed.NoPrice && c.err == nil {
		c.err = malformed("%s: %d stands for no price and must be nil", what, v)
	}
	return v
}

// bytes reads a str of at most limit bytes. The bytes it returns are part of c.p.
func (c *cursor) bytes(what string, limit int) []byte {
	if c.err != nil || c.at >= len(c.p) {
		c.fail(what, "a str")
		return nil
	}
	n, head := 0, 1
	switch m := c.p[c.at]; {
	case m&0xe0 == 0xa0:
		n = int(m & 0x1f)
	case m == 0xd9 && len(c.p)-c.at > 1:
		n, head = int(c.p[c.at+1]), 2
	case m == 0xda && len(c.p)-c.at > 2:
		n, head = int(binary.BigEndian.Uint16(c.p[c.at+1:])), 3
	case m == 0xdb && len(c.p)-c.at > 4:
		n, head = int(binary.BigEndian.Uint32(c.p[c.at+1:])), 5
	default:
		c.fail(what, "a str")
		return nil
	}
	if n > limit || n > len(c.p)-c.at-head {
		c.err = malformed("%s: a str of %d bytes, at most %d", what, n, min(limit, len(c.p)-c.at-head))
		return nil
	}
	b := c.p[c.at+head : c.at+head+n]
	c.at += head + n
	return b
}

func (c *cursor) text(what string) string {
	s := string(c.bytes(what, feed.MaxText))
	if c.err == nil {
		if err := feed.ValidateText(s); err != nil {
			c.err = malformed("%s: %v", what, err)
		}
	}
	return s
}

func (c *cursor) keep() *kept {
	if c.kept == nil {
		c.kept = new(kept)
	}
	return c.kept
}

// textAgain reads a text. The text shares memory with the last definition's venue or currency if it equals one of them.
func (c *cursor) textAgain(what string) string {
	at, k := c.at, c.keep()
	switch b := c.bytes(what, feed.MaxText); {
	case string(b) == k.venue:
		return k.venue
	case string(b) == k.currency:
		return k.currency
	}
	c.at = at
	return c.text(what)
}

// conditions reads a str of at most eight characters; NULs at its end are padding.
func (c *cursor) conditions() feed.Conditions {
	var v feed.Conditions
	for i, ch := range c.bytes("conditions", feed.MaxConditions) {
		v |= feed.Conditions(ch) << (56 - 8*i)
	}
	if !v.Valid() && c.err == nil {
		c.err = malformed("conditions: %016x are not printable characters", uint64(v))
	}
	return v
}

func (c *cursor) arrayLen(what string) int {
	if c.err != nil || c.at >= len(c.p) {
		c.fail(what, "an array")
		return 0
	}
	n := 0
	switch m := c.p[c.at]; {
	case m&0xf0 == 0x90:
		n = int(m & 0x0f)
		c.at++
	case m == 0xdc && len(c.p)-c.at > 2:
		n = int(binary.BigEndian.Uint16(c.p[c.at+1:]))
		c.at += 3
	case m == 0xdd && len(c.p)-c.at > 4:
		n = int(binary.BigEndian.Uint32(c.p[c.at+1:]))
		c.at += 5
	default:
		c.fail(what, "an array")
		return 0
	}
	if n > len(c.p)-c.at {
		c.err = malformed("%s: an array of %d elements in %d bytes", what, n, len(c.p)-c.at)
		return 0
	}
	return n
}

// entryLen is arrayLen for a body entry, which has at least three elements.
func (c *cursor) entryLen() int {
	n := c.arrayLen("entry")
	if n < 3 && c.err == nil {
		c.err = malformed("entry: %d elements, want at least 3", n)
	}
	return n
}

// skip skips n values of any type except ext, nested no deeper than MaxDepth.
func (c *cursor) skip(n int) { c.skipDeep(n, MaxDepth-1) }

func (c *cursor) skipDeep(n, depth int) {
	for ; n > 0 && c.err == nil; n-- {
		if c.at >= len(c.p) {
			c.fail("element", "a value")
			return
		}
		m := c.p[c.at]
		left := len(c.p) - c.at
		length, head := 0, 0
		switch {
		case m < 0x80 || m >= 0xe0 || m == 0xc0 || m == 0xc2 || m == 0xc3:
			c.at++
			continue
		case m >= 0xcc && m <= 0xd3:
			length, head = 1<<(m&3), 1
		case m == 0xca:
			length, head = 4, 1
		case m == 0xcb:
			length, head = 8, 1
		case m&0xe0 == 0xa0:
			length, head = int(m&0x1f), 1
		case (m == 0xc4 || m == 0xd9) && left > 1:
			length, head = int(c.p[c.at+1]), 2
		case (m == 0xc5 || m == 0xda) && left > 2:
			length, head = int(binary.BigEndian.Uint16(c.p[c.at+1:])), 3
		case (m == 0xc6 || m == 0xdb) && left > 4:
			length, head = int(binary.BigEndian.Uint32(c.p[c.at+1:])), 5
		case depth > 0 && (m&0xf0 == 0x90 || m == 0xdc || m == 0xdd):
			c.skipDeep(c.arrayLen("element"), depth-1)
			continue
		case depth > 0 && m&0xf0 == 0x80:
			c.at++
			c.skipDeep(2*int(m&0x0f), depth-1)
			continue
		case depth > 0 && m == 0xde && left > 2:
			count := int(binary.BigEndian.Uint16(c.p[c.at+1:]))
			c.at += 3
			c.skipDeep(2*count, depth-1)
			continue
		default:
			c.fail("element", "a value that is no ext, no map beyond 16 bits, and not nested too deep")
			return
		}
		if length > left-head {
			c.at = len(c.p)
			c.fail("element", "a value")
			return
		}
		c.at += head + length
	}
}

// tick reads the elements after the code of a tick's array into t, which must be zero.
func (c *cursor) tick(t *feed.Tick, elements int, code uint64, base int64) {
	if (code < 2 || code > 255) && c.err == nil {
		c.err = malformed("tick: code %d, want 2 to 255", code)
	}
	t.Kind = feed.Kind(code >> 1)
	t.Flags = feed.Flags(code & 1)
	t.Instrument = feed.InstrumentID(c.bounded("instrument", feed.MaxInstruments-1))
	t.EventTime = c.time("event time", base)
	v := &t.Values
	read := 3
	need := func(n int) bool {
		if elements < n && c.err == nil {
			c.err = malformed("%v: %d elements, want at least %d", t.Kind, elements, n)
		}
		read = n
		return c.err == nil
	}
	switch t.Kind {
	case feed.KindDefinition:
		if need(10) {
			k := c.keep()
			t.Extra = k.definition()
			d := t.Extra.Definition
			d.Symbol, d.Venue = c.text("symbol"), c.textAgain("venue")
			d.PriceExponent = c.exponent("price exponent")
			d.SizeExponent = c.exponent("size exponent")
			d.Currency = c.textAgain("currency")
			d.TickSize = c.size("tick size")
			d.Lot = c.size("lot")
			if c.err == nil {
				if err := d.Validate(); err != nil {
					c.err = malformed("%v", err)
				}
			}
			k.venue, k.currency = d.Venue, d.Currency
		}
	case feed.KindQuote:
		if need(7) {
			v[0], v[1] = c.price("bid"), c.size("bid size")
			v[2], v[3] = c.price("ask"), c.size("ask size")
		}
	case feed.KindTrade:
		if need(8) {
			c.trade(t)
			c.tradeRef(t, elements, &read)
		}
	case feed.KindCorrection:
		if need(10) {
			c.trade(t)
			t.Extra = &feed.Extra{OldPrice: c.price("old price"), OldSize: c.size("old size")}
			c.tradeRef(t, elements, &read)
		}
	case feed.KindCancel:
		if need(6) {
			v[0], v[1], v[2] = c.price("price"), c.size("size"), int64(c.uint("trade id"))
			c.tradeRef(t, elements, &read)
		}
	case feed.KindLevel:
		if need(6) {
			t.Side = feed.Side(c.bounded("side", uint64(feed.SideSell)))
			v[0], v[1] = c.int("price"), c.size("size")
			if c.err == nil && (t.Side == feed.SideNone || v[0] == feed.NoPrice) {
				c.err = malformed("level: side %d, price %d", t.Side, v[0])
			}
		}
	case feed.KindClear:
		if need(4) {
			t.Side = feed.Side(c.bounded("side", uint64(feed.SideBoth)))
			if c.err == nil && t.Side == feed.SideNone {
				c.err = malformed("clear: no side")
			}
		}
	case feed.KindStatus:
		if need(5) {
			t.Status = feed.Status(c.bounded("status", math.MaxUint8))
			v[0] = int64(c.bounded("trading day", maxTradingDay))
			if reason := c.ref("reason", elements, &read); reason != "" {
				t.Extra = &feed.Extra{Reason: reason}
			}
			if elements > read {
				read++
				v[1] = c.timeOrNil("expected end", t.EventTime)
			}
		}
	case feed.KindAuction:
		if need(9) {
			t.Status = feed.Status(c.bounded("auction", math.MaxUint8))
			v[0], v[1] = c.price("price"), c.size("size")
			t.Side = feed.Side(c.bounded("side", uint64(feed.SideSell)))
			v[2], v[3] = c.size("imbalance"), c.timeOrNil("expected time", t.EventTime)
		}
	case feed.KindSummary:
		if need(14) {
			t.Extra = c.keep().summary()
			s := t.Extra.Summary
			s.TradingDay = int32(c.bounded("trading day", maxTradingDay))
			s.Open, s.High, s.Low, s.Last = c.price("open"), c.price("high"), c.price("low"), c.price("last")
			s.LastSize = c.size("last size")
			s.LastSide = feed.Side(c.bounded("last side", uint64(feed.SideSell)))
			s.LastTime = c.time("last time", base)
			s.Volume, s.Trades = c.size("volume"), c.size("trades")
			s.LastID, s.LastRef = c.uint("last id"), c.ref("last ref", elements, &read)
		}
	}
	c.skip(elements - read)
}

func (c *cursor) trade(t *feed.Tick) {
	t.Values[0], t.Values[1] = c.price("price"), c.size("size")
	t.Side = feed.Side(c.bounded("side", uint64(feed.SideSell)))
	t.Values[2] = int64(c.uint("trade id"))
	t.Values[3] = int64(c.conditions())
}

// tradeRef reads the textual trade id, if there is one.
func (c *cursor) tradeRef(t *feed.Tick, elements int, read *int) {
	s := c.ref("trade ref", elements, read)
	if s == "" {
		return
	}
	if t.Extra == nil {
		t.Extra = &feed.Extra{}
	}
	t.Extra.TradeRef = s
}

// ref reads the text that may follow the elements read so far. It returns "" if there is none.
func (c *cursor) ref(what string, elements int, read *int) string {
	if elements <= *read {
		return ""
	}
	*read++
	return c.text(what)
}

func (c *cursor) exponent(what string) int8 {
	v := c.int(what)
	if (v < feed.MinExponent || v > feed.MaxExponent) && c.err == nil {
		c.err = malformed("%s: %d is out of bounds", what, v)
	}
	return int8(v)
}
