package publisher

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"tickfeed/codec"
)

// MaxDrain bounds how long a drain may take.
const MaxDrain = time.Hour

// ErrDraining reports that the publisher is being drained already.
var ErrDraining = errors.New("publisher: it is being drained already")

// Drain empties the publisher before a restart. When it returns, clients that log in are refused. The caller then calls
// run, which sends each subscriber the remaining data, for a bounded time, and a goodbye, one after the other, evenly spread
// over the given time. Publishing goes on. Clients are asked not to come back to this address before the same time has passed
// again, so that their returns to the next process are spread as well, and Config.RetryAfter is added as at a shutdown.
//
// run returns when the last goodbye is due; the caller then ends Serve, which waits for it. It returns ctx.Err() if ctx ends
// first. The error is ErrDraining if Drain was called before: a publisher is drained once and for good.
func (p *Publisher) Drain(over time.Duration) (run func(ctx context.Context) error, err error) {
	over = min(max(over, 0), MaxDrain)
	all, err := p.serving.roster.drain(&draining{over: over, spread: p.cfg.RetryAfter})
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
		c.stop(errDrained)
	}
	return nil
}

// errDrained is the cause with which a drain ends a connection.
var errDrained = errors.New(restartText)

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

// A draining is how clients are asked to leave by Drain.
type draining struct{ over, spread time.Duration }

// retryAfter returns how long a client is asked to wait before it comes back.
func (d *draining) retryAfter(chance *rand.Rand) time.Duration {
	if d.spread <= 0 {
		return d.over
	}
	return d.over + time.Duration(chance.Int64N(int64(d.spread)))
}

// refusal returns the refusal of a client that logs in.
func (d *draining) refusal(chance *rand.Rand) *codec.Refusal {
	return &codec.Refusal{Code: codec.CodeShutdown, Text: restartText, Retry: true, RetryAfter: d.retryAfter(chance)}
}

// restartText is the text of the goodbye to the clients of a publisher that is drained.
const restartText = "the publisher restarts"
