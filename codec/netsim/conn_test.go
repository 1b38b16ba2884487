package netsim_test

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/net/nettest"

	"tickfeed/codec/netsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connect returns both ends of a connection from "client" to "pub:1", whose listener stays open until the test
// ends.
func connect(t testing.TB, network *netsim.Network) (client, server *netsim.Conn) {
	ln, err := network.Listen("pub:1")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	return connectTo(t, network, ln)
}

func connectTo(t testing.TB, network *netsim.Network, ln net.Listener) (client, server *netsim.Conn) {
	dialled, err := network.Dial(t.Context(), ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { dialled.Close() })
	accepted, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { accepted.Close() })
	return dialled.(*netsim.Conn), accepted.(*netsim.Conn)
}

// A Conn meets the standard library's requirements for every net.Conn, under any conditions.
func TestConnIsANetConn(t *testing.T) {
	for name, conditions := range map[string]netsim.Conditions{
		"as it comes":          {},
		"buffer of 64 bytes":   {Buffer: 64},
		"latency and jitter":   {Latency: 20_000, Jitter: 5_000},
		"1 GB a second":        {Bandwidth: 1 << 30},
		"everything at a time": {Latency: 10_000, Jitter: 2_000, Bandwidth: 1 << 30, Buffer: 4096},
	} {
		t.Run(name, func(t *testing.T) {
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				network := netsim.New(1, netsim.Config{Conditions: conditions})
				ln, err := network.Listen("pub:1")
				if err != nil {
					return nil, nil, nil, err
				}
				if c1, err = network.Dial(t.Context(), "pub:1"); err != nil {
					return nil, nil, nil, err
				}
				if c2, err = ln.Accept(); err != nil {
					return nil, nil, nil, err
				}
				return c1, c2, func() { c1.Close(); c2.Close(); ln.Close() }, nil
			})
		})
	}
}

// Close is an end of file after the last byte. The peer's writes fail once the close has had time to arrive.
func TestCloseIsAnEndOfFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := netsim.New(1, netsim.Config{Conditions: netsim.Conditions{Latency: time.Millisecond}})
		client, server := connect(t, network)
		server.Write([]byte("never read"))
		client.Write([]byte("last words"))
		require.NoError(t, client.Close())
		assert.ErrorIs(t, client.Close(), net.ErrClosed)
		_, err := client.Read(make([]byte, 1))
		assert.ErrorIs(t, err, net.ErrClosed)
		_, err = client.Write([]byte("x"))
		assert.ErrorIs(t, err, net.ErrClosed)
		assert.ErrorIs(t, client.SetDeadline(time.Time{}), net.ErrClosed)
		assert.ErrorIs(t, client.CloseWrite(), net.ErrClosed)

		_, err = server.Write([]byte("x"))
		assert.NoError(t, err, "the close is still under way")
		time.Sleep(time.Millisecond)
		_, err = server.Write([]byte("x"))
		assert.ErrorIs(t, err, syscall.EPIPE)
		got, err := io.ReadAll(server)
		assert.NoError(t, err)
		assert.Equal(t, "last words", string(got))
		assert.Len(t, network.Links(), 1)
		server.Close()
		assert.Empty(t, network.Links())
	})
}

// Close ends the waiting reads and writes at this end, and the waiting writes at the other.
func TestCloseWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := netsim.New(1, netsim.Config{Conditions: netsim.Conditions{Buffer: 100}})
		ln := listen(t, network, "pub:1")
		client, server := connectTo(t, network, ln)
		var waiting sync.WaitGroup
		waiting.Go(func() {
			_, err := client.Read(make([]byte, 1))
			assert.ErrorIs(t, err, net.ErrClosed)
		})
		for range 2 {
			waiting.Go(func() {
				_, err := client.Write(make([]byte, 1000))
				assert.ErrorIs(t, err, net.ErrClosed)
			})
		}
		synctest.Wait()
		client.Close()
		waiting.Wait()
		server.Close()

		client, server = connectTo(t, network, ln)
		waiting.Go(func() {
			n, err := client.Write(make([]byte, 1000))
			assert.ErrorIs(t, err, syscall.EPIPE)
			assert.Equal(t, 100, n)
		})
		synctest.Wait()
		server.Close()
		waiting.Wait()
	})
}

// CloseWrite ends one direction and leaves the other.
func TestCloseWrite(t *testing.T) {
	network := netsim.New(1, netsim.Config{})
	client, server := connect(t, network)
	client.Write([]byte("question"))
	require.NoError(t, client.CloseWrite())
	require.NoError(t, client.CloseWrite())
	_, err := client.Write([]byte("x"))
	assert.ErrorIs(t, err, syscall.EPIPE)
	got, err := io.ReadAll(server)
	assert.NoError(t, err)
	assert.Equal(t, "question", string(got))
	server.Write([]byte("answer"))
	server.Close()
	got, err = io.ReadAll(client)
	assert.NoError(t, err)
	assert.Equal(t, "answer", string(got))
}

// A writer that is not read waits at the bound and continues when there is room. Nothing beyond the bound is
// kept.
func TestBackpressureAtTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := netsim.New(1, netsim.Config{})
		client, server := connect(t, network)
		stream, done := numbered(1<<20), make(chan time.Duration)
		start := time.Now()
		go func() {
			n, err := client.Write(stream)
			assert.NoError(t, err)
			assert.Equal(t, len(stream), n)
			done <- time.Since(start)
		}()
		time.Sleep(time.Hour)
		assert.Equal(t, 256<<10, client.Link().Up.Buffered(), "the default bound")
		got := make([]byte, len(stream))
		_, err := io.ReadFull(server, got)
		require.NoError(t, err)
		assert.Equal(t, time.Hour, <-done)
		assert.Equal(t, stream, got)
		assert.Equal(t, uint64(1), network.Stats().Full)
	})
}

// A waiting Write continues if its rest fits the space that a small read frees, even if nothing more is read.
func TestSmallReadFreesSmallWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := connect(t, netsim.New(1, netsim.Config{}))
		client.Write(make([]byte, 256<<10))
		done := make(chan struct{})
		go func() {
			client.Write(make([]byte, 5))
			close(done)
		}()
		synctest.Wait()
		server.Read(make([]byte, 5))
		<-done
	})
}

// TryWrite takes what fits and never waits; it does not overtake a waiting Write.
func TestTryWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := netsim.New(1, netsim.Config{Conditions: netsim.Conditions{Buffer: 100}})
		client, server := connect(t, network)
		tryWrite := func(size, want int) {
			t.Helper()
			n, err := client.TryWrite(make([]byte, size))
			assert.NoError(t, err)
			assert.Equal(t, want, n)
		}
		tryWrite(0, 0)
		tryWrite(60, 60)
		tryWrite(60, 40)
		tryWrite(60, 0)
		assert.Equal(t, uint64(2), network.Stats().Full)
		buf := make([]byte, 100)
		server.Read(buf[:10])
		tryWrite(60, 10)

		done := make(chan struct{})
		go func() {
			client.Write(make([]byte, 60))
			close(done)
		}()
		synctest.Wait()
		server.Read(buf[:10]) // too little to wake the Write
		tryWrite(10, 0)
		server.Read(buf)
		<-done

		client.SetWriteDeadline(time.Now())
		_, err := client.TryWrite(buf)
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	})
}

// Deadlines fire in virtual time to the nanosecond, follow changes made while a call waits, and pass without
// harm.
func TestDeadlinesFireInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := connect(t, netsim.New(1, netsim.Config{Conditions: netsim.Conditions{Buffer: 100}}))
		start := time.Now()
		client.SetReadDeadline(start.Add(8 * time.Hour))
		_, err := client.Read(make([]byte, 1))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		var netError net.Error
		require.ErrorAs(t, err, &netError)
		assert.True(t, netError.Timeout())
		assert.Equal(t, 8*time.Hour, time.Since(start))

		start = time.Now()
		client.SetWriteDeadline(start.Add(time.Second))
		go func() {
			time.Sleep(time.Second / 2)
			client.SetWriteDeadline(start.Add(3 * time.Second)) // later
			time.Sleep(time.Second)
			client.SetWriteDeadline(start.Add(2 * time.Second)) // earlier
		}()
		n, err := client.Write(make([]byte, 1000))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.Equal(t, 100, n)
		assert.Equal(t, 2*time.Second, time.Since(start))

		client.SetDeadline(time.Time{})
		_, err = io.ReadFull(server, make([]byte, 100))
		require.NoError(t, err)
		exchange(t, client, server, "after")
	})
}

// Eight hours with one heartbeat a second take almost no real time.
func TestEightQuietHours(t *testing.T) {
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		network := netsim.New(1, netsim.Config{Conditions: netsim.Conditions{Latency: 7 * time.Millisecond}})
		client, server := connect(t, network)
		go func() {
			for range 8 * 3600 {
				time.Sleep(time.Second)
				server.SetWriteDeadline(time.Now().Add(3 * time.Second))
				server.Write([]byte("heartbeat"))
			}
			server.Close()
		}()
		start, beats := time.Now(), 0
		for buf := make([]byte, 9); ; beats++ {
			client.SetReadDeadline(time.Now().Add(1100 * time.Millisecond))
			if _, err := io.ReadFull(client, buf); err != nil {
				require.Equal(t, io.EOF, err)
				break
			}
		}
		assert.Equal(t, 8*3600, beats)
		assert.Equal(t, 8*time.Hour+7*time.Millisecond, time.Since(start))
	})
	t.Logf("%v", time.Since(began))
	assert.Less(t, time.Since(began), time.Minute)
}

// Frames allocate nothing once the buffer has grown.
func TestFramesDoNotAllocate(t *testing.T) {
	client, server := connect(t, netsim.New(1, netsim.Config{}))
	frame, buf := make([]byte, 2600), make([]byte, 4096)
	allocs := testing.AllocsPerRun(1000, func() {
		client.SetWriteDeadline(time.Now().Add(time.Second))
		client.Write(frame)
		client.TryWrite(frame[:100])
		server.SetReadDeadline(time.Now().Add(time.Second))
		server.Read(buf)
	})
	assert.Zero(t, allocs)
}
