package publisher_test

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/publisher"
)

// A crowd is a listener with a queue of clients: Accept returns one after the other, as fast as it is called. It
// counts the open connections.
type crowd struct {
	clients chan net.Conn
	closed  chan struct{}
	once    sync.Once
	open    atomic.Int64
	most    atomic.Int64
}

func newCrowd(n int) *crowd {
	return &crowd{clients: make(chan net.Conn, n), closed: make(chan struct{})}
}

func (c *crowd) Accept() (net.Conn, error) {
	select {
	case nc := <-c.clients:
		open := c.open.Add(1)
		for most := c.most.Load(); open > most && !c.most.CompareAndSwap(most, open); most = c.most.Load() {
		}
		return &inCrowd{Conn: nc, crowd: c}, nil
	case <-c.closed:
		return nil, net.ErrClosed
	}
}

func (c *crowd) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func (c *crowd) Addr() net.Addr { return &net.UnixAddr{Name: "crowd", Net: "unix"} }

type inCrowd struct {
	net.Conn
	crowd *crowd
	once  sync.Once
}

func (c *inCrowd) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { c.crowd.open.Add(-1) })
	return err
}

// However fast clients connect, no more connections are open than MaxConnections, the handshakes and the connection
// just accepted, so that file descriptors suffice (PROMISES.md, 32). Whether a client is silent, is served, is refused
// or leaves, its place is free only once its connection is closed.
func TestConnectionsStayWithinTheirBounds(t *testing.T) {
	const clients, most, first = 400, 5, 3
	hello, err := codec.Append(nil, &codec.Hello{MinVersion: codec.Version, MaxVersion: codec.Version})
	require.NoError(t, err)
	bye, err := codec.Append(hello, &codec.Goodbye{Code: codec.CodeDone})
	require.NoError(t, err)
	for name, says := range map[string][]byte{"silent": nil, "stays": hello, "leaves": bye, "wrong": []byte("GET / HTTP/1.0\r\n\r\n")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pub, err := publisher.New(publisher.WithHandshakes(publisher.Config{MaxConnections: most}, first, 200*time.Millisecond))
				require.NoError(t, err)
				ln := newCrowd(clients)
				var crowd sync.WaitGroup
				for range clients {
					outside, inside := net.Pipe()
					ln.clients <- inside
					crowd.Go(func() {
						_ = outside.SetDeadline(time.Now().Add(time.Minute))
						_, _ = outside.Write(says)
						_, err := io.Copy(io.Discard, outside)
						assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "every connection is closed in the end")
						outside.Close()
					})
				}
				ctx, cancel := context.WithCancel(t.Context())
				served := make(chan error, 1)
				go func() { served <- pub.Serve(ctx, ln) }()
				require.Eventually(t, func() bool { return len(ln.clients) == 0 }, 30*time.Second, time.Millisecond)
				cancel()
				require.ErrorIs(t, <-served, context.Canceled)
				crowd.Wait()
				assert.Zero(t, ln.open.Load())
				assert.LessOrEqual(t, ln.most.Load(), int64(most+first+1))
				require.NoError(t, pub.Close(t.Context()))
			})
		})
	}
}
