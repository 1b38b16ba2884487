//go:build !unix

package publisher

import "syscall"

// rawTryWriter returns nil: this system has no write that does not wait.
func rawTryWriter(syscall.RawConn) func([]byte) (int, error) { return nil }

// awaitBytes returns at once; the reader waits in Read.
func awaitBytes(syscall.RawConn) error { return nil }
