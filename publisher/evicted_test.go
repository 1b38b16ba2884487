package publisher

import (
	"bytes"
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
)

// A pausedConn calls admitting after its hello was read, before the publisher decides whether it logs in.
type pausedConn struct {
	net.Conn
	admitting func()
}

func (c *pausedConn) SetDeadline(t time.Time) error {
	if t.IsZero() {
		c.admitting()
	}
	return c.Conn.SetDeadline(t)
}

// A connection that is closed to make room for another one does not log in, even if its hello was read before. Otherwise it
// would count as a subscriber whose connection was lost, for which WaitConfirmed and a replay wait.
func TestAnEvictedConnectionDoesNotLogIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := New(Config{Memory: MinMemory, Seed: 1, maxHandshakes: 1})
		require.NoError(t, err)
		defer p.Close(context.Background())
		hello, err := codec.Append(nil, &codec.Hello{MinVersion: codec.Version, MaxVersion: codec.Version})
		require.NoError(t, err)
		d := &door{ctx: t.Context()}
		nc := &pausedConn{Conn: netsim.Canned(bytes.NewReader(hello))}
		nc.admitting = func() { p.serving.enter(d.ctx, netsim.Canned(bytes.NewReader(nil))) }
		assert.False(t, p.admit(d, p.serving.enter(d.ctx, nc)) != nil, "it logs in")
		st := p.Stats()
		assert.Zero(t, st.Joined)
		assert.Empty(t, st.Conns)
		assert.Equal(t, 1, st.Handshakes, "the connection that it made room for")
	})
}
