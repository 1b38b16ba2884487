package facts

import (
	"math"
	"math/bits"
)

// A histogram counts positive integers in bins of 1/binsPerOctave of an octave; 0 and 1 have bins of their own. Its zero value
// is empty.
type histogram struct {
	bins  []uint32 // grows to at most 64 × binsPerOctave
	count uint64
}

const (
	octaveShift   = 4
	binsPerOctave = 1 << octaveShift
)

// binOf returns the bin of v: equal steps within an octave, so that small integers have bins of their own.
func binOf(v uint64) int {
	if v < binsPerOctave {
		return int(v)
	}
	octave := bits.Len64(v) - 1 - octaveShift
	return (octave+1)*binsPerOctave + int(v>>octave) - binsPerOctave
}

// binFrom returns the least value of bin i.
func binFrom(i int) float64 {
	if i < binsPerOctave {
		return float64(i)
	}
	octave := i/binsPerOctave - 1
	return math.Ldexp(float64(binsPerOctave+i%binsPerOctave), octave)
}

// binValue returns the middle of bin i.
func binValue(i int) float64 { return (binFrom(i) + binFrom(i+1) - 1) / 2 }

func (h *histogram) add(v uint64) {
	i := binOf(v)
	for len(h.bins) <= i {
		h.bins = append(h.bins, 0)
	}
	h.bins[i]++
	h.count++
}

// quantile returns the value below which share q of the values lie, interpolated within its bin.
func (h *histogram) quantile(q float64) float64 {
	left := q * float64(h.count)
	for i, n := range h.bins {
		if n > 0 && left <= float64(n) {
			from := binFrom(i)
			return from + (binFrom(i+1)-from)*left/float64(n)*float64(min(i/binsPerOctave, 1))
		}
		left -= float64(n)
	}
	return math.NaN()
}

// tailIndex returns Hill's estimate of the tail index (Annals of Statistics 1975) from the greatest share of the values.
func (h *histogram) tailIndex(share float64) float64 {
	want := share * float64(h.count)
	if want < 10 {
		return math.NaN()
	}
	sum, taken, i := 0.0, 0.0, len(h.bins)-1
	for ; i > 0 && taken+float64(h.bins[i]) < want; i-- {
		taken += float64(h.bins[i])
		sum += float64(h.bins[i]) * math.Log(binValue(i))
	}
	return want / (sum + (want-taken)*math.Log(binValue(i)) - want*math.Log(binValue(i)))
}

// moments holds the sums of powers about the first value, which keeps them exact enough.
type moments struct {
	n, sum, sq, cube, fourth float64
}

func (m *moments) add(x float64) {
	m.n++
	m.sum += x
	m.sq += x * x
	m.cube += x * x * x
	m.fourth += x * x * x * x
}

func (m *moments) mean() float64 { return m.sum / m.n }

func (m *moments) variance() float64 {
	return math.Max(m.sq/m.n-m.mean()*m.mean(), 0)
}

// kurtosis returns the excess kurtosis.
func (m *moments) kurtosis() float64 {
	a, v := m.mean(), m.variance()
	return (m.fourth-4*a*m.cube+6*a*a*m.sq)/m.n/(v*v) - 3*a*a*a*a/(v*v) - 3
}

// comoments holds the sums of pairs.
type comoments struct{ n, x, y, xx, yy, xy float64 }

func (c *comoments) add(x, y float64) {
	c.n++
	c.x += x
	c.y += y
	c.xx += x * x
	c.yy += y * y
	c.xy += x * y
}

func (c *comoments) correlation() float64 {
	if c.n < 3 {
		return math.NaN()
	}
	cov := c.xy - c.x*c.y/c.n
	return cov / math.Sqrt((c.xx-c.x*c.x/c.n)*(c.yy-c.y*c.y/c.n))
}

// autocorrelation holds the sums of products of a series with itself, up to a number of lags.
type autocorrelation struct {
	recent []float64 // a ring of the latest values, one for each lag
	run    int       // values since the last cut
	all    moments
	cross  []float64
	pairs  []float64
	lags   []int
}

func newAutocorrelation(lags ...int) autocorrelation {
	return autocorrelation{
		recent: make([]float64, lags[len(lags)-1]+1), cross: make([]float64, len(lags)), pairs: make([]float64, len(lags)), lags: lags,
	}
}

func (a *autocorrelation) add(x float64) {
	at := a.run % len(a.recent)
	a.recent[at] = x
	for i, lag := range a.lags {
		if lag > a.run {
			break
		}
		before := at - lag
		if before < 0 {
			before += len(a.recent)
		}
		a.cross[i] += x * a.recent[before]
		a.pairs[i]++
	}
	a.run++
	a.all.add(x)
}

// cut ends the series; the next value has no predecessors.
func (a *autocorrelation) cut() { a.run = 0 }

// at returns the autocorrelation at lag, which must be one of lags; NaN if there are fewer than 30 pairs.
func (a *autocorrelation) at(lag int) float64 {
	for i, l := range a.lags {
		if l == lag && a.pairs[i] >= 30 {
			return (a.cross[i]/a.pairs[i] - a.all.mean()*a.all.mean()) / a.all.variance()
		}
	}
	return math.NaN()
}

// values returns the autocorrelation at all lags.
func (a *autocorrelation) values() []Point {
	out := make([]Point, 0, len(a.lags))
	for _, lag := range a.lags {
		out = append(out, Point{float64(lag), a.at(lag)})
	}
	return out
}

// counts holds the first two moments of the numbers of events in windows of equal length.
type counts struct {
	window   int64 // ns
	at       int64 // number of the window at hand
	n        float64
	sum, sq  float64 // of windows before
	greatest float64
}

func (c *counts) add(at int64) {
	if w := at / c.window; w != c.at {
		c.flush()
		c.at = w
	}
	c.n++
}

func (c *counts) flush() {
	c.sum += c.n
	c.sq += c.n * c.n
	c.greatest = max(c.greatest, c.n)
	c.n = 0
}

// fano returns the variance of the counts over their mean, for a span of ns nanoseconds.
func (c *counts) fano(ns float64) float64 {
	windows := ns / float64(c.window)
	mean := c.sum / windows
	return (c.sq/windows - mean*mean) / mean
}
