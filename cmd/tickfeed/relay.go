package main

import (
	"context"
	"net"
	"sync"
	"time"
)

// A relay passes TCP connections on to a publisher and breaks them on demand, so that
// neither side has to be told: the code under test sees a network that fails.
type relay struct {
	ln     net.Listener
	target func() string // where the publisher listens now

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	gate  chan struct{} // closed while bytes may pass
}

// relayBuffer bounds what a relay, and the system for it, holds of one connection in one
// direction: little, so that a slow reader is felt by the publisher.
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

// run relays until ctx ends; then nothing of it is left.
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

// pass copies what comes from one side to the other, and ends both when one has ended.
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

// cut resets every connection, and returns how many relayed ones that were.
func (r *relay) cut() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		_ = c.(*net.TCPConn).SetLinger(0) // a reset, not an orderly end
		c.Close()
	}
	return len(r.conns) / 2
}

// stall lets no byte pass for d, in either direction; connections stay open.
func (r *relay) stall(d time.Duration) {
	gate := make(chan struct{})
	r.mu.Lock()
	r.gate = gate
	r.mu.Unlock()
	time.AfterFunc(d, func() { close(gate) })
}
