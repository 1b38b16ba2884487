package bench

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/subscriber"
)

// A recovery counts once it has its first tick and is live, whichever comes first; a second loss before that belongs to it.
func TestRecoveryCountsOnceItIsLive(t *testing.T) {
	lost := &subscriber.Batch{Change: &subscriber.Change{State: subscriber.Disconnected, Err: assert.AnError}}
	live := &subscriber.Batch{Change: &subscriber.Change{State: subscriber.Live, Report: &subscriber.Report{Attempts: 1}}}
	tick := &subscriber.Batch{Ticks: make([]feed.Tick, 1)}
	for name, batches := range map[string][]*subscriber.Batch{
		"tick, live":             {tick, lost, tick, tick, live, tick},
		"live, tick":             {tick, lost, live, tick, tick},
		"lost twice":             {tick, lost, lost, tick, live},
		"lost twice, tick first": {tick, lost, tick, lost, tick, live},
	} {
		r := &reader{live: make(chan struct{})}
		for i, b := range batches {
			require.NoError(t, r.handle(b))
			if i == 1 {
				assert.Empty(t, r.recovered, name)
			}
		}
		require.Len(t, r.recovered, 1, name)
		got := r.recovered[0]
		assert.NotZero(t, got.Noticed, name)
		assert.LessOrEqual(t, got.Noticed, got.First, name)
		assert.LessOrEqual(t, got.Noticed, got.Live, name)
		assert.Equal(t, 1, got.Report.Attempts, name)
		assert.Equal(t, recovery{}, r.heard, name)
	}
}

// In text the figures of one kind of outage are one row; the header stands above the first kind.
func TestOutageRows(t *testing.T) {
	var told []*Figure
	b := bench{scenario: "reconnect", Config: Config{Figure: func(f *Figure) { told = append(told, f) }}}
	d := durations{time.Millisecond, 2 * time.Millisecond, 9 * time.Millisecond}
	b.tellOutage("3 × kind", "header", outageRow("  kind", d.text(), d.text(), d.text(), "0"), &times{d, d, d}, 0)
	require.Len(t, told, 7)
	var text strings.Builder
	for _, f := range told {
		require.NoError(t, f.WriteText(&text))
	}
	assert.Equal(t, "reconnect: header\nreconnect: "+outageRow("  kind", "2.00 ms / 9.00 ms", "2.00 ms / 9.00 ms", "2.00 ms / 9.00 ms", "0")+"\n", text.String())
	assert.Equal(t, "3 × kind, noticed, p50", told[0].Name)
	assert.InDelta(t, 0.002, told[0].Measured.Median, 1e-9)
	assert.InDelta(t, 0.009, told[1].Measured.Median, 1e-9)
	assert.True(t, *told[6].Reached)
}
