package subscriber

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// readerOf returns the Read method of conn. For a socket it returns a function that makes system calls without notifying the
// scheduler: the calls do not block, and even a full buffer takes only microseconds. If it were notified, the scheduler would
// wake its monitor thread for each tick of a quiet feed, which costs more processor time than the tick itself.
func readerOf(conn net.Conn) func([]byte) (int, error) {
	var socket syscall.Conn
	switch conn := conn.(type) { // any other type may have its own Read
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
	read := func(fd uintptr) bool { // made once, so that a read allocates no closure
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
