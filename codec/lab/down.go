package lab

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"tickfeed/codec"
	"tickfeed/feed"
)

// pass sends b, and after it the packet that was kept back.
func (k *link) pass(b []byte) error {
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
		case v.ofPackets():
			suits = t == codec.TypePacket
		case v.ofSnapshots():
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
		hits := k.take(t)
		if t == codec.TypePacket {
			if err := k.across(raw, hits); err != nil {
				return err
			}
			continue
		}
		var ofSnapshot []int
		for _, i := range hits {
			if k.lab.rules.faultOf(i).Verb.ofSnapshots() {
				ofSnapshot = append(ofSnapshot, i)
			} else if err := k.do(i, k.at, raw); err != nil {
				return err
			}
		}
		if raw, err = k.control(t, raw, ofSnapshot); err != nil {
			return err
		}
		if err := k.pass(raw); err != nil {
			return err
		}
		if k.cutting && t == codec.TypeSnapshotPart {
			return k.cut("fin", nil)
		}
	}
}

// control returns what is sent instead of a message that is no packet.
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
			if raw, err = codec.Append(nil, m); err != nil {
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
				k.endless, k.broken = true, true
			case StaleSnapshot:
				old, err := k.oldSnapshot(m.Seq, f.N)
				if err != nil || m.Scope == codec.ScopeAdded {
					k.lab.say(Event{What: fmt.Sprintf("%q: there is no older snapshot: %v", k.lab.rules.rule(i).Text, err), Client: k.name, Connection: k.number})
					continue
				}
				k.stale, k.broken, raw = true, true, old
			case MoveSnapshot:
				m.Seq -= min(m.Seq, f.N)
				k.broken = true
				if raw, err = codec.Append(nil, m); err != nil {
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

// heartbeat returns what is sent instead of a heartbeat.
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
		return codec.Append(nil, m)
	}
	return raw, k.reached(m.Covered)
}

// reached notes that the line has reached number at, and applies what follows when it is live.
func (k *link) reached(at uint64) error {
	k.moved(at)
	if k.head == 0 || at < k.head || k.broken {
		return nil
	}
	k.head = 0
	for _, i := range k.lab.rules.live(k.name) {
		if k.lab.rules.faultOf(i).Verb.ofPackets() {
			k.mu.Lock()
			k.pending = append(k.pending, i)
			k.mu.Unlock()
		} else if err := k.do(i, at, nil); err != nil {
			return err
		}
	}
	return nil
}

// packet passes a packet; pending are rules that apply to it besides those of the script's numbers.
func (k *link) packet(raw []byte, pending []int) error {
	if k.ended {
		return nil
	}
	h, _, err := codec.ParsePacket(raw)
	if err != nil {
		return k.pass(raw)
	}
	end := h.First + h.Count
	if h.First < k.skip {
		if _, raw, _ = split(raw, min(end, k.skip), k.seed); end <= k.skip {
			return nil
		}
		h.First = k.skip
	}
	if k.broken {
		k.moved(end)
		if k.dropping > 0 {
			k.dropping--
			k.happened(k.dropper, h.First)
			return nil
		}
		return k.pass(raw)
	}
	raw = append([]byte(nil), raw...) // the reader reuses its memory
	for n := k.lab.rules.packet(k.name); raw != nil && !k.broken; {
		var x hit
		given := true // by a number of the script
		if len(pending) > 0 {
			x, pending, given = hit{rule: pending[0], seq: k.at}, pending[1:], false
		} else {
			var ok bool
			if x, ok = k.lab.rules.next(k.name, feed.Range{From: max(h.First, k.at), To: end}, n); !ok {
				break
			}
		}
		f := k.lab.rules.faultOf(x.rule)
		left, right, ok := split(raw, x.seq, k.seed)
		var rest []byte
		one := ok && right != nil && f.Verb.ofPackets() && f.How == "tick"
		if one {
			right, rest, one = split(right, x.seq+1, k.seed)
		}
		if f.Verb.ofPackets() && !one {
			if raw, err = k.spoil(x, raw); err != nil {
				return err
			}
			continue
		}
		if !ok {
			left, right = nil, raw // before the packet
		}
		if left != nil {
			if err := k.pass(left); err != nil {
				if given {
					k.lab.rules.giveBack(k.name, x)
				}
				return err
			}
			k.moved(x.seq)
		}
		if raw = right; !one {
			if err := k.do(x.rule, x.seq, raw); err != nil {
				return err
			}
			if k.ended {
				return nil
			}
			continue
		}
		if raw, err = k.spoil(x, raw); err != nil {
			return err
		}
		if k.swapped {
			k.swapped, k.kept = false, raw
		} else if err := k.pass(raw); err != nil {
			return err
		}
		k.moved(x.seq + 1)
		raw = rest
	}
	if k.swapped {
		k.swapped, k.kept = false, raw
		return k.reached(end)
	}
	if err := k.pass(raw); err != nil {
		return err
	}
	return k.reached(end)
}

// spoil applies a fault of a whole packet, and returns what is sent instead; nil for nothing.
func (k *link) spoil(x hit, raw []byte) ([]byte, error) {
	k.happened(x.rule, x.seq)
	f := k.lab.rules.faultOf(x.rule)
	k.broken = f.Verb != Delay
	switch f.Verb {
	case Drop:
		if f.N > 1 {
			k.dropping, k.dropper = f.N-1, x.rule
		}
		return nil, nil
	case Repeat:
		return append(raw, raw...), nil
	case Swap:
		k.swapped = true
	case Flip:
		return flip(raw), nil
	case Forge:
		return forge(raw, k.seed), nil
	case Delay:
		if !k.holdBack(func() bool { return k.sleep(f.For) }) {
			return nil, k.ctx.Err()
		}
	}
	return raw, nil
}

// do applies rule i, which is not about a packet or a snapshot, before next, the message that follows; nil if unknown.
// It returns errEnded if the connection has ended.
func (k *link) do(i int, seq uint64, next []byte) error {
	f := k.lab.rules.faultOf(i)
	if f.Verb.ofPublisher() {
		k.happenToPublisher(i, seq)
		if f.Verb == Kill {
			return errEnded
		}
		return k.ctx.Err()
	}
	if f.Verb != MuteHeartbeats && f.Verb != IgnorePulses { // which count when they drop something
		k.happened(i, seq)
	}
	if f.Verb.ofSessions() {
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
	case Cut:
		return k.cut(f.How, next)
	case Slow:
		k.rate = f.N
	case MuteHeartbeats:
		k.beatsDrop, k.beatsRule = time.Now().Add(f.For), i
	case MuteData:
		return k.muteData(f.For)
	case Ahead:
		k.broken = true
		b, err := codec.Append(nil, &codec.Heartbeat{Covered: seq + f.N, Head: max(seq+f.N, k.head), Now: time.Now().UnixNano()})
		if err != nil {
			return err
		}
		return k.write(b)
	case SayGoodbye:
		b, err := codec.Append(nil, &codec.Goodbye{Code: f.Code, Text: "ended by the lab", Retry: f.Retry, RetryAfter: f.RetryIn})
		if err == nil {
			err = k.write(b)
		}
		return errors.Join(err, errEnded)
	case EndSession:
		k.ended, k.broken = true, f.ForTimes > 1
		b, err := codec.Append(nil, &codec.End{Final: seq})
		for n := f.ForTimes; n > 0 && err == nil; n-- {
			err = k.write(b)
		}
		return err
	case Garbage:
		k.broken = true
		return k.write([]byte{0xc1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
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
			next, _ = codec.Append(nil, &codec.Heartbeat{Covered: k.at, Head: k.at, Now: time.Now().UnixNano()})
		}
		if err := k.write(next[:(len(next)+1)/2]); err != nil {
			return err
		}
	}
	return errEnded
}

// muteData holds back data for d, and sends heartbeats instead.
func (k *link) muteData(d time.Duration) error {
	interval := k.interval
	if interval <= 0 {
		interval = time.Second
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		b, err := codec.Append(nil, &codec.Heartbeat{Covered: k.at, Head: max(k.at, k.head), Now: time.Now().UnixNano()})
		if err == nil {
			err = k.write(b)
		}
		if err != nil {
			return err
		}
		if !k.holdBack(func() bool { return k.sleep(min(interval, time.Until(end))) }) {
			return k.ctx.Err()
		}
	}
	return nil
}
