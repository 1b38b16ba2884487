package ops

import (
	queue "container/list"
	"context"
	"io"
	"net"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// Bounds of a lobby.
const (
	maxConns    = 64                     // open at the same time, so that file descriptors are left for subscribers
	plainGrace  = 20 * time.Millisecond  // minimum time for a request
	secureGrace = 200 * time.Millisecond // with TLS, which takes more turns and processor time
	evictedWait = time.Minute            // between two log lines about closed connections
)

// A lobby is a listener that bounds the open connections. If there are too many, it closes the oldest one that has not sent a whole
// request, so that idle connections do not keep others out. If all of them have sent one, Accept waits until one is closed. Its
// methods are safe for concurrent use.
type lobby struct {
	net.Listener
	log   zerolog.Logger
	grace time.Duration // minimum time for a request
	freed chan struct{} // 1 slot: a place is free
	done  chan struct{} // closed by Close
	once  sync.Once     // closes done

	mu      sync.Mutex
	open    int
	waiting *queue.List // of *guest, oldest first: those that have not sent a whole request
	evicted int         // closed to make room, and not logged yet
	logged  time.Time   // when evicted was last logged
}

func newLobby(ln net.Listener, grace time.Duration, log zerolog.Logger) *lobby {
	return &lobby{Listener: ln, log: log, grace: grace, freed: make(chan struct{}, 1), done: make(chan struct{}), waiting: queue.New()}
}

// A guest is a connection in a lobby.
type guest struct {
	net.Conn
	lobby *lobby
	at    time.Time      // when it was accepted
	begun bool           // something was read
	place *queue.Element // of lobby.waiting; nil if the guest has sent a request or is closed; guarded by lobby.mu
	left  bool           // closed; guarded by lobby.mu
}

// Accept waits for a connection and then for a place.
func (b *lobby) Accept() (net.Conn, error) {
	nc, err := b.Listener.Accept()
	if err != nil {
		return nil, err
	}
	for {
		g, wait := b.enter(nc, time.Now())
		if g != nil {
			return g, nil
		}
		var timer <-chan time.Time
		if wait > 0 {
			timer = time.After(wait)
		}
		select {
		case <-b.freed:
		case <-timer:
		case <-b.done:
			nc.Close()
			return nil, net.ErrClosed
		}
	}
}

// enter adds nc if there is a place, or if it can close the oldest guest that has sent no request. Otherwise it returns nil, and
// after which time it can close one; 0 if no guest waits.
func (b *lobby) enter(nc net.Conn, now time.Time) (g *guest, wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open >= maxConns {
		front := b.waiting.Front()
		if front == nil {
			return nil, 0
		}
		oldest := front.Value.(*guest)
		if wait := oldest.at.Add(b.grace).Sub(now); wait > 0 {
			return nil, wait
		}
		b.removeLocked(oldest)
		oldest.Conn.Close()
		b.noteLocked(now)
	}
	g = &guest{Conn: nc, lobby: b, at: now}
	g.place = b.waiting.PushBack(g)
	b.open++
	return g, 0
}

// noteLocked logs that a guest was closed to make room, unless that was logged lately.
func (b *lobby) noteLocked(now time.Time) {
	if b.evicted++; now.Sub(b.logged) >= evictedWait {
		b.log.Warn().Int("closed", b.evicted).Int("most", maxConns).Msg("http: closed the oldest connections without a request to make room for newer ones")
		b.evicted, b.logged = 0, now
	}
}

// removeLocked removes g if it is there.
func (b *lobby) removeLocked(g *guest) {
	if g.left {
		return
	}
	g.left = true
	b.open--
	if g.place != nil {
		b.waiting.Remove(g.place)
		g.place = nil
	}
	select {
	case b.freed <- struct{}{}:
	default:
	}
}

// Close closes the listener and ends Accept.
func (b *lobby) Close() error {
	b.once.Do(func() { close(b.done) })
	return b.Listener.Close()
}

// Close closes the connection and leaves the lobby.
func (g *guest) Close() error {
	g.lobby.mu.Lock()
	g.lobby.removeLocked(g)
	g.lobby.mu.Unlock()
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
			_ = g.SetWriteDeadline(time.Now().Add(g.lobby.grace))
			_, _ = io.WriteString(g.Conn, notHTTP)
			return 0, io.EOF
		}
	}
	return n, err
}

// stay records that g has sent a whole request, so that the lobby keeps it. It returns false if g is closed.
func (g *guest) stay() bool {
	g.lobby.mu.Lock()
	defer g.lobby.mu.Unlock()
	if g.place != nil {
		g.lobby.waiting.Remove(g.place)
		g.place = nil
	}
	return !g.left
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

// stays calls stay of the guest in ctx. It returns true if there is none: the handler runs without Serve.
func stays(ctx context.Context) bool {
	g, ok := ctx.Value(guestKey{}).(*guest)
	return !ok || g.stay()
}
