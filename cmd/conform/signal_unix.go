//go:build unix

package conform

import (
	"os"
	"syscall"
)

// stopSignal asks a client to end.
var stopSignal os.Signal = syscall.SIGTERM
