package lab

import (
	"io"
	"sync"
)

// Bounds of the bytes that a link has read from the publisher and not passed on.
const (
	maxAhead  = 8 << 20 // while a rule holds them back
	restAhead = 1       // otherwise: one read, so that the publisher notices a client that reads slowly
)

// A readAhead reads from a connection before its user does: what the publisher has sent is not lost if it closes, and the
// system resets the connection, while a rule holds the bytes back.
type readAhead struct {
	from io.Reader
	done sync.WaitGroup

	mu      sync.Mutex
	changed sync.Cond
	held    []byte
	err     error
	holding bool // a rule holds the bytes back
	ended   bool // the user reads no more
}

func newReadAhead(from io.Reader) *readAhead {
	r := &readAhead{from: from}
	r.changed.L = &r.mu
	r.done.Go(r.run)
	return r
}

func (r *readAhead) run() {
	b := make([]byte, 64<<10)
	for {
		n, err := r.from.Read(b)
		r.mu.Lock()
		r.held = append(r.held, b[:n]...)
		r.err = err
		r.changed.Broadcast()
		for len(r.held) >= r.mostLocked() && !r.ended {
			r.changed.Wait()
		}
		ended := r.ended
		r.mu.Unlock()
		if err != nil || ended {
			return
		}
	}
}

func (r *readAhead) mostLocked() int {
	if r.holding {
		return maxAhead
	}
	return restAhead
}

// hold notes that a rule holds the bytes back from now on, or no more.
func (r *readAhead) hold(holding bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holding = holding
	r.changed.Broadcast()
}

// Read returns what was read ahead, and then the error that ended the connection.
func (r *readAhead) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.held) == 0 && r.err == nil {
		r.changed.Wait()
	}
	if len(r.held) == 0 {
		return 0, r.err
	}
	n := copy(p, r.held)
	if r.held = r.held[n:]; len(r.held) == 0 {
		r.held = nil
	}
	r.changed.Broadcast()
	return n, nil
}

// wait ends reading; the connection must be closed.
func (r *readAhead) wait() {
	r.mu.Lock()
	r.ended = true
	r.changed.Broadcast()
	r.mu.Unlock()
	r.done.Wait()
}
