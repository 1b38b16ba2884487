package lab

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"tickfeed/codec"
)

// pass sends b, and after it the packets that were kept back. Nothing follows nothing.
func (k *link) pass(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	kept := k.kept
	k.kept = nil
	if err := k.write(b); err != nil {
		return err
	}
	return k.write(kept)
}

// moved records that the client was sent every number before at.
func (k *link) moved(at uint64) {
	k.mu.Lock()
	k.at = at
	k.mu.Unlock()
}

// take returns the pending rules that suit a message of type t.
func (k *link) take(t codec.Type) (hits []int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pending = slices.DeleteFunc(k.pending, func(i int) bool {
		v := k.lab.rules.faultOf(i).Verb
		suits := t != codec.TypeWelcome
		switch {
		case v.is(ofPackets):
			suits = t == codec.TypePacket
		case v.is(ofSnapshots):
			suits = t == codec.TypeSnapshotBegin
		}
		if suits {
			hits = append(hits, i)
		}
		return suits
	})
	return hits
}

// down passes what the publisher sends, until an error or the script ends the connection.
func (k *link) down(messages *codec.Reader) error {
	for {
		t, raw, err := messages.Next()
		if err != nil {
			return err
		}
		k.answered.Stop()
		hits := k.take(t)
		if t == codec.TypePacket {
			if err := k.across(raw, hits); err != nil {
				return err
			}
			continue
		}
		if k.isOver() {
			k.keep(hits)
			return errEnded
		}
		var ofSnapshot []int
		for _, i := range hits {
			if k.lab.rules.faultOf(i).Verb.is(ofSnapshots) {
				ofSnapshot = append(ofSnapshot, i)
			} else if err := k.do(i, k.at, raw); err != nil {
				return err
			}
		}
		if raw, err = k.control(t, raw, ofSnapshot); err != nil {
			return err
		}
		if t == codec.TypeHeartbeat { // a packet that is kept back follows the next packet
			err = k.write(raw)
		} else {
			err = k.pass(raw)
		}
		if err != nil {
			return err
		}
		if k.cutting && t == codec.TypeSnapshotPart {
			return k.cut("fin", nil)
		}
	}
}

// control returns the bytes to send for a message that is no packet.
func (k *link) control(t codec.Type, raw []byte, hits []int) ([]byte, error) {
	if t == codec.TypeSnapshotPart && k.stale {
		return nil, nil
	} else if t == codec.TypeSnapshotPart {
		return k.resealed(raw, k.role.seed), nil
	}
	m, err := codec.Decode(raw)
	if err != nil {
		return raw, nil // passed on as it is
	}
	switch m := m.(type) {
	case *codec.Welcome:
		if k.welcomed(m) {
			if raw, err = encode(nil, m); err != nil {
				return nil, err
			}
		}
		k.interval, k.head = m.Heartbeat, m.Head
		return k.expired(m, raw)
	case *codec.SessionChange:
		if raw, err = k.changed(m, raw); err != nil || k.ended {
			return nil, err
		}
		return raw, nil
	case *codec.Subscribed:
		if raw, err = k.subscribed(m, raw); err != nil {
			return nil, err
		}
	case *codec.Heartbeat:
		return k.heartbeat(m, raw)
	case *codec.SnapshotBegin:
		k.cutting, k.endless = false, false
		for _, i := range append(hits, k.lab.rules.snapshot(k.name)...) {
			f := k.lab.rules.faultOf(i)
			switch f.Verb {
			case CutSnapshot:
				k.cutting = true
			case EndlessSnapshot:
				k.endless = true
				k.breaks(i)
			case StaleSnapshot:
				old, err := k.oldSnapshot(m.Seq, f.N)
				if err != nil || m.Scope == codec.ScopeAdded {
					k.cannot(i, fmt.Sprintf("there is no older snapshot: %v", err))
					continue
				}
				k.stale, raw = true, old
				k.breaks(i)
			case MoveSnapshot:
				if m.Seq <= f.N {
					k.cannot(i, fmt.Sprintf("the snapshot is as of %d, and there is no number %d before it", m.Seq, f.N))
					continue
				}
				m.Seq -= f.N
				k.breaks(i)
				if raw, err = encode(nil, m); err != nil {
					return nil, err
				}
			default:
				if err := k.do(i, m.Seq, raw); err != nil {
					return nil, err
				}
				continue
			}
			k.happened(i, m.Seq)
		}
	case *codec.SnapshotEnd:
		if k.endless || k.stale {
			k.stale = false
			return nil, nil
		}
	case *codec.End:
		if k.ended {
			break
		}
		for _, i := range k.lab.rules.end(k.name) {
			if err := k.do(i, m.Final, raw); err != nil {
				return nil, err
			}
		}
	}
	if k.ended && t != codec.TypeWelcome {
		return nil, nil
	}
	return raw, nil
}

// heartbeat returns the bytes to send for a heartbeat.
func (k *link) heartbeat(m *codec.Heartbeat, raw []byte) ([]byte, error) {
	switch {
	case time.Now().Before(k.beatsDrop):
		if k.beatsRule >= 0 {
			k.happened(k.beatsRule, k.at)
			k.beatsRule = -1
		}
		return nil, nil
	case k.ended:
		m.Covered, m.Head = k.at, k.at
		return encode(nil, m)
	}
	return raw, k.reached(m.Covered)
}

// reached notes that the line has reached number at, and applies the rules for a live line once it is live.
func (k *link) reached(at uint64) error {
	k.moved(at)
	if k.head == 0 || at < k.head {
		return nil
	}
	if k.broken {
		if !k.lab.rules.awaitLive(k.name) {
			return nil
		}
		if err := k.goesOn(); err != nil {
			return err
		}
	}
	k.head = 0
	for _, i := range k.lab.rules.live(k.name) {
		if k.lab.rules.faultOf(i).Verb.is(ofPackets) {
			k.keep([]int{i})
		} else if err := k.do(i, at, nil); err != nil {
			return err
		}
	}
	return nil
}

// keep lets the rules hits act on the next message that they can act on.
func (k *link) keep(hits []int) {
	k.mu.Lock()
	k.pending = append(k.pending, hits...)
	k.mu.Unlock()
}

// do applies rule i, which is not about a packet or a snapshot, before next, the message that follows; nil if unknown.
// It returns errEnded if the connection has ended.
func (k *link) do(i int, seq uint64, next []byte) error {
	f := k.lab.rules.faultOf(i)
	if k.isOver() {
		return errEnded
	}
	if f.Verb.is(ofPublisher) {
		k.happenToPublisher(i, seq)
		if f.Verb == Kill {
			return errEnded
		}
		return k.ctx.Err()
	}
	if f.Verb == Ahead && f.N > codec.MaxSeq-seq {
		k.cannot(i, fmt.Sprintf("no sequence number is %d beyond %d", f.N, seq))
		return nil
	}
	switch f.Verb { // some count when they drop something
	case MuteHeartbeats:
		k.lab.rules.because(i, "no heartbeat was due while it lasted")
	case IgnorePulses:
		k.lab.rules.because(i, "the client sent no pulse while it lasted")
	default:
		k.happened(i, seq)
	}
	if f.Verb.is(ofSessions) {
		return k.makeUp(i, seq)
	}
	k.mu.Lock()
	switch f.Verb {
	case Stall:
		k.stalled = time.Now().Add(f.For)
	case HalfOpen:
		k.deafIn, k.deafOut = k.deafIn || f.How == "in", k.deafOut || f.How == "out"
	case IgnorePulses:
		k.ignored, k.ignorer = time.Now().Add(f.For), i
	}
	k.mu.Unlock()
	switch f.Verb {
	case Stall, HalfOpen, IgnorePulses: // done above, with the lock
	case Cut:
		return k.cut(f.How, next)
	case Slow:
		k.rate = f.N
	case MuteHeartbeats:
		k.beatsDrop, k.beatsRule = time.Now().Add(f.For), i
	case MuteData:
		return k.beat(f.For)
	case Delay:
		if !k.holdBack(func() bool { return k.sleep(f.For) }) {
			return k.ctx.Err()
		}
	case Ahead:
		k.breaks(i)
		b, err := encode(nil, &codec.Heartbeat{Covered: seq + f.N, Head: max(seq+f.N, k.head), Now: time.Now().UnixNano()})
		if err != nil {
			return err
		}
		return k.write(b)
	case SayGoodbye:
		b, err := encode(nil, &codec.Goodbye{Code: f.Code, Text: "ended by the lab", Retry: f.Retry, RetryAfter: f.RetryIn})
		if err == nil {
			err = k.write(b)
		}
		return errors.Join(err, errEnded)
	case EndSession:
		if k.ended = true; f.ForTimes > 1 {
			k.breaks(i)
		}
		b, err := encode(nil, &codec.End{Final: seq})
		for n := f.ForTimes; n > 0 && err == nil; n-- {
			err = k.write(b)
		}
		return err
	case Garbage:
		k.breaks(i)
		return k.write([]byte{0xc1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	default:
		panic(unmade(f.Verb))
	}
	return nil
}

// happenToPublisher lets rule i happen to the publisher, because the line has reached number seq. It waits until what
// happened to the publisher before is done.
func (k *link) happenToPublisher(i int, seq uint64) {
	k.lab.mu.Lock()
	before := k.lab.turn
	k.lab.mu.Unlock()
	if before != nil {
		wait := func() bool {
			select {
			case <-before:
			case <-k.ctx.Done():
			}
			return k.ctx.Err() == nil
		}
		if k.early != nil && !k.holdBack(wait) || !wait() {
			return
		}
	}
	k.mu.Lock()
	session := k.session
	k.mu.Unlock()
	k.lab.act(i, Event{Client: k.name, Connection: k.number, Login: k.login, Session: session, Seq: seq})
}

// cut ends the connection.
func (k *link) cut(how string, next []byte) error {
	switch how {
	case "rst":
		k.reset()
		return errEnded
	case "inside":
		if next == nil { // some message that would come next
			next, _ = encode(nil, &codec.Heartbeat{Covered: k.at, Head: k.at, Now: time.Now().UnixNano()})
		}
		if err := k.write(next[:(len(next)+1)/2]); err != nil {
			return err
		}
	}
	return errEnded
}

// beat holds back data for d, and sends heartbeats instead. It returns an error if the client ends the connection.
func (k *link) beat(d time.Duration) error {
	interval := k.interval
	if interval <= 0 {
		interval = time.Second
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		if !time.Now().Before(k.beatsDrop) {
			b, err := encode(nil, &codec.Heartbeat{Covered: k.at, Head: max(k.at, k.head), Now: time.Now().UnixNano()})
			if err == nil {
				err = k.write(b)
			}
			if err != nil {
				return err
			}
		}
		wait := func() bool {
			t := time.NewTimer(min(interval, time.Until(end)))
			defer t.Stop()
			select {
			case <-t.C:
				return true
			case <-k.gone:
			case <-k.ctx.Done():
			}
			return false
		}
		if !k.holdBack(wait) {
			return errors.Join(k.ctx.Err(), errGone)
		}
	}
	return nil
}

// cannot reports why rule i does nothing.
func (k *link) cannot(i int, why string) {
	k.lab.rules.because(i, why)
	if r := k.lab.rules.rule(i); r != nil {
		k.lab.say(Event{What: fmt.Sprintf("%q: %s", r.Text, why), Client: k.name, Connection: k.number, Login: k.login})
	}
}

// encode is codec.Append. A message that cannot be encoded is a mistake of the lab, not of the publisher.
func encode(dst []byte, m codec.Message) ([]byte, error) {
	b, err := codec.Append(dst, m)
	if err != nil {
		return nil, fmt.Errorf("the lab cannot make the message: %v", err)
	}
	return b, nil
}
