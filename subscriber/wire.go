package subscriber

import (
	"bytes"
	"context"
	"net"
	"os"
	"sync/atomic"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/liveness"
)

// A wire is the reading side of a connection. Each read has a deadline, from the handshake or from alive.
type wire struct {
	conn   net.Conn
	read   func([]byte) (int, error) // reads from conn
	ctx    context.Context
	woken  *atomic.Bool
	began  time.Time // the instant from which alive counts
	alive  liveness.Monitor
	until  time.Time // if not zero, the deadline of the handshake, which replaces the deadline from alive
	saveBy time.Time // if not zero, an earlier deadline, to save the position
	first  [8]byte   // the first bytes from the peer
	total  int64
}

// Read returns os.ErrDeadlineExceeded if the caller must check what to do next. No bytes are lost.
func (w *wire) Read(p []byte) (int, error) {
	deadline := w.until
	if deadline.IsZero() {
		deadline = w.deadline()
		if !w.saveBy.IsZero() && w.saveBy.Before(deadline) {
			deadline = w.saveBy
		}
	}
	w.conn.SetReadDeadline(deadline)
	// The goroutine that ends ctx or sets woken sets a past deadline afterwards. So either the check below sees the change, or
	// that deadline replaces ours.
	if w.ctx.Err() != nil || w.woken.Load() {
		return 0, os.ErrDeadlineExceeded
	}
	n, err := w.read(p)
	if n > 0 {
		if w.total < int64(len(w.first)) {
			copy(w.first[w.total:], p[:n])
		}
		w.total += int64(n)
	}
	return n, err
}

// now returns the time on the clock of alive.
func (w *wire) now() time.Duration { return time.Since(w.began) }

// deadline notes that the subscriber listens, and returns when the peer is stale or, if it is stale already, dead.
func (w *wire) deadline() time.Time {
	now := w.now()
	w.alive.Listen(now)
	if w.alive.Stale(now) {
		return w.began.Add(w.alive.DeadAt(now))
	}
	return w.began.Add(w.alive.StaleAt(now))
}

// hint guesses the kind of the peer from its first bytes.
func (w *wire) hint() string {
	switch {
	case bytes.HasPrefix(w.first[:], []byte("HTTP/")):
		return " (it is an HTTP server: connect to the address of the feed, which is that of --listen of the publisher, not of --http)"
	case bytes.HasPrefix(w.first[:], []byte{0x15, 0x03}):
		return " (it is a TLS server: connect with TLS)"
	case bytes.HasPrefix(w.first[:], []byte("SSH-")):
		return " (it is an SSH server)"
	}
	return ""
}

// A writer owns the writes of a connection, so that pulses are sent even while the handler runs.
type writer struct {
	conn     net.Conn
	interval time.Duration
	pulse    func() *codec.Pulse
	send     chan *codec.Subscribe // has room for the one request that may be open
	poke     chan struct{}
	bye      chan *codec.Goodbye
	done     chan struct{}
}

// pulsePause is the minimum time between two pulses that pulseNow asks for.
const pulsePause = time.Millisecond

func startWriter(conn net.Conn, interval time.Duration, pulse func() *codec.Pulse) *writer {
	w := &writer{
		conn: conn, interval: interval, pulse: pulse, send: make(chan *codec.Subscribe, 1),
		poke: make(chan struct{}, 1), bye: make(chan *codec.Goodbye, 1), done: make(chan struct{}),
	}
	go w.run()
	return w
}

func (w *writer) run() {
	defer close(w.done)
	ticker := time.NewTicker(w.interval)
	defer ticker.Stop()
	poke, pause := w.poke, (<-chan time.Time)(nil)
	for {
		var err error
		select {
		case <-ticker.C:
			err = w.write(w.pulse(), liveness.DeadAfter*w.interval)
		case <-poke:
			err = w.write(w.pulse(), liveness.DeadAfter*w.interval)
			poke, pause = nil, time.After(pulsePause)
		case <-pause:
			poke, pause = w.poke, nil
		case m := <-w.send:
			err = w.write(m, liveness.DeadAfter*w.interval)
		case m := <-w.bye:
			if m != nil {
				_ = w.write(m, goodbyeTimeout) // best effort: the connection ends either way
			}
			return
		}
		if err != nil {
			// The reader reports the error, after it has read the messages that the peer sent before.
			<-w.bye
			return
		}
	}
}

func (w *writer) write(m codec.Message, timeout time.Duration) error { return send(w.conn, m, timeout) }

func send(conn net.Conn, m codec.Message, timeout time.Duration) error {
	raw, err := codec.Append(nil, m)
	if err != nil {
		return err
	}
	conn.SetWriteDeadline(time.Now().Add(timeout))
	_, err = conn.Write(raw)
	return err
}

func (w *writer) pulseNow() {
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// close sends the goodbye m, if it is not nil, and closes the connection.
func (w *writer) close(m *codec.Goodbye) {
	w.bye <- m
	t := time.NewTimer(goodbyeTimeout)
	defer t.Stop()
	select {
	case <-w.done:
	case <-t.C:
	}
	w.conn.Close()
	<-w.done
}
