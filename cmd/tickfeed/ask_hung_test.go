package main

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/ops"
)

// A command that hangs is a failure, and not a matter of TLS.
func TestHungServerIsAFailure(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	for _, scheme := range []string{"", "https://"} {
		cmd := startCommand(t, t.TempDir(), "health", "--timeout", "50ms", scheme+silent.Addr().String())
		assert.Equal(t, exitFailure, cmd.exit(t), "%s: %s", scheme, cmd.err.String())
		assert.Contains(t, cmd.err.String(), "does not respond within 50ms")
		assert.NotContains(t, cmd.err.String(), "TLS")
	}
	for _, err := range []error{ops.ErrSilent, ops.ErrNotHTTP} { // as control and top report it
		var exit *exitError
		assert.NotErrorAs(t, askError(t.Context(), "a:1", err), &exit)
	}
}
