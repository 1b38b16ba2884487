// Package scripttest checks the errors of what people write: scripts, cases and universes.
package scripttest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// RequireEach fails t unless err is of type T, or joins errors that all are: a parser reports every wrong line at once.
func RequireEach[T error](t testing.TB, err error) {
	t.Helper()
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	for _, err := range all {
		require.IsType(t, *new(T), err)
	}
}
