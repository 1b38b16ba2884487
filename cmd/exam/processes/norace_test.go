//go:build !race

package processes

// less is fast, unless the race detector runs.
func less(fast, _ int) int { return fast }
