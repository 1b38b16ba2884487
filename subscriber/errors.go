package subscriber

import (
	"errors"
	"fmt"
	"time"

	"tickfeed/codec"
	"tickfeed/feed"
)

// Conditions that a *RefusedError matches by errors.Is.
var (
	ErrUnauthorized = errors.New("credentials missing or wrong")
	ErrVersion      = errors.New("no common protocol version")
)

// ErrSilent ends a connection on which nothing was heard for three heartbeat intervals. It is retried.
var ErrSilent = errors.New("nothing heard for three heartbeat intervals")

// ErrRunning is returned by Run while another Run of the same Subscriber has not returned.
var ErrRunning = errors.New("subscriber: Run is running already")

// A RefusedError is the publisher's refusal or goodbye. Run returns it if its Retry is false, whatever its Code is.
type RefusedError struct {
	Addr       string
	Code       codec.Code
	Text       string // for a person, from the publisher
	Retry      bool
	RetryAfter time.Duration
	Goodbye    bool // it came on an accepted connection
}

func (e *RefusedError) Error() string {
	verb := "refused"
	if e.Goodbye {
		verb = "said goodbye"
	}
	if e.Text == "" {
		return fmt.Sprintf("%s %s: %v", e.Addr, verb, e.Code)
	}
	return fmt.Sprintf("%s %s: %v: %s", e.Addr, verb, e.Code, e.Text)
}

// Is matches ErrUnauthorized and ErrVersion by the code.
func (e *RefusedError) Is(target error) bool {
	return target == ErrUnauthorized && e.Code == codec.CodeUnauthorized || target == ErrVersion && e.Code == codec.CodeVersion
}

// A GiveUpError is what Run returns after Config.MaxAttempts failed attempts in a row.
type GiveUpError struct {
	Attempts int
	Last     error // why the last one failed
}

func (e *GiveUpError) Error() string {
	attempts := "1 attempt"
	if e.Attempts != 1 {
		attempts = fmt.Sprintf("%d attempts", e.Attempts)
	}
	return fmt.Sprintf("gave up after %s: %v", attempts, e.Last)
}

func (e *GiveUpError) Unwrap() error { return e.Last }

// A ProtocolError is something that the publisher sent and PROTOCOL.md does not allow. It ends the connection, and the
// subscriber reconnects and resumes.
type ProtocolError struct {
	What string // what came, and what was due
	// Missing is the numbers that a gap left out; empty if it was no gap.
	Missing feed.Range
	Err     error // what codec or feed said, or nil
}

func (e *ProtocolError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("protocol: %s: %v", e.What, e.Err)
	}
	return "protocol: " + e.What
}

func (e *ProtocolError) Unwrap() error { return e.Err }

func violation(format string, args ...any) *ProtocolError {
	return &ProtocolError{What: fmt.Sprintf(format, args...)}
}

// errCovered ends Run at Config.Until.
var errCovered = errors.New("everything that was asked for has come")

// A handlerError carries the application's error through the loop.
type handlerError struct{ err error }

func (e *handlerError) Error() string { return e.err.Error() }

// stopped is what the handler of Ticks returns: of its batch, only the first taken ticks were used.
type stopped struct{ taken int }

func (stopped) Error() string { return "iteration stopped" }
