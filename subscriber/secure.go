package subscriber

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"time"

	"tickfeed/codec/certs"
)

// firstJitter bounds the random wait before the first attempt after a cut, if the connections are TLS: many subscribers whose
// publisher restarts would otherwise all make their handshakes, which take processor time, in the same millisecond.
const firstJitter = 100 * time.Millisecond

// A secureConn is a TLS connection to a publisher. Closing it never waits.
type secureConn struct {
	*tls.Conn
	socket net.Conn // below TLS
}

// secure makes the TLS handshake with the publisher at addr, within the deadline of ctx, and closes conn if that fails.
func secure(ctx context.Context, conn net.Conn, addr string, cfg *tls.Config) (net.Conn, error) {
	c := &secureConn{tls.Client(below{conn, readerOf(conn)}, certs.ForHost(cfg, hostOf(addr))), conn}
	if err := c.HandshakeContext(ctx); err != nil {
		conn.Close()
		if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, err
		}
		return nil, &TLSError{Addr: addr, Err: certs.DialError(err)}
	}
	return c, nil
}

// below is the connection that TLS runs on, with the reads of a plain one.
type below struct {
	net.Conn
	read func([]byte) (int, error)
}

func (b below) Read(p []byte) (int, error) { return b.read(p) }

// SetWriteDeadline does nothing: when it closes, package tls would set a deadline of its own, and wait for seconds.
func (below) SetWriteDeadline(time.Time) error { return nil }

func (c *secureConn) SetWriteDeadline(t time.Time) error { return c.socket.SetWriteDeadline(t) }

// Close closes the connection, after it has told the publisher that nothing follows, if that does not wait long.
func (c *secureConn) Close() error {
	_ = c.socket.SetWriteDeadline(time.Now().Add(goodbyeTimeout))
	_ = c.CloseWrite()
	return c.socket.Close()
}

// hostOf returns the host of addr, or localhost for a Unix socket.
func hostOf(addr string) string {
	if strings.HasPrefix(addr, unixPrefix) {
		return "localhost"
	}
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return strings.Trim(addr, "[]")
}

// completeTLS fills in what a configuration leaves out.
func completeTLS(c *tls.Config) *tls.Config {
	if c == nil {
		return nil
	}
	c = c.Clone()
	if c.MinVersion == 0 {
		c.MinVersion = tls.VersionTLS13
	}
	if len(c.NextProtos) == 0 {
		c.NextProtos = []string{certs.Protocol}
	}
	return c
}
