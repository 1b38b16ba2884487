package pattern

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// maxPatterns is the bound of a filter.
const maxPatterns = 4096

func matchAny(patterns []string, d *feed.Definition) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return Match(p, d) })
}

// Patterns match as PROTOCOL.md, "Filters", states.
func TestPatternsMatch(t *testing.T) {
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
		{"A@B@C", "A", "B@C", true}, // the first @ begins the venue
		{"A@B@C", "A@B", "C", false},
		{"A?B@C", "A@B", "C", true},
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
		assert.Equal(t, c.want, Match(c.pattern, &d), "%s of %s at %q", c.pattern, c.symbol, c.venue)
	}
}

// A pattern made to be slow costs time proportional to the product of two bounded lengths.
func TestGlobTakesNoExponentialTime(t *testing.T) {
	pattern := strings.Repeat("*a", feed.MaxText/2)
	symbol := strings.Repeat("a", feed.MaxText-1) + "b"
	d := feed.Definition{Symbol: symbol}
	began := time.Now()
	for range 1000 {
		assert.False(t, Match(pattern, &d))
	}
	assert.Less(t, time.Since(began), 5*time.Second)
}

// A ? matches one character, even if it has several bytes.
func TestQuestionMarkIsACharacter(t *testing.T) {
	for _, c := range []struct {
		pattern, symbol string
		want            bool
	}{
		{"?", "é", true},
		{"?", "币", true},
		{"?", "𝛑", true},
		{"??", "é", false},
		{"*??", "币", false},
		{"*?", "币", true},
		{"B?", "B币", true},
		{"?B", "币B", true},
		{"?*?", "é币", true},
		{"?é?", "aéb", true},
		{"*é?", "éé", true},
		{"?", "", false},
		{strings.Repeat("?", 16), strings.Repeat("𝛑", 16), true},
		{strings.Repeat("?", 17), strings.Repeat("𝛑", 16), false},
		{"*" + strings.Repeat("?", 63) + "b", strings.Repeat("a", 63) + "b", true},
		{strings.Repeat("?", 64), strings.Repeat("a", 64), true},
	} {
		for _, d := range []*feed.Definition{{Symbol: c.symbol}, {Symbol: "A", Venue: c.symbol}} {
			pattern := c.pattern
			if d.Venue != "" {
				pattern = "A@" + c.pattern
			} else if c.symbol == "" {
				continue
			}
			assert.Equal(t, c.want, Match(pattern, d), "%q %q", pattern, c.symbol)
			assert.Equal(t, c.want, NewMatcher([]string{pattern}).Match(d), "a Matcher of %q, %q", pattern, c.symbol)
		}
	}
}

// A pattern without * and ? matches itself and nothing else; with a * in front, every suffix.
func FuzzGlob(f *testing.F) {
	f.Add("AAPL", "AAPL", "XX")
	f.Add("E?Z*", "ESZ6", "")
	f.Add("?币*", "é币é", "€")
	f.Fuzz(func(t *testing.T, pattern, s, before string) {
		if len(pattern) > feed.MaxText || len(s) > feed.MaxText || len(before) > feed.MaxText || !utf8.ValidString(pattern+"\n"+s+"\n"+before) {
			return
		}
		if !strings.ContainsAny(pattern, "*?") {
			require.Equal(t, pattern == s, glob(pattern, s))
		}
		if glob(pattern, s) {
			require.True(t, glob("*"+pattern, before+s))
			require.True(t, glob(pattern+"*", s+before))
		}
		characters := utf8.RuneCountInString(s)
		require.True(t, glob(strings.Repeat("?", characters), s))
		require.False(t, glob(strings.Repeat("?", characters+1)+"*", s))
	})
}

// A Matcher gives the same result as comparing each pattern, and takes at most one step for each pattern and
// each of its bytes.
func TestMatcherComparesEachPattern(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 1))
	text := func(most int, letters string) string {
		b := make([]byte, rng.IntN(most+1))
		for i := range b {
			b[i] = letters[rng.IntN(len(letters))]
		}
		return string(b)
	}
	matched, checked := 0, 0
	for round := range 3000 {
		letters, most := "AB@", 6
		if round%10 == 0 {
			most = feed.MaxText
		}
		var patterns []string
		for range 1 + rng.IntN(30) {
			p := text(most, letters[:2]+"*?")
			if rng.IntN(2) == 0 {
				p += "@" + text(most, letters+"*?")
			}
			if p == "" || p[0] == '@' {
				continue
			}
			patterns = append(patterns, p)
		}
		if len(patterns) == 0 {
			continue
		}
		m := NewMatcher(patterns)
		for range 20 {
			d := feed.Definition{Symbol: text(most, letters), Venue: text(most, letters)}
			got, steps := m.Count(&d)
			require.Equal(t, matchAny(patterns, &d), got, "%q of %q at %q", patterns, d.Symbol, d.Venue)
			require.LessOrEqual(t, steps, stepsAtMost(patterns))
			checked++
			if got {
				matched++
			}
		}
	}
	assert.Greater(t, matched, checked/10)
	assert.Less(t, matched, checked*9/10)
}

// stepsAtMost returns the bound that Matcher documents.
func stepsAtMost(patterns []string) int {
	n := len(patterns)
	for _, p := range patterns {
		n += len(p)
	}
	return n
}

// Shared prefixes of patterns are compared once, and a pattern that cannot match is skipped. So the
// most expensive filters, 57 KB of * and ?, take a few thousand steps for an instrument, not the product of the lengths.
func TestMatcherSteps(t *testing.T) {
	d := feed.Definition{Symbol: "S01234", Venue: "XNAS"}
	many := func(pattern func(i int) string) (all []string) {
		for i := range maxPatterns {
			all = append(all, pattern(i))
		}
		return all
	}
	letter := func(i int) string {
		return string(rune('a'+i/26/26%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i%26))
	}
	for _, c := range []struct {
		name  string
		most  int
		steps func(i int) string
	}{
		{"exact patterns", 0, func(i int) string { return "T" + letter(i) }},
		{"prefixes", maxPatterns + 10, func(i int) string { return "T" + letter(i) + "*" }},
		{"suffixes", maxPatterns + 30, func(i int) string { return "*" + letter(i) }},
		{"stars and letters", 4 * maxPatterns, func(i int) string { return "*0*?*" + letter(i) + "*?*" }},
		{"venues", 2*maxPatterns + 10, func(i int) string { return "S*@*" + letter(i) }},
	} {
		wanted, steps := NewMatcher(many(c.steps)).Count(&d)
		assert.False(t, wanted, c.name)
		assert.LessOrEqual(t, steps, c.most, c.name)
	}
	runs := NewMatcher([]string{"*?*?X", "?*?X", "??*X", "**??X"})
	assert.Len(t, runs.wild, 1, "runs of * and ? that say the same are one pattern")
}

func FuzzMatcher(f *testing.F) {
	f.Add("A*@X?S\nB", "AAPL", "XNAS")
	f.Add("?*?@\n*@*@*", "A@", "@")
	f.Fuzz(func(t *testing.T, patterns, symbol, venue string) {
		if len(symbol) > feed.MaxText || len(venue) > feed.MaxText || !utf8.ValidString(symbol) || !utf8.ValidString(venue) {
			return
		}
		all := strings.Split(patterns, "\n")
		for _, p := range all {
			if Validate(p) != nil {
				return
			}
		}
		d := feed.Definition{Symbol: symbol, Venue: venue}
		got, steps := NewMatcher(all).Count(&d)
		require.Equal(t, matchAny(all, &d), got)
		require.LessOrEqual(t, steps, stepsAtMost(all))
	})
}

// BenchmarkMatcher measures a subscribe of 4,096 patterns at a publisher of 10,000 instruments.
func BenchmarkMatcher(b *testing.B) {
	for _, c := range []struct{ name, format string }{{"exact", "T%d"}, {"prefixes", "T%d*"}, {"stars", "*?S*%d*?*"}} {
		var patterns []string
		for i := range maxPatterns {
			patterns = append(patterns, fmt.Sprintf(c.format, i))
		}
		ds := make([]feed.Definition, 10_000)
		for i := range ds {
			ds[i] = feed.Definition{Symbol: fmt.Sprintf("S%05d", i), Venue: "XNAS"}
		}
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				m := NewMatcher(patterns)
				for i := range ds {
					m.Match(&ds[i])
				}
			}
		})
		b.Run(c.name+" one by one", func(b *testing.B) {
			for range b.N {
				for i := range ds {
					matchAny(patterns, &ds[i])
				}
			}
		})
	}
}

// PROTOCOL.md, "Filters": without @ the venue does not matter; with it, an instrument without a venue is matched only by a pattern
// that matches no bytes.
func TestPatternsWithAVenue(t *testing.T) {
	at, nowhere := &feed.Definition{Symbol: "A", Venue: "XNAS"}, &feed.Definition{Symbol: "A"}
	for _, test := range []struct {
		pattern     string
		at, nowhere bool
	}{
		{"A", true, true}, {"A@*", true, true}, {"A@XNAS", true, false}, {"A@X*", true, false}, {"A@????", true, false},
		{"A@", false, true}, {"A@xnas", false, false}, {"a", false, false},
	} {
		assert.Equal(t, test.at, Match(test.pattern, at), test.pattern)
		assert.Equal(t, test.nowhere, Match(test.pattern, nowhere), "%s, without a venue", test.pattern)
	}
}
