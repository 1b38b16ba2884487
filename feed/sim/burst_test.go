package sim

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// perSecond returns the ticks of each second of a market of a minute and a half.
func perSecond(t *testing.T, c Config) (ticks [90]float64) {
	c.Days, c.DayLength = 1, 90*time.Second
	m, err := New(c)
	require.NoError(t, err)
	for batch := make([]feed.Tick, 256); ; {
		n, err := m.Next(context.Background(), batch)
		for _, k := range batch[:n] {
			if at := k.EventTime - m.open; at >= 0 && at < int64(90*time.Second) && k.Kind != feed.KindStatus {
				ticks[at/int64(time.Second)]++
			}
		}
		if err == io.EOF {
			return ticks
		}
		require.NoError(t, err)
	}
}

// The market goes on at its rate after what a script adds: nothing of it is paid back by a silence, and no cluster of it lasts.
func TestABurstIsNotPaidBack(t *testing.T) {
	t.Parallel()
	for text, factor := range map[string]float64{
		"at 30s: rate burst x20 for 5s": 20, "at 30s: rate x50 for 5s": 50, "at 30s: rate square x20 x1 every 10s for 5s": 20, "at 30s: activity * x20 for 5s": 20,
		"at 30s: rate poisson x20 for 5s": 20, "at 30s: rate constant x20 for 5s": 20,
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			const seeds, rate = 4, 200
			for _, s := range []struct {
				from, to    int
				least, most float64
			}{{30, 35, 0.9 * factor, 1.25 * factor}, {36, 41, 0.7, 1.5}, {36, 56, 0.8, 1.2}, {0, 30, 0.9, 1.2}} {
				sum := 0.0
				for seed := range uint64(seeds) {
					ticks := perSecond(t, Config{Instruments: 50, Rate: rate, Seed: seed + 1, Scenario: parsed(t, text)})
					for _, n := range ticks[s.from:s.to] {
						sum += n
					}
				}
				mean := sum / float64(s.to-s.from) / seeds / rate
				t.Logf("%d s to %d s: %.2f times the rate", s.from, s.to, mean)
				assert.True(t, mean >= s.least && mean <= s.most, "%d s to %d s: %.2f times the rate", s.from, s.to, mean)
			}
		})
	}
}
