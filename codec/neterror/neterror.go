// Package neterror says in sentences why a connection failed, for logs and for people.
package neterror

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// Plain returns err with a sentence in place of the text of package net, such as "127.0.0.1:40021 reset the connection" for "read tcp
// 127.0.0.1:8425->127.0.0.1:40021: read: connection reset by peer". What err adds to that text stays, and the result wraps err. Plain
// returns err itself if it has nothing to do with package net, or is nil.
func Plain(err error) error {
	var op *net.OpError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &op):
		return &plainError{strings.Replace(err.Error(), op.Error(), sentence(op), 1), err}
	case err.Error() == io.EOF.Error():
		return &plainError{"the peer closed the connection", err}
	case err.Error() == io.ErrUnexpectedEOF.Error():
		return &plainError{"the peer closed the connection in the middle of a message", err}
	}
	return err
}

// A plainError is an error with another text.
type plainError struct {
	text string
	err  error
}

func (e *plainError) Error() string { return e.text }

func (e *plainError) Unwrap() error { return e.err }

// sentence says what op reports.
func sentence(op *net.OpError) string {
	peer := "the peer"
	if op.Addr != nil && op.Addr.String() != "" && op.Addr.String() != "@" { // a client of a unix socket has no name
		peer = op.Addr.String()
	}
	is := func(target error) bool { return errors.Is(op.Err, target) }
	dns := new(net.DNSError)
	switch {
	case errors.As(op.Err, &dns) && dns.IsNotFound:
		return "there is no host " + dns.Name
	case is(syscall.ECONNRESET):
		return peer + " reset the connection"
	case is(syscall.EPIPE):
		return peer + " has closed the connection"
	case is(syscall.ECONNREFUSED):
		return "nothing accepts connections at " + peer
	case is(syscall.EHOSTUNREACH), is(syscall.ENETUNREACH):
		return "there is no route to " + peer
	case is(net.ErrClosed):
		return "the connection to " + peer + " was closed on this side"
	case is(syscall.ETIMEDOUT), op.Op == "dial" && op.Timeout():
		return peer + " does not respond"
	case is(os.ErrDeadlineExceeded) && op.Op == "read":
		return peer + " sent nothing in time"
	case is(os.ErrDeadlineExceeded) && op.Op == "write":
		return peer + " accepted nothing in time"
	case op.Op == "remote error": // an alert of TLS
		return fmt.Sprintf("%s ended TLS: %s", peer, strings.TrimPrefix(op.Err.Error(), "tls: "))
	}
	reason := op.Err.Error()
	if sys := new(os.SyscallError); errors.As(op.Err, &sys) {
		reason = sys.Err.Error()
	}
	return fmt.Sprintf("%s %s: %s", op.Op, peer, reason)
}
