package publisher

import (
	"net"
	"syscall"
)

// rawConn is nc's socket, past the net package; nil if nc has none.
func rawConn(nc net.Conn) syscall.RawConn {
	if sc, ok := nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}

// tryWriter returns a function that writes what fits into the send buffer of nc, whose socket is
// raw, without waiting; nil if the connection has no such way.
func tryWriter(nc net.Conn, raw syscall.RawConn) func([]byte) (int, error) {
	if t, ok := nc.(interface{ TryWrite([]byte) (int, error) }); ok {
		return t.TryWrite
	}
	if raw == nil {
		return nil
	}
	return rawTryWriter(raw)
}
