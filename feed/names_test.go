package feed

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The table holds the names that were added and not removed, however many hashes collide, in full or in their
// slots, and wherever the table ends.
func TestNamesSurviveCollisions(t *testing.T) {
	for name, hash := range map[string]func(r *rand.Rand) uint32{
		"any":                       func(r *rand.Rand) uint32 { return r.Uint32() },
		"all the same":              func(*rand.Rand) uint32 { return 7 },
		"four":                      func(r *rand.Rand) uint32 { return r.Uint32N(4) },
		"one slot, the last of all": func(r *rand.Rand) uint32 { return r.Uint32() | 0xffff },
		"the last few slots":        func(r *rand.Rand) uint32 { return r.Uint32() | 0xfffc },
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			var n names
			held := map[uint32][]InstrumentID{}
			var hashes []uint32 // of the names held
			for step := range 4000 {
				if len(hashes) < 20 || len(hashes) < 150 && r.IntN(2) == 0 {
					h := hash(r)
					n.add(h, InstrumentID(step))
					held[h] = append(held[h], InstrumentID(step))
					hashes = append(hashes, h)
				} else {
					i := r.IntN(len(hashes))
					h := hashes[i]
					j := r.IntN(len(held[h]))
					n.remove(h, held[h][j])
					held[h] = slices.Delete(held[h], j, j+1)
					hashes = slices.Delete(hashes, i, i+1)
				}
				h := hash(r)
				if len(hashes) > 0 && r.IntN(4) > 0 {
					h = hashes[r.IntN(len(hashes))]
				}
				require.ElementsMatch(t, held[h], slices.Collect(n.with(h)), "step %d", step)
			}
			for h, ids := range held {
				require.ElementsMatch(t, ids, slices.Collect(n.with(h)))
			}
			assert.Equal(t, len(hashes), n.used)
			assert.LessOrEqual(t, 4*n.used, 3*len(n.slots))
			assert.LessOrEqual(t, len(n.slots), 256, "it grows with what is held, not with what there was")
		})
	}
	var none names
	assert.Empty(t, slices.Collect(none.with(0)))
}

// Instruments whose names have the same hash are distinguished by their names.
func TestCatalogWithCollidingNames(t *testing.T) {
	var c catalog
	all := []name{{"A", "X"}, {"A", "Y"}, {"B", "X"}, {"AX", ""}, {"", "AX"}}
	for id, n := range all {
		c.add(InstrumentID(id), &Definition{Symbol: n.symbol, Venue: n.venue}, 5)
	}
	for id, n := range all {
		found, ok := c.find(n, 5)
		assert.True(t, ok)
		assert.Equal(t, InstrumentID(id), found)
	}
	_, ok := c.find(name{"B", "Y"}, 5)
	assert.False(t, ok)
	_, ok = c.find(name{"A", "X"}, 6)
	assert.False(t, ok)
}

// A symbol at a venue belongs to one instrument at a time: a renamed instrument leaves its name to others. A
// clone keeps the names as they were.
func TestStateNames(t *testing.T) {
	type known map[name]InstrumentID
	r := rand.New(rand.NewPCG(3, 4))
	s, names := NewState(), known{}
	ids := map[InstrumentID]name{}
	var clone *State
	var cloned known
	pick := func() name { return name{fmt.Sprint("S", r.IntN(60)), fmt.Sprint("V", r.IntN(3))} }
	check := func(s *State, want known) {
		for i := range 60 {
			for j := range 3 {
				n := name{fmt.Sprint("S", i), fmt.Sprint("V", j)}
				id, ok := s.Lookup(n.symbol, n.venue)
				other, defined := want[n]
				require.Equal(t, defined, ok, "%v", n)
				require.Equal(t, other, id, "%v", n)
			}
		}
	}
	refused := 0
	for step := range 20_000 {
		id, n := InstrumentID(r.IntN(120)), pick()
		err := s.Apply(&Tick{Kind: KindDefinition, Instrument: id, Extra: &Extra{Definition: &Definition{Symbol: n.symbol, Venue: n.venue}}})
		if other, taken := names[n]; taken && other != id {
			require.ErrorContains(t, err, fmt.Sprintf("%s@%s as instrument %d: it is instrument %d", n.symbol, n.venue, id, other))
			refused++
		} else {
			require.NoError(t, err)
			if was, defined := ids[id]; defined {
				delete(names, was)
			}
			ids[id], names[n] = n, id
		}
		if step%1000 == 999 {
			check(s, names)
			if clone != nil {
				check(clone, cloned)
			}
			clone, cloned = s.Clone(), known{}
			for n, id := range names {
				cloned[n] = id
			}
		}
	}
	assert.Greater(t, refused, 1000)
	assert.Equal(t, len(names), s.catalog.names.used, "a name that was left is not kept")
}
