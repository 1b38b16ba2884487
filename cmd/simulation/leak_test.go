package simulation_test

import (
	"testing"

	"go.uber.org/goleak"
)

// Nothing is left after Close, under any fault (PROMISES.md, 29). Within a bubble synctest sees to that by itself.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
