package main

import (
	"encoding/json"
	"strconv"

	"tickfeed/feed"
)

// jsonFormat is one JSON object a line. Its fields are those that package textfile reads
// back; prices and sizes are numbers with every decimal that they have, and null where there is
// no price. A line that comes from a snapshot has "snapshot":true in the place of its number.
type jsonFormat struct{ times timeText }

func (jsonFormat) header() string { return "" }

func (jsonFormat) names(d *feed.Definition) []byte {
	b := append([]byte(`,"symbol":`), quoted(d.Symbol)...)
	b = append(append(b, `,"venue":`...), quoted(d.Venue)...)
	return append(b, `,"ts_event":`...)
}

// quoted is s as a JSON string.
func quoted(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic("tickfeed: internal error: " + err.Error()) // a string can always be written
	}
	return b
}

func (f jsonFormat) line(b []byte, s *stamp, in *listing, t *feed.Tick) []byte {
	b = append(append(b, `{"session":"`...), s.session...)
	if t.Flags&feed.FlagSnapshot != 0 {
		b = append(b, `","snapshot":true,"type":"`...)
	} else {
		b = strconv.AppendUint(append(b, `","seq":`...), t.Seq, 10)
		b = append(b, `,"type":"`...)
	}
	b = append(append(append(b, t.Kind.String()...), '"'), in.names...)
	b = f.times.json(b, t.EventTime)
	if s.publishTime != 0 {
		b = f.times.json(append(b, `,"ts_publish":`...), s.publishTime)
	}
	switch t.Kind {
	case feed.KindQuote:
		q := t.Quote()
		b = jsonPrice(b, `,"bid":`, in, q.Bid)
		b = in.size(append(b, `,"bid_size":`...), q.BidSize)
		b = jsonPrice(b, `,"ask":`, in, q.Ask)
		b = in.size(append(b, `,"ask_size":`...), q.AskSize)
	case feed.KindTrade, feed.KindCorrection, feed.KindCancel:
		b = jsonTrade(b, in, t)
	case feed.KindLevel:
		l := t.Level()
		b = jsonSide(b, l.Side)
		b = jsonPrice(b, `,"price":`, in, l.Price)
		b = in.size(append(b, `,"size":`...), l.Size)
	case feed.KindClear:
		b = jsonSide(b, t.Side)
	case feed.KindStatus:
		b = append(append(append(b, `,"status":"`...), t.Status.String()...), '"')
		if day := t.TradingDay(); day != 0 {
			b = strconv.AppendInt(append(b, `,"trading_day":`...), int64(day), 10)
		}
		if reason := t.StatusReason(); reason != "" {
			b = append(append(b, `,"reason":`...), quoted(reason)...)
		}
		if end := t.StatusEnd(); end != 0 {
			b = f.times.json(append(b, `,"expected_end":`...), end)
		}
	case feed.KindAuction:
		a := t.Auction()
		b = append(append(append(b, `,"auction":"`...), a.Kind.String()...), '"')
		b = jsonPrice(b, `,"price":`, in, a.Price)
		b = in.size(append(b, `,"size":`...), a.Size)
		b = jsonSide(b, a.Side)
		b = in.size(append(b, `,"imbalance":`...), a.Imbalance)
		if a.Time != 0 {
			b = f.times.json(append(b, `,"expected_time":`...), a.Time)
		}
	case feed.KindDefinition:
		b = jsonDefinition(b, in, t.Definition())
	case feed.KindSummary:
		b = jsonSummary(b, in, t.Summary())
	}
	if t.Flags&feed.FlagMore != 0 {
		b = append(b, `,"more":true`...)
	}
	return append(b, '}', '\n')
}

// jsonTrade is for trades, corrections and cancels.
func jsonTrade(b []byte, in *listing, t *feed.Tick) []byte {
	if t.Kind == feed.KindCorrection {
		c := t.Correction()
		b = jsonPrice(b, `,"old_price":`, in, c.OldPrice)
		b = in.size(append(b, `,"old_size":`...), c.OldSize)
	}
	tr := t.Trade()
	b = jsonPrice(b, `,"price":`, in, tr.Price)
	b = in.size(append(b, `,"size":`...), tr.Size)
	b = jsonSide(b, tr.Side)
	if ref := t.TradeRef(); ref != "" {
		b = append(append(b, `,"trade_id":`...), quoted(ref)...)
	} else if tr.ID != 0 {
		b = strconv.AppendUint(append(b, `,"trade_id":`...), tr.ID, 10)
	}
	if t.Kind != feed.KindCancel && tr.Conditions != 0 {
		b = append(b, `,"conditions":"`...)
		b = append(appendConditions(b, tr.Conditions, '"', '\\'), '"')
	}
	return b
}

// appendConditions appends c, with escape before each of the characters quote and escape.
func appendConditions(b []byte, c feed.Conditions, quote, escape byte) []byte {
	for ; c != 0; c <<= 8 {
		letter := byte(c >> 56)
		if letter == quote || letter == escape {
			b = append(b, escape)
		}
		b = append(b, letter)
	}
	return b
}

func jsonPrice(b []byte, key string, in *listing, v int64) []byte {
	b = append(b, key...)
	if v == feed.NoPrice {
		return append(b, "null"...)
	}
	return in.price(b, v)
}

func jsonSide(b []byte, s feed.Side) []byte {
	if s == feed.SideNone {
		return b
	}
	return append(append(append(b, `,"side":"`...), s.String()...), '"')
}

func jsonDefinition(b []byte, in *listing, d *feed.Definition) []byte {
	if d == nil {
		return b
	}
	b = strconv.AppendInt(append(b, `,"price_exponent":`...), int64(d.PriceExponent), 10)
	b = strconv.AppendInt(append(b, `,"size_exponent":`...), int64(d.SizeExponent), 10)
	if d.Currency != "" {
		b = append(append(b, `,"currency":`...), quoted(d.Currency)...)
	}
	if d.TickSize != 0 {
		b = in.price(append(b, `,"tick_size":`...), d.TickSize)
	}
	if d.Lot != 0 {
		b = in.size(append(b, `,"lot":`...), d.Lot)
	}
	return b
}

func jsonSummary(b []byte, in *listing, m *feed.Summary) []byte {
	if m == nil {
		return b
	}
	if m.TradingDay != 0 {
		b = strconv.AppendInt(append(b, `,"trading_day":`...), int64(m.TradingDay), 10)
	}
	b = jsonPrice(b, `,"open":`, in, m.Open)
	b = jsonPrice(b, `,"high":`, in, m.High)
	b = jsonPrice(b, `,"low":`, in, m.Low)
	b = jsonPrice(b, `,"last":`, in, m.Last)
	b = in.size(append(b, `,"last_size":`...), m.LastSize)
	b = in.size(append(b, `,"volume":`...), m.Volume)
	return strconv.AppendInt(append(b, `,"trades":`...), m.Trades, 10)
}
