//go:build !linux

package replay

import "time"

// coarse is how long before a tick the player stops using timers.
const coarse = 0

// sleep sleeps for d.
func sleep(d time.Duration) { time.Sleep(d) }
