package bench

import (
	"cmp"
	"math"
	"slices"
)

// A Spread is the result of several runs: their median and range.
type Spread struct {
	Median float64   `json:"median"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	Runs   []float64 `json:"runs"` // in order of measurement
}

// NewSpread returns the spread of runs, which it keeps, or nil if there are none. The median of an even number
// of runs is the mean of the middle two.
func NewSpread(runs []float64) *Spread {
	if len(runs) == 0 {
		return nil
	}
	sorted := slices.Clone(runs)
	slices.Sort(sorted)
	n := len(sorted)
	return &Spread{
		Median: (sorted[(n-1)/2] + sorted[n/2]) / 2,
		Min:    sorted[0], Max: sorted[n-1], Runs: runs,
	}
}

// ratios divides each run of a by the corresponding run of b.
func ratios(a, b []float64) []float64 {
	r := make([]float64, 0, len(a))
	for i := range min(len(a), len(b)) {
		if b[i] != 0 && !math.IsInf(b[i], 0) && !math.IsNaN(b[i]) {
			r = append(r, a[i]/b[i])
		}
	}
	return r
}

// quantile returns the smallest of values that at least the fraction q of them, in (0, 1], do not exceed, or 0
// if there are none. It sorts values.
func quantile[T cmp.Ordered](values []T, q float64) T {
	var zero T
	if len(values) == 0 {
		return zero
	}
	slices.Sort(values)
	i := int(math.Ceil(q*float64(len(values)))) - 1
	return values[min(max(i, 0), len(values)-1)]
}
