package publisher

import (
	"fmt"
	"time"

	"tickfeed/codec"
)

// A lagLimit decides whether a client is too slow for its slow-consumer policy. It reads no clock.
type lagLimit struct {
	policy codec.SlowPolicy
	maxLag time.Duration
	begun  time.Duration // when the line began to be sent, on the clock of the publisher
	live   bool          // the line was caught up at least once
}

// late reports whether packets published at the time at are more than the permitted lag behind the latest ones.
func (x *lagLimit) late(at, latest int64) bool {
	return x.policy != codec.SlowAll && latest-at > int64(x.maxLag)
}

// mustJump reports whether the policy must be applied before packets published at the time at are sent. A client that
// starts in the past is given the permitted lag to catch up.
func (x *lagLimit) mustJump(at, latest int64, now time.Duration) bool {
	return (x.live || now-x.begun > x.maxLag) && x.late(at, latest)
}

// stillFast returns a check for use while a write of packets published at the time at waits, or nil if there is nothing
// to check. The check returns errSlow once the client must be disconnected.
func (c *conn) stillFast(at int64) func() error {
	if at == 0 || c.slow.policy != codec.SlowDisconnect || !c.slow.live {
		return nil
	}
	return func() error {
		if _, latest := c.p.log.head(); c.slow.late(at, latest) {
			return errSlow
		}
		return nil
	}
}

// jump applies the slow-consumer policy of the client after it has fallen too far behind.
func (c *conn) jump() error {
	if c.slow.policy == codec.SlowDisconnect {
		return errSlow
	}
	l, snapshots := &c.line, &c.p.serving.snapshots
	l.read = l.next // packets after l.next were read, but not sent
	var j *join
	var snap *snapshot
	after := &line{p: c.p, filter: l.filter, permit: l.permit, grant: l.grant} // the line after the jump
	after.setSession(c.p.session)
	v := &stateView{line: after, scope: codec.ScopeAll}
	for {
		freed := snapshots.vacancy(l.wanted)
		if freed == nil {
			j = c.p.joinAt(l.next+1, 0)
			after.wanted = c.p.wants(l.filter, l.permit, j.state)
			v.seq = j.seq
			if snap, freed = snapshots.hold(c, v, j.state); snap != nil {
				break
			}
		}
		if err := c.waitFor(freed, time.After(roomPause)); err != nil {
			return err
		}
	}
	defer func() { snapshots.release(c, snap) }()
	if err := snapshots.make(snap, v, j.state); err != nil {
		return err
	}
	l.closeCursor()
	var b []byte
	for { // each session needs a withheld packet of its own
		owner, owned, ok := c.p.lineage.Owner(l.next)
		if !ok {
			owned.To = j.seq
		} else {
			b = l.change(owner, b)
		}
		var err error
		if b, err = l.withhold(min(j.seq, owned.To), b); err != nil {
			return fmt.Errorf("what follows %d cannot be read: %v", min(j.seq, owned.To), err) // not retried: the line has moved
		}
		if l.next == j.seq {
			break
		}
	}
	b = l.change(c.p.session, b)
	l.wanted = after.wanted
	l.seek(j.seq)
	c.progress.tell(j.seq, c.line.read)
	c.p.serving.roster.skips.Add(1)
	c.p.serving.tallies.skipped.line(c.nc).Uint64("next", j.seq).Msg("slow consumer skips to a snapshot")
	if err := c.writeAll(b, nil); err != nil {
		return err
	}
	sent := snap
	snap = nil // sendSnapshot releases it
	return c.sendSnapshot(sent)
}
