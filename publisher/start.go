package publisher

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/start"
)

// An opening holds the messages to send before the line.
type opening struct {
	welcome []byte       // nil once sent
	due     *dueSnapshot // snapshot sent after the welcome; nil for none
}

// A dueSnapshot is the snapshot to be sent where a line begins.
type dueSnapshot struct {
	seq   uint64
	scope codec.ScopeKind
	join  *join // a join at seq, or nil
}

// chooseStart decides where the line starts, and prepares the welcome and the first snapshot. It returns a refusal if the
// line cannot start.
func (c *conn) chooseStart(h *codec.Hello) *codec.Refusal {
	p, l := c.p, &c.line
	at := places{p: p}
	tail := p.tail() // read before the head, which it must not exceed
	head, latest := p.log.head()
	kept := tail // a publisher without a journal is meant to keep what it has
	if p.journal != nil {
		kept = p.lineage[0].First
	}
	if oldest, limited := l.permit.oldest(p.cfg.Now()); limited {
		l.floor = min(p.seqAt(oldest), head)
		tail = max(tail, l.floor)
	}
	if l.grant.limited {
		h.HasState = false // what the client may see may have changed since it got its state
	}
	a, refusal, err := (&start.Offer{
		Lineage: p.lineage, Mode: p.cfg.Mode, Head: head, Tail: tail, Oldest: kept, Memory: p.log.tail(), Now: max(p.cfg.Now(), latest),
	}).Answer(h, &at)
	switch {
	case err != nil:
		return &codec.Refusal{Code: codec.CodeInternal, Retry: true, RetryAfter: unreadableWait,
			Text: fmt.Sprintf("the place where the line would start cannot be read: %v", err)}
	case refusal != nil:
		return refusal
	}
	welcome := &codec.Welcome{
		Version: codec.Version, Server: p.cfg.Server, Mode: p.cfg.Mode, Lineage: a.Lineage, Origin: p.origin,
		Head: max(head, a.Position), Tail: tail, Heartbeat: c.alive.Interval, Start: a.First, Reason: a.Reason, Now: p.cfg.Now(),
		Features: c.features(h),
	}
	for {
		l.setSession(a.Owner)
		welcome.Seed = l.seed
		welcome.Granted, welcome.Limits = l.grant.told()
		if c.opening.welcome, err = codec.Append(nil, welcome); err != nil {
			panic("publisher: internal error: welcome: " + err.Error())
		}
		if len(c.opening.welcome) <= codec.MaxHello || welcome.Granted == nil {
			break
		}
		l.grant = grant{filter: everything, limited: true, limits: cutText(l.grant.limits)} // its patterns do not fit
	}
	l.wanted = p.wants(l.filter, l.permit, p.seq.catalog())
	if a.Snapshot && a.Position >= max(p.tail(), l.floor) {
		c.opening.due = &dueSnapshot{seq: a.Position, scope: a.Scope, join: at.join}
	}
	l.seek(a.First)
	c.progress.position = a.Position
	c.progress.tell(a.Position, c.line.read)
	return nil
}

// features returns the features of h that the publisher grants.
func (c *conn) features(h *codec.Hello) (granted []string) {
	if slices.Contains(h.Features, codec.FeatureAck) { // the reader always accepts pulses
		granted = append(granted, codec.FeatureAck)
	}
	if c.client.narrow {
		granted = append(granted, codec.FeatureNarrow)
	}
	return granted
}

// places finds places in the log for a start.Offer.
type places struct {
	p    *Publisher
	join *join // the join that Join returned last
}

func (x *places) Join(least uint64) uint64 {
	x.join = x.p.joinAt(least, joinAge)
	return x.join.seq
}

func (x *places) SeqAt(time int64) uint64 { return x.p.seqAt(time) }

func (x *places) PacketOf(seq uint64) (uint64, error) { return (&line{p: x.p}).packetOf(seq) }

// sendOpening sends the welcome and then the first snapshot, which may have to be read from the journal.
func (c *conn) sendOpening() error {
	c.alive.Spoke(c.now())
	c.filtered.Store(c.line.wanted != nil)
	err := c.writeAll(c.opening.welcome, nil)
	c.opening.welcome = nil
	if err != nil {
		return err
	}
	due := c.opening.due
	c.opening.due = nil
	if due != nil {
		if err := c.sendDue(due); err != nil {
			return err
		}
	}
	c.slow.begun = max(c.slow.begun, c.now())
	if c.p.cfg.Mode == codec.ModeReplay {
		// A client reconnects at once only after a packet or a heartbeat. Without this heartbeat, a paused replay
		// that seeks repeatedly would look to its clients like a publisher that fails repeatedly.
		if err := c.heartbeat(); err != nil {
			return err
		}
	}
	return nil
}

// sendDue sends the snapshot with which the line begins.
func (c *conn) sendDue(due *dueSnapshot) error {
	all := &c.p.serving.snapshots
	var held *snapshot
	if j := due.join; j != nil && j.seq == due.seq {
		v := &stateView{seq: j.seq, line: &c.line, scope: due.scope}
		if held, _ = all.hold(c, v, j.state); held != nil {
			if err := all.make(held, v, j.state); err != nil {
				all.release(c, held)
				return err
			}
		}
		due.join = nil // a connection that waits for room must not hold a state
	}
	if held == nil {
		var err error
		if held, err = c.snapshotAt(due.seq, due.scope, nil); err != nil {
			return err
		}
	}
	c.slow.begun = c.now()
	return c.sendSnapshot(held)
}

// snapshotAt waits for the snapshot as of seq; the caller must release it. added is the filter of ScopeAdded. It
// returns nil if the ticks after seq can no longer be served: the line finds that out next.
func (c *conn) snapshotAt(seq uint64, scope codec.ScopeKind, added *wanted) (*snapshot, error) {
	states := &c.p.serving.states
	r := states.request(c, seq, scope, added)
	defer states.drop(r)
	if err := c.waitFor(r.done, nil); err != nil {
		return nil, err
	}
	if r.err != nil && seq < c.p.tail() {
		return nil, nil
	} else if r.err != nil {
		return nil, &unreadableError{seq}
	}
	return states.takeSnapshot(r), nil
}

// waitFor waits until done is closed or due fires, and sends heartbeats meanwhile. It returns an error if the
// connection must end.
func (c *conn) waitFor(done <-chan struct{}, due <-chan time.Time) error {
	departed := c.mail.watchEnd()
	if departed == nil {
		return cmp.Or(c.mail.endCause(), errShutdown)
	}
	defer c.mail.unwatchEnd()
	if c.stopCause() != nil { // before the mail was watched
		return errShutdown
	}
	beat := time.NewTimer(c.alive.BeatAt() - c.now())
	defer beat.Stop()
	for {
		select {
		case <-done:
			return nil
		case <-due:
			return nil
		case <-beat.C:
			if err := c.heartbeat(); err != nil {
				return err
			}
			beat.Reset(c.alive.Interval)
		case <-departed:
			return cmp.Or(c.mail.endCause(), errShutdown)
		case <-c.ctx.Done():
			return errShutdown
		}
	}
}

// sendSnapshot sends a snapshot and releases it. It does nothing if held is nil.
func (c *conn) sendSnapshot(held *snapshot) error {
	if held == nil {
		return nil
	}
	defer c.p.serving.snapshots.release(c, held)
	err := c.writeAll(held.data, nil)
	if err != nil {
		c.out.trim(held.data) // lets go of the snapshot
	}
	return err
}

// sendSnapshotAfterLoss sends a snapshot as of seq, after earlier numbers were lost.
func (c *conn) sendSnapshotAfterLoss(seq uint64) error {
	c.line.wanted = c.p.wants(c.line.filter, c.line.permit, c.p.seq.catalog())
	held, err := c.snapshotAt(seq, codec.ScopeAll, nil)
	if err != nil {
		return err
	}
	return c.sendSnapshot(held)
}
