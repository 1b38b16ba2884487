package main

import (
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/subscriber"
)

// timedBatch is a batch of packets, each with a publish time and the event times of its ticks.
func timedBatch(packets ...[]int64) *subscriber.Batch {
	b := &subscriber.Batch{Session: 0x1a}
	for _, p := range packets {
		for _, event := range p[1:] {
			b.Ticks = append(b.Ticks, feed.Tick{EventTime: event})
		}
		b.Published = append(b.Published, subscriber.Published{End: len(b.Ticks), Time: p[0]})
	}
	return b
}

// Each tick counts with the publish time of its own packet and with its own event time, up to when it was handed over.
func TestTallyCountsLatencies(t *testing.T) {
	const ms = int64(time.Millisecond)
	tally := newTally()
	tally.count(timedBatch(
		[]int64{noon, noon - 4*ms, noon - 2*ms, noon - 1*ms},
		[]int64{noon + 5*ms, noon + 5*ms},
	), noon+10*ms, true)
	assert.EqualValues(t, 4, tally.ticks)
	near := func(want time.Duration, got time.Duration) {
		t.Helper()
		assert.InEpsilon(t, int64(want), int64(got), 0.002)
	}
	assert.EqualValues(t, 4, tally.publish.count())
	near(10*time.Millisecond, tally.publish.at(50))
	near(5*time.Millisecond, tally.publish.at(25))
	near(10*time.Millisecond, tally.publish.max())
	assert.EqualValues(t, 4, tally.event.count())
	near(5*time.Millisecond, tally.event.at(25))
	near(11*time.Millisecond, tally.event.at(50))
	near(12*time.Millisecond, tally.event.at(75))
	near(14*time.Millisecond, tally.event.max())
}

// Ticks without a usable latency are counted by reason: times ahead of this clock, event times of another day, no event time,
// and ticks from before the line was live.
func TestTallyCountsTicksWithoutLatency(t *testing.T) {
	const second = int64(time.Second)
	tally := newTally()
	tally.count(timedBatch([]int64{noon, noon - second, 0, noon - 61*second, noon + 61*second, math.MinInt64, math.MaxInt64, noon + 60*second}), noon-second, true)
	assert.EqualValues(t, 7, tally.publish.count())
	assert.EqualValues(t, 7, tally.publish.early)
	assert.Equal(t, time.Second, tally.publish.earliest)
	assert.Less(t, tally.publish.max(), time.Microsecond, "counts as 0")
	assert.EqualValues(t, 4, tally.foreign)
	assert.EqualValues(t, 1, tally.undated)
	assert.EqualValues(t, 2, tally.event.count())
	assert.EqualValues(t, 1, tally.event.early)
	assert.Equal(t, 61*time.Second, tally.event.earliest)

	tally.count(timedBatch([]int64{noon, noon, noon}), noon, false)
	assert.EqualValues(t, []uint64{9, 2}, []uint64{tally.ticks, tally.history})
	assert.EqualValues(t, 7, tally.publish.count())

	tally.count(timedBatch([]int64{math.MinInt64 / 2, 0}, []int64{0, 0}), math.MaxInt64/2, true)
	assert.InEpsilon(t, int64(greatestLatency), int64(tally.publish.max()), 0.002, "the greatest there is")
}

// take returns each count once, even while other goroutines count.
func TestMeterTakeReturnsEachCountOnce(t *testing.T) {
	m, sum := newMeter(), newTally()
	const lines, batches = 3, 1000
	var counting sync.WaitGroup
	for range lines {
		counting.Go(func() {
			b := timedBatch([]int64{noon, noon - 1000, noon - 90*int64(time.Second)})
			for range batches {
				m.count(b, noon+int64(time.Millisecond), true)
			}
		})
	}
	for range 20 {
		m.take(sum)
	}
	counting.Wait()
	m.take(sum)
	assert.EqualValues(t, 2*lines*batches, sum.ticks)
	assert.EqualValues(t, 2*lines*batches, sum.publish.count())
	assert.EqualValues(t, lines*batches, sum.event.count())
	assert.EqualValues(t, lines*batches, sum.foreign)
}

// A meter counts without allocating memory.
func TestMeterAllocatesNothing(t *testing.T) {
	m, b := newMeter(), timedBatch([]int64{noon, noon - 1000, noon - 2000}, []int64{noon + 1, noon})
	assert.Zero(t, testing.AllocsPerRun(100, func() { m.count(b, noon+5000, true) }))
}

// The file of --hdr is one that the plotter of HdrHistogram reads: lines of four numbers, of which it takes the value and
// 1/(1-percentile), and others that begin with # or have fewer words.
func TestHgrmIsReadByThePlotter(t *testing.T) {
	l := newLatency()
	for i := range 1000 {
		l.record(time.Duration(i+1)*time.Microsecond, 1)
	}
	l.record(-time.Second, 1)
	values := make(map[string]float64) // by percentile
	last, rows := 0.0, 0
	for line := range strings.Lines(string(hgrm(&l, "publish"))) {
		words := strings.Fields(line)
		if len(words) != 4 || strings.HasPrefix(words[0], "#") || words[0] == "Value" {
			continue
		}
		value, err := strconv.ParseFloat(words[0], 64)
		require.NoError(t, err, line)
		require.GreaterOrEqual(t, value, last)
		last, rows = value, rows+1
		values[words[1]] = value
	}
	assert.Greater(t, rows, 20)
	assert.InEpsilon(t, 500, values["0.500000"], 0.005)
	assert.InEpsilon(t, 900, values["0.900000"], 0.005)
	assert.InEpsilon(t, 1000, values["1.000000"], 0.005)
	assert.Contains(t, string(hgrm(&l, "publish")), "#[Latency from publish time in microseconds; counted as 0: 1 tick before that time]\n")
	empty := newLatency()
	assert.Contains(t, string(hgrm(&empty, "event")), "Total count    =            0]")
}
