package publisher

import (
	"context"
	"errors"
	"net"
	"time"

	"tickfeed/codec/lobby"
)

// Minimum times for a handshake when another connection waits for its place.
const (
	loginGrace  = 20 * time.Millisecond
	secureGrace = 300 * time.Millisecond // with TLS, which takes one more round trip, around the world at most, and processor time
)

// An entrant is a connection that has not logged in.
type entrant struct {
	net.Conn
	*lobby.Guest
	number uint64
}

// errEvicted is the error of a login whose connection was closed after its hello was read.
var errEvicted = errors.New("closed to make room for another connection that has not logged in")

func newLobby(cfg *Config) *lobby.Lobby {
	if cfg.TLS != nil {
		return lobby.New(cfg.maxHandshakes, secureGrace)
	}
	return lobby.New(cfg.maxHandshakes, loginGrace)
}

// enter waits until nc has a place among those that have not logged in. It returns nil if ctx ends first.
func (s *server) enter(ctx context.Context, nc net.Conn) *entrant {
	g, _ := s.lobby.Enter(ctx, nc)
	if g == nil {
		return nil
	}
	return &entrant{Conn: nc, Guest: g, number: s.opened.Add(1)}
}
