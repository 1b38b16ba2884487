//go:build !race

package processes

// less is fast, unless the race detector runs.
func less[T any](fast, _ T) T { return fast }
