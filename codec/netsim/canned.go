package netsim

import (
	"io"
	"net"
	"time"
)

// Canned returns a connection whose reader gets the contents of say and whose writes are discarded. It belongs to
// no Network, never waits, and has no deadlines.
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
