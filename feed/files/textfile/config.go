package textfile

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones for machines without a zone database

	"tickfeed/feed"
	"tickfeed/feed/decimal"
)

// Config configures how files are read. The zero Config reads files whose columns have
// known names and whose times state their zone.
type Config struct {
	// Format is "csv" or "ndjson". If it is empty, each file's format is detected from its content.
	Format string
	// Columns maps a field of [Source]'s table of columns (time, symbol, bid_size, …) to the name of
	// the column that holds it, exactly as in the file. An empty name means that no column holds the
	// field. Fields that are not mapped are found by the known names.
	Columns map[string]string
	// Header names the columns of CSV files without a header line, in order. An empty name means that the column is not read.
	Header []string
	// Symbol and Venue are used for rows that have none.
	Symbol, Venue string
	// Zone is the zone of local times: an IANA name such as America/New_York, UTC, or an offset
	// such as -05:00. If it is empty, a local time makes a bad line.
	Zone string
	// EpochUnit is the unit of times that are numbers: "s", "ms", "us" or "ns", since the Unix
	// epoch or, if there is a date column, after midnight; or "hhmmss" for the digits of a time of day. If it is empty, the
	// unit is inferred from the magnitude.
	EpochUnit string
	// Date is the date of times of day without a date, as yyyymmdd; 0 if not known.
	Date int
	// DateInName takes that date from the name of each file if Date is 0.
	DateInName bool
	// PriceExponent and SizeExponent are the exponents of an instrument's first definition, in
	// [feed.MinExponent, 0]. Finer ones replace them if rows need them. A PriceExponent of 0
	// means -4.
	PriceExponent, SizeExponent int8
	// ZeroIsPrice keeps a bid or ask of 0 as a price. Otherwise it means that there is no quote on that side.
	ZeroIsPrice bool
	// QuotesOnly leaves out the levels of rows with several levels (Databento's mbp-10, Tardis's
	// book_snapshot). Such a row makes only a quote of its best bid and offer.
	QuotesOnly bool
	// Rows is the kind of every row, whatever its columns say: "trade", "quote" or "level". If it is empty, the columns of
	// each row decide; see [Source].
	Rows string
	// SkipBad is how many bad lines are skipped, in all files together, before one ends
	// the source. It must not be negative.
	SkipBad int

	headerOf     func(cells []string) []string              // returns column names if the first line is data; may be nil
	symbolInName *regexp.Regexp                             // finds the symbol in the name of a file
	venueOf      func(names []string, symbol string) string // returns the venue of a file with such columns if Venue is empty; may be nil
}

// rowKinds are the kinds that Config.Rows accepts.
var rowKinds = []feed.Kind{feed.KindTrade, feed.KindQuote, feed.KindLevel}

const (
	formatCSV    = "csv"
	formatNDJSON = "ndjson"

	defaultPriceExponent = -4
)

// validate fills in defaults. It returns an error that names the first invalid field.
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
		return fail("PriceExponent must be from %d to 0, got %d", feed.MinExponent, c.PriceExponent)
	}
	if c.SizeExponent < feed.MinExponent || c.SizeExponent > 0 {
		return fail("SizeExponent must be from %d to 0, got %d", feed.MinExponent, c.SizeExponent)
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

// ParseZone returns the time zone with the given name: an IANA zone such as America/New_York, or an offset such as -05:00. It
// returns nil for an empty name.
func ParseZone(name string) (*time.Location, error) { return parseZone(name) }

// parseZone is ParseZone.
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

// A field is the meaning of a column.
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

// fieldNames holds each field's name and the known names of its columns, as normal returns them, the best first.
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

// A place is the field that a column holds. If two columns hold one field, the lower rank wins.
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

// normal returns the form in which a column's name is looked up: lower case, without blanks, '_', '-', '.', and without
// the second name that OKX writes after a slash.
func normal(name string) string {
	name, _, _ = strings.Cut(name, "/")
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("_-. ", r) {
			return -1
		}
		return r
	}, strings.ToLower(name))
}

// columns holds the checked Config.Columns.
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

// place returns what the column with the given name holds. Its field is noField if the name is unknown.
func (c *columns) place(name string) place {
	if f, ok := c.byName[name]; ok {
		return place{f, -1}
	}
	if p, ok := known[normal(name)]; ok && (p.field > noField || !c.mapped[p.field]) {
		return p
	}
	return place{noField, 0}
}

// A row holds the cells of one line, as text.
type row struct {
	cells [numFields][]byte
	names [numFields]string // names of the columns; empty if the line has no such column
	deep  []deepLevel       // the levels below the best, from the second on
}

// cell returns the text of f, which may be a field of a level below the best.
func (r *row) cell(f field) []byte {
	if f > noField {
		n := int(f - deepField)
		return r.deep[n/deepWidth][n%deepWidth]
	}
	return r.cells[f]
}

// name returns the name of the column that holds f.
func (r *row) name(f field) string {
	if f > noField || r.names[f] == "" {
		return f.String()
	}
	return r.names[f]
}

// has reports whether f has a value: it is neither empty nor a word for a missing value.
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
	return string(b) != `\N` // NULL of MySQL and PostgreSQL
}

// bad returns the error for an invalid value of f.
func (r *row) bad(f field, reason string, err error) *LineError {
	return &LineError{Column: clip([]byte(r.name(f))), Value: clip(r.cell(f)), Reason: reason, Err: err}
}

// isDatabento reports whether the columns are Databento's: they include a record type, or a publisher, as in a table without
// record types.
func (r *row) isDatabento() bool {
	return r.names[fieldRecordType] != "" || r.names[fieldPublisher] != ""
}

// absent returns the error for a missing value of f.
func (r *row) absent(f field, advice string) *LineError {
	e := r.bad(f, "is empty", nil)
	if r.names[f] == "" {
		e.Reason = "is missing" + advice
	}
	e.Value = ""
	return e
}

// integer parses f as a whole number in [low, high].
func (r *row) integer(f field, low, high int64) (int64, *LineError) {
	v, err := decimal.Parse(r.cells[f], 0)
	if err != nil || v < low || v > high {
		return 0, r.bad(f, "is not a whole number from "+strconv.FormatInt(low, 10)+
			" to "+strconv.FormatInt(high, 10), err)
	}
	return v, nil
}
