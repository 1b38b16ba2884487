package liveness_test

import (
	"fmt"
	"time"

	"tickfeed/codec/liveness"
)

// A peer that was heard at 5 s is stale two intervals later and dead three intervals later.
func ExampleMonitor() {
	alive := liveness.Monitor{Interval: time.Second}
	alive.Listen(0)
	alive.Heard()
	alive.Listen(5 * time.Second)
	now := 7 * time.Second
	fmt.Println("stale:", alive.Stale(now), "dead:", alive.Dead(now), "at", alive.DeadAt(now))
	// Output:
	// stale: true dead: false at 8s
}
