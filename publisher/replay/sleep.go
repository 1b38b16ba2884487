//go:build !linux

package replay

import "time"

// coarse is how long before a tick Go's timers are left.
const coarse = 0

// sleep waits for d.
func sleep(d time.Duration) { time.Sleep(d) }
