package sim

import (
	"math/rand/v2"
	"slices"
)

// arrivals draws the time and the instrument of the next event.
//
// Events come in clusters: a self-exciting process (Hawkes, Biometrika 1971) with an
// exponential kernel, drawn by thinning (Ogata, IEEE Trans. Inf. Theory 1981). A background
// event picks its instrument by activity; an event caused by an earlier event has the same
// instrument as its cause. The work per event is constant.
type arrivals struct {
	rng  *rand.Rand
	bits *rand.PCG // what rng draws from
	// now is the time since the opening in units of 1/1024 ns, so that rates beyond one
	// event per nanosecond keep their mean.
	now int64
	// background and excited are intensities in events per second; background is set by
	// the caller, excited decays at the rate decay and rises with each event.
	background, excited float64

	byActivity []aliasSlot
	// recent holds the instruments of the latest events; head is the place of the next, modulo its length.
	recent [1 << 12]uint32
	head   uint32
}

const (
	branching = 0.65 // events that one event causes, on average
	decay     = 25.0 // per second: most of what an event causes comes within 40 ms
	kick      = branching * decay

	unitsPerSecond = 1024e9
)

// next advances to the next event before until and returns its instrument. It returns false if there is none,
// with now at until.
func (a *arrivals) next(until int64) (uint32, bool) {
	for {
		intensity := a.background + a.excited
		wait := a.rng.ExpFloat64() * unitsPerSecond / intensity
		if left := float64(until - a.now); wait >= left {
			a.excited *= fade(decay / unitsPerSecond * left)
			a.now = until
			return 0, false
		}
		a.now += int64(wait)
		a.excited *= fade(decay / unitsPerSecond * wait)
		var id uint32
		switch at := uniform(a.bits.Uint64()) * intensity; {
		case at < a.background:
			id = a.pick()
		case at < a.background+a.excited:
			id = a.cause()
		default:
			continue // the intensity has fallen since the wait was drawn
		}
		a.excite(id)
		return id, true
	}
}

// excite makes further events of an instrument more likely.
func (a *arrivals) excite(id uint32) {
	a.excited += kick
	a.recent[a.head%uint32(len(a.recent))] = id
	a.head++
}

// cause draws the instrument of an earlier event, weighted by how much that event still excites. The weight of
// an event fades with its age. At an even pace it fades with the number of later events, and the sum of all
// weights is the mean of that number.
func (a *arrivals) cause() uint32 {
	weight := min(a.excited/kick, float64(len(a.recent)/4))
	back := uint32(a.rng.ExpFloat64() * weight)
	back = min(back, uint32(len(a.recent)-1), a.head-1)
	return a.recent[(a.head-1-back)%uint32(len(a.recent))]
}

// uniform returns the value in [0, 1) that the bits of r stand for.
func uniform(r uint64) float64 { return float64(r>>11) * 0x1p-53 }

// An aliasSlot is one slot of Walker's alias table: a draw that falls here below keep picks the slot's own
// index, any other draw picks alias.
type aliasSlot struct{ keep, alias uint32 }

// pick draws an instrument by its activity.
func (a *arrivals) pick() uint32 {
	r := a.bits.Uint64()
	i := uint32((r >> 32) * uint64(len(a.byActivity)) >> 32)
	if s := a.byActivity[i]; uint32(r) >= s.keep {
		return s.alias
	}
	return i
}

// aliasTable returns the table for weights, of which at least one must be positive and none negative.
func aliasTable(weights []float64) []aliasSlot {
	table := make([]aliasSlot, len(weights))
	fillAliasTable(table, slices.Clone(weights), make([]uint32, 2*len(weights)))
	return table
}

// fillAliasTable makes table the table for weights by Vose's method (IEEE Trans. Softw. Eng. 1991). It overwrites weights and
// room, which must be twice as long as them.
func fillAliasTable(table []aliasSlot, weights []float64, room []uint32) {
	n := len(weights)
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	small, large := room[:0:n], room[n:n]
	for i := range weights {
		weights[i] *= float64(n) / sum
		table[i] = aliasSlot{keep: 1<<32 - 1, alias: uint32(i)}
		if weights[i] < 1 {
			small = append(small, uint32(i))
		} else {
			large = append(large, uint32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		table[s] = aliasSlot{keep: uint32(weights[s] * (1<<32 - 1)), alias: l}
		weights[l] -= 1 - weights[s]
		if weights[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
}

// activity returns the weight in the events of place i of the default universe: Zipf's law with its top cut off.
func activity(i int) float64 { return 1 / float64(i+2) }
