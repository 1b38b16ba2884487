package publisher

import (
	"errors"
	"slices"
	"time"

	"tickfeed/codec"
	"tickfeed/publisher/journal"
)

// runWriter is the writer: it sends the line until the client is caught up or the connection ends.
func (c *conn) runWriter() {
	c.turn.Lock()
	defer c.turn.Unlock()
	for !c.over && c.mail.writerMustContinue() {
		if err := c.send(); err != nil {
			c.closeWith(err)
		}
	}
}

// send sends the ticks that are available, and a heartbeat if nothing was sent for an interval. It parks the connection once the
// client is caught up.
func (c *conn) send() error {
	if c.opening.welcome != nil {
		if err := c.sendOpening(); err != nil {
			return err
		}
	}
	for {
		if err := c.writeRest(); err != nil {
			return err
		}
		if err := c.mail.endCause(); err != nil {
			return err
		}
		if changed, err := c.followPermission(); err != nil {
			return err
		} else if changed {
			continue
		}
		if request := c.nextRequest(); request != nil {
			if err := c.changeFilter(request); err != nil {
				return err
			}
			continue
		}
		if c.line.covered() {
			return c.sendLastSkip()
		}
		if c.stopCause() == nil && c.belongsToFilterPump() {
			c.pumpOf().add([]*conn{c})
			break
		}
		more, err := c.step()
		if errors.Is(err, journal.ErrFull) { // no file descriptor is left for now
			time.AfterFunc(diskRetry, c.signal)
			break
		}
		if err != nil {
			return err
		}
		if c.stopCause() != nil {
			if !more || c.stopTimeOver() {
				return errShutdown
			}
		}
		if !more && c.p.serving.parking.park(c, c.p.log) {
			break
		}
	}
	if c.now() >= c.alive.BeatAt() {
		if err := c.heartbeat(); err != nil {
			return err
		}
	}
	c.listen(min(c.alive.BeatAt(), c.silentAt()))
	return nil
}

// stopTimeOver reports whether the time to send the remaining data at shutdown is over.
func (c *conn) stopTimeOver() bool {
	if c.stopCause() == nil {
		return false
	}
	if c.stopSeen == 0 {
		c.stopSeen = c.now()
	}
	return c.now()-c.stopSeen > stopTime
}

// nextRequest returns the next filter change that is due, or nil.
func (c *conn) nextRequest() *codec.Subscribe {
	if c.line.read < c.progress.position { // the line must first reach the position of the client
		return nil
	}
	r, wait := c.mail.nextRequest(c.now())
	if wait > 0 {
		time.AfterFunc(wait, c.signal)
	}
	return r
}

// writeRest writes the bytes that the socket did not take at once.
func (c *conn) writeRest() error {
	rest := c.out.rest
	if c.out.failed != nil || !c.out.behind() {
		return c.out.failed
	}
	c.out.rest = nil
	return c.writeAll(rest, c.stillFast(c.out.restTime))
}

// step sends the next chunk of the line. It returns false if there is none.
func (c *conn) step() (bool, error) {
	l := &c.line
	before := l.next
	ch, err := l.advance(c.out.buf)
	if err != nil {
		if !c.p.flusher.starves(err) {
			c.p.cfg.Logger.Error().Err(err).Uint64("seq", l.read).Msg("cannot read the journal")
		}
		return false, err
	}
	if l.cursor != nil {
		c.p.flusher.starves(nil)
	}
	if l.wanted != nil {
		c.out.scratch(ch.data)
	}
	if len(ch.data) == 0 {
		c.progress.tell(l.next, l.read)
		if next, _ := c.p.log.head(); l.read < next {
			return true, nil // the filter left out everything read
		}
		c.slow.live = true
		return c.sessionEnd()
	}
	if _, latest := c.p.log.head(); ch.time != 0 && c.slow.mustJump(ch.time, latest, c.now()) {
		ch.mem.release()
		l.next = before
		return true, c.jump()
	}
	if ch.mem.seg != nil || l.cursor != nil && ch.time != 0 {
		return true, c.sendPackets(&ch)
	}
	c.progress.tell(ch.next, c.line.read)
	if err := c.writeAll(ch.data, c.stillFast(ch.time)); errors.Is(err, errSlow) {
		c.out.trim(ch.data)
		return false, err
	} else if err != nil {
		return false, err
	}
	if !ch.gone.Empty() && ch.gone.To >= l.floor {
		return true, c.sendSnapshotAfterLoss(ch.gone.To)
	}
	return true, nil
}

// sendPackets writes packets directly from the memory log, as far as the connection takes them without waiting, or
// from the read buffer of the journal, as far as the connection takes them within stallTime. If some are left, it
// copies only the rest of the packet in which the write stopped, so that a client that does not read costs no more
// memory than that, and moves the line back to the next packet.
func (c *conn) sendPackets(ch *chunk) error {
	c.progress.tell(ch.next, c.line.read)
	c.out.sent(ch.time)
	n := 0
	var err error
	switch {
	case ch.mem.seg == nil:
		c.progress.read.Store(ch.time)
		n, err = c.out.soon(ch.data, stallTime)
	case c.out.try != nil:
		n, err = c.out.write(ch.data, time.Time{})
	}
	if err != nil || n == len(ch.data) {
		ch.mem.release()
		return err
	}
	rest := c.copyRest(ch, n)
	ch.mem.release()
	return c.writeAll(rest, c.stillFast(ch.time))
}

// stallTime is how long a client may take for one buffer of the journal, at most 256 KiB; then the buffer is given to
// other connections. A client that takes less than 5 MB/s has part of the journal read more than once.
const stallTime = 50 * time.Millisecond

// copyRest copies the rest of the packet in which a write of ch stopped after n bytes, and moves the line back to the
// next packet. The read buffer of the journal may then be reused. (A filtered chunk is in the buffer of the
// connection already.)
func (c *conn) copyRest(ch *chunk, n int) []byte {
	l, rest := &c.line, ch.data[n:]
	if l.inMem || l.wanted == nil {
		cut := 0
		for cut <= n {
			cut += codec.PacketSize(ch.data[cut:])
		}
		if cut < len(ch.data) {
			l.at = place{ch.mem.at.segment, ch.mem.at.offset + cut}
			l.next = codec.PacketAt(ch.data[cut:]).First
			l.read = l.next
			c.progress.tell(l.next, c.line.read)
		}
		c.out.buf = append(c.out.buf[:0], ch.data[n:cut]...)
		rest = c.out.buf
	}
	if !l.inMem {
		l.reopen()
	}
	return rest
}

// writeAll writes all of b, and waits for the client as long as it gives signs of life and check returns nil; check may be
// nil.
func (c *conn) writeAll(b []byte, check func() error) error {
	c.stopTimeOver() // the time at shutdown counts from here
	return c.out.wait(b, min(c.alive.Interval, stopTime), func() error {
		switch {
		case c.silent():
			return errSilent
		case c.out.isCrowded():
			return errCrowded
		case c.stopTimeOver():
			return errShutdown
		}
		if check != nil {
			if err := check(); err != nil {
				return err
			}
		}
		return c.mail.abortCause()
	})
}

// sendLastSkip sends the last skip, up to the end that the client asked for, and returns the reason for which the connection
// ends.
func (c *conn) sendLastSkip() error {
	b := c.line.skip(nil)
	c.progress.tell(c.line.next, c.line.read)
	if err := c.writeAll(b, nil); err != nil {
		return err
	}
	return errCovered
}

// sessionEnd sends the end message, once, if the session has ended and the client has everything. It returns false if
// it sent nothing.
func (c *conn) sessionEnd() (bool, error) {
	final := c.p.serving.final.Load()
	if final == 0 || c.endTold || c.line.read < final {
		return false, nil
	}
	c.endTold = true
	b := c.line.skip(nil)
	b, err := codec.Append(b, &codec.End{Final: final})
	if err != nil {
		return false, err
	}
	c.progress.tell(c.line.next, c.line.read)
	return true, c.writeAll(b, nil)
}

// heartbeat sends a heartbeat, which covers the numbers that the filter left out so far. It returns errSilent if the
// client is silent.
func (c *conn) heartbeat() error {
	if c.silent() {
		return errSilent
	}
	b := c.line.skip(nil)
	head, _ := c.p.log.head()
	b, err := codec.Append(b, &codec.Heartbeat{Covered: c.line.next, Head: head, Now: c.p.cfg.Now()})
	if err != nil {
		return err
	}
	c.progress.tell(c.line.next, c.line.read)
	return c.writeAll(b, nil)
}

// skipUnwanted sends the skip of the numbers that the filter left out, before the filter changes.
func (c *conn) skipUnwanted() error {
	l := &c.line
	if l.read <= l.next {
		return nil
	}
	b := l.skip(nil)
	c.progress.tell(l.next, l.read)
	return c.writeAll(b, nil)
}

// refilter makes the line continue at its next number with another filter or permission, and returns how many steps that took.
func (c *conn) refilter(filter codec.Filter, permit *Permission, g grant, known definitions) (steps int) {
	l := &c.line
	l.closeCursor()
	l.filter, l.permit, l.grant = filter, permit, g
	c.selected.Store(l.selection())
	l.setSession(l.session)
	l.wanted = c.p.wants(filter, permit, known)
	c.filtered.Store(l.wanted != nil)
	l.seek(l.next)
	return l.wanted.cost()
}

// changeFilter changes the filter of the line as of its next number.
func (c *conn) changeFilter(r *codec.Subscribe) error {
	l := &c.line
	g, err := l.permit.grant(r.Filter)
	if err != nil {
		return err
	}
	if err := c.skipUnwanted(); err != nil {
		return err
	}
	var added codec.Filter
	for _, p := range r.Filter {
		if _, had := slices.BinarySearch(l.filter, p); !l.filter.All() && !had {
			added = append(added, p)
		}
	}
	all := r.Filter.All() && !l.filter.All()
	known := c.p.seq.catalog()
	var more *wanted
	if all || len(added) > 0 {
		more = c.p.wants(added, l.permit, known)
	}
	steps := c.refilter(r.Filter, l.permit, g, known)
	c.mail.changeMade(c.now(), steps+more.cost())
	var held *snapshot
	if all || len(added) > 0 {
		if held, err = c.snapshotAt(l.next, codec.ScopeAdded, more); err != nil {
			return err
		} else if held == nil { // retention removed it meanwhile; a client that reconnects is sent what is gone
			return &unreadableError{l.next}
		}
	}
	return c.sendSubscribed(r.Request, held)
}

// sendSubscribed sends the answer to a request, or 0 for a change that the client did not ask for, and then a snapshot, which it
// releases.
func (c *conn) sendSubscribed(request uint64, held *snapshot) error {
	l := &c.line
	m := &codec.Subscribed{Request: request, From: l.next, Seed: l.seed}
	m.Granted, m.Limits = l.grant.told()
	b, err := codec.Append(nil, m)
	if err == nil {
		err = c.writeAll(b, nil)
	}
	if err != nil {
		c.p.serving.snapshots.release(c, held)
		return err
	}
	return c.sendSnapshot(held)
}
