package codec

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// What a pattern matches. PROTOCOL.md, "Filters".
func TestFilterMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, symbol, venue string
		want                   bool
	}{
		{"AAPL", "AAPL", "XNAS", true},
		{"AAPL", "AAPL", "", true},
		{"AAPL", "aapl", "XNAS", false},
		{"AAPL", "AAPLW", "XNAS", false},
		{"AAPL", "AAP", "XNAS", false},
		{"AAPL@XNAS", "AAPL", "XNAS", true},
		{"AAPL@XNAS", "AAPL", "ARCX", false},
		{"AAPL@", "AAPL", "", true},
		{"AAPL@", "AAPL", "XNAS", false},
		{"AAPL@*", "AAPL", "", true},
		{"*@XNAS", "MSFT", "XNAS", true},
		{"*@X?A*", "MSFT", "XNAS", true},
		{"*@X?A*", "MSFT", "ARCX", false},
		{"ES*", "ES", "", true},
		{"ES*", "ESZ6", "XCME", true},
		{"ES*", "NES", "XCME", false},
		{"ES??", "ESZ6", "", true},
		{"ES??", "ESZ", "", false},
		{"*Z?", "ESZZ6", "", true},
		{"*Z?", "ESZ66", "", false},
		{"**", "X", "", true},
		{"a*b*c", "a-b-b-c", "", true},
		{"a*b*c", "a-c-b", "", false},
		{"?", "", "", false},
	} {
		d := feed.Definition{Symbol: c.symbol, Venue: c.venue}
		assert.Equal(t, c.want, Filter{c.pattern}.Match(&d), "%s of %s at %q", c.pattern, c.symbol, c.venue)
	}
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

// A pattern made to be slow costs time proportional to the product of two bounded lengths.
func TestGlobTakesNoExponentialTime(t *testing.T) {
	pattern := strings.Repeat("*a", feed.MaxText/2)
	symbol := strings.Repeat("a", feed.MaxText-1) + "b"
	d := feed.Definition{Symbol: symbol}
	began := time.Now()
	for range 1000 {
		assert.False(t, Filter{pattern}.Match(&d))
	}
	assert.Less(t, time.Since(began), 5*time.Second)
}

// A pattern without * and ? matches itself and nothing else; with a * in front, every suffix.
func FuzzGlob(f *testing.F) {
	f.Add("AAPL", "AAPL", "XX")
	f.Add("E?Z*", "ESZ6", "")
	f.Fuzz(func(t *testing.T, pattern, s, before string) {
		if len(pattern) > feed.MaxText || len(s) > feed.MaxText || len(before) > feed.MaxText {
			return
		}
		if !strings.ContainsAny(pattern, "*?") {
			require.Equal(t, pattern == s, glob(pattern, s))
		}
		if glob(pattern, s) {
			require.True(t, glob("*"+pattern, before+s))
			require.True(t, glob(pattern+"*", s+before))
		}
		require.True(t, glob(strings.Repeat("?", len(s)), s))
		require.False(t, glob(strings.Repeat("?", len(s)+1)+"*", s))
	})
}
