//go:build unix

package publisher

import (
	"errors"
	"sync"
	"syscall"
)

// rawTryWriter returns a function that writes to the socket directly, because a write through the poller of the
// runtime would wait.
func rawTryWriter(raw syscall.RawConn) func([]byte) (int, error) {
	return func(p []byte) (int, error) {
		w := rawWrites.Get().(*rawWrite)
		defer rawWrites.Put(w)
		w.b = p
		err := raw.Write(w.once)
		w.b = nil
		switch {
		case err != nil:
			return 0, err
		case errors.Is(w.err, syscall.EAGAIN):
			return 0, nil
		case w.err != nil:
			return max(w.n, 0), w.err
		}
		return w.n, nil
	}
}

// A rawWrite is one write. rawWrites are pooled: a new one for each write would be garbage, and one per connection
// would cost memory ("tickfeed bench memory").
type rawWrite struct {
	once func(fd uintptr) bool
	b    []byte
	n    int
	err  error
}

var rawWrites = sync.Pool{New: func() any {
	w := new(rawWrite)
	w.once = func(fd uintptr) bool {
		for {
			w.n, w.err = writeNow(fd, w.b)
			if !errors.Is(w.err, syscall.EINTR) {
				return true
			}
		}
	}
	return w
}}

// awaitBytes waits until a read would return data or an error. It needs no buffer and little stack.
func awaitBytes(raw syscall.RawConn) error { return raw.Read(readable) }

func readable(fd uintptr) bool {
	var b [1]byte
	for {
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		if err != syscall.EINTR {
			return err != syscall.EAGAIN
		}
	}
}
