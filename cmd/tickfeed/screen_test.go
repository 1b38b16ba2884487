package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// Errors begin in red, what is lost is red, what has recovered is green, what is being mended is yellow; without colours text stays
// what it is.
func TestNoteColours(t *testing.T) {
	coloured := screen{coloured: true}
	for text, want := range map[string]string{
		"tickfeed: no such file":                            "\x1b[31mtickfeed: \x1b[0mno such file",
		"recovered in 3ms by replay":                        "\x1b[32mrecovered in 3ms by replay\x1b[0m",
		"lost [1, 2) of a1: expired":                        "\x1b[31mlost [1, 2) of a1: expired\x1b[0m",
		"disconnected from a:1: EOF":                        "\x1b[33mdisconnected from a:1: EOF\x1b[0m",
		"a:1: busy; trying again until":                     "\x1b[33ma:1: busy; trying again until\x1b[0m",
		"account: 5 ticks, 0 withheld, 0 lost":              "account: 5 ticks, 0 withheld, 0 lost",
		"account: 5 ticks, 1,000,000 lost, 0 disowned":      "account: 5 ticks, \x1b[31m1,000,000 lost\x1b[0m, 0 disowned",
		"account: 5 ticks, 10 lost (3 expired), 0 disowned": "account: 5 ticks, \x1b[31m10 lost\x1b[0m (3 expired), 0 disowned",
		"live: receiving from lost ":                        "live: receiving from lost ",
		"x\nlost y":                                         "x\n\x1b[31mlost y\x1b[0m",
	} {
		assert.Equal(t, want, coloured.note(text))
		assert.Equal(t, text, screen{}.note(text))
	}
	assert.Equal(t, "\x1b[31mlost [1, 2) of\x1b[0m\n\x1b[31m  the publisher\x1b[0m", screen{coloured: true, width: 16}.note("lost [1, 2) of the publisher"),
		"each line of what is broken is coloured by itself")
	assert.Equal(t, "  time      one\n            two", screen{width: 16}.note("  time      one two"))
	assert.Equal(t, "\x1b[2m 1.0s \x1b[0mone\ntwo", wrap("\x1b[2m 1.0s \x1b[0mone two", 10, ""), "colours have no width")
}

// Colours are for a terminal, unless --color says otherwise.
func TestColourFlag(t *testing.T) {
	var out, errs bytes.Buffer
	code := run([]string{"inspect", "--verify", "../../testdata/day.tick", "--color", "always"}, strings.NewReader(""), &out, &errs)
	require.Equal(t, exitDone, code, errs.String())
	assert.Regexp(t, "^\x1b\\[32m.*: sound, [^\n]*\x1b\\[0m\n$", out.String())
	for _, when := range []string{"auto", "never"} {
		out.Reset()
		require.Equal(t, exitDone, run([]string{"inspect", "--verify", "../../testdata/day.tick", "--color", when}, strings.NewReader(""), &out, &errs))
		assert.NotContains(t, out.String(), "\x1b", when)
	}
	assert.Equal(t, exitUsage, run([]string{"version", "--color", "red"}, strings.NewReader(""), &out, &errs))
	assert.Contains(t, errs.String(), `--color must be auto, always or never, got "red"`)
}

// Characters of East Asia take two columns, and combining ones none.
func TestCellsOfWideCharactersAreTwo(t *testing.T) {
	for text, want := range map[string]int{"": 0, "abc": 3, "é": 1, "e\u0301": 1, "日経": 4, "한": 2, "😀": 2, "▁█": 2, "← → ": 4, "ｘ": 2} {
		assert.Equal(t, want, cells(text), text)
	}
	assert.Equal(t, "日", cut("日経", 3))
	assert.Equal(t, "日経 a\nb", wrap("日経 a b", 6, ""))
	var l statusLine
	assert.Equal(t, "\r\x1b[K日", l.show("日経", 4))
	assert.Equal(t, 2, l.cells)
	wide, narrow := string(new(textFormat).Names(&feed.Definition{Symbol: "日経", Venue: "XTKS"})), string(new(textFormat).Names(&feed.Definition{Symbol: "N", Venue: "XTKS"}))
	assert.Equal(t, cells(narrow), cells(wide), "columns line up")
}

// A status line is cut to its terminal; one that was broken because the terminal became narrower is removed as a whole.
func TestStatusLine(t *testing.T) {
	var l statusLine
	assert.Equal(t, "\r\x1b[K0123456789", l.show("0123456789", 80))
	assert.Equal(t, "\r\x1b[K012345678", l.show("0123456789", 10), "10 cells fill the line of 10 columns, and do not break it")
	assert.Equal(t, "\r\x1b[2A\x1b[J012", l.show("0123456789", 4), "9 cells are 3 lines of 4 columns")
	assert.Equal(t, "\r\x1b[K", l.clear(4))
	assert.Equal(t, "\r\x1b[K", l.clear(1))
	assert.Equal(t, "\r\x1b[Kx", l.show("x", 0), "a terminal that does not know its width")
}
