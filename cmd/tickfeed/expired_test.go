package main

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/publisher"
)

// Numbers that retention removed are lost. They are also expired, and no error, for a subscriber that asked for the beginning or
// for a time, but not for one that asked for them by number; a closed output does not hide that (subscribe --help, feed.Account).
func TestWhatRetentionRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pub := serve(t, publisher.Config{Journal: t.TempDir(), SegmentSize: 64 << 10, RetainBytes: 128 << 10, Memory: publisher.MinMemory}, "127.0.0.1:0")
	id, err := pub.Define(t.Context(), feed.Definition{Symbol: "A"})
	require.NoError(t, err)
	for range 20 {
		ticks := make([]feed.Tick, 5000)
		for i := range ticks {
			ticks[i] = feed.Quote{Bid: 1, BidSize: 1, Ask: 2, AskSize: 1}.Tick(id, noon)
		}
		require.NoError(t, pub.Publish(t.Context(), ticks))
	}
	require.NoError(t, pub.Flush(t.Context()))
	require.Eventually(t, func() bool { return pub.Stats().Tail > 1000 }, patience, 10*time.Millisecond)
	for _, test := range []struct {
		name    string
		args    []string
		expired bool
		closed  bool // standard output
		code    int
	}{
		{"beginning", []string{"--from", "beginning"}, true, false, exitDone},
		{"time", []string{"--from", "time:1"}, true, false, exitDone},
		{"by number", []string{"--from", "seq:1"}, false, false, exitData},
		{"beginning, the output is closed", []string{"--from", "beginning"}, true, true, exitDone},
		{"by number, the output is closed", []string{"--from", "seq:1"}, false, true, exitData},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCommand(dir, append([]string{"subscribe", pub.addr, "--json", "--ledger", "ledger", "--force"}, test.args...)...)
			if test.closed {
				r, w, err := os.Pipe()
				require.NoError(t, err)
				defer r.Close()
				c.Stdout = w
				c.start(t)
				w.Close()
				_, err = io.ReadFull(r, make([]byte, 100))
				require.NoError(t, err)
				r.Close()
				require.NoError(t, pub.Publish(t.Context(), []feed.Tick{feed.Quote{Bid: 1, BidSize: 1, Ask: 2, AskSize: 1}.Tick(id, noon)}))
			} else {
				c.Args = append(c.Args, "--count", "5")
				c.start(t)
			}
			require.Equal(t, test.code, c.exit(t), c.err.String())
			if test.expired {
				assert.Regexp(t, `account: .* [\d,]+ lost \([\d,]+ expired\)`, c.err.String())
			} else {
				assert.Regexp(t, `account: .* [1-9][\d,]* lost, `, c.err.String())
			}
			assert.Equal(t, test.code == exitData, strings.Contains(c.err.String(), " lost; the reasons are listed above"), c.err.String())
		})
	}
}
