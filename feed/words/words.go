// Package words prints and parses the values of enumerations as words: in logs, errors, JSON, flags and configuration
// files. It serves the packages of this module; each of their enumerations has one [List].
//
//	var sizes = words.List{What: "size", Words: []string{"small", "large"}}
//
//	func (s Size) String() string                   { return sizes.Word(int(s)) }
//	func (s Size) MarshalText() ([]byte, error)     { return []byte(s.String()), nil }
//	func (s *Size) UnmarshalText(text []byte) error { return words.Parse(s, &sizes, text) }
package words

import (
	"fmt"
	"slices"
	"strings"
)

// A List has the words of one enumeration.
type List struct {
	What  string   // the enumeration, for errors
	Words []string // by value, from 0; empty for a value that has no word
}

// Word returns the word of value v. A value without a word is returned as a number, as in "size(7)".
func (l *List) Word(v int) string {
	if v >= 0 && v < len(l.Words) && l.Words[v] != "" {
		return l.Words[v]
	}
	return fmt.Sprintf("%s(%d)", l.What, v)
}

// String returns all words of l as an enumeration in a sentence, as in "small or large".
func (l *List) String() string {
	all := slices.DeleteFunc(slices.Clone(l.Words), func(w string) bool { return w == "" })
	last := len(all) - 1
	if last == 0 {
		return all[0]
	}
	return strings.Join(all[:last], ", ") + " or " + all[last]
}

// Parse stores in v the value of which text is the word. After an error, which lists the words, v has not changed.
func Parse[T ~uint8 | ~int](v *T, l *List, text []byte) error {
	i := slices.Index(l.Words, string(text))
	if i < 0 || len(text) == 0 {
		return fmt.Errorf("%s must be %v, got %.64q", l.What, l, text)
	}
	*v = T(i)
	return nil
}
