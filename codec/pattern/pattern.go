package pattern

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"tickfeed/feed"
)

// Validate returns an error if p names no symbol, is too long or not printable.
func Validate(p string) error {
	symbol, venue, _ := strings.Cut(p, "@")
	if symbol == "" {
		return fmt.Errorf("pattern %.64q names no symbol", p)
	}
	if err := feed.ValidateText(symbol); err != nil {
		return fmt.Errorf("symbol %w", err)
	}
	if err := feed.ValidateText(venue); err != nil {
		return fmt.Errorf("venue %w", err)
	}
	return nil
}

// Match reports whether pattern p matches instrument d.
func Match(p string, d *feed.Definition) bool {
	symbol, venue, hasVenue := strings.Cut(p, "@")
	return glob(symbol, d.Symbol) && (!hasVenue || glob(venue, d.Venue))
}

// glob reports whether s matches a pattern of literals, * and ?. Its time is proportional to the product
// of their lengths, which feed.MaxText bounds.
func glob(pattern, s string) bool {
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == '?':
			p++
			i += runeLen(s[i:])
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			p = star + 1
			mark += runeLen(s[mark:])
			i = mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// runeLen returns the length of the character that s begins with, in bytes.
func runeLen(s string) int {
	_, n := utf8.DecodeRuneInString(s)
	return n
}
