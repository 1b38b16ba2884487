package subscriber

import (
	"context"
	"errors"
	"iter"

	"tickfeed/feed"
)

// A Tick is a tick with the definition of its instrument, so that t.Symbol and t.Price(t.Quote().Bid) can be printed.
type Tick struct {
	feed.Tick
	// Definition is the definition in force at the tick; it is shared and must not be changed. Ticks never yields nil: the
	// definition is empty with an error, and if the publisher lost it with a damaged part of its journal.
	*feed.Definition
	Session     feed.SessionID // the session that numbered the tick
	PublishTime int64          // when the publisher sealed the tick's packet, in nanoseconds since the Unix epoch, UTC
}

// Ticks calls Run and iterates over the ticks, without snapshots and changes. An error, also that of ctx when it
// ends, is yielded as the last element, with an empty tick. If the loop is left early, the ticks yielded so far count as
// received, and the next loop continues after them. The caller may keep each tick; what its Extra points to is shared.
func (s *Subscriber) Ticks(ctx context.Context) iter.Seq2[Tick, error] {
	return func(yield func(Tick, error) bool) {
		d := definitions{}
		err := s.Run(ctx, func(b *Batch) error {
			d.observe(b)
			if b.Snapshot {
				return nil
			}
			i := 0
			for publish, ticks := range b.ByPublishTime() {
				for _, t := range ticks {
					i++
					if !yield(Tick{Tick: t, Definition: d.of(&t), Session: b.Session, PublishTime: publish}, nil) {
						return stopped{i}
					}
				}
			}
			return nil
		})
		if !errors.As(err, new(stopped)) {
			yield(Tick{Definition: undefined}, err)
		}
	}
}

// definitions holds the definitions in force, by instrument. The State of a batch is the state at its end, so its definitions
// do not apply to a tick that comes before a new definition in the same batch.
type definitions map[feed.InstrumentID]*feed.Definition

var undefined = &feed.Definition{}

// observe takes all definitions from the state at the start of a loop, and after a snapshot has replaced the state.
func (d definitions) observe(b *Batch) {
	if b.Change == nil || len(d) > 0 && b.Change.Snapshot == nil {
		return
	}
	clear(d)
	for t := range b.State.Definitions(nil) {
		d.of(&t)
	}
}

// of returns the definition in force at t. If t is a definition, of records and returns it.
func (d definitions) of(t *feed.Tick) *feed.Definition {
	if def := t.Definition(); def != nil {
		d[t.Instrument] = def
		return def
	}
	if def, ok := d[t.Instrument]; ok {
		return def
	}
	return undefined
}
