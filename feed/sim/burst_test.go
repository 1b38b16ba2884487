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

// per returns the ticks of each part of a market of a minute and a half.
func per(t *testing.T, part time.Duration, c Config) []float64 {
	c.Days, c.DayLength = 1, 90*time.Second
	ticks := make([]float64, c.DayLength/part)
	m, err := New(c)
	require.NoError(t, err)
	for batch := make([]feed.Tick, 256); ; {
		n, err := m.Next(context.Background(), batch)
		for _, k := range batch[:n] {
			if at := k.EventTime - m.open; at >= 0 && at < int64(90*time.Second) && k.Kind != feed.KindStatus {
				ticks[at/int64(part)]++
			}
		}
		if err == io.EOF {
			return ticks
		}
		require.NoError(t, err)
	}
}

func sum(x []float64) (s float64) {
	for _, v := range x {
		s += v
	}
	return s
}

// A burst whose end is known has the ticks that it asks for, within 5 %, and they still come in clusters: the variance of the ticks in
// 10 ms is many times their mean, which is 1 for independent ticks and 55 for a market that always has so many.
func TestBurstHasTheRateThatItAsksFor(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text    string
		factor  float64
		seconds int
	}{
		{"at 30s: activity * x20 for 5s", 20, 5}, {"at 30s: rate x20 for 5s", 20, 5}, {"at 30s: rate burst x4 for 5s", 4, 5}, {"at 30s: rate burst x20 for 1s every 30s", 20, 1},
		{"at 30s: rate ramp x1 x20 in 10s", 10.5, 10}, {"at 30s: rate square x20 x5 every 20s for 20s", 20, 10},
	} {
		t.Run(test.text, func(t *testing.T) {
			t.Parallel()
			const rate = 200
			for seed := range uint64(3) {
				ticks := per(t, 10*time.Millisecond, Config{Instruments: 50, Rate: rate, Seed: seed + 1, Scenario: parsed(t, test.text)})[3000 : 3000+100*test.seconds]
				mean := sum(ticks) / float64(len(ticks))
				spread := 0.0
				for _, n := range ticks {
					spread += (n - mean) * (n - mean) / float64(len(ticks))
				}
				t.Logf("seed %d: %.3f of the rate asked for, dispersion %.0f", seed+1, mean*100/rate/test.factor, spread/mean)
				assert.InDelta(t, 1, mean*100/rate/test.factor, 0.05)
				assert.Greater(t, spread/mean, 7.0)
			}
		})
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
			}{{30, 35, 0.95 * factor, 1.05 * factor}, {36, 41, 0.7, 1.5}, {36, 56, 0.8, 1.2}, {0, 30, 0.9, 1.2}} {
				all := 0.0
				for seed := range uint64(seeds) {
					ticks := per(t, time.Second, Config{Instruments: 50, Rate: rate, Seed: seed + 1, Scenario: parsed(t, text)})
					all += sum(ticks[s.from:s.to])
				}
				mean := all / float64(s.to-s.from) / seeds / rate
				t.Logf("%d s to %d s: %.2f times the rate", s.from, s.to, mean)
				assert.True(t, mean >= s.least && mean <= s.most, "%d s to %d s: %.2f times the rate", s.from, s.to, mean)
			}
		})
	}
}
