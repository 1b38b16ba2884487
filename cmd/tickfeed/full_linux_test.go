package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A command whose standard output cannot be written fails and says why, once; one whose reader has gone is done.
func TestStandardOutputFails(t *testing.T) {
	const day = "../../testdata/day.tick"
	for _, args := range [][]string{
		{"demo", "--duration", "1s"}, {"demo", "--duration", "1s", "--json"}, {"help"}, {"help", "formats"}, {"publish", "--help"}, {"version"},
		{"inspect", day}, {"inspect", "--ticks", day}, {"inspect", "--json", day}, {"export", day, "-o", "-", "--as", "csv"}, {"export", day, "-o", "-", "--as", "parquet"},
		{"cut", day, "-o", "-"}, {"merge", day, "--by-time", "-o", "-"}, {"sim", "--instruments", "2", "--rate", "1", "-o", "-"},
	} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Skip("there is no /dev/full here")
		}
		c := newCommand("", args...)
		c.Stdout = full
		c.start(t)
		assert.Equal(t, exitFailure, c.exit(t), "%v", args)
		assert.Equal(t, 1, strings.Count(c.err.String(), "no space left on device"), "%v: %s", args, c.err.String())
		require.NoError(t, full.Close())

		r, w, err := os.Pipe()
		require.NoError(t, err)
		require.NoError(t, r.Close())
		c = newCommand("", args...)
		c.Stdout = w
		c.start(t)
		assert.Equal(t, exitDone, c.exit(t), "%v: %s", args, c.err.String())
		assert.NotContains(t, c.err.String(), "tickfeed: ")
		require.NoError(t, w.Close())
	}
}

// A token that nobody could read is a failure that says what to do, also if its reader has gone.
func TestTokenThatNobodyReads(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("there is no /dev/full here")
	}
	defer full.Close()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	defer w.Close()
	for _, out := range []*os.File{full, w} {
		c := newCommand(t.TempDir(), "user", "add", "desk", "--users", "users.yml")
		c.Stdout = out
		c.start(t)
		assert.Equal(t, exitFailure, c.exit(t))
		assert.Contains(t, c.err.String(), "; nobody has it: take user desk out of users.yml, and add it again\n")
	}
}
