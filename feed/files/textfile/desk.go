package textfile

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"tickfeed/feed"
	"tickfeed/feed/decimal"
	"tickfeed/feed/files/internal/book"
	"tickfeed/feed/files/internal/recent"
	"tickfeed/feed/files/rawfile"
)

// A desk makes ticks from rows: it gives instruments their ids, and defines them again when a
// row needs more decimals.
type desk struct {
	symbol, venue []byte // for rows that have none
	exponents     feed.Definition
	zeroIsPrice   bool
	instruments   map[string]*instrument // by symbol, NUL, venue
	key           []byte                 // key in instruments of the current row
	name          []byte                 // symbol of the current row, if it has a suffix
	values        [allFields]int64       // numbers of the current row, in the exponents of its instrument
	out           []feed.Tick            // ticks of the current row: a definition, a clear or levels, a quote, a trade
	prices, sizes []int64                // levels of one side of the current row
	quotesOnly    bool
	statedPrice   bool      // Config.Columns names the column of the price
	repeats       *repeats  // nil if there is only one file
	rows          feed.Kind // Config.Rows, or 0
	unread        []Unread
	shortened     string // a note about a symbol that is too long
	forgot        bool   // the volume of the instrument was dropped: it does not fit with the decimals of the current row
	rounded       int64  // numbers of the current row that were rounded
}

// An instrument is one symbol at one venue.
type instrument struct {
	id  feed.InstrumentID
	def feed.Definition

	extent   extent     // range of its numbers, in the exponents of def
	levels   bool       // levels were returned
	snapshot bool       // the last level was part of a snapshot
	book     *book.Book // the book from rows with several levels; nil if there were none
	prints   recent.Group
	traded   [2]span // the times of its single trades, and of its aggregated trades
}

func newDesk(c *Config) desk {
	return desk{
		symbol: []byte(c.Symbol), venue: []byte(c.Venue),
		exponents:   feed.Definition{PriceExponent: c.PriceExponent, SizeExponent: c.SizeExponent},
		zeroIsPrice: c.ZeroIsPrice, quotesOnly: c.QuotesOnly, statedPrice: c.Columns["price"] != "",
		instruments: make(map[string]*instrument),
		rows:        kindOf([]byte(c.Rows)),
	}
}

// A shape lists the number fields of a kind of tick.
type shape struct{ prices, sizes []field }

// shapeBoth is the kind of a row that is a quote and a trade.
const shapeBoth = feed.KindAuction + 1

var shapes = [...]shape{
	feed.KindDefinition: {[]field{fieldTickSize}, []field{fieldLot}},
	feed.KindQuote:      {[]field{fieldBid, fieldAsk}, []field{fieldBidSize, fieldAskSize}},
	feed.KindTrade:      {[]field{fieldPrice}, []field{fieldSize}},
	feed.KindCorrection: {[]field{fieldPrice, fieldOldPrice}, []field{fieldSize, fieldOldSize}},
	feed.KindCancel:     {[]field{fieldPrice}, []field{fieldSize}},
	feed.KindLevel:      {[]field{fieldPrice}, []field{fieldSize}},
	feed.KindAuction:    {[]field{fieldPrice}, []field{fieldSize, fieldImbalance}},
	shapeBoth: {
		[]field{fieldBid, fieldAsk, fieldPrice},
		[]field{fieldBidSize, fieldAskSize, fieldSize},
	},
}

// ticks returns the ticks of r, which are valid until the next call. It returns none if r is not to be published. A
// bad row changes no instrument.
func (d *desk) ticks(r *row, c *clock, count *Stats) ([]feed.Tick, *LineError) {
	d.rounded, d.forgot = 0, false
	kind, bad := d.kind(r)
	count.Unread = d.unread
	switch {
	case bad != nil:
		return nil, bad
	case kind == feed.KindSummary || isTrue(r.cells[fieldSnapshot]) || isTrue(r.cells[fieldState]) && r.isOwn():
		count.Snapshot++
		return nil, nil
	case kind == kindUnread:
		return nil, nil
	}
	if len(r.cells[fieldCorrection]) > 0 && (kind == feed.KindTrade || kind == shapeBoth) {
		switch void, bad := voided(r); {
		case bad != nil:
			return nil, bad
		case void && kind == feed.KindTrade:
			count.Voided++
			return nil, nil
		case void:
			count.Voided++
			kind = feed.KindQuote
		}
	}
	if cancelled(r) && (kind == feed.KindQuote || kind == shapeBoth) {
		count.VoidedQuotes++
		if kind == feed.KindQuote {
			return nil, nil
		}
		kind = feed.KindTrade
	}
	inst, bad := d.instrument(r)
	if bad != nil {
		return nil, bad
	}
	at, bad := eventTime(r, c)
	if bad != nil {
		return nil, bad
	}
	id, def := feed.InstrumentID(len(d.instruments)), d.exponents
	if inst != nil {
		id, def = inst.id, inst.def
	} else if def.Symbol, def.Venue, bad = d.names(r); bad != nil {
		return nil, bad
	}
	if bad = d.numbers(r, kind, &def); bad != nil {
		return nil, bad
	}
	reach, bad := d.reach(inst, r, kind, &def)
	if bad != nil {
		return nil, bad
	}
	var other feed.Tick
	if kind != feed.KindQuote && kind != feed.KindDefinition {
		if other, bad = d.other(r, kind, id, at); bad != nil {
			return nil, bad
		}
	}
	if inst != nil && d.repeats != nil && (kind == feed.KindTrade || kind == shapeBoth) {
		if bad := mixed(inst, r, at); bad != nil {
			return nil, bad
		}
	}
	// The row is good: no error can follow.
	d.out = d.out[:0]
	if kind == feed.KindDefinition || inst == nil || inst.def != def {
		d.out = append(d.out, definitionTick(id, at, def))
		if inst == nil {
			inst = &instrument{id: id}
			d.instruments[string(d.key)] = inst
		}
		inst.define(def)
	}
	inst.extent = reach
	count.Rounded += d.rounded
	if kind == feed.KindLevel {
		snapshot := isTrue(r.cells[fieldIsSnapshot])
		if snapshot && inst.levels && !inst.snapshot {
			d.out = append(d.out, feed.ClearTick(id, at, feed.SideBoth)) // the snapshot replaces the earlier levels
		}
		inst.levels, inst.snapshot = true, snapshot
	}
	event := len(d.out)
	if kind == feed.KindQuote || kind == shapeBoth {
		q := d.quote(r)
		if d.hasDepth(r, kind) {
			d.out = d.depth(d.out, inst, r, q, at)
		} else {
			d.out = append(d.out, q.Tick(id, at))
		}
	}
	if kind != feed.KindQuote && kind != feed.KindDefinition {
		d.out = append(d.out, other)
		if d.repeats != nil && other.Kind == feed.KindTrade && d.repeats.repeated(inst, r, &other, &def) {
			d.out = d.out[:len(d.out)-1]
			count.Duplicates++
		}
	}
	if len(d.out) == 0 {
		return nil, nil
	}
	if d.hasDepth(r, kind) {
		book.More(d.out[event:])
	}
	if isTrue(r.cells[fieldMore]) && len(r.cells[fieldType]) > 0 {
		d.out[len(d.out)-1].Flags |= feed.FlagMore
	}
	return d.out, nil
}

// define sets the definition of i to def, whose exponents are those of the previous definition or finer.
func (i *instrument) define(def feed.Definition) {
	if i.book != nil {
		price, _ := finer(1, i.def.PriceExponent, def.PriceExponent)
		size, _ := finer(1, i.def.SizeExponent, def.SizeExponent)
		i.book.Scale(price, size)
	}
	i.def = def
}

// definitionTick returns a definition with its own copy of def, because the receiver of the tick may keep it.
func definitionTick(id feed.InstrumentID, at int64, def feed.Definition) feed.Tick {
	return feed.Tick{
		Kind: feed.KindDefinition, Instrument: id, EventTime: at,
		Extra: &feed.Extra{Definition: &def},
	}
}

// instrument returns the instrument that r names, or nil if it is new. It sets d.key to its key.
func (d *desk) instrument(r *row) (*instrument, *LineError) {
	symbol, venue := d.symbolVenue(r)
	if suffix := r.cells[fieldSuffix]; len(suffix) > 0 && len(symbol) > 0 {
		// WRDS has the root and the suffix of a symbol in two columns; NYSE's own files have BRK B.
		d.name = append(append(append(d.name[:0], symbol...), ' '), suffix...)
		symbol = d.name
		r.cells[fieldSymbol], r.cells[fieldSuffix] = symbol, nil
	}
	if len(symbol) == 0 {
		return nil, r.absent(fieldSymbol, "; name the field that holds it with --column symbol=NAME, or give one with --symbol")
	}
	d.key = append(append(append(d.key[:0], symbol...), 0), venue...)
	return d.instruments[string(d.key)], nil
}

func (d *desk) symbolVenue(r *row) (symbol, venue []byte) {
	symbol, venue = r.cells[fieldSymbol], r.cells[fieldVenue]
	if len(symbol) == 0 {
		symbol = d.symbol
	}
	if len(venue) == 0 && r.isDatabento() {
		venue = publisherVenue(r.cells[fieldPublisher])
	}
	if len(venue) == 0 {
		venue = d.venue
	}
	return symbol, venue
}

// names returns the symbol and the venue of a new instrument.
func (d *desk) names(r *row) (symbol, venue string, bad *LineError) {
	if len(d.instruments) == feed.MaxInstruments {
		return "", "", r.bad(fieldSymbol, fmt.Sprintf("exceeds the limit of %d instruments", feed.MaxInstruments), nil)
	}
	s, v := d.symbolVenue(r)
	symbol, venue = rawfile.Short(string(s)), string(v)
	if len(symbol) != len(s) {
		d.shortened = fmt.Sprintf("symbol %.80s is longer than %d bytes: it is shortened to %s", s, feed.MaxText, symbol)
	}
	if err := feed.ValidateText(symbol); err != nil {
		return "", "", r.bad(fieldSymbol, "cannot be a symbol: at most "+maxText+" bytes of text without control characters", err)
	}
	if err := feed.ValidateText(venue); err != nil {
		return "", "", r.bad(fieldVenue, "cannot be a venue: at most "+maxText+" bytes of text without control characters", err)
	}
	return symbol, venue, nil
}

var maxText = strconv.Itoa(feed.MaxText)

func eventTime(r *row, c *clock) (int64, *LineError) {
	f, day := fieldTime, r.cells[fieldDate]
	if len(r.cells[f]) == 0 || isUndefinedTime(r, f) {
		switch {
		case len(r.cells[fieldReceived]) > 0:
			f = fieldReceived
		case len(day) > 0:
			f, day = fieldDate, nil
		}
	}
	if len(r.cells[f]) == 0 {
		return 0, r.absent(f, "; name the field that holds it with --column time=NAME")
	}
	if r.isOwn() || r.isDatabento() {
		// A whole number is in nanoseconds, whatever its magnitude and the stated unit.
		if t, err := decimal.Parse(r.cells[f], 0); err == nil {
			return t, nil
		}
	}
	t, err := c.parse(r.cells[f], day)
	if err == errNotDate {
		f = fieldDate
	}
	if err != nil {
		return 0, r.bad(f, err.Error(), err)
	}
	return t, nil
}

// quote returns the quote of r, whose numbers are parsed.
func (d *desk) quote(r *row) feed.Quote {
	q := feed.Quote{
		Bid: d.values[fieldBid], BidSize: d.values[fieldBidSize],
		Ask: d.values[fieldAsk], AskSize: d.values[fieldAskSize],
	}
	zeroIsPrice := d.zeroIsPrice || r.isOwn()
	if !r.has(fieldBid) || q.Bid == 0 && !zeroIsPrice {
		q.Bid, q.BidSize = feed.NoPrice, 0
	}
	if !r.has(fieldAsk) || q.Ask == 0 && !zeroIsPrice {
		q.Ask, q.AskSize = feed.NoPrice, 0
	}
	return q
}

// other returns the tick of r that is neither a quote nor a definition.
func (d *desk) other(r *row, kind feed.Kind, id feed.InstrumentID, at int64) (feed.Tick, *LineError) {
	side, bad := sideOf(r)
	if bad != nil {
		return feed.Tick{}, bad
	}
	if r.names[fieldMakerOrder] != "" { // Coinbase gives the side of the maker's order
		switch side {
		case feed.SideBuy:
			side = feed.SideSell
		case feed.SideSell:
			side = feed.SideBuy
		}
	}
	switch kind {
	case feed.KindClear:
		if side == feed.SideNone {
			return feed.Tick{}, r.absent(fieldSide, "")
		}
		return feed.ClearTick(id, at, side), nil
	case feed.KindStatus:
		return statusTick(r, id, at)
	}
	if kind == feed.KindAuction {
		return d.auction(r, id, at, side)
	}
	if side == feed.SideBoth || side == feed.SideNone && kind == feed.KindLevel {
		return feed.Tick{}, r.bad(fieldSide, "is not a side: want buy or sell", nil)
	}
	price, bad := d.price(r, kind)
	if bad != nil {
		return feed.Tick{}, bad
	}
	if !r.has(fieldSize) && kind == feed.KindLevel {
		return feed.Tick{}, r.absent(fieldSize, "") // 0 would remove the level
	}
	tr := feed.Trade{Price: price, Size: d.values[fieldSize], Side: side}
	if kind == feed.KindLevel {
		return feed.Level{Side: side, Price: tr.Price, Size: tr.Size}.Tick(id, at), nil
	}
	var ref string
	if tr.ID, ref, bad = tradeID(r); bad != nil {
		return feed.Tick{}, bad
	}
	if kind == feed.KindCancel {
		return feed.Cancel{Price: tr.Price, Size: tr.Size, ID: tr.ID}.Tick(id, at, ref), nil
	}
	if tr.Conditions, bad = conditions(r); bad != nil {
		return feed.Tick{}, bad
	}
	if kind == feed.KindCorrection {
		c := feed.Correction{OldPrice: d.values[fieldOldPrice], OldSize: d.values[fieldOldSize], Trade: tr}
		if !r.has(fieldOldPrice) && r.names[fieldOldPrice] != "" {
			c.OldPrice = feed.NoPrice
		}
		return c.Tick(id, at, ref), nil
	}
	t := tr.Tick(id, at)
	if ref != "" {
		t.Extra = &feed.Extra{TradeRef: ref}
	}
	return t, nil
}

// price returns the price of r, which is not a quote. In a row that names its kind, an empty cell or null means that the price
// is not known. A level must have a price.
func (d *desk) price(r *row, kind feed.Kind) (int64, *LineError) {
	switch {
	case r.has(fieldPrice):
		return d.values[fieldPrice], nil
	case kind == feed.KindLevel || len(r.cells[fieldType]) == 0 || r.names[fieldPrice] == "":
		return 0, r.absent(fieldPrice, "")
	}
	return feed.NoPrice, nil
}

func statusTick(r *row, id feed.InstrumentID, at int64) (feed.Tick, *LineError) {
	for s := feed.StatusUnknown; s <= feed.StatusClosed; s++ {
		if s.String() != string(r.cells[fieldStatus]) {
			continue
		}
		day := int64(0)
		if r.has(fieldTradingDay) {
			var bad *LineError
			if day, bad = r.integer(fieldTradingDay, 0, 99991231); bad != nil {
				return feed.Tick{}, bad
			}
		}
		end, bad := ownTime(r, fieldExpectedEnd)
		if bad != nil {
			return feed.Tick{}, bad
		}
		reason := string(r.cells[fieldReason])
		if err := feed.ValidateText(reason); err != nil {
			return feed.Tick{}, r.bad(fieldReason, "cannot be a reason: at most "+maxText+" bytes of text without control characters", err)
		}
		return feed.StatusTick(id, at, s, int32(day)).Because(reason, end), nil
	}
	return feed.Tick{}, r.bad(fieldStatus, "is not a trading status", nil)
}

// auction returns the auction of r, whose numbers are parsed.
func (d *desk) auction(r *row, id feed.InstrumentID, at int64, side feed.Side) (feed.Tick, *LineError) {
	a := feed.Auction{Price: feed.NoPrice, Size: d.values[fieldSize], Side: side, Imbalance: d.values[fieldImbalance]}
	if r.has(fieldPrice) {
		a.Price = d.values[fieldPrice]
	}
	for a.Kind = feed.AuctionUnknown; a.Kind.String() != string(r.cells[fieldAuction]); a.Kind++ {
		if a.Kind == feed.AuctionIPO {
			return feed.Tick{}, r.bad(fieldAuction, "is not a kind of auction", nil)
		}
	}
	var bad *LineError
	if a.Time, bad = ownTime(r, fieldExpectedTime); bad != nil {
		return feed.Tick{}, bad
	}
	return a.Tick(id, at), nil
}

// ownTime parses a time as tickfeed writes it, in nanoseconds since the Unix epoch or as RFC 3339. It returns 0 if there is none.
func ownTime(r *row, f field) (int64, *LineError) {
	if !r.has(f) {
		return 0, nil
	}
	text := string(r.cells[f])
	if ns, err := strconv.ParseInt(text, 10, 64); err == nil {
		return ns, nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return 0, r.bad(f, "is not a time in ns since the Unix epoch, or in RFC 3339", err)
	}
	return t.UnixNano(), nil
}

// describe copies the exponents and the currency from r, a definition, to def.
func describe(r *row, def *feed.Definition) *LineError {
	for _, f := range []struct {
		field    field
		exponent *int8
	}{{fieldPriceExponent, &def.PriceExponent}, {fieldSizeExponent, &def.SizeExponent}} {
		if !r.has(f.field) {
			continue
		}
		e, bad := r.integer(f.field, feed.MinExponent, feed.MaxExponent)
		if bad != nil {
			return bad
		}
		*f.exponent = int8(e)
	}
	if b := r.cells[fieldCurrency]; len(b) > 0 && string(b) != def.Currency {
		def.Currency = string(b)
		if err := feed.ValidateText(def.Currency); err != nil {
			return r.bad(fieldCurrency, "cannot be a currency: at most "+maxText+" bytes of text without control characters", err)
		}
	}
	return nil
}

// steps copies the tick size and the lot of a definition, which are parsed, to def.
func (d *desk) steps(r *row, def *feed.Definition) *LineError {
	if d.values[fieldTickSize] < 0 {
		return r.bad(fieldTickSize, "is negative", nil)
	}
	def.TickSize, def.Lot = d.values[fieldTickSize], d.values[fieldLot]
	return nil
}

// voided reports whether the correction code of r means that its trade does not count.
func voided(r *row) (bool, *LineError) {
	code, err := decimal.Parse(r.cells[fieldCorrection], 0)
	if err == nil && code >= 0 && code <= 2 {
		return false, nil
	}
	if err == nil && slices.Contains([]int64{7, 8, 10, 11, 12}, code) {
		return true, nil
	}
	return false, r.bad(fieldCorrection, "is not a known correction code (0, 1, 2, 7, 8, 10, 11, 12); "+
		"to ignore the column use --column correction=", err)
}

// cancelled reports whether r is a quote of NYSE TAQ that cancels an earlier one.
func cancelled(r *row) bool { return oneOf(r.cells[fieldQuoteCancel], "b") }

// kindOf returns the kind that b names, or 0 if it names none.
func kindOf(b []byte) feed.Kind {
	var lower [12]byte
	if len(b) == 0 || len(b) > len(lower) {
		return 0
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		lower[i] = c
	}
	return kinds[string(lower[:len(b)])]
}

var kinds = func() map[string]feed.Kind {
	m := make(map[string]feed.Kind)
	for k := feed.KindDefinition; k < shapeBoth; k++ {
		m[k.String()] = k
	}
	return m
}()

func isTrue(b []byte) bool {
	switch string(b) {
	case "true", "True", "TRUE", "1":
		return true
	}
	return false
}

func isFalse(b []byte) bool {
	switch string(b) {
	case "false", "False", "FALSE", "0":
		return true
	}
	return false
}

func sideOf(r *row) (feed.Side, *LineError) {
	b := r.cells[fieldSide]
	if len(b) == 0 {
		switch maker := r.cells[fieldMaker]; {
		case len(maker) == 0:
			return feed.SideNone, nil
		case isTrue(maker):
			return feed.SideSell, nil
		case isFalse(maker):
			return feed.SideBuy, nil
		}
		return 0, r.bad(fieldMaker, "is neither true nor false", nil)
	}
	var lower [8]byte
	if len(b) <= len(lower) {
		for i, c := range b {
			lower[i] = c | 0x20
		}
		switch string(lower[:len(b)]) {
		case "b", "buy", "buyer", "bid":
			return feed.SideBuy, nil
		case "s", "sell", "seller", "a", "ask", "offer":
			return feed.SideSell, nil
		case "n", "none", "null", "na", "unknown":
			return feed.SideNone, nil
		case "both":
			return feed.SideBoth, nil
		}
	}
	return 0, r.bad(fieldSide, "is not a side: want buy or sell; to ignore the column use --column side=", nil)
}

// tradeID returns the trade id of r as a number, if it has only digits, does not begin with 0 and fits 64 bits, and otherwise
// as a text.
func tradeID(r *row) (id uint64, ref string, bad *LineError) {
	b := r.cells[fieldTradeID]
	if len(b) == 0 || len(b) == 1 && b[0] == '0' {
		return 0, "", nil
	}
	if b[0] != '0' {
		const most = math.MaxUint64 / 10
		for _, c := range b {
			digit := uint64(c - '0')
			if digit > 9 || id > most || id == most && digit > math.MaxUint64%10 {
				id = 0
				break
			}
			id = id*10 + digit
		}
	}
	if id != 0 {
		return id, "", nil
	}
	ref = string(b)
	if err := feed.ValidateText(ref); err != nil {
		return 0, "", r.bad(fieldTradeID, "cannot be a trade id: at most "+maxText+" bytes of text without control characters", err)
	}
	return 0, ref, nil
}

// conditions is feed.ParseConditions without an allocation.
func conditions(r *row) (c feed.Conditions, bad *LineError) {
	b := r.cells[fieldConditions]
	for len(b) > 0 && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	valid := len(b) <= feed.MaxConditions
	for i := 0; valid && i < len(b); i++ {
		valid = b[i] >= ' ' && b[i] <= '~'
		c |= feed.Conditions(b[i]) << (56 - 8*i)
	}
	if !valid {
		_, err := feed.ParseConditions(string(b))
		return 0, r.bad(fieldConditions, fmt.Sprintf("cannot be trade conditions: at most %d printable ASCII characters; "+
			"to leave them out use --column conditions=", feed.MaxConditions), err)
	}
	return c, nil
}
