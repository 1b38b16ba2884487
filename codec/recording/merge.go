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

// Merge writes the ticks of recordings of any lineages, which are at their beginnings, by time into
// a new recording of a session of its own, with new numbers, and closes that: tick for tick, in the
// order in which a replay of them plays. A tick is due when it was published; where its packet was
// published with the last of its events, as in what was imported, at its own event time, but not
// before a tick before it. H is the header of the new recording, a root. Instruments of one symbol and venue are one. Where a recording begins with a
// snapshot, the state is told by ticks when its first packet was published, as [Source] does. Numbers that one of them had withheld or
// gone, or lost by damage, are so in the new one, and the state as it is known follows; those that
// were not asked for are left out. Read, if it is not nil, is how many bytes were read so far.
//
// The error is ErrEmpty, ctx's, dst's, or what reading gave.
func Merge(ctx context.Context, dst File, h codec.FileHeader, readers []*Reader, read *atomic.Int64) (MergeStats, error) {
	m := &merger{directory: newDirectory(), state: feed.NewState()}
	for _, r := range readers {
		s := NewSource(r)
		s.directory = m.directory
		m.feeds = append(m.feeds, &merged{Source: s, r: r, batch: make([]feed.Tick, 512), own: make(map[feed.InstrumentID]*feed.Definition)})
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
	told  []*feed.Definition // by id, as the new recording told it last
}

// A merged is one of the recordings.
type merged struct {
	*Source
	r     *Reader
	batch []feed.Tick
	dues  []int64                                // of the ticks of batch; they do not decrease
	i, n  int                                    // batch[i:n] is still to be written
	at    int64                                  // the latest due so far
	own   map[feed.InstrumentID]*feed.Definition // as this recording defines it
	seen  SourceStats                            // holes that were told
	done  bool
}

// head is when f goes on.
func (f *merged) head() int64 {
	if f.i < f.n {
		return f.dues[f.i]
	}
	return f.at
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
	f.i, f.n, f.dues = 0, n, f.dues[:0]
	if f.time == minTime { // a state that no packet follows
		for i := range f.batch[:n] {
			f.at = max(f.at, f.batch[i].EventTime)
		}
	} else if !f.byEvent || f.stating || n == 0 {
		f.at = max(f.at, f.time)
	}
	for i := range f.batch[:n] {
		if f.byEvent && !f.stating {
			f.at = max(f.at, f.batch[i].EventTime)
		}
		f.dues = append(f.dues, f.at)
	}
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
		if err := m.b.AppendAt(f.head(), nil); err != nil {
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
		d := t.Definition()
		if d != nil {
			f.own[t.Instrument] = d
			m.tell(t.Instrument, d)
			continue
		}
		if d = f.own[t.Instrument]; d == nil { // another recording defines it just so
			d = m.defs[t.Instrument]
			f.own[t.Instrument] = d
		}
		if !m.alike(t.Instrument, d) {
			// Another recording defined it with other exponents meanwhile, or has not come to it.
			if err := m.append(f, f.i, to); err != nil {
				return err
			}
			define := feed.Tick{Kind: feed.KindDefinition, Instrument: t.Instrument, EventTime: t.EventTime, Extra: &feed.Extra{Definition: d}}
			if err := m.appendAt(f, f.dues[to], []feed.Tick{define}); err != nil {
				return err
			}
			m.tell(t.Instrument, d)
		}
	}
	return m.append(f, f.i, to)
}

// append writes the ticks [from, to) of f's batch.
func (m *merger) append(f *merged, from, to int) error {
	for f.i = to; from < to; {
		n := from + 1
		for n < to && (f.byEvent && !f.stating || f.dues[n] == f.dues[from]) {
			n++
		}
		if err := m.appendAt(f, f.dues[from], f.batch[from:n]); err != nil {
			return err
		}
		from = n
	}
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

// tell notes that the new recording tells instrument id as d.
func (m *merger) tell(id feed.InstrumentID, d *feed.Definition) {
	for int(id) >= len(m.told) {
		m.told = append(m.told, nil)
	}
	m.told[id] = d
}

// alike reports whether prices and sizes of d mean in the new recording what they mean in d.
func (m *merger) alike(id feed.InstrumentID, d *feed.Definition) bool {
	if int(id) >= len(m.told) || m.told[id] == nil {
		return false
	}
	told := m.told[id]
	return told.PriceExponent == d.PriceExponent && told.SizeExponent == d.SizeExponent
}
