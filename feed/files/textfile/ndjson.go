package textfile

import (
	"bytes"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// An object parses JSON objects, one per line, into rows.
type object struct {
	columns *columns
	keys    map[string]key
	order   []key  // the names of earlier lines by index: lines mostly have the same names in the same order
	nth     int    // index of the name in the current line
	scratch []byte // strings of the current line, without their escapes
	ranks   [numFields]int
	nested  string // the first name in the current line whose value is an object or a list that is not read
	inHead  bool
	level   int // level of the members being read; 0 is the best
	levels  int // where the list "levels" begins in the current line; 0 if there is none
}

// A key is a known name and its place.
type key struct {
	place
	name string
}

// maxKeys bounds how many names, of at most maxValue bytes, are remembered; other names are looked up
// each time.
const maxKeys = 1024

func (o *object) reset(c *columns) {
	*o = object{columns: c, keys: make(map[string]key), scratch: o.scratch}
}

// scan stores the values of the object in line in r. They are valid until the next call, and share
// memory with line. Values with unknown names are skipped. If two names have the same field, the
// better name is used. A name of a field that occurs twice is an error.
func (o *object) scan(line []byte, r *row) *LineError {
	*r = row{deep: r.deep[:0]}
	o.level = 0
	o.scratch, o.nth, o.levels, o.inHead, o.nested = o.scratch[:0], 0, 0, false, ""
	s := scanner{line, 0}
	if bad := o.members(&s, r); bad != nil {
		return bad
	}
	if bad := s.end(); bad != nil {
		return bad
	}
	if o.levels > 0 && r.names[fieldRecordType] != "" {
		// In a Databento record, the first object of the list is the best bid and offer.
		s.at = o.levels
		if s.take('['); !s.take(']') {
			for ; o.level == 0 || o.level <= maxDeep && s.take(','); o.level++ {
				if bad := o.members(&s, r); bad != nil {
					return bad
				}
			}
		}
	}
	return nil
}

// members parses an object and stores its values in r.
func (o *object) members(s *scanner, r *row) *LineError {
	if !s.take('{') {
		return s.bad("want a JSON object")
	}
	if s.take('}') {
		return nil
	}
	for {
		if !s.take('"') {
			return s.bad("want a field's name in quotes")
		}
		name, bad := o.text(s)
		if bad != nil {
			return bad
		}
		if !s.take(':') {
			return s.bad("want a colon")
		}
		k := o.key(name)
		if bad := o.value(s, k, r); bad != nil {
			return bad
		}
		if s.take(',') {
			continue
		}
		if s.take('}') {
			return nil
		}
		return s.bad("want a comma or a closing brace")
	}
}

// key returns the key of the next name of the line.
func (o *object) key(name []byte) key {
	nth := o.nth
	o.nth++
	if nth < len(o.order) && o.order[nth].name == string(name) {
		return o.order[nth]
	}
	k, ok := o.keys[string(name)]
	if !ok {
		k.name = string(name)
		k.place = o.columns.place(k.name)
		if len(o.keys) == maxKeys || len(name) > maxValue {
			return k
		}
		o.keys[k.name] = k
	}
	if nth < len(o.order) {
		o.order[nth] = k
	} else if nth == len(o.order) && nth < maxKeys {
		o.order = append(o.order, k)
	}
	return k
}

// value parses the value of k and stores it in r.
func (o *object) value(s *scanner, k key, r *row) *LineError {
	s.space()
	if s.at == len(s.line) {
		return s.bad("want a value")
	}
	var v []byte
	start := s.at
	switch c := s.line[s.at]; {
	case c == '"':
		s.at++
		text, bad := o.text(s)
		if bad != nil {
			return bad
		}
		v = text
	case c == '{' && k.name == "hd" && !o.inHead: // the header of a record of Databento
		o.inHead = true
		bad := o.members(s, r)
		o.inHead = false
		return bad
	case c == '{' || c == '[':
		if k.name == "levels" {
			o.levels = start
		}
		if o.nested == "" {
			o.nested = k.name
		}
		if bad := s.skip(); bad != nil {
			return bad
		}
		if k.field != noField {
			return &LineError{Column: clip([]byte(k.name)), Value: clip(s.line[start:s.at]),
				Reason: "is an object or a list, want a text or a number"}
		}
	default:
		for s.at < len(s.line) && word[s.line[s.at]] {
			s.at++
		}
		v = s.line[start:s.at]
		if c != '-' && c-'0' > 9 {
			switch string(v) {
			case "null":
				v = nil
			case "true", "false":
			default:
				s.at = start
				return s.bad("want a value")
			}
		}
	}
	f := k.field
	if o.level > 0 {
		if f < fieldBid || f > fieldAskSize {
			return nil
		}
		f = deepOf(o.level, f)
	}
	if f > noField {
		if r.hasDeep(f) {
			return twice(k.name, k.name, f)
		}
		r.setDeep(f, v)
		return nil
	}
	if f == noField {
		return nil
	}
	if r.names[f] != "" && k.rank >= o.ranks[f] {
		if k.rank > o.ranks[f] {
			return nil
		}
		return twice(k.name, r.names[f], f)
	}
	r.cells[f], r.names[f], o.ranks[f] = v, k.name, k.rank
	return nil
}

// twice returns the error for a line in which name and other, which may be the same name, hold field f.
func twice(name, other string, f field) *LineError {
	reason := "is in the line twice"
	if name != other {
		reason = fmt.Sprintf("holds the same field as %q; choose one with --column %v=NAME", other, f)
	}
	return &LineError{Column: clip([]byte(name)), Reason: reason}
}

// word reports which characters numbers and literals consist of.
var word = func() (w [256]bool) {
	for _, c := range "+-.0123456789abcdefghijklmnopqrstuvwxyzE" {
		w[c] = true
	}
	return w
}()

// text parses a string; s is after its opening quote.
func (o *object) text(s *scanner) ([]byte, *LineError) {
	start := s.at
	for ; s.at < len(s.line); s.at++ {
		switch c := s.line[s.at]; {
		case c == '"':
			s.at++
			return s.line[start : s.at-1], nil
		case c == '\\':
			return o.escaped(s, start)
		case c < ' ':
			return nil, s.bad("a control character must not stand in a string")
		}
	}
	return nil, s.bad("the string does not end")
}

// escaped continues text at the first escape.
func (o *object) escaped(s *scanner, start int) ([]byte, *LineError) {
	from := len(o.scratch)
	b := append(o.scratch, s.line[start:s.at]...)
	for s.at < len(s.line) {
		c := s.line[s.at]
		s.at++
		switch {
		case c == '"':
			o.scratch = b
			return b[from:len(b):len(b)], nil
		case c < ' ':
			return nil, s.bad("a control character must not stand in a string")
		case c != '\\':
			b = append(b, c)
			continue
		}
		if s.at == len(s.line) {
			break
		}
		c = s.line[s.at]
		s.at++
		switch c {
		case '"', '\\', '/':
			b = append(b, c)
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r, ok := s.hex()
			if !ok {
				return nil, s.bad("want four hexadecimal digits")
			}
			if utf16.IsSurrogate(r) {
				r = s.pair(r)
			}
			b = utf8.AppendRune(b, r)
		default:
			return nil, s.bad("no such escape")
		}
	}
	return nil, s.bad("the string does not end")
}

// A scanner is a place in a line.
type scanner struct {
	line []byte
	at   int
}

func (s *scanner) space() {
	for s.at < len(s.line) && (s.line[s.at] == ' ' || s.line[s.at] == '\t' || s.line[s.at] == '\r') {
		s.at++
	}
}

// take skips blanks, and c if it is next. It returns false if c is not next.
func (s *scanner) take(c byte) bool {
	s.space()
	if s.at == len(s.line) || s.line[s.at] != c {
		return false
	}
	s.at++
	return true
}

// end returns an error if anything follows the object.
func (s *scanner) end() *LineError {
	if s.space(); s.at < len(s.line) {
		return s.bad("unexpected data after the object; write one object on each line")
	}
	return nil
}

func (s *scanner) bad(reason string) *LineError {
	rest := s.line[s.at:]
	if len(rest) == 0 {
		return &LineError{Reason: "the line ends early: " + reason}
	}
	return &LineError{Value: clip(rest), Reason: "is not JSON: " + reason}
}

// skip skips an object or a list of any depth. It checks only the brackets and
// the strings in it.
func (s *scanner) skip() *LineError {
	for depth := 0; s.at < len(s.line); s.at++ {
		switch s.line[s.at] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				s.at++
				return nil
			}
		case '"':
			for s.at++; s.at < len(s.line) && s.line[s.at] != '"'; s.at++ {
				if s.line[s.at] == '\\' {
					s.at++
				}
			}
		}
	}
	s.at = len(s.line)
	return s.bad("an object or a list does not end")
}

// hex parses the four digits of a \u escape.
func (s *scanner) hex() (rune, bool) {
	if len(s.line)-s.at < 4 {
		return 0, false
	}
	var r rune
	for _, c := range s.line[s.at : s.at+4] {
		d := bytes.IndexByte([]byte("0123456789abcdef"), c|0x20)
		if c < '0' || d < 0 {
			return 0, false
		}
		r = r<<4 | rune(d)
	}
	s.at += 4
	return r, true
}

// pair returns the character whose first half is r, or the replacement character if the
// second half does not follow.
func (s *scanner) pair(r rune) rune {
	mark := *s
	if bytes.HasPrefix(s.line[s.at:], []byte(`\u`)) {
		s.at += 2
		if low, ok := s.hex(); ok {
			if r := utf16.DecodeRune(r, low); r != utf8.RuneError {
				return r
			}
		}
	}
	*s = mark
	return utf8.RuneError
}
