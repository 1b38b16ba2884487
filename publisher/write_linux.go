package publisher

import (
	"syscall"
	"unsafe"
)

// writeNow is write(2) on a non-blocking socket. It does not notify the scheduler of the system call, which is short:
// notifications would keep the monitor thread of the scheduler awake as long as there is something to send ("tickfeed
// bench idle").
func writeNow(fd uintptr, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
