package edit_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/recording"
	"tickfeed/codec/recording/edit"
	"tickfeed/codec/recording/place"
	"tickfeed/codec/recording/text/texttest"
	"tickfeed/feed"
)

// Numbers that a recording lists as gone or withheld have changed the state in a way that only the snapshot
// after them shows. The state as of the number after them has these changes, whether a reader asks for that
// state or cuts there; the state as of a number within them does not.
func TestStateBehindMissingNumbers(t *testing.T) {
	for _, why := range []recording.SkipKind{recording.SkipWithheld, recording.SkipExpired, recording.SkipDamaged} {
		t.Run(why.String(), func(t *testing.T) {
			state := feed.NewState()
			bid := func(v int64) feed.Tick {
				return feed.Quote{Bid: v, BidSize: 1, Ask: feed.NoPrice}.Tick(0, noon)
			}
			apply := func(ticks ...feed.Tick) []feed.Tick {
				_, err := state.ApplyAll(ticks)
				require.NoError(t, err)
				return ticks
			}
			var f texttest.Memory
			b, err := recording.NewBuilder(&f, rootHeader(1), nil)
			require.NoError(t, err)
			require.NoError(t, b.AppendAt(noon, apply(definition(0, noon), bid(1))))
			require.NoError(t, b.Skip(4, why)) // 3 to 6
			apply(bid(2))
			require.NoError(t, b.Restate(state))
			require.NoError(t, b.AppendAt(noon+1, apply(bid(3))))
			require.NoError(t, b.Close())

			check := func(file []byte, seq int, want int64) {
				t.Helper()
				at, err := place.Parse(fmt.Sprintf("seq:%d", seq), nil)
				require.NoError(t, err)
				m, err := edit.StateAt(t.Context(), texttest.Reader(t, file), at, place.MarketClock, nil)
				require.NoError(t, err)
				in, ok := m.State.Instrument(0)
				require.True(t, ok)
				assert.Equal(t, want, in.Quote.Bid, "as of %d", seq)
				assert.EqualValues(t, seq, m.Next)
			}
			for seq, want := range map[int]int64{3: 1, 5: 1, 7: 2, 8: 3} {
				check(f.Bytes(), seq, want)
			}
			from, err := place.Parse("seq:7", nil)
			require.NoError(t, err)
			var part texttest.Memory
			_, err = edit.Cut(t.Context(), &part, texttest.Reader(t, f.Bytes()), edit.CutConfig{From: from})
			require.NoError(t, err)
			check(part.Bytes(), 7, 2)
		})
	}
}

// The state as of a number contains every earlier number and no other, also within packets; the state as of a
// time contains every earlier packet.
func TestStateAt(t *testing.T) {
	file := texttest.Recording(t, texttest.TwoSessions)
	for at, want := range map[string]struct {
		next uint64
		bid  int64
		ok   bool
	}{
		"seq:1":                   {1, 0, false},
		"seq:3":                   {3, 0, false},
		"seq:4":                   {4, 18725, true},
		"seq:6":                   {6, feed.NoPrice, true},
		"seq:10":                  {10, feed.NoPrice, true},
		"14:30:00":                {1, 0, false},
		"14:30:00.5":              {6, feed.NoPrice, true},
		"2026-03-02T14:30:01Z":    {6, feed.NoPrice, true},
		"14:30:05":                {170, 18700, true},
		"seq:170":                 {170, 18700, true},
		"seq:171":                 {171, 18725, true},
		"2026-03-03":              {173, 18725, true},
		"seq:9223372036854775808": {173, 18725, true},
	} {
		p, err := place.Parse(at, nil)
		require.NoError(t, err)
		m, err := edit.StateAt(t.Context(), texttest.Reader(t, file), p, place.PublishClock, nil)
		require.NoError(t, err)
		assert.Equal(t, want.next, m.Next, at)
		in, ok := m.State.Instrument(0)
		assert.Equal(t, want.ok, ok && in.HasQuote, at)
		assert.Equal(t, want.bid, in.Quote.Bid, at)
		assert.NotNil(t, m.Header)
	}
}
