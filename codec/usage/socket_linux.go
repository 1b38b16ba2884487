package usage

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Socket returns the kernel's memory for the socket fd in bytes: sent and unacknowledged data, received and unread data, and
// memory set aside for more. It returns false if fd is not a socket.
func Socket(fd uintptr) (int64, bool) {
	var info [9]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, false
	}
	const received, setAside, queued, options, backlog = 0, 4, 5, 6, 7 // SK_MEMINFO_ of linux/sock_diag.h
	var sum int64
	for _, i := range []int{received, setAside, queued, options, backlog} {
		sum += int64(info[i])
	}
	return sum, true
}
