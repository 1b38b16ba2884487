package publisher

import "net"

// tryWriter returns a function that writes what fits into the connection's send buffer
// without waiting; nil if the connection has no such way.
func tryWriter(nc net.Conn) func([]byte) (int, error) {
	if t, ok := nc.(interface{ TryWrite([]byte) (int, error) }); ok {
		return t.TryWrite
	}
	return rawTryWriter(nc)
}
