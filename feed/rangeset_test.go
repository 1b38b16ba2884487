package feed_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

func span(from, to uint64) feed.Range { return feed.Range{From: from, To: to} }

// universe bounds the numbers in random tests, which also keep each set as an array.
const universe = 40

type bitmap [universe]bool

func (m *bitmap) set(r feed.Range, v bool) {
	for seq := r.From; seq < r.To; seq++ {
		m[seq] = v
	}
}

func randomRange(rng *rand.Rand) feed.Range {
	from := rng.Uint64N(universe)
	return span(from, from+rng.Uint64N(min(universe-from, 8)+1))
}

// requireSet checks that s holds the numbers of m, in the fewest ranges.
func requireSet(t *testing.T, m *bitmap, s feed.RangeSet) {
	t.Helper()
	var got bitmap
	n := uint64(0)
	for seq := range uint64(universe) {
		got[seq] = s.Contains(seq)
		if m[seq] {
			n++
		}
	}
	require.True(t, got == *m, "%v, want %v", s, *m)
	require.True(t, s.Len() == n && s.Empty() == (n == 0), "%v holds %d numbers", s, s.Len())
	for i, r := range s.Ranges() {
		require.True(t, !r.Empty() && (i == 0 || s.Ranges()[i-1].To < r.From), "%v has empty or touching ranges", s)
	}
}

// A set of ranges holds the same numbers as a plain array of flags, under any mix of operations.
func TestRangeSetAgreesWithFlags(t *testing.T) {
	eachSeed(t, 150, func(t *testing.T, rng *rand.Rand) {
		var sets [2]feed.RangeSet
		var flags [2]bitmap
		for range 60 {
			i, r := rng.IntN(2), randomRange(rng)
			if rng.IntN(3) > 0 {
				sets[i].Add(r)
				flags[i].set(r, true)
			} else {
				sets[i].Remove(r)
				flags[i].set(r, false)
			}
			requireSet(t, &flags[i], sets[i])

			var both, either, less bitmap
			for seq := range both {
				a, b := flags[0][seq], flags[1][seq]
				both[seq], either[seq], less[seq] = a && b, a || b, a && !b
			}
			requireSet(t, &both, sets[0].Intersect(sets[1]))
			requireSet(t, &either, sets[0].Union(sets[1]))
			requireSet(t, &less, sets[0].Minus(sets[1]))
			require.Equal(t, flags[0] == flags[1], sets[0].Equal(sets[1]))

			var back feed.RangeSet
			b, err := json.Marshal(sets[i])
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(b, &back))
			require.True(t, back.Equal(sets[i]))

			copied := sets[i].Clone()
			copied.Add(span(0, universe))
			copied.Remove(span(3, 5))
			requireSet(t, &flags[i], sets[i])
		}
	})
}

// A set is written as its ranges in order, joined where they touch, as text and as JSON.
func TestRangeSetText(t *testing.T) {
	for _, c := range []struct {
		ranges     []feed.Range
		text, json string
	}{
		{nil, "", "[]"},
		{[]feed.Range{span(9, 7), span(3, 3)}, "", "[]"},
		{[]feed.Range{span(7, 9), span(1, 3), span(3, 5)}, "[1, 5) [7, 9)", "[[1,5],[7,9]]"},
		{[]feed.Range{span(0, math.MaxUint64)}, "[0, 18446744073709551615)", "[[0,18446744073709551615]]"},
	} {
		s := feed.NewRangeSet(c.ranges...)
		assert.Equal(t, c.text, s.String())
		b, err := json.Marshal(s)
		assert.NoError(t, err)
		assert.Equal(t, c.json, string(b))
	}
}

// UnmarshalJSON refuses JSON that is not a sorted list of ranges, and leaves the set unchanged.
func TestRangeSetJSONRefuses(t *testing.T) {
	for _, c := range []struct{ name, json, want string }{
		{"an object", `{}`, "cannot unmarshal object"},
		{"a lone number", `[1]`, "range 1: want [from,to]"},
		{"three numbers", `[[1,2,3]]`, "range [1,2,3]: want [from,to]"},
		{"null", `[null]`, "range null: want [from,to]"},
		{"a negative number", `[[-1,2]]`, "range [-1,2]: want [from,to]"},
		{"empty", `[[3,3]]`, "range [3,3] is empty or does not follow the one before it"},
		{"backwards", `[[3,2]]`, "range [3,2] is empty or does not follow the one before it"},
		{"overlapping", `[[1,5],[4,6]]`, "range [4,6] is empty or does not follow the one before it"},
		{"unsorted", `[[4,6],[1,3]]`, "range [1,3] is empty or does not follow the one before it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := feed.NewRangeSet(span(41, 42))
			require.ErrorContains(t, json.Unmarshal([]byte(c.json), &s), c.want)
			assert.Equal(t, "[41, 42)", s.String())
		})
	}
	var s feed.RangeSet
	require.NoError(t, json.Unmarshal([]byte(`[[1,3],[3,5]]`), &s))
	assert.Equal(t, "[1, 5)", s.String(), "touching ranges are joined")
}

// Adding at the end costs no memory.
func TestRangeSetAddAtTheEndAllocatesNothing(t *testing.T) {
	s := feed.NewRangeSet(span(1, 2))
	seq := uint64(2)
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		s.Add(span(seq, seq+3))
		seq += 3
	}))
	assert.Equal(t, fmt.Sprintf("[1, %d)", seq), s.String())
}
