//go:build race

package processes

// less is slow: the race detector makes this process, not the others, several times slower.
func less(_, slow int) int { return slow }
