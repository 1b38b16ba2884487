package replay

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain checks that no goroutine is left after the tests (PROMISES.md, 29).
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
