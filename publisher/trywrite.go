package publisher

import (
	"net"
	"syscall"
)

// A TryWriter is a connection that can write without waiting. Serve uses that to send ticks to a client that has everything
// before them: directly from the goroutine that publishes, or from one goroutine for many such clients. A connection of
// package net does not need to be one, because its socket can be used; any other connection that is not, such as a
// WebSocket, is served by a goroutine of its own, which takes longer to wake. A connection that wraps another one and must
// see the bytes written must not expose the SyscallConn of that one, but may be a TryWriter.
type TryWriter interface {
	net.Conn

	// TryWrite writes as much of p as can be written without waiting, and returns how much that is, which may be 0. What it
	// has taken is sent without another call. An error ends the connection. TryWrite is never called while Write or
	// another TryWrite runs, nor with a write deadline.
	TryWrite(p []byte) (n int, err error)
}

// A rawSocket is the socket below a connection.
type rawSocket = syscall.RawConn

// rawConn returns the raw socket of nc, or nil if nc has none.
func rawConn(nc net.Conn) rawSocket {
	if sc, ok := nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}

// tryWriter returns a function that writes as much as fits into the send buffer of nc, without waiting. raw is the
// raw socket of nc. It returns nil if nc cannot do that.
func tryWriter(nc net.Conn, raw rawSocket) func([]byte) (int, error) {
	switch t := nc.(type) {
	case *secureConn:
		if t.try == nil {
			return nil
		}
		return t.TryWrite
	case TryWriter:
		return t.TryWrite
	}
	if raw == nil {
		return nil
	}
	return rawTryWriter(raw)
}
