package publisher

import "time"

// WithHandshakes returns c for a publisher at which at most most clients log in at once, each within timeout; 0 leaves the
// default. Tests reach these bounds with a few clients.
func WithHandshakes(c Config, most int, timeout time.Duration) Config {
	c.maxHandshakes, c.handshakeTimeout = most, timeout
	return c
}
