package facts

import "math"

// draw fills in the pictures.
func (in *instrument) draw(out *Instrument) {
	out.SizeUnit = in.sizeUnit
	unit := math.Pow(10, float64(in.unit))
	for _, p := range in.path.points {
		out.Path = append(out.Path, Point{p.X, p.Y * unit})
	}
	for i, n := range in.dist {
		out.Returns = append(out.Returns, Point{(float64(i-returnBins/2) + 0.5) / 10, n / in.acf10.all.n * 10})
	}
	out.ACFReturns, out.ACFAbs, out.ACFSigns = in.acf10.values(), in.abs10.values(), in.signs.values()
	out.Gaps, out.Sizes, out.Spreads = in.gaps.octaves(), in.sizes.octaves(), in.spreads.octaves()
	for i, s := range in.shapeS {
		if s >= shapeWidth/2 {
			at := float64(i) * shapeWidth
			out.Shape = append(out.Shape, Point{at, in.shapeN[i] / s})
			out.Volatility = append(out.Volatility, Point{at, math.Sqrt(in.shapeSq[i]/s*10) * unit})
		}
	}
	for i, h := range horizons {
		if in.returns[i].n >= float64(12*h) {
			out.Signature = append(out.Signature, Point{float64(h), in.perSecond(i)})
		}
	}
	if n := len(out.Signature); n > 0 {
		for i, last := 0, out.Signature[n-1].Y; i < n; i++ {
			out.Signature[i].Y /= last
		}
	}
	for _, l := range impactAt {
		if v := in.response(l); !math.IsNaN(v) {
			out.Impact = append(out.Impact, Point{float64(l), v})
		}
	}
	total := 0.0
	for _, n := range in.balance {
		total += n
	}
	for i, n := range in.balance {
		out.Imbalance = append(out.Imbalance, Point{(float64(i)+0.5)/imbalances*2 - 1, n / max(total, 1)})
	}
	if in.book.used {
		for i := range in.levels() {
			out.Profile = append(out.Profile, Point{float64(i + 1), in.book.profile[i].mean()})
		}
	}
}

// octaves returns the share of the values in each octave.
func (h *histogram) octaves() []Point {
	var out []Point
	for i, n := range h.bins {
		octave := math.Exp2(math.Floor(math.Log2(max(binFrom(i), 1))))
		if len(out) == 0 || out[len(out)-1].X != octave {
			out = append(out, Point{octave, 0})
		}
		out[len(out)-1].Y += float64(n) / float64(h.count)
	}
	for len(out) > 0 && out[0].Y == 0 {
		out = out[1:]
	}
	return out
}

// Distances is the L1 distance of two instruments in the distributions that LOB-Bench compares (arXiv 2502.09172), each from 0,
// the same, to 2, nothing in common. Spreads and times are in units of their means, and sizes in units of their medians.
type Distances struct{ Spread, Imbalance, Times, Volume float64 }

// Mean returns the mean of the four distances.
func (d Distances) Mean() float64 { return (d.Spread + d.Imbalance + d.Times + d.Volume) / 4 }

// Distance compares two instruments, of the same recording or of two.
func Distance(a, b *Instrument) Distances {
	var d [4]float64
	for i := range d {
		for k := range a.dists[i] {
			d[i] += math.Abs(a.dists[i][k] - b.dists[i][k])
		}
	}
	return Distances{d[0], d[1], d[2], d[3]}
}

// distanceBins are the bins of a distribution over the logarithm to base 2 of a value in its unit, from -distanceBins/4 on, each
// half an octave wide.
const distanceBins = 80

func (in *instrument) distributions(out *Instrument) {
	out.dists[0] = in.spreads.over(in.spread.mean())
	out.dists[2] = in.gaps.over(in.gap.mean() * 1e9)
	out.dists[3] = in.sizes.over(in.sizes.quantile(0.5))
	for _, p := range out.Imbalance {
		out.dists[1] = append(out.dists[1], p.Y)
	}
}

// over returns the distribution of the values divided by unit.
func (h *histogram) over(unit float64) []float64 {
	out := make([]float64, distanceBins)
	if h.count == 0 || !(unit > 0) {
		return out
	}
	for i, n := range h.bins {
		if n > 0 {
			k := int(math.Floor(2*math.Log2(max(binValue(i), 1)/unit))) + distanceBins*3/4
			out[min(max(k, 0), distanceBins-1)] += float64(n) / float64(h.count)
		}
	}
	return out
}
