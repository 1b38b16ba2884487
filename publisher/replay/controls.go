package replay

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// call makes Run call do between two ticks, and waits for the result.
func (p *Player) call(ctx context.Context, do func(context.Context) error) error {
	result := make(chan error, 1)
	select {
	case p.commands <- func(running context.Context) {
		err := do(running)
		p.note()
		result <- err
	}:
	case <-p.done:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-result: // always arrives: Run runs every command that it has received
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// recorded returns the recorded time at now.
func (p *Player) recorded(now time.Time) int64 {
	t := p.head.due
	if p.clock.speed == Max || p.paused.on || p.over {
		return t
	}
	next := t
	if p.head.full && p.head.unit.kind == unitTicks && p.head.at < len(p.head.unit.ticks) {
		next = p.head.unit.dues[p.head.at]
	} else if p.head.full {
		next = p.head.unit.due
	}
	return max(t, min(p.clock.now(now), next))
}

// Pause stops the recorded time. It returns ErrStopped or the cause of ctx, as do Resume, Step, SetSpeed and Seek.
func (p *Player) Pause(ctx context.Context) error {
	return p.call(ctx, func(context.Context) error { p.pause(); return nil })
}

func (p *Player) pause() {
	if p.paused.on {
		return
	}
	p.head.due = p.recorded(time.Now())
	p.paused.on = true
}

// Resume continues a paused replay, and drops the rest of a step.
func (p *Player) Resume(ctx context.Context) error {
	return p.call(ctx, func(context.Context) error {
		if !p.paused.on {
			return nil
		}
		now := time.Now()
		if p.cfg.StartAt.After(now) {
			now = p.cfg.StartAt
		}
		p.paused.on, p.paused.steps = false, 0
		p.clock.anchor(now, p.head.due)
		return nil
	})
}

// MaxStep is the greatest number of ticks that steps may have left to play.
const MaxStep = 1_000_000

// A StepError reports a step that exceeds MaxStep.
type StepError struct {
	N, Pending uint64 // ticks requested; ticks of earlier steps still to be played
}

func (e *StepError) Error() string {
	if e.Pending > 0 {
		return fmt.Sprintf("a step has at most %d ticks, together with the %d of steps before that are not played yet; got %d", MaxStep, e.Pending, e.N)
	}
	return fmt.Sprintf("a step has at most %d ticks, got %d; to play on, resume", MaxStep, e.N)
}

// Step pauses, and plays n more ticks. It waits until they were played, or until the end, a seek or Resume leaves
// none of them to play. It returns a *StepError, and does nothing, if there are too many. While the replay waits for
// subscribers at the end of a round, Step returns at once, and its ticks are the first of the next round.
func (p *Player) Step(ctx context.Context, n uint64) error {
	played := make(chan struct{})
	if err := p.call(ctx, func(context.Context) error {
		if n > MaxStep || p.paused.steps+n > MaxStep {
			return &StepError{n, p.paused.steps}
		}
		p.pause()
		p.paused.steps += n
		if p.cut != nil { // the next round plays them, once its subscribers are ready
			close(played)
			return nil
		}
		p.paused.stepped = append(p.paused.stepped, played)
		return nil
	}); err != nil {
		return err
	}
	select {
	case <-played:
		return nil
	case <-p.done:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// SetSpeed changes the speed, with the bounds of Config.Speed. It returns an error if speed is out of bounds.
func (p *Player) SetSpeed(ctx context.Context, speed float64) error {
	if speed != Max && !(speed >= MinSpeed && speed <= MaxSpeed) {
		return fmt.Errorf("a speed must be from %g to %g, or max, got %g", MinSpeed, MaxSpeed, speed)
	}
	return p.call(ctx, func(context.Context) error {
		now := time.Now()
		if p.clock.wall.After(now) { // the replay has not begun
			p.clock.speed = speed
			return nil
		}
		p.clock.anchor(now, p.recorded(now))
		p.clock.speed = speed
		return nil
	})
}

// Seek moves to t in a new session and remains paused if it was paused. It waits until the session has begun. If t is
// outside the recording, it returns a *RangeError and does nothing. An error of the recording or the output also ends
// Run.
func (p *Player) Seek(ctx context.Context, t Target) error {
	return p.call(ctx, func(running context.Context) error {
		if p.cut != nil {
			p.cut()
		}
		p.shown.mu.Lock()
		first := p.shown.status.First
		p.shown.status.State = Seeking
		p.shown.mu.Unlock()
		to := t.resolve(first, p.recorded(time.Now()))
		if err := p.checkRange(to); err != nil {
			if !errors.As(err, new(*RangeError)) {
				p.broken = err
			}
			return err
		}
		p.broken = p.seek(running, to)
		return p.broken
	})
}
