package place

import "math"

// Earliest returns the index of the recording that a merge by time reads next, or -1 if all are over: the one whose next tick is due
// first. Of ticks due at the same time, those of the first recording come first. All ticks of the recording that are due up to until come
// before the ticks of the others. due returns when the next tick of a recording is due; it returns false if the recording is over.
func Earliest[T any](recordings []T, due func(T) (at int64, more bool)) (next int, until int64) {
	next, until = -1, math.MaxInt64
	first := int64(0)
	for i, r := range recordings {
		at, more := due(r)
		switch {
		case !more:
		case next < 0:
			next, first = i, at
		case at < first:
			next, first, until = i, at, first-1
		default:
			until = min(until, at)
		}
	}
	return next, until
}
