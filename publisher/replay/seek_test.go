package replay

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// A seek, also backward, begins a new session with the state at its target, and the time continues from there.
func TestSeekBeginsASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		p, s := play(t, Config{Recordings: []Recording{imported(t, 20_000, every)}, Speed: 8000}, oftenKept)
		pass(2 * time.Second)
		require.Greater(t, len(p.kept.all), 2)
		require.NoError(t, p.SetSpeed(ctx, 1))
		for _, c := range []struct {
			to   Target
			next uint64
		}{
			{ToTime(open + 1000*second), 1002}, {ToSeq(17), 17}, {ToSeq(1), 1}, {ToTime(open + 1000*second + 1), 1003},
			{Target{}, 1}, {ToSeq(4000), 4000}, {ToTime(open), 1}, {ToOffset(10 * time.Second), 12}, {ToOffset(-4 * time.Second), 1},
		} {
			require.NoError(t, p.Seek(ctx, c.to))
			begun := time.Now()
			require.Equal(t, c.next, s.played().first)
			want := feed.NewState()
			for i := uint64(1); i < c.next; i++ {
				x := quote(feed.InstrumentID(i%2), int64(i), every(int(i)-3))
				if i <= 2 {
					x = define(string(rune('A'+i-1)), feed.InstrumentID(i-1), open)
				}
				require.NoError(t, want.Apply(&x))
			}
			assert.Equal(t, dump(want), dump(s.played().begun), "as of %d", c.next)
			pass(3 * time.Second)
			got := s.played().notes
			require.NotEmpty(t, got)
			assert.Equal(t, c.next, got[0].tick.Seq)
			last := got[len(got)-1]
			assert.Less(t, begun.Add(2*time.Second), last.at.Add(time.Second+1), "one each second")
			// Return to where the case began, for the offsets.
			require.NoError(t, p.Seek(ctx, ToTime(open)))
		}
		// A target beyond either end is refused, and nothing happens.
		sessions, before := s.count(), p.Status()
		for _, beyond := range []Target{ToSeq(20_003), ToSeq(1_000_000), ToTime(0), ToTime(open - 1), ToTime(every(19_999) + 1), ToOffset(20_003 * time.Second)} {
			var refused *RangeError
			require.ErrorAs(t, p.Seek(ctx, beyond), &refused, "%v", beyond)
			assert.Equal(t, []any{open, every(19_999), uint64(1), uint64(20_002)}, []any{refused.From, refused.To, refused.First, refused.Last})
			assert.ErrorContains(t, refused, ": seek between 2026-01-05 14:30:00.000 UTC and 2026-01-05 20:03:20.000 UTC, or seq:1 and seq:20002")
		}
		assert.Equal(t, sessions, s.count())
		assert.Equal(t, before.State, p.Status().State)
		assert.Equal(t, before.Seq, p.Status().Seq)
		require.NoError(t, p.Seek(ctx, ToTime(every(19_999))))
		<-s.ended
		assert.Equal(t, []uint64{20_002}, s.played().seqs(), "the end itself can be reached")
		require.NoError(t, p.Seek(ctx, ToSeq(20_000)))
		<-s.ended
		assert.Equal(t, []uint64{20_000, 20_001, 20_002}, s.played().seqs(), "a replay that has ended can seek back")
	})
}

// oftenKept makes a player keep states for seeking often.
func oftenKept(p *Player) { p.kept.interval = 100 }

// From and To bound what is played, as numbers, times, and times of day of the recording.
func TestFromTo(t *testing.T) {
	parse := func(text string) Target {
		to, err := ParseTarget(text, time.UTC)
		require.NoError(t, err)
		return to
	}
	for name, c := range map[string]struct {
		from, to    string
		first, last uint64
	}{
		"numbers":       {"seq:10", "seq:13", 10, 12},
		"times of day":  {"14:30:07", "14:30:09", 9, 10},
		"date and time": {"2026-01-05T14:30:07", "2026-01-05T14:30:09Z", 9, 10},
		"between ticks": {"14:30:06.500", "14:30:08.001", 9, 10},
		"jumps":         {"+7s", "+2s", 9, 10},
		"all":           {"start", "start", 1, 102},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := imported(t, 100, every)
				_, s := play(t, Config{Recordings: []Recording{rec}, From: parse(c.from), To: parse(c.to), Speed: Max})
				<-s.ended
				got := s.played().seqs()
				require.NotEmpty(t, got)
				assert.Equal(t, c.first, got[0])
				assert.Equal(t, c.last, got[len(got)-1])
				assert.Equal(t, c.last+1, s.played().next)
				assert.Equal(t, c.first, s.played().first)
			})
		})
	}
}

// A replay can wait for a time of the clock.
func TestStartAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := time.Now().Add(time.Minute)
		p, s := play(t, Config{Recordings: []Recording{imported(t, 10, every)}, StartAt: at})
		pass(time.Second)
		assert.Equal(t, Waiting, p.Status().State)
		<-s.ended
		assert.Equal(t, at, s.played().notes[0].at)
		assert.Equal(t, at.Add(10*time.Second), s.played().notes[11].at)
	})
}
