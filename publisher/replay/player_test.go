package replay

import (
	"bytes"
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/place"
	"tickfeed/feed"
)

// Ticks are never early, and as exact after an hour as at first, at any speed, with bursts, pauses of the market and
// event times that go back.
func TestPaceOfEvents(t *testing.T) {
	for _, speed := range []float64{1, 10, 0.37} {
		synctest.Test(t, func(t *testing.T) {
			chance := rand.New(rand.NewPCG(1, 2))
			at, most := open, open
			rec := imported(t, 20_000, func(i int) int64 {
				switch chance.IntN(10) {
				case 0:
					at += chance.Int64N(4 * second)
				case 1:
					return at - second // late news
				case 2:
					at += chance.Int64N(1000)
				}
				at += chance.Int64N(second / 20)
				most = max(most, at)
				return at
			})
			require.Greater(t, most-open, 3600*second, "an hour")
			begun := time.Now()
			_, s := play(t, Config{Recordings: []Recording{rec}, Speed: speed})
			<-s.ended
			require.Len(t, s.played().notes, 20_002)
			due := int64(0)
			for _, n := range s.played().notes {
				due = max(due, n.tick.EventTime-open)
				want := time.Duration(math.Ceil(float64(due) / speed))
				late := n.at.Sub(begun) - want
				if late < 0 || late > 10*time.Microsecond {
					require.Fail(t, "early or late", "tick %d at speed %g: %v", n.tick.Seq, speed, late)
				}
			}
		})
	}
}

// By the publish clock, ticks recorded live are due when they were published, whatever their event times.
func TestPaceOfPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := record(t, 0xa, 1, nil, func(b *recording.Builder) {
			require.NoError(t, b.AppendAt(open, []feed.Tick{define("A", 0, 7)}))
			require.NoError(t, b.AppendAt(open+2*second, []feed.Tick{quote(0, 2, open-9*second), quote(0, 3, open+second)}))
			require.NoError(t, b.AppendAt(open+5*second, []feed.Tick{quote(0, 4, open+2*second)}))
		})
		begun := time.Now()
		_, s := play(t, Config{Recordings: []Recording{rec}, Clock: place.PublishClock})
		<-s.ended
		var got []time.Duration
		for _, n := range s.played().notes {
			got = append(got, n.at.Sub(begun))
		}
		assert.Equal(t, []time.Duration{0, 2 * time.Second, 2 * time.Second, 5 * time.Second}, got)
	})
}

// In a market day that was published in seven seconds, with ticks without event times and late ticks, each tick is
// due by the market clock at the greatest event time so far. Target T is before the first tick that is due at T or
// later, at any speed and for the state of a seek.
func TestMarketClock(t *testing.T) {
	const hour = 3600 * second
	rec := record(t, 0xa, 1, nil, func(b *recording.Builder) {
		require.NoError(t, b.AppendAt(open, []feed.Tick{define("A", 0, 0), quote(0, 2, 0)}))
		require.NoError(t, b.AppendAt(open+2*second, []feed.Tick{quote(0, 3, open-1000*hour), quote(0, 4, open-999*hour), quote(0, 5, 0)}))
		require.NoError(t, b.AppendAt(open+5*second, []feed.Tick{quote(0, 6, open-1001*hour), quote(0, 7, open-998*hour)}))
		require.NoError(t, b.AppendAt(open+6*second, nil))
		require.NoError(t, b.AppendAt(open+7*second, []feed.Tick{quote(0, 8, open-998*hour-1), quote(0, 9, open-990*hour)}))
	})
	due := []time.Duration{0, 0, 0, time.Hour, time.Hour, time.Hour, 2 * time.Hour, 2 * time.Hour, 10 * time.Hour} // of 1 to 9
	for _, speed := range []float64{1, 3600} {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			_, s := play(t, Config{Recordings: []Recording{rec}, Speed: speed})
			<-s.ended
			var got []time.Duration
			for _, n := range s.played().notes {
				got = append(got, time.Duration(float64(n.at.Sub(begun))*speed))
			}
			assert.Equal(t, due, got)
		})
	}
	first := open - 1000*hour
	for _, speed := range []float64{1, Max} {
		synctest.Test(t, func(t *testing.T) {
			p, s := play(t, Config{Recordings: []Recording{rec}, Speed: speed})
			<-s.ended
			require.NoError(t, p.Pause(t.Context()))
			for _, c := range []struct {
				at   int64
				next uint64
			}{{first, 1}, {first + 1, 4}, {first + hour, 4}, {first + hour + 1, 7}, {first + 2*hour, 7}, {first + 9*hour, 9}, {first + 10*hour, 9}} {
				require.NoError(t, p.Seek(t.Context(), ToTime(c.at)))
				assert.Equal(t, c.next, s.played().first, "%v after the beginning", time.Duration(c.at-first))
				if in, ok := s.played().begun.Instrument(0); ok && c.next > 2 {
					assert.EqualValues(t, c.next-1, in.Quote.Bid, "the tick before is in the state")
				}
			}
		})
	}
	for name, cfg := range map[string]Config{
		"times":     {From: ToTime(first + 1), To: ToTime(first + 2*hour)},
		"jumps":     {From: ToOffset(time.Hour), To: ToOffset(30 * time.Minute)},
		"from back": {From: ToOffset(-9 * time.Hour), To: ToOffset(-8 * time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg.Recordings = []Recording{rec}
				_, s := play(t, cfg)
				<-s.ended
				assert.Equal(t, []uint64{4, 5, 6}, s.played().seqs())
			})
		})
	}
}

// every spaces quotes by one second.
func every(i int) int64 { return open + int64(i+1)*second }

// A pause stops the recorded time, a new speed applies from then on, a step plays its number of ticks, and afterwards
// the schedule is as exact as before.
func TestControlsKeepTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		p, s := play(t, Config{Recordings: []Recording{imported(t, 100, every)}})
		pass(2500 * time.Millisecond)
		assert.Equal(t, []uint64{1, 2, 3, 4}, s.played().seqs(), "at 2.5 s")
		require.NoError(t, p.Pause(ctx))
		pass(time.Hour)
		st := p.Status()
		assert.Equal(t, Paused, st.State)
		assert.Equal(t, open+5*second/2, st.Recorded)
		require.NoError(t, p.Resume(ctx))
		pass(499 * time.Millisecond)
		assert.Len(t, s.played().notes, 4, "before 3 s")
		pass(2 * time.Millisecond)
		assert.Len(t, s.played().notes, 5)

		pass(499 * time.Millisecond) // 3.5 s
		require.NoError(t, p.SetSpeed(ctx, 0.5))
		pass(999 * time.Millisecond)
		assert.Len(t, s.played().notes, 5, "before 4 s")
		pass(2 * time.Millisecond)
		assert.Len(t, s.played().notes, 6)

		stepped := p.Status().Ticks
		require.NoError(t, p.Step(ctx, 3))
		assert.Equal(t, stepped+3, p.Status().Ticks, "Step returns after the ticks were played")
		assert.Equal(t, uint64(9), s.played().notes[8].tick.Seq, "three steps")
		assert.Len(t, s.played().notes, 9)
		assert.Equal(t, Paused, p.Status().State)
		assert.Equal(t, open+7*second, p.Status().Recorded)
		require.NoError(t, p.SetSpeed(ctx, 1))
		require.NoError(t, p.Resume(ctx))
		pass(999 * time.Millisecond)
		assert.Len(t, s.played().notes, 9)
		pass(time.Millisecond)
		assert.Len(t, s.played().notes, 10, "one second after the step")
		require.NoError(t, p.SetSpeed(ctx, Max))
		<-s.ended
		assert.Len(t, s.played().notes, 102)
		assert.Equal(t, Ended, p.Status().State)
		assert.Error(t, p.SetSpeed(ctx, -1))
	})
}

// Numbers that the filter leaves out or the recording lacks are reported as such under their numbers.
func TestAbsencesKeepTheirNumbers(t *testing.T) {
	after := feed.NewState()
	for _, x := range []feed.Tick{define("A", 0, open), define("C", 2, open), quote(2, 77, open)} {
		require.NoError(t, after.Apply(&x))
	}
	rec := record(t, 0xa, 1, nil, func(b *recording.Builder) {
		must := func(err error) { require.NoError(t, err) }
		must(b.AppendAt(open, []feed.Tick{define("A", 0, open), define("B", 1, open), quote(0, 3, open)}))
		must(b.Skip(5, recording.SkipNotAsked)) // 4 to 8
		must(b.AppendAt(open+second, []feed.Tick{quote(1, 9, open), quote(0, 10, open)}))
		must(b.Skip(10, recording.SkipWithheld)) // 11 to 20
		must(b.Restate(after))
		must(b.AppendAt(open+2*second, []feed.Tick{quote(2, 21, open), quote(0, 22, open)}))
		must(b.Skip(3, recording.SkipDamaged)) // 23 to 25
		must(b.AppendAt(open+3*second, []feed.Tick{quote(0, 26, open)}))
	})
	synctest.Test(t, func(t *testing.T) {
		_, s := play(t, Config{Recordings: []Recording{rec}})
		<-s.ended
		x := s.played()
		assert.Equal(t, []uint64{1, 2, 3, 9, 10, 21, 22, 26}, x.seqs())
		require.Len(t, x.notes, 10)
		assert.Equal(t, note{at: x.notes[4].at, hole: 10, why: recording.SkipWithheld}, x.notes[5])
		assert.Equal(t, note{at: x.notes[7].at, hole: 3, why: recording.SkipDamaged}, x.notes[8])
		assert.Equal(t, uint64(27), x.next)
		_, b := x.state.Definition(1)
		assert.False(t, b, "the state after withheld numbers is the one in the recording")
	})
	synctest.Test(t, func(t *testing.T) {
		p, s := play(t, Config{Recordings: []Recording{rec}, Filter: codec.Filter{"A"}, Speed: Max})
		<-s.ended
		assert.Equal(t, []uint64{1, 3, 10, 22, 26}, s.played().seqs())
		assert.Equal(t, uint64(27), s.played().next)
		require.NoError(t, p.Seek(context.Background(), ToSeq(12)))
		<-s.ended
		assert.Equal(t, uint64(11), s.played().first, "a hole is told whole")
		_, c := s.played().state.Definition(2)
		assert.False(t, c)
	})
}

// Unchanged packets, as many as the output takes, have the same effect as their ticks, whatever comes between them
// and whatever commands are given meanwhile.
func TestWholePackets(t *testing.T) {
	const packets, size = 300, 100
	rec := record(t, 0xa, 1, nil, func(b *recording.Builder) {
		at, price := open, int64(0)
		quotes := func(n int) (out []feed.Tick) {
			for range n {
				price++
				out = append(out, quote(feed.InstrumentID(price%2), price, at))
			}
			return out
		}
		require.NoError(t, b.AppendAt(at, []feed.Tick{define("A", 0, at), define("B", 1, at)}))
		for i := range packets {
			at += second
			require.NoError(t, b.AppendAt(at, quotes(size)))
			switch i % 50 {
			case 10:
				require.NoError(t, b.AppendAt(at, quotes(3))) // too small to be passed on unchanged
			case 20:
				require.NoError(t, b.Skip(5, recording.SkipNotAsked))
			case 30:
				require.NoError(t, b.Skip(7, recording.SkipDamaged))
			case 40:
				require.NoError(t, b.AppendAt(at, append([]feed.Tick{define("B", 1, at+1)}, quotes(size)...)))
			}
		}
	})
	type result struct {
		notes   []note
		state   *feed.State
		next    uint64
		relayed int64
	}
	run := func(t *testing.T, cfg Config, refuse func(uint64) bool, meanwhile func(*Player)) (r result) {
		synctest.Test(t, func(t *testing.T) {
			cfg.Recordings = []Recording{rec}
			cfg.Paused = meanwhile != nil
			var out *score
			p, s := play(t, cfg, oftenKept, func(p *Player) {
				out = p.out.(*score)
				out.refuse = refuse
			})
			if meanwhile != nil {
				meanwhile(p)
			}
			<-s.ended
			x := s.played()
			r = result{notes: x.notes, state: x.state, next: x.next, relayed: s.relayed.Load()}
			for i := range r.notes {
				r.notes[i].at = time.Time{}
			}
			st := p.Status()
			assert.Equal(t, x.next, st.Seq)
			assert.Equal(t, open+packets*second, st.Recorded)
		})
		return r
	}
	want := run(t, Config{Speed: MaxSpeed}, nil, nil)
	require.Zero(t, want.relayed)
	same := func(t *testing.T, got result) {
		t.Helper()
		assert.Equal(t, want.notes, got.notes)
		assert.Equal(t, want.next, got.next)
		assert.Equal(t, slices.Collect(want.state.Entries(nil)), slices.Collect(got.state.Entries(nil)))
	}

	all := run(t, Config{Speed: Max}, nil, nil)
	same(t, all)
	assert.Greater(t, all.relayed, int64(packets*3/4))

	some := run(t, Config{Speed: Max}, func(first uint64) bool { return first%3 == 0 }, nil)
	same(t, some)
	assert.Positive(t, some.relayed)
	none := run(t, Config{Speed: Max}, func(uint64) bool { return true }, nil)
	same(t, none)
	assert.Zero(t, none.relayed)

	ctx := context.Background()
	commanded := run(t, Config{Speed: Max}, nil, func(p *Player) {
		require.NoError(t, p.Step(ctx, 3*size+17))
		pass(0)
		require.NoError(t, p.SetSpeed(ctx, 1))
		require.NoError(t, p.Resume(ctx))
		pass(20*time.Second + 1)
		require.NoError(t, p.SetSpeed(ctx, Max))
	})
	same(t, commanded)
	assert.Positive(t, commanded.relayed)

	synctest.Test(t, func(t *testing.T) { // a seek back finds the ticks of these packets
		p, s := play(t, Config{Recordings: []Recording{rec}, Speed: Max}, oftenKept, func(p *Player) {
			p.out.(*score).refuse = func(first uint64) bool { return first%3 == 0 }
		})
		<-s.ended
		require.Greater(t, len(p.kept.all), 5)
		for _, k := range slices.Clone(p.kept.all) {
			seq := min(k.seq+50, want.next-1)
			require.NoError(t, p.Seek(ctx, ToSeq(seq)))
			<-s.ended
			x := s.played()
			assert.LessOrEqual(t, x.first, seq, "a hole is told whole")
			var rest []uint64
			for _, n := range want.notes {
				if n.hole == 0 && n.tick.Seq >= x.first {
					rest = append(rest, n.tick.Seq)
				}
			}
			assert.Equal(t, rest, x.seqs())
			assert.Equal(t, slices.Collect(want.state.Entries(nil)), slices.Collect(x.state.Entries(nil)))
		}
	})
}

// Damage costs the numbers that it hits, which are reported as gone.
func TestDamageCostsWhatItHits(t *testing.T) {
	rec := imported(t, 10_000, every)
	b := make([]byte, rec.Size)
	_, err := rec.R.ReadAt(b, 0)
	require.NoError(t, err)
	b[len(b)/2] ^= 0xff
	rec.R = bytes.NewReader(b)
	synctest.Test(t, func(t *testing.T) {
		p, s := play(t, Config{Recordings: []Recording{rec}, Speed: Max})
		<-s.ended
		var gone, ticks uint64
		for _, n := range s.played().notes {
			gone += n.hole
			if n.hole == 0 {
				ticks++
			}
		}
		assert.Positive(t, gone)
		assert.Equal(t, uint64(10_002), gone+ticks)
		assert.Equal(t, gone, p.Status().Damaged)
		require.NoError(t, p.Seek(context.Background(), Target{}))
		<-s.ended
		assert.Equal(t, gone, p.Status().Damaged, "read twice, reported once")
	})
}

// Gaps are shortened to the limit; shorter gaps are kept.
func TestGapLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		times := []int64{1, 2, 30_000, 30_001, 30_006, 30_012}
		rec := imported(t, len(times), func(i int) int64 { return open + times[i]*second })
		begun := time.Now()
		_, s := play(t, Config{Recordings: []Recording{rec}, GapLimit: 5 * time.Second})
		<-s.ended
		var got []time.Duration
		for _, n := range s.played().notes[2:] {
			got = append(got, n.at.Sub(begun)/time.Second)
		}
		assert.Equal(t, []time.Duration{1, 2, 7, 8, 13, 18}, got)
	})
}

// Event times can be shifted to now, anew in each session, without any other change.
func TestShiftChangesEventTimesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := play(t, Config{Recordings: []Recording{imported(t, 20, every)}, ShiftToNow: true, Loop: true, From: ToSeq(5)})
		pass(40 * time.Second)
		require.NoError(t, p.Pause(context.Background()))
		require.Len(t, s.all(), 3)
		for _, x := range s.all() {
			require.NotEmpty(t, x.notes)
			for _, n := range x.notes {
				assert.Equal(t, n.at.UnixNano(), n.tick.EventTime)
			}
			q, ok := x.begun.Instrument(0)
			require.True(t, ok)
			assert.Equal(t, x.notes[0].tick.EventTime-second, q.QuoteTime, "the state is as old as it was")
		}
	})
}

// Event times on a clock other than that of publishing, as in a simulated market, are shifted to now as well.
func TestShiftOfAnotherClock(t *testing.T) {
	const years = 7 * 365 * 24 * 3600 * second
	rec := record(t, 0xa, 1, nil, func(b *recording.Builder) {
		require.NoError(t, b.AppendAt(open, []feed.Tick{define("A", 0, open-years-3600*second)}))
		for i := range int64(20) { // seven seconds of that market in one
			require.NoError(t, b.AppendAt(open+i*second, []feed.Tick{quote(0, 1000+i, open-years+7*i*second)}))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		p, s := play(t, Config{Recordings: []Recording{rec}, ShiftToNow: true, Clock: place.PublishClock})
		pass(3500 * time.Millisecond)
		require.NoError(t, p.Seek(context.Background(), ToSeq(12)))
		pass(3500 * time.Millisecond)
		require.NoError(t, p.Pause(context.Background()))
		all := s.all()
		require.Len(t, all, 2)
		for _, x := range all {
			quotes := x.notes
			if quotes[0].tick.Kind == feed.KindDefinition {
				quotes = quotes[1:]
			}
			require.Len(t, quotes, 4)
			for i := range quotes {
				assert.Equal(t, quotes[0].at.UnixNano()+7*int64(i)*second, quotes[i].tick.EventTime)
			}
		}
		q, ok := all[1].begun.Instrument(0)
		require.True(t, ok)
		assert.Equal(t, all[1].notes[0].tick.EventTime-7*second, q.QuoteTime, "the state is as old as it was")
	})
}

// A loop starts again, each time in a session of its own, and at maximum speed not before all subscribers have
// everything.
func TestLoopIsASessionOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := play(t, Config{Recordings: []Recording{imported(t, 10, every)}, Loop: true})
		pass(35 * time.Second)
		require.NoError(t, p.Pause(context.Background()))
		require.Len(t, s.all(), 4)
		for _, x := range s.all()[:3] {
			assert.Len(t, x.notes, 12)
			assert.False(t, x.ended)
		}
		assert.Equal(t, 10*time.Second, s.all()[1].notes[0].at.Sub(s.all()[0].notes[0].at))
	})
	// A seek to the end does not end the loop.
	synctest.Test(t, func(t *testing.T) {
		p, s := play(t, Config{Recordings: []Recording{imported(t, 10, every)}, Loop: true, From: ToSeq(5)})
		pass(time.Second)
		require.NoError(t, p.Seek(context.Background(), ToSeq(12)))
		pass(time.Second)
		require.NoError(t, p.Pause(context.Background()))
		require.Len(t, s.all(), 3)
		assert.Len(t, s.all()[1].notes, 1)
		assert.EqualValues(t, 5, s.played().notes[0].tick.Seq)
	})
}

// A replay without a tick from Config.From on fails instead of ending, and a seek to such a place is refused.
func TestNothingToPlay(t *testing.T) {
	for name, cfg := range map[string]Config{
		"from beyond the end":          {From: ToSeq(100)},
		"from beyond the end, looping": {From: ToSeq(100), Loop: true},
		"to the beginning":             {From: ToSeq(5), To: ToSeq(5)},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Recordings = []Recording{imported(t, 10, every)}
			p, err := New(cfg, newScore(t))
			require.NoError(t, err)
			err = p.Run(context.Background())
			require.ErrorIs(t, err, ErrEmpty)
			assert.ErrorContains(t, err, "is from 2026-01-05T14:30:00Z to 2026-01-05T14:30:10Z")
		})
	}
	synctest.Test(t, func(t *testing.T) {
		p, s := play(t, Config{Recordings: []Recording{imported(t, 10, every)}, From: ToSeq(5)})
		pass(time.Second)
		require.ErrorAs(t, p.Seek(context.Background(), ToSeq(100)), new(*RangeError))
		require.NoError(t, p.Seek(context.Background(), ToSeq(5)))
		<-s.ended
		assert.EqualValues(t, 5, s.played().notes[0].tick.Seq)
	})
}

// A command that a player has accepted is carried out, even if the player ends with it.
func TestLastCommand(t *testing.T) {
	for range 200 {
		p, err := New(Config{Recordings: []Recording{imported(t, 10, every)}, Speed: Max, Paused: true, ExitAtEnd: true}, newScore(t))
		require.NoError(t, err)
		resumed := make(chan error, 1)
		go func() { resumed <- p.Resume(context.Background()) }()
		require.NoError(t, p.Run(context.Background()))
		require.NoError(t, <-resumed)
		require.ErrorIs(t, p.Resume(context.Background()), ErrStopped)
	}
}

// A gated output publishes ticks only once its gate is open.
type gated struct {
	Output
	gate chan struct{}
}

func (g gated) Republish(ctx context.Context, ticks []feed.Tick, end uint64) error {
	<-g.gate
	return g.Output.Republish(ctx, ticks, end)
}

// Step returns once its ticks were played, or none of them is left to play, and not before.
func TestStepWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		p, _ := play(t, Config{Recordings: []Recording{imported(t, 10, every)}, Paused: true}, func(p *Player) { p.out = gated{p.out, gate} })
		returned := make(chan error, 1)
		go func() { returned <- p.Step(context.Background(), 3) }()
		synctest.Wait()
		require.Empty(t, returned, "the ticks are not played")
		close(gate)
		synctest.Wait()
		require.Len(t, returned, 1)
		assert.NoError(t, <-returned)
		assert.EqualValues(t, 3, p.Status().Ticks)
	})
	synctest.Test(t, func(t *testing.T) {
		p, _ := play(t, Config{Recordings: []Recording{imported(t, 10, every)}, Paused: true})
		require.NoError(t, p.Step(context.Background(), 100))
		assert.Equal(t, Ended, p.Status().State, "the end leaves nothing to be played")
		assert.EqualValues(t, 12, p.Status().Ticks)
	})
}
