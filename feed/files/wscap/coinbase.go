package wscap

import (
	"bytes"
	"fmt"
	"time"

	"tickfeed/feed"
	"tickfeed/feed/decimal"
)

const venueCoinbase = "COINBASE"

// A coinbaseMessage holds the members of the messages that are read, as they are in the line.
type coinbaseMessage struct {
	kind, product, time, tradeID, price, size, side, sequence []byte
	bestBid, bestBidSize, bestAsk, bestAskSize                []byte
	bids, asks, changes                                       []byte
}

func (m *coinbaseMessage) parse(b []byte) string {
	w := walk(b, '{')
	for key, v := range w.members {
		switch string(key) {
		case "type":
			m.kind = v
		case "product_id":
			m.product = v
		case "time":
			m.time = v
		case "trade_id":
			m.tradeID = v
		case "sequence":
			m.sequence = v
		case "price":
			m.price = v
		case "size":
			m.size = v
		case "side":
			m.side = v
		case "best_bid":
			m.bestBid = v
		case "best_bid_size":
			m.bestBidSize = v
		case "best_ask":
			m.bestAsk = v
		case "best_ask_size":
			m.bestAskSize = v
		case "bids":
			m.bids = v
		case "asks":
			m.asks = v
		case "changes":
			m.changes = v
		}
	}
	return w.over()
}

// coinbase handles a message of Coinbase.
func (s *Source) coinbase(b []byte) string {
	var m coinbaseMessage
	if reason := m.parse(b); reason != "" {
		return reason
	}
	kind := text(m.kind)
	switch string(kind) {
	case "last_match":
		s.count.Now.Repeated++
		return ""
	case "match", "ticker", "snapshot", "l2update":
	default:
		return s.other(kind)
	}
	in, reason := s.instrument(venueCoinbase, text(m.product))
	if reason != "" {
		return reason
	}
	if !in.defined {
		if _, currency, ok := bytes.Cut(text(m.product), []byte{'-'}); ok {
			in.def.Currency = string(currency)
		}
	}
	at, ok := s.venueTime(0)
	if v := text(m.time); len(v) > 0 && !bytes.HasPrefix(v, []byte("0001-01-01T00:00:00")) { // Coinbase's value for no time
		if at, ok = parseTime(v); !ok {
			return fmt.Sprintf("%.40q is not a time", v)
		}
		at = s.eventTime(at)
	}
	if !ok {
		return reasonNoTime
	}
	switch kind[0] {
	case 'm':
		return s.coinbaseMatch(in, at, &m)
	case 't':
		id, ok := integer(m.sequence)
		if !ok {
			return fmt.Sprintf("sequence %.40q is not a whole number", m.sequence)
		}
		return s.quote(in, at, id, m.bestBid, m.bestBidSize, m.bestAsk, m.bestAskSize)
	case 's':
		s.begin()
		if reason := s.pairs(feed.SideBuy, m.bids); reason != "" {
			return reason
		}
		if reason := s.pairs(feed.SideSell, m.asks); reason != "" {
			return reason
		}
		reason := s.tellLevels(in, at, true)
		if reason == "" {
			s.count.Now.Snapshots++
			s.startBook(in)
		}
		return reason
	}
	return s.coinbaseUpdate(in, at, &m)
}

func (s *Source) coinbaseMatch(in *instrument, at int64, m *coinbaseMessage) string {
	n, ok := integer(m.tradeID)
	if !ok {
		return fmt.Sprintf("trade_id %.40q is not a whole number", m.tradeID)
	}
	t := trade{price: m.price, size: m.size, id: n, count: n}
	switch sideOf(m.side) { // the maker's side
	case feed.SideBuy:
		t.side = feed.SideSell
	case feed.SideSell:
		t.side = feed.SideBuy
	}
	return s.trade(in, at, t)
}

func (s *Source) coinbaseUpdate(in *instrument, at int64, m *coinbaseMessage) string {
	s.begin()
	w := walk(m.changes, '[')
	for v := range w.elements {
		l := walk(v, '[')
		side, _ := l.next()
		price, _ := l.next()
		size, ok := l.next()
		to := sideOf(side)
		if !ok || to == feed.SideNone {
			return fmt.Sprintf("%.40q is not a change: want [side, price, size]", v)
		}
		s.level(to, price, size)
	}
	if w.bad {
		return fmt.Sprintf("%.40q is not an array of changes", m.changes)
	}
	s.useful = true
	if !in.book.live {
		s.count.Now.Unanchored++
		if !s.cfg.PartialBooks {
			return ""
		}
	}
	reason := s.tellLevels(in, at, false)
	if reason == "" && in.book.live {
		s.count.Now.Updates++
	} else if reason == "" {
		s.unnumber(in)
	}
	return reason
}

// startBook begins the book of in, which has no numbers, after a snapshot.
func (s *Source) startBook(in *instrument) {
	s.unnumber(in)
	in.book.live = true
}

// unnumber notes that the book of in has no numbers.
func (s *Source) unnumber(in *instrument) {
	if !in.unnumbered {
		in.unnumbered = true
		s.unnumbered = append(s.unnumbered, in)
	}
}

func sideOf(v []byte) feed.Side {
	switch string(text(v)) {
	case "buy":
		return feed.SideBuy
	case "sell":
		return feed.SideSell
	}
	return feed.SideNone
}

// parseTime parses a time such as 2021-04-17T16:43:37.089723Z, with at most nine decimals.
func parseTime(b []byte) (int64, bool) {
	const layout = "0000-00-00T00:00:00"
	if len(b) < len(layout)+1 || b[len(b)-1] != 'Z' {
		return 0, false
	}
	var v [6]int
	field := 0
	for i := range len(layout) {
		if layout[i] != '0' {
			if b[i] != layout[i] {
				return 0, false
			}
			field++
			continue
		}
		if b[i]-'0' > 9 {
			return 0, false
		}
		v[field] = v[field]*10 + int(b[i]-'0')
	}
	t := time.Date(v[0], time.Month(v[1]), v[2], v[3], v[4], v[5], 0, time.UTC)
	if v[0] < 1970 || v[0] > 2261 || int(t.Month()) != v[1] || t.Day() != v[2] || v[3] > 23 || v[4] > 59 || v[5] > 59 {
		return 0, false
	}
	fraction := b[len(layout) : len(b)-1]
	if len(fraction) == 0 {
		return t.Unix() * 1e9, true
	}
	if fraction[0] != '.' || len(fraction) < 2 || len(fraction) > 10 {
		return 0, false
	}
	nanos, err := decimal.Parse(fraction, -9)
	return t.Unix()*1e9 + nanos, err == nil
}
