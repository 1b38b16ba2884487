package publisher

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"tickfeed/codec/certs"
)

// A secureConn is a TLS connection that can write without waiting, and go on after a write that gave up at its deadline:
// a *tls.Conn can do neither. Below TLS it keeps the end of a record that the socket did not take, and holds reports that it
// does. It takes nothing more until that end is sent, so that it costs at most one record.
type secureConn struct {
	net.Conn  // below TLS
	tls       *tls.Conn
	try       func([]byte) (int, error) // writes what fits on the connection below, without waiting; nil if that cannot
	opened    bool                      // the handshake is complete
	handshake int                       // bytes that the client may still send before the handshake is complete

	mu   sync.Mutex
	kept []byte // the end of a record
}

// Bounds of a secureConn.
const (
	maxHandshake = 32 << 10 // bytes that a client may send before its handshake is complete
	maxSealed    = 16 << 10 // bytes that are written as one record
	maxKept      = 64 << 10 // bytes kept: a record, and the answers to a client that asks for new keys and reads nothing
)

var (
	errLongHandshake = errors.New("tls: the handshake of the client is too long")
	errUnread        = errors.New("the client does not read, and asks for new keys")
)

func newSecureConn(nc net.Conn, cfg *tls.Config) *secureConn {
	c := &secureConn{Conn: nc, try: tryWriter(nc, rawConn(nc)), handshake: maxHandshake}
	c.tls = tls.Server(below{c}, cfg)
	return c
}

// open makes the handshake. The caller must have set a deadline.
func (c *secureConn) open() error {
	err := c.tls.Handshake()
	c.opened = err == nil
	return err
}

// identity returns the one name in the certificate of the client, or "" if it has another number of names, or was not verified.
func (c *secureConn) identity() string {
	chains := c.tls.ConnectionState().VerifiedChains
	if len(chains) == 0 {
		return ""
	}
	name, _ := certs.Identity(chains[0][0])
	return name
}

// below is the connection that TLS runs on. Before the handshake is complete it is the connection below; then writes never
// wait.
type below struct{ *secureConn }

func (b below) Read(p []byte) (int, error) {
	if b.opened {
		return b.Conn.Read(p)
	}
	if b.handshake == 0 {
		return 0, errLongHandshake
	}
	n, err := b.Conn.Read(p[:min(len(p), b.handshake)])
	b.handshake -= n
	return n, err
}

// Write sends p as far as the socket takes it, and keeps the rest.
func (b below) Write(p []byte) (n int, err error) {
	if !b.opened {
		return b.Conn.Write(p)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.kept) == 0 && b.try != nil {
		if n, err = b.try(p); err != nil {
			return n, err
		}
	}
	if len(b.kept)+len(p)-n > maxKept {
		return n, errUnread
	}
	b.kept = append(b.kept, p[n:]...)
	return len(p), nil
}

// SetWriteDeadline does nothing: a deadline of package tls would replace that of the sender.
func (b below) SetWriteDeadline(time.Time) error { return nil }

func (c *secureConn) Read(p []byte) (int, error) { return c.tls.Read(p) }

// Write takes all of p, and returns after the socket has. If the write deadline passes before, it returns
// os.ErrDeadlineExceeded and the number of bytes that it took, some of which it may hold.
func (c *secureConn) Write(p []byte) (int, error) { return c.write(p, c.Conn.Write) }

// TryWrite takes as much of p as the socket does without waiting, to the end of a record, whose own end may be held.
func (c *secureConn) TryWrite(p []byte) (int, error) { return c.write(p, c.try) }

func (c *secureConn) write(p []byte, through func([]byte) (int, error)) (taken int, err error) {
	for {
		if err := c.flush(through); err != nil || taken == len(p) || c.holds() {
			return taken, err
		}
		n, err := c.tls.Write(p[taken:min(taken+maxSealed, len(p))])
		if taken += n; err != nil {
			return taken, err
		}
	}
}

// flush sends the bytes that are held.
func (c *secureConn) flush(through func([]byte) (int, error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.kept) == 0 {
		return nil
	}
	n, err := through(c.kept)
	if c.kept = c.kept[n:]; len(c.kept) == 0 {
		c.kept = nil // thousands of connections are idle
	}
	return err
}

// holds reports whether bytes that were taken are not in the socket yet.
func (c *secureConn) holds() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.kept) > 0
}

// CloseWrite tells the client that nothing follows.
func (c *secureConn) CloseWrite() error {
	err := c.tls.CloseWrite()
	if flushErr := c.flush(c.Conn.Write); err == nil {
		err = flushErr
	}
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		err = errors.Join(err, w.CloseWrite())
	}
	return err
}

// secured returns nc, or the TLS connection that runs on it.
func (p *Publisher) secured(nc net.Conn) net.Conn {
	if p.cfg.TLS == nil {
		return nc
	}
	return newSecureConn(nc, p.cfg.TLS)
}

// secure makes the TLS handshake of nc, if there is one.
func secure(nc net.Conn) error {
	c, ok := nc.(*secureConn)
	if !ok {
		return nil
	}
	if err := c.open(); err != nil {
		return certs.AcceptError(err)
	}
	return nil
}

// plain returns the connection below TLS if err reports that the client does not speak TLS and has been sent nothing, or nil.
func plain(err error) net.Conn {
	var header tls.RecordHeaderError
	if errors.As(err, &header) && header.Conn != nil {
		return header.Conn.(below).Conn
	}
	return nil
}

// abandon lets a client whose TLS handshake failed with err read the alert that says why. A client that is refused for its
// certificate has sent its hello already, and closing a socket with unread bytes would discard the alert.
func abandon(nc net.Conn, err error) {
	c, ok := nc.(*secureConn)
	if !ok || c.opened || !errors.As(err, new(*certs.Error)) {
		return
	}
	_ = c.SetDeadline(time.Now().Add(refusalWait))
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok && w.CloseWrite() == nil {
		discardInput(c.Conn)
	}
}

// fillTLS completes a configuration.
func fillTLS(c *tls.Config) (*tls.Config, error) {
	if c == nil {
		return nil, nil
	}
	if len(c.Certificates) == 0 && c.GetCertificate == nil && c.GetConfigForClient == nil {
		return nil, errors.New("publisher: TLS has no certificate: set Certificates, GetCertificate or GetConfigForClient")
	}
	c = c.Clone()
	if c.MinVersion == 0 {
		c.MinVersion = tls.VersionTLS13
	}
	if len(c.NextProtos) == 0 {
		c.NextProtos = []string{certs.Protocol}
	}
	if c.ClientAuth != tls.NoClientCert {
		c.SessionTicketsDisabled = true // a client must show its certificate each time
	}
	return c, nil
}

// isHTTP reports whether b begins a request of HTTP.
func isHTTP(b []byte) bool {
	for _, method := range []string{"GET ", "POST ", "HEAD ", "PUT ", "OPTIONS "} {
		if bytes.HasPrefix(b, []byte(method)) {
			return true
		}
	}
	return false
}

// isTLS reports whether b begins a TLS handshake.
func isTLS(b []byte) bool { return len(b) >= 2 && b[0] == 0x16 && b[1] == 3 }
