package processes

import (
	endian "encoding/binary"
	"net"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// kernelMemory is what the kernel holds for the connections of the port, in bytes by the port of the other side: for the
// sockets of the port itself, and for those at the other end, which are on this machine too.
func kernelMemory(t *testing.T, addr string) (here, there map[int]int64) {
	t.Helper()
	_, text, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	port, err := strconv.Atoi(text)
	require.NoError(t, err)
	const (
		inetDiag     = 4  // NETLINK_INET_DIAG
		byFamily     = 20 // SOCK_DIAG_BY_FAMILY
		memInfo      = 7  // INET_DIAG_SKMEMINFO
		messageSize  = 72 // struct inet_diag_msg
		everyState   = 0xffffffff
		receiveBytes = 64 << 10
	)
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, inetDiag)
	if err != nil {
		t.Skipf("the kernel does not tell what sockets take: %v", err)
	}
	defer syscall.Close(fd)
	req := make([]byte, 16+56)
	endian.NativeEndian.PutUint32(req, uint32(len(req)))
	endian.NativeEndian.PutUint16(req[4:], byFamily)
	endian.NativeEndian.PutUint16(req[6:], syscall.NLM_F_REQUEST|syscall.NLM_F_DUMP)
	req[16], req[17], req[18] = syscall.AF_INET, syscall.IPPROTO_TCP, 1<<(memInfo-1)
	endian.NativeEndian.PutUint32(req[20:], everyState)
	require.NoError(t, syscall.Sendto(fd, req, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}))
	here, there = map[int]int64{}, map[int]int64{}
	buf := make([]byte, receiveBytes)
	for {
		n, _, err := syscall.Recvfrom(fd, buf, 0)
		require.NoError(t, err)
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		require.NoError(t, err)
		for _, m := range messages {
			switch {
			case m.Header.Type == syscall.NLMSG_DONE:
				return here, there
			case m.Header.Type == syscall.NLMSG_ERROR:
				t.Skip("the kernel does not tell what sockets take")
			case len(m.Data) < messageSize:
				continue
			}
			local, remote := int(endian.BigEndian.Uint16(m.Data[4:])), int(endian.BigEndian.Uint16(m.Data[6:]))
			memory := int64(0)
			for attrs := m.Data[messageSize:]; len(attrs) >= 4; {
				size, kind := int(endian.NativeEndian.Uint16(attrs)), endian.NativeEndian.Uint16(attrs[2:])
				if size < 4 || size > len(attrs) {
					break
				}
				if kind == memInfo && size >= 4+8*4 {
					v := func(i int) int64 { return int64(endian.NativeEndian.Uint32(attrs[4+4*i:])) }
					memory = v(0) + max(v(2), v(5)) + v(4) + v(6) + v(7) // received, sent, reserved, options, backlog
				}
				attrs = attrs[min(len(attrs), (size+3)&^3):]
			}
			switch port {
			case local:
				here[remote] = memory
			case remote:
				there[local] = memory
			}
		}
	}
}
