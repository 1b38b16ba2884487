package edit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/recording"
	"tickfeed/codec/recording/edit"
	"tickfeed/codec/recording/place"
	"tickfeed/codec/recording/text/texttest"
)

// hurried is a market day that was published in a second. Some of its ticks have no event time, one of 14:35
// came after one of 14:40, and number 7 was not asked for.
const hurried = `session lineage=00000000000000a1:1 mode=live source=day
packet 2026-03-03T00:00:00Z base=2026-03-02T14:30:00Z
  define @0 #0 symbol=AAPL venue=XNAS price=-2
  define @0 #1 symbol=MSFT price=-2
  quote AAPL 187 1 188 1
packet 2026-03-03T00:00:00.5Z base=2026-03-02T14:40:00Z
  quote MSFT 400 1 401 1
  trade -300000000000 AAPL 187.5 1
  trade @0 AAPL 187.5 2
  skip 1
  trade +60000000000 MSFT 400 1
  quote +60000000000 AAPL 187.25 1 188 1
packet 2026-03-03T00:00:01Z base=2026-03-02T14:50:00Z
  quote MSFT 402 1 403 1
closed
`

// A place T is before the first tick whose market time is T or later, also within packets: Cut begins and ends
// there, StateAt returns the state there, and Ticks returns the same times. The market time of a tick is the
// greatest event time up to it.
func TestMarketPlaces(t *testing.T) {
	file := texttest.Recording(t, hurried)
	times := map[uint64]string{3: "14:30", 4: "14:40", 5: "14:40", 6: "14:40", 8: "14:41", 9: "14:41", 10: "14:50"}
	r := texttest.Reader(t, file)
	line, first, err := r.Timeline(place.MarketClock)
	require.NoError(t, err)
	assert.Equal(t, place.Timeline{At: place.NoTime}, line)
	assert.Equal(t, "2026-03-02T14:30:00Z", time.Unix(0, first).UTC().Format(time.RFC3339))
	ticks := recording.NewTicks(r, nil)
	ticks.SetTimeline(line)
	for {
		part, err := ticks.Next()
		if err != nil {
			break
		}
		require.Len(t, part.Times, len(part.Ticks))
		for i, at := range part.Times {
			if seq := part.Ticks[i].Seq; times[seq] != "" {
				assert.Equal(t, times[seq], time.Unix(0, at).UTC().Format("15:04"), seq)
			} else {
				assert.Equal(t, int64(place.NoTime), at, seq)
			}
		}
	}
	for text, want := range map[string]uint64{
		"14:30": 3, "14:30:00.000000001": 4, "14:35": 4, "14:40": 4, "14:40:30": 8, "14:41": 8, "14:41:01": 10, "14:50": 10,
		"2020-01-01": 3, "start": 1, "+10m": 4, "-9m": 8, "seq:6": 6,
	} {
		at, err := place.Parse(text, nil)
		require.NoError(t, err)
		m, err := edit.StateAt(t.Context(), texttest.Reader(t, file), at, place.MarketClock, nil)
		require.NoError(t, err)
		assert.Equal(t, want, m.Next, text)
		assert.False(t, m.Beyond, text)
		_, st, err := cut(t, hurried, text, "")
		require.NoError(t, err, text)
		assert.Equal(t, want, st.Range.From, text)
		assert.EqualValues(t, 11, st.Range.To, text)
		if text != "14:30" && want > 1 && text[0] != '-' && text[0] != '+' { // those are relative to --from, or on the next day
			_, st, err = cut(t, hurried, "", text)
			require.NoError(t, err, text)
			assert.Equal(t, want, st.Range.To, text)
		}
	}
	got, _, err := cut(t, hurried, "14:40:30", "14:41:01", "AAPL")
	require.NoError(t, err)
	assert.Contains(t, got, "packet 2026-03-03T00:00:00.5Z base=2026-03-02T14:40:00Z\n  skip 1\n  quote +60000000000 AAPL 187.25 1 188 1\nclosed\n",
		"the tick of MSFT that is left out says when it is, too")
	for _, text := range []string{"14:50:00.1", "seq:12", "2026-03-03"} {
		at, err := place.Parse(text, nil)
		require.NoError(t, err)
		m, err := edit.StateAt(t.Context(), texttest.Reader(t, file), at, place.MarketClock, nil)
		require.NoError(t, err)
		assert.True(t, m.Beyond, text)
	}
	// By publish time a packet is one place.
	_, st, err := cutBy(t, place.PublishClock, hurried, "00:00:00.2", "00:00:01")
	require.NoError(t, err)
	assert.Equal(t, []uint64{4, 10}, []uint64{st.Range.From, st.Range.To})
}

// The times of a recording are found without reading all of it. A recording without event times has publish
// times only.
func TestSpanIsFoundWithoutReadingAll(t *testing.T) {
	span := func(lines string, clock place.Clock) [2]string {
		first, last, err := texttest.Reader(t, texttest.Recording(t, lines)).Span(clock)
		require.NoError(t, err)
		return [2]string{time.Unix(0, first).UTC().Format(time.RFC3339Nano), time.Unix(0, last).UTC().Format(time.RFC3339Nano)}
	}
	for _, lines := range []string{hurried, strings.TrimSuffix(hurried, "closed\n")} {
		assert.Equal(t, [2]string{"2026-03-02T14:30:00Z", "2026-03-02T14:50:00Z"}, span(lines, place.MarketClock))
		assert.Equal(t, [2]string{"2026-03-03T00:00:00Z", "2026-03-03T00:00:01Z"}, span(lines, place.PublishClock))
	}
	timeless := "session lineage=a1:1\npacket 2026-03-03T00:00:00Z\n  define @0 #0 symbol=A price=0\npacket 2026-03-03T00:00:02Z\n  quote @0 A 1 1 2 1\nclosed\n"
	assert.Equal(t, [2]string{"2026-03-03T00:00:00Z", "2026-03-03T00:00:02Z"}, span(timeless, place.MarketClock))
	_, st, err := cut(t, timeless, "00:00:01", "")
	require.NoError(t, err)
	assert.EqualValues(t, 2, st.Range.From)
	first, last, err := texttest.Reader(t, texttest.Recording(t, "session lineage=a1:1\nclosed\n")).Span(place.MarketClock)
	require.NoError(t, err)
	assert.Equal(t, []int64{place.NoTime, place.NoTime}, []int64{first, last})
}

// If a part begins inside a packet, the ticks before it in the packet are in the state once.
func TestCutCountsATickOnce(t *testing.T) {
	const lines = "session lineage=00000000000000a1:1\npacket 2026-03-02T14:30:00Z\n  define #0 symbol=A price=0\n  trade A 5 10\n  trade A 6 10\n" +
		"packet 2026-03-02T14:30:01Z seq=5\n  trade A 7 10\nclosed\n" // number 4 is lost
	got, st, err := cut(t, lines, "seq:3", "")
	require.NoError(t, err)
	assert.Equal(t, 1, st.Damages)
	assert.Contains(t, got, "next=3\n")
	assert.Regexp(t, `(?s)next=3\n.*summary A .*volume=10 trades=1.*gone 1 damaged.*summary A .*volume=20 trades=2.*trade A 7 10`, got)
}
