package main

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A repeating reader repeats text, and says how much of it was read.
type repeating struct {
	text string
	read int
}

func (e *repeating) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = e.text[e.read%len(e.text)]
		e.read++
	}
	return len(b), nil
}

// An endless pipe in no known format is refused by its beginning, and is not copied.
func TestEndlessPipes(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	const day = "../../testdata/day.tick"
	for _, c := range []struct {
		args []string
		text string
		want string
		code int
	}{
		{[]string{"ledger", "diff", day, "-"}, "y\n", "stdin is neither a journal, a recording, a ledger of subscribe --ledger, nor lines of subscribe --json\n", exitFailure},
		{[]string{"ledger", "diff", day, "-"}, "\x00", "stdin is neither a journal, a recording, a ledger", exitFailure},
		{[]string{"ledger", "diff", day, "-"}, `{"a":1}` + "\n", `stdin: line 1 has neither "event" nor "session" and "seq"`, exitFailure},
		{[]string{"merge", day, "-", "-o", "out.tick"}, "y\n", `stdin:1: the header names no column for a price, bid or ask; it has one column only`, exitData},
		{[]string{"inspect", day, "-"}, "\x00", "stdin: is a binary file of unknown format", exitData},
	} {
		in := &repeating{text: c.text}
		var stdout, stderr bytes.Buffer
		assert.Equal(t, c.code, run(c.args, in, &stdout, &stderr), c.args)
		assert.Contains(t, stderr.String(), c.want, c.args)
		assert.Less(t, in.read, 1<<20, c.args)
		left, err := filepath.Glob(filepath.Join(temporary, "*"))
		require.NoError(t, err)
		assert.Empty(t, left)
	}
}

// A comparison that found nothing to compare is not one that found no difference.
func TestNothingCompared(t *testing.T) {
	const day = "../../testdata/day.tick"
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{day, day, "--kinds", "auction"}, "tickfeed: nothing was compared: there is no tick in both that --symbols and --kinds choose\n"},
		{[]string{day, "-", "--common"}, "tickfeed: nothing was compared: no number is both in " + day + " and in stdin\n"},
	} {
		var stdout, stderr bytes.Buffer
		in := bytes.NewReader([]byte(`{"event":"connected","session":"b1b847cf924ca9ce","position":4}` + "\n" +
			`{"event":"left","session":"b1b847cf924ca9ce","next":4,"delivered":0,"not_asked":3,"withheld":0,"lost":0,"disowned":0}` + "\n"))
		assert.Equal(t, exitData, run(append([]string{"ledger", "diff"}, c.args...), in, &stdout, &stderr))
		assert.Equal(t, c.want, stderr.String())
		assert.Contains(t, stdout.String(), "they hold nothing in common")
	}
}
