package feed

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// A RangeSet is a set of sequence numbers, held as the fewest ranges. The zero RangeSet is
// empty and ready to use. Copying one shares its memory; use [RangeSet.Clone] before
// changing a copy.
type RangeSet struct {
	// ranges is sorted; none is empty, and between two neighbours at least one number is
	// missing.
	ranges []Range
}

// NewRangeSet returns the set of all numbers in rs, which may overlap and be in any order.
func NewRangeSet(rs ...Range) RangeSet {
	var s RangeSet
	for _, r := range rs {
		s.Add(r)
	}
	return s
}

// Add adds the numbers of r to the set. At or beyond the end of the set Add takes constant time, and no memory
// if r joins the last range; elsewhere it takes time linear in the number of ranges.
func (s *RangeSet) Add(r Range) {
	if r.Empty() {
		return
	}
	n := len(s.ranges)
	switch {
	case n == 0 || r.From > s.ranges[n-1].To:
		s.ranges = append(s.ranges, r)
		return
	case r.From >= s.ranges[n-1].From:
		s.ranges[n-1].To = max(s.ranges[n-1].To, r.To)
		return
	}
	i := sort.Search(n, func(i int) bool { return s.ranges[i].To >= r.From }) // first range that r touches
	j := sort.Search(n, func(j int) bool { return s.ranges[j].From > r.To })  // first range beyond r
	if i < j {
		r.From = min(r.From, s.ranges[i].From)
		r.To = max(r.To, s.ranges[j-1].To)
	}
	s.ranges = slices.Replace(s.ranges, i, j, r)
}

// Remove removes the numbers of r from the set.
func (s *RangeSet) Remove(r Range) {
	i, j := s.overlap(r)
	if i == j {
		return
	}
	var rest [2]Range
	k := 0
	for _, p := range [2]Range{{s.ranges[i].From, r.From}, {r.To, s.ranges[j-1].To}} {
		if !p.Empty() {
			rest[k] = p
			k++
		}
	}
	s.ranges = slices.Replace(s.ranges, i, j, rest[:k]...)
}

// overlap returns the indices [i, j) of the ranges that share a number with r.
func (s *RangeSet) overlap(r Range) (i, j int) {
	if r.Empty() {
		return 0, 0
	}
	n := len(s.ranges)
	i = sort.Search(n, func(i int) bool { return s.ranges[i].To > r.From })
	j = i + sort.Search(n-i, func(j int) bool { return s.ranges[i+j].From >= r.To })
	return i, j
}

// Contains reports whether seq is in the set.
func (s RangeSet) Contains(seq uint64) bool {
	i := sort.Search(len(s.ranges), func(i int) bool { return s.ranges[i].To > seq })
	return i < len(s.ranges) && s.ranges[i].Contains(seq)
}

// Intersect returns the numbers that are in both sets. The result shares no memory with either.
func (s RangeSet) Intersect(o RangeSet) RangeSet {
	var x RangeSet
	a, b := s.ranges, o.ranges
	for len(a) > 0 && len(b) > 0 {
		x.Add(a[0].Intersect(b[0]))
		if a[0].To < b[0].To {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return x
}

// Union returns the numbers that are in either set. The result shares no memory with either.
func (s RangeSet) Union(o RangeSet) RangeSet {
	var u RangeSet
	a, b := s.ranges, o.ranges
	for len(a) > 0 || len(b) > 0 {
		if len(b) == 0 || len(a) > 0 && a[0].From < b[0].From {
			u.Add(a[0])
			a = a[1:]
		} else {
			u.Add(b[0])
			b = b[1:]
		}
	}
	return u
}

// Minus returns the numbers of s that are not in o. The result shares no memory with either.
func (s RangeSet) Minus(o RangeSet) RangeSet {
	var m RangeSet
	b := o.ranges
	for _, r := range s.ranges {
		for len(b) > 0 && b[0].To <= r.From {
			b = b[1:]
		}
		for c := b; len(c) > 0 && c[0].From < r.To; c = c[1:] {
			m.Add(Range{r.From, c[0].From})
			r.From = c[0].To // beyond r.To only for the last range
		}
		m.Add(r)
	}
	return m
}

// Len returns how many numbers the set holds.
func (s RangeSet) Len() uint64 {
	var n uint64
	for _, r := range s.ranges {
		n += r.Len()
	}
	return n
}

// Empty reports whether the set holds no number.
func (s RangeSet) Empty() bool { return len(s.ranges) == 0 }

// IsZero reports the same as Empty; it lets encoding/json omit empty sets.
func (s RangeSet) IsZero() bool { return s.Empty() }

// Ranges returns the set as sorted ranges that neither overlap nor touch. They belong to the set.
func (s RangeSet) Ranges() []Range { return s.ranges }

// Equal reports whether both sets hold the same numbers.
func (s RangeSet) Equal(o RangeSet) bool { return slices.Equal(s.ranges, o.ranges) }

// Clone returns a copy that shares no memory with s.
func (s RangeSet) Clone() RangeSet { return RangeSet{slices.Clone(s.ranges)} }

// String returns the ranges separated by blanks, such as "[1, 5) [7, 9)", or "" for the empty set.
func (s RangeSet) String() string {
	var b strings.Builder
	for i, r := range s.ranges {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(r.String())
	}
	return b.String()
}

// MarshalJSON writes the ranges as [[from,to],…].
func (s RangeSet) MarshalJSON() ([]byte, error) {
	if s.ranges == nil {
		return []byte("[]"), nil
	}
	return json.Marshal(s.ranges)
}

// UnmarshalJSON reads what MarshalJSON wrote. Ranges must ascend and may neither be empty nor overlap; ranges
// that touch are joined.
func (s *RangeSet) UnmarshalJSON(b []byte) error {
	var rs []Range
	if err := json.Unmarshal(b, &rs); err != nil {
		return err
	}
	var set RangeSet
	last := uint64(0)
	for _, r := range rs {
		if r.Empty() || r.From < last {
			return fmt.Errorf("range [%d,%d] is empty or does not follow the one before it", r.From, r.To)
		}
		set.Add(r)
		last = r.To
	}
	*s = set
	return nil
}
