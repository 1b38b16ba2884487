package codec

import (
	"fmt"
	"slices"

	"tickfeed/codec/pattern"
	"tickfeed/feed"
)

// A Filter selects the instruments that any of its patterns matches. The empty Filter selects all. Filters are compared in
// their canonical form: sorted, without duplicates. Package pattern has the rules of patterns.
type Filter []string

// NewFilter checks patterns and returns their canonical filter.
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

// Validate returns an error if a pattern is empty, too long or not printable, or if there are too many patterns.
func (f Filter) Validate() error {
	if len(f) > MaxPatterns {
		return fmt.Errorf("filter has %d patterns, at most %d", len(f), MaxPatterns)
	}
	for _, p := range f {
		if err := pattern.Validate(p); err != nil {
			return fmt.Errorf("filter: %w", err)
		}
	}
	return nil
}

// All reports whether f selects every instrument.
func (f Filter) All() bool { return len(f) == 0 }

// Match reports whether f selects instrument d. For many instruments, or a filter from a peer, use a pattern.Matcher.
func (f Filter) Match(d *feed.Definition) bool {
	for _, p := range f {
		if pattern.Match(p, d) {
			return true
		}
	}
	return f.All()
}
