package netsim

import (
	"io"
	"net"
	"time"
)

// Canned returns a connection that says what say holds, then that it is at its end, and hears nothing.
// It belongs to no Network, never waits, and has no deadlines.
func Canned(say io.Reader) net.Conn { return canned{say} }

type canned struct{ say io.Reader }

func (c canned) Read(p []byte) (int, error)     { return c.say.Read(p) }
func (canned) Write(p []byte) (int, error)      { return len(p), nil }
func (canned) Close() error                     { return nil }
func (canned) LocalAddr() net.Addr              { return cannedAddr }
func (canned) RemoteAddr() net.Addr             { return cannedAddr }
func (canned) SetDeadline(time.Time) error      { return nil }
func (canned) SetReadDeadline(time.Time) error  { return nil }
func (canned) SetWriteDeadline(time.Time) error { return nil }

var cannedAddr = &net.UnixAddr{Name: "canned", Net: "unix"}
