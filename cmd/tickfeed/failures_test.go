package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/publisher"
	"tickfeed/subscriber"
)

// answering listens until the test ends, and answers each connection with what answer writes.
func answering(t *testing.T, answer func(net.Conn)) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			answer(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

// A failure that keeps a subscriber or a recorder from its first tick is reported at once, with the address and the cause.
func TestFailuresAreSaid(t *testing.T) {
	nobody := answering(t, func(net.Conn) {})
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed.Close()
	busy := serve(t, publisher.Config{MaxConnections: 1}, "127.0.0.1:0")
	first := startCommand(t, t.TempDir(), "subscribe", busy.addr)
	first.says(t, "live: receiving")
	hello := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = io.WriteString(c, text)
			_, _ = io.Copy(io.Discard, io.LimitReader(c, 16)) // else the answer may be lost with the reset
		}
	}
	for name, test := range map[string]struct {
		addr, says string
		code       int
	}{
		"refused dial": {closed.Addr().String(), `cannot connect to ADDR: connection refused; trying again until it answers`, exitFailure},
		"SSH":          {answering(t, hello("SSH-2.0-OpenSSH_9.6\r\n")), `protocol: ADDR does not speak tickfeed \(it is an SSH server\).*; trying again until`, exitFailure},
		"HTTP":         {answering(t, hello("HTTP/1.1 400 Bad Request\r\n\r\n")), `protocol: ADDR does not speak tickfeed \(it is an HTTP server: connect to the address of the feed, which is that of --listen of the publisher, not of --http\).*; trying again until`, exitFailure},
		"no welcome":   {nobody, `(ADDR closed the connection without a welcome|ADDR: no welcome: .*reset.*); trying again until`, exitFailure},
		"busy":         {busy.addr, `ADDR refused: busy.*; trying again until`, exitFailure},
	} {
		t.Run(name, func(t *testing.T) {
			pattern := "(?m)^" + strings.ReplaceAll(test.says, "ADDR", test.addr)
			startCommand(t, t.TempDir(), "subscribe", test.addr).says(t, pattern)
			startCommand(t, t.TempDir(), "record", test.addr, "-o", "a.tick").says(t, pattern)

			once := startCommand(t, t.TempDir(), "subscribe", test.addr, "--max-attempts", "1")
			require.Equal(t, test.code, once.exit(t))
			assert.Contains(t, once.err.String(), "gave up after 1 attempt: ")
			assert.NotContains(t, once.err.String(), "trying again")
		})
	}
	gone := filepath.Join(t.TempDir(), "p.sock")
	startCommand(t, t.TempDir(), "subscribe", "unix:"+gone).says(t, "cannot connect to unix:.*: there is no such socket; trying again")
}

// The same failure of an address is reported again after 10 s, 20 s and so on up to ten minutes; another reason, or the
// same one after a welcome, at once. A refusal that ends the command is its error.
func TestFailuresSchedule(t *testing.T) {
	var said []string
	r := new(receiver)
	f := failures{say: func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }}
	refused := errors.New("cannot connect to a:1: connection refused")
	now := time.Unix(0, 0)
	var at []int
	for i := range 4000 {
		before := len(said)
		f.failed(r, "a:1", refused, now.Add(time.Duration(i)*time.Second))
		if len(said) > before {
			at = append(at, i)
		}
	}
	assert.Equal(t, []int{0, 10, 30, 70, 150, 310, 630, 1230, 1830, 2430, 3030, 3630}, at)
	said = nil
	f.failed(r, "a:1", errors.New("a:1 closed the connection without a welcome"), now)
	f.failed(r, "b:1", &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}, now)
	f.failed(r, "c:1", &subscriber.TLSError{Addr: "c:1", Err: &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}}, now)
	f.connected(r, "a:1")
	f.failed(r, "a:1", errors.New("a:1 closed the connection without a welcome"), now)
	f.failed(r, "a:1", &subscriber.RefusedError{Addr: "a:1", Code: codec.CodeUnauthorized}, now)
	const advice = "; trying again until it answers (--max-attempts N would give up)"
	assert.Equal(t, []string{"a:1 closed the connection without a welcome" + advice, "b:1: no welcome: the peer reset the connection" + advice,
		"c:1: the peer reset the connection" + advice,
		"a:1 closed the connection without a welcome" + advice}, said)

	said = nil
	three := failures{say: f.say, maxAttempts: 3}
	three.failed(r, "a:1", refused, now)
	assert.Equal(t, []string{"cannot connect to a:1: connection refused; trying again, 3 times in all"}, said)
}

// Reasons that alternate have a schedule each, and so has the same reason of another address. Of many connections that
// failed at an address, the first that succeeds does not begin the schedules of the others anew; the last one does.
func TestFailuresThatAlternate(t *testing.T) {
	var said []string
	f := failures{say: func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }}
	refused, reset := errors.New("refused by a:1 and b:1"), errors.New("reset by a:1 and b:1")
	first, second := new(receiver), new(receiver)
	now := time.Unix(0, 0)
	for range 8 {
		for _, addr := range []string{"a:1", "b:1"} {
			f.failed(first, addr, refused, now)
			f.failed(second, addr, reset, now)
		}
		now = now.Add(time.Second)
	}
	assert.Len(t, said, 4)
	f.connected(first, "a:1")
	f.failed(second, "a:1", reset, now)
	f.failed(first, "a:1", refused, now)
	assert.Len(t, said, 4, "the second connection still fails")
	f.connected(first, "a:1")
	f.connected(second, "a:1")
	f.failed(second, "a:1", reset, now)
	assert.Len(t, said, 5, "all connections had succeeded")
	f.failed(second, "b:1", reset, now)
	assert.Len(t, said, 5, "but not at the other address")
	for i := range 100 {
		f.failed(first, "b:1", fmt.Errorf("b:1 says %d", i), now)
	}
	assert.Len(t, f.outages["b:1"].failures, maxReasons)
}

// --max-backoff bounds the waits of subscribe and record, so that an outage costs little more than it lasts.
func TestMaxBackoff(t *testing.T) {
	for _, args := range [][]string{{"subscribe"}, {"record", "-o", "a.tick"}} {
		dir := t.TempDir()
		closed, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		closed.Close()
		c := startCommand(t, dir, append(args, closed.Addr().String(), "--max-backoff", "1ms", "--max-attempts", "200")...)
		require.Equal(t, exitFailure, c.exit(t)) // with the usual waits it takes more than an hour
		assert.Contains(t, c.err.String(), "gave up after "+strconv.Itoa(200)+" attempts")
		for _, bad := range []string{"0", "-1s", "999us"} {
			c := startCommand(t, dir, append(args, "--max-backoff", bad)...)
			require.Equal(t, exitUsage, c.exit(t))
			assert.Contains(t, c.err.String(), "--max-backoff must be from 1ms to ")
		}
	}
}
