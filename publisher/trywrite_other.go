//go:build !unix

package publisher

import "net"

// rawTryWriter has no way here.
func rawTryWriter(net.Conn) func([]byte) (int, error) { return nil }
