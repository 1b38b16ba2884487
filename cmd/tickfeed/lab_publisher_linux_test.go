package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The lab starts a publisher, does to it what the rules say, and ends it; a subscriber behind the lab recovers each time and
// loses nothing but what came after the copy.
func TestLabRunsAPublisher(t *testing.T) {
	dir := t.TempDir()
	script := `at seq 1000: kill for 20ms
at seq 1200: stop
at seq 1400: copy journal
at seq 1500: freeze for 50ms
at seq 1600: disk full for 20ms
at seq 1700: restart over copy
at seq 2000: restart over none
at seq 500_000: kill   # never
`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "s.lab"), []byte(script), 0o600))
	c := startCommand(t, dir, "lab", "s.lab", "--listen", "unix:lab.sock", "--journal", "j", "--json", "--", "tickfeed", "publish", "--listen", "{listen}", "--journal", "{journal}", "--rate", "20000", "--heartbeat", "100ms")
	require.Eventually(t, func() bool { _, err := os.Stat(filepath.Join(dir, "lab.sock")); return err == nil }, patience, 5e6)
	s := startCommand(t, dir, "subscribe", "unix:lab.sock", "--json", "--events", "--from", "beginning", "--max-backoff", "200ms")
	defer s.Process.Kill()
	require.Eventually(t, func() bool { // the third session, or a later one, has nothing in common with the first
		return strings.Contains(s.out.String(), `"reason":"snapshot"`)
	}, patience, 1e7)
	require.NoError(t, c.Process.Signal(syscall.SIGTERM))
	assert.Equal(t, exitData, c.exit(t), c.err.String()) // a rule never did anything
	times := map[string]uint64{}
	for line := range strings.Lines(c.out.String()) {
		var r struct {
			Rule  string
			Times uint64
		}
		require.NoError(t, json.Unmarshal([]byte(line), &r), line)
		if r.Rule != "" {
			times[r.Rule] = r.Times
		}
	}
	for line := range strings.Lines(script) {
		rule, _, never := strings.Cut(strings.TrimSpace(line), "   #")
		want := uint64(1)
		if never {
			want = 0
		}
		assert.Equal(t, want, times[rule], "%s: %v", rule, times)
	}
	before, _, _ := strings.Cut(s.out.String(), `"reason":"snapshot"`)
	assert.Equal(t, 1999, strings.Count(before, `"seq":`), "each number before the replacement came once")
	for _, left := range []string{"j", "j.copy", "j.1", "j.2"} {
		assert.DirExists(t, filepath.Join(dir, left))
	}
}

// A lab whose publisher ends by itself ends too, and what cannot work is refused before anything starts.
func TestLabPublisherErrors(t *testing.T) {
	for _, test := range []struct {
		args []string
		exit int
		want string
	}{
		{[]string{"--rule", "at seq 1: kill"}, exitUsage, "--rule:1:11: kill happens to a publisher that the lab runs itself: give its command"},
		{[]string{"--rule", "at seq 1: cut", "--"}, exitUsage, "the command of the publisher must follow --"},
		{[]string{"--rule", "at seq 1: cut", "--", "true"}, exitUsage, "where does the publisher listen? write {listen}"},
		{[]string{"--rule", "at seq 1: cut", "--", "no-such-program", "{listen}"}, exitUsage, "cannot be started"},
		{[]string{"--rule", "at seq 1: cut", "--journal", "j", "--", "true", "{listen}"}, exitUsage, "--journal is the directory that takes the place of {journal}"},
		{[]string{"--rule", "at seq 1: cut", "--journal", "j"}, exitUsage, "--journal is that of a publisher that the lab starts"},
		{[]string{"--rule", "at seq 1: disk full for 1s", "--", "true", "{listen}"}, exitUsage, "--rule:1:11: disk full: the lab does not know the journal"},
		{[]string{"--rule", "at seq 1: restart over copy", "--", "true", "{listen}", "{journal}"}, exitUsage, "--rule:1:11: restart over copy needs a copy"},
		{[]string{"--rule", "at seq 1: cut", "--", "sh", "-c", "echo no such market; exit 3", "{listen}"}, exitFailure, "sh has ended, and has not listened"},
		{[]string{"a.lab", "b.lab", "--", "true"}, exitUsage, `"b.lab" is too much`},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			t.Parallel()
			c := startCommand(t, t.TempDir(), append([]string{"lab", "--listen", "127.0.0.1:0"}, test.args...)...)
			assert.Equal(t, test.exit, c.exit(t), c.err.String())
			assert.Contains(t, c.err.String(), test.want)
		})
	}
}
