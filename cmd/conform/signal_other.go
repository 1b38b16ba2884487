//go:build !unix

package conform

import "os"

// stopSignal ends a client: this system cannot ask it to end.
var stopSignal = os.Kill
