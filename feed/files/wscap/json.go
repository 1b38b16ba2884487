package wscap

import (
	"bytes"
	"encoding/json"
)

// A walker iterates over the members of a JSON object, or the elements of an array, without
// decoding them: each value is a part of the line.
// A walker checks only that the brackets and quotes of a value match.
type walker struct {
	b     []byte // the rest of the value, after the opening bracket
	close byte
	first bool
	bad   bool // the text is not JSON
}

// maxDepth bounds the nesting of values.
const maxDepth = 32

// walk returns a walker over the value b, which begins with open. The walker is bad if b is not such a value.
func walk(b []byte, open byte) walker {
	w := walker{close: open + 2, first: true} // '[' ']' and '{' '}' are two apart
	if len(b) < 2 || b[0] != open {
		w.bad = true
		return w
	}
	w.b = b[1:]
	return w
}

// next returns the next element of an array.
func (w *walker) next() (value []byte, ok bool) {
	if !w.more() {
		return nil, false
	}
	return w.value()
}

// member returns the next member of an object. key has no quotes, but may have
// escapes.
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

// members iterates over the members that are left.
func (w *walker) members(yield func(key, value []byte) bool) {
	for {
		key, value, ok := w.member()
		if !ok || !yield(key, value) {
			return
		}
	}
}

// elements iterates over the elements that are left.
func (w *walker) elements(yield func(value []byte) bool) {
	for {
		value, ok := w.next()
		if !ok || !yield(value) {
			return
		}
	}
}

// more skips the comma before the next value. It returns false at the end.
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

// over returns "" if nothing but one object was in the text, all of which was read, or else what is wrong with the message.
func (w *walker) over() (reason string) {
	if w.bad || len(bytes.TrimSpace(w.b)) > 0 {
		return "the message is not a JSON object, or is cut short"
	}
	return ""
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

// valueLen returns the length of the value at the start of b, or 0 if the value does not end.
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

// text returns a value without its quotes, if it has any: these formats make no difference between strings and
// numbers. It returns nil for null.
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

// integer parses a value as a whole number that is not negative. It returns 0 if the value is missing.
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
