package neterror_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"

	"tickfeed/codec/neterror"
)

// The text of package net becomes a sentence that names the peer; what stands around it, and the error itself, stay.
func TestPlainNamesThePeerInASentence(t *testing.T) {
	here, there := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 8425}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 40021}
	op := func(op string, err error) error {
		return &net.OpError{Op: op, Net: "tcp", Source: here, Addr: there, Err: err}
	}
	sys := func(call string, err error) error { return os.NewSyscallError(call, err) }
	other := errors.New("other")
	for _, c := range []struct {
		err  error
		want string
	}{
		{op("read", sys("read", syscall.ECONNRESET)), "10.0.0.2:40021 reset the connection"},
		{fmt.Errorf("after 3 ticks: %w; more", op("read", sys("read", syscall.ECONNRESET))), "after 3 ticks: 10.0.0.2:40021 reset the connection; more"},
		{op("write", sys("write", syscall.EPIPE)), "10.0.0.2:40021 has closed the connection"},
		{op("dial", sys("connect", syscall.ECONNREFUSED)), "nothing accepts connections at 10.0.0.2:40021"},
		{op("dial", sys("connect", syscall.EHOSTUNREACH)), "there is no route to 10.0.0.2:40021"},
		{op("dial", os.ErrDeadlineExceeded), "10.0.0.2:40021 does not respond"},
		{op("read", os.ErrDeadlineExceeded), "10.0.0.2:40021 sent nothing in time"},
		{op("write", os.ErrDeadlineExceeded), "10.0.0.2:40021 accepted nothing in time"},
		{op("read", sys("read", syscall.ETIMEDOUT)), "10.0.0.2:40021 does not respond"},
		{op("read", net.ErrClosed), "the connection to 10.0.0.2:40021 was closed on this side"},
		{op("write", sys("write", syscall.ENOBUFS)), "write 10.0.0.2:40021: " + syscall.ENOBUFS.Error()},
		{&net.OpError{Op: "read", Net: "unix", Addr: &net.UnixAddr{Name: "@", Net: "unix"}, Err: sys("read", syscall.ECONNRESET)}, "the peer reset the connection"},
		{&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Name: "feed.example", IsNotFound: true}}, "there is no host feed.example"},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, "the peer ended TLS: bad certificate"},
		{io.EOF, "the peer closed the connection"},
		{io.ErrUnexpectedEOF, "the peer closed the connection in the middle of a message"},
		{other, "other"},
	} {
		got := neterror.Plain(c.err)
		assert.EqualError(t, got, c.want)
		assert.ErrorIs(t, got, c.err)
	}
	assert.NoError(t, neterror.Plain(nil))
}
