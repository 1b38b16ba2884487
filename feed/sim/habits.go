package sim

import (
	"cmp"
	"math"

	"tickfeed/feed"
)

// A habit is how an instrument of a Profile behaves: its distributions as tables, and what it remembers for them. An
// instrument without a Profile has none; its behaviour follows from the constants of this package.
type habit struct {
	orderHabit
	deep        uint64  // of 1<<16 events that do not trade, those that change only levels behind the best
	spread      float32 // usual spread, in ticks
	wide        float32 // the instrument's own part of how wide the spread is; standard normal, as the next two
	bid, ask    float32 // of the displayed sizes
	correlation float32 // of bid and ask
	fresh       float32 // part of a new size that is independent of the other one
	lean        float32 // how strongly sizes lean to where the price is going
	spreads     *[normalSteps]float32
	queues      *[normalSteps]int64
	trades      *[1024]int64
	levels      []float64 // mean size by level, as a multiple of the first one's
}

const (
	// The tables of normal quantities have normalSteps entries for values from -normalRange to +normalRange.
	normalSteps = 1024
	normalRange = 4

	// The spread depends on the volatility of the market and of the instrument, on a state of its own that lasts for some events,
	// and on the event: weights of standard normal parts, whose squares have the sum 1.
	spreadMarket = 0.45
	spreadHeat   = 0.35
	spreadOwn    = 0.58
	spreadEvent  = 0.58
	spreadKeep   = 0.9 // of an instrument's own state, from one event to the next
	spreadRenew  = 0.43589
)

// normals are quantiles of the standard normal distribution.
var normals = func() (t [1024]float32) {
	for i := range t {
		t[i] = float32(math.Sqrt2 * math.Erfinv(2*(float64(i)+0.5)/float64(len(t))-1))
	}
	return t
}()

// normalEntry returns the place in a table for a standard normal value.
func normalEntry(z float32) int {
	return int(min(max(z+normalRange, 0), 2*normalRange-1e-3) * (normalSteps / (2 * normalRange)))
}

// newHabit makes the tables of h, of p, for an instrument.
func newHabit(p *Profile, h *Habits, in *instrument, l *listing) habit {
	out := habit{
		orderHabit: newOrderHabit(p, h), deep: uint64(h.Deep * (1 << 16)), spread: float32(l.spread),
		lean: float32(cmp.Or(h.Lean, UsualLean)), correlation: float32(h.Correlation), levels: h.Depth,
	}
	out.fresh = float32(math.Sqrt(1 - float64(h.Correlation*h.Correlation)))
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
	p = float64(p * 100)
	i := 1
	for i < len(at)-1 && p > Percents[i] {
		i++
	}
	from, to := at[i-1], at[i]
	if from == to {
		return from
	}
	return float64(from * exp(math.Log(to/from)*(p-Percents[i-1])/(Percents[i]-Percents[i-1])))
}

// UsualLean is the lean of an instrument whose Habits have none.
const UsualLean = 1.4

// habitual is an ordinary event of an instrument with a habit.
func (m *Market) habitual(out []feed.Tick, id uint32, in *instrument, at int64, r uint64) int {
	h := &m.habits[id]
	if in.quoted {
		after := h.traded
		if h.traded = 0; r&0xffff < h.shares[after] {
			h.traded = 1
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
	width := float64(float64(h.spreads[normalEntry(z)]) * float64(in.spread/h.spread))
	wide := max(int64(min(width, in.highest())+0.5), 1)
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
	return max(int64(float64(float64(size)*h.levels[min(level, len(h.levels)-1)])+0.5), 1)
}
