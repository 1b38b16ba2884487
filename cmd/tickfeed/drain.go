package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"tickfeed/cmd/ops"
	"tickfeed/feed/nouns"
	"tickfeed/publisher"
)

// defaultDrain is the time over which a drain spreads the goodbyes if the order names none.
const defaultDrain = 10 * time.Second

// A drainRequest is the body of POST /drain.
type drainRequest struct {
	Over string `json:"over"` // a duration such as 10s; empty for defaultDrain
}

// A drainAnswer is the response to it.
type drainAnswer struct {
	Subscribers int           `json:"subscribers"`
	Over        time.Duration `json:"over_ns"`
}

// String describes the drain for people.
func (a drainAnswer) String() string {
	if a.Subscribers == 0 {
		return "draining: there are no subscribers, and the process ends now"
	}
	return fmt.Sprintf("draining %s over %v; the process then ends", nouns.Count(a.Subscribers, "subscriber"), a.Over)
}

// drainRoute returns POST /drain. It does not wait for the end of the drain.
func (s *service) drainRoute() ops.Route {
	return ops.Route{Name: "drain", Effect: true, Do: func(_ context.Context, body []byte) (any, error) {
		q, err := ops.Read[drainRequest](body)
		if err != nil {
			return nil, err
		}
		over := defaultDrain
		if q.Over != "" {
			if over, err = time.ParseDuration(q.Over); err != nil || over < 0 || over > publisher.MaxDrain {
				return nil, ops.BadRequest("over: want a duration from 0s to %v, such as 10s, got %q", publisher.MaxDrain, q.Over)
			}
		}
		d := drainage{over: over, subscribers: s.pub.Summary().Subscribers}
		if d.run, err = s.pub.Drain(over); errors.Is(err, publisher.ErrDraining) {
			return nil, &ops.Error{Status: http.StatusConflict, Err: errors.New("this publisher is being drained already; SIGTERM ends it at once")}
		} else if err != nil {
			return nil, err
		}
		s.drains <- d
		return drainAnswer{d.subscribers, over}, nil
	}}
}

// A drainage is a drain that was ordered.
type drainage struct {
	over        time.Duration
	subscribers int
	run         func(context.Context) error // see publisher.Publisher.Drain
}

// drain waits for an order to drain, drains the publisher, and returns errOver. Publishing continues meanwhile.
func (s *service) drain(ctx context.Context) error {
	var d drainage
	select {
	case d = <-s.drains:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	notify(s.log, stateDraining(d.over))
	s.say("draining", drainAnswer{d.subscribers, d.over}.String(), "subscribers", d.subscribers, "over", d.over.String())
	if err := d.run(ctx); err != nil {
		return context.Cause(ctx)
	}
	return errOver
}
