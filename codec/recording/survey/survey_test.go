package survey_test

import (
	"bytes"
	"context"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/recording"
	"tickfeed/codec/recording/place"
	"tickfeed/codec/recording/survey"
	"tickfeed/codec/recording/text/texttest"
	"tickfeed/feed"
)

// A survey counts present and missing numbers, the latter by reason.
func TestSurveyCountsByReason(t *testing.T) {
	file := texttest.Recording(t, texttest.TwoSessions+"closed\n")
	var read atomic.Int64
	s, err := survey.Take(context.Background(), texttest.Reader(t, file), place.PublishClock, &read)
	require.NoError(t, err)
	assert.Equal(t, int64(len(file)), s.Size)
	assert.Equal(t, int64(len(file)), read.Load())
	assert.True(t, s.Closed)
	assert.False(t, s.Sound(), "the numbers of the second session do not join") // they begin at 167
	assert.Equal(t, uint64(3), s.Missing)
	assert.Equal(t, uint64(9), s.Ticks)
	assert.Equal(t, uint64(2), s.Kinds[feed.KindDefinition])
	assert.Equal(t, uint64(6), s.Kinds[feed.KindQuote])
	assert.Equal(t, uint64(1), s.Kinds[feed.KindTrade])
	assert.Equal(t, uint64(6), s.Fixed, "all but the quote with an empty side")
	assert.Equal(t, []uint64{10, 100, 50, 0, 0}, []uint64{s.NotAsked, s.Withheld, s.Expired, s.Damaged, s.Disowned})
	assert.Equal(t, 1, s.Snapshots)
	assert.Equal(t, uint64(5), s.Packets)
	require.Len(t, s.Lines, 2)
	assert.Equal(t, "a test", s.Lines[0].Header.Source)
	assert.Equal(t, feed.Range{From: 1, To: 170}, s.Lines[0].Range)
	assert.Equal(t, feed.Range{From: 170, To: 173}, s.Lines[1].Range)
	assert.Equal(t, uint64(3), s.Lines[1].Ticks)
	assert.Equal(t, []survey.Count{{Symbol: "AAPL", Venue: "XNAS", Ticks: 6}, {Symbol: "MSFT", Ticks: 2}, {Ticks: 1}}, s.Instruments)
	at := time.Date(2026, 3, 2, 14, 30, 0, 0, time.UTC).UnixNano()
	assert.Equal(t, []int64{at, at + 9e9}, []int64{s.FirstTime, s.LastTime})
	assert.Equal(t, []int64{at, at + 9e9}, []int64{s.FirstEvent, s.LastEvent})
	assert.Equal(t, uint64(5), s.Peak)
	assert.Equal(t, []float64{6, 0, 3}, s.Rate.Over(3))
}

// The rate is that of the market, however fast the recording was made, unless the publisher's clock is
// selected, or no tick has an event time.
func TestSurveyByClock(t *testing.T) {
	file := texttest.Recording(t, `session lineage=a1:1
packet 2026-03-02T20:00:00Z base=2026-03-02T14:30:00Z
  define #0 symbol=A price=-2
  trade +0 A 1 1 buy
  trade +3600000000000 A 1 1 buy
packet 2026-03-02T20:00:01Z base=2026-03-02T16:30:00Z
  trade +0 A 1 1 buy
  trade +0 A 1 1 buy
  trade -7200000000000 A 1 1 buy
closed
`)
	at := time.Date(2026, 3, 2, 14, 30, 0, 0, time.UTC).UnixNano()
	s, err := survey.Take(context.Background(), texttest.Reader(t, file), place.MarketClock, nil)
	require.NoError(t, err)
	assert.Equal(t, []int64{at, at + 7200e9}, []int64{s.First, s.Last})
	assert.Equal(t, []float64{2, 1, 0, 3}, func() []float64 { // per 40 minutes, the resolution of the rate
		var rounded []float64
		for _, v := range s.Rate.Over(4) {
			rounded = append(rounded, math.Round(v))
		}
		return rounded
	}())
	assert.Equal(t, uint64(3), s.Peak, "late news counts at the latest time so far")
	s, err = survey.Take(context.Background(), texttest.Reader(t, file), place.PublishClock, nil)
	require.NoError(t, err)
	assert.Equal(t, []int64{at + 5*3600e9 + 1800e9, at + 5*3600e9 + 1801e9}, []int64{s.First, s.Last})
	assert.Equal(t, place.PublishClock, s.Clock)

	s, err = survey.Take(context.Background(), texttest.Reader(t, texttest.Recording(t, "session lineage=a1:1\npacket 5 base=0\n  define #0 symbol=A\nclosed\n")), place.MarketClock, nil)
	require.NoError(t, err)
	assert.Equal(t, place.PublishClock, s.Clock)
	assert.EqualValues(t, 5, s.Last)
}

// Damage is listed with its place and range; a session that begins before recorded numbers disowns them; a
// recording that was not closed is not Closed.
func TestSurveyOfDamage(t *testing.T) {
	file := texttest.Recording(t, `session lineage=a1:1
packet 5
  define #0 symbol=A
  quote A 1 1 2 1
bytes 00112233
packet 6 seq=10
  quote A 1 1 2 1
packet 7
  raw 1 c1
session lineage=a1:1,a2:8 next=8
packet 8
  quote A 1 1 2 1
bytes 97
`)
	s, err := survey.Take(context.Background(), texttest.Reader(t, file), place.PublishClock, nil)
	require.NoError(t, err)
	assert.False(t, s.Closed)
	assert.False(t, s.Sound())
	require.Len(t, s.Damages, 2)
	assert.Equal(t, feed.Range{From: 3, To: 10}, s.Damages[0].Missing)
	assert.Equal(t, int64(4), s.Damages[0].Size)
	assert.False(t, s.Damages[0].Torn)
	assert.True(t, s.Damages[1].Torn)
	assert.Equal(t, uint64(1), s.Malformed)
	assert.Equal(t, uint64(8), s.Missing)
	assert.Equal(t, uint64(4), s.Disowned)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = survey.Take(ctx, texttest.Reader(t, file), place.PublishClock, nil)
	assert.ErrorIs(t, err, context.Canceled)
}

// A Rate covers any length of time with a bounded number of intervals, and loses no tick.
func TestRateLosesNoTick(t *testing.T) {
	var b strings.Builder
	b.WriteString("session lineage=a1:1\n")
	at := time.Date(2026, 3, 2, 14, 30, 0, 0, time.UTC)
	step := time.Millisecond
	n := 0
	for ; n < 3000; n++ {
		b.WriteString("packet " + at.Format(time.RFC3339Nano) + "\n  define #0 symbol=A\n")
		at = at.Add(step)
		if n%300 == 299 {
			step *= 5
		}
	}
	s, err := survey.Take(context.Background(), texttest.Reader(t, texttest.Recording(t, b.String())), place.PublishClock, nil)
	require.NoError(t, err)
	assert.LessOrEqual(t, len(s.Rate.Ticks), 4096)
	assert.Greater(t, len(s.Rate.Ticks), 1000)
	sum := uint64(0)
	for _, ticks := range s.Rate.Ticks {
		sum += ticks
	}
	assert.Equal(t, uint64(n), sum)
	total := 0.0
	for _, v := range s.Rate.Over(60) {
		total += v
	}
	assert.InDelta(t, n, total, 1e-6)
}

// A compressed recording has the same survey.
func TestSurveyCompressed(t *testing.T) {
	file := texttest.Recording(t, texttest.TwoSessions+"closed\n")
	var packed texttest.Memory
	c, err := recording.Compress(&packed)
	require.NoError(t, err)
	_, err = c.Write(file)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	in, err := recording.NewInput(bytes.NewReader(packed.Bytes()), int64(packed.Len()))
	require.NoError(t, err)
	defer in.Close()
	r, err := in.Reader()
	require.NoError(t, err)
	got, err := survey.Take(context.Background(), r, place.PublishClock, nil)
	require.NoError(t, err)
	want, err := survey.Take(context.Background(), texttest.Reader(t, file), place.PublishClock, nil)
	require.NoError(t, err)
	assert.Equal(t, want, got)
}
