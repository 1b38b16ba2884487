//go:build unix

package publisher

import (
	"errors"
	"net"
	"syscall"
)

// rawTryWriter writes to the socket itself, past the runtime's poller, which would wait.
func rawTryWriter(nc net.Conn) func([]byte) (int, error) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	var (
		b    []byte
		n    int
		werr error
	)
	write := func(fd uintptr) bool { // made once: a closure per write would be garbage
		for {
			n, werr = syscall.Write(int(fd), b)
			if !errors.Is(werr, syscall.EINTR) {
				return true
			}
		}
	}
	return func(p []byte) (int, error) {
		b = p
		err := raw.Write(write)
		b = nil
		switch {
		case err != nil:
			return 0, err
		case errors.Is(werr, syscall.EAGAIN):
			return 0, nil
		case werr != nil:
			return max(n, 0), werr
		}
		return n, nil
	}
}
