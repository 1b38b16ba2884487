package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/subscriber"
)

// publish and replay check the flags of their service alike.
func TestServiceFlags(t *testing.T) {
	for _, test := range []struct{ flag, value, says string }{
		{"--heartbeat", "0s", "--heartbeat must be from 10ms to 1m0s, got 0s"},
		{"--max-connections", "0", "--max-connections must be at least 1, got 0"},
		{"--max-lag", "0s", "--max-lag must be from 1ms to "},
		{"--retry-after", "2h", "--retry-after must be from 0 to 1h, got 2h0m0s"},
		{"--memory", "1MB", "--memory must be at least 1MiB (1,048,576 bytes), got 1,000,000 bytes"},
		{"--memory", "0", "--memory must be at least 1MiB (1,048,576 bytes), got 0 bytes"},
		{"--status", "-1s", "--status must not be negative, got -1s"},
		{"--listen", "1234", "names no host"},
	} {
		for _, args := range [][]string{{"publish"}, {"replay", "../../testdata/day.tick"}} {
			c := startCommand(t, ".", append(args, test.flag, test.value)...)
			require.Equal(t, exitUsage, c.exit(t), "%v", args)
			assert.Contains(t, c.err.String(), test.says)
		}
	}
}

// With --log-format json every line of standard error is JSON, the account and the error too.
func TestNotesAsJSON(t *testing.T) {
	c := startCommand(t, t.TempDir(), "subscribe", "127.0.0.1:1", "--log-format", "json", "--max-attempts", "2")
	require.Equal(t, exitFailure, c.exit(t))
	var said []string
	for line := range strings.Lines(c.err.String()) {
		var event struct{ Level, Message, Time string }
		require.NoError(t, json.Unmarshal([]byte(line), &event), "%s", line)
		require.NotEmpty(t, event.Time)
		said = append(said, event.Level+" "+event.Message)
	}
	require.Len(t, said, 3)
	assert.Contains(t, said[0], "info cannot connect to 127.0.0.1:1: connection refused; trying again")
	assert.Contains(t, said[1], "error tickfeed: gave up after 2 attempts")
	assert.Contains(t, said[2], "info account: 0 ticks")
}

// The demo says how many ticks wait for a subscriber that hears nothing, whose own clock says no lag.
func TestDemoLag(t *testing.T) {
	for want, s := range map[string]subscriber.Status{
		"live 0":       {State: subscriber.Live, Next: 40_000},
		"live 1.5s":    {State: subscriber.Live, Next: 1, LagTime: 1500 * time.Millisecond},
		"stale -31.5k": {State: subscriber.Stale, Next: 10_000},
		"connecting 0": {State: subscriber.Connecting},
	} {
		assert.Equal(t, want, lag(s, 41_500, 20_000))
	}
}
