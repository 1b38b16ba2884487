package compare

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"tickfeed/feed"
	"tickfeed/feed/decimal"
)

// MaxLine bounds a line of NDJSON, in bytes.
const MaxLine = 1 << 20

// A LineReader returns one line after the other, without its end. The line is valid until the next call. The error is io.EOF
// after the last line.
type LineReader interface {
	Next() ([]byte, error)
}

// Lines are the lines of a file.
type Lines interface {
	LineReader
	io.Closer
}

// A LineError reports a line that no subscriber prints.
type LineError struct {
	Line   int // from 1
	Reason string
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d %s", e.Line, e.Reason) }

// OfLines returns the party that printed lines, as CLIENT.md says; open opens them. The lines of a snapshot and of the state at
// the end are passed over. So are lines that are cut off, as the one that a client was writing when it was killed: a last one makes
// the party Torn, and others are counted. An error is a *LineError, or that of the lines.
func OfLines(open func() (Lines, error)) Party {
	return Party{Open: func() (Stream, error) {
		lines, err := open()
		if err != nil {
			return nil, err
		}
		return &printedStream{lines: lines, met: make(map[feed.SessionID]bool), top: make(map[feed.SessionID]uint64), names: make(map[string]*feed.Definition)}, nil
	}}
}

// A printedStream reads the lines that a subscriber printed.
type printedStream struct {
	lines Lines
	line  int
	cut   int // the last line that was cut off
	facts Facts
	open  bool // the last one of facts.runs has not ended
	met   map[feed.SessionID]bool
	top   map[feed.SessionID]uint64 // the greatest number of the run's ticks in each session

	fields []field
	names  map[string]*feed.Definition // by symbol and venue
	key    []byte
	entry  Entry
	text   []byte
}

// A field is a member of a JSON object.
type field struct {
	name  string // one of printedNames
	value []byte // a text without its quotes and escapes
}

func (s *printedStream) Close() error { return s.lines.Close() }

func (s *printedStream) Facts() Facts { return s.facts }

func (s *printedStream) Next() (*Entry, error) {
	for {
		line, err := s.lines.Next()
		if errors.Is(err, io.EOF) && s.cut == s.line && s.cut > 0 {
			s.facts.CutLines--
			s.facts.Torn, s.cut = true, 0
		}
		if err != nil {
			return nil, err
		}
		s.line++
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		e, err := s.read(line)
		if err != nil || e != nil {
			return e, err
		}
	}
}

func (s *printedStream) bad(format string, args ...any) error {
	return &LineError{s.line, fmt.Sprintf(format, args...)}
}

// read returns the entry of a line, or nil if it has none.
func (s *printedStream) read(line []byte) (*Entry, error) {
	if !json.Valid(line) || line[0] != '{' {
		if line[0] == '{' && cutOff(line) && s.line > 1 {
			s.cut = s.line
			s.facts.CutLines++
			return nil, nil
		}
		if _, err := s.lines.Next(); errors.Is(err, io.EOF) && s.line > 1 {
			s.facts.Torn = true
			return nil, io.EOF
		}
		return nil, s.bad("is not a JSON object")
	}
	s.split(line)
	switch {
	case s.has("event"):
		return s.event(string(s.get("event")))
	case s.has("sessions"), s.is("snapshot"), s.is("state"):
		return nil, nil
	case !s.has("seq") || !s.has("session"):
		return nil, s.bad(`has neither "event" nor "session" and "seq": it is not of "subscribe --json"`)
	}
	return s.tick()
}

// cutOff reports whether line is the beginning of a JSON value.
func cutOff(line []byte) bool {
	d := json.NewDecoder(bytes.NewReader(line))
	return errors.Is(d.Decode(new(json.RawMessage)), io.ErrUnexpectedEOF)
}

// numbers returns the numbers of an event.
func (s *printedStream) numbers() (n feed.Numbers, err error) {
	if n.Session, err = s.session(); err != nil {
		return n, err
	}
	if n.Range.From, err = s.number("from"); err != nil {
		return n, err
	}
	if n.Range.To, err = s.number("to"); err != nil {
		return n, err
	}
	if n.Range.Empty() {
		return n, s.bad("has the empty range %v", n.Range)
	}
	return n, nil
}

func (s *printedStream) session() (id feed.SessionID, err error) {
	if err := id.UnmarshalText(s.get("session")); err != nil || id == 0 {
		return 0, s.bad("has session %.32q: want 16 hexadecimal digits", s.get("session"))
	}
	return id, nil
}

func (s *printedStream) number(name string) (uint64, error) {
	v := s.get(name)
	n, err := strconv.ParseUint(string(v), 10, 64)
	if err != nil || n == math.MaxUint64 {
		return 0, s.bad("has %s %.32q: want a number", name, v)
	}
	return n, nil
}

// tick returns the entry of the tick in fields.
func (s *printedStream) tick() (*Entry, error) {
	session, err := s.session()
	if err != nil {
		return nil, err
	}
	seq, err := s.number("seq")
	if err != nil {
		return nil, err
	}
	if seq == 0 {
		return nil, s.bad("has seq 0: numbers begin at 1")
	}
	if s.text, err = s.appendPrinted(s.text[:0]); err != nil {
		return nil, err
	}
	if err := s.begun(point{session, seq}); err != nil {
		return nil, err
	}
	s.run().tick(point{session, seq})
	s.meet(session)
	s.facts.Ticks++
	s.entry = Entry{
		Numbers: feed.Numbers{Session: session, Range: feed.Range{From: seq, To: seq + 1}}, Claim: Held,
		Definition: s.definition(), Kind: kindOf(s.get("type")), Text: s.text, Line: s.line,
	}
	if top := s.top[session]; seq < top {
		s.entry.After = top
	} else {
		s.top[session] = seq
	}
	return &s.entry, nil
}

// definition returns the names of the instrument of the line.
func (s *printedStream) definition() *feed.Definition {
	s.key = append(append(append(s.key[:0], s.get("symbol")...), 0), s.get("venue")...)
	d := s.names[string(s.key)]
	if d == nil {
		d = &feed.Definition{Symbol: string(s.get("symbol")), Venue: string(s.get("venue"))}
		s.names[string(s.key)] = d
	}
	return d
}

// kindOf returns the kind with a name; 0 for a kind that this program does not know.
func kindOf(name []byte) feed.Kind {
	for k := feed.KindDefinition; k <= feed.KindAuction; k++ {
		if k.Known() && k.String() == string(name) {
			return k
		}
	}
	return 0
}

// The forms of the fields of a tick.
type form uint8

const (
	formText    form = iota // left out if empty
	formInteger             // left out if 0
	formExponent
	formPrice
	formSize
	formOptionalPrice // left out if missing
	formOptionalSize
	formTime         // left out if 0
	formRequiredTime // 0 if missing
)

type printedField struct {
	name string
	form form
}

// printedFields are the fields of each kind in the order in which appendTick writes them; those of kind 0 are what a kind that
// this program does not know has.
var printedFields = timed([feed.KindAuction + 1][]printedField{
	feed.KindDefinition: {{"price_exponent", formExponent}, {"size_exponent", formExponent}, {"currency", formText}, {"tick_size", formOptionalPrice}, {"lot", formOptionalSize}},
	feed.KindQuote:      {{"bid", formPrice}, {"bid_size", formSize}, {"ask", formPrice}, {"ask_size", formSize}},
	feed.KindTrade:      {{"price", formPrice}, {"size", formSize}, {"side", formText}, {"trade_id", formText}, {"conditions", formText}},
	feed.KindCorrection: {{"old_price", formPrice}, {"old_size", formSize}, {"price", formPrice}, {"size", formSize}, {"side", formText}, {"trade_id", formText}, {"conditions", formText}},
	feed.KindCancel:     {{"price", formPrice}, {"size", formSize}, {"side", formText}, {"trade_id", formText}},
	feed.KindLevel:      {{"side", formText}, {"price", formPrice}, {"size", formSize}},
	feed.KindClear:      {{"side", formText}},
	feed.KindStatus:     {{"status", formText}, {"trading_day", formInteger}, {"reason", formText}, {"expected_end", formTime}},
	feed.KindAuction:    {{"auction", formText}, {"price", formPrice}, {"size", formSize}, {"side", formText}, {"imbalance", formSize}, {"expected_time", formTime}},
})

// timed adds to each kind the times that every tick has.
func timed(kinds [feed.KindAuction + 1][]printedField) [feed.KindAuction + 1][]printedField {
	for k := range kinds {
		kinds[k] = append(kinds[k], printedField{"ts_event", formRequiredTime}, printedField{publishKey, formTime})
	}
	return kinds
}

// appendPrinted appends the text of the tick in fields, which is that of appendTick for the same tick.
func (s *printedStream) appendPrinted(b []byte) ([]byte, error) {
	d := s.definition()
	w := writer{b: b}
	head(&w, s.get("type"), d)
	price, size := 0, 0 // exponents that the numbers of the line lack
	if s.is("raw") {
		var err error
		if price, err = s.exponent("price_exponent"); err != nil {
			return b, err
		}
		if size, err = s.exponent("size_exponent"); err != nil {
			return b, err
		}
	}
	for _, f := range printedFields[kindOf(s.get("type"))] {
		v := s.get(f.name)
		if string(v) == "null" {
			v = nil
		}
		var err error
		switch f.form {
		case formText:
			w.text(f.name, string(v))
		case formPrice, formSize, formOptionalPrice, formOptionalSize:
			exponent := price
			if f.form == formSize || f.form == formOptionalSize {
				exponent = size
			}
			if v == nil && (f.form == formOptionalPrice || f.form == formOptionalSize) {
				continue
			}
			w.key(f.name)
			w.b, err = appendNumber(w.b, v, exponent)
		case formInteger, formExponent:
			n := int64(0)
			if v != nil {
				n, err = strconv.ParseInt(string(v), 10, 64)
			}
			if n != 0 || f.form == formExponent {
				w.integer(f.name, n)
			}
		case formTime, formRequiredTime:
			n := int64(0)
			if v != nil {
				n, err = parseTime(v)
			}
			if n != 0 || f.form == formRequiredTime {
				w.integer(f.name, n)
			}
		}
		if err != nil {
			return b, s.bad("has %s %.64q: %v", f.name, v, err)
		}
	}
	if s.is("more") {
		w.text("more", "true")
	}
	return w.b, nil
}

func (s *printedStream) exponent(name string) (int, error) {
	n, err := strconv.ParseInt(string(s.get(name)), 10, 8)
	if err != nil {
		return 0, s.bad(`has "raw", but %s %.32q`, name, s.get(name))
	}
	return int(n), nil
}

// appendNumber appends the number v × 10^exponent as decimal.Append does; nil is "null".
func appendNumber(b, v []byte, exponent int) ([]byte, error) {
	if v == nil {
		return append(b, "null"...), nil
	}
	m, e, err := decimal.Scan(v)
	if err != nil {
		return b, err
	}
	if m == 0 {
		return append(b, '0'), nil
	}
	if e += exponent; e < math.MinInt8 || e > math.MaxInt8 {
		return b, decimal.ErrOverflow
	}
	return decimal.Append(b, m, int8(e)), nil
}

// parseTime parses nanoseconds since the Unix epoch, or a time in RFC 3339.
func parseTime(v []byte) (int64, error) {
	if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
		return n, nil
	}
	t, err := time.Parse(time.RFC3339Nano, string(v))
	if err != nil {
		return 0, errors.New("want nanoseconds since the Unix epoch, or a time such as 2026-01-05T14:30:00Z")
	}
	return t.UnixNano(), nil
}

// get returns the value of a field, a text without its quotes; nil if the line has no such field.
func (s *printedStream) get(name string) []byte {
	for i := range s.fields {
		if s.fields[i].name == name {
			return s.fields[i].value
		}
	}
	return nil
}

func (s *printedStream) has(name string) bool { return s.get(name) != nil }

func (s *printedStream) is(name string) bool { return string(s.get(name)) == "true" }

// split sets fields to the members of the object in line, which is valid JSON. Of a name that occurs twice the first one
// counts.
func (s *printedStream) split(line []byte) {
	s.fields = s.fields[:0]
	i := 1
	blank := func() {
		for i < len(line) && (line[i] == ' ' || line[i] == '\t' || line[i] == '\r' || line[i] == ',' || line[i] == ':') {
			i++
		}
	}
	text := func() []byte { // the string at i
		begin := i
		for i++; line[i] != '"'; i++ {
			if line[i] == '\\' {
				i++
			}
		}
		i++
		v := line[begin+1 : i-1]
		if bytes.IndexByte(v, '\\') >= 0 {
			var plain string
			_ = json.Unmarshal(line[begin:i], &plain) // it is valid
			return append(make([]byte, 0, len(plain)), plain...)
		}
		return v
	}
	for blank(); i < len(line) && line[i] == '"'; blank() {
		f := field{name: nameOf(text())}
		blank()
		switch line[i] {
		case '"':
			f.value = text()
		case '{', '[':
			begin := i
			for depth := 0; ; {
				switch line[i] {
				case '"':
					text()
					continue
				case '{', '[':
					depth++
				case '}', ']':
					depth--
				}
				if i++; depth == 0 {
					break
				}
			}
			f.value = line[begin:i]
		default:
			begin := i
			for i < len(line) && line[i] != ',' && line[i] != '}' && line[i] != ' ' {
				i++
			}
			f.value = line[begin:i]
		}
		if f.name != "" {
			s.fields = append(s.fields, f)
		}
	}
}

// printedNames are the names that get is called with.
var printedNames = func() map[string]string {
	m := make(map[string]string)
	for _, name := range []string{
		"event", "session", "seq", "type", "symbol", "venue", "snapshot", "state", "sessions", "raw", "more", "from", "to", "ts_event", "ts_publish",
		"price_exponent", "size_exponent", "reason", "position", "next", "delivered", "not_asked", "withheld", "lost", "disowned",
	} {
		m[name] = name
	}
	for _, fields := range printedFields {
		for _, f := range fields {
			m[f.name] = f.name
		}
	}
	return m
}()

// nameOf returns name if it is one of printedNames, or "".
func nameOf(name []byte) string { return printedNames[string(name)] }
