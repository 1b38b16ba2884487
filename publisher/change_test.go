package publisher

import (
	"context"
	"fmt"
	"testing"
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

	w := newWanted(filter, nil, p.seq.catalog())
	assert.Empty(t, w.ids)
	assert.Less(t, w.steps, instruments*3*codec.MaxPatterns, "%d for each pattern and instrument", w.steps/instruments/codec.MaxPatterns)
	before := w.steps
	w.define(instruments, &feed.Definition{Symbol: "S99999", Venue: "XNAS"})
	assert.Less(t, w.steps-before, 3*codec.MaxPatterns)
}

// An expensive change is followed by a longer pause: a client uses at most a tenth of a processor, apart from the
// changes that it has saved up.
func TestCostlyChangesWaitLonger(t *testing.T) {
	var r changeRate
	now := time.Minute
	r.made(now, int(time.Second/stepTime)) // a second of work
	wait := r.wait(now)
	assert.Equal(t, changeShare*time.Second-changeBurst*changePause+1, wait)
	assert.Equal(t, time.Nanosecond, r.wait(now+wait-1))
	assert.Zero(t, r.wait(now+wait))
	now += time.Hour
	for range changeBurst {
		assert.LessOrEqual(t, r.wait(now), time.Duration(0), "changes saved up in an hour")
		r.made(now, 0)
	}
	assert.Positive(t, r.wait(now), "no more are saved up than a client begins with")
}

// A change that must wait is announced once, so that one timer runs for it, and the next one again.
func TestOneTimerWaitsForAChange(t *testing.T) {
	var m mailbox
	for range changeBurst + 1 {
		m.changeMade(time.Minute, 0)
	}
	require.True(t, m.queueRequest(&codec.Subscribe{Request: 1}))
	r, wait := m.nextRequest(time.Minute)
	require.Nil(t, r)
	require.Positive(t, wait)
	r, again := m.nextRequest(time.Minute)
	require.Nil(t, r)
	require.Zero(t, again, "a timer runs already")
	r, again = m.nextRequest(time.Minute + wait)
	require.Zero(t, again)
	require.Equal(t, uint64(1), uint64(r.Request))
	m.changeMade(time.Minute+wait, 0)
	require.True(t, m.queueRequest(&codec.Subscribe{Request: 2}))
	_, again = m.nextRequest(time.Minute + wait)
	require.Positive(t, again)
}
