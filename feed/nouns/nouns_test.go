package nouns_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"tickfeed/feed/nouns"
)

// A count is written with commas, and its noun in the singular or the plural.
func TestCountsHaveCommasAndNumber(t *testing.T) {
	for want, got := range map[string]string{
		"1,234,567": nouns.Thousands(1234567), "999": nouns.Thousands(uint64(999)),
		"1 recovery": nouns.Count(1, "recovery"), "2 recoveries": nouns.Count(2, "recovery"), "0 ticks": nouns.Count(0, "tick"), "12,345 ticks": nouns.Count(uint64(12_345), "tick"),
		"3 statuses": nouns.Count(3, "status"), "1 number is gone": nouns.Are(1, "number", "gone"), "2 numbers are gone": nouns.Are(2, "number", "gone"),
	} {
		assert.Equal(t, want, got)
	}
}
