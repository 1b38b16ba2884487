package publisher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"tickfeed/feed"
)

// A Pace says how fast a source is published, on an absolute schedule: a delay is caught up,
// it does not add up. The zero Pace is as fast as it goes.
type Pace struct {
	// Rate is ticks per second, evenly spaced.
	Rate float64
	// Speed is how many seconds of event time pass in a second; ignored if Rate is not 0.
	// Ticks are never early; event times that go back count as now.
	Speed float64
}

// feedBatch is how many ticks Feed takes from a source at a time.
const feedBatch = 256

// catchUp is how far a paced source may be behind its schedule before it stops trying to
// catch up and goes on from now.
const catchUp = time.Second

// Feed publishes what src yields until it ends, and returns how many numbers were given to it: a definition
// that is known already gets none. Src's
// instruments are made known as they are defined, under the ids that they have here. Feed
// does not close src. The error is src's, Publish's, or ctx.Err(); nil at the end of src.
func (p *Publisher) Feed(ctx context.Context, src feed.Source, pace Pace) (ticks uint64, err error) {
	f := feeder{p: p, pace: pace}
	batch := make([]feed.Tick, feedBatch)
	for {
		if err := ctx.Err(); err != nil {
			return f.ticks, err
		}
		n, err := src.Next(ctx, batch)
		if ferr := f.feed(ctx, batch[:n]); ferr != nil {
			return f.ticks, ferr
		}
		if errors.Is(err, io.EOF) {
			return f.ticks, nil
		} else if err != nil {
			return f.ticks, err
		}
	}
}

type feeder struct {
	p     *Publisher
	pace  Pace
	ids   []feed.InstrumentID // by the source's ids
	ticks uint64
	timer *time.Timer

	begun     bool
	start     time.Time // when the schedule begins
	scheduled uint64    // ticks since start
	from      int64     // event time at start
	latest    time.Time // due time of the last tick
}

// feed publishes a batch of the source's ticks, each when it is due.
func (f *feeder) feed(ctx context.Context, batch []feed.Tick) error {
	ready := 0 // ticks of batch[:ready] are gone
	flush := func(to int) error {
		if to == ready {
			return nil
		}
		err := f.p.Publish(ctx, batch[ready:to])
		var partial *PublishError
		if errors.As(err, &partial) {
			f.ticks += uint64(partial.Published)
			return partial.Err
		}
		f.ticks += uint64(to - ready)
		ready = to
		return err
	}
	now := time.Now()
	for i := range batch {
		t := &batch[i]
		if t.Kind == feed.KindDefinition {
			if err := flush(i); err != nil {
				return err
			}
			if err := f.define(ctx, t); err != nil {
				return err
			}
			ready = i + 1
			continue
		}
		if int(t.Instrument) >= len(f.ids) {
			return fmt.Errorf("source: %v of instrument %d, which it did not define", t.Kind, t.Instrument)
		}
		t.Instrument = f.ids[t.Instrument]
		if f.pace == (Pace{}) {
			continue
		}
		if due := f.due(t, now); due.After(now) {
			if err := flush(i); err != nil {
				return err
			}
			if err := f.wait(ctx, due); err != nil {
				return err
			}
			now = time.Now()
		}
	}
	return flush(len(batch))
}

// due is when t is to be published.
func (f *feeder) due(t *feed.Tick, now time.Time) time.Time {
	if !f.begun {
		f.begun, f.start, f.from = true, now, t.EventTime
	}
	var after time.Duration
	if f.pace.Rate > 0 {
		after = time.Duration(float64(f.scheduled) / f.pace.Rate * float64(time.Second))
		f.scheduled++
	} else {
		after = time.Duration(float64(t.EventTime-f.from) / f.pace.Speed)
	}
	due := f.start.Add(after)
	if due.Before(f.latest) {
		due = f.latest
	}
	f.latest = due
	if behind := now.Sub(due); behind > catchUp {
		f.start = f.start.Add(behind)
		f.latest = now
	}
	return due
}

func (f *feeder) wait(ctx context.Context, until time.Time) error {
	if f.timer == nil {
		f.timer = time.NewTimer(time.Until(until))
	} else {
		f.timer.Reset(time.Until(until))
	}
	select {
	case <-f.timer.C:
		return nil
	case <-ctx.Done():
		f.timer.Stop()
		return ctx.Err()
	}
}

// define gives the source's instrument its id here.
func (f *feeder) define(ctx context.Context, t *feed.Tick) error {
	d := t.Definition()
	if d == nil {
		return errors.New("source: a definition that defines nothing")
	}
	if int(t.Instrument) > len(f.ids) {
		return fmt.Errorf("source: instrument %d is defined after %d others", t.Instrument, len(f.ids))
	}
	id, published, err := f.p.define(ctx, *d, t.EventTime)
	if err != nil {
		return err
	}
	if int(t.Instrument) == len(f.ids) {
		f.ids = append(f.ids, id)
	} else {
		f.ids[t.Instrument] = id
	}
	if published { // else the instrument was known already, and no number was given
		f.ticks++
	}
	return nil
}
