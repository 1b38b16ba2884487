package wscap

import (
	"bytes"
	"fmt"

	"tickfeed/feed"
)

const venueKrakenSpot = "KRAKEN"

// krakenArray takes a message of Kraken spot, version 1: [id, payload, …, channel, pair].
func (s *Source) krakenArray(b []byte) string {
	w := walk(b, '[')
	var parts [5][]byte
	n := 0
	for {
		v, ok := w.next()
		if !ok {
			break
		}
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
	switch string(channel) {
	case "trade", "spread", "ticker":
	default:
		return s.other(channel)
	}
	in, reason := s.instrument(venueKrakenSpot, pair)
	if reason != "" {
		return reason
	}
	currencyOf(in, pair)
	switch string(channel) {
	case "trade":
		trades := walk(parts[1], '[')
		for {
			v, ok := trades.next()
			if !ok {
				break
			}
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
	var m binanceMessage // a and b: price, whole lots, volume
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

// fieldsOf are the first elements of an array.
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

// krakenTime is a time in seconds with decimals.
func (s *Source) krakenTime(v []byte) (int64, string) {
	at, err := feed.ParseDecimal(text(v), -9)
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

// currencyOf gives a new instrument the currency behind the stroke of its pair.
func currencyOf(in *instrument, pair []byte) {
	if _, currency, ok := bytes.Cut(pair, []byte{'/'}); ok && !in.defined {
		in.def.Currency = string(currency)
	}
}

// krakenSpot takes a message of Kraken spot, version 2.
func (s *Source) krakenSpot(b []byte) string {
	w := walk(b, '{')
	var channel, kind, data []byte
	for {
		key, v, ok := w.member()
		if !ok {
			break
		}
		switch string(key) {
		case "channel":
			channel = text(v)
		case "type":
			kind = text(v)
		case "data":
			data = v
		}
	}
	switch {
	case w.bad || len(bytes.TrimSpace(w.b)) > 0:
		return "the message is not a JSON object, or is cut short"
	case string(channel) != "trade" && string(channel) != "ticker":
		return s.other(channel)
	case string(channel) == "trade" && string(kind) == "snapshot": // from before the subscription
		s.count.Repeated++
		return ""
	}
	items := walk(data, '[')
	for {
		v, ok := items.next()
		if !ok {
			break
		}
		if reason := s.krakenItem(string(channel) == "trade", v); reason != "" {
			return reason
		}
	}
	if items.bad {
		return "the data is not a JSON array"
	}
	return ""
}

// krakenItem takes a trade, or a ticker, of version 2.
func (s *Source) krakenItem(isTrade bool, b []byte) string {
	var symbol, side, price, size, id, stamp, bid, bidSize, ask, askSize []byte
	w := walk(b, '{')
	for {
		key, v, ok := w.member()
		if !ok {
			break
		}
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
	at, ok := s.venueTime(0)
	if len(stamp) > 0 {
		if at, ok = parseTime(stamp); !ok {
			return fmt.Sprintf("%.40q is not a time", stamp)
		}
		at = s.eventTime(at)
	}
	if !ok {
		return reasonNoTime
	}
	if !isTrade {
		return s.quote(in, at, 0, bid, bidSize, ask, askSize)
	}
	n, ok := integer(id)
	if !ok {
		return fmt.Sprintf("trade_id %.40q is not a whole number", id)
	}
	return s.trade(in, at, trade{price: price, size: size, id: n, count: n, side: krakenSide(side)})
}
