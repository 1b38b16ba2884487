package fit

import (
	"context"
	"io"
	"math"
	"slices"

	"tickfeed/feed"
	"tickfeed/feed/sim"
)

const (
	refinements = 3
	// Ticks and days of the market that are simulated for each refinement, and for the distances, at most.
	refineTicks, refineDays = 100_000, 2
	lastTicks, lastDays     = 300_000, 5
)

// refine corrects a profile until a simulated market has the measured habits: the spread of its quotes is not quite the one at
// which they aim, and its sizes lean more or less, depending on how the price moves.
func (f *Fitter) refine(ctx context.Context, p *sim.Profile) error {
	for range refinements {
		got, err := simulate(ctx, p, refineTicks, refineDays)
		if err != nil {
			return err
		}
		report := got.meter.Report()
		for i := range p.Instruments {
			h := &p.Instruments[i]
			refineSpreads(h, f.all[i], got.all[i])
			refineFills(h, f.all[i], got.all[i])
			if want, have := f.variance(i, p), got.variance(i, p); want > 0 && have > 0 {
				k := min(max(math.Sqrt(want/have), 0.75), 1.33)
				h.Volatility, h.Beta = round4(min(h.Volatility*k, 1)), round4(min(max(h.Beta*k, -10), 10))
			}
			want, known := f.all[i].row.Values["8"]
			if have, ok := report.Instruments[i].Values["8"]; known && ok {
				h.Lean = round3(min(max(h.Lean+leanStep*(want-have), leastLean), mostLean))
			}
		}
	}
	return nil
}

// simulate measures the first ticks of the market of p, at most those of some days.
func simulate(ctx context.Context, p *sim.Profile, ticks, days int) (*Fitter, error) {
	market, err := sim.New(sim.Config{Seed: 1, Profile: p, Days: days})
	if err != nil {
		return nil, err
	}
	ids := make([]feed.InstrumentID, len(p.Instruments))
	for i := range ids {
		ids[i] = feed.InstrumentID(i)
	}
	got := New(ids...)
	batch := make([]feed.Tick, 1024)
	for ticks > 0 && err == nil {
		var n int
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err = market.Next(ctx, batch)
		got.Add(batch[:n])
		ticks -= n
	}
	if err != nil && err != io.EOF {
		return nil, err
	}
	return got, nil
}

// variance returns the variance of returns over a minute of instrument i, as if the volatility of the day was even.
func (f *Fitter) variance(i int, p *sim.Profile) float64 {
	const slots = 6
	sum, n := 0.0, 0
	f.all[i].returns(slots, func(at int64, r float64) {
		k := 1.0
		if part := f.partOf((at - slots/2) * int64(slotLength)); part >= 0 && len(p.Volatility) > 0 {
			done := float64(part) * float64(partOfDay) / float64(p.DayLength)
			k = p.Volatility[min(int(done*float64(len(p.Volatility))), len(p.Volatility)-1)]
		}
		sum += r * r / k
		n++
	})
	if n < leastPairs {
		return 0
	}
	return sum / float64(n)
}

const (
	leanStep            = 8.0 // change of the lean for that of the share of moves that follow the imbalance
	leastLean, mostLean = 0.2, 2.0
)

// refineFills corrects the number of trades of an order: a fill that takes all that the quote has is the last one.
func refineFills(h *sim.Habits, want, got *measure) {
	if want.events.orders < leastTrades || got.events.orders < leastTrades || got.dealt == got.events.orders {
		return
	}
	more := (float64(want.dealt)/float64(want.events.orders) - 1) / (float64(got.dealt)/float64(got.events.orders) - 1)
	h.Fills = round4(min(1+(h.Fills-1)*more, mostFills))
}

// mostFills bounds the trades of an order.
const mostFills = 8

// refineSpreads corrects the distribution of spreads at which quotes aim.
func refineSpreads(h *sim.Habits, want, got *measure) {
	if h.Spreads == nil || len(got.spreads.values) < leastSamples {
		return
	}
	tick := float64(h.Definition.TickSize) * want.price
	wanted := quantiles(sortedBy(&want.spreads, func(v float64) float64 { return v / tick }), 0.5)
	tick = float64(h.Definition.TickSize) * got.price
	had := quantiles(sortedBy(&got.spreads, func(v float64) float64 { return v / tick }), 0.5)
	for i := range h.Spreads {
		h.Spreads[i] = round4(max(h.Spreads[i]*wanted[i]/had[i], 0.5))
	}
	slices.Sort(h.Spreads)
}
