package publisher_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/publisher"
)

// A countingConn counts how it is written to. It hides everything else that the connection below can do.
type countingConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// A tryingConn is a countingConn that is a TryWriter.
type tryingConn struct {
	countingConn
	tries *atomic.Int64
}

var _ publisher.TryWriter = (*tryingConn)(nil)

func (c *tryingConn) TryWrite(p []byte) (int, error) {
	c.tries.Add(1)
	return c.Conn.(publisher.TryWriter).TryWrite(p)
}

// A wrappingListener wraps the connections that it accepts.
type wrappingListener struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (l wrappingListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.wrap(nc), nil
}

// A connection that wraps another one keeps the fast path if it is a TryWriter: what is published for a client that has
// everything is not written by Write. Any other connection is sent the same, by Write.
func TestTryWriter(t *testing.T) {
	for name, tries := range map[string]bool{"a TryWriter": true, "another connection": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var writes, tried atomic.Int64
				w := &world{t: t, net: netsim.New(1, netsim.Config{})}
				pub, err := publisher.New(publisher.Config{Seed: 1, Sleep: time.Sleep, Heartbeat: time.Minute})
				require.NoError(t, err)
				w.pub = pub
				w.define()
				ln, err := w.net.Listen("pub:1")
				require.NoError(t, err)
				ctx, cancel := context.WithCancel(context.Background())
				w.cancel, w.serve = cancel, make(chan error, 1)
				t.Cleanup(w.stop)
				go func() {
					w.serve <- pub.Serve(ctx, wrappingListener{ln, func(nc net.Conn) net.Conn {
						counting := countingConn{nc, &writes}
						if tries {
							return &tryingConn{counting, &tried}
						}
						return &counting
					}})
				}()
				c := w.join(codec.Hello{Heartbeat: time.Minute})
				c.snapshot()
				synctest.Wait()
				writes.Store(0)
				w.quotes(10)
				c.until(pub.Stats().Head)
				assert.Equal(t, tries, tried.Load() > 0, "%d calls of TryWrite", tried.Load())
				assert.Equal(t, !tries, writes.Load() > 0, "%d calls of Write", writes.Load())
			})
		})
	}
}
