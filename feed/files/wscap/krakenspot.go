package wscap

import (
	"bytes"
	"fmt"
	"hash/maphash"

	"tickfeed/feed"
	"tickfeed/feed/decimal"
)

const venueKrakenSpot = "KRAKEN"

// krakenArray handles a message of Kraken spot, version 1: [id, payload, …, channel, pair].
func (s *Source) krakenArray(b []byte) string {
	w := walk(b, '[')
	var parts [5][]byte
	n := 0
	for v := range w.elements {
		if n < len(parts) {
			parts[n] = v
		}
		n++
	}
	if w.bad {
		return "the message is not a JSON array, or is cut short"
	}
	if n < 4 || n > len(parts) {
		return fmt.Sprintf("the line holds an array of %d elements: want the time of arrival and a JSON object, or an array of Kraken spot", n)
	}
	channel, pair := text(parts[n-2]), text(parts[n-1])
	kind, depth, _ := bytes.Cut(channel, []byte{'-'})
	switch string(kind) {
	case "trade", "spread", "ticker", "book":
	default:
		return s.other(channel)
	}
	in, reason := s.instrument(venueKrakenSpot, pair)
	if reason != "" {
		return reason
	}
	currencyOf(in, pair)
	if string(kind) == "trade" || string(kind) == "spread" {
		key := s.hash(parts[1:n-2]...) ^ s.hash(kind, pair)
		if s.repeated(key) {
			return ""
		}
		s.seen.Add(key)
	}
	switch string(kind) {
	case "book":
		return s.krakenArrayBook(in, parts[1:n-2], depth)
	case "trade":
		trades := walk(parts[1], '[')
		for v := range trades.elements {
			f := fieldsOf(v)
			at, reason := s.krakenTime(f[2])
			if reason != "" {
				return reason
			}
			t := trade{price: f[0], size: f[1], side: krakenSide(text(f[3]))}
			if reason := s.trade(in, at, t); reason != "" {
				return reason
			}
		}
		if trades.bad {
			return "the trades are not a JSON array"
		}
		return ""
	case "spread":
		f := fieldsOf(parts[1])
		at, reason := s.krakenTime(f[2])
		if reason != "" {
			return reason
		}
		return s.quote(in, at, 0, f[0], f[3], f[1], f[4])
	}
	var m binanceMessage // its a and b are [price, whole lots, volume]
	if reason := m.parse(parts[1]); reason != "" {
		return reason
	}
	at, ok := s.venueTime(0)
	if !ok {
		return reasonNoTime
	}
	bid, ask := fieldsOf(m.b), fieldsOf(m.a)
	return s.quote(in, at, 0, bid[0], bid[2], ask[0], ask[2])
}

// hash returns the hash of parts of a message. Messages without a number differ in their times.
func (s *Source) hash(parts ...[]byte) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	for _, part := range parts {
		h.Write(part)
		h.WriteByte(0)
	}
	return h.Sum64()
}

// repeated reports whether a message with this hash was read before, from another collector, and counts it if
// so.
func (s *Source) repeated(key uint64) bool {
	if !s.seen.Has(key) {
		return false
	}
	s.useful = true
	s.count.Now.Repeated++
	return true
}

// krakenArrayBook handles a message about the book of in, with one or two objects: bs and as are a whole
// book, b and a are changes, c is the checksum.
func (s *Source) krakenArrayBook(in *instrument, objects [][]byte, depth []byte) string {
	n, ok := integer(depth)
	if !ok || n > maxKrakenDepth {
		return fmt.Sprintf("%.40q is not the depth of a book", depth)
	}
	m := krakenLevels{depth: int(n), key: s.hash(objects...) ^ s.hash(depth)}
	latest := int64(0)
	s.begin()
	for _, object := range objects {
		w := walk(object, '{')
		for key, v := range w.members {
			side := feed.SideNone
			switch string(key) {
			case "bs", "b":
				side = feed.SideBuy
			case "as", "a":
				side = feed.SideSell
			case "c":
				m.checksum = text(v)
			}
			m.whole = m.whole || len(key) == 2 && side != feed.SideNone
			if side == feed.SideNone {
				continue
			}
			if reason := s.pairs(side, v); reason != "" {
				return reason
			}
			levels := walk(v, '[')
			for l := range levels.elements {
				stamp := fieldsOf(l)[2]
				at, err := decimal.Parse(text(stamp), -9)
				if err != nil || at <= 0 {
					return fmt.Sprintf("%.40q is not a time", stamp)
				}
				latest = max(latest, at)
			}
		}
		if w.bad {
			return "the book is not a JSON object"
		}
	}
	at, ok := s.venueTime(0)
	if latest != 0 {
		at, ok = s.eventTime(latest), true
	}
	if !ok {
		return reasonNoTime
	}
	return s.krakenBook(in, at, m)
}

// fieldsOf returns the first elements of an array.
func fieldsOf(b []byte) (f [5][]byte) {
	w := walk(b, '[')
	for i := range f {
		v, ok := w.next()
		if !ok {
			break
		}
		f[i] = v
	}
	return f
}

// krakenTime parses a time in seconds with decimals. It returns the reason if it cannot.
func (s *Source) krakenTime(v []byte) (int64, string) {
	at, err := decimal.Parse(text(v), -9)
	if err != nil || at <= 0 {
		return 0, fmt.Sprintf("%.40q is not a time", v)
	}
	return s.eventTime(at), ""
}

func krakenSide(side []byte) feed.Side {
	switch string(side) {
	case "b", "buy":
		return feed.SideBuy
	case "s", "sell":
		return feed.SideSell
	}
	return feed.SideNone
}

// currencyOf sets the currency of a new instrument to the part of its pair after the slash.
func currencyOf(in *instrument, pair []byte) {
	if _, currency, ok := bytes.Cut(pair, []byte{'/'}); ok && !in.defined {
		in.def.Currency = string(currency)
	}
}

// krakenSpot handles a message of Kraken spot, version 2.
func (s *Source) krakenSpot(b []byte) string {
	w := walk(b, '{')
	var channel, kind, data []byte
	for key, v := range w.members {
		switch string(key) {
		case "result":
			s.krakenSubscribed(v)
		case "channel":
			channel = text(v)
		case "type":
			kind = text(v)
		case "data":
			data = v
		}
	}
	if reason := w.over(); reason != "" {
		return reason
	}
	switch {
	case len(channel) == 0:
		return s.other([]byte("confirmation"))
	case string(channel) != "trade" && string(channel) != "ticker" && string(channel) != "book":
		return s.other(channel)
	case string(channel) == "trade" && string(kind) == "snapshot": // trades from before the subscription
		s.count.Now.Repeated++
		return ""
	}
	items := walk(data, '[')
	for v := range items.elements {
		take := s.krakenItem
		if string(channel) == "book" {
			take = s.krakenObjectBook
		}
		if reason := take(channel, kind, v); reason != "" {
			return reason
		}
	}
	if items.bad {
		return "the data is not a JSON array"
	}
	return ""
}

// krakenSubscribed handles the confirmation of a subscription of version 2, which states the depth of a
// book.
func (s *Source) krakenSubscribed(result []byte) {
	var symbol []byte
	depth := uint64(0)
	w := walk(result, '{')
	for key, v := range w.members {
		switch string(key) {
		case "depth":
			depth, _ = integer(v)
		case "symbol":
			symbol = text(v)
		}
	}
	if depth == 0 || depth > maxKrakenDepth || len(symbol) == 0 {
		return
	}
	if in, reason := s.instrument(venueKrakenSpot, symbol); reason == "" {
		in.depth = int(depth)
	}
}

// krakenObjectBook handles a book, or its changes, of version 2.
func (s *Source) krakenObjectBook(_, kind, b []byte) string {
	m := krakenLevels{whole: string(kind) == "snapshot", key: s.hash(b)}
	var symbol, stamp []byte
	s.begin()
	w := walk(b, '{')
	for key, v := range w.members {
		reason := ""
		switch string(key) {
		case "symbol":
			symbol = text(v)
		case "timestamp":
			stamp = text(v)
		case "checksum":
			m.checksum = text(v)
		case "bids":
			reason = s.krakenObjectLevels(feed.SideBuy, v)
		case "asks":
			reason = s.krakenObjectLevels(feed.SideSell, v)
		}
		if reason != "" {
			return reason
		}
	}
	if w.bad {
		return "the book is not a JSON object"
	}
	in, reason := s.instrument(venueKrakenSpot, symbol)
	if reason != "" {
		return reason
	}
	currencyOf(in, symbol)
	at, reason := s.krakenStamp(stamp)
	if reason != "" {
		return reason
	}
	if m.whole {
		m.depth = in.depth
	}
	return s.krakenBook(in, at, m)
}

// krakenObjectLevels adds the levels of an array of objects with price and qty.
func (s *Source) krakenObjectLevels(side feed.Side, array []byte) string {
	levels := walk(array, '[')
	for v := range levels.elements {
		var price, size []byte
		w := walk(v, '{')
		for key, v := range w.members {
			switch string(key) {
			case "price":
				price = v
			case "qty":
				size = v
			}
		}
		if len(text(price)) == 0 || len(text(size)) == 0 {
			return fmt.Sprintf("%.40q is not a level: want price and qty", v)
		}
		s.level(side, price, size)
	}
	if levels.bad {
		return fmt.Sprintf("%.40q is not an array of levels", array)
	}
	return ""
}

// krakenStamp parses the time of a message of version 2. It returns the time of arrival if the message has none.
func (s *Source) krakenStamp(stamp []byte) (int64, string) {
	if len(stamp) > 0 {
		at, ok := parseTime(stamp)
		if !ok {
			return 0, fmt.Sprintf("%.40q is not a time", stamp)
		}
		return s.eventTime(at), ""
	}
	at, ok := s.venueTime(0)
	if !ok {
		return 0, reasonNoTime
	}
	return at, ""
}

// krakenItem handles a trade or a ticker of version 2.
func (s *Source) krakenItem(channel, _, b []byte) string {
	var symbol, side, price, size, id, stamp, bid, bidSize, ask, askSize []byte
	w := walk(b, '{')
	for key, v := range w.members {
		switch string(key) {
		case "symbol":
			symbol = text(v)
		case "side":
			side = text(v)
		case "price":
			price = v
		case "qty":
			size = v
		case "trade_id":
			id = v
		case "timestamp":
			stamp = text(v)
		case "bid":
			bid = v
		case "bid_qty":
			bidSize = v
		case "ask":
			ask = v
		case "ask_qty":
			askSize = v
		}
	}
	in, reason := s.instrument(venueKrakenSpot, symbol)
	if reason != "" {
		return reason
	}
	currencyOf(in, symbol)
	at, reason := s.krakenStamp(stamp)
	if reason != "" {
		return reason
	}
	if string(channel) != "trade" {
		return s.quote(in, at, 0, bid, bidSize, ask, askSize)
	}
	n, ok := integer(id)
	if !ok {
		return fmt.Sprintf("trade_id %.40q is not a whole number", id)
	}
	return s.trade(in, at, trade{price: price, size: size, id: n, count: n, side: krakenSide(side)})
}
