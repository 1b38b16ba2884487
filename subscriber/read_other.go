//go:build !linux

package subscriber

import "net"

// readerOf returns the Read method of conn.
func readerOf(conn net.Conn) func([]byte) (int, error) { return conn.Read }
