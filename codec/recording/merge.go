package recording

import (
	"context"
	"errors"
	"io"
	"math"
	"sync/atomic"

	"tickfeed/codec"
	"tickfeed/feed"
)

// MergeStats is what was merged.
type MergeStats struct {
	Ticks       uint64 // of the new recording
	Instruments int
	Sources     []SourceStats // of each recording
}

// Merge writes the ticks of recordings of any lineages, which are at their beginnings, by their times on clock into a new
// recording of a session of its own, with new numbers, and closes that: tick for tick, in the order in which a replay of them
// plays. On MarketClock each recording has its [Timeline]. On PublishClock a tick is due when it was published; where its packet
// was published with the last of its events, as in what was imported, at its own event time, but not before a tick before it.
// Publish times stay what they are, except that none is before that of an earlier tick.
//
// H is the header of the new recording, a root. Instruments of one symbol and venue are one. Where a recording begins with a
// snapshot, ticks restate the state when its first packet comes, as those of [Source] do. Numbers that one of the recordings had
// withheld or gone, or lost by damage, are so in the new one, and the state as it is known follows; those that were not asked for
// are left out. Read, if it is not nil, is how many bytes were read so far.
//
// The error is ErrEmpty, ctx's, dst's, or what reading gave.
func Merge(ctx context.Context, dst File, h codec.FileHeader, readers []*Reader, clock Clock, read *atomic.Int64) (MergeStats, error) {
	m := &merger{directory: newDirectory(), state: feed.NewState()}
	for _, r := range readers {
		s := NewSource(r)
		s.directory = m.directory
		line, first, err := r.Timeline(clock)
		if err != nil {
			return MergeStats{}, err
		}
		if line.Clock == MarketClock {
			line.At = first // no tick is due before it
		}
		s.line = &line
		m.feeds = append(m.feeds, &merged{Source: s, r: r, batch: make([]feed.Tick, 512)})
	}
	b, err := NewBuilder(dst, h, nil)
	if err != nil {
		return MergeStats{}, err
	}
	m.b = b
	err = m.run(ctx, read)
	stats := MergeStats{Ticks: b.Stats().Ticks, Instruments: len(m.defs)}
	for _, f := range m.feeds {
		stats.Sources = append(stats.Sources, f.Stats())
	}
	if err == nil && stats.Ticks == 0 {
		err = ErrEmpty
	}
	if err != nil {
		return stats, errors.Join(err, b.Close())
	}
	return stats, b.Close()
}

type merger struct {
	*directory
	feeds []*merged
	b     *Builder
	state *feed.State
	told  definitions // as the new recording defined it last
}

// A merged is one of the recordings.
type merged struct {
	*Source
	r     *Reader
	batch []feed.Tick
	i, n  int         // batch[i:n] is still to be written
	own   definitions // as this recording defines it
	fresh bool        // what it defined last was not known before
	seen  SourceStats // holes that were told
	done  bool
}

// definitions are what instruments are, by id; nil where nothing has defined one.
type definitions []*feed.Definition

func (d definitions) of(id feed.InstrumentID) *feed.Definition {
	if int(id) >= len(d) {
		return nil
	}
	return d[id]
}

func (d *definitions) set(id feed.InstrumentID, to *feed.Definition) {
	for int(id) >= len(*d) {
		*d = append(*d, nil)
	}
	(*d)[id] = to
}

// head is when f goes on.
func (f *merged) head() int64 {
	if f.i < f.n {
		return f.dues[f.i]
	}
	return f.line.At
}

// published is when the ticks at hand were published.
func (f *merged) published() int64 {
	if f.line.Clock == PublishClock || f.byEvent && !f.stating {
		return f.head()
	}
	return f.time
}

func (m *merger) run(ctx context.Context, read *atomic.Int64) error {
	for _, f := range m.feeds {
		if err := f.fill(ctx); err != nil {
			return err
		}
	}
	for {
		var next *merged
		total, until := int64(0), int64(math.MaxInt64) // of the others
		for _, f := range m.feeds {
			total += f.r.Offset()
			switch {
			case f.done:
			case next == nil:
				next = f
			case f.head() < next.head():
				next, until = f, next.head()-1 // what is due at the same time comes from the first recording first
			default:
				until = min(until, f.head())
			}
		}
		if read != nil {
			read.Store(total)
		}
		if next == nil {
			return nil
		}
		if err := m.write(next, until); err != nil {
			return err
		}
		if next.i < next.n {
			continue
		}
		if err := next.fill(ctx); err != nil {
			return err
		}
	}
}

// fill reads the next ticks of f.
func (f *merged) fill(ctx context.Context) error {
	n, err := f.Next(ctx, f.batch)
	f.i, f.n = 0, n
	switch {
	case err == io.EOF:
		f.done = n == 0 && f.holes() == (SourceStats{})
		return nil
	case err != nil:
		return err
	}
	return nil
}

// holes is what is missing since it was told.
func (f *merged) holes() SourceStats {
	s := f.Stats()
	return SourceStats{Lost: s.Lost - f.seen.Lost, Expired: s.Expired - f.seen.Expired, Withheld: s.Withheld - f.seen.Withheld}
}

// write writes the holes of f at hand, and its ticks that are due up to until, at least one.
func (m *merger) write(f *merged, until int64) error {
	if holes := f.holes(); holes != (SourceStats{}) {
		f.seen = f.Stats()
		if err := m.b.AppendAt(f.published(), nil); err != nil {
			return err
		}
		if err := m.b.Skip(holes.Withheld, SkipWithheld); err != nil {
			return err
		}
		if err := m.b.Skip(holes.Expired, SkipExpired); err != nil {
			return err
		}
		if err := m.b.Skip(holes.Lost-holes.Expired, SkipDamaged); err != nil {
			return err
		}
		if err := m.b.Restate(m.state); err != nil {
			return err
		}
	}
	if f.stating { // packets of their own: their time is not that of the events in them, as that of others may be
		m.b.seal()
		defer m.b.seal()
	}
	from, to := f.i, f.i
	for ; to < f.n && (to == from || f.dues[to] <= until); to++ {
		t := &f.batch[to]
		d, told := f.own.of(t.Instrument), m.told.of(t.Instrument)
		if defined := t.Definition(); defined != nil {
			d = defined
			f.own.set(t.Instrument, d)
			f.fresh = told == nil
		}
		known := told == d || told != nil && *told == *d
		switch {
		case known && t.Kind == feed.KindDefinition, f.stating && f.fresh && t.Kind == feed.KindClear: // it says nothing
			if err := m.append(f, f.i, to); err != nil {
				return err
			}
			f.i++
			f.stats.Ticks--
		case !known && t.Kind != feed.KindDefinition: // another recording defined it in another way meanwhile, or has not come to it
			if err := m.append(f, f.i, to); err != nil {
				return err
			}
			define := feed.Tick{Kind: feed.KindDefinition, Instrument: t.Instrument, EventTime: t.EventTime, Extra: &feed.Extra{Definition: d}}
			if err := m.appendAt(f, f.published(), []feed.Tick{define}); err != nil {
				return err
			}
		}
		m.told.set(t.Instrument, d)
	}
	return m.append(f, f.i, to)
}

// append writes the ticks [from, to) of f's batch.
func (m *merger) append(f *merged, from, to int) error {
	for from < to {
		f.i = from
		n := from + 1
		for n < to && (f.byEvent && !f.stating || f.line.Clock == MarketClock || f.dues[n] == f.dues[from]) {
			n++
		}
		if err := m.appendAt(f, f.published(), f.batch[from:n]); err != nil {
			return err
		}
		from = n
	}
	f.i = to
	return nil
}

// appendAt writes ticks of f: published when they happened if they were so in f, else at.
func (m *merger) appendAt(f *merged, at int64, ticks []feed.Tick) error {
	for i := range ticks {
		_ = m.state.Apply(&ticks[i]) // one that lacks its definition tells nothing
	}
	if f.byEvent && !f.stating {
		return m.b.Append(ticks)
	}
	return m.b.AppendAt(at, ticks)
}
