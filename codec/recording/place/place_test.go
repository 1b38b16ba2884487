package place_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/recording/place"
)

const noon = 1_700_000_000_000_000_000

// A place is parsed as written, and place.Resolve gives a time of day its date.
func TestPlaceIsParsedAndResolved(t *testing.T) {
	day := func(s string) int64 {
		at, err := time.Parse(time.RFC3339Nano, s)
		require.NoError(t, err)
		return at.UnixNano()
	}
	for text, want := range map[string]string{
		"seq:17": "seq:17", "09:45": "09:45:00", "14:30:00.250": "14:30:00.25", "2026-01-05": "2026-01-05T00:00:00Z",
		"2026-01-05T09:45": "2026-01-05T09:45:00Z", "2026-01-05 09:45:01.5": "2026-01-05T09:45:01.5Z",
		"2026-01-05T09:45:00-05:00": "2026-01-05T14:45:00Z",
	} {
		p, err := place.Parse(text, nil)
		require.NoError(t, err, text)
		assert.Equal(t, want, p.String(), text)
		assert.False(t, p.IsZero())
	}
	for _, text := range []string{"", "seq:", "seq:0", "seq:-1", "25:00", "noon", "9223372036854775807", "+", "+1", "1h"} {
		_, err := place.Parse(text, nil)
		require.ErrorContains(t, err, "a time of day such as 09:45", text)
	}
	for _, text := range []string{"1600-01-01", "2262-06-01"} {
		_, err := place.Parse(text, nil)
		require.ErrorContains(t, err, "the years 1678 to 2261", text)
	}
	resolved := func(from, to, start string, end ...string) [2]string {
		f, err := place.Parse(from, nil)
		require.NoError(t, err)
		o, err := place.Parse(to, nil)
		require.NoError(t, err)
		last := day(start)
		if len(end) > 0 {
			last = day(end[0])
		}
		f, o = place.Resolve(f, o, day(start), last)
		return [2]string{f.String(), o.String()}
	}
	assert.Equal(t, [2]string{"2026-01-05T09:45:00Z", "2026-01-05T16:00:00Z"}, resolved("09:45", "16:00", "2026-01-05T09:30:00Z"))
	assert.Equal(t, [2]string{"2026-01-05T09:45:00Z", "2026-01-06T09:00:00Z"}, resolved("09:45", "09:00", "2026-01-05T18:00:00Z", "2026-01-06T02:00:00Z"))
	assert.Equal(t, [2]string{"seq:5", "2026-01-06T09:00:00Z"}, resolved("seq:5", "09:00", "2026-01-05T18:00:00Z", "2026-01-06T00:00:00Z"))
	assert.Equal(t, [2]string{"2026-01-05T15:00:00Z", "2026-01-05T14:00:00Z"}, resolved("15:00", "14:00", "2026-01-05T14:30:00Z", "2026-01-05T21:00:00Z"),
		"the recording does not reach the next day: nothing, not the rest")
	assert.Equal(t, [2]string{"start", "2026-01-05T14:00:00Z"}, resolved("start", "14:00", "2026-01-05T14:30:00Z", "2026-01-05T21:00:00Z"))
	assert.Equal(t, [2]string{"2026-01-07T00:00:00Z", "2026-01-07T00:01:00Z"}, resolved("2026-01-07", "00:01", "2026-01-05T18:00:00Z"))
	assert.Equal(t, [2]string{"2026-01-05T09:00:00Z", "2026-01-05T10:00:00Z"}, resolved("09:00", "10:00", "2026-01-05T09:30:00Z", "2026-01-05T16:00:00Z"),
		"a day that begins after 09:00")
	assert.Equal(t, [2]string{"2026-01-06T02:00:00Z", "2026-01-06T03:00:00Z"}, resolved("02:00", "03:00", "2026-01-05T20:00:00Z", "2026-01-06T08:00:00Z"),
		"a night")
	assert.Equal(t, [2]string{"2026-01-05T09:31:00Z", "2026-01-05T09:31:10Z"}, resolved("+1m", "+10s", "2026-01-05T09:30:00Z", "2026-01-05T16:00:00Z"))
	assert.Equal(t, [2]string{"2026-01-05T15:00:00Z", "2026-01-05T15:59:00Z"}, resolved("-1h", "-1m", "2026-01-05T09:30:00Z", "2026-01-05T16:00:00Z"))
	assert.Equal(t, [2]string{"1969-12-31T09:00:00Z", "1969-12-31T23:00:00Z"}, resolved("09:00", "23:00", "1969-12-31T22:00:00Z"))

	p, err := place.Parse("seq:5", nil)
	require.NoError(t, err)
	assert.False(t, p.Reached(4, noon))
	assert.True(t, p.Reached(5, 0))
	p, err = place.Parse("2023-11-14T22:13:20Z", nil)
	require.NoError(t, err)
	assert.False(t, p.Reached(9, noon-1))
	assert.True(t, p.Reached(1, noon))
	assert.False(t, place.Place{}.Reached(1, noon))
}

// A timeline never goes back. A tick without an event time is due with the tick before it, and on the publish clock a tick is due when
// its packet was published.
func TestTimelineNeverGoesBack(t *testing.T) {
	market := place.Timeline{At: place.NoTime}
	var dues []int64
	for _, event := range []int64{0, 20, 0, 10, 30} {
		dues = append(dues, market.Pass(event, 99))
	}
	assert.Equal(t, []int64{place.NoTime, 20, 20, 20, 30}, dues)
	publish := place.Timeline{Clock: place.PublishClock, At: place.NoTime}
	assert.EqualValues(t, 99, publish.Pass(20, 99))
	assert.EqualValues(t, 99, publish.Pass(20, 98))
}

func TestClockHasAName(t *testing.T) {
	for _, clock := range []place.Clock{place.MarketClock, place.PublishClock} {
		got, err := place.ParseClock(clock.String())
		require.NoError(t, err)
		assert.Equal(t, clock, got)
	}
	_, err := place.ParseClock("wall")
	assert.EqualError(t, err, `a clock is market or publish, got "wall"`)
}
