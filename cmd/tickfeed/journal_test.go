package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/publisher"
)

// A publisher over a journal of which files are missing says so at the start, in one warning with the numbers. If a retention
// may have removed the first file, that is no damage.
func TestMissingJournalFilesAreReportedAtTheStart(t *testing.T) {
	dir := t.TempDir()
	pub, err := publisher.New(publisher.Config{Journal: filepath.Join(dir, "j"), SegmentSize: 1 << 10, Memory: publisher.MinMemory})
	require.NoError(t, err)
	id, err := pub.Define(t.Context(), feed.Definition{Symbol: "A"})
	require.NoError(t, err)
	begun := func() []string {
		names, err := filepath.Glob(filepath.Join(dir, "j", "*.tick"))
		require.NoError(t, err)
		return names
	}
	// While two files that ended are not settled yet, no further file begins.
	for deadline := time.Now().Add(patience); len(begun()) < 6; {
		require.True(t, time.Now().Before(deadline), "the journal has %d files", len(begun()))
		ticks := make([]feed.Tick, 50_000) // more than a segment of the memory: a file ends where one begins
		for i := range ticks {
			ticks[i] = feed.Quote{Bid: 1, BidSize: 1, Ask: 2, AskSize: 1}.Tick(id, noon)
		}
		require.NoError(t, pub.Publish(t.Context(), ticks))
		require.NoError(t, pub.Flush(t.Context()))
	}
	require.NoError(t, pub.Close(t.Context()))
	names := begun()
	slices.Sort(names)
	first := func(i int) string { return strings.TrimLeft(strings.SplitN(filepath.Base(names[i]), "-", 2)[0], "0") }
	for _, i := range []int{0, 2, 3} {
		require.NoError(t, os.Remove(names[i]))
	}
	before, middle := "[1, "+first(1)+")", "["+first(2)+", "+first(4)+")"
	for _, test := range []struct {
		args    []string
		missing string
	}{{nil, before + " " + middle}, {[]string{"--retain", "100GB"}, middle}} {
		c := startCommand(t, dir, append([]string{"publish", "--journal", "j", "--listen", "127.0.0.1:0", "--rate", "1k", "--instruments", "5"}, test.args...)...)
		c.says(t, "listening")
		var warnings []string
		for line := range strings.Lines(c.err.String()) {
			var event struct{ Level, Message, Missing string }
			require.NoError(t, json.Unmarshal([]byte(line), &event))
			if event.Level == "warn" {
				warnings = append(warnings, event.Missing)
				assert.Contains(t, event.Message, "the journal is damaged")
			}
		}
		assert.Equal(t, []string{test.missing}, warnings)
		require.NoError(t, c.Process.Signal(os.Interrupt))
		require.Equal(t, exitInterrupted, c.exit(t), c.err.String())
	}
}
