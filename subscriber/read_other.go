//go:build !linux

package subscriber

import "net"

// readerOf is the Read of conn.
func readerOf(conn net.Conn) func([]byte) (int, error) { return conn.Read }
