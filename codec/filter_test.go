package codec

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// A filter selects what any of its patterns matches; the empty filter selects all.
func TestFilterMatches(t *testing.T) {
	d := feed.Definition{Symbol: "MSFT"}
	assert.True(t, Filter(nil).Match(&d), "the empty filter wants all")
	assert.True(t, Filter{"AAPL", "MSFT"}.Match(&d), "any pattern will do")
	assert.False(t, Filter{"AAPL", "IBM"}.Match(&d))
}

func TestNewFilterIsCanonical(t *testing.T) {
	given := []string{"MSFT", "AAPL", "MSFT"}
	f, err := NewFilter(given)
	require.NoError(t, err)
	assert.Equal(t, Filter{"AAPL", "MSFT"}, f)
	assert.Equal(t, []string{"MSFT", "AAPL", "MSFT"}, given, "its argument was changed")
	assert.False(t, f.All())

	for _, all := range [][]string{nil, {}, {"*"}, {"AAPL", "*"}} {
		f, err = NewFilter(all)
		require.NoError(t, err)
		assert.True(t, f.All())
	}
}

// Patterns without a symbol, too long, with characters that are not text, or too many are refused.
func TestNewFilterRefuses(t *testing.T) {
	long := strings.Repeat("x", feed.MaxText)
	_, err := NewFilter([]string{long + "@" + long})
	require.NoError(t, err)
	for name, patterns := range map[string][]string{
		"no symbol":           {""},
		"a venue alone":       {"@XNAS"},
		"a symbol too long":   {long + "x"},
		"a venue too long":    {"A@" + long + "x"},
		"a control character": {"A\x1b"},
		"what is not UTF-8":   {"A@\xff"},
	} {
		_, err := NewFilter(patterns)
		assert.ErrorContains(t, err, "filter", name)
	}
	var many []string
	for i := range MaxPatterns + 1 {
		many = append(many, "S"+strings.Repeat("y", i%60)+string(rune('a'+i/60%26))+string(rune('a'+i/1560)))
	}
	_, err = NewFilter(many)
	assert.ErrorContains(t, err, "4097 patterns, at most 4096")
}
