package feed

import (
	"iter"
	"slices"
	"sort"
)

// Definitions is the history of what instruments were, so that a reader who starts at any
// sequence number can be told the definitions as of there. The zero Definitions is empty and
// ready to use.
type Definitions struct {
	byID [][]definedAt // by instrument, each in order of seq
	n    int
}

type definedAt struct {
	seq        uint64
	definition *Definition
}

// Define notes that tick seq defined instrument id as d, which from then on is shared. Of
// one instrument, seq must not decrease; ids are dense and below MaxInstruments.
func (h *Definitions) Define(seq uint64, id InstrumentID, d *Definition) {
	for len(h.byID) <= int(id) {
		h.byID = append(h.byID, nil)
	}
	h.byID[id] = append(h.byID[id], definedAt{seq, d})
	h.n++
}

// AsOf yields, in order of ids, the instruments that ticks before seq defined, each as last
// defined before seq. The history must not change meanwhile.
func (h *Definitions) AsOf(seq uint64) iter.Seq2[InstrumentID, *Definition] {
	return func(yield func(InstrumentID, *Definition) bool) {
		for id, ds := range h.byID {
			if i := before(ds, seq); i > 0 && !yield(InstrumentID(id), ds[i-1].definition) {
				return
			}
		}
	}
}

// Prune forgets what AsOf of seq and of greater numbers does not need: of each instrument,
// all but the last of the definitions before seq.
func (h *Definitions) Prune(seq uint64) {
	for id, ds := range h.byID {
		if i := before(ds, seq) - 1; i > 0 {
			h.byID[id] = slices.Delete(ds, 0, i)
			h.n -= i
		}
	}
}

// Len is how many definitions are held.
func (h *Definitions) Len() int { return h.n }

// before is how many of ds have a seq less than seq.
func before(ds []definedAt, seq uint64) int {
	return sort.Search(len(ds), func(i int) bool { return ds[i].seq >= seq })
}
