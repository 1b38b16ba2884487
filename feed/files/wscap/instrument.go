package wscap

import (
	"bytes"
	"fmt"
	"math"

	"tickfeed/feed"
	"tickfeed/feed/decimal"
)

// An instrument is one symbol at one venue.
type instrument struct {
	id      feed.InstrumentID
	def     feed.Definition
	defined bool
	trades  stream        // the stream that its trades come from
	tradeID uint64        // the highest number of a trade
	tradeAt int64         // the exchange's latest time of a trade; 0 if it stated none
	told    feed.RangeSet // the numbers of trades since the last reset; old holes may be closed
	quoteID uint64        // the exchange's number of the last quote; 0 if it has none
	quoteAt int64         // the exchange's time of the last quote, or its time of arrival
	book    book
	depth   int // depth of the book of Kraken spot that the subscription states; 0 if it states none

	unnumbered bool // the instrument is in Source.unnumbered
}

// A stream is where the trades of a Binance instrument come from.
type stream uint8

const (
	streamNone stream = iota
	streamTrade
	streamAggregate
)

// A book is the state of the updates to an instrument's book.
type book struct {
	live  bool   // there was a snapshot, and no update is missing since then
	fresh bool   // the next update is the first after the snapshot
	last  uint64 // id of the last update, or of the snapshot; 0 before the first
	at    int64  // the exchange's time of last, for Kraken
	held  []held

	kraken *krakenBook // the book, for Kraken spot, while live
}

// A held update waits for its book's snapshot.
type held struct {
	first, last uint64 // U and u
	before      uint64 // pu, if there is one
	arrival     int64
	message     []byte
}

// instrument returns the instrument that a message names, or the reason if it cannot. A new instrument is defined with its
// first tick.
func (s *Source) instrument(venue string, symbol []byte) (*instrument, string) {
	s.key = append(append(append(s.key[:0], venue...), 0), symbol...)
	if in := s.instruments[string(s.key)]; in != nil {
		return in, ""
	}
	if len(symbol) == 0 {
		return nil, "the message names no instrument"
	}
	if err := feed.ValidateText(string(symbol)); err != nil {
		return nil, "symbol: " + err.Error()
	}
	if len(s.instruments) == feed.MaxInstruments {
		return nil, fmt.Sprintf("%q exceeds the limit of %d instruments", symbol, feed.MaxInstruments)
	}
	in := &instrument{def: feed.Definition{Symbol: string(symbol), Venue: venue}}
	s.instruments[string(s.key)] = in
	if len(s.order) < maxOwners {
		s.order = append(s.order, in)
	}
	return in, ""
}

// A number is a price or size of the current message.
type number struct {
	text  []byte
	size  bool
	value int64
}

func (s *Source) price(v []byte) { s.numbers = append(s.numbers, number{text: text(v)}) }
func (s *Source) size(v []byte)  { s.numbers = append(s.numbers, number{text: text(v), size: true}) }

// resolve parses the numbers exactly. It defines in if it is new, or again if a number needs
// more decimals. A bad number changes nothing.
func (s *Source) resolve(in *instrument, at int64) string {
	def := in.def
	for again := true; again; {
		again = false
		price, size := def.PriceExponent, def.SizeExponent
		for i := range s.numbers {
			n := &s.numbers[i]
			e := &def.PriceExponent
			exponent := price
			if n.size {
				e, exponent = &def.SizeExponent, size
			}
			var err error
			cut := cutZeros(n.text)
			n.value, err = decimal.Parse(cut, exponent)
			if err == decimal.ErrInexact {
				if _, need, _ := decimal.Scan(cut); need >= feed.MinExponent && need < int(exponent) {
					*e, again = min(*e, int8(need)), true
					continue
				}
			}
			if err != nil {
				return fmt.Sprintf("%.40q: %v (in units of 10^%d)", n.text, err, exponent)
			}
			if n.size && n.value < 0 {
				return fmt.Sprintf("size %.40q is negative", n.text)
			}
		}
	}
	if in.defined && def == in.def {
		return ""
	}
	if !in.defined {
		in.id = feed.InstrumentID(s.defined)
		s.defined++
	}
	in.def, in.defined = def, true
	s.buf = append(s.buf, feed.Tick{
		Kind: feed.KindDefinition, Instrument: in.id, EventTime: at, Extra: &feed.Extra{Definition: &def},
	})
	return ""
}

// cutZeros removes the trailing zeros after the point that exchanges print up to a fixed length. It returns what is no number
// unchanged.
func cutZeros(b []byte) []byte {
	n := len(b)
	point := bytes.IndexByte(b, '.')
	if n == 0 || b[n-1] != '0' || point < 0 || point != bytes.LastIndexByte(b, '.') || bytes.IndexByte(b, 'e') >= 0 || bytes.IndexByte(b, 'E') >= 0 {
		return b
	}
	for b[n-1] == '0' {
		n--
	}
	if b[n-1] == '.' && n > 1 {
		n--
	}
	return b[:n]
}

// A trade holds the fields that trades have on all exchanges.
type trade struct {
	price, size []byte
	side        feed.Side
	id          uint64 // the exchange's id; 0 if it is text
	ref         []byte // the exchange's id if it is text
	count       uint64 // the exchange's number of the trade, which has no holes; 0 if it has none
	condition   []byte
}

// trade appends the trade t of in. It returns the reason if t is bad.
func (s *Source) trade(in *instrument, at int64, t trade) string {
	if err := feed.ValidateText(string(t.ref)); err != nil {
		return "trade id: " + err.Error()
	}
	var conditions feed.Conditions
	if len(t.condition) > 0 {
		upper := bytes.ToUpper(t.condition)
		var err error
		if conditions, err = feed.ParseConditions(string(upper[:min(len(upper), feed.MaxConditions)])); err != nil {
			return err.Error()
		}
	}
	if t.side == feed.SideNone {
		return "the trade has no side"
	}
	s.numbers = s.numbers[:0]
	s.price(t.price)
	s.size(t.size)
	if reason := s.resolve(in, at); reason != "" {
		return reason
	}
	s.useful = true
	if !s.joins(in, t.count) {
		return ""
	}
	tick := feed.Trade{
		Price: s.numbers[0].value, Size: s.numbers[1].value, Side: t.side, ID: t.id, Conditions: conditions,
	}.Tick(in.id, at)
	if len(t.ref) > 0 {
		tick.Extra = &feed.Extra{TradeRef: string(t.ref)}
	}
	s.buf = append(s.buf, tick)
	s.count.Now.Trades++
	return ""
}

// maxHoles bounds the holes in the trade ids of an instrument that a late trade can fill.
const maxHoles = 256

// joins reports whether the trade with the exchange's number n is new, and reports a gap, reset or late trade
// if n does not follow the last number. A capture of two collectors has trades twice, or
// late: such a trade has the exchange's time of its first copy. A number that goes
// back at a later time belongs to a new numbering.
func (s *Source) joins(in *instrument, n uint64) bool {
	last := in.tradeID
	later := s.stated > in.tradeAt
	switch {
	case n == 0:
		return true
	case last == 0 || n == last+1:
	case n > last:
		s.count.Now.Gaps++
		s.report("%s: trades %d to %d are missing", in.def.Name(), last+1, n-1)
	case !later && in.told.Contains(n):
		s.count.Now.Repeated++
		return false
	case later:
		s.count.Now.Resets++
		s.report("%s: trade %d after %d", in.def.Name(), n, last)
		in.tradeID, in.told = 0, feed.RangeSet{}
	case n < in.told.Ranges()[0].From: // older than the first trade of the capture
		s.count.Now.Resets++
		s.report("%s: trade %d after %d", in.def.Name(), n, last)
	default:
		holes := len(in.told.Ranges())
		in.told.Add(feed.Range{From: n, To: n + 1})
		if len(in.told.Ranges()) < holes {
			s.count.Now.Gaps--
		}
		s.report("%s: trade %d came late, after %d", in.def.Name(), n, last)
	}
	in.tradeID = max(in.tradeID, n)
	in.tradeAt = max(in.tradeAt, s.stated)
	in.told.Add(feed.Range{From: n, To: n + 1})
	if r := in.told.Ranges(); len(r) > maxHoles {
		in.told.Add(feed.Range{From: r[0].From, To: r[1].To})
	}
	return true
}

// maxLag is the maximum time between the copies of two collectors, in nanoseconds. A quote without a time of the exchange
// whose number goes back after more than maxLag belongs to a new numbering.
const maxLag = int64(60e9)

// newer reports whether the quote with the exchange's number n is newer than the last one.
func (s *Source) newer(in *instrument, n uint64) bool {
	at, lag := s.stated, int64(0)
	if at == 0 {
		at, lag = s.arrival, maxLag
	}
	switch {
	case n == 0:
		return true
	case n <= in.quoteID && (at == math.MinInt64 || n == in.quoteID || at-lag <= in.quoteAt):
		s.count.Now.Repeated++
		return false
	case n < in.quoteID:
		s.count.Now.Resets++
		s.report("%s: quote %d after %d", in.def.Name(), n, in.quoteID)
	}
	in.quoteID, in.quoteAt = n, at
	return true
}

// quote appends a quote of in. Empty sizes are not known. id is the exchange's number of the quote, or 0 if it has
// none.
func (s *Source) quote(in *instrument, at int64, id uint64, bid, bidSize, ask, askSize []byte) string {
	s.numbers = s.numbers[:0]
	for _, v := range [...][]byte{bid, ask} {
		if v = text(v); len(v) == 0 {
			v = zero
		}
		s.price(v)
	}
	for _, v := range [...][]byte{bidSize, askSize} {
		if v = text(v); len(v) == 0 {
			v = zero
		}
		s.size(v)
	}
	if reason := s.resolve(in, at); reason != "" {
		return reason
	}
	q := feed.Quote{
		Bid: s.numbers[0].value, BidSize: s.numbers[2].value,
		Ask: s.numbers[1].value, AskSize: s.numbers[3].value,
	}
	if q.Bid == 0 {
		q.Bid, q.BidSize = feed.NoPrice, 0
	}
	if q.Ask == 0 {
		q.Ask, q.AskSize = feed.NoPrice, 0
	}
	s.useful = true
	if !s.newer(in, id) {
		return ""
	}
	s.buf = append(s.buf, q.Tick(in.id, at))
	s.count.Now.Quotes++
	if s.stated == 0 && s.cfg.Clock == ClockVenue {
		s.count.Now.Arrived++
	}
	return ""
}

var zero = []byte("0")

// begin starts a message with levels.
func (s *Source) begin() { s.numbers, s.sides = s.numbers[:0], s.sides[:0] }

// level adds a level to the current message.
func (s *Source) level(side feed.Side, price, size []byte) {
	s.sides = append(s.sides, side)
	s.price(price)
	s.size(size)
}

// pairs adds the levels of an array of [price, size].
func (s *Source) pairs(side feed.Side, array []byte) string {
	w := walk(array, '[')
	for v := range w.elements {
		l := walk(v, '[')
		price, ok := l.next()
		size, also := l.next()
		if !ok || !also {
			return fmt.Sprintf("%.40q is not a level: want [price, size]", v)
		}
		s.level(side, price, size)
	}
	if w.bad {
		return fmt.Sprintf("%.40q is not an array of levels", array)
	}
	return ""
}

// tellLevels appends the levels of the current message as one event. A whole book replaces
// the earlier levels; its empty levels are left out.
func (s *Source) tellLevels(in *instrument, at int64, whole bool) string {
	start := len(s.buf)
	if reason := s.resolve(in, at); reason != "" {
		return reason
	}
	s.useful = true
	s.appendLevels(in, at, whole, start)
	return ""
}

// appendLevels is tellLevels for levels that are resolved; start is the index in buf where their event begins.
func (s *Source) appendLevels(in *instrument, at int64, whole bool, start int) {
	if whole {
		s.buf = append(s.buf, feed.ClearTick(in.id, at, feed.SideBoth))
	}
	for i, side := range s.sides {
		price, size := s.numbers[2*i].value, s.numbers[2*i+1].value
		if whole && size == 0 {
			continue
		}
		s.buf = append(s.buf, feed.Level{Side: side, Price: price, Size: size}.Tick(in.id, at))
	}
	for i := start; i < len(s.buf)-1; i++ {
		s.buf[i].Flags |= feed.FlagMore
	}
}

// breakBook ends the book of in, because updates are missing: the book is cleared,
// and the held updates are dropped, since they cannot join a later snapshot.
func (s *Source) breakBook(in *instrument, at int64, format string, args ...any) {
	s.count.Now.Gaps++
	s.report("%s: %s", in.def.Name(), fmt.Sprintf(format, args...))
	if in.defined && (in.book.live || s.cfg.PartialBooks) {
		s.buf = append(s.buf, feed.ClearTick(in.id, at, feed.SideBoth))
	}
	for _, h := range in.book.held {
		s.held -= len(h.message)
	}
	in.book = book{last: in.book.last}
}

// hold keeps an update of in until its snapshot comes.
func (s *Source) hold(in *instrument, h held) {
	s.count.Now.Unanchored++
	for s.held+len(h.message) > maxHeld && len(in.book.held) > 0 {
		s.held -= len(in.book.held[0].message)
		in.book.held = in.book.held[1:]
	}
	if s.held+len(h.message) > maxHeld {
		return
	}
	h.message = bytes.Clone(h.message)
	s.held += len(h.message)
	in.book.held = append(in.book.held, h)
}
