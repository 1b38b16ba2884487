package replay_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/replay"
)

// A holder is a minimal client that asks for the beginning, reads everything, and confirms only what the test makes
// it confirm.
type holder struct {
	t  *testing.T
	nc net.Conn
}

func hold(t *testing.T, s *show) *holder {
	t.Helper()
	h, err := tryHold(t, s)
	require.NoError(t, err)
	return h
}

// tryHold is hold, and returns the error if the connection ends before the welcome: a session that ends closes the
// connections that have not logged in.
func tryHold(t *testing.T, s *show) (*holder, error) {
	t.Helper()
	nc, err := net.Dial("tcp", s.addr)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	h := &holder{t, nc}
	h.send(&codec.Hello{MinVersion: 1, MaxVersion: 1, Client: "a holder", Start: codec.Start{Kind: codec.StartBeginning}, Heartbeat: 10 * time.Second})
	if _, err = io.ReadFull(nc, make([]byte, 16)); err != nil { // of the welcome
		return h, err
	}
	go func() { _, _ = io.Copy(io.Discard, nc) }()
	return h, nil
}

func (h *holder) send(m codec.Message) {
	h.t.Helper()
	b, err := codec.Append(nil, m)
	require.NoError(h.t, err)
	_, _ = h.nc.Write(b) // the publisher may have left
}

// loop starts a loop of n numbers that waits for a connected client, and returns when a round is played.
func loop(t *testing.T, n int, prepare func(*replay.Stage)) (*show, *holder) {
	t.Helper()
	rec := sessions(t, []feed.SessionID{1}, n)
	s := perform(t, replay.Config{Recordings: []replay.Recording{rec}, Speed: replay.Max, Loop: true, Paused: true}, publisher.MinMemory)
	prepare(s.stage)
	h := hold(t, s)
	s.subscribers(1)
	require.NoError(t, s.player.Resume(t.Context()))
	s.until("the round is played", func(st replay.Status) bool { return st.Ticks >= uint64(n) })
	s.until("the client was sent it, and may confirm it", func(replay.Status) bool {
		conns := s.stage.Publisher().Stats().Conns
		return len(conns) == 1 && conns[0].Told > uint64(n)
	})
	return s, h
}

func (s *show) until(what string, holds func(replay.Status) bool) {
	s.t.Helper()
	for deadline := time.Now().Add(waitLimit); !holds(s.player.Status()); time.Sleep(time.Millisecond) {
		require.True(s.t, time.Now().Before(deadline), what)
	}
}

// A client that loses its connection again and again, and each time reconnects within bounds, does not delay the next
// round forever.
func TestLostAgainAndAgain(t *testing.T) {
	s, h := loop(t, 1000, func(s *replay.Stage) { s.SetPatience(300*time.Millisecond, time.Minute) })
	s.until("it never goes on", func(st replay.Status) bool {
		h.nc.Close()
		time.Sleep(100 * time.Millisecond)
		if st.Sessions == 1 {
			h, _ = tryHold(t, s) // the session may have changed since
		}
		return st.Sessions > 1
	})
	assert.NotEmpty(t, s.log.Events("it did not come back in time"))
}

// A client that confirms one number at a time, each before it counts as stalled, does not delay the next round
// forever. The log names it once while the replay waits, and once when the replay continues without it.
func TestConfirmsTooLittle(t *testing.T) {
	s, h := loop(t, 1000, func(s *replay.Stage) {
		s.SetPatience(time.Minute, time.Minute)
		s.SetLongestWait(time.Second)
	})
	first, next := s.stage.Publisher().Lineage().Current().ID, uint64(1)
	s.until("it never goes on", func(st replay.Status) bool {
		next++
		h.send(&codec.Pulse{Next: min(next, 900)})
		time.Sleep(20 * time.Millisecond)
		return st.Sessions > 1
	})
	for _, text := range []string{"the replay waits for subscribers", "continues without a subscriber"} {
		n := 0
		for _, e := range s.log.Events(text) {
			if e["session"] != first.String() {
				continue
			}
			n++
			if clients, ok := e["clients"]; ok {
				assert.Equal(t, []any{h.nc.LocalAddr().String() + " (a holder)"}, clients)
			}
		}
		assert.Equal(t, 1, n, text)
	}
}

// The bound of one wait depends on how many numbers there are to receive.
func TestPatienceGrowsWithTheNumbers(t *testing.T) {
	s := perform(t, replay.Config{Recordings: []replay.Recording{sessions(t, []feed.SessionID{1}, 10)}, Paused: true}, publisher.MinMemory)
	for numbers, want := range map[uint64]time.Duration{
		0: 10 * time.Second, 3000: 13 * time.Second, 100_000: 110 * time.Second, 290_000: 5 * time.Minute, 3_000_000: 5 * time.Minute, 1 << 63: 5 * time.Minute,
	} {
		assert.Equal(t, want, s.stage.Patience(numbers), "%d", numbers)
	}
}

// The controls respond at once while the next round waits for a subscriber, and a seek does not wait for the
// subscriber.
func TestControlsDuringTheWait(t *testing.T) {
	s, h := loop(t, 1000, func(s *replay.Stage) { s.SetPatience(time.Minute, time.Minute) })
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	require.NoError(t, s.player.Pause(ctx))
	assert.Equal(t, replay.Paused, s.player.Status().State)
	require.NoError(t, s.player.Resume(ctx))
	require.NoError(t, s.player.SetSpeed(ctx, 100))
	require.NoError(t, s.player.Step(ctx, 5))
	assert.Equal(t, 1, s.player.Status().Sessions, "none of these commands seeks")
	s.until("the round is sent", func(replay.Status) bool { // no client confirms more than it was sent
		conns := s.stage.Publisher().Stats().Conns
		return len(conns) == 1 && conns[0].Told == 1001
	})
	h.send(&codec.Pulse{Next: 1001})
	s.until("the step is played in the next round", func(st replay.Status) bool { return st.Ticks == 1005 })
	assert.Equal(t, 2, s.player.Status().Sessions)

	s, _ = loop(t, 1000, func(s *replay.Stage) { s.SetPatience(time.Minute, time.Minute) })
	require.NoError(t, s.player.Pause(ctx))
	to, err := replay.ParseTarget("seq:77", time.UTC)
	require.NoError(t, err)
	require.NoError(t, s.player.Seek(ctx, to))
	st := s.player.Status()
	assert.Equal(t, 2, st.Sessions)
	assert.EqualValues(t, 77, st.Seq)
	assert.Equal(t, replay.Paused, st.State)
	assert.EqualValues(t, 1000, st.Ticks, "the pause holds")
}
