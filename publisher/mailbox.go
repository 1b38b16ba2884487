package publisher

import (
	"errors"
	"slices"
	"sync"
	"time"

	"tickfeed/codec"
)

// A mailbox passes what the reader of a connection receives to the writer, and records whether a writer runs. The
// zero mailbox is empty. Its methods are safe for concurrent use and never wait.
type mailbox struct {
	mu          sync.Mutex
	writing     bool               // a writer is running
	again       bool               // the writer must look at the connection again before it ends
	requests    []*codec.Subscribe // at most maxSubscribe
	changes     changeRate
	timed       bool           // a timer will call the writer when a filter change may be made
	gone        error          // errClientLeft or errLost: the client has left, so no goodbye is sent
	bye         *codec.Goodbye // goodbye with which the reader wants to end the connection
	permit      *Permission    // of the user, as of the last check; nil without Config.Authorize
	changed     bool           // the line does not follow permit yet
	denied      *deniedError   // the user may not connect any more; nil otherwise
	interrupted chan struct{}  // closed when the reader ends or the user is denied; set while the writer is in waitFor
}

// A starter starts the writer of a connection.
type starter interface{ startWriter() }

// callWriter makes the writer look at the connection, and starts it if none is running. It starts the writer before it returns,
// also for another goroutine that calls at the same time, so that the reader can wait for the writer after a call.
func (m *mailbox) callWriter(s starter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.again = true
	if !m.writing {
		m.writing = true
		s.startWriter()
	}
}

// writerMustContinue reports whether the writer must look at the connection, since it was called. If not, no writer runs any more.
func (m *mailbox) writerMustContinue() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writing = m.again
	m.again = false
	return m.writing
}

// queueRequest queues a filter change. It returns false if maxSubscribe changes are queued already.
func (m *mailbox) queueRequest(r *codec.Subscribe) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.requests) == maxSubscribe {
		return false
	}
	m.requests = append(m.requests, r)
	return true
}

// endReader records why the reader has ended: bye is sent to the client or, if bye is nil, the client has left for the reason
// gone.
func (m *mailbox) endReader(bye *codec.Goodbye, gone error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bye, m.gone = bye, gone
	m.interruptLocked()
}

// interrupt closes the channel that watchEnd has returned, as the end of the reader does.
func (m *mailbox) interrupt() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.interruptLocked()
}

func (m *mailbox) interruptLocked() {
	if m.interrupted != nil {
		close(m.interrupted)
		m.interrupted = nil
	}
}

// deny records that the user may not connect any more. It returns false if that is recorded already.
func (m *mailbox) deny(why *deniedError) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.denied != nil {
		return false
	}
	m.denied = why
	m.interruptLocked()
	return true
}

// allow records the permission of the user. It returns false if it is the one that is recorded already.
func (m *mailbox) allow(p *Permission) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.permit == p {
		return false
	}
	m.permit, m.changed = p, true
	return true
}

// newPermit returns the permission that the line must follow, or nil if it does.
func (m *mailbox) newPermit() *Permission {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.changed {
		return nil
	}
	m.changed = false
	return m.permit
}

// endCause returns the reason for which the reader has ended, or nil.
func (m *mailbox) endCause() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.endCauseLocked()
}

func (m *mailbox) endCauseLocked() error {
	switch {
	case m.gone != nil:
		return m.gone
	case m.denied != nil:
		return m.denied
	case m.bye != nil && m.bye.Code == codec.CodeSilent:
		return errSilent
	case m.bye != nil:
		return errors.New(m.bye.Text)
	}
	return nil
}

// clientGone returns errClientLeft or errLost if the client has left, or nil.
func (m *mailbox) clientGone() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.gone
}

// abortCause returns why the message being written is of no use: the client has left, or its user may not connect any more.
func (m *mailbox) abortCause() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone == nil && m.denied != nil {
		return m.denied
	}
	return m.gone
}

// readerGoodbye returns the goodbye with which the reader wants to end the connection, or nil if there is none or the client
// has left.
func (m *mailbox) readerGoodbye() *codec.Goodbye {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone != nil {
		return nil
	}
	return m.bye
}

// nextRequest returns the next filter change that may be made now, or nil. If only the rate of changes keeps the next one
// back, wait is how long, once for each change: the caller must call the writer then.
func (m *mailbox) nextRequest(now time.Duration) (r *codec.Subscribe, wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.requests) == 0 {
		return nil, 0
	}
	if wait = m.changes.wait(now); wait > 0 {
		if m.timed {
			return nil, 0
		}
		m.timed = true
		return nil, wait
	}
	r = m.requests[0]
	m.requests = slices.Delete(m.requests, 0, 1)
	return r, 0
}

// changeMade records a filter change that took the given number of steps.
func (m *mailbox) changeMade(now time.Duration, steps int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.timed = false
	m.changes.made(now, steps)
}

// watchEnd returns a channel that is closed when the reader ends, and by interrupt. It returns nil if the reader has ended. The caller must
// call unwatchEnd.
func (m *mailbox) watchEnd() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.endCauseLocked() != nil {
		return nil
	}
	m.interrupted = make(chan struct{})
	return m.interrupted
}

func (m *mailbox) unwatchEnd() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.interrupted = nil
}

// Bounds on how often a client may change its filter. Changes above them wait, while the line continues.
const (
	changePause = 100 * time.Millisecond // average time between changes
	changeBurst = maxSubscribe           // changes that may be made at once
	changeShare = 10                     // the pause is at least this many times as long as the change took
	stepTime    = time.Nanosecond        // approximate duration of one step of a filter
)

// A changeRate bounds the rate of filter changes. It reads no clock.
type changeRate struct{ paid time.Duration } // paid is when the cost of past changes is paid off

// wait returns how long the next change must wait; it may be made at once if the result is not positive.
func (r *changeRate) wait(now time.Duration) time.Duration {
	return r.paid - changeBurst*changePause - now + 1
}

// made records a change that took the given number of steps.
func (r *changeRate) made(now time.Duration, steps int) {
	r.paid = max(r.paid, now) + max(changePause, changeShare*time.Duration(steps)*stepTime)
}
