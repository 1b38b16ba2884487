package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"tickfeed/codec/certs"
)

// A secured is a TLS connection on which a fault is one of the socket below: a cut sends no alert, and a reset is a reset.
type secured struct {
	*tls.Conn
	socket net.Conn
}

func (c *secured) Close() error { return c.socket.Close() }

func (c *secured) CloseWrite() error {
	err := c.Conn.CloseWrite()
	_ = c.socket.SetWriteDeadline(time.Time{}) // package tls has set one
	if w, ok := c.socket.(interface{ CloseWrite() error }); ok {
		err = errors.Join(err, w.CloseWrite())
	}
	return err
}

func (c *secured) SetLinger(seconds int) error {
	if tcp, ok := c.socket.(interface{ SetLinger(int) error }); ok {
		return tcp.SetLinger(seconds)
	}
	return nil
}

// secureClient makes the handshake with a client, within the deadline of nc. cfg may be nil: nc is then not encrypted.
func secureClient(nc net.Conn, cfg *tls.Config) (net.Conn, error) {
	if cfg == nil {
		return nc, nil
	}
	c := &secured{tls.Server(nc, cfg), nc}
	if err := c.Handshake(); err != nil {
		return nil, certs.AcceptError(err)
	}
	return c, nil
}

// Secure makes the handshake with a publisher as its client, for Dial, and closes nc if that fails. cfg must have a ServerName
// or verify certificates in its own way.
func Secure(ctx context.Context, nc net.Conn, cfg *tls.Config) (net.Conn, error) {
	c := &secured{tls.Client(nc, cfg), nc}
	if err := c.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, certs.DialError(err)
	}
	return c, nil
}
