package textfile

import (
	"bytes"
	"path/filepath"
	"strconv"
	"strings"

	"tickfeed/feed"
	"tickfeed/feed/files/dbn"
)

// kindUnread is the kind of a row that is not a tick. Such a row is counted and skipped.
const kindUnread = shapeBoth + 1

// An Unread counts skipped rows of one type that are not ticks.
type Unread struct {
	What string // description for people: "Databento system messages"
	Rows int64
}

// kind returns the kind of r. The first of these that states a kind decides: the column type, if it
// names one of our kinds; Config.Rows; rtype; is_snapshot; action. Without them,
// the cells of the row decide.
func (d *desk) kind(r *row) (feed.Kind, *LineError) {
	if r.isDatabento() {
		r.dropUndefined()
	}
	stated := r.cells[fieldType]
	kind := kindOf(stated)
	switch {
	case kind != 0:
		return kind, nil
	case isEvent(r):
		return d.pass("lines of subscribe --events"), nil
	case d.rows == feed.KindQuote && r.names[fieldBid] == "" && r.names[fieldAsk] == "":
		return 0, r.absent(fieldBid, ", though --rows states that each row is a quote; name it with --column bid=NAME, or ask=NAME")
	case d.rows != 0:
		return d.rows, nil
	case r.names[fieldRecordType] != "":
		return d.databento(r)
	case r.names[fieldIsSnapshot] != "" && r.has(fieldPrice) && !r.has(fieldBid) && !r.has(fieldAsk):
		return feed.KindLevel, nil
	}
	kind, bad := byCells(r)
	if bad != nil || kind == feed.KindQuote {
		return kind, bad
	}
	if kind == shapeBoth && !d.statedPrice && isTicker(r) {
		d.pass("last prices of a ticker, beside a bid and an ask,")
		return feed.KindQuote, nil
	}
	switch action := r.cells[fieldAction]; {
	case r.names[fieldAction] == "":
	case isTradeWord(action):
		return kind, nil
	case kind == shapeBoth:
		return feed.KindQuote, nil
	default:
		return 0, r.bad(fieldAction, "does not mean that the row is a trade, and is not a known action; "+
			"if all rows are of one kind, state it with --rows trade or --rows level", nil)
	}
	switch {
	case len(stated) == 0 || isTradeWord(stated) || isOrderWord(stated):
	case kind == shapeBoth:
		return feed.KindQuote, nil
	default:
		return 0, r.bad(fieldType, "is not a known kind of row, such as quote, trade or level; "+
			"if all rows are of one kind, state it with --rows trade or --rows level", nil)
	}
	if isBookSide(r.cells[fieldSide]) {
		return 0, r.bad(fieldSide, "is a side of a book, so that the row may be a trade or a level; "+
			"state it with --rows level or --rows trade", nil)
	}
	return kind, nil
}

// byCells returns the kind of a row according to its cells alone.
func byCells(r *row) (feed.Kind, *LineError) {
	switch quote, trade := r.has(fieldBid) || r.has(fieldAsk), r.has(fieldPrice); {
	case quote && trade:
		return shapeBoth, nil
	case quote:
		return feed.KindQuote, nil
	case trade:
		return feed.KindTrade, nil
	case r.names[fieldPrice] == "" && (r.names[fieldBid] != "" || r.names[fieldAsk] != ""):
		return feed.KindQuote, nil // the book is empty on both sides
	}
	return 0, &LineError{Reason: reasonNothing}
}

const reasonNothing = "the line has neither a price nor a bid or an ask"

// isTradeWord reports whether an action or a type means that a row is a trade.
func isTradeWord(b []byte) bool {
	return oneOf(b, "t", "trade", "trades", "match", "execution", "exec")
}

// isOrderWord reports whether a type is the type or the side of the order behind a trade, as
// Kraken and Gemini write it.
func isOrderWord(b []byte) bool {
	return oneOf(b, "buy", "sell", "b", "s", "market", "limit", "m", "l")
}

// isTicker reports whether a row with a bid and an ask is a ticker, whose price is that of the last
// trade, which the next row repeats, and whose size, if any, is the volume of the day.
func isTicker(r *row) bool {
	if r.names[fieldAction] != "" || r.names[fieldType] != "" || r.names[fieldTradeID] != "" || r.names[fieldSide] != "" {
		return false
	}
	price, size := r.names[fieldPrice], r.names[fieldSize]
	return (normalIs(price, "last") || normalIs(price, "lastprice") || normalIs(price, "lastpx")) &&
		(size == "" || normalIs(size, "volume") || normalIs(size, "vol"))
}

// isBookSide reports whether a side is a side of a book rather than of a trade's aggressor.
func isBookSide(b []byte) bool { return oneOf(b, "bid", "ask", "offer", "a") }

func oneOf(b []byte, words ...string) bool {
	for _, w := range words {
		if len(b) == len(w) && bytes.EqualFold(b, []byte(w)) {
			return true
		}
	}
	return false
}

// The record types (rtype) of Databento that are read or counted.
const (
	rtypeTrades  = 0
	rtypeMBP1    = 1 // tbbo too
	rtypeMBP10   = 10
	rtypeError   = 21
	rtypeMapping = 22
	rtypeSystem  = 23
	rtypeCMBP1   = 0xb1
	rtypeCBBO1s  = 0xc0
	rtypeCBBO1m  = 0xc1
	rtypeTCBBO   = 0xc2
	rtypeBBO1s   = 0xc3
	rtypeBBO1m   = 0xc4
)

// databentoRefused names the record types that cannot be read from text.
var databentoRefused = map[int64]string{
	17: "ohlcv, bars, which are no ticks", 18: "status", 19: "definition", 20: "imbalance", 24: "statistics",
	32: "ohlcv-1s, bars, which are no ticks", 33: "ohlcv-1m, bars, which are no ticks", 34: "ohlcv-1h, bars, which are no ticks",
	35: "ohlcv-1d, bars, which are no ticks", 36: "ohlcv-eod, bars, which are no ticks", 160: "mbo",
}

// databento returns the kind of a Databento record in CSV or JSON.
func (d *desk) databento(r *row) (feed.Kind, *LineError) {
	rtype, bad := r.integer(fieldRecordType, 0, 255)
	if bad != nil {
		return 0, bad
	}
	trade := oneOf(r.cells[fieldAction], "t")
	if !trade && r.names[fieldAction] != "" && !oneOf(r.cells[fieldAction], "a", "c", "m", "r", "f", "n") &&
		databentoRefused[rtype] == "" {
		return 0, r.bad(fieldAction, "is not an action that Databento has: A, C, M, R, T, F or N", nil)
	}
	switch rtype {
	case rtypeTrades:
		if trade || r.names[fieldAction] == "" {
			if !r.has(fieldPrice) {
				return d.pass("Databento trades without a price"), nil
			}
			return feed.KindTrade, nil
		}
		return d.pass("Databento records of trades whose action is not T"), nil
	case rtypeMBP1, rtypeMBP10, rtypeCMBP1, rtypeTCBBO:
		if trade && r.has(fieldPrice) {
			return shapeBoth, nil
		}
		if trade {
			d.pass("Databento trades without a price")
		}
		return feed.KindQuote, nil
	case rtypeBBO1s, rtypeBBO1m, rtypeCBBO1s, rtypeCBBO1m: // price and ts_event repeat those of the last trade
		if r.has(fieldReceived) && string(r.cells[fieldReceived]) != undefinedTime {
			r.cells[fieldTime] = r.cells[fieldReceived]
		}
		return feed.KindQuote, nil
	case rtypeError:
		return d.pass("Databento errors"), nil
	case rtypeMapping:
		return d.pass("Databento symbol mappings"), nil
	case rtypeSystem:
		return d.pass("Databento system messages"), nil
	}
	reason := "is a record type of Databento that is not known"
	if name := databentoRefused[rtype]; name != "" {
		reason = "is Databento's schema " + name
		if !strings.Contains(name, ",") {
			reason += ", which is not read from CSV or JSON; import its DBN encoding instead"
			if rtype == 24 {
				reason = "is Databento's schema " + name + ", which holds no ticks"
			}
		}
	}
	return 0, r.bad(fieldRecordType, reason, nil)
}

// dropUndefined empties the price cells that hold Databento's number for an undefined price.
func (r *row) dropUndefined() {
	for _, f := range [...]field{fieldPrice, fieldBid, fieldAsk} {
		if string(r.cells[f]) == undefinedPrice {
			r.cells[f] = nil
		}
	}
	for i := range r.deep {
		for _, f := range [...]field{deepOf(i+1, fieldBid), deepOf(i+1, fieldAsk)} {
			if string(r.cell(f)) == undefinedPrice {
				r.setDeep(f, nil)
			}
		}
	}
}

// pass counts a row that is not a tick, and returns kindUnread.
func (d *desk) pass(what string) feed.Kind {
	// Replace the slice instead of changing it, because Stats returned earlier share it.
	unread := make([]Unread, len(d.unread), len(d.unread)+1)
	copy(unread, d.unread)
	d.unread = unread
	for i := range d.unread {
		if d.unread[i].What == what {
			d.unread[i].Rows++
			return kindUnread
		}
	}
	d.unread = append(d.unread, Unread{what, 1})
	return kindUnread
}

// The numbers that Databento writes for an undefined price and an undefined time.
const (
	undefinedPrice = "9223372036854775807"
	undefinedTime  = "18446744073709551615"
)

func isUndefinedTime(r *row, f field) bool {
	return r.isDatabento() && (string(r.cells[f]) == undefinedTime || !r.has(f))
}

// scaleOf returns the exponent of the unit of the number in f, as a power of ten: Databento writes prices
// as decimals, or as multiples of 10^-9.
func scaleOf(r *row, f field) int8 {
	if r.isRaw() {
		return rawScale(r, f)
	}
	if !r.isDatabento() || bytes.ContainsAny(r.cell(f), ".eE") {
		return 0
	}
	if f > noField {
		f, _ = f.ofBest()
	}
	if f != fieldPrice && f != fieldBid && f != fieldAsk {
		return 0
	}
	return -9
}

// isRaw reports whether r was written with --raw: its prices and sizes are integers, and their exponents are in other columns.
func (r *row) isRaw() bool { return isTrue(r.cells[fieldRaw]) && r.isOwn() }

// rawScale returns the exponent that r states for the price or size f, or 0 if it states none.
func rawScale(r *row, f field) int8 {
	exponent := fieldPriceExponent
	switch f {
	case fieldSize, fieldBidSize, fieldAskSize, fieldOldSize, fieldImbalance, fieldLot:
		exponent = fieldSizeExponent
	}
	e, bad := r.integer(exponent, feed.MinExponent, feed.MaxExponent)
	if bad != nil {
		return 0
	}
	return int8(e)
}

// isEvent reports whether r is a line that subscribe --events prints between the ticks.
func isEvent(r *row) bool {
	return len(r.cells[fieldType]) == 0 && oneOf(r.cells[fieldEvent],
		"connected", "snapshot", "lost", "withheld", "disowned", "filtered", "end", "saved", "disconnected", "left")
}

// publisherVenue returns the venue of a Databento publisher id.
func publisherVenue(b []byte) []byte {
	id, err := strconv.ParseUint(string(b), 10, 16)
	switch {
	case err != nil:
		return nil
	case id < uint64(len(publisherVenues)):
		return publisherVenues[id]
	}
	return []byte(dbn.Venue(uint16(id)))
}

var publisherVenues = func() (all [256][]byte) {
	for id := range all {
		all[id] = []byte(dbn.Venue(uint16(id)))
	}
	return all
}()

// refused lists vendors' files that have prices but no ticks, or ticks that would be mistaken
// for others. A file is recognised if it has all the columns, given by their normal names.
var refused = []struct{ columns, what string }{
	{"open high low close", "bars (open, high, low, close), which are no ticks"},
	{"fundingrate markprice", "Tardis's derivative_ticker, whose last_price repeats and is no trade"},
	{"strikeprice markiv", "Tardis's options_chain, whose last_price repeats and is no trade"},
	{"percentage depth notional", "Binance's bookDepth, sums of a book, which are no ticks"},
	{"sumopeninterest", "Binance's metrics, which are no ticks"},
	{"averageprice lastfillquantity", "Binance's liquidationSnapshot, orders, which are no trades of their own"},
	{"originalquantity orderstatus", "Binance's liquidationSnapshot, orders, which are no trades of their own"},
	{"fundingtime", "funding rates, which are no ticks"},
}

// refusal describes a file with columns of these names if it is refused; otherwise it returns "".
// file is the name of the file, because Tardis's liquidations have the same columns as its trades.
func refusal(names []string, file string) string {
	has := make(map[string]bool, len(names))
	for _, n := range names {
		has[normal(n)] = true
	}
next:
	for _, r := range refused {
		for _, c := range strings.Fields(r.columns) {
			if !has[c] {
				continue next
			}
		}
		return r.what
	}
	if has["localtimestamp"] && has["exchange"] && strings.Contains(strings.ToLower(filepath.Base(file)), "liquidations") {
		return "Tardis's liquidations, which are no trades of their own"
	}
	return ""
}
