package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
)

// open is when the recordings of these tests begin, 2026-01-05 14:30 UTC.
const open = int64(1_767_623_400_000_000_000)

const second = int64(time.Second)

// A tapeFile is a recording in memory.
type tapeFile struct{ bytes.Buffer }

func (*tapeFile) Sync() error  { return nil }
func (*tapeFile) Close() error { return nil }

// record returns a recording of session id, from number first, with what write appends.
func record(t *testing.T, id feed.SessionID, first uint64, state *feed.State, write func(b *recording.Builder)) Recording {
	t.Helper()
	f := &tapeFile{}
	b, err := recording.NewBuilder(f, codec.FileHeader{Lineage: feed.Lineage{{ID: id, First: first}}, Next: first, Created: open}, state)
	require.NoError(t, err)
	write(b)
	require.NoError(t, b.Close())
	return Recording{Name: "test.tick", R: bytes.NewReader(f.Bytes()), Size: int64(f.Len())}
}

func define(symbol string, id feed.InstrumentID, at int64) feed.Tick {
	return feed.Tick{Kind: feed.KindDefinition, Instrument: id, EventTime: at, Extra: &feed.Extra{
		Definition: &feed.Definition{Symbol: symbol, PriceExponent: -2}}}
}

func quote(id feed.InstrumentID, price, at int64) feed.Tick {
	return feed.Quote{Bid: price, BidSize: 1, Ask: price + 1, AskSize: 1}.Tick(id, at)
}

// imported returns a recording of n quotes of A (even prices) and B (odd prices), each with its number as price, at
// the times that next returns, published at their event time.
func imported(t *testing.T, n int, next func(i int) int64) Recording {
	t.Helper()
	return record(t, 0xa, 1, nil, func(b *recording.Builder) {
		require.NoError(t, b.Append([]feed.Tick{define("A", 0, open), define("B", 1, open)}))
		for i := range n {
			require.NoError(t, b.Append([]feed.Tick{quote(feed.InstrumentID((i+3)%2), int64(i+3), next(i))}))
		}
	})
}

// pass lets the time d pass, and everything that happens in it.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// A score is an Output that records what is played.
type score struct {
	t        *testing.T
	mu       sync.Mutex
	sessions []scoreSession
	ended    chan struct{}
	refuse   func(first uint64) bool // packets that Relay does not take
	relayed  atomic.Int64            // packets that it took
}

type scoreSession struct {
	first uint64
	begun *feed.State
	state *feed.State
	next  uint64
	notes []note
	ended bool
}

// A note is a tick, or a hole.
type note struct {
	at   time.Time
	tick feed.Tick
	hole uint64
	why  recording.SkipKind
}

func newScore(t *testing.T) *score { return &score{t: t, ended: make(chan struct{}, 100)} }

func (s *score) now() *scoreSession { return &s.sessions[len(s.sessions)-1] }

// all returns everything played so far, by session. The result does not change later.
func (s *score) all() []scoreSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Clone(s.sessions)
	for i := range out {
		out[i].notes = slices.Clone(out[i].notes)
		out[i].state = out[i].state.Clone()
	}
	return out
}

// played returns what was played of the last session.
func (s *score) played() *scoreSession {
	all := s.all()
	return &all[len(all)-1]
}

func (s *score) count() int { return len(s.all()) }

func (s *score) Begin(_ context.Context, first uint64, state *feed.State) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = append(s.sessions, scoreSession{first: first, next: first, begun: state.Clone(), state: state})
	return nil
}

func (s *score) Republish(_ context.Context, ticks []feed.Tick, end uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.now()
	for i := range ticks {
		if ticks[i].Seq < x.next {
			return errors.New("a number twice")
		}
		if err := x.state.Apply(&ticks[i]); err != nil {
			return err
		}
		x.notes = append(x.notes, note{at: time.Now(), tick: ticks[i]})
		x.next = ticks[i].Seq + 1
	}
	x.next = max(x.next, end)
	return nil
}

// Relay takes packets except those for which refuse returns true.
func (s *score) Relay(ctx context.Context, packets []byte) (n, ticks int, err error) {
	for n < len(packets) {
		size, h := codec.PacketSize(packets[n:]), codec.PacketAt(packets[n:])
		if s.refuse != nil && s.refuse(h.First) {
			break
		}
		body := codec.PacketBody(&h, packets[n+codec.PacketHeader:n+size])
		all := make([]feed.Tick, h.Count)
		k, err := body.Decode(all)
		if err != nil || k == 0 {
			break
		}
		if err := s.Republish(ctx, all[:k], h.First+h.Count); err != nil {
			return n, ticks, err
		}
		s.relayed.Add(1)
		n, ticks = n+size, ticks+k
	}
	return n, ticks, nil
}

func (s *score) Skip(_ context.Context, n uint64, why recording.SkipKind, state *feed.State) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.now()
	x.notes = append(x.notes, note{at: time.Now(), hole: n, why: why})
	x.next += n
	if state != nil {
		x.state = state
	}
	return nil
}

func (s *score) State() (*feed.State, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now().state.Clone(), s.now().next
}

func (s *score) Drain(context.Context) error { return nil }

func (s *score) End(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now().ended = true
	s.ended <- struct{}{}
	return nil
}

// seqs returns the numbers of the ticks of a session.
func (x *scoreSession) seqs() []uint64 {
	var out []uint64
	for _, n := range x.notes {
		if n.hole == 0 {
			out = append(out, n.tick.Seq)
		}
	}
	return out
}

// play starts a player in virtual time.
func play(t *testing.T, cfg Config, prepare ...func(*Player)) (p *Player, s *score) {
	t.Helper()
	cfg.Sleep = time.Sleep
	s = newScore(t)
	p, err := New(cfg, s)
	require.NoError(t, err)
	for _, do := range prepare {
		do(p)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			assert.ErrorIs(t, err, context.Canceled)
		}
	})
	return p, s
}

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
		_, s := play(t, Config{Recordings: []Recording{rec}, Clock: recording.PublishClock})
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
func TestControls(t *testing.T) {
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

// A seek, also backward, begins a new session with the state at its target, and the time continues from there.
func TestSeek(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		p, s := play(t, Config{Recordings: []Recording{imported(t, 20_000, every)}, Speed: 8000}, oftenKept)
		pass(2 * time.Second)
		require.Greater(t, len(p.kept), 2)
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
func oftenKept(p *Player) { p.interval = 100 }

// dump returns the entries of a state.
func dump(s *feed.State) []feed.Tick {
	var out []feed.Tick
	for t := range s.Entries(nil) {
		if t.Extra != nil && t.Extra.Summary != nil {
			continue
		}
		out = append(out, t)
	}
	return out
}

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

// Numbers that the filter leaves out or the recording lacks are reported as such under their numbers.
func TestAbsences(t *testing.T) {
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
		require.Greater(t, len(p.kept), 5)
		for _, k := range slices.Clone(p.kept) {
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
func TestDamage(t *testing.T) {
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
func TestShift(t *testing.T) {
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
		p, s := play(t, Config{Recordings: []Recording{rec}, ShiftToNow: true, Clock: recording.PublishClock})
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
func TestLoop(t *testing.T) {
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
			assert.ErrorContains(t, err, "begins at 2026-01-05T14:30:00Z")
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

// Several recordings are merged by time under new numbers; an instrument is the same in all of them.
func TestMerge(t *testing.T) {
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
		require.Greater(t, len(p.kept), 3)
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
	_, err := recording.Merge(t.Context(), f, codec.FileHeader{Lineage: feed.Lineage{{ID: 0xd, First: 1}}, Next: 1}, readers, recording.PublishClock, nil)
	require.NoError(t, err)
	merged := Recording{Name: "merged.tick", R: bytes.NewReader(f.Bytes()), Size: int64(f.Len())}
	synctest.Test(t, func(t *testing.T) {
		story := func(rs ...Recording) (told []string, whole scoreSession) {
			_, s := play(t, Config{Recordings: rs, GapLimit: time.Minute, Clock: recording.PublishClock})
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
	for _, clock := range []recording.Clock{recording.MarketClock, recording.PublishClock} {
		f := &tapeFile{}
		var readers []*recording.Reader
		for _, r := range recordings {
			x, err := recording.NewReader(r.R, r.Size)
			require.NoError(t, err)
			readers = append(readers, x)
		}
		_, err := recording.Merge(t.Context(), f, codec.FileHeader{Lineage: feed.Lineage{{ID: 0xf, First: 1}}, Next: 1}, readers, clock, nil)
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

// Of ticks due at the same time, those of the first recording come first.
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
