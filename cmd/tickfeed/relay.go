package main

import (
	"context"
	"net"
	"sync"
	"time"
)

// A relay forwards TCP connections to a publisher and breaks them on demand, so that both sides see a network failure.
type relay struct {
	ln     net.Listener
	target func() string // returns the address that the publisher listens on now

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	gate  chan struct{} // open channel blocks bytes, closed channel lets them pass
}

// relayBuffer bounds the bytes that a relay, and each socket buffer, holds of one connection in one direction. It is
// small, so that the publisher notices a slow reader.
const relayBuffer = 32 << 10

func newRelay(target func() string) (*relay, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	open := make(chan struct{})
	close(open)
	return &relay{ln: ln, target: target, conns: make(map[net.Conn]struct{}), gate: open}, nil
}

func (r *relay) addr() string { return r.ln.Addr().String() }

// run relays connections until ctx ends. When it returns, all of them are closed.
func (r *relay) run(ctx context.Context) {
	var pipes sync.WaitGroup
	defer pipes.Wait()
	stop := context.AfterFunc(ctx, func() {
		r.ln.Close()
		r.cut()
	})
	defer stop()
	for {
		client, err := r.ln.Accept()
		if err != nil {
			return
		}
		pipes.Go(func() { r.relay(ctx, client) })
	}
}

func (r *relay) relay(ctx context.Context, client net.Conn) {
	defer client.Close()
	server, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", r.target())
	if err != nil {
		return
	}
	defer server.Close()
	for _, c := range []net.Conn{client, server} {
		tcp := c.(*net.TCPConn)
		_ = tcp.SetReadBuffer(relayBuffer)
		_ = tcp.SetWriteBuffer(relayBuffer)
	}
	r.mu.Lock()
	r.conns[client], r.conns[server] = struct{}{}, struct{}{}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.conns, client)
		delete(r.conns, server)
		r.mu.Unlock()
	}()
	if ctx.Err() != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { r.pass(ctx, server, client) })
	r.pass(ctx, client, server)
	back.Wait()
}

// pass copies bytes from one side to the other, and closes both when one of them ends.
func (r *relay) pass(ctx context.Context, from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, relayBuffer)
	for {
		n, err := from.Read(buf)
		r.mu.Lock()
		gate := r.gate
		r.mu.Unlock()
		select {
		case <-gate:
		case <-ctx.Done():
			return
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// cut resets every connection, and returns the number of relayed ones.
func (r *relay) cut() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		_ = c.(*net.TCPConn).SetLinger(0) // a reset, not an orderly end
		c.Close()
	}
	return len(r.conns) / 2
}

// stall stops all bytes for d, in both directions; connections stay open.
func (r *relay) stall(d time.Duration) {
	gate := make(chan struct{})
	r.mu.Lock()
	r.gate = gate
	r.mu.Unlock()
	time.AfterFunc(d, func() { close(gate) })
}
