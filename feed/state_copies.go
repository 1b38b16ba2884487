package feed

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// Clone returns an independent copy. It takes a few microseconds: s and the copy share their memory, and whatever either of
// them changes later is copied then, a few instruments or one book at a time. Clone marks that memory of s as shared, so it
// counts as a change of s: other goroutines must not use s meanwhile.
func (s *State) Clone() *State {
	for i := range s.chunks {
		s.chunks[i].own = false
	}
	s.catalogShared = true
	s.owner = new(byte) // from now on both must copy a book before changing it
	c := *s
	c.owner = new(byte)
	c.chunks = slices.Clone(s.chunks)
	c.books = slices.Clone(s.books)
	c.refs = slices.Clone(s.refs)
	c.reasons = maps.Clone(s.reasons)
	return &c
}

// Entries yields the wanted instruments (all, if want is nil) as ticks with FlagSnapshot, Seq 0 and the event
// times that the state holds. It yields them in order of ids, and for each instrument, as far as known:
// definition, status with the trading day, summary, quote, bids and asks, each side best first. Applied to an
// empty state they give an equal state.
//
// The value that Extra points to is never written again. The state must not change during the iteration.
func (s *State) Entries(want func(InstrumentID) bool) iter.Seq[Tick] {
	return func(yield func(Tick) bool) {
		var definitions []Extra
		var summaries []summaryExtra
		for id, slot := range s.catalog.all() {
			if want != nil && !want(id) {
				continue
			}
			if !yield(s.catalog.definitionEntry(id, slot, &definitions)) {
				return
			}
			v := s.at(slot)
			told := emptyDay(0)
			if v.known&knownStatus != 0 {
				told.TradingDay = v.day
				r := s.reasons[slot]
				t := StatusTick(id, v.statusTime, v.status, v.day).Because(r.text, r.end)
				t.Flags = FlagSnapshot
				if !yield(t) {
					return
				}
			}
			if sum := s.summary(slot); sum != told {
				if len(summaries) == 0 {
					summaries = make([]summaryExtra, entriesAtOnce)
				}
				x := &summaries[0]
				summaries = summaries[1:]
				x.summary = sum
				x.extra.Summary = &x.summary
				t := Tick{
					Kind: KindSummary, Flags: FlagSnapshot, Instrument: id,
					EventTime: sum.LastTime, Extra: &x.extra,
				}
				if !yield(t) {
					return
				}
			}
			if v.known&knownQuote != 0 {
				t := quoteOf(v.quote).Tick(id, v.quoteTime)
				t.Flags = FlagSnapshot
				if !yield(t) {
					return
				}
			}
			if b := s.book(slot); b != nil && (!b.yield(id, SideBuy, yield) || !b.yield(id, SideSell, yield)) {
				return
			}
		}
	}
}

// entriesAtOnce is the number of entries whose Extra parts are allocated together.
const entriesAtOnce = 32

type summaryExtra struct {
	extra   Extra
	summary Summary
}

// Definitions yields the definitions that Entries yields.
func (s *State) Definitions(want func(InstrumentID) bool) iter.Seq[Tick] {
	return Catalog{s.catalog}.Definitions(want)
}

// Replace replaces the instruments in scope by those in scope of from, as at the end of a snapshot. Instruments
// in scope that from lacks are no longer defined; everything else stays. A nil scope covers everything. Replace
// calls scope with the definition in s and with the definition in from. An instrument out of scope is removed
// if a new one has its id or its name. from does not change; s shares its definitions and books as a clone
// would.
func (s *State) Replace(scope func(InstrumentID, *Definition) bool, from *State) {
	unknown := s.unknown
	if scope == nil {
		*s = *from.Clone()
		s.unknown = unknown
		return
	}
	from = from.Clone()
	taken := func(id InstrumentID) bool {
		slot, ok := from.catalog.slot(id)
		return ok && scope(id, from.catalog.definition(slot))
	}
	out := NewState()
	out.unknown = unknown
	for id, slot := range s.catalog.all() {
		d := s.catalog.definition(slot)
		if scope(id, d) || taken(id) {
			continue
		}
		if other, ok := from.Lookup(d.Symbol, d.Venue); ok && taken(other) {
			continue
		}
		out.take(id, s, slot)
	}
	for id, slot := range from.catalog.all() {
		if scope(id, from.catalog.definition(slot)) {
			out.take(id, from, slot)
		}
	}
	*s = *out
}

// take adds instrument id with the contents of slot of from. Neither the id nor the name may be defined.
func (s *State) take(id InstrumentID, from *State, slot uint) {
	d := from.catalog.definition(slot)
	s.catalog.add(id, d, nameOf(d).hash())
	v := s.grow()
	*v = *from.at(slot)
	to := s.catalog.defined - 1
	if ref := from.ref(slot); ref != "" {
		s.setRef(to, ref)
	}
	s.setReason(to, from.reasons[slot])
	if b := from.book(slot); b != nil {
		s.setBook(to, b) // owned by another state: copied before it changes
	}
}

// Equal reports whether both states know the same about the same instruments.
func (s *State) Equal(o *State) bool { return s.Diff(o) == "" }

// Diff describes the differences between s and o, one line per instrument and at most ten lines. It returns ""
// if there are none.
func (s *State) Diff(o *State) string {
	var lines []string
	add := func(format string, args ...any) bool {
		lines = append(lines, fmt.Sprintf(format, args...))
		return len(lines) < 10
	}
	for id, slot := range s.catalog.all() {
		other, ok := o.catalog.slot(id)
		if !ok {
			if !add("instrument %d is %s, not defined in the other", id, s.catalog.definition(slot).Name()) {
				break
			}
			continue
		}
		if s.sameInstrument(slot, o, other) {
			continue
		}
		if !add("instrument %d: %v, in the other %v", id, s.instrument(slot), o.instrument(other)) {
			break
		}
	}
	for id, slot := range o.catalog.all() {
		if _, ok := s.catalog.slot(id); ok {
			continue
		}
		if len(lines) >= 10 || !add("instrument %d is not defined, in the other %s", id, o.catalog.definition(slot).Name()) {
			break
		}
	}
	return strings.Join(lines, "\n")
}

func (s *State) sameInstrument(slot uint, o *State, other uint) bool {
	return *s.at(slot) == *o.at(other) && s.ref(slot) == o.ref(other) && s.reasons[slot] == o.reasons[other] &&
		*s.catalog.definition(slot) == *o.catalog.definition(other) &&
		s.book(slot).equal(o.book(other))
}
