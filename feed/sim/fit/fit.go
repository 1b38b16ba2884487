// Package fit measures the habits of a recorded market, and makes a profile of them with which package sim simulates a market
// like it. A [Fitter] reads ticks; its method Fit returns the profile.
package fit

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"tickfeed/feed/facts"
	"tickfeed/feed/sim"
)

// Least numbers of values from which a habit is measured. With fewer, the habit keeps the value of a market without a profile.
const (
	leastEvents  = 100
	leastSamples = 100
	leastTrades  = 100
	leastSigns   = 300
	leastSlots   = 18
	leastCounted = 1000
)

// A Result is a profile, with how well it fits.
type Result struct {
	Profile *sim.Profile
	// Distances is row 19 of package facts between each instrument and a simulation of it. A distance is 2 if one of the two has no
	// such values.
	Distances []facts.Distances
	// Usual lists by instrument the habits that keep their usual values, for want of data.
	Usual [][]string
}

// Fit returns a profile of what was measured; source says of what, for people. It must be called once, after the last tick. It
// takes about a second, and returns ctx.Err() if ctx ends. Any other error says what is missing for a profile.
func (f *Fitter) Fit(ctx context.Context, source string) (*Result, error) {
	report := f.meter.Report()
	kept := f.all[:0]
	for i, m := range f.all {
		m.row = &report.Instruments[i] // they are in the same order
		if max(m.quotes, m.dealt) >= leastEvents && m.path.first != 0 && (m.path.first > 0 || m.path.least < 0) {
			kept = append(kept, m)
		}
	}
	f.all = kept
	slices.SortStableFunc(f.all, func(a, b *measure) int { return cmp.Compare(b.visible(), a.visible()) })
	if len(f.all) == 0 {
		return nil, fmt.Errorf("no instrument has %d quotes or trades with event times, the least from which a profile can be made", leastEvents)
	}
	p := &sim.Profile{Source: source, Clusters: sim.UsualClusters}
	out := &Result{Profile: p}
	f.fitDay(p)
	f.fitTimes(ctx, p)
	loadings := f.loadings()
	for i, m := range f.all {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h := m.habits(p, loadings[i], f.seconds(p))
		p.Instruments, out.Usual = append(p.Instruments, h), append(out.Usual, m.usual(p, &h))
	}
	if err := f.refine(ctx, p); err != nil {
		return nil, err
	}
	market, err := simulate(ctx, p, lastTicks, lastDays)
	if err != nil {
		return nil, err
	}
	simulated := market.meter.Report()
	for i, m := range f.all {
		out.Distances = append(out.Distances, facts.Distance(&simulated.Instruments[i], m.row))
	}
	return out, nil
}

// usual lists the habits of h that keep their usual values because m had no data for them.
func (m *measure) usual(p *sim.Profile, h *sim.Habits) (out []string) {
	for _, c := range []struct {
		missing bool
		text    string
	}{
		{p.Shape == nil, "the shape of the day (the recording is short)"},
		{m.events.all < leastCounted, "the times between events"},
		{h.Spreads == nil, "spreads"}, {h.Queues == nil, "sizes of quotes"}, {h.Orders == 0, "the share of orders"},
		{h.Trades == nil, "sizes of trades"}, {h.Memory == (sim.Memory{}), "the memory of sides"}, {h.Impact == 0, "impact"},
		{h.Depth == nil, "depth"},
	} {
		if c.missing {
			out = append(out, c.text)
		}
	}
	return out
}

// tradesOnly reports whether quotes were not recorded, or hardly any.
func (m *measure) tradesOnly() bool { return m.quotes*10 < m.dealt }

// visible returns the number of events that are a quote or a trade. Where only trades were recorded, there are as many quotes as
// usual beside them.
func (m *measure) visible() float64 {
	if m.tradesOnly() {
		return float64(m.events.orders) / usualOrders
	}
	return float64(m.events.all - m.events.deeper)
}

// usualOrders is about the share of orders in the events of a market without a profile.
const usualOrders = 0.09

// seconds returns the length of all days.
func (f *Fitter) seconds(p *sim.Profile) float64 { return p.DayLength.Seconds() * float64(len(f.days)) }

// fitDay sets when the days are, and how events and volatility are spread over them.
func (f *Fitter) fitDay(p *sim.Profile) {
	first := time.Unix(0, f.days[0].from).UTC().Truncate(time.Minute)
	p.Start = first
	length := sim.MinDayLength
	for i := range f.days {
		d := &f.days[i]
		began := time.Unix(0, d.from).UTC().Truncate(time.Minute)
		length = max(length, time.Unix(0, d.to).Sub(began))
		d.from = began.UnixNano()
	}
	round := time.Minute
	if length < time.Hour {
		round = time.Second
	}
	p.DayLength = min((length + round - 1).Truncate(round), sim.MaxDayLength)
	total := 0.0
	for _, m := range f.all {
		total += m.visible()
	}
	p.Rate = round4(min(max(total/f.seconds(p), sim.MinRate), sim.MaxRate))
	var events, moves [shapeParts]float64
	parts := min(int((p.DayLength+partOfDay-1)/partOfDay), shapeParts)
	for _, m := range f.all {
		for i, n := range m.events.parts {
			events[i] += n
		}
		all, mine := 0.0, [shapeParts]float64{}
		m.returns(1, func(at int64, r float64) {
			if i := f.partOf(at * int64(slotLength)); i >= 0 {
				mine[i] += r * r
				all += r * r
			}
		})
		for i := range mine {
			moves[i] += mine[i] / max(all, 1e-300) * m.visible() / total
		}
	}
	p.Shape = shapeOf(events[:parts], shapeSteps)
	p.Volatility = shapeOf(moves[:parts], volatilitySteps)
}

// partOf returns the part of its day in which a time is, or -1.
func (f *Fitter) partOf(at int64) int {
	i, found := slices.BinarySearchFunc(f.days, at, func(d span, at int64) int { return cmp.Compare(d.from, at) })
	if !found {
		i--
	}
	if i < 0 {
		return -1
	}
	if part := (at - f.days[i].from) / int64(partOfDay); part < shapeParts {
		return int(part)
	}
	return -1
}

// Most parts of a day in a profile. Volatility has fewer, because it is measured less precisely.
const (
	shapeSteps      = 39
	volatilitySteps = 13
	leastParts      = 6    // of partOfDay: a shorter recording says nothing of the shape of a day
	leastStep       = 0.02 // of the mean
)

// shapeOf returns the values of at most steps equal parts, as multiples of their mean, or nil if there are too few.
func shapeOf(parts []float64, steps int) []float64 {
	sum := 0.0
	for _, v := range parts {
		sum += v
	}
	if len(parts) < leastParts || sum == 0 {
		return nil
	}
	n := len(parts)
	for len(parts)%n != 0 || n > steps {
		n-- // a divisor, so that all parts are of one length
	}
	if n < min(steps, len(parts))/2 {
		n = min(steps, len(parts))
	}
	out := make([]float64, n)
	for i, v := range parts {
		out[i*n/len(parts)] += v
	}
	for i := range out {
		covered := 0
		for k := range parts {
			if k*n/len(parts) == i {
				covered++
			}
		}
		out[i] = round3(max(out[i]/float64(covered)*float64(len(parts))/sum, leastStep))
	}
	return out
}

// loadings returns the correlation of each instrument with a factor that all have in common, fitted to the correlations of
// their returns over a minute.
func (f *Fitter) loadings() []float64 {
	n := len(f.all)
	const slots = 6
	out := make([]float64, n)
	for i := range out {
		out[i] = usualLoading
	}
	series := make([]map[int64]float64, n)
	for i, m := range f.all {
		series[i] = make(map[int64]float64)
		for k := slots; k < len(m.path.slots); k++ {
			if s := m.path.slots[k]; s.at%slots == 0 && s.at-m.path.slots[k-slots].at == slots {
				series[i][s.at] = s.price - m.path.slots[k-slots].price
			}
		}
	}
	correlations := make([][]float64, n)
	for i := range n {
		correlations[i] = make([]float64, n)
	}
	known := false
	for i := range n {
		for k := range i {
			var xy, xx, yy float64
			pairs := 0
			for at, x := range series[i] {
				if y, ok := series[k][at]; ok {
					xy += x * y
					xx += x * x
					yy += y * y
					pairs++
				}
			}
			if pairs >= leastPairs && xx > 0 && yy > 0 {
				c := xy / math.Sqrt(xx*yy)
				correlations[i][k], correlations[k][i] = c, c
				known = true
			}
		}
	}
	if !known {
		return out
	}
	// Principal factor analysis: the diagonal is what the factor explains, found by iteration.
	for range 50 {
		next := make([]float64, n)
		norm := 0.0
		for i := range n {
			for k := range n {
				c := correlations[i][k]
				if i == k {
					c = out[i] * out[i]
				}
				next[i] += c * out[k]
			}
			norm += out[i] * out[i]
		}
		for i := range n {
			out[i] = min(max(next[i]/max(norm, 1e-9), -0.95), 0.95)
		}
	}
	return out
}

const (
	leastPairs = 60
	// usualLoading is the correlation with the market of an instrument that is alone.
	usualLoading = 0.55
)

// round3 and round4 round to significant digits, for people.
func round3(v float64) float64 { return rounded(v, 3) }
func round4(v float64) float64 { return rounded(v, 4) }

func rounded(v float64, digits int) float64 {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return v
	}
	unit := math.Pow(10, float64(digits)-math.Ceil(math.Log10(math.Abs(v))))
	return math.Round(v*unit) / unit
}
