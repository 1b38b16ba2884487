package publisher_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/journal/memfs"
)

// The rules of the sending half, one test for each, at the bound and beyond it.

// startOn is start on a network with the given conditions.
func startOn(t *testing.T, conditions netsim.Conditions, cfg publisher.Config) *world {
	t.Helper()
	w := &world{t: t, net: netsim.New(1, netsim.Config{Conditions: conditions})}
	w.open(cfg)
	t.Cleanup(w.stop)
	return w
}

// raw dials and sends b unchanged.
func (w *world) raw(b []byte) *client {
	w.t.Helper()
	nc, err := w.connect(context.Background(), "pub:1")
	require.NoError(w.t, err)
	w.t.Cleanup(func() { nc.Close() })
	if len(b) > 0 {
		_, err = nc.Write(b)
		require.NoError(w.t, err)
	}
	return &client{t: w.t, nc: nc, r: codec.NewReader(nc, 0), state: feed.NewState()}
}

// ending reads on and returns the refusal or goodbye with which the publisher ends the connection; nil if there is
// none.
func (c *client) ending() *codec.Farewell {
	c.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		typ, raw, err := c.r.Next()
		if err != nil {
			require.ErrorIs(c.t, err, io.EOF, "the connection ends in order")
			return nil
		}
		if typ != codec.TypeRefusal && typ != codec.TypeGoodbye {
			continue
		}
		m, err := codec.Decode(raw)
		require.NoError(c.t, err)
		if r, ok := m.(*codec.Refusal); ok {
			return (*codec.Farewell)(r)
		}
		return (*codec.Farewell)(m.(*codec.Goodbye))
	}
}

// steps reads messages for d.
func (c *client) steps(d time.Duration) {
	c.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		require.NoError(c.t, c.step())
	}
}

// If more than 128 KiB become ready at once, they are sent to a caught-up client without a pause, up to the last
// number.
func TestBurstToACaughtUpClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold, held := make(chan struct{}), false
		fs := &memfs.FS{}
		w := startOn(t, netsim.Conditions{Buffer: 4 << 20}, publisher.Config{Seed: 1, Journal: "j", FS: fs})
		c := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
		c.until(4)
		synctest.Wait() // the client is caught up, and the publisher is idle
		fs.Fault = func(op memfs.Op) (int, error) {
			if op.Kind == memfs.Write && !held {
				held = true
				<-hold
			}
			return 0, nil
		}
		go func() {
			_ = w.pub.Publish(context.Background(), []feed.Tick{feed.Trade{Price: 1, Size: 1}.Tick(w.ids[0], noon)})
		}()
		synctest.Wait()
		require.True(t, held, "the journal is busy with one tick")
		ticks := make([]feed.Tick, 20_000) // 520 kB
		for i := range ticks {
			ticks[i] = feed.Quote{Bid: int64(i), BidSize: 1, Ask: int64(i) + 1, AskSize: 2}.Tick(w.ids[0], noon)
		}
		require.NoError(t, w.pub.Publish(t.Context(), ticks))
		began := time.Now()
		close(hold)
		c.until(20_005)
		assert.Less(t, time.Since(began), 100*time.Millisecond, "it does not take a heartbeat to send the rest")
		c.consecutive(1, 20_005)
		c.steps(2 * time.Second) // each heartbeat is compared with what has come
		assert.Empty(t, c.events)
	})
}

// Numbers of two sessions that retention removed are reported as gone session by session: no packet covers numbers of
// two sessions, because clients refuse such a packet.
func TestGoneAcrossSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := publisher.Config{
			Seed: 1, Journal: "j", FS: &memfs.FS{}, Memory: publisher.MinMemory, SegmentSize: 64 << 10, RetainBytes: 200 << 10,
		}
		w := start(t, cfg)
		w.quotes(5000)
		first := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
		first.until(50)
		held := w.position(first, 50)
		w.stop()
		w.open(cfg)
		for range 20 {
			w.quotes(5000)
			time.Sleep(time.Second) // retention removes once a second
		}
		lineage := w.pub.Lineage()
		require.Len(t, lineage, 2)
		tail := w.pub.Stats().Tail
		require.Greater(t, tail, lineage[1].First, "retention took numbers of both sessions")

		c := w.join(codec.Hello{HasState: true, Position: held})
		c.state = first.state
		c.until(105_004)
		assert.Equal(t, []string{
			fmt.Sprintf("gone [50, %d) expired", lineage[1].First), "session 2",
			fmt.Sprintf("gone [%d, %d) expired", lineage[1].First, tail), fmt.Sprintf("snapshot %d scope 0", tail),
		}, withoutSkippedSnapshots(c.events))
		c.consecutive(tail, 105_004)
	})
}

// withoutSkippedSnapshots leaves out snapshots between two gone ranges: a publisher may send one if it has the state.
func withoutSkippedSnapshots(events []string) []string {
	var out []string
	for i, e := range events {
		if i+1 < len(events) && len(e) > 9 && e[:9] == "snapshot " {
			continue
		}
		out = append(out, e)
	}
	return out
}

// MaxConnections clients are served, and no more. The next client is refused as busy and may retry, and is served
// once another one has left.
func TestMaxConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1, MaxConnections: 3})
		var served []*client
		for range 3 {
			served = append(served, w.join(codec.Hello{}))
		}
		refused := w.dial(codec.Hello{})
		m := refused.message()
		require.IsType(t, &codec.Refusal{}, m)
		assert.Equal(t, codec.CodeBusy, m.(*codec.Refusal).Code)
		assert.True(t, m.(*codec.Refusal).Retry)
		assert.Positive(t, m.(*codec.Refusal).RetryAfter)
		refused.nc.Close()
		assert.Len(t, w.pub.Stats().Conns, 3)

		served[0].send(&codec.Goodbye{Code: codec.CodeDone})
		served[0].nc.Close()
		time.Sleep(100 * time.Millisecond)
		again := w.join(codec.Hello{})
		again.snapshot()
		assert.Len(t, w.pub.Stats().Conns, 3)
	})
}

// Clients that join within 100 ms of each other share a snapshot, so that a storm of clients costs one encoding. A
// later client gets the current state.
func TestJoinsAreSharedFor100ms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.quotes(10)
		joined := func() uint64 {
			c := w.join(codec.Hello{})
			c.snapshot()
			defer c.nc.Close()
			c.until(w.pub.Stats().Committed) // the ticks after the snapshot are received, wherever it is
			return c.welcome.Head - uint64(len(c.ticks))
		}
		assert.Equal(t, uint64(14), joined())
		w.quotes(10)
		time.Sleep(100 * time.Millisecond)
		assert.Equal(t, uint64(14), joined(), "100 ms later: the same snapshot")
		time.Sleep(time.Millisecond)
		assert.Equal(t, uint64(24), joined(), "101 ms later: a new one")
	})
}

// A client may confirm every number that it was sent, and none beyond (PROTOCOL.md, pulse: "position applied so
// far").
func TestPulseBeyondWhatWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.quotes(10)
		c := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
		c.until(14)
		c.send(&codec.Pulse{Next: 14})
		synctest.Wait()
		require.Len(t, w.pub.Stats().Conns, 1)
		assert.Equal(t, uint64(14), w.pub.Stats().Conns[0].Confirmed)

		c.send(&codec.Pulse{Next: 15})
		bye := c.ending()
		require.NotNil(t, bye)
		assert.Equal(t, codec.CodeProtocol, bye.Code)
		assert.False(t, bye.Retry)
		assert.Contains(t, bye.Text, "15")
		c.nc.Close()
	})
}

// A client may send pulses without end, with or without the feature ack: they cost the publisher no memory, and
// everyone is served meanwhile (PROTOCOL.md, "Security").
func TestPulsesWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		honest := w.join(codec.Hello{Start: fromBeginning})
		honest.until(4)
		c := w.join(codec.Hello{Start: fromBeginning})
		c.until(4)
		var sent atomic.Int64
		flooded := make(chan struct{})
		go func() {
			defer close(flooded)
			for pulses := bytes.Repeat(pack(13, 1, 0), 1000); ; sent.Add(1000) {
				if _, err := c.nc.Write(pulses); err != nil {
					return
				}
			}
		}()
		var before, after runtime.MemStats
		for sent.Load() < 10_000 {
			runtime.Gosched()
		}
		runtime.GC()
		runtime.ReadMemStats(&before)
		for range 100 {
			w.quotes(3)
		}
		honest.until(304)
		c.until(304)
		for sent.Load() < 500_000 {
			runtime.Gosched()
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		assert.Less(t, after.HeapAlloc, before.HeapAlloc+4<<20, "500,000 pulses of eight bytes or more")
		assert.Len(t, w.pub.Stats().Conns, 2)
		c.nc.Close()
		<-flooded
	})
}

// At most 16 filter changes wait for a client that does not read. The client is answered all of them, in order; with
// one more the connection ends.
func TestSixteenFilterChangesWait(t *testing.T) {
	for _, n := range []int{16, 17} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := startOn(t, netsim.Conditions{Buffer: 16 << 10}, publisher.Config{Seed: 1})
				w.quotes(5000) // 130 kB
				c := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
				synctest.Wait() // the publisher waits for the client to read
				for i := range n {
					c.send(&codec.Subscribe{Request: uint64(i + 1), Filter: codec.Filter{fmt.Sprint("X", i)}})
				}
				synctest.Wait()
				if n > 16 {
					bye := c.ending()
					require.NotNil(t, bye)
					assert.Equal(t, codec.CodeProtocol, bye.Code)
					assert.False(t, bye.Retry)
					c.nc.Close()
					return
				}
				var answered []string
				for len(answered) < n {
					before := len(c.events)
					require.NoError(t, c.step())
					for _, e := range c.events[before:] {
						if e[:3] == "sub" {
							answered = append(answered, e)
						}
					}
				}
				for i, e := range answered {
					assert.Equal(t, fmt.Sprintf("subscribed %d", i+1), e)
				}
			})
		})
	}
}

// If too many clients log in at once, the oldest connection that has not logged in is closed, and no other one, and not before it has
// had 20 ms.
func TestTheOldestHandshakeGoes(t *testing.T) {
	if *overTLS {
		t.Skip("handshakes have more time with TLS")
	}
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.WithHandshakes(publisher.Config{Seed: 1}, 3, 0))
		var silent []*client
		for range 4 {
			silent = append(silent, w.raw(nil))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(15 * time.Millisecond)
		synctest.Wait()
		_ = silent[0].nc.SetReadDeadline(time.Now().Add(time.Microsecond))
		_, early := silent[0].nc.Read(make([]byte, 1))
		require.ErrorIs(t, early, os.ErrDeadlineExceeded, "the oldest has 20 ms")
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		assert.Equal(t, 3, w.pub.Stats().Handshakes)
		_ = silent[0].nc.SetReadDeadline(time.Now().Add(time.Millisecond))
		_, err := silent[0].nc.Read(make([]byte, 1))
		var timeout net.Error
		require.Error(t, err)
		assert.False(t, asNetError(err, &timeout) && timeout.Timeout(), "the oldest was closed")
		for i, c := range silent[1:] {
			c.send(&codec.Hello{MinVersion: 1, MaxVersion: 1})
			assert.IsType(t, &codec.Welcome{}, c.message(), "connection %d", i+1)
		}
	})
}

func asNetError(err error, to *net.Error) bool {
	e, ok := err.(net.Error)
	*to = e
	return ok
}

// PROTOCOL.md, code 1: "the publisher stops; `retry after` differs between clients, to spread them".
func TestRetryAfterIsSpread(t *testing.T) {
	for _, most := range []time.Duration{0, 10 * time.Second} {
		t.Run(most.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := start(t, publisher.Config{Seed: 1, RetryAfter: most})
				var clients []*client
				for range 40 {
					clients = append(clients, w.join(codec.Hello{}))
				}
				synctest.Wait()
				w.cancel()
				asked := map[time.Duration]bool{}
				least, greatest := time.Hour, time.Duration(0)
				for _, c := range clients {
					bye := c.ending()
					require.NotNil(t, bye)
					assert.Equal(t, codec.CodeShutdown, bye.Code)
					assert.True(t, bye.Retry)
					asked[bye.RetryAfter] = true
					least, greatest = min(least, bye.RetryAfter), max(greatest, bye.RetryAfter)
					c.nc.Close()
				}
				if most == 0 {
					assert.Equal(t, map[time.Duration]bool{0: true}, asked)
					return
				}
				assert.Greater(t, len(asked), 30, "different times")
				assert.Less(t, least, most/4)
				assert.Greater(t, greatest, most*3/4)
				assert.Less(t, greatest, most)
			})
		})
	}
}

// A client with policy "disconnect" that was never live is not disconnected for replaying old ticks: it has MaxLag
// for that. A client that was live is disconnected once a write waits for longer than MaxLag.
func TestPolicyWhileAWriteWaits(t *testing.T) {
	const lag = 5 * time.Second
	join := func(w *world) *client {
		return w.join(codec.Hello{
			Start: codec.Start{Kind: codec.StartBeginning}, Slow: codec.SlowDisconnect, MaxLag: lag, Heartbeat: 100 * time.Millisecond,
		})
	}
	pulses := func(c *client, d time.Duration) {
		for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			if b, err := codec.Append(nil, &codec.Pulse{Next: c.next}); assert.NoError(c.t, err) {
				_, _ = c.nc.Write(b)
			}
		}
	}
	t.Run("never live", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := startOn(t, netsim.Conditions{Buffer: 16 << 10}, publisher.Config{Seed: 1})
			w.quotes(5000)
			time.Sleep(time.Hour)
			w.quotes(1) // so that what is before is an hour behind
			c := join(w)
			pulses(c, 2*time.Second)
			c.until(5005)
			c.consecutive(1, 5005)
			assert.NotContains(t, c.events, "goodbye slow")
		})
	})
	t.Run("live", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := startOn(t, netsim.Conditions{Buffer: 16 << 10}, publisher.Config{Seed: 1})
			c := join(w)
			c.until(4)
			synctest.Wait()
			w.quotes(5000)
			pulses(c, lag-time.Second)
			w.quotes(1)
			pulses(c, 500*time.Millisecond)
			assert.Len(t, w.pub.Stats().Conns, 1, "within its bound")
			pulses(c, time.Second)
			w.quotes(1)
			pulses(c, time.Second)
			// Nothing more is sent to it except the goodbye.
			var err error
			for err == nil {
				err = c.step()
			}
			assert.Equal(t, "goodbye slow", c.events[len(c.events)-1], "beyond its bound")
			assert.Less(t, c.next, uint64(5000))
		})
	})
}

// A refusal is followed at once by the end of the stream, without a reset: the client can read the refusal, whatever
// it still sends.
func TestRefusalCanBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		c := w.dial(codec.Hello{Start: codec.Start{Kind: codec.StartSeq, Value: 1000}})
		c.send(&codec.Pulse{}) // it does not wait for the answer
		began := time.Now()
		require.IsType(t, &codec.Refusal{}, c.message())
		_, _, err := c.r.Next()
		require.ErrorIs(t, err, io.EOF)
		assert.Zero(t, time.Since(began), "the end of the stream does not wait for the client to close")
	})
}

// A goodbye, too, is followed by the end of the stream.
func TestGoodbyeCanBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		c := w.join(codec.Hello{})
		c.send(&codec.Pulse{Next: 99})
		c.send(&codec.Pulse{})
		began := time.Now()
		require.NotNil(t, c.ending())
		_, _, err := c.r.Next()
		require.ErrorIs(t, err, io.EOF)
		assert.Zero(t, time.Since(began))
	})
}

// The policy of a client with a filter is checked before its line is given to the filter pump.
func TestPolicyOfAFilteredClient(t *testing.T) {
	watchdog := time.AfterFunc(15*time.Second, func() { panic("a filtered client with a policy keeps the publisher busy") })
	defer watchdog.Stop()
	synctest.Test(t, func(t *testing.T) {
		w := startOn(t, netsim.Conditions{Buffer: 16 << 10}, publisher.Config{Seed: 1})
		latest := w.join(codec.Hello{
			Filter: codec.Filter{"A*"}, Start: codec.Start{Kind: codec.StartBeginning}, Slow: codec.SlowLatest, MaxLag: time.Second,
		})
		latest.until(3)
		for range 10 {
			w.quotes(3000)
			latest.send(&codec.Pulse{Next: latest.next})
			time.Sleep(500 * time.Millisecond)
		}
		latest.until(30_004)
		require.NotEmpty(t, latest.events)
		assert.Contains(t, latest.events[0], "withheld")
		late := w.join(codec.Hello{Filter: codec.Filter{"A*"}})
		late.snapshot()
		assert.Empty(t, late.state.Diff(latest.state))
	})
}

// PROTOCOL.md, "Sessions change": a replay "may also go on in a sibling at the same address, a root that begins at any number …
// and who comes back with a position of the session before is given a snapshot as of the sibling's first number (reason 3), and
// all from there on."
func TestSiblingOfAReplayIsFollowedWithoutALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := feed.NewState()
		for i, s := range []string{"A0", "A1", "B0"} {
			d := feed.Definition{Symbol: s, PriceExponent: -2}
			require.NoError(t, state.Apply(&feed.Tick{Kind: feed.KindDefinition, Instrument: feed.InstrumentID(i), Extra: &feed.Extra{Definition: &d}}))
		}
		w := startRecorded(t, publisher.Config{Seed: 1}, publisher.Origin{Session: 7, First: 50, State: state})
		w.quotes(100)
		before := codec.Position{Lineage: feed.Lineage{{ID: 0xB, First: 1}}, Next: 30}
		c := w.join(codec.Hello{HasState: true, Position: before})
		assert.Equal(t, codec.StartedBySnapshot, c.welcome.Reason)
		assert.Equal(t, uint64(50), c.welcome.Start)
		c.until(150)
		c.consecutive(50, 150)
		assert.Equal(t, []string{"snapshot 50 scope 0"}, c.events)

		fresh := w.join(codec.Hello{}) // it has followed no session: a snapshot of the current state
		fresh.snapshot()
		assert.Equal(t, uint64(150), fresh.next)
	})
}

// Filtered lines that were caught up with a session receive the message of the next one before its first tick, even if a pump
// serves them.
func TestFilteredLinesFollowASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := publisher.Config{Seed: 1, Journal: filepath.Join(t.TempDir(), "j")}
		w := start(t, cfg)
		w.quotes(90)
		first := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
		first.until(50)
		held := w.position(first, 50)
		w.stop()
		w.open(cfg)
		var clients []*client
		for i := range 8 { // more than are served one by one
			filter := codec.Filter{fmt.Sprintf("X%d", i), "A0"}
			c := w.join(codec.Hello{Filter: filter, HasState: true, Position: held})
			c.state = first.state.Clone()
			clients = append(clients, c)
		}
		for _, c := range clients {
			c.until(92) // the last quote of A0
		}
		synctest.Wait()
		w.quotes(9)
		for _, c := range clients {
			c.until(103)
			assert.Equal(t, []string{"session 2"}, c.events)
		}
	})
}
