package publisher

import (
	"tickfeed/codec"
)

// An outcome is the result of serving a connection inline.
type outcome uint8

const (
	parkedAgain outcome = iota // the connection is caught up and parked
	stillBehind                // there is more to send, and the connection took everything so far
	needsWriter                // the writer must continue: it has to wait for the client, or read the journal
)

// serveInline sends what the log has now, on the goroutine of the caller, while the writer is idle. That saves one wake-up
// between a tick and its subscriber. It never waits: what the connection does not take is left for the writer.
func (c *conn) serveInline() outcome {
	if !c.tryTurn() {
		return needsWriter
	}
	defer c.turn.Unlock()
	l := &c.line
	v, ok := c.p.log.view(l.at)
	if !ok {
		return needsWriter
	}
	if len(v.data) > 0 {
		if c.late(&v) {
			v.release()
			return needsWriter
		}
		if l.wanted == nil {
			v.limit(maxTurn)
		}
		ch := l.pass(v.data, c.p.session, v, v.end, c.out.buf)
		c.progress.tell(ch.next, c.line.read)
		if l.wanted != nil {
			c.out.scratch(ch.data)
		}
		c.out.sent(ch.time)
		if n := c.out.now(ch.data); n < len(ch.data) && ch.mem.seg != nil {
			c.out.rest, c.out.restTime = c.copyRest(&ch, n), ch.time
		} else if n < len(ch.data) {
			c.out.keep(ch.data[n:], ch.time)
		}
		ch.mem.release()
	}
	return c.parkIfCaughtUp()
}

// tryTurn acquires the turn and reports whether it did. It returns false if the writer is busy, the client has not taken
// everything written, or the line needs more than the memory log.
func (c *conn) tryTurn() bool {
	if c.out.try == nil || !c.turn.TryLock() {
		return false
	}
	if c.over || !c.out.writeKept() || c.out.failed != nil || !c.line.inMem || c.line.read < c.line.floor || c.p.log.holed.Load() {
		c.turn.Unlock()
		return false
	}
	return true
}

// late reports whether the client is so far behind v that its slow-consumer policy must be applied.
func (c *conn) late(v *view) bool {
	if c.slow.policy == codec.SlowAll {
		return false
	}
	_, latest := c.p.log.head()
	return c.slow.late(codec.PacketAt(v.data).PublishTime, latest)
}

// parkIfCaughtUp parks the connection if it is caught up.
func (c *conn) parkIfCaughtUp() outcome {
	switch {
	case c.out.behind() || c.out.failed != nil || c.line.covered():
		return needsWriter
	case c.p.serving.parking.park(c, c.p.log):
		return parkedAgain
	}
	return stillBehind
}

// belongsToFilterPump reports whether the filter pump should take over: filtering for one connection costs as much as for all
// together, and this connection would otherwise stay alone for as long as the log grows.
func (c *conn) belongsToFilterPump() bool {
	l := &c.line
	if l.wanted == nil || c.out.try == nil || !l.inMem || l.read < max(c.progress.position, l.floor) || c.line.covered() || l.session.ID != c.p.session.ID || c.p.log.holed.Load() {
		return false
	}
	v, ok := c.p.log.view(l.at)
	defer v.release()
	return ok && len(v.data) > 0 && !c.late(&v)
}
