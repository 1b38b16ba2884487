package netsim_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/netsim"
)

// raceEnabled reports whether the race detector shuffles the scheduler.
var raceEnabled bool

func listen(t testing.TB, network *netsim.Network, addr string) net.Listener {
	ln, err := network.Listen(addr)
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	return ln
}

// A name has one listener at a time, and dialling a name without a listener is refused.
func TestListenTakesTheName(t *testing.T) {
	network := netsim.New(1, netsim.Config{})
	_, err := network.Dial(t.Context(), "pub:1")
	var opError *net.OpError
	require.ErrorAs(t, err, &opError)
	assert.Equal(t, "dial", opError.Op)
	assert.ErrorIs(t, err, syscall.ECONNREFUSED)
	assert.ErrorContains(t, err, "connection refused")

	ln := listen(t, network, "pub:1")
	_, err = network.Listen("pub:1")
	require.ErrorAs(t, err, &opError)
	assert.ErrorIs(t, err, syscall.EADDRINUSE)

	require.NoError(t, ln.Close())
	assert.ErrorIs(t, ln.Close(), net.ErrClosed)
	_, err = network.Dial(t.Context(), "pub:1")
	assert.ErrorIs(t, err, syscall.ECONNREFUSED)
	listen(t, network, "pub:1")
	assert.Zero(t, network.Stats(), "no fault was asked for and no connection made")
}

// Both ends know each other's names, and diallers differ in the number of the connection.
func TestAddressesAreKnownAtBothEnds(t *testing.T) {
	network := netsim.New(1, netsim.Config{})
	ln := listen(t, network, "pub:1")
	connectTo(t, network, ln)
	conn, err := network.From("sub").DialContext(t.Context(), "tcp", "pub:1")
	require.NoError(t, err)
	defer conn.Close()
	accepted, err := ln.Accept()
	require.NoError(t, err)
	defer accepted.Close()

	assert.Equal(t, netsim.Addr("sub:2"), conn.LocalAddr())
	assert.Equal(t, netsim.Addr("pub:1"), conn.RemoteAddr())
	assert.Equal(t, netsim.Addr("pub:1"), accepted.LocalAddr())
	assert.Equal(t, netsim.Addr("sub:2"), accepted.RemoteAddr())
	assert.Equal(t, "netsim", conn.LocalAddr().Network())
	assert.Equal(t, uint64(2), conn.(*netsim.Conn).Link().Number())
}

// A listener that closes wakes Accept and resets the connections that were not accepted.
func TestListenerClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := netsim.New(1, netsim.Config{})
		ln := listen(t, network, "pub:1")
		accepted := make(chan error)
		go func() {
			_, err := ln.Accept()
			for err == nil {
				_, err = ln.Accept()
			}
			accepted <- err
		}()
		synctest.Wait()
		ln.Close()
		assert.ErrorIs(t, <-accepted, net.ErrClosed)

		ln = listen(t, network, "pub:1")
		conn, err := network.Dial(t.Context(), "pub:1")
		require.NoError(t, err)
		ln.Close()
		_, err = conn.Read(make([]byte, 1))
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		conn.Close()
		assert.Empty(t, network.Links())
	})
}

// A dial beyond the backlog waits for Accept to make room.
func TestBacklogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := netsim.New(1, netsim.Config{Backlog: 2})
		ln := listen(t, network, "pub:1")
		var connected sync.WaitGroup
		for range 3 {
			connected.Go(func() {
				conn, err := network.Dial(t.Context(), "pub:1")
				if assert.NoError(t, err) {
					conn.Close()
				}
			})
		}
		synctest.Wait()
		assert.Equal(t, uint64(2), network.Stats().Connections)
		for range 3 {
			conn, err := ln.Accept()
			require.NoError(t, err)
			conn.Close()
		}
		connected.Wait()
		assert.Equal(t, uint64(3), network.Stats().Connections)
	})
}

// A refused dial fails at once; a hanging dial fails when its context ends, or connects when the network
// answers again.
func TestDialFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := netsim.New(1, netsim.Config{})
		listen(t, network, "pub:1")
		start := time.Now()

		network.Dials("pub:1", netsim.Refuse)
		_, err := network.Dial(t.Context(), "pub:1")
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
		assert.Zero(t, time.Since(start))

		network.Dials("pub:1", netsim.Answer)
		network.Dials(netsim.Any, netsim.Hang)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err = network.Dial(ctx, "pub:1")
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		var netError net.Error
		require.ErrorAs(t, err, &netError)
		assert.True(t, netError.Timeout())
		assert.Equal(t, 3*time.Second, time.Since(start))

		ctx, cancel = context.WithCancel(t.Context())
		network.After(time.Second, cancel)
		_, err = network.Dial(ctx, "pub:1")
		assert.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, 4*time.Second, time.Since(start))

		network.After(time.Second, func() { network.Dials(netsim.Any, netsim.Answer) })
		conn, err := network.Dial(t.Context(), "pub:1")
		require.NoError(t, err)
		conn.Close()
		assert.Equal(t, 5*time.Second, time.Since(start))
		assert.Equal(t, netsim.Stats{Connections: 1, RefusedDials: 1, HungDials: 2}, network.Stats())
	})
}

// A dial takes a round trip, and its context may end before that.
func TestDialTakesARoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := netsim.New(1, netsim.Config{Conditions: netsim.Conditions{Latency: 40 * time.Millisecond}})
		listen(t, network, "pub:1")
		start := time.Now()
		conn, err := network.Dial(t.Context(), "pub:1")
		require.NoError(t, err)
		conn.Close()
		assert.Equal(t, 80*time.Millisecond, time.Since(start))

		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), 80*time.Millisecond)
			_, err = network.Dial(ctx, "pub:1")
			require.ErrorIs(t, err, context.DeadlineExceeded, "at the same instant the context wins")
			cancel()
		}
		assert.Zero(t, network.Stats().HungDials, "an expired context is not a fault")
	})
}

// A partition holds back everything, both ways, and nothing is lost after Heal. Other connections are not
// affected.
func TestPartitionLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := netsim.New(1, netsim.Config{})
		ln := listen(t, network, "pub:1")
		client, server := connectTo(t, network, ln)
		start := time.Now()

		network.Partition("other", "pub:1")
		exchange(t, client, server, "before")
		assert.Zero(t, network.Stats().Partitions)
		network.Partition("client", "pub:1")
		client.Write([]byte("up"))
		server.Write([]byte("down"))
		server.CloseWrite()
		network.After(time.Second, func() { network.Heal("pub:1", "client") })
		buf := make([]byte, 10)
		client.SetReadDeadline(time.Now().Add(time.Second / 2))
		_, err := client.Read(buf)
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded, "nothing comes")
		client.SetReadDeadline(time.Time{})
		got, err := io.ReadAll(client)
		assert.NoError(t, err)
		assert.Equal(t, "down", string(got))
		assert.Equal(t, time.Second, time.Since(start))
		n, err := server.Read(buf)
		assert.NoError(t, err)
		assert.Equal(t, "up", string(buf[:n]))

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = network.From("other").Dial(ctx, "pub:1")
		assert.ErrorIs(t, err, context.DeadlineExceeded, "another partition is still in place")
		network.After(time.Second, func() { network.Heal(netsim.Any, netsim.Any) })
		conn, err := network.From("other").Dial(t.Context(), "pub:1")
		require.NoError(t, err)
		conn.Close()
		assert.Equal(t, uint64(1), network.Stats().HungDials)
		assert.Equal(t, uint64(1), network.Stats().Partitions, "only one reader was waiting")
	})
}

// A one-way partition leaves the other direction alone.
func TestBlockOneWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := netsim.New(1, netsim.Config{})
		client, server := connect(t, network)
		network.Block("pub:1", netsim.Any)
		client.Write([]byte("up"))
		server.Write([]byte("down"))
		buf := make([]byte, 10)
		n, err := server.Read(buf)
		assert.NoError(t, err)
		assert.Equal(t, "up", string(buf[:n]))
		client.SetReadDeadline(time.Now().Add(time.Hour))
		_, err = client.Read(buf)
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		network.Heal("pub:1", netsim.Any)
		client.SetReadDeadline(time.Time{})
		n, err = client.Read(buf)
		assert.NoError(t, err)
		assert.Equal(t, "down", string(buf[:n]))
	})
}

// OnConnect is called with every new connection before either side can use it.
func TestOnConnect(t *testing.T) {
	network := netsim.New(1, netsim.Config{})
	var seen, listed []uint64
	network.OnConnect(func(l *netsim.Link) {
		seen = append(seen, l.Number())
		from, to := l.Names()
		assert.Equal(t, [2]string{"client", "pub:1"}, [2]string{from, to})
		l.Down.EndAfter(0)
	})
	ln := listen(t, network, "pub:1")
	for range 10 {
		client, _ := connectTo(t, network, ln)
		_, err := client.Read(make([]byte, 1))
		assert.Equal(t, io.EOF, err)
	}
	assert.Equal(t, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, seen)
	for _, l := range network.Links() {
		listed = append(listed, l.Number())
	}
	assert.Equal(t, seen, listed, "oldest first")

	network.OnConnect(func(*netsim.Link) { ln.Close() })
	_, err := network.Dial(t.Context(), "pub:1")
	assert.ErrorIs(t, err, syscall.ECONNREFUSED, "the listener has gone meanwhile")
}

// Steps of a script that are due at the same instant run in the order they were asked for, whatever else is due
// then.
func TestAfterKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := netsim.New(1, netsim.Config{})
		var got, want []int
		for i := range 100 {
			network.After(time.Second, func() { got = append(got, i) })
			want = append(want, i)
		}
		network.After(time.Second/2, func() { network.After(time.Second/2, func() { got = append(got, 100) }) })
		start := time.Now()
		done := make(chan struct{})
		network.After(2*time.Second, func() { close(done) })
		<-done
		assert.Equal(t, append(want, 100), got)
		assert.Equal(t, 2*time.Second, time.Since(start))
	})
}

// Two runs with the same seed have the same trace, another seed has another (with GOMAXPROCS=1 and without
// -race).
func TestSameSeedSameTrace(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector shuffles the scheduler")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	first := scriptedRun(t, 1)
	require.Greater(t, len(first), 2000)
	for range 4 {
		again := scriptedRun(t, 1)
		for i := range first {
			require.Equal(t, first[i].String(), again[i].String(), "event %d", i)
		}
		require.Len(t, again, len(first))
	}
	assert.NotEqual(t, first, scriptedRun(t, 2))
}

// scriptedRun lets ten clients talk to an echo server for ten virtual seconds; they reconnect when faults end
// their connections.
func scriptedRun(t *testing.T, seed uint64) (events []netsim.Event) {
	synctest.Test(t, func(t *testing.T) {
		network := netsim.New(seed, netsim.Config{
			Conditions: netsim.Conditions{Latency: 5 * time.Millisecond, Jitter: 5 * time.Millisecond, Bandwidth: 1 << 20, Buffer: 4096},
			Trace:      func(e netsim.Event) { events = append(events, e) },
		})
		network.OnConnect(func(l *netsim.Link) {
			chance := l.Down.Rand()
			switch chance.IntN(4) {
			case 0:
				l.Down.ResetAfter(chance.IntN(1 << 14))
			case 1:
				l.Up.EndAfter(chance.IntN(1 << 14))
			case 2:
				l.Down.FlipAfter(chance.IntN(1 << 10))
			case 3:
				network.After(time.Duration(chance.Int64N(int64(time.Second))), func() { l.Stall(300 * time.Millisecond) })
			}
		})
		network.After(time.Second, func() { network.Partition("client 3", "pub:1") })
		network.After(3*time.Second, func() { network.Heal("client 3", "pub:1") })
		network.After(4*time.Second, func() { network.Dials("pub:1", netsim.Refuse) })
		network.After(5*time.Second, func() { network.Dials("pub:1", netsim.Answer) })

		ln := listen(t, network, "pub:1")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var running sync.WaitGroup
		running.Go(func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				running.Go(func() {
					io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{conn})
					conn.Close()
				})
			}
		})
		for i := range 10 {
			running.Go(func() {
				time.Sleep(time.Duration(i) * time.Microsecond) // timers of a bubble must not share instants
				message := make([]byte, 100*(i+1))
				for ctx.Err() == nil {
					conn, err := network.From(fmt.Sprintf("client %d", i)).Dial(ctx, "pub:1")
					if err != nil {
						time.Sleep(100 * time.Millisecond)
						continue
					}
					for err == nil && ctx.Err() == nil {
						conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
						if _, err = conn.Write(message); err == nil {
							_, err = io.ReadFull(conn, message)
						}
					}
					conn.Close()
				}
			})
		}
		<-ctx.Done()
		ln.Close()
		running.Wait()
		assert.Empty(t, network.Links())
	})
	return events
}
