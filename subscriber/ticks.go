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
	// Definition is the one in force at the tick; it is shared and must not be changed. It is empty if the publisher lost it
	// with a damaged part of its journal.
	*feed.Definition
	Session     feed.SessionID // that numbered the tick
	PublishTime int64          // when the publisher sealed the tick's packet, in nanoseconds since the Unix epoch, UTC
}

// Ticks iterates over ticks: the simple way, without snapshots and changes. It is Run in the form of a loop; the error, if
// there is one, comes with the last element, as the zero tick. A loop that is left has used the ticks that it was given, and
// the next loop goes on behind them. A tick is the caller's to keep; what its Extra points to is shared.
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
			yield(Tick{}, err)
		}
	}
}

// definitions are the definitions in force, by instrument. Those of a batch's State are of its end, so that a tick before a
// new definition in the same batch must not be read by them.
type definitions map[feed.InstrumentID]*feed.Definition

var undefined = &feed.Definition{}

// observe takes all definitions of the state where a loop begins, and where a snapshot has replaced it.
func (d definitions) observe(b *Batch) {
	if b.Change == nil || len(d) > 0 && b.Change.Snapshot == nil {
		return
	}
	clear(d)
	for t := range b.State.Definitions(nil) {
		d.of(&t)
	}
}

// of returns the definition in force at t, which may be one itself.
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
