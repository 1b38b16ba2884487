package wscap

import (
	"fmt"

	"tickfeed/feed"
)

const venueKraken = "KRAKEN_FUTURES"

// A krakenMessage holds the members of the messages that are read, as they are in the line.
type krakenMessage struct {
	feed, event, product, uid, side, kind, seq, time, timestamp []byte
	price, qty, bid, bidSize, ask, askSize, bids, asks          []byte
}

func (m *krakenMessage) parse(b []byte) string {
	w := walk(b, '{')
	for key, v := range w.members {
		switch string(key) {
		case "feed":
			m.feed = v
		case "event":
			m.event = v
		case "product_id":
			m.product = v
		case "uid":
			m.uid = v
		case "side":
			m.side = v
		case "type":
			m.kind = v
		case "seq":
			m.seq = v
		case "time":
			m.time = v
		case "timestamp":
			m.timestamp = v
		case "price":
			m.price = v
		case "qty":
			m.qty = v
		case "bid":
			m.bid = v
		case "bid_size":
			m.bidSize = v
		case "ask":
			m.ask = v
		case "ask_size":
			m.askSize = v
		case "bids":
			m.bids = v
		case "asks":
			m.asks = v
		}
	}
	return w.over()
}

// kraken handles a message of Kraken Futures.
func (s *Source) kraken(b []byte) string {
	var m krakenMessage
	if reason := m.parse(b); reason != "" {
		return reason
	}
	if m.event != nil {
		return s.other(text(m.event))
	}
	name := text(m.feed)
	switch string(name) {
	case "trade_snapshot":
		s.count.Now.Repeated++
		return ""
	case "trade", "ticker", "ticker_lite", "book", "book_snapshot":
	default:
		return s.other(name)
	}
	in, reason := s.instrument(venueKraken, text(m.product))
	if reason != "" {
		return reason
	}
	stamp := m.time
	if stamp == nil {
		stamp = m.timestamp
	}
	millis, ok := integer(stamp)
	var at int64
	if ok {
		at, ok = s.venueTime(millis)
	}
	if !ok {
		return reasonNoTime
	}
	seq, ok := integer(m.seq)
	if !ok {
		return fmt.Sprintf("seq %.40q is not a whole number", m.seq)
	}
	switch string(name) {
	case "trade":
		t := trade{price: m.price, size: m.qty, ref: text(m.uid), count: seq, side: sideOf(m.side)}
		if kind := text(m.kind); string(kind) != "fill" {
			t.condition = kind
		}
		return s.trade(in, at, t)
	case "book_snapshot":
		return s.krakenSnapshot(in, at, seq, &m)
	case "book":
		return s.krakenUpdate(in, at, seq, &m)
	}
	return s.quote(in, at, 0, m.bid, m.bidSize, m.ask, m.askSize)
}

func (s *Source) krakenSnapshot(in *instrument, at int64, seq uint64, m *krakenMessage) string {
	s.begin()
	for _, side := range []struct {
		side  feed.Side
		array []byte
	}{{feed.SideBuy, m.bids}, {feed.SideSell, m.asks}} {
		w := walk(side.array, '[')
		for v := range w.elements {
			var level krakenMessage
			if reason := level.parse(v); reason != "" {
				return reason
			}
			s.level(side.side, level.price, level.qty)
		}
		if w.bad {
			return fmt.Sprintf("%.40q is not an array of levels", side.array)
		}
	}
	bk := &in.book
	if bk.live && seq <= bk.last && s.stated <= bk.at && bk.at != 0 {
		s.useful = true
		s.count.Now.Repeated++ // from another collector; the book is newer
		return ""
	}
	reason := s.tellLevels(in, at, true)
	if reason == "" {
		s.count.Now.Snapshots++
		in.book = book{live: true, last: seq, at: s.stated}
	}
	return reason
}

func (s *Source) krakenUpdate(in *instrument, at int64, seq uint64, m *krakenMessage) string {
	side := sideOf(m.side)
	if side == feed.SideNone {
		return fmt.Sprintf("%.40q is not a side", m.side)
	}
	s.begin()
	s.level(side, m.price, m.qty)
	bk := &in.book
	if bk.last != 0 {
		if seq <= bk.last { // not a new numbering, which would begin with a snapshot
			s.count.Now.Repeated++
			return ""
		}
		if seq != bk.last+1 {
			s.breakBook(in, at, "updates %d to %d are missing", bk.last+1, seq-1)
		}
	}
	bk.last, bk.at = seq, s.stated
	s.useful = true
	if !bk.live {
		s.count.Now.Unanchored++
		if !s.cfg.PartialBooks {
			return ""
		}
	}
	reason := s.tellLevels(in, at, false)
	if reason == "" && bk.live {
		s.count.Now.Updates++
	}
	return reason
}
