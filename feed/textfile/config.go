package textfile

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones on a machine that has none

	"tickfeed/feed"
)

// Config says how files are to be read. The zero Config reads files whose columns have
// known names and whose times state their zone.
type Config struct {
	// Format is "csv" or "ndjson"; empty tells it from each file's content.
	Format string
	// Columns maps a field of the package comment (time, symbol, bid_size, …) to the name of
	// the column that holds it, exactly as in the file. A name that is empty means that the
	// field is in no column. Fields that are not mapped are found by the known names.
	Columns map[string]string
	// Header names the columns of CSV files without a header line, from the first to the last, as a
	// header would; an empty name is that of a column that is not read.
	Header []string
	// Symbol and Venue are those of rows that name none.
	Symbol, Venue string
	// Zone is that of local times: an IANA name such as America/New_York, UTC, or an offset
	// such as -05:00. Empty makes a local time a bad line.
	Zone string
	// EpochUnit is the unit of times that are numbers: "s", "ms", "us" or "ns", since the Unix
	// epoch or, beside a date, after midnight; or "hhmmss" for the digits of a clock. Empty tells
	// it from the magnitude.
	EpochUnit string
	// Date is that of times of day beside which there is none, as yyyymmdd; 0 if not known.
	Date int
	// DateInName takes that date from the name of each file if Date is 0.
	DateInName bool
	// PriceExponent and SizeExponent are those that instruments are first defined with, in
	// [feed.MinExponent, 0]; finer ones are taken where rows need them. A PriceExponent of 0
	// means -4.
	PriceExponent, SizeExponent int8
	// ZeroIsPrice keeps a bid or ask of 0 as a price; otherwise it is no quote on that side.
	ZeroIsPrice bool
	// QuotesOnly leaves out the levels of rows that hold several (Databento's mbp-10, Tardis's
	// book_snapshot): only their best bid and offer is told, as a quote.
	QuotesOnly bool
	// Rows is what every row is, whatever its columns say: "trade", "quote" or "level". Empty lets
	// each row say it; see the package comment.
	Rows string
	// SkipBad is how many bad lines are passed over, in all files together, before one ends
	// the source. Not negative.
	SkipBad int

	headerOf     func(cells []string) []string              // names for a first line that is data; nil if there are none
	symbolInName *regexp.Regexp                             // finds the symbol in the name of a file
	venueOf      func(names []string, symbol string) string // the venue of a file with such columns, if Venue is empty; or nil
}

// rowKinds are what Config.Rows can state.
var rowKinds = []feed.Kind{feed.KindTrade, feed.KindQuote, feed.KindLevel}

const (
	formatCSV    = "csv"
	formatNDJSON = "ndjson"

	defaultPriceExponent = -4
)

// validate fills defaults in and names the first field that is wrong.
func (c *Config) validate() (columns, *time.Location, error) {
	fail := func(format string, args ...any) (columns, *time.Location, error) {
		return columns{}, nil, fmt.Errorf(format, args...)
	}
	if c.Format != "" && c.Format != formatCSV && c.Format != formatNDJSON {
		return fail("Format must be csv or ndjson, got %q", c.Format)
	}
	if _, ok := epochExponents[c.EpochUnit]; c.EpochUnit != "" && c.EpochUnit != UnitClock && !ok {
		return fail("EpochUnit must be s, ms, us, ns or hhmmss, got %q", c.EpochUnit)
	}
	for _, f := range []struct{ name, text string }{{"Symbol", c.Symbol}, {"Venue", c.Venue}} {
		if err := feed.ValidateText(f.text); err != nil {
			return fail("%s: %w", f.name, err)
		}
	}
	if c.Date != 0 {
		if _, n, ok := parseDate(strconv.AppendInt(nil, int64(c.Date), 10)); !ok || n != 8 {
			return fail("Date must be a date as yyyymmdd, got %d", c.Date)
		}
	}
	if c.PriceExponent == 0 {
		c.PriceExponent = defaultPriceExponent
	}
	if c.PriceExponent < feed.MinExponent || c.PriceExponent > 0 {
		return fail("PriceExponent must be in [%d, 0], got %d", feed.MinExponent, c.PriceExponent)
	}
	if c.SizeExponent < feed.MinExponent || c.SizeExponent > 0 {
		return fail("SizeExponent must be in [%d, 0], got %d", feed.MinExponent, c.SizeExponent)
	}
	if c.Rows != "" && !slices.Contains(rowKinds, kindOf([]byte(c.Rows))) {
		return fail("Rows must be trade, quote or level, got %q", c.Rows)
	}
	if c.SkipBad < 0 {
		return fail("SkipBad must not be negative, got %d", c.SkipBad)
	}
	zone, err := parseZone(c.Zone)
	if err != nil {
		return fail("Zone: %w", err)
	}
	cols, err := newColumns(c.Columns)
	if err != nil {
		return fail("Columns: %w", err)
	}
	return cols, zone, nil
}

// ParseZone returns the time zone that name is: an IANA zone such as America/New_York, or an offset such as -05:00. It returns nil
// for an empty name.
func ParseZone(name string) (*time.Location, error) { return parseZone(name) }

// parseZone is nil for an empty name.
func parseZone(name string) (*time.Location, error) {
	if name == "" {
		return nil, nil
	}
	if name[0] == '+' || name[0] == '-' {
		if offset, rest, ok := parseOffset([]byte(name)); ok && len(rest) == 0 {
			return time.FixedZone(name, int(offset)), nil
		}
		return nil, fmt.Errorf("%q is not an offset like -05:00", name)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("%q is neither an IANA zone like America/New_York nor an offset like -05:00", name)
	}
	return zone, nil
}

// A field is something that a row can say.
type field uint8

const (
	fieldTime field = iota
	fieldDate
	fieldSymbol
	fieldVenue
	fieldBid
	fieldBidSize
	fieldAsk
	fieldAskSize
	fieldPrice
	fieldSize
	fieldSide
	fieldTradeID
	fieldConditions
	fieldCorrection
	fieldType
	fieldSnapshot
	fieldPriceExponent
	fieldSizeExponent
	fieldCurrency
	fieldTickSize
	fieldLot
	fieldOldPrice
	fieldOldSize
	fieldStatus
	fieldTradingDay
	fieldMore
	fieldAction
	fieldRecordType
	fieldIsSnapshot
	fieldPublisher
	fieldReceived
	fieldMaker
	fieldSuffix
	fieldQuoteCancel
	fieldMakerOrder
	fieldSequence
	fieldRaw
	fieldEvent
	fieldState
	fieldReason
	fieldExpectedEnd
	fieldAuction
	fieldImbalance
	fieldExpectedTime
	numFields
	noField = numFields
)

// fieldNames holds each field's name and the names of columns known for it, the best first;
// see normal.
var fieldNames = [numFields]struct{ name, known string }{
	fieldTime: {"time", "tsevent transactiontime eventtime exchangetime exchangetimestamp " +
		"time timestamp datetime dt ts timem tradetime transacttime createdtime participanttimestamp siptimestamp localtimestamp"},
	fieldDate:          {"date", "date tradedate"},
	fieldSymbol:        {"symbol", "symbol sym ticker instrument instrumentname productid pair rawsymbol symroot symbolroot instrumentid"},
	fieldVenue:         {"venue", "venue exchange ex mic"},
	fieldBid:           {"bid", "bid bidprice bidpx bestbid bestbidprice bestbidpx bidpx00 bids[0]price"},
	fieldBidSize:       {"bid_size", "bidsize bidsiz bidsz bidqty bidquantity bidvolume bidamount bestbidsize bestbidqty bestbidquantity bidsz00 bids[0]amount bestbidsizshares bestbidsiz"},
	fieldAsk:           {"ask", "ask ofr offer askprice askpx offerprice offerpx bestask bestaskprice bestaskpx bestoffer askpx00 asks[0]price"},
	fieldAskSize:       {"ask_size", "asksize asksiz ofrsiz ofrsize offersize asksz askqty askquantity askvolume askamount offerqty bestasksize bestaskqty bestaskquantity asksz00 asks[0]amount bestasksizshares bestasksiz"},
	fieldPrice:         {"price", "price px tradeprice tradepx last lastprice lastpx"},
	fieldSize:          {"size", "size qty quantity tradesize tradeqty tradevolume tradequantity sz volume vol shares lastsize lastqty amount"},
	fieldSide:          {"side", "side aggressor aggressorside takerside"},
	fieldTradeID:       {"trade_id", "tradeid trid tid execid matchid trdmatchid aggtradeid id"},
	fieldConditions:    {"conditions", "conditions condition cond salecondition saleconditions trscond tradecondition tradeconditions"},
	fieldCorrection:    {"correction", "corr trcorr tradecorrectionindicator correctioncode correctionindicator correction"},
	fieldType:          {"type", "type"},
	fieldSnapshot:      {"snapshot", "snapshot"},
	fieldPriceExponent: {"price_exponent", "priceexponent"},
	fieldSizeExponent:  {"size_exponent", "sizeexponent"},
	fieldCurrency:      {"currency", "currency"},
	fieldTickSize:      {"tick_size", "ticksize"},
	fieldLot:           {"lot", "lot"},
	fieldOldPrice:      {"old_price", "oldprice"},
	fieldOldSize:       {"old_size", "oldsize"},
	fieldStatus:        {"status", "status"},
	fieldTradingDay:    {"trading_day", "tradingday"},
	fieldMore:          {"more", "more"},
	fieldAction:        {"action", "action updatetype recordtype msgtype messagetype eventtype"},
	fieldRecordType:    {"rtype", "rtype"},
	fieldIsSnapshot:    {"is_snapshot", "issnapshot"},
	fieldPublisher:     {"publisher", "publisherid"},
	fieldReceived:      {"received", "tsrecv"},
	fieldMaker:         {"buyer_is_maker", "isbuyermaker wasbuyermaker buyerismaker takersidesell"},
	fieldSuffix:        {"symbol_suffix", "symsuffix symbolsuffix"},
	fieldQuoteCancel:   {"quote_cancel", "qucancel quotecancelcorrection"},
	fieldMakerOrder:    {"maker_order_id", "makerorderid"},
	fieldSequence:      {"sequence", "sequence"},
	fieldRaw:           {"raw", "raw"},
	fieldEvent:         {"event", "event"},
	fieldState:         {"state", "state"},
	fieldReason:        {"reason", "reason"},
	fieldExpectedEnd:   {"expected_end", "expectedend"},
	fieldAuction:       {"auction", "auction"},
	fieldImbalance:     {"imbalance", "imbalance"},
	fieldExpectedTime:  {"expected_time", "expectedtime"},
}

func (f field) String() string {
	if f > noField {
		best, level := f.ofBest()
		return fmt.Sprintf("%v of level %d", best, level+1)
	}
	return fieldNames[f].name
}

// A place is the field that a column holds; of two columns with one field, the lower rank wins.
type place struct {
	field field
	rank  int
}

var known = func() map[string]place {
	m := make(map[string]place)
	for f, names := range fieldNames {
		for rank, name := range strings.Fields(names.known) {
			m[name] = place{field(f), rank}
		}
	}
	return m
}()

// normal is how a column's name is looked up: lower case, no blanks, '_', '-' or '.'. OKX writes
// a second name behind a slash.
func normal(name string) string {
	name, _, _ = strings.Cut(name, "/")
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("_-. ", r) {
			return -1
		}
		return r
	}, strings.ToLower(name))
}

// columns is Config.Columns, checked.
type columns struct {
	byName map[string]field
	mapped [numFields]bool
}

func newColumns(mapping map[string]string) (columns, error) {
	c := columns{byName: make(map[string]field)}
	for _, name := range slices.Sorted(maps.Keys(mapping)) {
		f := noField
		for i := range fieldNames {
			if fieldNames[i].name == name {
				f = field(i)
			}
		}
		if f == noField {
			var names []string
			for _, n := range fieldNames {
				names = append(names, n.name)
			}
			return c, fmt.Errorf("there is no field %q, only %s", name, strings.Join(names, ", "))
		}
		column := mapping[name]
		if other, ok := c.byName[column]; ok {
			return c, fmt.Errorf("column %q is given for %v and for %v", column, other, f)
		}
		c.mapped[f] = true
		if column != "" {
			c.byName[column] = f
		}
	}
	return c, nil
}

// place is what the column called name holds; its field is noField if that is nothing known.
func (c *columns) place(name string) place {
	if f, ok := c.byName[name]; ok {
		return place{f, -1}
	}
	if p, ok := known[normal(name)]; ok && (p.field > noField || !c.mapped[p.field]) {
		return p
	}
	return place{noField, 0}
}

// A row is what one line says, as text.
type row struct {
	cells [numFields][]byte
	names [numFields]string // of the columns; empty where the line has none
	deep  []deepLevel       // levels below the best, the second first
}

// cell is the text in f, also where f is of a level below the best.
func (r *row) cell(f field) []byte {
	if f > noField {
		n := int(f - deepField)
		return r.deep[n/deepWidth][n%deepWidth]
	}
	return r.cells[f]
}

// name is that of the column that holds f.
func (r *row) name(f field) string {
	if f > noField || r.names[f] == "" {
		return f.String()
	}
	return r.names[f]
}

// has reports whether there is a number in f: neither nothing nor a word for nothing.
func (r *row) has(f field) bool {
	b := r.cell(f)
	if len(b) == 0 {
		return false
	}
	if b[0]|0x20 == 'n' && len(b) <= 4 {
		switch string(b) {
		case "null", "NULL", "NA", "N/A", "nan", "NaN", "NAN", "None":
			return false
		}
	}
	return string(b) != `\N` // of MySQL and PostgreSQL
}

// bad is the error of a value that cannot be what it should.
func (r *row) bad(f field, reason string, err error) *LineError {
	return &LineError{Column: clip([]byte(r.name(f))), Value: clip(r.cell(f)), Reason: reason, Err: err}
}

// isDatabento reports whether the columns are those of Databento: with a record type, or, as a table
// from which it was left out, a publisher.
func (r *row) isDatabento() bool {
	return r.names[fieldRecordType] != "" || r.names[fieldPublisher] != ""
}

// absent is the error of a value that must be there.
func (r *row) absent(f field, advice string) *LineError {
	e := r.bad(f, "is empty", nil)
	if r.names[f] == "" {
		e.Reason = "is missing" + advice
	}
	e.Value = ""
	return e
}

// integer reads f as a whole number in [low, high].
func (r *row) integer(f field, low, high int64) (int64, *LineError) {
	v, err := feed.ParseDecimal(r.cells[f], 0)
	if err != nil || v < low || v > high {
		return 0, r.bad(f, "is not a whole number from "+strconv.FormatInt(low, 10)+
			" to "+strconv.FormatInt(high, 10), err)
	}
	return v, nil
}
