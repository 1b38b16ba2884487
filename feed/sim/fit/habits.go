package fit

import (
	"cmp"
	"math"
	"slices"
	"time"

	"tickfeed/feed/facts"
	"tickfeed/feed/sim"
)

// habits returns the habits of an instrument; loading is its correlation with what all have in common, and seconds the length of
// its days.
func (m *measure) habits(p *sim.Profile, loading, seconds float64) sim.Habits {
	h := sim.Habits{Entry: sim.Entry{Definition: m.definition, Activity: round4(m.visible() / seconds)}, Lean: sim.UsualLean}
	m.fitUnits(&h)
	tick := float64(h.Definition.TickSize) * m.price
	h.Price = max(int64(math.Round(m.path.first/tick)), 2) * h.Definition.TickSize
	if h.Negative = m.path.least <= 0; h.Negative {
		h.Price = int64(math.Round(m.path.first/tick)) * h.Definition.TickSize
	}
	days := max(seconds/p.DayLength.Seconds(), 1)
	move := m.move(days, p.DayLength)
	if h.Negative {
		h.Volatility = round4(move / tick)
	} else {
		relative := min(move/m.path.first, 1)
		shared := min(max(loading*relative, -10*sim.MarketMove), 10*sim.MarketMove)
		h.Beta = round4(shared / sim.MarketMove)
		h.Volatility = round4(math.Sqrt(relative*relative - shared*shared))
	}
	if m.events.orders >= leastTrades {
		h.Orders = round4(min(float64(m.events.orders)/m.visible(), 1))
		if !m.tradesOnly() {
			h.Follow = round4(min(float64(m.events.followed)/float64(m.events.orders), 0.99))
		}
		h.Fills = round4(min(max(float64(m.dealt)/float64(m.events.orders), 1), mostFills))
	}
	if !m.tradesOnly() && m.events.deeper > 0 {
		h.Deep = round4(min(float64(m.events.deeper)/float64(m.events.all-m.events.orders), 0.95))
	}
	h.Spread = max(1, float64(h.Price/h.Definition.TickSize)*2e-4)
	if spreads := sortedBy(&m.spreads, func(v float64) float64 { return v / tick }); len(spreads) >= leastSamples {
		h.Spreads = quantiles(spreads, 0.5)
		sum := 0.0
		for _, v := range spreads {
			sum += v
		}
		h.Spread = round4(sum / float64(len(spreads)))
	}
	if len(m.queues.values) >= leastSamples {
		both := append(sortedBy(&m.queues, func(q queues) float64 { return q.bid / m.size }), sortedBy(&m.queues, func(q queues) float64 { return q.ask / m.size })...)
		slices.SortFunc(both, cmp.Compare[float64])
		h.Queues = whole(quantiles(both, 1))
		h.Correlation = round4(rankCorrelation(m.queues.values))
	}
	if sizes := sortedBy(&m.trades, func(v float64) float64 { return v / m.size }); len(sizes) >= leastTrades {
		h.Trades = whole(quantiles(sizes, 1))
	}
	var pauses []float64 // between simulated orders
	if len(m.signs) >= leastSigns {
		pauses = p.Pauses(&h, h.Activity, maxFitted)
		h.Memory = fitMemory(m.signs, m.pauses, pauses)
	}
	if h.Memory != (sim.Memory{}) {
		m.fitImpact(&h, pauses, move/tick/math.Sqrt(float64(m.events.orders)/days))
	}
	h.Depth = profileOf(m.row)
	return h
}

// fitUnits sets the tick size and the lot where the definition has none: the tick size to the greatest step of which all prices are
// multiples.
func (m *measure) fitUnits(h *sim.Habits) {
	step := m.path.step
	if m.quotes < leastSamples {
		step = gcd(step, m.path.odd)
	}
	d := &h.Definition
	d.TickSize = max(d.TickSize, 1)
	if step > d.TickSize && step%d.TickSize == 0 && m.events.all >= leastEvents {
		d.TickSize = step
	}
	if d.Lot == 0 {
		d.Lot = 1
		if d.SizeExponent == 0 {
			d.Lot = 100
		}
	}
}

// move returns the standard deviation of the move of a day.
func (m *measure) move(days float64, length time.Duration) float64 {
	slots := 30 // 5 minutes
	for slots > 1 && len(m.path.slots) < slots*leastSlots {
		slots /= 5
	}
	sum, n := 0.0, 0
	m.returns(max(slots, 1), func(_ int64, r float64) { sum += r * r; n++ })
	if n == 0 {
		return 0.01 * math.Abs(m.path.first)
	}
	return math.Sqrt(sum / float64(n) * length.Seconds() / (float64(max(slots, 1)) * slotLength.Seconds()))
}

// quantiles returns the quantiles of values in order at sim.Percents, none less than least.
func quantiles(values []float64, least float64) []float64 {
	out := make([]float64, len(sim.Percents))
	for i, percent := range sim.Percents {
		at := percent / 100 * float64(len(values)-1)
		k := min(int(at), len(values)-2)
		v := values[k] + (values[k+1]-values[k])*(at-float64(k))
		out[i] = round4(max(v, least))
	}
	return out
}

// whole rounds values to integers.
func whole(values []float64) []float64 {
	for i := range values {
		values[i] = math.Round(values[i])
	}
	return values
}

// rankCorrelation returns the correlation of the normal scores of the sizes of bid and ask.
func rankCorrelation(values []queues) float64 {
	bids := ranks(values, func(q queues) float64 { return q.bid })
	asks := ranks(values, func(q queues) float64 { return q.ask })
	var xy, xx, yy float64
	for i := range bids {
		xy += bids[i] * asks[i]
		xx += bids[i] * bids[i]
		yy += asks[i] * asks[i]
	}
	if xx == 0 || yy == 0 {
		return 0
	}
	return min(max(xy/math.Sqrt(xx*yy), -0.9), 0.9)
}

// ranks returns the normal scores of values; equal values have that of their middle.
func ranks(values []queues, of func(queues) float64) []float64 {
	order := make([]int, len(values))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(of(values[a]), of(values[b])) })
	out := make([]float64, len(values))
	for i := 0; i < len(order); {
		k := i
		for k < len(order) && of(values[order[k]]) == of(values[order[i]]) {
			k++
		}
		score := math.Sqrt2 * math.Erfinv((float64(i)+float64(k))/float64(len(order))-1)
		for ; i < k; i++ {
			out[order[i]] = score
		}
	}
	return out
}

// signLags are the lags, in trades, at which the memory of the sides is fitted.
var signLags = [...]int{1, 2, 5, 10, 20, 50}

// maxFitted bounds the simulated orders by which the memory of the sides is fitted.
const maxFitted = 1 << 13

// fitMemory returns the memory whose sides have the autocorrelation of signs, before which there were pauses: by the number of
// trades, and by the time, between two trades. simulated are pauses between simulated orders.
func fitMemory(signs []int8, pauses, simulated []float64) (memory sim.Memory) {
	want := correlations(signs, pauses)
	best := math.Inf(1)
	for _, patience := range []time.Duration{0, time.Second, 2 * time.Second, 5 * time.Second, 15 * time.Second} {
		for exponent := 0.4; exponent < 1.7; exponent += 0.2 {
			for _, longest := range []int{35, 75, 150, 300} {
				for off := 0; off <= 48; off += 12 {
					m := sim.Memory{Exponent: round3(exponent), Longest: longest, Strays: float64(off) / 256, Patience: patience}
					sum := 0.0
					for i, got := range correlations(m.Sides(simulated), simulated) {
						d := (got - want[i]) / (math.Abs(want[i]) + 0.1)
						if i >= len(signLags) {
							d *= 0.25
						}
						sum += d * d
					}
					if sum < best {
						best, memory = sum, m
					}
				}
			}
		}
	}
	return memory
}

// pauseSteps divide the pauses between trades, in seconds.
var pauseSteps = [...]float64{0.03, 0.3, 3}

// correlations returns the autocorrelation of signs at signLags, then that at 1 of trades after a pause in each part of pauseSteps.
func correlations(signs []int8, pauses []float64) (out [len(signLags) + len(pauseSteps) + 1]float64) {
	mean := 0.0
	for _, s := range signs {
		mean += float64(s)
	}
	mean /= float64(len(signs))
	scale := func(sum, n int) float64 {
		return (float64(sum)/max(float64(n), 1) - mean*mean) / max(1-mean*mean, 1e-9)
	}
	for i, lag := range signLags {
		sum := 0
		for k := lag; k < len(signs); k++ {
			sum += int(signs[k]) * int(signs[k-lag])
		}
		out[i] = scale(sum, len(signs)-lag)
	}
	var sums, counts [len(pauseSteps) + 1]int
	for k := 1; k < len(signs); k++ {
		i := 0
		for i < len(pauseSteps) && pauses[k] > pauseSteps[i] {
			i++
		}
		sums[i] += int(signs[k]) * int(signs[k-1])
		counts[i]++
	}
	for i := range sums {
		if counts[i] >= leastPairs {
			out[len(signLags)+i] = scale(sums[i], counts[i])
		}
	}
	return out
}

// fitImpact sets the impact of an order, and the foresight of the price, to those whose response is most like the measured one.
// perOrder is the standard deviation of the price from one order to the next, in ticks.
func (m *measure) fitImpact(h *sim.Habits, pauses []float64, perOrder float64) {
	measured := make(map[float64]float64)
	for _, p := range m.row.Impact {
		measured[p.X] = p.Y
	}
	lags := []int{5, 10, 20, 50}
	for _, lag := range lags {
		if !(measured[float64(lag)] > 0) {
			return
		}
	}
	sides := h.Memory.Sides(pauses)
	best := math.Inf(1)
	for fast := 0.0; fast < 0.85; fast += 0.1 {
		for slow := 0.0; slow < 0.25; slow += 0.1 {
			foresight := [2]float64{fast, slow}
			moves, variance := h.Memory.Response(foresight, sides, pauses, lags...)
			most := math.Sqrt(sim.MostFlow*perOrder*perOrder/variance) / h.Spread
			var xy, xx float64
			for i, lag := range lags {
				x := moves[i] / measured[float64(lag)]
				xy += x
				xx += x * x
			}
			push := min(max(xy/xx, 0), most)
			trend := math.Log(variance)
			sum := trendShare * trend * trend
			for i, lag := range lags {
				d := push*moves[i]/measured[float64(lag)] - 1
				sum += d * d
			}
			if sum < best {
				best = sum
				h.Foresight = [2]float64{round3(fast), round3(slow)}
				h.Impact = round4(min(push/usualSwing, 10))
			}
		}
	}
}

const (
	// trendShare is the weight of the variance in the long run, in multiples of that at once, beside the response: the price must
	// not be predictable.
	trendShare = 0.03
	// usualSwing is the mean of the square root of the volatility's swings, of which an order's impact is a multiple.
	usualSwing = 0.85
)

// profileOf returns the mean sizes by level as multiples of the first one.
func profileOf(in *facts.Instrument) []float64 {
	var out []float64
	for _, p := range in.Profile {
		if v := p.Y / in.Profile[0].Y; v > 0 && !math.IsInf(v, 0) {
			out = append(out, round3(v))
		}
	}
	if len(out) < 2 {
		return nil
	}
	return out
}
