package textfile

import (
	"encoding/json"
	"strconv"

	"tickfeed/feed"
)

// JSONFormat is one JSON object per line, with the fields that a [Source] reads. Prices and sizes are numbers with
// all their decimals, or null if there is no price. A tick from a snapshot has "snapshot":true instead of its number.
// codec/CLIENT.md, "What a client prints", is the norm.
type JSONFormat struct {
	Times Times
	Raw   bool // prices and sizes are the integers on the wire, with their exponents
	State bool // ticks are of the state at the end, and are marked as such instead of as "snapshot"
}

// Header returns "".
func (JSONFormat) Header() string { return "" }

// Names implements [Format].
func (f JSONFormat) Names(d *feed.Definition) []byte {
	b := append([]byte(`,"symbol":`), quoted(d.Symbol)...)
	b = append(append(b, `,"venue":`...), quoted(d.Venue)...)
	if f.Raw {
		b = jsonExponents(append(b, `,"raw":true`...), d)
	}
	return append(b, `,"ts_event":`...)
}

// quoted returns s as a JSON string.
func quoted(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic("textfile: internal error: " + err.Error()) // a string can always be marshalled
	}
	return b
}

// AppendTick implements [Format].
func (f JSONFormat) AppendTick(b []byte, s *Stamp, in *Listing, t *feed.Tick) []byte {
	if f.Raw {
		plain := *in
		plain.priceExponent, plain.sizeExponent = 0, 0
		in = &plain
	}
	b = append(append(b, `{"session":"`...), s.Session...)
	if f.State {
		b = append(b, `","state":true,"type":"`...)
	} else if t.Flags&feed.FlagSnapshot != 0 {
		b = append(b, `","snapshot":true,"type":"`...)
	} else {
		b = strconv.AppendUint(append(b, `","seq":`...), t.Seq, 10)
		b = append(b, `,"type":"`...)
	}
	b = append(append(append(b, t.Kind.String()...), '"'), in.Names...)
	b = f.Times.AppendJSON(b, t.EventTime)
	if s.PublishTime != 0 {
		b = f.Times.AppendJSON(append(b, `,"ts_publish":`...), s.PublishTime)
	}
	switch t.Kind {
	case feed.KindQuote:
		q := t.Quote()
		b = jsonPrice(b, `,"bid":`, in, q.Bid)
		b = in.AppendSize(append(b, `,"bid_size":`...), q.BidSize)
		b = jsonPrice(b, `,"ask":`, in, q.Ask)
		b = in.AppendSize(append(b, `,"ask_size":`...), q.AskSize)
	case feed.KindTrade, feed.KindCorrection, feed.KindCancel:
		b = jsonTrade(b, in, t)
	case feed.KindLevel:
		l := t.Level()
		b = jsonSide(b, t)
		b = jsonPrice(b, `,"price":`, in, l.Price)
		b = in.AppendSize(append(b, `,"size":`...), l.Size)
	case feed.KindClear:
		b = jsonSide(b, t)
	case feed.KindStatus:
		b = append(append(append(b, `,"status":"`...), t.Status.String()...), '"')
		if day := t.TradingDay(); day != 0 {
			b = strconv.AppendInt(append(b, `,"trading_day":`...), int64(day), 10)
		}
		if reason := t.StatusReason(); reason != "" {
			b = append(append(b, `,"reason":`...), quoted(reason)...)
		}
		if end := t.StatusEnd(); end != 0 {
			b = f.Times.AppendJSON(append(b, `,"expected_end":`...), end)
		}
	case feed.KindAuction:
		a := t.Auction()
		b = append(append(append(b, `,"auction":"`...), a.Kind.String()...), '"')
		b = jsonPrice(b, `,"price":`, in, a.Price)
		b = in.AppendSize(append(b, `,"size":`...), a.Size)
		b = jsonSide(b, t)
		b = in.AppendSize(append(b, `,"imbalance":`...), a.Imbalance)
		if a.Time != 0 {
			b = f.Times.AppendJSON(append(b, `,"expected_time":`...), a.Time)
		}
	case feed.KindDefinition:
		b = f.definition(b, in, t.Definition())
	case feed.KindSummary:
		b = f.summary(b, in, t.Summary())
	}
	if t.Flags&feed.FlagMore != 0 {
		b = append(b, `,"more":true`...)
	}
	return append(b, '}', '\n')
}

// jsonTrade appends the fields of trades, corrections and cancels.
func jsonTrade(b []byte, in *Listing, t *feed.Tick) []byte {
	if t.Kind == feed.KindCorrection {
		c := t.Correction()
		b = jsonPrice(b, `,"old_price":`, in, c.OldPrice)
		b = in.AppendSize(append(b, `,"old_size":`...), c.OldSize)
	}
	tr := t.Trade()
	b = jsonPrice(b, `,"price":`, in, tr.Price)
	b = in.AppendSize(append(b, `,"size":`...), tr.Size)
	b = jsonSide(b, t)
	b = jsonTradeID(b, t.TradeRef(), tr.ID)
	if t.Kind != feed.KindCancel && tr.Conditions != 0 {
		b = append(b, `,"conditions":"`...)
		b = append(appendConditions(b, tr.Conditions, '"', '\\'), '"')
	}
	return b
}

// jsonTradeID appends the venue's trade id, as text even if it is a number; nothing if there is none.
func jsonTradeID(b []byte, ref string, id uint64) []byte {
	switch {
	case ref != "":
		return append(append(b, `,"trade_id":`...), quoted(ref)...)
	case id != 0:
		return append(strconv.AppendUint(append(b, `,"trade_id":"`...), id, 10), '"')
	}
	return b
}

// appendConditions appends c, with escape before each quote and each escape.
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

func jsonPrice(b []byte, key string, in *Listing, v int64) []byte {
	b = append(b, key...)
	if v == feed.NoPrice {
		return append(b, "null"...)
	}
	return in.AppendPrice(b, v)
}

func jsonSide(b []byte, t *feed.Tick) []byte {
	if t.Side == feed.SideNone {
		return b
	}
	return append(append(append(b, `,"side":"`...), t.SideName()...), '"')
}

func jsonExponents(b []byte, d *feed.Definition) []byte {
	b = strconv.AppendInt(append(b, `,"price_exponent":`...), int64(d.PriceExponent), 10)
	return strconv.AppendInt(append(b, `,"size_exponent":`...), int64(d.SizeExponent), 10)
}

func (f JSONFormat) definition(b []byte, in *Listing, d *feed.Definition) []byte {
	if d == nil {
		return b
	}
	if !f.Raw { // with --raw every line has them
		b = jsonExponents(b, d)
	}
	if d.Currency != "" {
		b = append(append(b, `,"currency":`...), quoted(d.Currency)...)
	}
	if d.TickSize != 0 {
		b = in.AppendPrice(append(b, `,"tick_size":`...), d.TickSize)
	}
	if d.Lot != 0 {
		b = in.AppendSize(append(b, `,"lot":`...), d.Lot)
	}
	return b
}

func (f JSONFormat) summary(b []byte, in *Listing, m *feed.Summary) []byte {
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
	b = in.AppendSize(append(b, `,"last_size":`...), m.LastSize)
	if m.LastSide != feed.SideNone {
		b = append(append(append(b, `,"last_side":"`...), m.LastSide.String()...), '"')
	}
	b = f.Times.AppendJSON(append(b, `,"last_time":`...), m.LastTime)
	b = jsonTradeID(b, m.LastRef, m.LastID)
	b = in.AppendSize(append(b, `,"volume":`...), m.Volume)
	return strconv.AppendInt(append(b, `,"trades":`...), m.Trades, 10)
}
