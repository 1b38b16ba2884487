package text

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/feed/decimal"
)

// tick parses the words of a tick.
func (r *reader) tick(t *feed.Tick, base int64) (err error) {
	w := &r.words
	t.EventTime = base
	if _, ok := w.nextIf(func(s string) bool { return s == noTime }); ok {
		t.EventTime = 0
	} else if text, ok := w.nextIf(signed); ok {
		offset, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("want the event time less the base in ns, such as +1000, got %q", text)
		}
		t.EventTime = base + offset
	}
	name, ok := w.next()
	if !ok {
		return errors.New("the instrument is missing")
	}
	in, err := r.instrument(t, name)
	if err != nil {
		return err
	}
	if err := r.values(t, in, base); err != nil {
		return err
	}
	if text, ok := w.next(); ok && text == "more" {
		t.Flags = feed.FlagMore
	} else if ok {
		return fmt.Errorf("%q is too much, or not where it belongs", text)
	}
	if err := w.end(); err != nil {
		return err
	}
	return codec.ValidateTick(t)
}

// signed reports whether a word is an offset.
func signed(text string) bool { return text[0] == '+' || text[0] == '-' }

func (r *reader) instrument(t *feed.Tick, name string) (*listing, error) {
	n := &r.state.names
	if digits, ok := strings.CutPrefix(name, "#"); ok {
		id, err := strconv.ParseUint(digits, 10, 32)
		if err != nil || id >= feed.MaxInstruments {
			return nil, fmt.Errorf("%s is not an instrument: want # and a number below %d", name, feed.MaxInstruments)
		}
		t.Instrument = feed.InstrumentID(id)
		return n.listing(t.Instrument), nil
	}
	if t.Kind == feed.KindDefinition {
		return nil, fmt.Errorf("want # and the instrument's number, got %q", name)
	}
	id, many, ok := n.lookup(name)
	switch {
	case many:
		return nil, fmt.Errorf("several instruments are called %s here: name one by # and its number, or SYMBOL@VENUE", name)
	case !ok:
		return nil, fmt.Errorf("no instrument is called %s here: define it first, or name it by # and its number", name)
	}
	t.Instrument = id
	return n.listing(id), nil
}

func (r *reader) values(t *feed.Tick, in *listing, base int64) (err error) {
	w := &r.words
	v := &t.Values
	read := func(steps ...func() error) error {
		for _, step := range steps {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	}
	price := func(p *int64) func() error {
		return func() error { return w.price(p, in.price) }
	}
	size := func(n *int64) func() error {
		return func() error { return w.decimal(n, in.size) }
	}
	switch t.Kind {
	case feed.KindDefinition:
		return r.definition(t)
	case feed.KindQuote:
		return read(price(&v[0]), size(&v[1]), price(&v[2]), size(&v[3]))
	case feed.KindTrade, feed.KindCorrection, feed.KindCancel:
		if err := read(price(&v[0]), size(&v[1])); err != nil {
			return err
		}
		return r.trade(t, in)
	case feed.KindLevel:
		return read(func() error { return w.side(t, 2) }, price(&v[0]), size(&v[1]))
	case feed.KindClear:
		return w.side(t, 3)
	case feed.KindStatus:
		text, _ := w.next()
		status, err := oneOrNumber(statuses, text)
		if err != nil {
			return err
		}
		t.Status = feed.Status(status)
		return r.status(t)
	case feed.KindAuction:
		text, _ := w.next()
		auction, err := oneOrNumber(auctions, text)
		if err != nil {
			return err
		}
		t.Status = feed.Status(auction)
		if err := read(price(&v[0]), size(&v[1])); err != nil {
			return err
		}
		return r.auction(t, in)
	}
	return r.summary(t, in, base)
}

// tradingDay parses a trading day, which is 0 or yyyymmdd.
func tradingDay(s string) (int32, error) {
	day, err := strconv.ParseUint(s, 10, 32)
	if err != nil || day > 9999_12_31 {
		return 0, errors.New("want a number from 0 to 99991231")
	}
	return int32(day), nil
}

// status reads what follows the word of a status.
func (r *reader) status(t *feed.Tick) error {
	reason := ""
	err := r.words.pairs(func(key, value string) (err error) {
		switch key {
		case "day":
			var day int32
			day, err = tradingDay(value)
			t.Values[0] = int64(day)
		case "reason":
			reason = value
		case "end":
			t.Values[1], err = offsetFrom(t.EventTime, value)
		default:
			return errForeign
		}
		return err
	})
	*t = t.Because(reason, t.Values[1])
	return err
}

// auction reads what follows the size of an auction.
func (r *reader) auction(t *feed.Tick, in *listing) error {
	if text, ok := r.words.nextIf(func(s string) bool { return s == "buy" || s == "sell" }); ok {
		t.Side = feed.Side(slices.Index(tradeSides, text))
	}
	return r.words.pairs(func(key, value string) (err error) {
		switch key {
		case "imbalance":
			t.Values[2], err = decimal.Parse(value, in.size)
		case "at":
			t.Values[3], err = offsetFrom(t.EventTime, value)
		default:
			return errForeign
		}
		return err
	})
}

// offsetFrom returns the time that is an offset, as text, after base.
func offsetFrom(base int64, text string) (int64, error) {
	offset, err := strconv.ParseInt(text, 10, 64)
	return base + offset, err
}

func (r *reader) definition(t *feed.Tick) error {
	d := &feed.Definition{}
	tick, lot := "0", "0"
	if err := r.words.pairs(func(key, value string) (err error) {
		switch key {
		case "symbol":
			d.Symbol = value
		case "venue":
			d.Venue = value
		case "currency":
			d.Currency = value
		case "price":
			d.PriceExponent, err = parseExponent(value)
		case "size":
			d.SizeExponent, err = parseExponent(value)
		case "tick":
			tick = value
		case "lot":
			lot = value
		default:
			return errForeign
		}
		return err
	}); err != nil {
		return err
	}
	var err error
	if d.TickSize, err = decimal.Parse(tick, d.PriceExponent); err != nil {
		return fmt.Errorf("tick=%s: %w", tick, err)
	}
	if d.Lot, err = decimal.Parse(lot, d.SizeExponent); err != nil {
		return fmt.Errorf("lot=%s: %w", lot, err)
	}
	t.Extra = &feed.Extra{Definition: d}
	return nil
}

// trade parses the words after the size of a trade, correction or cancel.
func (r *reader) trade(t *feed.Tick, in *listing) error {
	if text, ok := r.words.nextIf(func(s string) bool { return s == "buy" || s == "sell" }); ok && t.Kind != feed.KindCancel {
		t.Side = feed.Side(slices.Index(tradeSides, text))
	} else if ok {
		return errors.New("a cancel has no side")
	}
	extra := feed.Extra{}
	if t.Kind == feed.KindCorrection {
		extra.OldPrice = feed.NoPrice
	}
	if err := r.words.pairs(func(key, value string) (err error) {
		switch {
		case key == "id":
			var id uint64
			id, err = strconv.ParseUint(value, 10, 64)
			t.Values[2] = int64(id)
		case key == "ref":
			extra.TradeRef = value
		case key == "cond" && t.Kind != feed.KindCancel:
			t.Values[3], err = parseConditions(value)
		case key == "old" && t.Kind == feed.KindCorrection:
			extra.OldPrice, err = parsePrice(value, in.price)
		case key == "oldsize" && t.Kind == feed.KindCorrection:
			extra.OldSize, err = decimal.Parse(value, in.size)
		default:
			return errForeign
		}
		return err
	}); err != nil {
		return err
	}
	if extra.TradeRef != "" || t.Kind == feed.KindCorrection {
		t.Extra = &extra
	}
	return nil
}

func (r *reader) summary(t *feed.Tick, in *listing, base int64) error {
	s := &feed.Summary{Open: feed.NoPrice, High: feed.NoPrice, Low: feed.NoPrice, Last: feed.NoPrice, LastTime: base}
	t.Extra = &feed.Extra{Summary: s}
	return r.words.pairs(func(key, value string) (err error) {
		switch key {
		case "day":
			s.TradingDay, err = tradingDay(value)
		case "open":
			s.Open, err = parsePrice(value, in.price)
		case "high":
			s.High, err = parsePrice(value, in.price)
		case "low":
			s.Low, err = parsePrice(value, in.price)
		case "last":
			s.Last, err = parsePrice(value, in.price)
		case "lastsize":
			s.LastSize, err = decimal.Parse(value, in.size)
		case "lastside":
			var side int
			side, err = oneOf(tradeSides, value)
			s.LastSide = feed.Side(side)
		case "lasttime":
			var offset int64
			offset, err = strconv.ParseInt(value, 10, 64)
			s.LastTime = base + offset
		case "volume":
			s.Volume, err = decimal.Parse(value, in.size)
		case "trades":
			s.Trades, err = strconv.ParseInt(value, 10, 64)
		case "id":
			s.LastID, err = strconv.ParseUint(value, 10, 64)
		case "ref":
			s.LastRef = value
		default:
			return errForeign
		}
		return err
	})
}
