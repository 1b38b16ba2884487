package files

import (
	"context"

	"tickfeed/feed"
)

// Select is src without the instruments that are not wanted; the others get dense ids of their
// own. An instrument is judged by its first definition. It owns src.
func Select(src feed.Source, want func(*feed.Definition) bool) feed.Source {
	return &selection{src: src, want: want}
}

type selection struct {
	src  feed.Source
	want func(*feed.Definition) bool
	ids  []int64 // by id in src: the id here, -1 not wanted, -2 not defined
	next feed.InstrumentID

	held    feed.Tick // the last one kept, of an event that has not ended
	holding bool
	out     []feed.Tick // of buf, still to be given
	in, buf []feed.Tick
	err     error // of src, once out is given
}

const (
	notWanted  = -1
	notDefined = -2
)

// Next implements [feed.Source].
func (s *selection) Next(ctx context.Context, batch []feed.Tick) (int, error) {
	for len(s.out) == 0 {
		if s.err != nil || len(batch) == 0 {
			return 0, s.err
		}
		if len(s.in) < len(batch) {
			s.in, s.buf = make([]feed.Tick, len(batch)), make([]feed.Tick, 0, len(batch)+1)
		}
		n, err := s.src.Next(ctx, s.in[:len(batch)])
		s.out = s.buf[:0]
		s.keep(s.in[:n])
		if err == nil {
			continue
		}
		if err == ctx.Err() {
			return 0, err
		}
		s.err = err
		if s.holding { // its event does not go on
			s.holding = false
			s.held.Flags &^= feed.FlagMore
			s.out = append(s.out, s.held)
		}
	}
	n := copy(batch, s.out)
	s.out = s.out[n:]
	return n, nil
}

// keep puts what is wanted of ticks into s.out, after the tick that was held.
func (s *selection) keep(ticks []feed.Tick) {
	for i := range ticks {
		t := ticks[i]
		more := t.Flags&feed.FlagMore != 0
		wanted := s.rename(&t)
		if s.holding && (wanted || !more) {
			if !wanted { // the event ends with a tick that is left out
				s.held.Flags &^= feed.FlagMore
			}
			s.out = append(s.out, s.held)
			s.holding = false
		}
		switch {
		case !wanted:
		case more:
			s.held, s.holding = t, true
		default:
			s.out = append(s.out, t)
		}
	}
}

// rename gives t its id here; it reports false if t is not wanted.
func (s *selection) rename(t *feed.Tick) bool {
	for int(t.Instrument) >= len(s.ids) {
		s.ids = append(s.ids, notDefined)
	}
	id := &s.ids[t.Instrument]
	if d := t.Definition(); d != nil && *id == notDefined {
		*id = notWanted
		if s.want(d) {
			*id = int64(s.next)
			s.next++
		}
	}
	if *id < 0 {
		return false
	}
	t.Instrument = feed.InstrumentID(*id)
	return true
}

// Close closes the source that it selects from.
func (s *selection) Close() error { return s.src.Close() }
