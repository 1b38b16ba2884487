package feed

import (
	"encoding/json"
	"fmt"
	"sort"
)

// A Range is the half-open span [From, To) of sequence numbers. The zero Range is empty.
type Range struct{ From, To uint64 }

// Len returns how many numbers r holds.
func (r Range) Len() uint64 {
	if r.To <= r.From {
		return 0
	}
	return r.To - r.From
}

// Empty reports whether r holds no number.
func (r Range) Empty() bool { return r.To <= r.From }

// Contains reports whether seq is in r.
func (r Range) Contains(seq uint64) bool { return seq >= r.From && seq < r.To }

// Intersect returns the numbers that are in both r and o.
func (r Range) Intersect(o Range) Range {
	x := Range{max(r.From, o.From), min(r.To, o.To)}
	if x.Empty() {
		return Range{}
	}
	return x
}

// Of returns the ticks whose numbers are in r, as a part of ticks, which must be in the order of their numbers.
func (r Range) Of(ticks []Tick) []Tick {
	from := sort.Search(len(ticks), func(i int) bool { return ticks[i].Seq >= r.From })
	n := sort.Search(len(ticks)-from, func(i int) bool { return ticks[from+i].Seq >= r.To })
	return ticks[from : from+n]
}

func (r Range) String() string { return fmt.Sprintf("[%d, %d)", r.From, r.To) }

// MarshalJSON writes r as [from,to].
func (r Range) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "[%d,%d]", r.From, r.To), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (r *Range) UnmarshalJSON(b []byte) error {
	var pair []uint64
	if err := json.Unmarshal(b, &pair); err != nil {
		return fmt.Errorf("range %.64s: want [from,to]: %w", b, err)
	}
	if len(pair) != 2 {
		return fmt.Errorf("range %.64s: want [from,to]", b)
	}
	*r = Range{pair[0], pair[1]}
	return nil
}
