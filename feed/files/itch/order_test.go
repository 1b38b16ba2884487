package itch_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"tickfeed/feed/files/itch"
	"tickfeed/feed/recorded"
)

// numbered returns a packet of one message with the given order, price and time.
func numbered(first, price, at uint64) []byte {
	var w writer
	w.add(at, price, 'B', 1, uint32(price))
	return moldOf("0000000001", first, 1, w)
}

// Messages are read in the order of their numbers if two lines were captured together and each has packets that
// the other lost.
func TestReorderedLines(t *testing.T) {
	for _, c := range []struct {
		name       string
		numbers    []uint64
		want       []int64
		gaps, dups int64
	}{
		{"one late", []uint64{1, 2, 4, 3, 5}, []int64{1, 2, 3, 4, 5}, 0, 0},
		{"first late", []uint64{2, 1, 3}, []int64{1, 2, 3}, 0, 0},
		{"both lines", []uint64{1, 1, 3, 3, 2, 2, 4, 4}, []int64{1, 2, 3, 4}, 0, 4},
		{"one lost", []uint64{1, 2, 4, 6, 5}, []int64{1, 2, 4, 5, 6}, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var packets [][]byte
			for _, n := range c.numbers {
				packets = append(packets, numbered(n, n, n))
			}
			ticks, _, stats := read(t, itch.Config{}, pcapOf(t, packets...))
			assert.Equal(t, c.want, recorded.LevelPrices(ticks))
			assert.Equal(t, c.gaps, stats.Gaps)
			assert.Equal(t, c.dups, stats.Duplicates)
			assert.Zero(t, stats.Resets)
		})
	}
}

// A sender that begins again at number 1 in the same session has later times than all before; late packets of
// the old numbering on the other line are left out.
func TestSenderBeginsAgain(t *testing.T) {
	ticks, _, stats := read(t, itch.Config{}, pcapOf(t,
		numbered(1, 1, 1), numbered(2, 2, 2), numbered(3, 3, 3), numbered(2, 2, 2),
		numbered(2, 12, 12), numbered(3, 3, 3), numbered(1, 11, 11), numbered(3, 13, 13)))
	assert.Equal(t, []int64{1, 2, 3, 11, 12, 13}, recorded.LevelPrices(ticks))
	assert.EqualValues(t, 1, stats.Resets)
	assert.EqualValues(t, 2, stats.Duplicates)
	assert.Zero(t, stats.Gaps)
}
