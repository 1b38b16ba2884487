package lobster

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
	_ "time/tzdata" // New York's zone for machines without a zone database

	"tickfeed/feed"
	"tickfeed/feed/files/rawfile"
)

// A pair is the message file and the order book file of one instrument and day, with the current event.
type pair struct {
	source   *Source
	symbol   string
	midnight int64 // midnight of the day in New York, twelve hours before noon
	from, to int64 // start and end in the name, in milliseconds after midnight
	day      int32
	levels   int
	message  file
	book     file
	noBook   bool // the book file is not read

	// The current message, and the book after it.
	time    int64
	kind    int64
	size    int64
	price   int64
	side    int64 // of the resting order: 1 buy, -1 sell
	columns int   // of the book row
	asks    []level
	bids    []level
	before  int64 // time of the previous message
}

// A file is one half of a pair.
type file struct {
	path  string
	raw   *rawfile.File
	lines *rawfile.Lines
}

// The event types of the format.
const (
	typeNew     = 1
	typeCancel  = 2
	typeDelete  = 3
	typeVisible = 4
	typeHidden  = 5
	typeCross   = 6
	typeHalt    = 7
)

// Limits and constants of the format.
const (
	maxLevels     = 1000
	maxLine       = maxLevels * 4 * 20
	emptyPrice    = 9999999999
	millisOfDay   = 86_400_000
	nanosOfDay    = millisOfDay * 1_000_000
	openOfTrading = 34_200_000 // 09:30
)

var conditionHidden, conditionCross = conditions("H"), conditions("X")

func conditions(s string) feed.Conditions {
	c, err := feed.ParseConditions(s)
	if err != nil {
		panic("lobster: internal error: " + err.Error())
	}
	return c
}

var newYork = func() *time.Location {
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		panic("lobster: internal error: " + err.Error()) // it is built in
	}
	return zone
}()

var standardName = regexp.MustCompile(`^(.+)_(\d{4}-\d{2}-\d{2})_(\d{1,8})_(\d{1,8})_(message|orderbook)_(\d{1,4})(\D.*)?$`)

// overlaps reports whether p and o have the same symbol, day and time, like files with two depths, which
// contain each trade twice.
func (p *pair) overlaps(o *pair) bool {
	return p.symbol == o.symbol && p.day == o.day && p.from < o.to && o.from < p.to
}

// newPair returns the pair that path is one file of.
func newPair(path string, s *Source) (*pair, error) {
	dir, name := filepath.Split(path)
	m := standardName.FindStringSubmatch(name)
	if m == nil {
		return nil, fmt.Errorf("%s: the date and symbol of LOBSTER files are only in their names: "+
			"rename it to SYMBOL_YYYY-MM-DD_START_END_message_LEVELS.csv, or …_orderbook_LEVELS.csv", path)
	}
	symbol, rest := m[1], m[7]
	day, err := time.ParseInLocation("2006-01-02", m[2], newYork)
	if err != nil {
		return nil, fmt.Errorf("%s: %q in its name is not a date", path, m[2])
	}
	if err := feed.ValidateText(symbol); err != nil {
		return nil, fmt.Errorf("%s: symbol: %w", path, err)
	}
	if day.Year() < 1970 || day.Year() > 2261 {
		return nil, fmt.Errorf("%s: the year %d is out of range: want 1970 to 2261", path, day.Year())
	}
	from, _ := strconv.ParseInt(m[3], 10, 64)
	to, _ := strconv.ParseInt(m[4], 10, 64)
	levels, _ := strconv.Atoi(m[6])
	if levels < 1 || levels > maxLevels {
		return nil, fmt.Errorf("%s: %d levels in its name: want 1 to %d", path, levels, maxLevels)
	}
	if from >= millisOfDay {
		return nil, fmt.Errorf("%s: start %d in its name: want milliseconds after midnight", path, from)
	}
	half := func(kind string) file {
		return file{path: dir + symbol + "_" + m[2] + "_" + m[3] + "_" + m[4] + "_" + kind + "_" + m[6] + rest}
	}
	// New York changes its clocks at two in the morning and never on a day with trading, so on every trading
	// day midnight by the clock is twelve hours before noon.
	noon := time.Date(day.Year(), day.Month(), day.Day(), 12, 0, 0, 0, newYork)
	return &pair{
		source: s, symbol: symbol, from: from, to: to, levels: levels,
		midnight: noon.Add(-12 * time.Hour).UnixNano(),
		day:      int32(day.Year()*10000 + int(day.Month())*100 + day.Day()),
		message:  half("message"), book: half("orderbook"), noBook: s.cfg.TradesOnly,
	}, nil
}

// Start implements merge.Stream.
func (p *pair) Start() int64 { return p.midnight }

// Advance implements merge.Stream.
func (p *pair) Advance() (int64, error) {
	if p.message.lines == nil {
		if err := p.open(); err != nil {
			return 0, err
		}
	}
	for {
		line, err := p.message.next()
		if err == io.EOF {
			return 0, p.end()
		}
		reason := ""
		switch err {
		case nil:
			if p.message.lines.Number() == 1 {
				line = bytes.TrimPrefix(line, byteOrderMark)
			}
			reason = p.parseMessage(line)
		case rawfile.ErrLongLine:
			reason = err.Error()
		default:
			return 0, err
		}
		at := &p.message
		p.source.count.Now.Messages++
		if !p.noBook {
			line, err := p.book.next()
			if err == io.EOF {
				return 0, p.message.bad("the order book file " + p.book.path + " ends before this row")
			}
			bad := ""
			switch err {
			case nil:
				if reason == "" {
					if p.book.lines.Number() == 1 {
						line = bytes.TrimPrefix(line, byteOrderMark)
					}
					bad = p.parseBook(line)
				}
			case rawfile.ErrLongLine:
				bad = err.Error()
			default:
				return 0, err
			}
			if reason == "" && bad != "" {
				reason, at = bad, &p.book
			}
		}
		if reason == "" {
			p.time += p.midnight
			if p.time < p.before {
				p.source.count.Now.Backward++
			}
			p.before = p.time
			return p.time, nil
		}
		if err := p.source.bad(at.bad(reason)); err != nil {
			return 0, err
		}
	}
}

func (p *pair) open() error {
	if err := p.message.open(p.source.meter); err != nil || p.noBook {
		return err
	}
	return p.book.open(p.source.meter)
}

// end checks that the book file has no more rows than the message file, which has ended.
func (p *pair) end() error {
	if p.noBook {
		return io.EOF
	}
	line, err := p.book.next()
	if err == nil || err == rawfile.ErrLongLine {
		return p.book.bad(fmt.Sprintf("the message file %s ends before this row: %.40q", p.message.path, line))
	}
	return err
}

// Close implements merge.Stream.
func (p *pair) Close() {
	p.message.close()
	p.book.close()
}

func (f *file) open(m *rawfile.Meter) error {
	raw, err := rawfile.OpenMetered(f.path, m)
	if err != nil {
		return err
	}
	f.raw, f.lines = raw, rawfile.NewLines(raw, maxLine)
	return nil
}

func (f *file) close() {
	if f.raw != nil {
		f.raw.Close()
	}
}

// next returns the next line, skipping blank lines.
func (f *file) next() ([]byte, error) {
	for {
		line, err := f.lines.Next()
		if err != nil && err != io.EOF && err != rawfile.ErrLongLine {
			bad := f.bad("the rest cannot be unpacked: " + err.Error())
			bad.Err = err
			return nil, bad
		}
		if err != nil || len(line) > 0 {
			return line, err
		}
	}
}

func (f *file) bad(reason string) *rawfile.LineError {
	return f.lines.Bad(f.path, reason, nil)
}

// trade returns the current message's execution; ok is false if the message is not an execution.
func (p *pair) trade() (tr feed.Trade, ok bool) {
	tr = feed.Trade{Price: p.price, Size: p.size, Side: feed.SideBuy}
	if p.side > 0 {
		tr.Side = feed.SideSell
	}
	switch p.kind {
	case typeVisible:
	case typeHidden:
		tr.Conditions = conditionHidden
	case typeCross:
		tr.Conditions, tr.Side = conditionCross, feed.SideNone
	default:
		return tr, false
	}
	return tr, true
}

// status returns the status of the current message, which has type 7.
func (p *pair) status() feed.Status {
	switch p.price {
	case 0:
		return feed.StatusPreOpen
	case 1:
		return feed.StatusTrading
	}
	return feed.StatusHalted
}

// parseMessage parses a row of a message file and sets time to nanoseconds after midnight. It returns what is
// wrong with the row, or "".
func (p *pair) parseMessage(line []byte) string {
	at, rest, _ := bytes.Cut(line, comma)
	var ok bool
	if p.time, ok = parseTime(at); !ok {
		return fmt.Sprintf("%.40q is not a time: want seconds after midnight with at most nine decimals", at)
	}
	var v [5]int64
	for i, name := range [...]string{"event type", "order id", "size", "price", "direction"} {
		if rest == nil {
			return fmt.Sprintf("the row has %d columns, want 6", i+1)
		}
		var cell []byte
		var more bool
		if cell, rest, more = bytes.Cut(rest, comma); !more {
			rest = nil
		}
		if v[i], ok = parseInt(cell); !ok {
			return fmt.Sprintf("%s %.40q is not a whole number", name, cell)
		}
	}
	if rest != nil {
		return "the row has more than 6 columns"
	}
	p.kind, p.size, p.price, p.side = v[0], v[2], v[3], v[4]
	switch {
	case p.kind < typeNew || p.kind > typeHalt:
		return fmt.Sprintf("unknown event type %d: want 1 to 7", p.kind)
	case p.kind == typeHalt:
		if p.price < -1 || p.price > 1 {
			return fmt.Sprintf("trading halt with %d: want -1 (halted), 0 (quoting) or 1 (trading)", p.price)
		}
	case p.size <= 0:
		return fmt.Sprintf("size %d of an order is not positive", p.size)
	case p.price <= 0:
		return fmt.Sprintf("price %d of an order is not positive", p.price)
	case p.side != 1 && p.side != -1 && p.kind != typeCross:
		return fmt.Sprintf("direction %d is neither 1 (buy) nor -1 (sell)", p.side)
	}
	return ""
}

// parseBook parses a row of an order book file. It returns what is wrong with the row, or "".
func (p *pair) parseBook(line []byte) string {
	p.asks, p.bids, p.columns = p.asks[:0], p.bids[:0], 0
	for rest, more := line, true; more; {
		var v [4]int64
		for i := range v {
			if !more {
				return fmt.Sprintf("the row has %d columns, want four for each level", p.columns)
			}
			var cell []byte
			cell, rest, more = cutComma(rest)
			var ok bool
			if v[i], ok = parseInt(cell); !ok {
				return fmt.Sprintf("%.40q in column %d is not a whole number", cell, p.columns+1)
			}
			p.columns++
		}
		if p.columns > 4*p.levels {
			return fmt.Sprintf("the row has more than %d columns", 4*p.levels)
		}
		var reason string
		if p.asks, reason = addLevel(p.asks, v[0], v[1], feed.SideSell); reason != "" {
			return reason
		}
		if p.bids, reason = addLevel(p.bids, v[2], v[3], feed.SideBuy); reason != "" {
			return reason
		}
	}
	return ""
}

func addLevel(side []level, price, size int64, s feed.Side) ([]level, string) {
	if price == emptyPrice || price == -emptyPrice {
		if size != 0 {
			return side, fmt.Sprintf("size %d at the price of an empty level", size)
		}
		return side, ""
	}
	if size <= 0 || price <= 0 {
		return side, fmt.Sprintf("level with price %d and size %d: want both positive", price, size)
	}
	if n := len(side); n > 0 && !better(s, side[n-1].price, price) {
		return side, fmt.Sprintf("the %v side is not in order: %d after %d", s, price, side[n-1].price)
	}
	return append(side, level{price, size}), ""
}

var byteOrderMark = []byte("\ufeff")

var comma = []byte{','}

func cutComma(b []byte) (cell, rest []byte, more bool) {
	if i := bytes.IndexByte(b, ','); i >= 0 {
		return b[:i], b[i+1:], true
	}
	return b, nil, false
}

// parseTime parses seconds with up to nine decimals into nanoseconds of a day. More decimals are rounded if
// they come from a float.
func parseTime(b []byte) (int64, bool) {
	t, err := rawfile.ParseTime(b, -9)
	return t, err == nil && t >= 0 && t < nanosOfDay
}

func parseInt(b []byte) (int64, bool) {
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	v := int64(0)
	for _, c := range b {
		if c-'0' > 9 {
			return 0, false
		}
		v = v*10 + int64(c-'0')
	}
	if negative {
		v = -v
	}
	return v, true
}

// firstLine returns the first line of head; ok is false if head does not contain all of it.
func firstLine(head []byte) (line []byte, ok bool) {
	i := bytes.IndexByte(head, '\n')
	if i < 0 {
		return nil, false
	}
	return bytes.TrimSuffix(head[:i], []byte{'\r'}), true
}
