package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/publisher"
)

// subscribe --from seq:M --until seq:N prints the ticks of [M, N), of a session that goes on, and ends with 0; what it wants of a
// number is checked.
func TestSubscribeUntil(t *testing.T) {
	pub := serve(t, publisher.Config{}, "127.0.0.1:0")
	id, err := pub.Define(t.Context(), feed.Definition{Symbol: "AAPL"})
	require.NoError(t, err)
	for i := range int64(200) {
		require.NoError(t, pub.Publish(t.Context(), []feed.Tick{feed.Quote{Bid: i, Ask: i + 1}.Tick(id, noon+i)}))
	}
	require.NoError(t, pub.Flush(t.Context()))
	c := startCommand(t, t.TempDir(), "subscribe", pub.addr, "--from", "seq:42", "--until", "seq:99", "--json", "--no-snapshot")
	require.Equal(t, exitDone, c.exit(t), c.err.String())
	lines := strings.Split(strings.TrimSpace(c.out.String()), "\n")
	require.Len(t, lines, 57)
	assert.Contains(t, lines[0], `"seq":42,`)
	assert.Contains(t, lines[56], `"seq":98,`)
	assert.Contains(t, c.err.String(), "account: 57 ticks")
	for _, bad := range []string{"99", "seq:0", "seq:x", "seq:9223372036854775809", "time:99"} {
		c := startCommand(t, t.TempDir(), "subscribe", pub.addr, "--until", bad)
		assert.Equal(t, exitUsage, c.exit(t), bad)
		assert.Contains(t, c.err.String(), "--until must be seq:N")
	}
	c = startCommand(t, t.TempDir(), "subscribe", pub.addr, "--from", "seq:42", "--until", "seq:42")
	assert.Equal(t, exitUsage, c.exit(t))
	assert.Contains(t, c.err.String(), "--until seq:42 is not after --from seq:42")
}
