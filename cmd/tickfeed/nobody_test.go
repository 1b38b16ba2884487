package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A replay that leaves at its end warns if it begins to play to nobody, and names the flag that makes it wait; not if somebody
// is there.
func TestReplayToNobody(t *testing.T) {
	day, err := filepath.Abs("../../testdata/day.tick")
	require.NoError(t, err)
	dir := t.TempDir()
	for _, wait := range []string{"0", "1"} {
		play := startCommand(t, dir, "replay", day, "--speed", "max", "--exit-at-end", "--wait-subscribers", wait, "--listen", "unix:p.sock", "--http", "")
		play.says(t, "listening")
		if wait == "0" {
			play.says(t, "started without a subscriber.*--wait-subscribers N")
		}
		sub := startCommand(t, dir, "subscribe", "unix:p.sock", "--from", "beginning", "--until-end", "--quiet")
		require.Equal(t, exitDone, sub.exit(t), sub.err.String())
		require.Equal(t, exitDone, play.exit(t), play.err.String())
		if wait == "1" {
			assert.NotContains(t, play.err.String(), `"warn"`)
		}
	}
}

// Ticks that are published to nobody and kept nowhere are worth a warning; those in a journal are not.
func TestPublishToNobody(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "quotes.csv"), []byte("ts_event,symbol,bid,ask\n2026-03-02T14:30:00Z,AAPL,1,2\n"), 0o600))
	for _, keep := range [][]string{nil, {"--journal", "j"}} {
		c := startCommand(t, dir, append([]string{"publish", "quotes.csv", "--wait-for", "0", "--exit-at-end", "--listen", "unix:p.sock"}, keep...)...)
		require.Equal(t, exitDone, c.exit(t), c.err.String())
		if keep == nil {
			assert.Regexp(t, `"warn".*"ticks":2.*no subscriber came.*--wait-for N.*--journal`, c.err.String())
		} else {
			assert.NotContains(t, c.err.String(), `"warn"`)
		}
	}
}
