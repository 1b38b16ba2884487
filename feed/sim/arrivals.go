package sim

import (
	"math/rand/v2"
	"slices"
)

// arrivals draws the time and the instrument of the next event.
//
// Events come in clusters: a self-exciting process (Hawkes, Biometrika 1971) with a sum of exponential kernels,
// drawn by thinning (Ogata, IEEE Trans. Inf. Theory 1981). A background event picks its instrument by activity;
// an event caused by an earlier event has the same instrument as its cause. The work per event is constant.
type arrivals struct {
	rng  *rand.Rand
	bits *rand.PCG // what rng draws from
	// now is the time since the opening in units of 1/1024 ns, so that rates beyond one
	// event per nanosecond keep their mean.
	now int64
	// background, excited and rushing are intensities in events per second. background is set by the caller;
	// excited decays at the rates of the kernels and rises with each event; rushing is that of the instrument
	// rusher, and decays at rushDecay.
	background float64
	excited    [scales]float64
	rushing    float64
	rusher     uint32
	kernels    kernels
	happened   bool // the last call of next returned an event

	byActivity []aliasSlot
	// recent holds the instruments of the latest events; head is the place of the next, modulo its length.
	recent [1 << 11]uint32
	head   uint32

	spacing spacing
	last    int64 // time of the last event, of plain
}

// spacing is how events follow each other.
type spacing uint8

const (
	clustered     spacing = iota
	evenly                // at the same distance
	independently         // a Poisson process
)

// The kernels are the time scales of the excitation: how many events an event causes, on average, and the rate, per
// second, at which its effect decays. Programs answer an event within a millisecond, as the peak of the times between
// events of real days shows; traders answer within 50 ms; and attention lasts for seconds. Together they cause 0.9 of
// the events: real markets are close to 1 (Filimonov, Sornette 2012; Hardiman et al., arXiv 1302.1405).
const (
	branching0, decay0 = 0.58, 5000.0
	branching1, decay1 = 0.20, 20.0
	branching2, decay2 = 0.12, 0.5

	branching = branching0 + branching1 + branching2 // events that one event causes, on average
	rushDecay = 5.0                                  // per second: most of a rush comes within half a second

	scales = 3 // of time

	unitsPerSecond = 1024e9
)

// kernels are how events cause others, by time scale.
type kernels struct {
	decay    [scales]float64 // per unit
	kick     [scales]float64 // what an event adds to the intensities, per second
	perKick  [scales]float64 // 1/kick
	rest     float64         // share of the events that no other event causes
	rushKick float64         // intensity of a rush for each of its events, with those that they cause on the fast time scales
	// together is the share, of 1<<32, of the events that have the time and the instrument of the one before.
	together uint32
}

// usualKernels are those of a market without a Profile.
var usualKernels = kernels{
	decay:    [scales]float64{decay0 / unitsPerSecond, decay1 / unitsPerSecond, decay2 / unitsPerSecond},
	kick:     [scales]float64{branching0 * decay0, branching1 * decay1, branching2 * decay2},
	perKick:  [scales]float64{1 / (branching0 * decay0), 1 / (branching1 * decay1), 1 / (branching2 * decay2)},
	rest:     1 - branching,
	rushKick: (1 - branching0 - branching1) * rushDecay,
}

// next advances to the next event before until and returns its instrument. It returns false if there is none,
// with now at until.
func (a *arrivals) next(until int64) (uint32, bool) {
	if a.spacing != clustered {
		return a.plain(until)
	}
	k := &a.kernels
	if k.together > 0 && a.happened && uint32(a.bits.Uint64()) < k.together {
		return a.recent[(a.head-1)%uint32(len(a.recent))], true
	}
	for {
		intensity := a.background + a.rushing + a.excited[0] + a.excited[1] + a.excited[2]
		wait := a.rng.ExpFloat64() * unitsPerSecond / intensity
		if left := float64(until - a.now); wait >= left {
			a.decay(left)
			a.now, a.happened = until, false
			return 0, false
		}
		a.now += int64(wait)
		a.decay(wait)
		at := uniform(a.bits.Uint64()) * intensity
		var id uint32
		if at -= a.excited[0]; at < 0 {
			id = a.cause(a.excited[0] * k.perKick[0])
		} else if at -= a.background; at < 0 {
			id = a.pick()
		} else if at -= a.excited[1]; at < 0 {
			id = a.cause(a.excited[1] * k.perKick[1])
		} else if at -= a.excited[2]; at < 0 {
			id = a.cause(a.excited[2] * k.perKick[2])
		} else if at -= a.rushing; at < 0 {
			id = a.rusher
		} else {
			continue // the intensity has fallen since the wait was drawn
		}
		a.excite(id)
		a.happened = true
		return id, true
	}
}

// decay lets units of time pass.
func (a *arrivals) decay(units float64) {
	decay := &a.kernels.decay
	a.excited[0] *= fade(decay[0] * units)
	if x := decay[1] * units; x < 0.01 { // the last one is the slowest
		a.excited[1] *= fadeSlightly(x)
		a.excited[2] *= fadeSlightly(decay[2] * units)
	} else {
		a.excited[1] *= fade(x)
		a.excited[2] *= fade(decay[2] * units)
	}
	if a.rushing > 0 {
		a.rushing *= fade(rushDecay / unitsPerSecond * units)
		if a.rushing < 1e-3 {
			a.rushing = 0
		}
	}
}

// plain is next for events that cause no others.
func (a *arrivals) plain(until int64) (uint32, bool) {
	wait := unitsPerSecond / a.background
	if a.spacing == independently {
		a.last = a.now
		wait *= a.rng.ExpFloat64()
	}
	wait -= float64(a.now - a.last)
	if wait >= float64(until-a.now) {
		a.now = until
		return 0, false
	}
	a.now += max(int64(wait), 0)
	a.last = a.now
	return a.pick(), true
}

// excite makes further events of an instrument more likely.
func (a *arrivals) excite(id uint32) {
	kick := &a.kernels.kick
	a.excited[0] += kick[0]
	a.excited[1] += kick[1]
	a.excited[2] += kick[2]
	a.recent[a.head%uint32(len(a.recent))] = id
	a.head++
}

// calm ends all clusters.
func (a *arrivals) calm() { a.excited, a.rushing = [scales]float64{}, 0 }

// rush makes an instrument have about events more events within a second, with those that they cause on the fast time
// scales.
func (a *arrivals) rush(id uint32, events float64) {
	a.rusher, a.rushing = id, a.kernels.rushKick*events
}

// cause draws the instrument of an earlier event, weighted by how much that event still excites on a time scale; sum
// is the sum of all weights, if a new event has 1. The weight of an event fades with its age. At an even pace it fades
// with the number of later events, and the sum of all weights is the mean of that number.
func (a *arrivals) cause(sum float64) uint32 {
	back := uint32(0)
	if sum > 1 {
		sum = min(sum, float64(len(a.recent)/4))
		back = uint32(a.rng.ExpFloat64() * (sum - 0.5 - 0.5/sum))
		back = min(back, uint32(len(a.recent)-1), a.head-1)
	}
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

// eventShares returns the shares of the instruments in the events.
func eventShares(listings []listing) []float64 {
	out, sum := activities(listings), 0.0
	for _, w := range out {
		sum += w
	}
	for i := range out {
		out[i] /= sum
	}
	return out
}
