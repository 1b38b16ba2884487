package publisher

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
)

// The cost of one subscribe with the largest filter is bounded by one step per byte of the filter and instrument, and
// is far less in practice. So is the cost of each instrument that is defined later.
func TestStepsOfAFilter(t *testing.T) {
	const instruments = 1000
	p, err := New(Config{Seed: 1})
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Close(context.Background()) })
	for i := range instruments {
		_, err := p.Define(t.Context(), feed.Definition{Symbol: fmt.Sprintf("S%05d", i), Venue: "XNAS"})
		require.NoError(t, err)
	}
	var patterns []string
	size := 0
	for i := range codec.MaxPatterns {
		patterns = append(patterns, fmt.Sprintf("*?*%d*?*@*X%d*", i, i%7))
		size += len(patterns[i])
	}
	filter, err := codec.NewFilter(patterns)
	require.NoError(t, err)
	require.Len(t, filter, codec.MaxPatterns)
	require.Greater(t, size, 57_000)

	w := newWanted(filter, p.catalog())
	assert.Empty(t, w.ids)
	assert.Less(t, w.steps, instruments*3*codec.MaxPatterns, "%d for each pattern and instrument", w.steps/instruments/codec.MaxPatterns)
	before := w.steps
	w.define(instruments, &feed.Definition{Symbol: "S99999", Venue: "XNAS"})
	assert.Less(t, w.steps-before, 3*codec.MaxPatterns)
}

// An expensive change is followed by a longer pause: a client uses at most a tenth of a processor, apart from the
// changes that it has saved up.
func TestCostlyChangesWaitLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &conn{p: &Publisher{started: time.Now()}, door: &door{ctx: t.Context()}}
		c.ending.Store(true) // so that the timer starts no writer
		may := func() bool {
			c.mail.Lock()
			defer c.mail.Unlock()
			return c.mayChangeLocked()
		}
		steps := int(time.Second / stepTime) // a second of work
		c.changed(steps)
		began := time.Now()
		for !may() {
			time.Sleep(time.Millisecond)
		}
		assert.InDelta(t, (changeShare*time.Second - changeBurst*changePause).Seconds(), time.Since(began).Seconds(), 0.01)
		time.Sleep(time.Hour)
		for range changeBurst {
			assert.True(t, may(), "changes saved up in an hour")
			c.changed(0)
		}
		assert.False(t, may(), "no more are saved up than a client begins with")
	})
}
