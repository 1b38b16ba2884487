package files

import (
	"context"

	"tickfeed/feed"
)

// Select returns a source with the ticks of those instruments of src whose first definition want accepts. These
// instruments get new, dense ids. The returned source owns src.
func Select(src feed.Source, want func(*feed.Definition) bool) feed.Source {
	return &selection{src: src, want: want}
}

type selection struct {
	src  feed.Source
	want func(*feed.Definition) bool
	ids  []int64 // by id in src: the new id, notWanted or notDefined
	next feed.InstrumentID

	held    feed.Tick // the last wanted tick of an event that has not ended
	holding bool
	out     []feed.Tick // the part of buf that Next has not returned
	in, buf []feed.Tick
	err     error // the error of src, to be returned after out
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
		if s.holding { // its event has no more ticks
			s.holding = false
			s.held.Flags &^= feed.FlagMore
			s.out = append(s.out, s.held)
		}
	}
	n := copy(batch, s.out)
	s.out = s.out[n:]
	return n, nil
}

// keep appends the held tick and the wanted ones of ticks to s.out.
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

// rename gives t its new id. It returns false if t is not wanted.
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

// Close closes the underlying source.
func (s *selection) Close() error { return s.src.Close() }
