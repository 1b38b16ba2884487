package sim

import (
	"cmp"
	"math"
	"math/rand/v2"

	"tickfeed/feed"
)

// A habit is how an instrument of a Profile behaves: its distributions as tables, and what it remembers for them. An
// instrument without a Profile has none; its behaviour follows from the constants of this package.
type habit struct {
	flow         flow
	orders, deep uint64  // of 1<<16 events, those that trade, and of the others, those that change only levels behind the best
	fills        uint64  // of 256 fills are followed by another in the same event
	impact       float64 // of a surprising order, in usual spreads
	spread       float32 // usual spread, in ticks
	wide         float32 // the instrument's own part of how wide the spread is; standard normal, as the next two
	bid, ask     float32 // of the displayed sizes
	correlation  float32 // of bid and ask
	fresh        float32 // part of a new size that is independent of the other one
	lean         float32 // how strongly sizes lean to where the price is going
	spreads      *[normalSteps]float32
	queues       *[normalSteps]int64
	trades       *[1024]int64
	levels       []float64 // mean size by level, as a multiple of the first one's
	flowVariance float64   // of the surprises, for each order, in the long run
	flowDay      float64   // variance that the surprises bring in the day at hand
}

const (
	// The tables of normal quantities have normalSteps entries for values from -normalRange to +normalRange.
	normalSteps = 1024
	normalRange = 4

	// The spread depends on the volatility of the market and of the instrument, on a state of its own that lasts for some events,
	// and on the event: weights of standard normal parts, whose squares have the sum 1.
	spreadMarket = 0.45
	spreadHeat   = 0.35
	spreadOwn    = 0.45
	spreadEvent  = 0.69
	spreadKeep   = 0.9 // of an instrument's own state, from one event to the next
	spreadRenew  = 0.43589

	// MostFlow is the part of an instrument's own variance that the surprises of its orders bring at most.
	MostFlow = 1
)

// normals are quantiles of the standard normal distribution.
var normals = func() (t [1024]float32) {
	for i := range t {
		t[i] = float32(math.Sqrt2 * math.Erfinv(2*(float64(i)+0.5)/float64(len(t))-1))
	}
	return t
}()

// normal returns the entry of a table for a standard normal value.
func normalEntry(z float32) int {
	return int(min(max(z+normalRange, 0), 2*normalRange-1e-3) * (normalSteps / (2 * normalRange)))
}

// newHabit makes the tables of h for an instrument.
func newHabit(h *Habits, in *instrument, l *listing) habit {
	out := habit{
		flow: usualFlow, flowVariance: usualFlowVariance, spread: float32(l.spread),
		orders: uint64(cmp.Or(h.Orders, float64(tradeShare)/1024) * (1 << 16)), deep: uint64(h.Deep * (1 << 16)),
		fills:  uint64(min(256*(1-1/cmp.Or(h.Fills, 1.5)), 255)),
		impact: cmp.Or(h.Impact, impact), lean: float32(cmp.Or(h.Lean, UsualLean)), correlation: float32(h.Correlation),
		levels: h.Depth,
	}
	out.fresh = float32(math.Sqrt(1 - h.Correlation*h.Correlation))
	if h.Memory != (Memory{}) {
		out.flow = h.Memory.flow(h.Foresight)
		out.flowVariance = perOrder(out.flow.surprises(h.Memory.Sides(flowSides)))
	}
	if len(out.levels) == 0 {
		out.levels = depthShape[:]
	}
	out.spreads = new([normalSteps]float32)
	out.queues = new([normalSteps]int64)
	out.trades = new([1024]int64)
	for i := range normalSteps {
		z := (float64(i)+0.5)*(2*normalRange)/normalSteps - normalRange
		p := 0.5 * math.Erfc(-z/math.Sqrt2)
		out.spreads[i] = float32(l.spread * exp(0.5*z-0.125))
		if len(h.Spreads) > 0 {
			out.spreads[i] = float32(quantile(h.Spreads, p))
		}
		out.queues[i] = int64(displayedLots[in.sizes][int(p*1024)&1023]) * int64(in.lot)
		if len(h.Queues) > 0 {
			out.queues[i] = max(int64(quantile(h.Queues, p)+0.5), 1)
		}
	}
	for i := range out.trades {
		out.trades[i] = int64(dealtSizes[in.sizes][i])
		if len(h.Trades) > 0 {
			out.trades[i] = max(int64(quantile(h.Trades, (float64(i)+0.5)/float64(len(out.trades)))+0.5), 1)
		}
	}
	return out
}

// Percents are the percentages of the quantiles of a distribution in a Profile.
var Percents = [...]float64{
	0, 1, 2.5, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95, 97.5, 99, 99.5, 99.9, 100,
}

// quantile returns the value below which share p of a distribution lies, given its quantiles at Percents, which are positive.
func quantile(at []float64, p float64) float64 {
	p *= 100
	i := 1
	for i < len(at)-1 && p > Percents[i] {
		i++
	}
	from, to := at[i-1], at[i]
	if from == to {
		return from
	}
	return from * exp(math.Log(to/from)*(p-Percents[i-1])/(Percents[i]-Percents[i-1]))
}

// usualFlowVariance is the flowVariance of the usual flow.
const usualFlowVariance = 1.2

// UsualLean is the lean of instruments whose Habits have none.
const UsualLean = 1.4

// startDay sets the scales of an instrument's day, which has a number of orders, to those of its habit.
func (h *habit) startDay(in *instrument, l *listing, orders float64) {
	market, own := in.moves(l)
	all := float64(market*market) + float64(own*own)
	push := float64(h.impact * l.spread)
	most := MostFlow * all / (h.flowVariance * max(orders, 1))
	push = min(push, math.Sqrt(most))
	in.spread, in.push = h.spread, float32(push)
	h.flowDay = h.flowVariance * float64(push*push) * orders
	h.setScale(in, l, 1)
}

// setScale makes the day's moves k times as large as usual. The part of the variance that comes from the orders is not in the
// instrument's own.
func (h *habit) setScale(in *instrument, l *listing, k float64) {
	market, own := in.moves(l)
	in.marketScale, in.ownScale = float32(market*k), float32(math.Sqrt(max(float64(own*own)-h.flowDay, 0.1*own*own))*k)
}

// habitual is an ordinary event of an instrument with a habit.
func (m *Market) habitual(out []feed.Tick, id uint32, in *instrument, at int64, r uint64) int {
	h := &m.habits[id]
	if in.quoted {
		if r&0xffff < h.orders {
			return m.tradeByHabit(out, id, in, h, at)
		}
		if m.config.Depth > 1 && r>>16&0xffff < h.deep {
			return m.deepen(out, id, in, at, m.bits.Uint64())
		}
	}
	return m.quoteByHabit(out, id, in, h, at, r)
}

// quoteByHabit is the event of a new quote: a side moves so that the quote is as wide as the distribution of spreads wants it
// and fits the fair price, if it is too far from there; otherwise it gets a new size.
func (m *Market) quoteByHabit(out []feed.Tick, id uint32, in *instrument, h *habit, at int64, r uint64) int {
	h.wide = float32(spreadKeep*h.wide) + float32(spreadRenew*normals[r>>32&1023])
	warm := float32(3.5 * (in.heat - 1) / (in.heat + 1))
	z := float32(spreadMarket*m.climate.swing()) + float32(spreadHeat*warm) + float32(spreadOwn*h.wide) + float32(spreadEvent*normals[r>>42&1023])
	width := float64(h.spreads[normalEntry(z)]) * float64(in.spread/h.spread)
	wide := max(int64(width+0.5), 1)
	bid := max(int64(math.Floor(in.fair-float64(wide)/2+0.5)), in.lowest)
	ask := bid + wide
	if !in.quoted {
		in.bid, in.ask, in.quoted = bid, ask, true
		in.bidSize, in.askSize = h.size(in, true, m.bits.Uint64()), h.size(in, false, m.bits.Uint64())
		return m.publish(out, 0, id, in, at)
	}
	offBid, offAsk := max(bid-in.bid, in.bid-bid), max(ask-in.ask, in.ask-ask)
	far := 1 + int64(slack*min(width, float64(in.spread)))
	moveBid := offBid >= far && (offBid > offAsk || offBid == offAsk && r>>63 == 0)
	moveAsk := offAsk >= far && !moveBid
	still := !moveBid && !moveAsk
	if still {
		moveBid = r>>63 == 0
		moveAsk = !moveBid
		bid, ask = in.bid, in.ask
	}
	// Both sides move if the quote would be crossed, or much wider than wanted, with one of them.
	both := moveBid && (bid >= in.ask || in.ask-bid > 2*wide) || moveAsk && (ask <= in.bid || ask-in.bid > 2*wide)
	if both && !still {
		moveBid, moveAsk = true, true
	}
	was := [...]int64{in.bid, in.bidSize, in.ask, in.askSize}
	if moveBid {
		in.bid = bid
	}
	if moveAsk {
		in.ask = ask
	}
	for range 3 { // a quote that changes nothing is rare
		r = m.bits.Uint64()
		if moveBid {
			in.bidSize = h.size(in, true, r)
		}
		if moveAsk {
			in.askSize = h.size(in, false, r>>32)
		}
		if was != [...]int64{in.bid, in.bidSize, in.ask, in.askSize} {
			break
		}
		moveBid, moveAsk = moveAsk, moveBid
	}
	return m.publish(out, 0, id, in, at)
}

// size returns a new size of a side of the quote, chosen by the lower 32 bits of r.
func (h *habit) size(in *instrument, bid bool, r uint64) int64 {
	edge := float32(min(max(in.edge(), -1), 1))
	z := float32(h.fresh * normals[r&1023])
	if bid {
		z += float32(h.correlation*h.ask) + float32(h.lean*edge)
		h.bid = z
	} else {
		z += float32(h.correlation*h.bid) - float32(h.lean*edge)
		h.ask = z
	}
	return h.queues[normalEntry(z)]
}

// sizeAt returns a size of a level, 0 for the best one, chosen by the bits of r.
func (h *habit) sizeAt(r uint64, level int) int64 {
	size := h.queues[normalEntry(normals[r&1023])]
	return max(int64(float64(size)*h.levels[min(level, len(h.levels)-1)]+0.5), 1)
}

// tradeByHabit is the event of one order that meets the quote. A fill may be larger than the displayed size: the rest of it was
// hidden.
func (m *Market) tradeByHabit(out []feed.Tick, id uint32, in *instrument, h *habit, at int64) int {
	r := m.bits.Uint64()
	buy := in.order(r, m.pace, &h.flow) > 0
	t := feed.Trade{Side: feed.SideBuy, Price: in.ask * in.tickSize}
	left := &in.askSize
	if !buy {
		t.Side, t.Price = feed.SideSell, in.bid*in.tickSize
		left = &in.bidSize
	}
	n := 0
	for more := true; more; {
		r = m.bits.Uint64()
		t.Size = h.trades[r&1023]
		*left -= min(t.Size, *left)
		more = n+1 < maxFills && *left > 0 && r>>56 < h.fills
		in.tradeID++
		t.ID = uint64(in.tradeID)
		t.Conditions = conditions(n > 0 || more, t.Size < int64(in.lot))
		out[n] = t.Tick(feed.InstrumentID(id), at)
		n++
	}
	if *left == 0 {
		m.exhaust(id, in, buy, r>>36)
	}
	return m.publish(out, n, id, in, at)
}

// flow returns the flow of parent orders with a memory; foresight is that of Habits.
func (m Memory) flow(foresight [2]float64) flow {
	table := parentsOf(m.Exponent, float64(m.Longest))
	return flow{parents: &table, strays: uint64(m.Strays * 256), fast: foresight[0] / certain, slow: foresight[1] / certain}
}

// surprises returns the surprise in each of sides.
func (f *flow) surprises(sides []int8) []float64 {
	out := make([]float64, len(sides))
	var in instrument
	for i, side := range sides {
		out[i] = float64(side) - float64(f.fast*float64(in.expected[0])) - float64(f.slow*float64(in.expected[1]))
		in.expect(side)
	}
	return out
}

// perOrder returns the variance of the sum of many surprises, for each of them.
func perOrder(surprises []float64) float64 {
	const block = 256
	variance := 0.0
	n := 0
	for ; n+block <= len(surprises); n += block {
		sum := 0.0
		for _, v := range surprises[n : n+block] {
			sum += v
		}
		variance += float64(sum * sum)
	}
	return variance / float64(n)
}

// flowSides is the number of simulated sides from which a flow is made.
const flowSides = 1 << 14

// Response returns the mean move of the price from an order to after lag further ones, for each of lags, in multiples of the
// impact of a surprising order; and the variance of the price for each order in the long run, in multiples of its square. sides
// are those of many orders, and foresight is that of Habits.
func Response(sides []int8, foresight [2]float64, lags ...int) (moves []float64, variance float64) {
	f := flow{fast: foresight[0] / certain, slow: foresight[1] / certain}
	surprises := f.surprises(sides)
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

// simulatedSides returns the sides of n orders of a flow that nothing else influences.
func simulatedSides(f *flow, n int) []int8 {
	bits := rand.NewPCG(uint64(n), 0x7369646573)
	out := make([]int8, n)
	var left uint16
	side := int8(1)
	for i := range out {
		r := bits.Uint64()
		if left == 0 {
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

// Sides returns the sides, +1 or -1, of n orders that nothing but m influences.
func (m Memory) Sides(n int) []int8 {
	f := m.flow([2]float64{})
	return simulatedSides(&f, n)
}
