package codec

import (
	"fmt"
	"slices"
	"strings"

	"tickfeed/feed"
)

// A Filter is the instruments that a subscription wants: those that any of its patterns
// matches. The empty Filter wants all. A pattern is SYMBOL or SYMBOL@VENUE, where * stands
// for any run of characters and ? for any one. Filters are compared in their canonical form:
// sorted, none twice.
type Filter []string

// NewFilter is the canonical filter of patterns, which it checks.
func NewFilter(patterns []string) (Filter, error) {
	f := slices.Clone(Filter(patterns))
	slices.Sort(f)
	f = slices.Compact(f)
	if err := f.Validate(); err != nil {
		return nil, err
	}
	if slices.Contains(f, "*") {
		return nil, nil
	}
	return f, nil
}

// Validate reports a pattern that is empty, too long or not printable, or too many of them.
func (f Filter) Validate() error {
	if len(f) > MaxPatterns {
		return fmt.Errorf("filter has %d patterns, at most %d", len(f), MaxPatterns)
	}
	for _, p := range f {
		symbol, venue, _ := strings.Cut(p, "@")
		if symbol == "" {
			return fmt.Errorf("filter: pattern %.64q names no symbol", p)
		}
		if err := feed.ValidateText(symbol); err != nil {
			return fmt.Errorf("filter: symbol %w", err)
		}
		if err := feed.ValidateText(venue); err != nil {
			return fmt.Errorf("filter: venue %w", err)
		}
	}
	return nil
}

// All reports whether f wants every instrument.
func (f Filter) All() bool { return len(f) == 0 }

// Match reports whether f wants instrument d.
func (f Filter) Match(d *feed.Definition) bool {
	if f.All() {
		return true
	}
	for _, p := range f {
		symbol, venue, hasVenue := strings.Cut(p, "@")
		if glob(symbol, d.Symbol) && (!hasVenue || glob(venue, d.Venue)) {
			return true
		}
	}
	return false
}

// glob matches s against a pattern of literals, * and ?, in time proportional to the product
// of their lengths, both of which are bounded by feed.MaxText.
func glob(pattern, s string) bool {
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			p = star + 1
			mark++
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
