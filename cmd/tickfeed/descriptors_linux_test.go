package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/subscriber"
)

// limited is a tickfeed process that may have n file descriptors.
func limited(t *testing.T, n int, dir string, args ...string) *command {
	t.Helper()
	sh, err := exec.LookPath("sh")
	require.NoError(t, err)
	c := newCommand(dir)
	c.Path, c.Args = sh, append([]string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec tickfeed "$@"`, n), "tickfeed"}, args...)
	c.Err = nil
	return c
}

// A process that may have too few file descriptors for a publisher does not start: that is a matter of its configuration, and
// the error says how many there are and how many it needs. With as many as it says it starts, and logs how many connections
// there are descriptors for.
func TestTooFewDescriptors(t *testing.T) {
	day, err := filepath.Abs("../../testdata/day.tick")
	require.NoError(t, err)
	for name, args := range map[string][]string{
		"publish":                {"publish", "--listen", "unix:p.sock", "--rate", "1k", "--instruments", "5"},
		"publish with a journal": {"publish", "--listen", "unix:p.sock", "--rate", "1k", "--instruments", "5", "--journal", "j"},
		"replay":                 {"replay", day, "--listen", "unix:p.sock", "--http", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := limited(t, 20, dir, args...)
			c.start(t)
			require.Equal(t, exitUsage, c.exit(t), c.err.String())
			needs := regexp.MustCompile(`the process may have 20, of which \d+ are open, and needs at least (\d+) for 8 connections: raise the limit \(ulimit -n\)`).
				FindStringSubmatch(c.err.String())
			require.NotNil(t, needs, c.err.String())
			var n int
			_, err := fmt.Sscan(needs[1], &n)
			require.NoError(t, err)
			require.LessOrEqual(t, n, 100)
			c = limited(t, n, dir, args...)
			c.start(t)
			c.says(t, "listening")
			assert.Regexp(t, fmt.Sprintf(`"connections":\d+,"wanted":20000,"limit":%d,.*fewer connections than wanted`, n), c.err.String())

			// Nobody asked for the default, and hundreds are enough; a number that was asked for is what is wanted.
			for _, asked := range []string{"", "20000", "2000"} {
				c = limited(t, 1000, t.TempDir(), append(args, "--status", "0")...)
				if asked != "" {
					c.Args = append(c.Args, "--max-connections", asked)
				}
				c.start(t)
				c.says(t, "listening")
				if asked == "" {
					assert.NotContains(t, c.err.String(), "connections")
				} else {
					assert.Regexp(t, `"level":"warn","connections":\d+,"wanted":`+asked+`,"limit":1000,.*fewer connections than wanted`, c.err.String())
				}
			}
		})
	}
}

// A replay that goes on in another session serves its subscribers with two publishers for a while. There are file
// descriptors for the connections of both, so that it does not end for want of them, however many clients come. It begins with
// fewer subscribers than there is room for: that is 10, and less if the process starts with more files open.
func TestReplayMovesACrowdWithFewDescriptors(t *testing.T) {
	t.Parallel()
	day, err := filepath.Abs("../../testdata/day.tick")
	require.NoError(t, err)
	dir := t.TempDir()
	c := limited(t, 80, dir, "replay", day, "--speed", "100000x", "--loop", "--wait-subscribers", "5", "--listen", "unix:p.sock", "--http", "", "--status", "0")
	c.start(t)
	c.says(t, "listening")
	ctx, cancel := context.WithCancel(t.Context())
	var crowd sync.WaitGroup
	defer crowd.Wait()
	defer cancel()
	for range 36 {
		s, err := subscriber.New(subscriber.Config{Addrs: []string{"unix:" + filepath.Join(dir, "p.sock")}, Dial: dial})
		require.NoError(t, err)
		crowd.Go(func() { _ = s.Run(ctx, func(*subscriber.Batch) error { return nil }) })
	}
	c.says(t, `(?s)(.*"message":"session"){4}`)
	assert.False(t, strings.Contains(c.err.String(), "accept"), c.err.String())
}
