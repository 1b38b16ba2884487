// Package nouns writes counts of things for people.
package nouns

import (
	"fmt"
	"strings"
)

// Count returns n and the noun, which is given in the singular: 1 status, 12,000 statuses, 2 recoveries. n must not be negative.
func Count[N ~int | ~int64 | ~uint64](n N, noun string) string {
	text := Thousands(n) + " " + noun
	switch stem, ends := strings.CutSuffix(text, "ry"); {
	case n == 1:
		return text
	case ends:
		return stem + "ries"
	case strings.HasSuffix(noun, "s"):
		return text + "es"
	}
	return text + "s"
}

// Are returns a statement about n things: 1 number is gone, 2 numbers are gone.
func Are[N ~int | ~int64 | ~uint64](n N, noun, what string) string {
	if n == 1 {
		return Count(n, noun) + " is " + what
	}
	return Count(n, noun) + " are " + what
}

// Thousands returns n with commas: 1,234,567.
func Thousands[N ~int | ~int64 | ~uint64](n N) string {
	digits := fmt.Sprint(n)
	var b strings.Builder
	for i, c := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}
