package textfile

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// An object reads JSON objects, one a line, into rows.
type object struct {
	columns *columns
	keys    map[string]key
	order   []key  // of the lines before: the same names mostly come at the same places
	nth     int    // name of the line at hand
	scratch []byte // strings of the line at hand, without their escapes
	ranks   [numFields]int
	nested  string // the first name in the line at hand whose value is an object or a list and is not read
	inHead  bool
	level   int // that the members at hand are of; 0 is the best
	levels  int // where the list of that name begins in the line at hand; 0 if there is none
}

// A key is what is known about a name seen before.
type key struct {
	place
	name string
}

// maxKeys bounds how many names are remembered, of at most maxValue bytes; others are looked up
// each time.
const maxKeys = 1024

func (o *object) reset(c *columns) {
	*o = object{columns: c, keys: make(map[string]key), scratch: o.scratch}
}

// scan gives r the values of the object in line, valid until the next call. They share
// memory with line. Values of names that are not known are passed over; of two values for
// one field the better name's counts, of two of one name the last.
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
		// A record of Databento: the first object of the list is the best bid and offer.
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

// members reads an object, whose names and values it gives to r.
func (o *object) members(s *scanner, r *row) *LineError {
	if !s.take('{') {
		return s.bad("a JSON object is due")
	}
	if s.take('}') {
		return nil
	}
	for {
		if !s.take('"') {
			return s.bad("a field's name in quotes is due")
		}
		name, bad := o.text(s)
		if bad != nil {
			return bad
		}
		if !s.take(':') {
			return s.bad("a colon is due")
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
		return s.bad("a comma or a closing brace is due")
	}
}

// key is what is known about the next name of the line.
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

// value reads the value of k and gives it to r.
func (o *object) value(s *scanner, k key, r *row) *LineError {
	s.space()
	if s.at == len(s.line) {
		return s.bad("a value is due")
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
				Reason: "is an object or a list, where a text or a number is due"}
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
				return s.bad("a value is due")
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
		r.setDeep(f, v)
		return nil
	}
	if f == noField || r.names[f] != "" && k.rank > o.ranks[f] {
		return nil
	}
	r.cells[f], r.names[f], o.ranks[f] = v, k.name, k.rank
	return nil
}

// word holds the characters that numbers and literals are made of.
var word = func() (w [256]bool) {
	for _, c := range "+-.0123456789abcdefghijklmnopqrstuvwxyzE" {
		w[c] = true
	}
	return w
}()

// text reads the string that s stands in, after its opening quote.
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

// escaped goes on where text has found the first escape.
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
				return nil, s.bad("four hexadecimal digits are due")
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

// take passes over c, and blanks before it, if it is next.
func (s *scanner) take(c byte) bool {
	s.space()
	if s.at == len(s.line) || s.line[s.at] != c {
		return false
	}
	s.at++
	return true
}

// end is nil if nothing follows the object.
func (s *scanner) end() *LineError {
	if s.space(); s.at < len(s.line) {
		return s.bad("nothing must follow the object; write one on each line")
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

// skip passes over an object or a list, of any depth. Of what is in it only the brackets and
// the strings are looked at.
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

// hex reads the four digits of a \u escape.
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

// pair is the character of which r is the first half; the replacement character if the
// second does not follow.
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
