package fit

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"tickfeed/feed/sim"
)

const (
	drawn     = 1 << 14 // events whose times are drawn to judge clusters
	judged    = 3       // instruments by which the clusters are fitted, the most active ones
	gapBins   = 80
	fanoShare = 1.0 // weight of the counts beside that of the times between events

	orderShare = 8 // part of drawn that is drawn of orders, for each of which there are many events
)

// times are what the clusters are fitted to: the distribution of the times between events, and the variances of counts, of an
// instrument with rate events per second.
type times struct {
	rate   float64
	orders bool // the events are orders alone, because only trades were recorded
	gaps   [gapBins]float64
	fano   [len(windows)]float64
	shares [gapBins]float64 // of all time, by the times between events
}

// fitTimes sets the clusters to those whose events are most like the measured ones. It stops early if ctx ends.
func (f *Fitter) fitTimes(ctx context.Context, p *sim.Profile) {
	var wants []times
	var busiest *measure
	events, together := 0, 0
	orders := !slices.ContainsFunc(f.all, func(m *measure) bool { return m.events.all >= leastCounted && !m.tradesOnly() })
	for _, m := range f.all {
		if m.events.all < leastCounted || len(wants) == judged || m.tradesOnly() != orders {
			continue
		}
		want := times{rate: float64(m.events.all) / f.seconds(p), orders: orders}
		for _, gap := range m.events.gaps.values {
			want.gaps[gapBin(gap*want.rate)] += 1 / float64(len(m.events.gaps.values))
			want.shares[gapBin(gap*want.rate)] += gap * want.rate / float64(len(m.events.gaps.values))
		}
		for i, w := range windows {
			c := m.events.counts[i]
			mean, n := want.rate*w, f.seconds(p)/w
			want.fano[i] = ((c.squares+c.n*c.n)/n - mean*mean) / mean
		}
		if wants = append(wants, want); busiest == nil {
			busiest = m
		}
		events += m.events.all
		together += m.events.together
	}
	if len(wants) == 0 {
		return
	}
	if !orders { // of other events than orders nothing is known
		p.Together = round4(min(float64(together)/float64(events), 0.9))
	}
	buffer := make([]int64, drawn)
	cost := func(c *sim.Profile) float64 {
		if ctx.Err() != nil {
			return 0
		}
		sum := 0.0
		for i := range wants {
			sum += wants[i].distance(c, buffer)
		}
		return sum
	}
	if buffer = buffer[:drawn/len(wants)]; orders {
		buffer = buffer[:len(buffer)/orderShare]
	}
	best := math.Inf(1)
	for _, start := range [...][3]sim.Cluster{sim.UsualClusters, busiest.scales()} {
		at, v := search(pointOf(start), func(x point) float64 {
			c := *p
			x.set(&c)
			return cost(&c)
		})
		if v < best {
			best = v
			at.set(p)
		}
	}
}

// scales returns clusters on the time scales of the times between events.
func (m *measure) scales() [3]sim.Cluster {
	gaps := sortedBy(&m.events.gaps, func(v float64) float64 { return v })
	c := sim.UsualClusters
	for i, q := range [...]float64{0.2, 0.5, 0.8} {
		least := 1e-6
		if i > 0 {
			least = 2 * c[i-1].Within.Seconds()
		}
		c[i].Within = time.Duration(min(max(gaps[int(q*float64(len(gaps)-1))], least), 60) * 1e9)
	}
	return c
}

// A point stands for three clusters, and every point for valid ones. Its first value is the logarithm of the fastest time in
// seconds. The next two are the logarithms of how many times slower the others are, beyond the least factor. The last three are
// how many events each cluster causes, on the scale of logits.
type point [6]float64

func pointOf(c [3]sim.Cluster) (x point) {
	last := 1.0
	for i := range c {
		seconds := c[i].Within.Seconds()
		x[i] = math.Log(seconds / last)
		last = seconds
		x[3+i] = math.Log(c[i].Causes)
	}
	rest := 1.0
	for i := range c {
		rest -= c[i].Causes
	}
	for i := range c {
		x[3+i] -= math.Log(rest)
	}
	return x
}

// set sets the clusters of p.
func (x point) set(p *sim.Profile) {
	seconds, sum := math.Exp(min(max(x[0], math.Log(1e-6)), 0)), 1.0
	for _, v := range x[3:6] {
		sum += math.Exp(v)
	}
	for i := range p.Clusters {
		if i > 0 {
			seconds = min(seconds*math.Exp(min(max(x[i], 0), 12)), 600)
		}
		p.Clusters[i] = sim.Cluster{
			Causes: round3(math.Exp(x[3+i]) / sum * mostCaused), Within: time.Duration(math.Round(round3(seconds * 1e9))),
		}
	}
}

// search returns about where f is least, and its value there, by the method of Nelder and Mead (Computer Journal 1965), from a start.
func search(start point, f func(point) float64) (point, float64) {
	type corner struct {
		at point
		v  float64
	}
	var simplex [len(start) + 1]corner
	spread := func(step float64) {
		simplex[0] = corner{start, f(start)}
		for i := range start {
			x := start
			x[i] += step
			simplex[i+1] = corner{x, f(x)}
		}
	}
	order := func() { slices.SortStableFunc(simplex[:], func(a, b corner) int { return cmp.Compare(a.v, b.v) }) }
	for _, step := range []float64{1.2, -0.6} {
		spread(step)
		for range searchSteps {
			order()
			worst := &simplex[len(simplex)-1]
			var middle point
			for _, c := range simplex[:len(simplex)-1] {
				for i := range middle {
					middle[i] += c.at[i] / float64(len(start))
				}
			}
			along := func(k float64) corner {
				var x point
				for i := range x {
					x[i] = middle[i] + k*(worst.at[i]-middle[i])
				}
				return corner{x, f(x)}
			}
			next := along(-1)
			switch {
			case next.v < simplex[0].v:
				if far := along(-2); far.v < next.v {
					next = far
				}
			case next.v >= simplex[len(simplex)-2].v:
				if next = along(0.5); next.v >= worst.v {
					for i := range simplex[1:] {
						c := &simplex[i+1]
						for k := range c.at {
							c.at[k] = (c.at[k] + simplex[0].at[k]) / 2
						}
						c.v = f(c.at)
					}
					continue
				}
			}
			*worst = next
		}
		order()
		start = simplex[0].at
	}
	return start, simplex[0].v
}

// searchSteps is the number of steps of a search from each of its starts.
const searchSteps = 30

// mostCaused bounds the events that one event causes in a fit.
const mostCaused = 0.97

// gapBin returns the bin of a time between events as a multiple of the mean: half an octave, as facts.Distance has them.
func gapBin(v float64) int {
	if !(v > 0) {
		return 0
	}
	return min(max(int(math.Floor(2*math.Log2(v)))+gapBins*3/4, 0), gapBins-1)
}

// draw fills buffer with the times of events of p, and returns it. If they are orders, there may be less.
func (w *times) draw(p *sim.Profile, buffer []int64) []int64 {
	if !w.orders {
		p.Times(w.rate, buffer)
		return buffer
	}
	at := int64(0)
	pauses := p.Pauses(&sim.Habits{Orders: usualOrders}, w.rate/usualOrders, len(buffer))
	for i, pause := range pauses {
		at += int64(pause * 1e9)
		buffer[i] = at
	}
	return buffer[:len(pauses)]
}

// distance returns how much the events of p differ from w, for which buffer has room.
func (w *times) distance(p *sim.Profile, buffer []int64) float64 {
	buffer = w.draw(p, buffer)
	seconds := float64(buffer[len(buffer)-1]) / 1e9
	rate := float64(len(buffer)) / seconds
	var gaps, shares [gapBins]float64
	var counts [len(windows)]windowCount
	last := int64(0)
	for _, at := range buffer {
		gap := float64(at-last) / 1e9 * rate
		gaps[gapBin(gap)] += 1 / float64(len(buffer))
		shares[gapBin(gap)] += gap / float64(len(buffer))
		last = at
		for i := range counts {
			counts[i].add(int64(float64(at) / (windows[i] * 1e9)))
		}
	}
	sum := 0.0
	for i := range gaps {
		sum += 2*math.Abs(gaps[i]-w.gaps[i]) + math.Abs(shares[i]-w.shares[i])
	}
	for i, width := range windows {
		mean := rate * width
		fano := ((counts[i].squares+counts[i].n*counts[i].n)/(seconds/width) - mean*mean) / mean
		if w.fano[i] > 0 && fano > 0 {
			sum += fanoShare * math.Abs(math.Log(fano/w.fano[i])) / float64(len(windows))
		}
	}
	return sum
}
