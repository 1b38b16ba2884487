package exam

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"tickfeed/codec"
)

// A Server plays cases to clients that cannot be started by the exam. A client chooses the case by its id as the token of
// its hello. Without a token it is given the cases in order, one after the other.
type Server struct {
	Cases  []*Case
	Limit  time.Duration // of one connection; 0 for DefaultLimit
	Played func(Played)  // called once for each connection, one at a time

	mu   sync.Mutex
	next map[string]int // number of the next stream of each case
	turn int            // the case for a client without a token
}

// A Played describes a connection that was served.
type Played struct {
	Case   *Case  // nil if the client named none that exists
	Stream int    // number of the connection within the case, from 0
	Fault  string // what the client did wrong on the connection; "" if nothing
}

// serveAtOnce bounds the connections that are served at the same time; others wait.
const serveAtOnce = 64

// Serve serves the clients that connect on ln until ctx ends or ln fails. It owns ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	defer ln.Close()
	var conns sync.WaitGroup
	defer conns.Wait()
	slots := make(chan struct{}, serveAtOnce)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		nc, err := ln.Accept()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		} else if err != nil {
			return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
		}
		conns.Go(func() {
			defer func() { <-slots }()
			p := s.serve(ctx, nc)
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.Played != nil {
				s.Played(p)
			}
		})
	}
}

func (s *Server) serve(ctx context.Context, nc net.Conn) (p Played) {
	limit := s.Limit
	if limit == 0 {
		limit = DefaultLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := playOne(ctx, nc, func(h *codec.Hello) (*Stream, *codec.Refusal) {
		c, i := s.choose(string(h.Token))
		if c == nil {
			return nil, &codec.Refusal{Code: codec.CodeUnauthorized, Text: fmt.Sprintf("there is no case %.64q: the token is the id of a case", h.Token)}
		}
		p.Case, p.Stream = c, i
		return &c.Streams[i], nil
	})
	var fault *Fault
	switch {
	case errors.As(err, &fault):
		p.Fault = fault.Text
	case err != nil:
		p.Fault = err.Error()
	}
	return p
}

// choose returns the case for a client with the given token, and the number of the connection within the case.
func (s *Server) choose(token string) (*Case, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var c *Case
	if token == "" {
		c = s.Cases[s.turn]
	} else if i := slices.IndexFunc(s.Cases, func(c *Case) bool { return c.ID == token }); i >= 0 {
		c = s.Cases[i]
	} else {
		return nil, 0
	}
	if s.next == nil {
		s.next = make(map[string]int)
	}
	i := s.next[c.ID]
	s.next[c.ID] = (i + 1) % len(c.Streams)
	if token == "" && s.next[c.ID] == 0 {
		s.turn = (s.turn + 1) % len(s.Cases)
	}
	return c, i
}
