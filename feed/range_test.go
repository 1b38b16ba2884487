package feed_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// A range is half-open; one that ends before it begins is empty.
func TestRangeIsHalfOpen(t *testing.T) {
	for _, c := range []struct {
		r    feed.Range
		len  uint64
		in   []uint64
		out  []uint64
		text string
	}{
		{span(0, 0), 0, nil, []uint64{0, 1}, "[0, 0)"},
		{span(41, 44), 3, []uint64{41, 43}, []uint64{40, 44}, "[41, 44)"},
		{span(44, 41), 0, nil, []uint64{40, 41, 42, 44}, "[44, 41)"},
		{span(0, math.MaxUint64), math.MaxUint64, []uint64{0, math.MaxUint64 - 1}, []uint64{math.MaxUint64}, "[0, 18446744073709551615)"},
	} {
		assert.Equal(t, c.len, c.r.Len())
		assert.Equal(t, c.len == 0, c.r.Empty())
		for _, seq := range c.in {
			assert.True(t, c.r.Contains(seq), "%d in %v", seq, c.r)
		}
		for _, seq := range c.out {
			assert.False(t, c.r.Contains(seq), "%d in %v", seq, c.r)
		}
		assert.Equal(t, c.text, c.r.String())
	}
}

// An intersection has the numbers of both ranges, and is the zero Range if there are none.
func TestRangeIntersect(t *testing.T) {
	for _, c := range []struct{ a, b, want feed.Range }{
		{span(1, 5), span(3, 9), span(3, 5)},
		{span(1, 9), span(3, 5), span(3, 5)},
		{span(1, 3), span(3, 5), feed.Range{}},
		{span(1, 3), span(5, 9), feed.Range{}},
		{span(1, 9), span(5, 4), feed.Range{}},
	} {
		assert.Equal(t, c.want, c.a.Intersect(c.b))
		assert.Equal(t, c.want, c.b.Intersect(c.a))
	}
}

// In JSON a range is a pair, exact up to the greatest number.
func TestRangeJSON(t *testing.T) {
	for text, r := range map[string]feed.Range{
		`[0,0]`:                     {},
		`[41,44]`:                   span(41, 44),
		`[0,18446744073709551615]`:  span(0, math.MaxUint64),
		`[9223372036854775807,100]`: span(math.MaxInt64, 100),
	} {
		b, err := json.Marshal(r)
		require.NoError(t, err)
		assert.Equal(t, text, string(b))
		var back feed.Range
		require.NoError(t, json.Unmarshal(b, &back))
		assert.Equal(t, r, back)
	}
	for _, text := range []string{`null`, `[]`, `[1]`, `[1,2,3]`, `[1,-2]`, `[1,2.5]`, `[1,18446744073709551616]`, `"1-2"`, `{"From":1}`} {
		var r feed.Range
		assert.Error(t, json.Unmarshal([]byte(text), &r), text)
	}
}

// The ticks of a range are those whose numbers are in it, also where numbers are missing.
func TestRangeOfTicks(t *testing.T) {
	ticks := []feed.Tick{{Seq: 41}, {Seq: 42}, {Seq: 44}}
	for _, c := range []struct {
		r    feed.Range
		want []feed.Tick
	}{
		{feed.Range{From: 0, To: 41}, ticks[:0]}, {feed.Range{From: 0, To: 42}, ticks[:1]}, {feed.Range{From: 41, To: 45}, ticks},
		{feed.Range{From: 42, To: 44}, ticks[1:2]}, {feed.Range{From: 43, To: 44}, ticks[:0]}, {feed.Range{From: 43, To: math.MaxUint64}, ticks[2:]},
		{feed.Range{From: 45, To: 50}, ticks[:0]}, {feed.Range{From: 44, To: 42}, ticks[:0]}, {feed.Range{}, ticks[:0]},
	} {
		assert.Equal(t, c.want, c.r.Of(ticks), "%v", c.r)
	}
	assert.Empty(t, feed.Range{From: 1, To: 2}.Of(nil))
}
