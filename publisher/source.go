package publisher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"tickfeed/feed"
)

// A Pace is the speed at which a source is published, on an absolute schedule: a delay is made up for and does not
// accumulate. The zero Pace publishes as fast as possible.
type Pace struct {
	// Rate is ticks per second, evenly spaced.
	Rate float64
	// Speed is seconds of event time per second; ignored if Rate is not 0. No tick is early. A tick whose event time
	// is earlier than the last one is due at once.
	Speed float64
}

// feedBatch is how many ticks Feed reads from a source at a time.
const feedBatch = 256

// catchUp is how far a paced source may be behind its schedule before the schedule is moved to the current time.
const catchUp = time.Second

// Feed publishes the ticks of src until src ends, and returns how many numbers were given to them: a definition that
// is already known gets no number. Instruments of src get ids of the publisher as they are defined. Feed does not
// close src. It returns the errors of src and of Publish, or ctx.Err(); nil at the end of src.
//
// If src has a method Reached() int64, its Next may return no tick and no error. Feed then calls Next again when the event time
// that Reached returns is due, so that what is asked of src meanwhile happens at that time, and not with its next tick.
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
		if c, ok := src.(interface{ Reached() int64 }); ok && n == 0 && err == nil {
			if err := f.await(ctx, c.Reached()); err != nil {
				return f.ticks, err
			}
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
	ids   []feed.InstrumentID // ids of the publisher, by ids of the source
	ticks uint64
	timer *time.Timer

	begun     bool
	start     time.Time // start of the schedule
	scheduled uint64    // ticks since start
	from      int64     // event time at start
	latest    time.Time // due time of the last tick
}

// feed publishes a batch of the source's ticks, each when it is due.
func (f *feeder) feed(ctx context.Context, batch []feed.Tick) error {
	ready := 0 // ticks of batch[:ready] are published
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

// due returns when t is to be published.
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

// await waits until an event time at which there is no tick.
func (f *feeder) await(ctx context.Context, at int64) error {
	if f.pace.Rate > 0 || f.pace.Speed == 0 { // the pace is not that of event times
		return nil
	}
	now := time.Now()
	due := f.due(&feed.Tick{EventTime: at}, now)
	if !due.After(now) {
		return nil
	}
	return f.wait(ctx, due)
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

// define defines the instrument in the publisher and records its id there.
func (f *feeder) define(ctx context.Context, t *feed.Tick) error {
	d := t.Definition()
	if d == nil {
		return errors.New("source: a definition tick without a definition")
	}
	if int(t.Instrument) > len(f.ids) {
		return fmt.Errorf("source: instrument %d is defined out of order, after %d others", t.Instrument, len(f.ids))
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
	if published { // otherwise the definition was known already, and no number was given
		f.ticks++
	}
	return nil
}
