package recent

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// mixed spreads the bits of n evenly (splitmix64).
func mixed(n uint64) uint64 {
	n *= 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	return n ^ n>>27
}

// A set has the added keys, including 0, and no others.
func TestSetHasWhatWasAdded(t *testing.T) {
	var s, all Set
	assert.False(t, s.Has(0))
	assert.False(t, s.Has(1))
	for n := range uint64(5000) {
		s.Add(mixed(n))
		s.Add(mixed(n))
	}
	all.Add(mixed(9999))
	all.AddAll(&s)
	for n := range uint64(5000) {
		if !s.Has(mixed(n)) || !all.Has(mixed(n)) || s.Has(mixed(n+5000)) {
			t.Fatal(n)
		}
	}
	assert.Equal(t, 5000, s.young.n)
	assert.True(t, all.Has(mixed(9999)))
	assert.False(t, all.Forgot())
}

// Beyond two generations the oldest keys are forgotten, and never more than that.
func TestGenerationsForgetTheOldest(t *testing.T) {
	var s Set
	for n := range uint64(2*Generation + 1) {
		s.Add(mixed(n))
	}
	assert.True(t, s.Forgot())
	assert.False(t, s.Has(mixed(0)))
	assert.False(t, s.Has(mixed(Generation-1)))
	assert.True(t, s.Has(mixed(Generation)))
	assert.True(t, s.Has(mixed(2*Generation)))
	assert.LessOrEqual(t, len(s.young.slots)+len(s.old.slots), 4*Generation*2)
}

// A repeated trade in a later file is detected; equal trades in one file are different ones.
func TestPrintsFindRepeatsOfLaterFiles(t *testing.T) {
	var p Prints
	var g Group
	a, b := Print{Source: 1, Time: 5, Number: 7, Price: 100, Size: 1}, Print{Source: 1, Time: 5, Number: 7, Price: 101, Size: 1}
	file := func(trades ...Print) (repeated []bool) {
		p.Begin()
		for _, tr := range trades {
			repeated = append(repeated, p.Repeated(&g, tr))
		}
		return repeated
	}
	assert.Equal(t, []bool{false, false, false, false}, file(a, b, a, a))
	assert.Equal(t, []bool{true, true, true, true, false}, file(a, a, b, a, a), "the fourth of a")
	assert.Equal(t, []bool{true, true}, file(a, b))
	next := a
	next.Time++
	assert.Equal(t, []bool{false, true}, file(next, a))
	assert.False(t, p.Forgot())
}
