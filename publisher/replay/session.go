package replay

import (
	"context"
	"fmt"
	"time"

	"tickfeed/feed"
)

// A session is what a player knows about the session that it plays.
type session struct {
	started bool   // the clock was set in this session, or a tick was published
	whole   bool   // it began at Config.From
	played  uint64 // ticks in it
	next    uint64 // next number of it
	shift   int64  // what Config.ShiftToNow adds to event times
	skew    int64  // event time minus publish time, if they are of different clocks
}

// end ends the session or, with Config.Loop, begins the next round. It returns an error wrapping ErrEmpty if there is
// no tick between Config.From and Config.To; a seek to a part without ticks is no error.
func (p *Player) end(ctx context.Context) error {
	if p.session.played == 0 && p.session.whole {
		x, err := p.held()
		if err != nil {
			return err
		}
		text := func(t int64) string { return time.Unix(0, t).UTC().Format(time.RFC3339Nano) }
		return fmt.Errorf("%w in that part; by its %s times the recording is from %s to %s", ErrEmpty, p.cfg.Clock, text(x.from), text(x.to))
	}
	if !p.cfg.Loop {
		p.over = true
		return p.out.End(ctx)
	}
	if over, err := p.waitForSubscribers(ctx); !over {
		return err
	}
	return p.round(ctx)
}

// waitForSubscribers waits as Output.WaitForSubscribers does, and runs commands meanwhile. It returns true when the wait has ended, and false
// if it failed, or if a command moved the replay to another place, which makes waiting pointless.
func (p *Player) waitForSubscribers(ctx context.Context) (over bool, err error) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.out.WaitForSubscribers(waiting) }()
	moved := false
	p.cut = func() {
		cancel()
		<-done
		p.cut, moved = nil, true
	}
	defer func() { p.cut = nil }()
	for {
		select {
		case err := <-done:
			return err == nil, err
		case c := <-p.commands:
			if c(ctx); moved {
				return false, nil
			}
		}
	}
}

// round begins a session at Config.From.
func (p *Player) round(ctx context.Context) error {
	steps := p.paused.steps // requested while the last round waited for subscribers
	if err := p.seek(ctx, p.cfg.From); err != nil {
		return err
	}
	p.session.whole, p.paused.steps = true, steps
	return nil
}

// begin begins a session. The times in state must not be shifted.
func (p *Player) begin(ctx context.Context, first uint64, state *feed.State, at int64) error {
	now := time.Now()
	wall := now
	if p.cfg.StartAt.After(now) {
		wall = p.cfg.StartAt
	}
	p.head.part++
	p.session.next = first
	p.clock.anchor(wall, at)
	p.head.due, p.session.started, p.session.played, p.session.shift, p.session.whole = at, false, 0, 0, false
	if p.cfg.ShiftToNow {
		p.look()
		p.session.shift = wall.UnixNano() - at - p.session.skew
		state = restamp(state, p.session.shift)
	}
	p.shown.mu.Lock()
	p.shown.status.Sessions++
	p.shown.mu.Unlock()
	return p.out.Begin(ctx, first, state)
}

// restamp returns state with its times moved by d.
func restamp(state *feed.State, d int64) *feed.State {
	if d == 0 {
		return state
	}
	moved := feed.NewState()
	for t := range state.Entries(nil) {
		if t.EventTime != 0 {
			t.EventTime += d
		}
		if s := t.Summary(); s != nil && s.LastTime != 0 {
			extra, sum := *t.Extra, *s
			sum.LastTime += d
			extra.Summary = &sum
			t.Extra = &extra
		}
		_ = moved.Apply(&t) // cannot fail: it applied to state
	}
	return moved
}
