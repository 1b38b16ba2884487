package publisher

import (
	"container/list"
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// A lobby holds the connections that have not logged in. Its methods are safe for concurrent use.
type lobby struct {
	most  int           // connections at most
	grace time.Duration // minimum time for a handshake when others wait for its place

	mu       sync.Mutex
	entrants *list.List    // of *entrant, oldest first
	opened   uint64        // connections so far
	freed    chan struct{} // 1 slot: a place is free
}

// Minimum times for a handshake.
const (
	loginGrace  = 20 * time.Millisecond
	secureGrace = 500 * time.Millisecond // with TLS, which takes more turns and processor time
)

// An entrant is a connection that has not logged in.
type entrant struct {
	net.Conn
	number  uint64
	at      time.Time     // when it was accepted
	place   *list.Element // element of lobby.entrants
	evicted bool          // closed by enter; guarded by lobby.mu
}

// errEvicted is why an entrant ends that enter has closed after its hello was read.
var errEvicted = errors.New("closed to make room for another connection that has not logged in")

func (b *lobby) init(cfg *Config) {
	b.most, b.grace = cfg.maxHandshakes, loginGrace
	if cfg.TLS != nil {
		b.grace = secureGrace
	}
	b.entrants, b.freed = list.New(), make(chan struct{}, 1)
}

// enter adds nc. If there are too many entrants, it waits until one leaves or the oldest one has had grace, and closes
// the oldest.
func (b *lobby) enter(ctx context.Context, nc net.Conn) *entrant {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.entrants.Len() >= b.most {
		oldest := b.entrants.Front().Value.(*entrant)
		grace := time.Until(oldest.at.Add(b.grace))
		if grace <= 0 || ctx.Err() != nil {
			b.entrants.Remove(oldest.place)
			oldest.evicted = true
			oldest.Close()
			break
		}
		b.mu.Unlock()
		timer := time.NewTimer(grace)
		select {
		case <-b.freed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		b.mu.Lock()
	}
	b.opened++
	e := &entrant{Conn: nc, number: b.opened, at: time.Now()}
	e.place = b.entrants.PushBack(e)
	return e
}

// leave removes e, if it is still there. It returns false if enter has closed e.
func (b *lobby) leave(e *entrant) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entrants.Remove(e.place)
	select {
	case b.freed <- struct{}{}:
	default:
	}
	return !e.evicted
}

// hasEvicted reports whether enter has closed e.
func (b *lobby) hasEvicted(e *entrant) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return e.evicted
}

func (b *lobby) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.entrants.Len()
}
