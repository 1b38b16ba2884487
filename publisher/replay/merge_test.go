package replay

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/edit"
	"tickfeed/codec/recording/place"
	"tickfeed/feed"
)

// Several recordings are merged by time under new numbers; an instrument is the same in all of them.
func TestMergeNumbersByTime(t *testing.T) {
	one := record(t, 0xa, 1, nil, func(b *recording.Builder) {
		require.NoError(t, b.Append([]feed.Tick{define("A", 0, open), define("B", 1, open)}))
		for i := range int64(6000) {
			require.NoError(t, b.Append([]feed.Tick{quote(feed.InstrumentID(i%2), 2*i, open+2*i*second)}))
		}
	})
	two := record(t, 0xb, 1, nil, func(b *recording.Builder) {
		c := define("C", 0, open)
		a := define("A", 1, open)
		a.Extra.Definition.PriceExponent = -4 // here in other units
		require.NoError(t, b.Append([]feed.Tick{c, a}))
		for i := range int64(6000) {
			require.NoError(t, b.Append([]feed.Tick{quote(feed.InstrumentID(i%2), 2*i+1, open+(2*i+1)*second)}))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		p, s := play(t, Config{Recordings: []Recording{one, two}, Speed: Max}, oftenKept)
		<-s.ended
		whole := s.played()
		state, due, quotes := feed.NewState(), int64(0), int64(0)
		for i, n := range whole.notes {
			require.Equal(t, uint64(i+1), n.tick.Seq)
			x := n.tick
			require.NoError(t, state.Apply(&x))
			require.GreaterOrEqual(t, x.EventTime, due)
			due = x.EventTime
			if x.Kind != feed.KindQuote {
				continue
			}
			d, _ := state.Definition(x.Instrument)
			want, exponent := []string{"A", "C", "B", "A"}[quotes%4], int8(-2)
			if want == "A" && quotes%4 == 3 {
				exponent = -4
			}
			require.Equal(t, want, d.Symbol, "quote %d", quotes)
			require.Equal(t, exponent, d.PriceExponent)
			require.Equal(t, quotes, x.Quote().Bid)
			quotes++
		}
		assert.EqualValues(t, 12_000, quotes)

		// From any place, by way of the kept states, the same numbers are the same ticks.
		require.Greater(t, len(p.kept.all), 3)
		for _, seq := range []uint64{1, 2, 900, 9999, uint64(len(whole.notes))} {
			require.NoError(t, p.Seek(context.Background(), ToSeq(seq)))
			<-s.ended
			x := s.played()
			require.Equal(t, seq, x.first)
			require.Len(t, x.notes, len(whole.notes)-int(seq)+1)
			for i := range x.notes {
				if !x.notes[i].tick.Equal(&whole.notes[int(seq)-1+i].tick) {
					require.Fail(t, "another tick", "number %d", x.notes[i].tick.Seq)
				}
			}
		}
	})
}

// since returns a recording of trades of one symbol, one each second from at. The first before trades are only in the
// state that the recording begins with.
func since(t *testing.T, id feed.SessionID, symbol string, at int64, before, n int64) Recording {
	state := feed.NewState()
	d := define(symbol, 0, at)
	require.NoError(t, state.Apply(&d))
	q := quote(0, 7, at-second)
	require.NoError(t, state.Apply(&q))
	for i := range before {
		x := feed.Trade{Price: i, Size: 1}.Tick(0, at-second)
		require.NoError(t, state.Apply(&x))
	}
	return record(t, id, uint64(before)+3, state, func(b *recording.Builder) {
		for i := range n {
			require.NoError(t, b.AppendAt(at+i*second, []feed.Tick{feed.Trade{Price: before + i, Size: 1}.Tick(0, at+i*second)}))
		}
	})
}

// The state that a merged recording begins with is played when that recording begins: ticks played before do not
// reflect it. A merge into one recording gives the same ticks.
func TestMergeTellsAStateAtItsTime(t *testing.T) {
	early := since(t, 0xa, "A", open, 5, 20)
	late := since(t, 0xb, "B", open+10*second, 3, 5)
	again := since(t, 0xc, "A", open+15*second, 40, 3) // the instrument of the first, as another recorder saw it
	recordings := []Recording{early, late, again}
	f := &tapeFile{}
	var readers []*recording.Reader
	for _, r := range recordings {
		x, err := recording.NewReader(r.R, r.Size)
		require.NoError(t, err)
		readers = append(readers, x)
	}
	_, err := edit.Merge(t.Context(), f, codec.FileHeader{Lineage: feed.Lineage{{ID: 0xd, First: 1}}, Next: 1}, readers, place.PublishClock, nil)
	require.NoError(t, err)
	merged := Recording{Name: "merged.tick", R: bytes.NewReader(f.Bytes()), Size: int64(f.Len())}
	synctest.Test(t, func(t *testing.T) {
		story := func(rs ...Recording) (told []string, whole scoreSession) {
			_, s := play(t, Config{Recordings: rs, GapLimit: time.Minute, Clock: place.PublishClock})
			<-s.ended
			x := s.played()
			state := x.begun.Clone()
			for _, n := range x.notes {
				y := n.tick
				require.NoError(t, state.Apply(&y))
				d, _ := state.Definition(y.Instrument)
				told = append(told, fmt.Sprintf("%s %v %v at %v", d.Symbol, y.Kind, y.Values[0], n.at.Sub(x.notes[0].at)))
			}
			return told, *x
		}
		told, whole := story(recordings...)
		assert.Equal(t, 1, whole.begun.Len(), "only the recording that begins first has a state before the first tick")
		a, _ := whole.begun.Instrument(0)
		assert.EqualValues(t, 5, a.Summary.Volume)
		assert.Equal(t, []string{
			"A trade 15 at 10s", "B definition 0 at 10s", "B quote 7 at 10s", "B trade 3 at 10s", "A trade 16 at 11s",
		}, told[10:15])
		assert.Equal(t, []string{"A trade 20 at 15s", "A clear 0 at 15s", "A quote 7 at 15s", "A trade 40 at 15s"}, told[22:26])
		for id, volume := range []int64{5 + 20 + 3, 5} { // trades before the other recordings began are in no tick
			in, _ := whole.state.Instrument(feed.InstrumentID(id))
			assert.Equal(t, volume, in.Summary.Volume)
		}
		one, _ := story(merged)
		assert.Equal(t, []string{"A definition 0 at 0s", "A quote 7 at 0s"}, one[:2])
		assert.Equal(t, told, one[2:])
	})
}

// A replay of several recordings and a merge of them give the same ticks in the same order, by either clock, for
// recordings that were made live, late, in bursts and on days other than the day of the market, for imported
// recordings, and for one without event times.
func TestMergeIsWhatAReplayPlays(t *testing.T) {
	chance := rand.New(rand.NewPCG(7, 13))
	const n = 2000
	live := func(id feed.SessionID, symbol string, delay int64, times bool) Recording {
		return record(t, id, 1, nil, func(b *recording.Builder) {
			at, published := open+chance.Int64N(second), int64(0)
			require.NoError(t, b.AppendAt(at+delay, []feed.Tick{define(symbol, 0, 0)}))
			for i := range int64(n) {
				at += chance.Int64N(second / 10)
				event := at
				switch {
				case !times, i%17 == 3:
					event = 0
				case i%11 == 5:
					event = at - second // late news
				}
				if i%7 == 0 {
					published = at + delay + chance.Int64N(2*second) // a packet of some ticks
				}
				require.NoError(t, b.AppendAt(published, []feed.Tick{quote(0, i, event)}))
				if i%500 == 250 { // the recorder was too slow, and has a snapshot of what it missed
					state := feed.NewState()
					for _, x := range []feed.Tick{define(symbol, 0, 0), quote(0, i+1, at)} {
						require.NoError(t, state.Apply(&x))
					}
					require.NoError(t, b.Skip(10, recording.SkipWithheld))
					require.NoError(t, b.Restate(state))
				}
			}
		})
	}
	at := open
	recordings := []Recording{
		since(t, 0x9, "A", open+15*second, 4, 30), // the others define it before
		live(0xa, "A", second/3, true), live(0xb, "B", 40*second, true), live(0xc, "C", -3600*second, true), live(0xd, "D", 5*second, false),
		imported(t, n, func(int) int64 { at += chance.Int64N(second / 10); return at }),
		since(t, 0xe, "E", open+20*second, 4, 30),
		since(t, 0x8, "G", open+15*second, 4, 0), // a state, and nothing after it
	}
	for _, clock := range []place.Clock{place.MarketClock, place.PublishClock} {
		f := &tapeFile{}
		var readers []*recording.Reader
		for _, r := range recordings {
			x, err := recording.NewReader(r.R, r.Size)
			require.NoError(t, err)
			readers = append(readers, x)
		}
		_, err := edit.Merge(t.Context(), f, codec.FileHeader{Lineage: feed.Lineage{{ID: 0xf, First: 1}}, Next: 1}, readers, clock, nil)
		require.NoError(t, err)
		merged := Recording{Name: "merged.tick", R: bytes.NewReader(f.Bytes()), Size: int64(f.Len())}
		synctest.Test(t, func(t *testing.T) {
			ticks := func(rs ...Recording) (all []string) {
				_, s := play(t, Config{Recordings: rs, Clock: clock, Speed: Max})
				<-s.ended
				state := feed.NewState()
				for _, n := range s.played().notes {
					x := n.tick
					if !x.Kind.Known() { // numbers that were withheld
						continue
					}
					require.NoError(t, state.Apply(&x))
					d, _ := state.Definition(x.Instrument)
					all = append(all, fmt.Sprintf("%s %v %v %d", d.Symbol, x.Kind, x.Values, x.EventTime))
				}
				return all
			}
			want, got := ticks(recordings...), ticks(merged)
			for i := range min(len(want), len(got)) {
				require.Equal(t, want[i], got[i], "by %v", clock)
			}
			require.Equal(t, len(want), len(got), "by %v", clock)
		})
	}
}

// Ticks that are due at the same time come in the order of the recordings.
func TestMergeOfTies(t *testing.T) {
	at := func(id feed.SessionID, symbol string, times ...int64) Recording {
		return record(t, id, 1, nil, func(b *recording.Builder) {
			require.NoError(t, b.AppendAt(open, []feed.Tick{define(symbol, 0, open)}))
			for _, s := range times {
				require.NoError(t, b.AppendAt(open+s*second, []feed.Tick{quote(0, s, open+s*second)}))
			}
		})
	}
	one, two := at(0xa, "A", 2, 3, 5, 7), at(0xb, "B", 1, 2, 3, 4, 5, 7)
	synctest.Test(t, func(t *testing.T) {
		_, s := play(t, Config{Recordings: []Recording{one, two}, Speed: Max})
		<-s.ended
		var order []string
		state := feed.NewState()
		for _, n := range s.played().notes {
			x := n.tick
			require.NoError(t, state.Apply(&x))
			d, _ := state.Definition(x.Instrument)
			order = append(order, fmt.Sprintf("%s%d", d.Symbol, (x.EventTime-open)/second))
		}
		assert.Equal(t, []string{"A0", "B0", "B1", "A2", "B2", "A3", "B3", "B4", "A5", "B5", "A7", "B7"}, order)
	})
}
