package subscriber

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// readerOf is the Read of conn. For a socket it is one that does not tell the scheduler of its system calls: they do not
// wait, and take 40 µs for all that a buffer holds. Told of them, the scheduler wakes its monitor thread for each tick of
// a quiet feed, which costs more than the tick: 33 µs of processor time instead of 15, at 10,000 ticks a second.
func readerOf(conn net.Conn) func([]byte) (int, error) {
	var socket syscall.Conn
	switch conn := conn.(type) { // no other: it may have a Read of its own
	case *net.TCPConn:
		socket = conn
	case *net.UnixConn:
		socket = conn
	default:
		return conn.Read
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return conn.Read
	}
	var (
		b     []byte
		n     int
		errno syscall.Errno
	)
	read := func(fd uintptr) bool { // made once: a closure per read would be garbage
		for {
			var r uintptr
			r, _, errno = syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
			if n = int(r); errno != syscall.EINTR {
				return errno != syscall.EAGAIN
			}
		}
	}
	return func(p []byte) (int, error) {
		b = p
		err := raw.Read(read)
		b = nil
		switch {
		case err != nil:
			return 0, err
		case errno != 0:
			return 0, &net.OpError{Op: "read", Net: conn.RemoteAddr().Network(), Source: conn.LocalAddr(), Addr: conn.RemoteAddr(), Err: os.NewSyscallError("read", errno)}
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		}
		return n, nil
	}
}
