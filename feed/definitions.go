package feed

import (
	"iter"
	"slices"
	"sort"
)

// Definitions is the history of instrument definitions. It gives a reader that starts at any sequence number
// the definitions as of that number. The zero Definitions is empty and ready to use.
type Definitions struct {
	byID [][]definedAt // by instrument, each in order of seq
	n    int
}

type definedAt struct {
	seq        uint64
	definition *Definition
}

// Define records that tick seq defined instrument id as d; d is shared from then on. For each instrument, seq
// must not decrease. Ids are dense and below MaxInstruments.
func (h *Definitions) Define(seq uint64, id InstrumentID, d *Definition) {
	for len(h.byID) <= int(id) {
		h.byID = append(h.byID, nil)
	}
	h.byID[id] = append(h.byID[id], definedAt{seq, d})
	h.n++
}

// AsOf yields the instruments that ticks before seq defined, in order of ids, each with its last definition
// before seq. The history must not change meanwhile.
func (h *Definitions) AsOf(seq uint64) iter.Seq2[InstrumentID, *Definition] {
	return func(yield func(InstrumentID, *Definition) bool) {
		for id, ds := range h.byID {
			if i := before(ds, seq); i > 0 && !yield(InstrumentID(id), ds[i-1].definition) {
				return
			}
		}
	}
}

// Prune drops the definitions that AsOf does not need for seq and greater numbers: for each instrument, all
// definitions before seq except the last.
func (h *Definitions) Prune(seq uint64) {
	for id, ds := range h.byID {
		if i := before(ds, seq) - 1; i > 0 {
			h.byID[id] = slices.Delete(ds, 0, i)
			h.n -= i
		}
	}
}

// Len returns the number of definitions held.
func (h *Definitions) Len() int { return h.n }

// before returns how many of ds have a seq less than seq.
func before(ds []definedAt, seq uint64) int {
	return sort.Search(len(ds), func(i int) bool { return ds[i].seq >= seq })
}
