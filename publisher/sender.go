package publisher

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/liveness"
)

// A sender writes to the socket of one connection; nothing else does. It belongs to the goroutine that holds the turn
// of the connection, except bytes, crowd, relieve and isCrowded, which are safe for concurrent use.
type sender struct {
	nc    net.Conn
	try   func([]byte) (int, error) // writes what fits without waiting; nil if nc cannot do that
	holds func() bool               // nc has taken bytes that the socket has not; always false without TLS
	alive *liveness.Monitor
	clock *clock

	buf      []byte // memory of rest, and scratch memory for what is sent next; nil until needed
	rest     []byte // bytes that the client did not take at once, for the writer or the next round of the pump
	restTime int64  // publish time of the first packet in rest or, if there is no rest, in what nc holds
	failed   error  // error of a write that did not wait
	unsent   []byte // rest of the message that was begun when a write that waited gave up
	crowded  atomic.Bool
	bytes    atomic.Uint64 // written
}

func newSender(nc net.Conn, raw rawSocket, alive *liveness.Monitor, c *clock) sender {
	holds := func() bool { return false }
	if secure, ok := nc.(*secureConn); ok {
		holds = secure.holds
	}
	return sender{nc: nc, try: tryWriter(nc, raw), holds: holds, alive: alive, clock: c}
}

// behind reports whether the client has not taken everything: the writer or the next round of the pump must go on.
func (s *sender) behind() bool { return s.rest != nil || s.holds() }

// sent records that packets of publish time time were taken as a whole.
func (s *sender) sent(time int64) {
	if s.rest == nil {
		s.restTime = time
	}
}

// write is the one path to the socket: it writes b until the time until, or what fits without waiting if until is zero.
// If n is less than len(b) without an error, the client takes no more for now.
func (s *sender) write(b []byte, until time.Time) (n int, err error) {
	if until.IsZero() {
		n, err = s.try(b)
	} else {
		_ = s.nc.SetWriteDeadline(until)
		if n, err = s.nc.Write(b); errors.Is(err, os.ErrDeadlineExceeded) {
			err = nil
		}
	}
	s.bytes.Add(uint64(n))
	if n == len(b) && err == nil {
		s.alive.Spoke(s.clock.now())
	}
	return n, err
}

// ready removes the deadline of the last write: a deadline that has passed would fail the next write that does not wait.
func (s *sender) ready() { _ = s.nc.SetWriteDeadline(time.Time{}) }

// now writes as much of b as the client takes without waiting and returns the number of bytes, len(b) if the write
// failed.
func (s *sender) now(b []byte) int {
	if len(b) == 0 && !s.holds() {
		return 0
	}
	n, err := s.write(b, time.Time{})
	if err != nil {
		s.failed = err
		return len(b)
	}
	return n
}

// soon writes as much of b as the client takes within d.
func (s *sender) soon(b []byte, d time.Duration) (n int, err error) {
	defer s.ready()
	return s.write(b, time.Now().Add(d))
}

// wait writes all of b. Each time the client has not taken the next chunk for step, it calls check, and gives up if
// that returns an error; the rest of b is then in unsent.
func (s *sender) wait(b []byte, step time.Duration, check func() error) error {
	defer s.ready()
	for len(b) > 0 || s.holds() {
		chunk := b[:min(len(b), chunkTarget)]
		n, err := s.write(chunk, time.Now().Add(step))
		b = b[n:]
		switch {
		case err != nil:
			return err
		case n == len(chunk) && !s.holds():
			continue
		}
		if err := check(); err != nil {
			s.unsent = b
			return err
		}
	}
	return nil
}

// last writes the rest of the message that was begun and then m, and closes the connection for writing. It returns
// false if the client has not taken them by until. Each time the client takes nothing for step, it calls check, which
// returns false to give up, or a new until. Closing a connection with unread bytes from the client would reset it, and
// m would be lost: the caller must read until the client closes.
func (s *sender) last(m codec.Message, until time.Time, step time.Duration, check func(time.Time) (time.Time, bool)) (said bool) {
	b, err := codec.Append(nil, m)
	if err != nil {
		return false
	}
	unsent := s.unsent
	s.unsent = nil
	for _, b := range [][]byte{unsent, b} {
		for len(b) > 0 || s.holds() {
			n, err := s.write(b, soonest(until, time.Now().Add(step)))
			if err != nil {
				return false
			}
			if b = b[n:]; len(b) == 0 && !s.holds() {
				break
			}
			ok := true
			if until, ok = check(until); !ok || !time.Now().Before(until) {
				return false
			}
		}
	}
	if w, ok := s.nc.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	}
	return true
}

func soonest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// keep copies what the client did not take, for the writer or for the next round of the pump. time is the publish time
// of the packets in rest.
func (s *sender) keep(rest []byte, time int64) {
	if s.rest == nil {
		s.restTime = time
	}
	s.buf = append(append(s.buf[:0], s.rest...), rest...) // s.rest is a part of s.buf
	s.rest = s.buf
}

// writeKept writes kept bytes as far as the client takes them without waiting. It returns false if some are left.
func (s *sender) writeKept() bool {
	if !s.behind() {
		return true
	}
	if s.failed == nil {
		s.rest = s.rest[s.now(s.rest):]
	}
	if len(s.rest) > 0 || s.holds() {
		return false
	}
	s.rest = nil
	return true
}

// scratch keeps the memory of data, which was made in buf, for the next message.
func (s *sender) scratch(data []byte) {
	if cap(data) > cap(s.buf) {
		s.buf = data[:0]
	}
}

// trim cuts unsent, the end of sent, to the rest of the message that was begun, and copies it, so that sent can be freed.
func (s *sender) trim(sent []byte) {
	if len(s.unsent) > 0 {
		s.unsent = slices.Clone(s.unsent[:untilMessageOf(sent, len(sent)-len(s.unsent))])
	}
}

// untilMessageOf returns the number of bytes from offset n to the end of the message that n is in; 0 if a message
// begins at n.
func untilMessageOf(messages []byte, n int) int {
	end := 0
	for end < n {
		size := codec.PartSize(messages[end:])
		if size == 0 {
			var err error
			if size, err = codec.MessageSize(messages[end:]); err != nil || size == 0 {
				panic(fmt.Sprintf("publisher: internal error: no message at %d of %d", end, len(messages)))
			}
		}
		end += size
	}
	return end - n
}

// crowd makes the writer give up a snapshot that the client does not read.
func (s *sender) crowd() {
	s.crowded.Store(true)
	_ = s.nc.SetWriteDeadline(time.Now()) // wakes the writer
}

// relieve takes back crowd.
func (s *sender) relieve() {
	if s.crowded.Swap(false) {
		s.ready()
	}
}

func (s *sender) isCrowded() bool { return s.crowded.Load() }
