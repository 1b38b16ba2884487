package edit

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/place"
	"tickfeed/feed"
)

// MergeStats describes a merge.
type MergeStats struct {
	Ticks       uint64 // in the new recording
	Instruments int
	Sources     []SourceStats // of each recording
}

// Merge writes the ticks of recordings of any lineages, which must be at their beginnings, into dst, a new
// recording of a session of its own with new numbers, and closes dst. It merges tick by tick by their times on
// clock, in the order in which a replay of the recordings plays them. On MarketClock each recording has its own
// [place.Timeline]. On PublishClock a tick is due when it was published; but if its packet was published with the
// last of its events, as in imported recordings, the tick is due at its own event time, and not before an
// earlier tick. Publish times do not change, except that none is before that of an earlier tick.
//
// H is the header of the new recording, a root. Instruments of the same symbol and venue become one. If a
// recording begins with a snapshot, ticks restate the state when its first packet comes, as in [Source].
// Numbers that were withheld, gone or lost by damage in one of the recordings are so in the new one, and the
// state as it is known follows; numbers that were not asked for are left out. Read, if not nil, is set to the
// number of bytes read so far.
//
// The error is ErrEmpty, or comes from ctx, from dst, or from reading.
func Merge(ctx context.Context, dst recording.File, h codec.FileHeader, readers []*recording.Reader, clock place.Clock, read *atomic.Int64) (MergeStats, error) {
	m := &merger{directory: newDirectory(), state: feed.NewState()}
	for _, r := range readers {
		s := NewSource(r)
		s.directory = m.directory
		line, first, err := r.Timeline(clock)
		if err != nil {
			return MergeStats{}, err
		}
		if line.Clock == place.MarketClock {
			line.At = first // no tick is due before first
		}
		s.line = &line
		m.feeds = append(m.feeds, &merged{Source: s, r: r, batch: make([]feed.Tick, 512)})
	}
	b, err := recording.NewBuilder(dst, h, nil)
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
	b     *recording.Builder
	state *feed.State
	told  definitions // the last definitions in the new recording
}

// A merged is one of the recordings.
type merged struct {
	*Source
	r     *recording.Reader
	batch []feed.Tick
	i, n  int         // batch[i:n] is not written yet
	own   definitions // the definitions in this recording
	fresh bool        // the new recording lacked its last definition before
	seen  SourceStats // holes that were written
	done  bool
}

// definitions maps ids to definitions; nil if an instrument is not defined.
type definitions struct {
	feed.Table[*feed.Definition]
}

func (d *definitions) of(id feed.InstrumentID) *feed.Definition {
	if def := d.Lookup(id); def != nil {
		return *def
	}
	return nil
}

func (d *definitions) set(id feed.InstrumentID, to *feed.Definition) { *d.At(id) = to }

// head returns when the next tick of f is due.
func (f *merged) head() int64 {
	if f.i < f.n {
		return f.dues[f.i]
	}
	return f.line.At
}

// nextDue is for place.Earliest.
func (f *merged) nextDue() (at int64, more bool) {
	if f.done {
		return 0, false
	}
	return f.head(), true
}

// published returns the publish time for the current ticks.
func (f *merged) published() int64 {
	if f.line.Clock == place.PublishClock || f.byEvent && !f.stating {
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
		if read != nil {
			total := int64(0)
			for _, f := range m.feeds {
				total += f.r.Offset()
			}
			read.Store(total)
		}
		i, until := place.Earliest(m.feeds, (*merged).nextDue)
		if i < 0 {
			return nil
		}
		next := m.feeds[i]
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

// holes returns the holes that were not written yet.
func (f *merged) holes() SourceStats {
	s := f.Stats()
	return SourceStats{Lost: s.Lost - f.seen.Lost, Expired: s.Expired - f.seen.Expired, Withheld: s.Withheld - f.seen.Withheld}
}

// write writes the current holes of f, and its ticks due up to until, at least one.
func (m *merger) write(f *merged, until int64) error {
	if holes := f.holes(); holes != (SourceStats{}) {
		f.seen = f.Stats()
		if err := m.b.AppendAt(f.published(), nil); err != nil {
			return err
		}
		if err := m.b.Skip(holes.Withheld, recording.SkipWithheld); err != nil {
			return err
		}
		if err := m.b.Skip(holes.Expired, recording.SkipExpired); err != nil {
			return err
		}
		if err := m.b.Skip(holes.Lost-holes.Expired, recording.SkipDamaged); err != nil {
			return err
		}
		if err := m.b.Restate(m.state); err != nil {
			return err
		}
	}
	if f.stating { // packets of their own: their publish time is not that of their events, unlike perhaps in others
		m.b.EndPacket()
		defer m.b.EndPacket()
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
		case known && t.Kind == feed.KindDefinition, f.stating && f.fresh && t.Kind == feed.KindClear: // it adds nothing
			if err := m.append(f, f.i, to); err != nil {
				return err
			}
			f.i++
			f.stats.Ticks--
		case !known && t.Kind != feed.KindDefinition: // another recording redefined it meanwhile, or has not reached its definition
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
		for n < to && (f.byEvent && !f.stating || f.line.Clock == place.MarketClock || f.dues[n] == f.dues[from]) {
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

// appendAt writes ticks of f. They are published at their event times if they were so in f, otherwise at the
// given time.
func (m *merger) appendAt(f *merged, at int64, ticks []feed.Tick) error {
	_, _ = m.state.ApplyKnown(ticks) // no error: the merger has given each name one instrument
	if f.byEvent && !f.stating {
		return m.b.Append(ticks)
	}
	return m.b.AppendAt(at, ticks)
}
