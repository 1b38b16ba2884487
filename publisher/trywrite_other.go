//go:build !unix

package publisher

import "syscall"

// rawTryWriter has no way here.
func rawTryWriter(syscall.RawConn) func([]byte) (int, error) { return nil }

// awaitBytes leaves the waiting to who reads.
func awaitBytes(syscall.RawConn) error { return nil }
