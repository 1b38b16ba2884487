package rawfile

import (
	"testing"

	"go.uber.org/goleak"
)

// Nothing is left running after the tests (RELIABILITY.md, 29).
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
