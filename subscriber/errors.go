package subscriber

import (
	"errors"
	"fmt"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/neterror"
	"tickfeed/feed"
	"tickfeed/feed/nouns"
)

// Errors that a *RefusedError matches with errors.Is.
var (
	ErrUnauthorized = errors.New("credentials missing or wrong")
	ErrVersion      = errors.New("no common protocol version")
)

// ErrSilent ends a connection on which nothing was heard for three heartbeat intervals. It is retried.
var ErrSilent = errors.New("nothing heard for three heartbeat intervals")

// ErrRunning is returned by Run if another Run of the same Subscriber has not returned.
var ErrRunning = errors.New("subscriber: Run is running already")

// A RefusedError is the publisher's refusal or goodbye. Run returns it if Retry is false, whatever Code is.
type RefusedError struct {
	Addr       string
	Code       codec.Code
	Text       string // the publisher's explanation, for people
	Retry      bool
	RetryAfter time.Duration
	Goodbye    bool // the publisher had welcomed the subscriber before
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

// Is reports whether target is ErrUnauthorized or ErrVersion and Code agrees.
func (e *RefusedError) Is(target error) bool {
	return target == ErrUnauthorized && e.Code == codec.CodeUnauthorized || target == ErrVersion && e.Code == codec.CodeVersion
}

// A TLSError reports that the publisher at Addr cannot be reached over TLS, or refused the certificate of the subscriber. It is
// retried, since certificates are renewed. Err is a *certs.Error, which says what to do.
type TLSError struct {
	Addr string
	Err  error
}

func (e *TLSError) Error() string { return e.Addr + ": " + neterror.Plain(e.Err).Error() }

func (e *TLSError) Unwrap() error { return e.Err }

// A GiveUpError is returned by Run after Config.MaxAttempts failed attempts in a row.
type GiveUpError struct {
	Attempts int
	Last     error // why the last attempt failed
}

func (e *GiveUpError) Error() string {
	return fmt.Sprintf("gave up after %s: %v", nouns.Count(e.Attempts, "attempt"), neterror.Plain(e.Last))
}

func (e *GiveUpError) Unwrap() error { return e.Last }

// A ProtocolError reports that the publisher sent something that PROTOCOL.md does not allow. It ends the connection; the
// subscriber reconnects and resumes.
type ProtocolError struct {
	What string // the message that arrived, and the one that was due
	// Missing holds the missing numbers if the error is a gap; otherwise it is empty.
	Missing feed.Range
	Err     error // the error from codec or feed, or nil
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

// A handlerError carries an error of the application through the loop to Run.
type handlerError struct{ err error }

func (e *handlerError) Error() string { return e.err.Error() }

// stopped is returned by the handler of Ticks if only the first taken ticks of its batch were used.
type stopped struct{ taken int }

func (stopped) Error() string { return "iteration stopped" }
