package sim

import (
	"cmp"
	"math"
	"math/rand/v2"

	"tickfeed/feed"
)

// An orderHabit is how the orders of an instrument of a Profile come, and what they do to the price.
type orderHabit struct {
	flow        flow
	memory      Memory
	shares      [2]uint64 // of 1<<16 events that trade: after one that does not, and after one that does
	share       float64   // of the events that trade
	fills       uint64    // of 256 fills are followed by another in the same event
	impact      float64   // of a surprising order, in usual spreads
	variance    float64   // of the surprises, for each order, in the long run
	dayVariance float64   // that the surprises bring in the day at hand
	last        int64     // time of the last order, as arrivals.now
	traded      uint8     // 1 if the last event did, 0 if not
}

// MostFlow is the part of an instrument's variance that the surprises of its orders bring at most.
const MostFlow = 1

// usualFlowVariance is the variance of the usual flow's surprises.
const usualFlowVariance = 1.2

// newOrderHabit returns how the orders of h, of p, come.
func newOrderHabit(p *Profile, h *Habits) orderHabit {
	first, next := h.shares()
	out := orderHabit{
		flow: usualFlow, variance: usualFlowVariance, share: cmp.Or(h.Orders, usualOrders),
		shares: [2]uint64{uint64(first * (1 << 16)), uint64(next * (1 << 16))},
		fills:  uint64(min(256*(1-1/cmp.Or(h.Fills, usualFills)), 255)), impact: cmp.Or(h.Impact, impact),
	}
	if h.Memory != (Memory{}) {
		out.flow, out.memory = h.Memory.flow(h.Foresight), h.Memory
		pauses := p.Pauses(h, p.Rate*h.Activity/p.activity(), flowOrders)
		out.variance = perOrder(h.Memory.surprises(h.Foresight, h.Memory.Sides(pauses), pauses))
	}
	return out
}

// usualFills is the number of trades of an order in a market without a Profile.
const usualFills = 1.5

// startDay sets the scales of an instrument's day, which has a number of orders, to those of its habit.
func (h *habit) startDay(in *instrument, l *listing, orders float64) {
	market, own := in.moves(l)
	all := float64(market*market) + float64(own*own)
	push := float64(h.impact * l.spread)
	most := MostFlow * all / (h.variance * max(orders, 1))
	push = min(push, math.Sqrt(most))
	in.spread, in.push = h.spread, float32(push)
	h.dayVariance = float64(h.variance * float64(push*push) * orders)
	h.setScale(in, l, 1)
}

// setScale makes the day's moves k times as large as usual. The part of the variance that comes from the orders is not in the
// instrument's own.
func (h *habit) setScale(in *instrument, l *listing, k float64) {
	market, own := in.moves(l)
	in.marketScale, in.ownScale = float32(market*k), float32(math.Sqrt(max(float64(own*own)-h.dayVariance, 0.1*own*own))*k)
}

// tradeByHabit is the event of one order that meets the quote.
func (m *Market) tradeByHabit(out []feed.Tick, id uint32, in *instrument, h *habit, at int64) int {
	h.pause(in, m.arrivals.now, m.bits.Uint64())
	return m.execute(out, id, in, h, in.order(m.bits.Uint64(), m.pace, &h.flow) > 0, at)
}

// flow returns the flow of parent orders with a memory; foresight is that of Habits.
func (m Memory) flow(foresight [2]float64) flow {
	table := parentsOf(m.Exponent, float64(m.Longest))
	return flow{parents: &table, strays: uint64(m.Strays * 256), fast: foresight[0] / certain, slow: foresight[1] / certain}
}

// lasts returns the share of parent orders that go on after a pause, in seconds.
func (m Memory) lasts(pause float64) float64 {
	if m.Patience == 0 {
		return 1
	}
	return 1 / (1 + pause/m.Patience.Seconds())
}

// Sides returns the sides, +1 or -1, of orders that nothing but m influences, given the pause before each, in seconds.
func (m Memory) Sides(pauses []float64) []int8 {
	f := m.flow([2]float64{})
	bits := rand.NewPCG(uint64(len(pauses)), 0x7369646573)
	out := make([]int8, len(pauses))
	var left uint16
	side := int8(1)
	for i := range out {
		r := bits.Uint64()
		if left == 0 || m.Patience > 0 && uniform(r<<30) > m.lasts(pauses[i]) {
			left = f.parents[r>>20&1023]
			side = 1 - 2*int8(r>>63)
		} else {
			left--
		}
		out[i] = side
		if r>>8&255 < f.strays {
			out[i] = -side
		}
	}
	return out
}

// surprises returns the surprise in each of sides, given the pause before each.
func (m Memory) surprises(foresight [2]float64, sides []int8, pauses []float64) []float64 {
	out := make([]float64, len(sides))
	var in instrument
	for i, side := range sides {
		in.forget(m.lasts(pauses[i]))
		out[i] = float64(side) - float64(foresight[0]/certain*float64(in.expected[0])) - float64(foresight[1]/certain*float64(in.expected[1]))
		in.expect(side)
	}
	return out
}

// forget leaves a share of what is expected of the next order's side.
func (in *instrument) forget(share float64) {
	in.expected[0], in.expected[1] = int16(float64(in.expected[0])*share), int16(float64(in.expected[1])*share)
}

// pause lets the time since the last order pass, by the bits of r.
func (h *orderHabit) pause(in *instrument, now int64, r uint64) {
	if h.memory.Patience == 0 {
		return
	}
	last := h.last
	if h.last = now; now < last { // a night
		last = math.MinInt64 / 2
	}
	lasts := h.memory.lasts(float64(now-last) / unitsPerSecond)
	if uniform(r) > lasts {
		in.parentLeft = 0
	}
	in.forget(lasts)
}

// perOrder returns the variance of the sum of many surprises, for each of them.
func perOrder(surprises []float64) float64 {
	const block = 128
	variance := 0.0
	n := 0
	for ; n+block <= len(surprises); n += block {
		sum := 0.0
		for _, v := range surprises[n : n+block] {
			sum += v
		}
		variance += float64(sum * sum)
	}
	return variance / float64(max(n, 1))
}

// Response returns the mean move of the price from an order to after lag further ones, for each of lags, in multiples of the
// impact of a surprising order; and the variance of the price for each order in the long run, in multiples of its square. sides
// are those of many orders of m, pauses are the times before them in seconds, and foresight is that of Habits.
func (m Memory) Response(foresight [2]float64, sides []int8, pauses []float64, lags ...int) (moves []float64, variance float64) {
	surprises := m.surprises(foresight, sides, pauses)
	for _, lag := range lags {
		sum, moved := 0.0, 0.0
		for i := range sides {
			moved += surprises[i]
			if i >= lag {
				moved -= surprises[i-lag]
				sum += float64(sides[i-lag+1]) * moved
			}
		}
		moves = append(moves, sum/float64(len(sides)-lag))
	}
	return moves, perOrder(surprises)
}

// Pauses returns the times, in seconds, between at most n orders of an instrument of p with the orders of h and a rate of events
// per second.
func (p *Profile) Pauses(h *Habits, rate float64, n int) []float64 {
	first, next := h.shares()
	times := make([]int64, min(int(float64(n)/cmp.Or(h.Orders, usualOrders)), flowEvents))
	p.Times(rate, times)
	bits := rand.NewPCG(uint64(n), 0x706175736573)
	out, last, share := make([]float64, 0, n), int64(0), first
	for _, at := range times {
		traded := uniform(bits.Uint64()) < share
		if share = first; traded {
			share = next
		}
		if traded && len(out) < n {
			out, last = append(out, float64(at-last)/1e9), at
		}
	}
	return out
}

// usualOrders is the share of orders in the events of a market without a Profile.
const usualOrders = float64(tradeShare) / 1024

// shares returns the shares of orders in the events after one without an order, and in those after an order.
func (h *Habits) shares() (first, next float64) {
	all := cmp.Or(h.Orders, usualOrders)
	next = cmp.Or(h.Follow, all)
	if all >= 1 {
		return 1, 1
	}
	return min(all*(1-next)/(1-all), 1), next
}

// The variance of a flow is that of so many orders, among at most so many events.
const flowOrders, flowEvents = 1 << 13, 1 << 17
