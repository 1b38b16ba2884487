package replay

import (
	"fmt"
	"io"
	"iter"
	"math"
	"slices"

	"github.com/rs/zerolog"

	"tickfeed/codec"
	"tickfeed/codec/recording/place"
	"tickfeed/feed"
)

// A merge is a reel that merges several tapes by time. Its numbers are new, from 1, or from 2 if the recordings begin
// with a state. An instrument is identified by symbol and venue in all recordings; if recordings define it
// differently, it is redefined as often as needed. Each range of numbers that a recording lacks is one number in a
// merge.
//
// The merge begins with the state of the recordings that begin first. A later state, where another recording begins
// or after numbers that a recording lacks, is turned into ticks at its own time, as [edit.Source] does, so that
// nothing is known before it happened.
type merge struct {
	tapes []*mergeTape
	names map[[2]string]feed.InstrumentID
	now   []*feed.Definition // by merged id: the definition in force, or an equal one; nil for none
	next  uint64
	due   int64
	begun bool
	told  uint64 // value of next when place last returned a place
}

// A mergeTape is a tape of a merge.
type mergeTape struct {
	*tape
	u     unit
	i     int         // next tick of u
	told  int         // ticks at the front of u that were made from a state
	fresh bool        // the instrument whose state is being turned into ticks was unknown before
	state *feed.State // to be turned into ticks before the next tick; nil for none
	began *feed.State // the state that the first told ticks of u were made from
	full  bool
	over  bool
	own   feed.Table[mergeInstrument] // by the ids of the recording
	ids   []feed.InstrumentID         // the ids of the recording that are defined
}

// A mergePlace is a place at which a merge can continue.
type mergePlace struct {
	next  uint64
	due   int64
	tapes []mergeTapePlace
}

type mergeTapePlace struct {
	tapePlace
	over bool
	ids  []feed.InstrumentID
	defs []*feed.Definition // definitions of ids
}

// A mergeInstrument is an instrument of one recording.
type mergeInstrument struct {
	def  *feed.Definition // nil if the recording does not define it
	here uint32           // 1 + the merged id; 0 if none was assigned yet
}

func openMerge(recordings []Recording, filter codec.Filter, clock place.Clock, tl *tally, log zerolog.Logger) (*merge, error) {
	m := &merge{}
	for _, r := range recordings {
		t, err := openTape(r, filter, clock, tl, log)
		if err != nil {
			return nil, err
		}
		m.tapes = append(m.tapes, &mergeTape{tape: t})
	}
	return m, m.rewind()
}

func (m *merge) rewind() error {
	m.names, m.now, m.next, m.due, m.begun, m.told = make(map[[2]string]feed.InstrumentID), nil, 1, math.MinInt64, false, 0
	for _, t := range m.tapes {
		if err := t.tape.rewind(); err != nil {
			return err
		}
		t.full, t.over, t.own, t.ids, t.state = false, false, feed.Table[mergeInstrument]{}, nil, nil
	}
	return nil
}

// begin makes u the line with which the merge begins.
func (m *merge) begin(u *unit) error {
	m.begun = true
	first := int64(math.MaxInt64)
	for _, t := range m.tapes {
		if err := t.ready(); err != nil {
			return err
		}
		if !t.over {
			first = min(first, t.head())
		}
	}
	state := feed.NewState()
	for _, t := range m.tapes {
		if t.over || t.told == 0 || t.head() > first {
			continue
		}
		for x := range t.began.Entries(nil) {
			id, ok := m.id(t, x.Instrument)
			if !ok {
				return m.tooMany()
			}
			x.Instrument = id
			_ = state.Apply(&x) // cannot fail: it applied to the state of the recording
		}
		t.i = t.told
		t.full = t.i < len(t.u.ticks)
	}
	for d := range state.Definitions(nil) {
		m.now[d.Instrument] = d.Definition()
		m.next = 2
	}
	u.kind, u.first, u.end, u.due, u.state = unitLine, m.next, m.next, m.due, state
	return nil
}

func (m *merge) tooMany() error {
	return fmt.Errorf("together the recordings have more than %d instruments", feed.MaxInstruments)
}

// id returns the merged id of instrument id of tape t, and assigns one if necessary. It returns false if there are
// too many instruments or t did not define the instrument.
func (m *merge) id(t *mergeTape, id feed.InstrumentID) (feed.InstrumentID, bool) {
	own := t.own.Lookup(id)
	if own == nil || own.def == nil {
		return 0, false
	}
	if own.here > 0 {
		return feed.InstrumentID(own.here - 1), true
	}
	name := [2]string{own.def.Symbol, own.def.Venue}
	here, known := m.names[name]
	if !known {
		if len(m.now) == feed.MaxInstruments {
			return 0, false
		}
		here = feed.InstrumentID(len(m.now))
		m.names[name] = here
		m.now = append(m.now, nil)
	}
	own.here = uint32(here) + 1
	return here, true
}

// define records the definition of the instrument with the given id of the recording.
func (t *mergeTape) define(id feed.InstrumentID, d *feed.Definition) {
	own := t.own.At(id)
	if own.def == nil {
		t.ids = append(t.ids, id)
	}
	*own = mergeInstrument{def: d}
}

// ready reads the next unit if all of the current one was played.
func (t *mergeTape) ready() error {
	for !t.over && !t.full {
		err := t.read(&t.u, false)
		if err == io.EOF && t.state != nil { // no tick follows it
			t.u.reset()
			t.u.kind, t.i = unitTicks, 0
			t.tell()
			return nil
		} else if err == io.EOF {
			t.over = true
			return nil
		} else if err != nil {
			return err
		}
		t.i, t.told, t.began = 0, 0, nil
		t.full = t.u.kind == unitHole || len(t.u.ticks) > 0
		if s := t.u.state; s != nil {
			for x := range s.Definitions(nil) {
				t.define(x.Instrument, x.Definition())
			}
			t.state = s
		}
		if t.full && t.u.kind == unitTicks && t.state != nil {
			t.tell()
		}
	}
	return nil
}

// tell puts ticks that lead to t.state before the first tick of u, and makes them due with it or, if u has no tick,
// when they happened.
func (t *mergeTape) tell() {
	var ticks []feed.Tick
	due, seq := t.at.due, t.at.next
	for x := range t.state.Entries(nil) {
		x.Flags &^= feed.FlagSnapshot
		due = max(due, x.EventTime)
		switch x.Kind {
		case feed.KindSummary:
			continue // the trades that it summarizes are not available
		case feed.KindDefinition:
			in, _ := t.state.Instrument(x.Instrument)
			ticks = append(ticks, x, feed.ClearTick(x.Instrument, max(in.QuoteTime, in.StatusTime), feed.SideBoth))
		default:
			ticks = append(ticks, x)
		}
	}
	if len(t.u.ticks) > 0 {
		due, seq = t.u.dues[0], t.u.ticks[0].Seq
	}
	for i := range ticks {
		ticks[i].Seq = seq
	}
	t.told, t.began, t.state = len(ticks), t.state, nil
	t.u.dues = append(slices.Repeat([]int64{due}, len(ticks)), t.u.dues...)
	t.u.ticks = append(ticks, t.u.ticks...)
	t.full = len(t.u.ticks) > 0
}

// head returns when the next tick or hole of t is due.
func (t *mergeTape) head() int64 {
	if t.u.kind == unitHole {
		return t.u.due
	}
	return t.u.dues[t.i]
}

// nextDue is for place.Earliest.
func (t *mergeTape) nextDue() (at int64, more bool) {
	if t.over {
		return 0, false
	}
	return t.head(), true
}

// read implements reel.
func (m *merge) read(u *unit, _ bool) error {
	u.reset()
	if !m.begun {
		return m.begin(u)
	}
	u.first, u.end = m.next, m.next
	for len(u.ticks) < unitSize {
		for _, t := range m.tapes {
			if err := t.ready(); err != nil {
				return err
			}
		}
		i, until := place.Earliest(m.tapes, (*mergeTape).nextDue)
		if i < 0 {
			break
		}
		t := m.tapes[i]
		if t.u.kind == unitHole {
			if len(u.ticks) > 0 {
				break
			}
			t.full = false
			m.next++
			m.due = max(m.due, t.u.due)
			u.kind, u.end, u.due, u.why = unitHole, m.next, m.due, t.u.why
			return nil
		}
		if err := m.take(u, t, until); err != nil {
			return err
		}
	}
	if len(u.ticks) == 0 {
		return io.EOF
	}
	u.end, u.due = m.next, m.due
	return nil
}

// take moves ticks of t to u: at least one, and all that are due up to until.
func (m *merge) take(u *unit, t *mergeTape, until int64) error {
	for first := true; t.i < len(t.u.ticks) && (first || t.u.dues[t.i] <= until && len(u.ticks) < unitSize); first = false {
		x := &t.u.ticks[t.i]
		m.due = max(m.due, t.u.dues[t.i])
		telling := t.i < t.told
		t.i++
		if d := x.Definition(); d != nil {
			t.define(x.Instrument, d)
		}
		id, ok := m.id(t, x.Instrument)
		if !ok {
			if own := t.own.Lookup(x.Instrument); own != nil && own.def != nil {
				return m.tooMany()
			}
			continue // its definition was lost, so the instrument is unknown
		}
		if telling && x.Kind == feed.KindDefinition {
			t.fresh = m.now[id] == nil
		} else if telling && x.Kind == feed.KindClear && t.fresh {
			continue // there is nothing to clear
		}
		if d, now := t.own.Lookup(x.Instrument).def, m.now[id]; now != d {
			m.now[id] = d
			if now == nil || *now != *d {
				m.add(u, &feed.Tick{Kind: feed.KindDefinition, EventTime: x.EventTime, Extra: &feed.Extra{Definition: d}}, id)
			}
		}
		if x.Kind != feed.KindDefinition {
			m.add(u, x, id)
		}
	}
	t.full = t.i < len(t.u.ticks)
	return nil
}

func (m *merge) add(u *unit, x *feed.Tick, id feed.InstrumentID) {
	u.ticks, u.dues = append(u.ticks, *x), append(u.dues, m.due)
	y := &u.ticks[len(u.ticks)-1]
	y.Instrument, y.Seq = id, m.next
	m.next++
}

// place implements reel. Its cost grows with the number of instruments, so it returns nil until that many ticks have
// followed the last place.
func (m *merge) place() any {
	instruments := 0
	for _, t := range m.tapes {
		instruments += len(t.ids)
	}
	if m.next-m.told < uint64(instruments) {
		return nil
	}
	m.told = m.next
	p := mergePlace{next: m.next, due: m.due}
	for _, t := range m.tapes {
		here, ok := t.here()
		if !ok {
			return nil
		}
		x := mergeTapePlace{tapePlace: here, over: t.over, ids: slices.Clone(t.ids)}
		for _, d := range t.definitions() {
			x.defs = append(x.defs, d)
		}
		switch {
		case !t.full:
		case t.u.kind == unitHole:
			x.next = t.u.first
		case t.i < t.told:
			return nil // within the ticks made from a state, which have no number
		default:
			x.next = t.u.ticks[t.i].Seq
			x.due = m.due
		}
		p.tapes = append(p.tapes, x)
	}
	return p
}

// goTo implements reel.
func (m *merge) goTo(at any, state *feed.State) error {
	p := at.(mergePlace)
	m.next, m.due, m.begun, m.told = p.next, p.due, true, p.next
	clear(m.names)
	m.now = m.now[:0]
	for x := range state.Definitions(nil) { // ids are dense, and in order
		d := x.Definition()
		m.names[[2]string{d.Symbol, d.Venue}] = x.Instrument
		m.now = append(m.now, d)
	}
	for i, t := range m.tapes {
		x := p.tapes[i]
		t.state = nil
		t.full, t.over, t.own, t.ids = false, x.over, feed.Table[mergeInstrument]{}, nil
		for i, id := range x.ids {
			t.define(id, x.defs[i])
		}
		if err := t.tape.goTo(x.tapePlace, t.definitions()); err != nil {
			return err
		}
	}
	return nil
}

func (t *mergeTape) definitions() iter.Seq2[feed.InstrumentID, *feed.Definition] {
	return func(yield func(feed.InstrumentID, *feed.Definition) bool) {
		for _, id := range t.ids {
			if !yield(id, t.own.Lookup(id).def) {
				return
			}
		}
	}
}

// definitionsOf returns the definitions in s by instrument id.
func definitionsOf(s *feed.State) iter.Seq2[feed.InstrumentID, *feed.Definition] {
	return func(yield func(feed.InstrumentID, *feed.Definition) bool) {
		for x := range s.Definitions(nil) {
			if !yield(x.Instrument, x.Definition()) {
				return
			}
		}
	}
}
