package recording

import (
	"context"
	"errors"
	"io"
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

// Merge writes the ticks of recordings of any lineages, which are at their beginnings, by publish
// time into a new recording of a session of its own, with new numbers, and closes that. H is its
// header, a root. Instruments of one symbol and venue are one. Where a recording begins with a
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
	n     int // ticks of batch
	at    int64
	own   map[feed.InstrumentID]*feed.Definition // as this recording defines it
	seen  SourceStats                            // holes that were told
	done  bool
}

func (m *merger) run(ctx context.Context, read *atomic.Int64) error {
	for _, f := range m.feeds {
		if err := f.fill(ctx); err != nil {
			return err
		}
	}
	for {
		var next *merged
		total := int64(0)
		for _, f := range m.feeds {
			total += f.r.Offset()
			if !f.done && (next == nil || f.at < next.at) {
				next = f
			}
		}
		if read != nil {
			read.Store(total)
		}
		if next == nil {
			return nil
		}
		if err := m.write(next); err != nil {
			return err
		}
		if err := next.fill(ctx); err != nil {
			return err
		}
	}
}

// fill reads the next ticks of f.
func (f *merged) fill(ctx context.Context) error {
	n, err := f.Next(ctx, f.batch)
	f.n = n
	if f.time != minTime {
		f.at = max(f.at, f.time)
	} else { // a state that no packet follows
		for i := range f.batch[:n] {
			f.at = max(f.at, f.batch[i].EventTime)
		}
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

// write writes the holes and the ticks of f at hand.
func (m *merger) write(f *merged) error {
	if holes := f.holes(); holes != (SourceStats{}) {
		f.seen = f.Stats()
		if err := m.b.AppendAt(f.at, nil); err != nil {
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
	from := 0
	for i := range f.batch[:f.n] {
		t := &f.batch[i]
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
			if err := m.append(f.at, f.batch[from:i]); err != nil {
				return err
			}
			from = i
			define := feed.Tick{Kind: feed.KindDefinition, Instrument: t.Instrument, EventTime: t.EventTime, Extra: &feed.Extra{Definition: d}}
			if err := m.append(f.at, []feed.Tick{define}); err != nil {
				return err
			}
			m.tell(t.Instrument, d)
		}
	}
	err := m.append(f.at, f.batch[from:f.n])
	f.n = 0
	return err
}

func (m *merger) append(at int64, ticks []feed.Tick) error {
	for i := range ticks {
		_ = m.state.Apply(&ticks[i]) // one that lacks its definition tells nothing
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
