package compare

import (
	"bytes"
	"strconv"

	"tickfeed/feed"
	"tickfeed/feed/decimal"
)

// appendTick appends the text of t, whose instrument is d. appendPrinted makes the same text of the line that a client prints.
func appendTick(b []byte, publish int64, t *feed.Tick, d *feed.Definition) []byte {
	w := writer{b, d.PriceExponent, d.SizeExponent}
	head(&w, t.Kind.String(), d)
	switch t.Kind {
	case feed.KindDefinition:
		if def := t.Definition(); def != nil {
			w.integer("price_exponent", int64(def.PriceExponent))
			w.integer("size_exponent", int64(def.SizeExponent))
			w.text("currency", def.Currency)
			if def.TickSize != 0 {
				w.price("tick_size", def.TickSize)
			}
			if def.Lot != 0 {
				w.size("lot", def.Lot)
			}
		}
	case feed.KindQuote:
		q := t.Quote()
		w.price("bid", q.Bid)
		w.size("bid_size", q.BidSize)
		w.price("ask", q.Ask)
		w.size("ask_size", q.AskSize)
	case feed.KindTrade, feed.KindCorrection, feed.KindCancel:
		if t.Kind == feed.KindCorrection {
			c := t.Correction()
			w.price("old_price", c.OldPrice)
			w.size("old_size", c.OldSize)
		}
		tr := t.Trade()
		w.price("price", tr.Price)
		w.size("size", tr.Size)
		w.text("side", t.SideName())
		switch ref := t.TradeRef(); {
		case ref != "":
			w.text("trade_id", ref)
		case tr.ID != 0:
			w.text("trade_id", strconv.FormatUint(tr.ID, 10))
		}
		if t.Kind != feed.KindCancel {
			w.text("conditions", tr.Conditions.String())
		}
	case feed.KindLevel:
		l := t.Level()
		w.text("side", t.SideName())
		w.price("price", l.Price)
		w.size("size", l.Size)
	case feed.KindClear:
		w.text("side", t.SideName())
	case feed.KindStatus:
		w.text("status", t.Status.String())
		if day := t.TradingDay(); day != 0 {
			w.integer("trading_day", int64(day))
		}
		w.text("reason", t.StatusReason())
		if end := t.StatusEnd(); end != 0 {
			w.integer("expected_end", end)
		}
	case feed.KindAuction:
		a := t.Auction()
		w.text("auction", a.Kind.String())
		w.price("price", a.Price)
		w.size("size", a.Size)
		w.text("side", t.SideName())
		w.size("imbalance", a.Imbalance)
		if a.Time != 0 {
			w.integer("expected_time", a.Time)
		}
	}
	w.integer("ts_event", t.EventTime)
	if publish != 0 {
		w.integer(publishKey, publish)
	}
	if t.Flags&feed.FlagMore != 0 {
		w.text("more", "true")
	}
	return w.b
}

const publishKey = "ts_publish"

// withoutPublish returns text without its publish time. It changes text.
func withoutPublish(text []byte) []byte {
	i := bytes.LastIndex(text, []byte(" "+publishKey+"="))
	if i < 0 {
		return text
	}
	end := i + 1
	for end < len(text) && text[end] != ' ' {
		end++
	}
	return append(text[:i], text[end:]...)
}

// A writer writes the fields of a tick.
type writer struct {
	b       []byte
	price10 int8 // exponent of prices
	size10  int8
}

// head writes the kind and the instrument.
func head[S string | []byte](w *writer, kind S, d *feed.Definition) {
	w.b = append(append(w.b, kind...), ' ')
	w.b = append(w.b, d.Symbol...)
	if d.Venue != "" {
		w.b = append(append(w.b, '@'), d.Venue...)
	}
}

func (w *writer) key(name string) { w.b = append(append(append(w.b, ' '), name...), '=') }

// text writes a text; an empty one is left out.
func (w *writer) text(name, v string) {
	if v != "" {
		w.key(name)
		w.b = appendPlain(w.b, v)
	}
}

func (w *writer) integer(name string, v int64) {
	w.key(name)
	w.b = strconv.AppendInt(w.b, v, 10)
}

func (w *writer) price(name string, v int64) {
	w.key(name)
	if v == feed.NoPrice {
		w.b = append(w.b, "null"...)
		return
	}
	w.b = decimal.Append(w.b, v, w.price10)
}

func (w *writer) size(name string, v int64) {
	w.key(name)
	w.b = decimal.Append(w.b, v, w.size10)
}

// appendPlain appends v, in quotes if it could be taken for two fields.
func appendPlain(b []byte, v string) []byte {
	for i := range len(v) {
		if v[i] <= ' ' || v[i] == '"' || v[i] == '=' || v[i] >= 0x7f {
			return strconv.AppendQuote(b, v)
		}
	}
	return append(b, v...)
}
