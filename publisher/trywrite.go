package publisher

import (
	"net"
	"syscall"
)

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
	case interface{ TryWrite([]byte) (int, error) }:
		return t.TryWrite
	}
	if raw == nil {
		return nil
	}
	return rawTryWriter(raw)
}
