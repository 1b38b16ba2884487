package fit

import (
	"context"
	"io"
	"slices"

	"tickfeed/feed"
	"tickfeed/feed/facts"
	"tickfeed/feed/sim"
)

const (
	refinements = 3
	// Ticks and days of the market that are simulated for each refinement, and for the distances, at most.
	refineTicks, refineDays = 100_000, 2
	lastTicks, lastDays     = 300_000, 5
)

// refine corrects what a profile leads to in a simulated market, as far as it differs from what was measured: the spread that
// quotes have is not quite the one that they aim at, and sizes lean more or less with the way in which the price moves.
func (f *Fitter) refine(p *sim.Profile) error {
	for range refinements {
		report, got, err := simulate(p, refineTicks, refineDays)
		if err != nil {
			return err
		}
		for i := range p.Instruments {
			h := &p.Instruments[i]
			refineSpreads(h, f.all[i], got[i])
			refineFills(h, f.all[i], got[i])
			want, known := f.all[i].row.Values["8"]
			if have, ok := report.Instruments[i].Values["8"]; known && ok {
				h.Lean = round3(min(max(h.Lean+leanStep*(want-have), leastLean), mostLean))
			}
		}
	}
	return nil
}

// simulate measures the first ticks of the market of p, at most those of some days.
func simulate(p *sim.Profile, ticks, days int) (*facts.Report, []*measure, error) {
	market, err := sim.New(sim.Config{Seed: 1, Profile: p, Days: days})
	if err != nil {
		return nil, nil, err
	}
	ids := make([]feed.InstrumentID, len(p.Instruments))
	for i := range ids {
		ids[i] = feed.InstrumentID(i)
	}
	got := New(ids...)
	batch := make([]feed.Tick, 1024)
	for ticks > 0 && err == nil {
		var n int
		n, err = market.Next(context.Background(), batch)
		got.Add(batch[:n])
		ticks -= n
	}
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	return got.exam.Report(), got.all, nil
}

const (
	leanStep            = 8.0 // change of the lean for that of the share of moves that follow the imbalance
	leastLean, mostLean = 0.2, 2.0
)

// refineFills corrects the number of trades of an order: a fill that takes all that the quote has is the last one.
func refineFills(h *sim.Habits, want, got *measure) {
	if want.orders < leastTrades || got.orders < leastTrades || got.dealt == got.orders {
		return
	}
	more := (float64(want.dealt)/float64(want.orders) - 1) / (float64(got.dealt)/float64(got.orders) - 1)
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
