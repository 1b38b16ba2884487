package publisher

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"tickfeed/codec"
)

// MaxDismissal bounds how long Dismiss may take.
const MaxDismissal = time.Hour

// ErrDismissing reports that the subscribers are being dismissed already.
var ErrDismissing = errors.New("publisher: the subscribers are being dismissed already")

// Dismiss empties the publisher before a restart. When it returns, clients that log in are refused. The caller then calls
// run, which sends each subscriber the remaining data, for a bounded time, and a goodbye, one after the other, evenly spread
// over the given time. Publishing goes on. Clients are asked not to come back to this address before the same time has passed
// again, so that their returns to the next process are spread as well, and Config.RetryAfter is added as at a shutdown.
//
// run returns when the last goodbye is due; the caller then ends Serve, which waits for it. It returns ctx.Err() if ctx ends
// first. The error is ErrDismissing if Dismiss was called before: a publisher is dismissed once and for good.
func (p *Publisher) Dismiss(over time.Duration) (run func(ctx context.Context) error, err error) {
	over = min(max(over, 0), MaxDismissal)
	all, err := p.serving.roster.dismiss(&dismissal{over: over, spread: p.cfg.RetryAfter})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return stopOver(ctx, all, over) }, nil
}

// stopOver lets connections leave one after the other, evenly spread over a time.
func stopOver(ctx context.Context, all []*conn, over time.Duration) error {
	began := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i, c := range all {
		timer.Reset(time.Until(began.Add(over / time.Duration(len(all)) * time.Duration(i))))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		c.stop(errDismissed)
	}
	return nil
}

// errDismissed is the cause with which a dismissal ends a connection.
var errDismissed = errors.New(restartText)

// Kick ends the connection with that number (see ConnStats) like a shutdown, and asks the client to come back after a second. It
// returns false if there is no such connection.
func (p *Publisher) Kick(number uint64) bool {
	for _, c := range p.serving.roster.all() {
		if c.client.number == number {
			c.stop(errKicked)
			return true
		}
	}
	return false
}

// kickedWait is how long a client that was kicked is asked to wait before it reconnects.
const kickedWait = time.Second

// errKicked is the cause with which Kick ends a connection.
var errKicked = errors.New("the operator of the publisher ended this connection")

// A dismissal is how clients are asked to leave by Dismiss.
type dismissal struct{ over, spread time.Duration }

// retryAfter returns how long a client is asked to wait before it comes back.
func (d *dismissal) retryAfter(chance *rand.Rand) time.Duration {
	if d.spread <= 0 {
		return d.over
	}
	return d.over + time.Duration(chance.Int64N(int64(d.spread)))
}

// refusal returns the refusal of a client that logs in.
func (d *dismissal) refusal(chance *rand.Rand) *codec.Refusal {
	return &codec.Refusal{Code: codec.CodeShutdown, Text: restartText, Retry: true, RetryAfter: d.retryAfter(chance)}
}

// restartText is the text of the goodbye to dismissed clients.
const restartText = "the publisher restarts"
