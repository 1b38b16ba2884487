package rawfile

import (
	"testing"

	"go.uber.org/goleak"
)

// No goroutine is left running after the tests.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
