//go:build !unix

package publisher_test

import "time"

func cpuTime() time.Duration { return 0 } // not available on this system
