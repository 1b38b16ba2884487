package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// A pattern of --symbols that matches no instrument of the files is reported, with the symbol that was meant.
func TestFileFilterNotesTypos(t *testing.T) {
	for _, c := range []struct {
		patterns []string
		typo     string
	}{
		{nil, ""},
		{[]string{"AMZN", "ES*"}, ""},
		{[]string{"AMZNN"}, `--symbols: no instrument matches AMZNN; did you mean "AMZN"?`},
		{[]string{"ESH6", "QQQQQQ", "AMZN@XNSA"}, `--symbols: no instrument matches AMZN@XNSA, QQQQQQ; for AMZN@XNSA, did you mean "AMZN@XNAS"?`},
		{[]string{"QQQQQQ"}, `--symbols: no instrument matches QQQQQQ`},
	} {
		f, err := fileSymbols(c.patterns)
		require.NoError(t, err)
		for _, d := range []feed.Definition{{Symbol: "AMZN", Venue: "XNAS"}, {Symbol: "ESH6", Venue: "XCME"}} {
			f.match(&d)
		}
		assert.Equal(t, c.typo, f.typo())
	}
	_, err := fileSymbols([]string{"A,,B", ""})
	assert.ErrorContains(t, err, "--symbols: a pattern is empty")
}
