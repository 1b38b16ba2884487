package replay_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/effort"
	"tickfeed/codec/logto/logtest"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/text/texttest"
	"tickfeed/feed"
	"tickfeed/feed/sim"
	"tickfeed/publisher"
	"tickfeed/publisher/replay"
	"tickfeed/subscriber"
)

// market returns a recording of n ticks of a simulated market, with missing numbers at some places if holes is set,
// the ticks, the state after them, and the volume of the day at each place where numbers are withheld or gone.
func market(t testing.TB, n int, holes bool) (replay.Recording, []feed.Tick, *feed.State, []int64) {
	t.Helper()
	m, err := sim.New(sim.Config{Instruments: 50, Seed: 3, Depth: 2})
	require.NoError(t, err)
	f := &texttest.Memory{}
	b, err := recording.NewBuilder(f, codec.FileHeader{Lineage: feed.Lineage{{ID: 0xabc, First: 1}}, Next: 1}, nil)
	require.NoError(t, err)
	var ticks []feed.Tick
	var volumes []int64
	state, batch := feed.NewState(), make([]feed.Tick, 500)
	for round := 0; len(ticks) < n; round++ {
		k, err := m.Next(context.Background(), batch)
		require.NoError(t, err)
		first := b.Next()
		require.NoError(t, b.Append(batch[:k]))
		for i := range batch[:k] {
			batch[i].Seq = first + uint64(i)
			require.NoError(t, state.Apply(&batch[i]))
		}
		ticks = append(ticks, batch[:k]...)
		if holes && round%5 == 4 {
			switch round % 3 {
			case 0:
				require.NoError(t, b.Skip(7, recording.SkipNotAsked))
			case 1:
				k, err := m.Next(context.Background(), batch)
				require.NoError(t, err)
				for i := range batch[:k] { // the state has them, the recording does not
					require.NoError(t, state.Apply(&batch[i]))
				}
				require.NoError(t, b.Skip(uint64(k), recording.SkipWithheld))
				require.NoError(t, b.Restate(state.Clone()))
			case 2:
				require.NoError(t, b.Skip(11, recording.SkipDamaged))
			}
			if round%3 != 0 {
				volumes = append(volumes, volume(state))
			}
		}
	}
	require.NoError(t, b.Close())
	return replay.Recording{Name: "market.tick", R: bytes.NewReader(f.Bytes()), Size: int64(f.Len())}, ticks, state, volumes
}

// volume returns the volume of all instruments.
func volume(s *feed.State) (sum int64) {
	for id := range feed.InstrumentID(s.Len()) {
		if x, ok := s.Instrument(id); ok {
			sum += x.Summary.Volume
		}
	}
	return sum
}

// A show is a replay on a socket.
type show struct {
	t      *testing.T
	addr   string
	stage  *replay.Stage
	player *replay.Player
	dir    string // of the stage, which has a directory in it with a log for each session
	log    *logtest.Buffer
}

// beat is the heartbeat interval of the publishers.
const beat = 300 * time.Millisecond

func perform(t *testing.T, cfg replay.Config, memory int64) *show {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	dir := t.TempDir()
	log := &logtest.Buffer{}
	stage, err := replay.NewStage(publisher.Config{
		Memory: memory, Heartbeat: beat, Logger: zerolog.New(log).Level(zerolog.WarnLevel),
	}, 0xabc, dir, []net.Listener{ln})
	require.NoError(t, err)
	player, err := replay.New(cfg, stage)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { assert.ErrorIs(t, stage.Run(ctx), context.Canceled) })
	running.Go(func() {
		if err := player.Run(ctx); err != nil {
			assert.ErrorIs(t, err, context.Canceled)
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
		assert.NoError(t, stage.Close())
		left, err := os.ReadDir(dir)
		assert.NoError(t, err)
		assert.Empty(t, left, "the logs are removed")
	})
	return &show{t: t, addr: ln.Addr().String(), stage: stage, player: player, dir: dir, log: log}
}

// An audience is a subscriber and what it received.
type audience struct {
	sub *subscriber.Subscriber

	mu       sync.Mutex
	ticks    map[feed.SessionID][]feed.Tick
	sessions []feed.SessionID
	volumes  []int64     // wherever a snapshot came
	state    *feed.State // of the last batch
	next     uint64
	ended    chan struct{}
}

func (s *show) attend(cfg subscriber.Config) *audience {
	s.t.Helper()
	a := &audience{ticks: make(map[feed.SessionID][]feed.Tick), ended: make(chan struct{}, 100)}
	s.follow(a, cfg, a.take)
	return a
}

// follow runs the subscriber of a, and passes its batches to handle.
func (s *show) follow(a *audience, cfg subscriber.Config, handle func(*subscriber.Batch) error) {
	s.t.Helper()
	cfg.Addrs = []string{s.addr}
	var err error
	a.sub, err = subscriber.New(cfg)
	require.NoError(s.t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.sub.Run(ctx, handle) }()
	s.t.Cleanup(func() {
		stop()
		assert.ErrorIs(s.t, <-done, context.Canceled)
	})
}

func (a *audience) take(b *subscriber.Batch) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b.Change != nil {
		if b.Change.End {
			a.state, a.next = b.State.Clone(), b.Change.Final
			a.ended <- struct{}{}
		}
		if b.Change.Snapshot != nil {
			a.volumes = append(a.volumes, volume(b.State))
		}
		return nil
	}
	if b.Snapshot {
		return nil
	}
	if n := len(a.sessions); n == 0 || a.sessions[n-1] != b.Session {
		a.sessions = append(a.sessions, b.Session)
	}
	a.ticks[b.Session] = append(a.ticks[b.Session], b.Ticks...)
	return nil
}

// has waits until the audience has received something for which ok returns true.
func (a *audience) has(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitLimit); ; {
		a.mu.Lock()
		holds := ok()
		a.mu.Unlock()
		if holds {
			return
		}
		require.True(t, time.Now().Before(deadline), "it did not come")
		time.Sleep(time.Millisecond)
	}
}

// A recording played at maximum speed arrives complete, tick for tick, under its numbers and with its missing
// numbers, also at subscribers that read much more slowly than it is published. A recording made of the replay is the
// same.
func TestRoundTrip(t *testing.T) {
	for name, holes := range map[string]bool{"whole": false, "with holes": true} {
		t.Run(name, func(t *testing.T) {
			timers := effort.WatchTimers(t)
			rec, ticks, want, volumes := market(t, 45_000, holes)
			s := perform(t, replay.Config{Recordings: []replay.Recording{rec}, Speed: replay.Max, Paused: true}, publisher.MinMemory)
			all := s.attend(subscriber.Config{Start: codec.Start{Kind: codec.StartBeginning}})
			few := s.attend(subscriber.Config{Start: codec.Start{Kind: codec.StartBeginning}, Filter: codec.Filter{"A*"}})
			s.subscribers(2)
			require.NoError(t, s.player.Resume(context.Background()))
			<-all.ended
			<-few.ended
			late := s.attend(subscriber.Config{Start: codec.Start{Kind: codec.StartBeginning}}) // reads the log's files
			<-late.ended

			a, l := only(t, all), only(t, late)
			require.Equal(t, len(ticks), len(a))
			for i := range ticks {
				if !ticks[i].Equal(&a[i]) || !ticks[i].Equal(&l[i]) {
					require.Fail(t, "another tick", "number %d: %+v and %+v, want %+v", ticks[i].Seq, a[i], l[i], ticks[i])
				}
			}
			session := all.sessions[0]
			books := all.sub.Ledger()
			account := books.Account(session)
			require.NoError(t, books.Check())
			sum := account.Totals()
			assert.EqualValues(t, len(ticks), sum.Delivered)
			if holes {
				assert.Positive(t, sum.NotAsked)
				assert.Positive(t, sum.Withheld)
				assert.Positive(t, sum.Lost)
			}
			assert.Equal(t, all.next-1, sum.Delivered+sum.NotAsked+sum.Withheld+sum.Lost)
			assert.Equal(t, entries(want, nil), entries(all.state, nil))
			assert.Equal(t, entries(want, nil), entries(late.state, nil))

			wanted := func(id feed.InstrumentID) bool {
				d, _ := want.Definition(id)
				return codec.Filter{"A*"}.Match(d)
			}
			assert.Equal(t, entries(want, wanted), entries(few.state, nil))
			got, i := only(t, few), 0
			for k := range ticks {
				if wanted(ticks[k].Instrument) {
					require.Less(t, i, len(got))
					if !ticks[k].Equal(&got[i]) {
						require.Fail(t, "another tick", "number %d", ticks[k].Seq)
					}
					i++
				}
			}
			assert.Equal(t, len(got), i)
			f := few.sub.Ledger()
			account = f.Account(session)
			totals := account.Totals()
			assert.Equal(t, sum.Withheld, totals.Withheld)
			assert.Equal(t, sum.Lost, totals.Lost)
			assert.Equal(t, volumes, all.volumes)
			assert.Equal(t, volumes, late.volumes)
			if busy := timers.Latest(); busy > beat/3 {
				t.Logf("not judged: reconnects: a plain timer was %v late, a heartbeat comes every %v", busy, beat)
				return
			}
			for _, a := range []*audience{all, few, late} {
				assert.Zero(t, a.sub.Status().Reconnects)
			}
		})
	}
}

// waitLimit bounds a wait for something that takes seconds on an idle machine.
const waitLimit = 50 * time.Second

func (s *show) subscribers(n int) {
	s.t.Helper()
	for deadline := time.Now().Add(waitLimit); ; time.Sleep(time.Millisecond) {
		if p := s.stage.Publisher(); p != nil && len(p.Stats().Conns) == n {
			return
		}
		require.True(s.t, time.Now().Before(deadline), "the subscribers did not come")
	}
}

func only(t *testing.T, a *audience) []feed.Tick {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	require.Len(t, a.sessions, 1)
	return a.ticks[a.sessions[0]]
}

func entries(s *feed.State, wanted func(feed.InstrumentID) bool) []feed.Tick {
	var out []feed.Tick
	for x := range s.Entries(wanted) {
		x.Seq, x.Flags = 0, 0
		out = append(out, x)
	}
	return out
}

// A subscriber follows the seeks of a replay by itself: it is sent the state at each target and every tick from
// there. Ticks that the seek passes over are not in its account.
func TestSeekIsFollowed(t *testing.T) {
	rec, ticks, want, _ := market(t, 30_000, false)
	ctx := context.Background()
	s := perform(t, replay.Config{Recordings: []replay.Recording{rec}, Paused: true}, 0)
	all := s.attend(subscriber.Config{})
	few := s.attend(subscriber.Config{Filter: codec.Filter{"B*"}})
	s.subscribers(2)
	require.NoError(t, s.player.Step(ctx, 1000))
	all.has(t, func() bool { return len(all.sessions) == 1 && len(all.ticks[all.sessions[0]]) == 1000 })

	for i, to := range []uint64{20_000, 500, 25_000, 7} {
		if i == 1 { // many times in a pause, quickly
			for range 12 {
				require.NoError(t, s.player.Seek(ctx, replay.ToSeq(to)))
				s.subscribers(2)
			}
		}
		require.NoError(t, s.player.Seek(ctx, replay.ToSeq(to)))
		s.subscribers(2)
		session := s.stage.Publisher().Lineage().Current()
		require.Equal(t, to, session.First)
		require.NoError(t, s.player.Step(ctx, 300))
		all.has(t, func() bool { return len(all.ticks[session.ID]) == 300 })
		all.mu.Lock()
		for k := range uint64(300) {
			require.True(t, ticks[to-1+k].Equal(&all.ticks[session.ID][k]))
		}
		all.mu.Unlock()
	}
	// While the replay continues, subscribers do not miss ticks played before they have reconnected.
	require.NoError(t, s.player.SetSpeed(ctx, 1e5))
	require.NoError(t, s.player.Resume(ctx))
	for _, to := range []uint64{100, 2000, 300} {
		require.NoError(t, s.player.Seek(ctx, replay.ToSeq(to)))
		session := s.stage.Publisher().Lineage().Current()
		all.has(t, func() bool { return len(all.ticks[session.ID]) > 500 })
		all.mu.Lock()
		assert.Equal(t, to, all.ticks[session.ID][0].Seq)
		all.mu.Unlock()
	}
	require.NoError(t, s.player.SetSpeed(ctx, replay.Max))
	<-all.ended
	<-few.ended
	for _, a := range []*audience{all, few} {
		sum := a.sub.Ledger().Totals()
		assert.Zero(t, sum.Lost)
		assert.Zero(t, sum.Disowned)
		assert.Zero(t, sum.Withheld)
	}
	assert.Equal(t, entries(want, nil), entries(all.state, nil))
}

// sessions returns a recording of several unrelated sessions of n ticks each.
func sessions(t *testing.T, ids []feed.SessionID, n int) replay.Recording {
	t.Helper()
	f := &texttest.Memory{}
	var b *recording.Builder
	for i, id := range ids {
		h := codec.FileHeader{Lineage: feed.Lineage{{ID: id, First: 1}}, Next: 1}
		var err error
		if i == 0 {
			b, err = recording.NewBuilder(f, h, nil)
		} else {
			err = b.Continue(h, nil)
		}
		require.NoError(t, err)
		d := feed.Definition{Symbol: "S", PriceExponent: -2}
		ticks := []feed.Tick{{Kind: feed.KindDefinition, EventTime: noon, Extra: &feed.Extra{Definition: &d}}}
		for k := range n - 1 {
			ticks = append(ticks, feed.Trade{Price: int64(k), Size: 1}.Tick(0, noon))
		}
		require.NoError(t, b.Append(ticks))
	}
	require.NoError(t, b.Close())
	return replay.Recording{Name: "sessions.tick", R: bytes.NewReader(f.Bytes()), Size: int64(f.Len())}
}

const noon = 1_772_461_800_000_000_000

// A stage whose listener fails ends, and leaves nothing behind.
func TestStageEndsWithItsListener(t *testing.T) {
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	dir := t.TempDir()
	stage, err := replay.NewStage(publisher.Config{}, 0, dir, []net.Listener{ln})
	require.NoError(t, err)
	require.NoError(t, stage.Begin(context.Background(), 1, nil))
	done := make(chan error, 1)
	go func() { done <- stage.Run(context.Background()) }()
	ln.Close()
	assert.ErrorIs(t, <-done, net.ErrClosed)
	require.NoError(t, stage.Close())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
}

// Ticks whose definition is damaged are played all the same, and stop no subscriber.
func TestDamagedDefinition(t *testing.T) {
	rec, ticks, _, _ := market(t, 5000, false)
	b := make([]byte, rec.Size)
	_, err := rec.R.ReadAt(b, 0)
	require.NoError(t, err)
	at := bytes.Index(b, []byte{0x97, 0x05, 0xce}) + codec.PacketHeader + 10
	b[at] ^= 0xff // in the first packet, which holds definitions
	rec.R = bytes.NewReader(b)
	s := perform(t, replay.Config{Recordings: []replay.Recording{rec}, Speed: replay.Max, Paused: true}, publisher.MinMemory)
	all := s.attend(subscriber.Config{Start: codec.Start{Kind: codec.StartBeginning}})
	few := s.attend(subscriber.Config{Start: codec.Start{Kind: codec.StartBeginning}, Filter: codec.Filter{"A*"}})
	s.subscribers(2)
	require.NoError(t, s.player.Resume(context.Background()))
	<-all.ended
	<-few.ended
	late := s.attend(subscriber.Config{})
	late.has(t, func() bool { return late.next > 0 })
	sum := all.sub.Ledger().Totals()
	assert.Positive(t, sum.Lost)
	assert.EqualValues(t, len(ticks), sum.Lost+sum.Delivered)
	assert.Equal(t, sum.Lost, s.player.Status().Damaged)
}
