package netsim

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// A Conn is one end of a connection and implements net.Conn. Dial and Accept return *Conns. Errors, except
// io.EOF, are *net.OpErrors: net.ErrClosed after Close, ECONNRESET after a reset, EPIPE for a write to a peer
// that has closed, os.ErrDeadlineExceeded.
type Conn struct {
	link          *Link
	local, remote Addr
	in, out       *Direction
	closed        bool // guarded by Link.mu
}

var (
	errReadReset  = os.NewSyscallError("read", syscall.ECONNRESET)
	errWriteReset = os.NewSyscallError("write", syscall.ECONNRESET)
	errPipe       = os.NewSyscallError("write", syscall.EPIPE)
)

// Link returns the connection that c is an end of.
func (c *Conn) Link() *Link { return c.link }

// LocalAddr returns the listener's name, or the dialler's with the connection's number.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the other end's LocalAddr.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// Read waits for at least one byte and takes all that is available. After the peer's Close it returns the
// remaining bytes, then io.EOF.
func (c *Conn) Read(p []byte) (int, error) {
	l := c.link
	l.mu.Lock()
	n, err := c.readLocked(p)
	over := n > 0 && l.isCut // this read reached the offset of a ResetAfter
	l.mu.Unlock()
	if over {
		l.net.forget(l)
	}
	if err != nil && err != io.EOF {
		err = c.opError("read", err)
	}
	return n, err
}

func (c *Conn) readLocked(p []byte) (int, error) {
	l, d := c.link, c.in
	for {
		now := l.net.clock.now()
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case l.isCut:
			return 0, errReadReset
		case now >= d.readBy:
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		}
		n, end, again := d.availableLocked(now)
		if n > 0 {
			n = min(n, len(p))
			d.takeLocked(p[:n])
			return n, nil
		}
		if end {
			l.net.trace(l.number, d.name, "end", 0)
			return 0, io.EOF
		}
		d.readable.wait(min(again, d.readBy))
	}
}

// Write sends all of p and waits while the buffer is full. Concurrent Writes do not mix their bytes.
func (c *Conn) Write(p []byte) (int, error) {
	return c.write(p, true)
}

// TryWrite sends as much of p as the buffer takes at once and never waits; n may be 0. If a Write is waiting,
// TryWrite takes nothing. It returns the same errors as Write, also if the write deadline has expired; a full
// buffer is no error.
func (c *Conn) TryWrite(p []byte) (n int, err error) {
	return c.write(p, false)
}

func (c *Conn) write(p []byte, wait bool) (int, error) {
	c.link.mu.Lock()
	n, err := c.writeLocked(p, wait)
	c.link.mu.Unlock()
	if err != nil {
		err = c.opError("write", err)
	}
	return n, err
}

func (c *Conn) writeLocked(p []byte, wait bool) (n int, err error) {
	d := c.out
	for d.writing {
		if err := c.writeErrorLocked(); err != nil || !wait {
			return 0, err
		}
		d.writable.wait(d.writeBy)
	}
	d.writing = true
	defer func() {
		d.writing, d.want = false, 0
		d.writable.wake()
	}()

	full := false
	for {
		if n > 0 && n == len(p) {
			return n, nil
		}
		if err := c.writeErrorLocked(); err != nil || len(p) == 0 {
			return n, err
		}
		space := len(p) - n
		if !d.blackHole && !d.cutEnded && !d.reader.closed {
			space = min(space, d.conditions.Buffer-d.queue.size)
		}
		if space > 0 {
			d.sendLocked(p[n : n+space])
			n += space
			continue
		}
		if !full {
			full = true
			c.link.net.note(func(s *Stats) { s.Full++ })
		}
		if !wait {
			return n, nil
		}
		d.want = min(len(p)-n, max(1, d.conditions.Buffer/4))
		d.writable.wait(d.writeBy)
	}
}

func (c *Conn) writeErrorLocked() error {
	d := c.out
	now := c.link.net.clock.now()
	switch {
	case c.closed:
		return net.ErrClosed
	case c.link.isCut:
		return errWriteReset
	case now >= d.writeBy:
		return os.ErrDeadlineExceeded
	case d.finished:
		return errPipe
	case d.reader.closed && !d.blackHole && d.reverse.fin && now >= d.reverse.finAt && !d.reverse.heldLocked(now):
		return errPipe // the peer's close has had time to arrive
	}
	return nil
}

// CloseWrite ends the writing side: the peer reads the bytes that were written, then io.EOF, and may continue
// to write.
func (c *Conn) CloseWrite() error {
	l := c.link
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case c.closed:
		return c.opError("close", net.ErrClosed)
	case l.isCut || c.out.finished:
		return nil
	}
	l.net.trace(l.number, c.out.name, "close write", 0)
	c.out.finishLocked()
	c.out.writable.wake()
	return nil
}

// Close ends both sides and never waits. The peer reads the bytes that were written, then io.EOF; bytes that
// the peer wrote and c did not read are lost without an error. Waiting reads and writes of c return
// net.ErrClosed.
func (c *Conn) Close() error {
	l := c.link
	l.mu.Lock()
	if c.closed {
		l.mu.Unlock()
		return c.opError("close", net.ErrClosed)
	}
	c.closed = true
	l.net.trace(l.number, c.out.name, "close", 0)
	c.in.discardLocked()
	c.in.readable.wake()
	c.out.writable.wake()
	if !l.isCut && !c.out.finished {
		c.out.finishLocked()
	}
	over := l.overLocked()
	if over {
		l.releaseLocked()
	}
	l.mu.Unlock()
	if over {
		l.net.forget(l)
	}
	return nil
}

// SetDeadline sets both deadlines. Waiting reads and writes use the new ones.
func (c *Conn) SetDeadline(t time.Time) error { return c.setDeadlines(t, true, true) }

// SetReadDeadline makes reads fail from t on; a zero t is no deadline.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, true, false) }

// SetWriteDeadline makes writes fail from t on; a zero t is no deadline.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, false, true) }

func (c *Conn) setDeadlines(t time.Time, read, write bool) error {
	at := never
	if !t.IsZero() {
		at = c.link.net.clock.at(t)
	}
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.closed {
		return c.opError("set", net.ErrClosed)
	}
	if read {
		c.in.readBy = at
		c.in.readable.wake()
	}
	if write {
		c.out.writeBy = at
		c.out.writable.wake()
	}
	return nil
}

func (c *Conn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: netName, Source: c.local, Addr: c.remote, Err: err}
}
