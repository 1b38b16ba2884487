package usage_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tickfeed/codec/usage"
)

// The processor time grows as a process computes.
func TestCPUGrows(t *testing.T) {
	before := usage.CPU()
	if before == 0 && runtime.GOOS != "windows" && runtime.GOOS != "linux" {
		t.Skip("it is not known")
	}
	for deadline := time.Now().Add(time.Minute); usage.CPU() <= before; {
		require.True(t, time.Now().Before(deadline), "it does not grow")
	}
}
