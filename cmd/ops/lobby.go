package ops

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/rs/zerolog"

	"tickfeed/codec/lobby"
)

// Bounds of the connections of a server.
const (
	maxConns    = 64                     // open at the same time, so that file descriptors are left for subscribers
	plainGrace  = 20 * time.Millisecond  // minimum time for a request
	secureGrace = 200 * time.Millisecond // with TLS, which takes more turns and processor time
	evictedWait = time.Minute            // between two log lines about closed connections
)

// A bounded is a listener that bounds the open connections. If there are too many, it closes the oldest one that has not sent a whole
// request. If all of them have sent one, Accept waits until one is closed. Only one goroutine may call Accept.
type bounded struct {
	net.Listener
	log     zerolog.Logger
	lobby   *lobby.Lobby
	ctx     context.Context // ended by Close
	cancel  context.CancelFunc
	grace   time.Duration
	evicted int       // closed to make room, and not logged yet
	logged  time.Time // when evicted was last logged
}

func newBounded(ln net.Listener, grace time.Duration, log zerolog.Logger) *bounded {
	b := &bounded{Listener: ln, log: log, lobby: lobby.New(maxConns, grace), grace: grace}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// Accept waits for a connection and then for a place.
func (b *bounded) Accept() (net.Conn, error) {
	nc, err := b.Listener.Accept()
	if err != nil {
		return nil, err
	}
	g, evicted := b.lobby.Enter(b.ctx, nc)
	if g == nil {
		nc.Close()
		return nil, net.ErrClosed
	}
	if evicted {
		b.noteEvicted(g.At)
	}
	return &guest{Conn: nc, Guest: g, grace: b.grace}, nil
}

// noteEvicted logs that a connection was closed to make room, unless that was logged lately.
func (b *bounded) noteEvicted(now time.Time) {
	if b.evicted++; now.Sub(b.logged) >= evictedWait {
		b.log.Warn().Int("closed", b.evicted).Int("most", maxConns).Msg("http: closed the oldest connections without a request to make room for newer ones")
		b.evicted, b.logged = 0, now
	}
}

// Close closes the listener and ends Accept.
func (b *bounded) Close() error {
	b.cancel()
	return b.Listener.Close()
}

// A guest is a connection that a bounded has accepted. It has proved itself if it has sent a whole request.
type guest struct {
	net.Conn
	*lobby.Guest
	grace time.Duration // for the answer to a client that does not speak HTTP
	begun bool          // something was read
}

// Close closes the connection and frees its place.
func (g *guest) Close() error {
	g.Leave()
	return g.Conn.Close()
}

// notHTTP is sent to a subscriber that connects to the HTTP server of its publisher, so that it need not wait for an answer.
const notHTTP = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" +
	"this is the address of --http; the feed is at that of --listen\n"

// Read reads what the client sends. It ends a connection that begins with a tickfeed message, which no request and no TLS
// handshake does.
func (g *guest) Read(b []byte) (int, error) {
	n, err := g.Conn.Read(b)
	if n > 0 && !g.begun {
		if g.begun = true; b[0] >= 0x80 { // the array of a message: see PROTOCOL.md
			_ = g.SetWriteDeadline(time.Now().Add(g.grace))
			_, _ = io.WriteString(g.Conn, notHTTP)
			return 0, io.EOF
		}
	}
	return n, err
}

// guestKey is the key of the guest in the context of its requests.
type guestKey struct{}

// withGuest returns ctx with the guest of nc, which may be inside a TLS connection.
func withGuest(ctx context.Context, nc net.Conn) context.Context {
	if s, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = s.NetConn()
	}
	return context.WithValue(ctx, guestKey{}, nc)
}

// stays records that the guest in ctx has sent a whole request. It returns false if its connection is closed, and true if there is no
// guest: the handler runs without Serve.
func stays(ctx context.Context) bool {
	g, ok := ctx.Value(guestKey{}).(*guest)
	return !ok || g.Stay()
}
