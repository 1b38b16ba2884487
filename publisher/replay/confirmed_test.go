package replay_test

import (
	"context"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/replay"
	"tickfeed/subscriber"
)

// A gate is a Dial that admits the first connection, and every other one only once it is open.
type gate struct {
	dialled int
	open    chan struct{}
}

func (g *gate) dial(ctx context.Context, addr string) (net.Conn, error) {
	g.dialled++
	if g.dialled > 1 {
		select {
		case <-g.open:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

// A replay that is over does not end before the subscribers that it sent on to another session have connected and
// have everything, but it does not wait forever.
func TestWaitConfirmedWaitsForThoseOnTheirWay(t *testing.T) {
	rec := sessions(t, []feed.SessionID{1, 2}, 100)
	start := func(follow time.Duration) (*show, *gate, *audience) {
		s := perform(t, replay.Config{Recordings: []replay.Recording{rec}, Speed: replay.Max, Paused: true}, publisher.MinMemory)
		s.stage.SetPatience(follow, follow)
		g := &gate{open: make(chan struct{})}
		a := s.attend(subscriber.Config{Start: codec.Start{Kind: codec.StartBeginning}, Dial: g.dial})
		s.subscribers(1)
		require.NoError(t, s.player.Resume(t.Context()))
		s.ended()
		return s, g, a
	}
	s, g, a := start(time.Minute)
	soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.stage.WaitConfirmed(soon), context.DeadlineExceeded, "the subscriber is on its way")
	close(g.open)
	patient, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	require.NoError(t, s.stage.WaitConfirmed(patient))
	<-a.ended
	a.mu.Lock()
	assert.Len(t, a.sessions, 2)
	for _, id := range a.sessions {
		assert.Len(t, a.ticks[id], 100)
	}
	a.mu.Unlock()

	s, g, _ = start(50 * time.Millisecond)
	require.NoError(t, s.stage.WaitConfirmed(patient), "a subscriber that does not come is not waited for")
	close(g.open)
}

// ended waits until everything was played.
func (s *show) ended() {
	s.t.Helper()
	for deadline := time.Now().Add(waitLimit); s.player.Status().State != replay.Ended; time.Sleep(time.Millisecond) {
		require.True(s.t, time.Now().Before(deadline), "it does not end")
	}
}

// A loop, at any speed, and the next session of a recording begin only when all subscribers have received the
// previous session, including slow subscribers and those that lost their connection. A subscriber that receives
// nothing more for too long is left behind.
func TestNextRoundWaitsForSlowSubscribers(t *testing.T) {
	one, two := sessions(t, []feed.SessionID{1}, 1000), sessions(t, []feed.SessionID{1, 2}, 1000)
	for name, c := range map[string]struct {
		rec   replay.Recording
		speed float64
		loop  bool
		cut   bool
	}{
		"a loop at its own pace":           {one, 1, true, false},
		"a loop as fast as it goes":        {one, replay.Max, true, false},
		"two sessions":                     {two, 1, false, false},
		"a loop, a connection that breaks": {one, 1, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := perform(t, replay.Config{Recordings: []replay.Recording{c.rec}, Speed: c.speed, Loop: c.loop, Paused: true}, publisher.MinMemory)
			s.stage.SetPatience(time.Minute, time.Minute)
			g := &gate{open: make(chan struct{})}
			if !c.cut {
				close(g.open)
			}
			var first net.Conn
			dial := func(ctx context.Context, addr string) (net.Conn, error) {
				conn, err := g.dial(ctx, addr)
				if first == nil {
					first = conn
				}
				return conn, err
			}
			a := &audience{ticks: make(map[feed.SessionID][]feed.Tick), ended: make(chan struct{}, 100)}
			held, stalled := make(chan struct{}), make(chan struct{}, 1)
			s.follow(a, subscriber.Config{Start: codec.Start{Kind: codec.StartBeginning}, Dial: dial}, func(b *subscriber.Batch) error {
				if b.Change == nil && !b.Snapshot {
					select {
					case stalled <- struct{}{}:
						if c.cut {
							first.Close()
						}
					default:
					}
					if !c.cut {
						<-held
					}
				}
				return a.take(b)
			})
			release := sync.OnceFunc(func() { close(held) })
			t.Cleanup(release) // before the subscriber is waited for
			s.subscribers(1)
			require.NoError(t, s.player.Resume(t.Context()))
			<-stalled
			for deadline := time.Now().Add(waitLimit); s.player.Status().Ticks < 1000; time.Sleep(time.Millisecond) {
				require.True(t, time.Now().Before(deadline))
			}
			for range 100 {
				require.Equal(t, 1, s.player.Status().Sessions, "the next session has to wait")
				time.Sleep(time.Millisecond)
			}
			release()
			if c.cut {
				close(g.open)
			}
			a.has(t, func() bool { return len(a.sessions) > 1 && len(a.ticks[a.sessions[1]]) == 1000 })
			a.mu.Lock()
			assert.Len(t, a.ticks[a.sessions[0]], 1000)
			a.mu.Unlock()
		})
	}
	t.Run("the bound", func(t *testing.T) {
		s := perform(t, replay.Config{Recordings: []replay.Recording{one}, Loop: true, Paused: true}, publisher.MinMemory)
		s.stage.SetPatience(50*time.Millisecond, 50*time.Millisecond)
		held := make(chan struct{})
		a := &audience{ticks: make(map[feed.SessionID][]feed.Tick)}
		s.follow(a, subscriber.Config{Start: codec.Start{Kind: codec.StartBeginning}}, func(b *subscriber.Batch) error {
			if b.Change == nil {
				<-held
			}
			return nil
		})
		t.Cleanup(func() { close(held) })
		s.subscribers(1)
		require.NoError(t, s.player.Resume(t.Context()))
		for deadline := time.Now().Add(waitLimit); s.player.Status().Sessions < 3; time.Sleep(time.Millisecond) {
			require.True(t, time.Now().Before(deadline), "a stalled subscriber delays the replay forever")
		}
	})
}

// A replay that continues without a subscriber logs one warning per session that names the subscriber and the
// session: for a subscriber that stalls, one that lost its connection, and one that was sent on to the session and
// never connected.
func TestWarnsOfSubscribersLeftBehind(t *testing.T) {
	for name, c := range map[string]struct {
		take func(held chan struct{}, conn net.Conn)
		shut bool // it cannot connect again
		why  string
		when int // the session whose rest it does not get
	}{
		"stalled":  {func(held chan struct{}, _ net.Conn) { <-held }, false, "it confirmed nothing more for too long, or too little in all", 0},
		"cut":      {func(_ chan struct{}, conn net.Conn) { conn.Close() }, true, "its connection was lost, and it did not come back in time", 0},
		"sent on":  {func(chan struct{}, net.Conn) {}, true, "it was sent on to the session, and did not come in time", 1},
		"no fault": {func(chan struct{}, net.Conn) {}, false, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			rec := sessions(t, []feed.SessionID{1, 2, 3}, 1000)
			s := perform(t, replay.Config{Recordings: []replay.Recording{rec}, Speed: replay.Max, Paused: true}, publisher.MinMemory)
			patience := 200 * time.Millisecond
			if c.why == "" {
				patience = time.Minute
			}
			s.stage.SetPatience(patience, patience)
			g := &gate{open: make(chan struct{})}
			if !c.shut {
				close(g.open)
			}
			var conn net.Conn
			dial := func(ctx context.Context, addr string) (net.Conn, error) {
				nc, err := g.dial(ctx, addr)
				if err == nil && conn == nil {
					conn = nc
				}
				return nc, err
			}
			held := make(chan struct{})
			a := &audience{ticks: make(map[feed.SessionID][]feed.Tick), ended: make(chan struct{}, 100)}
			s.follow(a, subscriber.Config{Start: codec.Start{Kind: codec.StartBeginning}, Dial: dial, Client: "a slow one"}, func(b *subscriber.Batch) error {
				if b.Change == nil && !b.Snapshot {
					c.take(held, conn)
				}
				return a.take(b)
			})
			t.Cleanup(func() { close(held) }) // before the subscriber is waited for
			s.subscribers(1)
			ids := []feed.SessionID{s.stage.Publisher().Lineage().Current().ID}
			require.NoError(t, s.player.Resume(t.Context()))
			for deadline := time.Now().Add(waitLimit); s.player.Status().State != replay.Ended; time.Sleep(time.Millisecond) {
				require.True(t, time.Now().Before(deadline))
				if id := s.stage.Publisher().Lineage().Current().ID; id != ids[len(ids)-1] {
					ids = append(ids, id)
				}
			}
			events := s.log.Events("continues without a subscriber")
			if c.why == "" {
				assert.Empty(t, events)
				return
			}
			var first []map[string]any
			for _, e := range events {
				if e["session"] == ids[c.when].String() {
					first = append(first, e)
				}
			}
			require.Len(t, first, 1, "%v", events)
			assert.Equal(t, "warn", first[0]["level"])
			assert.Equal(t, c.why, first[0]["why"])
			assert.Equal(t, "a slow one", first[0]["client"])
			assert.Equal(t, conn.LocalAddr().String(), first[0]["remote"])
			assert.EqualValues(t, 1001, first[0]["head"])
			assert.LessOrEqual(t, len(events), 2, "once for each session")
		})
	}
}

// A subscriber that is left behind, because it received nothing more for too long, knows the head of its session from
// its last welcome there, and reports the numbers up to the head that it did not receive as lost.
func TestLeftBehindIsLost(t *testing.T) {
	const n = 100_000
	rec := sessions(t, []feed.SessionID{1, 2}, n)
	s := perform(t, replay.Config{Recordings: []replay.Recording{rec}, Speed: replay.Max, Paused: true}, publisher.MinMemory)
	s.stage.SetPatience(3*time.Second, time.Second)
	var conn net.Conn
	connections := 0
	dial := func(ctx context.Context, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		conn, connections = c, connections+1
		return c, c.(*net.TCPConn).SetReadBuffer(16 << 10) // so that it does not hold the whole session
	}
	a := &audience{ticks: make(map[feed.SessionID][]feed.Tick), ended: make(chan struct{}, 100)}
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	var first atomic.Pointer[publisher.Publisher]
	cut := false
	s.follow(a, subscriber.Config{Start: codec.Start{Kind: codec.StartBeginning}, Dial: dial}, func(b *subscriber.Batch) error {
		switch {
		case b.Change != nil:
		case connections > 1:
			<-held // until the session is over
		case !cut: // so that the next welcome has the head of the whole session
			cut = true
			for deadline := time.Now().Add(waitLimit); first.Load().Stats().Committed <= n && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
			conn.Close()
		}
		return a.take(b)
	})
	t.Cleanup(release) // before the subscriber is waited for
	s.subscribers(1)
	first.Store(s.stage.Publisher().Publisher)
	require.NoError(t, s.player.Resume(t.Context()))
	s.ended()
	logs := func() int {
		left, err := filepath.Glob(filepath.Join(s.dir, "*", "[0-9]*")) // beside the lock
		require.NoError(t, err)
		return len(left)
	}
	for deadline := time.Now().Add(waitLimit); logs() > 1; time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "the first session's publisher does not end")
	}
	release()
	<-a.ended
	a.mu.Lock()
	defer a.mu.Unlock()
	require.Len(t, a.sessions, 2)
	account := a.sub.Ledger().Account(a.sessions[0])
	totals := account.Totals()
	assert.EqualValues(t, n, totals.Delivered+totals.Lost)
	assert.EqualValues(t, len(a.ticks[a.sessions[0]]), totals.Delivered)
	assert.Positive(t, totals.Lost)
	assert.Len(t, a.ticks[a.sessions[1]], n)
}
