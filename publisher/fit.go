package publisher

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/rs/zerolog"

	"tickfeed/publisher/journal"
)

// Shares of the file descriptors that a process may have.
const (
	otherFiles     = 8   // for files that the publisher does not know of, and one newly accepted connection per listener
	handshakeShare = 8   // at most one in this many connections is for handshakes
	fewSockets     = 8   // minimum to start a publisher
	fewConnections = 256 // fewer connections than this are logged as a warning even if MaxConnections was not set
)

// ErrDescriptors reports that the process may not open enough file descriptors for a publisher.
var ErrDescriptors = errors.New("too few file descriptors")

// Fit lowers MaxConnections, and how many connections may log in at once, so that the file descriptors of the process suffice for the connections
// and journals of n publishers with this configuration, and logs it if it did. New calls Fit(1), unless Fit was
// called before. The error wraps ErrDescriptors if too few connections are left.
func (c *Config) Fit(n int) error {
	limit, open := journal.FileLimit()
	if c.fitted || limit == 0 {
		return nil
	}
	c.fitted = true
	fixed := open + otherFiles
	files := func(limit int) int {
		if c.Journal == "" {
			return 0
		}
		return journal.OpenFiles(limit)
	}
	sockets := (limit-fixed)/n - files(limit)
	if sockets < fewSockets {
		needed := limit + 1
		for needed-fixed < n*(fewSockets+files(needed)) {
			needed++
		}
		return fmt.Errorf("publisher: %w: the process may have %d, of which %d are open, and needs at least %d for %d connections: raise the limit (ulimit -n)",
			ErrDescriptors, limit, open, needed, fewSockets)
	}
	wanted, first := cmp.Or(c.MaxConnections, DefaultConnections), c.handshakes()
	handshakes := max(1, min(first, sockets/handshakeShare))
	connections := sockets - handshakes
	if c.authenticates() {
		connections -= min(guessAnswers, handshakes)
	}
	if connections = min(wanted, connections); connections < wanted {
		level := zerolog.WarnLevel
		if c.MaxConnections == 0 && connections >= fewConnections { // not set by the caller
			level = zerolog.DebugLevel
		}
		c.Logger.WithLevel(level).Int("connections", connections).Int("wanted", wanted).Int("limit", limit).
			Msg("fewer connections than wanted: the process may not have more file descriptors; raise the limit (ulimit -n)")
	}
	c.MaxConnections, c.maxHandshakes = connections, handshakes
	return nil
}
