package wscap

import (
	"bytes"
	"encoding/json"
)

// A walker goes over the members of a JSON object, or the elements of an array, without
// decoding them: a value stays the bytes that it is in the line, which the walker shares.
// Values that nobody asks for are only checked for brackets and quotes that match.
type walker struct {
	b     []byte // what is left, after the opening bracket
	close byte
	first bool
	bad   bool // the text is not JSON
}

// maxDepth bounds how deep values are nested.
const maxDepth = 32

// walk is over the value b, which opens with open; it is bad if b is not such a value.
func walk(b []byte, open byte) walker {
	w := walker{close: open + 2, first: true} // '[' ']' and '{' '}' are two apart
	if len(b) < 2 || b[0] != open {
		w.bad = true
		return w
	}
	w.b = b[1:]
	return w
}

// next is the next element of an array.
func (w *walker) next() (value []byte, ok bool) {
	if !w.more() {
		return nil, false
	}
	return w.value()
}

// member is the next member of an object; key is without its quotes, and as it is where it
// has escapes.
func (w *walker) member() (key, value []byte, ok bool) {
	if !w.more() {
		return nil, nil, false
	}
	quoted, ok := w.value()
	if !ok || len(quoted) < 2 || quoted[0] != '"' {
		w.bad = true
		return nil, nil, false
	}
	w.blanks()
	if len(w.b) == 0 || w.b[0] != ':' {
		w.bad = true
		return nil, nil, false
	}
	w.b = w.b[1:]
	value, ok = w.value()
	return quoted[1 : len(quoted)-1], value, ok
}

// more passes over the comma before the next value; it is false at the end.
func (w *walker) more() bool {
	if w.bad {
		return false
	}
	w.blanks()
	if len(w.b) == 0 {
		w.bad = true
		return false
	}
	if w.b[0] == w.close {
		w.b = w.b[1:]
		return false
	}
	if !w.first {
		if w.b[0] != ',' {
			w.bad = true
			return false
		}
		w.b = w.b[1:]
	}
	w.first = false
	return true
}

func (w *walker) blanks() {
	for len(w.b) > 0 && (w.b[0] == ' ' || w.b[0] == '\t') {
		w.b = w.b[1:]
	}
}

func (w *walker) value() ([]byte, bool) {
	w.blanks()
	n := valueLen(w.b)
	if n <= 0 {
		w.bad = true
		return nil, false
	}
	v := w.b[:n]
	w.b = w.b[n:]
	return v, true
}

// valueLen is how many bytes the value at the start of b takes; 0 if it does not end.
func valueLen(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	switch b[0] {
	case '"':
		return stringLen(b)
	case '{', '[':
		return bracketLen(b)
	}
	for i, c := range b {
		switch c {
		case ',', ']', '}', ' ', '\t', ':', '"', '{', '[':
			return i
		}
	}
	return len(b)
}

func stringLen(b []byte) int {
	for i := 1; i < len(b); {
		j := bytes.IndexByte(b[i:], '"')
		if j < 0 {
			return 0
		}
		i += j
		slashes := 0
		for b[i-1-slashes] == '\\' {
			slashes++
		}
		i++
		if slashes%2 == 0 {
			return i
		}
	}
	return 0
}

// bracketLen is valueLen for objects and arrays.
func bracketLen(b []byte) int {
	var open [maxDepth]byte
	depth := 0
	for i := 0; i < len(b); i++ {
		switch c := b[i]; c {
		case '"':
			n := stringLen(b[i:])
			if n == 0 {
				return 0
			}
			i += n - 1
		case '{', '[':
			if depth == maxDepth {
				return 0
			}
			open[depth] = c + 2
			depth++
		case '}', ']':
			depth--
			if open[depth] != c {
				return 0
			}
			if depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}

// text is a value without its quotes, if it has any: strings and numbers are alike to the
// formats here. A null is no text.
func text(v []byte) []byte {
	if len(v) >= 2 && v[0] == '"' {
		if v = v[1 : len(v)-1]; bytes.IndexByte(v, '\\') >= 0 {
			var s string
			if json.Unmarshal([]byte(`"`+string(v)+`"`), &s) != nil {
				return nil
			}
			return []byte(s)
		}
		return v
	}
	if len(v) == 4 && string(v) == "null" {
		return nil
	}
	return v
}

// integer reads a value as a whole number that is not negative; 0 if there is none.
func integer(v []byte) (n uint64, ok bool) {
	v = text(v)
	if len(v) == 0 || len(v) > 19 {
		return 0, len(v) == 0
	}
	for _, c := range v {
		if c-'0' > 9 {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}
