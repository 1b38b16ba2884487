package text

import (
	"bytes"
	"strconv"
	"time"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/feed/decimal"
)

// named appends the name of v, or v itself if it has no name.
func (w *writer) named(names []string, v uint8) {
	if int(v) < len(names) && names[v] != "" {
		w.line = append(w.line, names[v]...)
		return
	}
	w.line = strconv.AppendUint(w.line, uint64(v), 10)
}

// tick makes the line of a tick. It returns false if no line stands for exactly these bytes.
func (w *writer) tick(entry []byte, base int64, snapshot bool) bool {
	var body codec.Body
	if snapshot {
		body = codec.PartBody(&codec.SnapshotPart{Base: base, Body: entry})
	} else {
		body = codec.PacketBody(&codec.Packet{First: 1, Count: 1, Base: base}, entry)
	}
	t := &w.ticks[0]
	if n, err := body.Decode(w.ticks[:]); n != 1 || err != nil {
		return false
	}
	t.Flags &^= feed.FlagSnapshot
	if codec.ValidateTick(t) != nil {
		return false
	}
	w.entry = codec.AppendTick(w.entry[:0], t, base)
	if !bytes.Equal(w.entry, entry) {
		return false
	}
	w.line = append(w.line, kindWords[t.Kind]...)
	switch t.EventTime {
	case base:
	case 0:
		w.line = append(append(w.line, ' '), noTime...)
	default:
		w.line = appendOffset(append(w.line, ' '), t.EventTime-base)
	}
	w.line = append(w.line, ' ')
	if t.Kind == feed.KindDefinition {
		w.definition(t)
	} else {
		in := w.instrument(t.Instrument)
		w.values(t, in, base)
	}
	if t.Flags&feed.FlagMore != 0 {
		w.line = append(w.line, " more"...)
	}
	return true
}

func (w *writer) definition(t *feed.Tick) {
	d := t.Definition()
	w.line = strconv.AppendUint(append(w.line, '#'), uint64(t.Instrument), 10)
	w.text("symbol", d.Symbol)
	w.text("venue", d.Venue)
	if d.PriceExponent != 0 {
		w.line = strconv.AppendInt(append(w.line, " price="...), int64(d.PriceExponent), 10)
	}
	if d.SizeExponent != 0 {
		w.line = strconv.AppendInt(append(w.line, " size="...), int64(d.SizeExponent), 10)
	}
	w.text("currency", d.Currency)
	w.decimal("tick", d.TickSize, d.PriceExponent)
	w.decimal("lot", d.Lot, d.SizeExponent)
	w.state.names.define(t.Instrument, d)
}

// instrument appends the name of instrument id.
func (w *writer) instrument(id feed.InstrumentID) *listing {
	n := &w.state.names
	in := n.listing(id)
	if in.definition == nil {
		w.line = strconv.AppendUint(append(w.line, '#'), uint64(id), 10)
		return in
	}
	if in.token == "" || in.change != n.change {
		in.token, in.change = "#"+strconv.FormatUint(uint64(id), 10), n.change
		for _, name := range calls(in.definition) {
			if _, _, ok := n.lookup(name); ok && callable(name) {
				in.token = name
				break
			}
		}
	}
	w.line = append(w.line, in.token...)
	return in
}

func (w *writer) values(t *feed.Tick, in *listing, base int64) {
	v := &t.Values
	price := func(p int64) { w.line = appendPrice(append(w.line, ' '), p, in.price) }
	size := func(n int64) { w.line = decimal.Append(append(w.line, ' '), n, in.size) }
	switch t.Kind {
	case feed.KindQuote:
		price(v[0])
		size(v[1])
		price(v[2])
		size(v[3])
	case feed.KindTrade, feed.KindCorrection, feed.KindCancel:
		price(v[0])
		size(v[1])
		if t.Side != feed.SideNone {
			w.line = append(append(w.line, ' '), tradeSides[t.Side]...)
		}
		if v[2] != 0 {
			w.uint("id", uint64(v[2]))
		}
		w.text("cond", feed.Conditions(v[3]).String())
		w.text("ref", t.TradeRef())
		if t.Kind == feed.KindCorrection {
			c := t.Correction()
			w.line = appendPrice(append(w.line, " old="...), c.OldPrice, in.price)
			w.decimal("oldsize", c.OldSize, in.size)
		}
	case feed.KindLevel:
		w.line = append(append(w.line, ' '), bookSides[t.Side]...)
		price(v[0])
		size(v[1])
	case feed.KindClear:
		w.line = append(append(w.line, ' '), bookSides[t.Side]...)
	case feed.KindStatus:
		w.line = append(w.line, ' ')
		w.named(statuses, uint8(t.Status))
		if v[0] != 0 {
			w.uint("day", uint64(v[0]))
		}
		w.text("reason", t.StatusReason())
		if end := t.StatusEnd(); end != 0 {
			w.line = appendOffset(append(w.line, " end="...), end-t.EventTime)
		}
	case feed.KindAuction:
		w.line = append(w.line, ' ')
		w.named(auctions, uint8(t.Status))
		price(v[0])
		size(v[1])
		if t.Side != feed.SideNone {
			w.line = append(append(w.line, ' '), tradeSides[t.Side]...)
		}
		w.decimal("imbalance", v[2], in.size)
		if v[3] != 0 {
			w.line = appendOffset(append(w.line, " at="...), v[3]-t.EventTime)
		}
	case feed.KindSummary:
		w.summary(t.Summary(), in, base)
	}
}

func (w *writer) summary(s *feed.Summary, in *listing, base int64) {
	if s.TradingDay != 0 {
		w.uint("day", uint64(s.TradingDay))
	}
	for _, p := range [...]struct {
		key string
		v   int64
	}{{"open", s.Open}, {"high", s.High}, {"low", s.Low}, {"last", s.Last}} {
		if p.v != feed.NoPrice {
			w.line = append(append(append(w.line, ' '), p.key...), '=')
			w.line = appendPrice(w.line, p.v, in.price)
		}
	}
	w.decimal("lastsize", s.LastSize, in.size)
	if s.LastSide != feed.SideNone {
		w.word("lastside", tradeSides[s.LastSide])
	}
	if s.LastTime != base {
		w.line = appendOffset(append(w.line, " lasttime="...), s.LastTime-base)
	}
	w.decimal("volume", s.Volume, in.size)
	if s.Trades != 0 {
		w.uint("trades", uint64(s.Trades))
	}
	if s.LastID != 0 {
		w.uint("id", s.LastID)
	}
	w.text("ref", s.LastRef)
}

// word appends key=value, quoting the value if need be.
func (w *writer) word(key, value string) {
	w.line = append(append(append(w.line, ' '), key...), '=')
	if plain(value) {
		w.line = append(w.line, value...)
	} else {
		w.line = strconv.AppendQuote(w.line, value)
	}
}

// text is word, except that it omits an empty value.
func (w *writer) text(key, value string) {
	if value != "" {
		w.word(key, value)
	}
}

func (w *writer) uint(key string, v uint64) {
	w.line = append(append(append(w.line, ' '), key...), '=')
	w.line = strconv.AppendUint(w.line, v, 10)
}

// decimal appends key=v, unless v is 0.
func (w *writer) decimal(key string, v int64, exponent int8) {
	if v != 0 {
		w.line = append(append(append(w.line, ' '), key...), '=')
		w.line = decimal.Append(w.line, v, exponent)
	}
}

// plain reports whether a value needs no quotes.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

func appendPrice(b []byte, v int64, exponent int8) []byte {
	if v == feed.NoPrice {
		return append(b, '-')
	}
	return decimal.Append(b, v, exponent)
}

// appendOffset appends v with its sign.
func appendOffset(b []byte, v int64) []byte {
	if v >= 0 {
		b = append(b, '+')
	}
	return strconv.AppendInt(b, v, 10)
}

// appendTime appends a time. It appends 0 and times near it, which are not dates, as nanoseconds.
func appendTime(b []byte, ns int64) []byte {
	if ns > -int64(time.Second) && ns < int64(time.Second) {
		return strconv.AppendInt(b, ns, 10)
	}
	return time.Unix(0, ns).UTC().AppendFormat(b, time.RFC3339Nano)
}
