package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A link is one connection of a client. One goroutine passes the client's messages up, another the publisher's down.
type link struct {
	lab    *Lab
	ctx    context.Context
	client net.Conn
	server net.Conn // nil until dialled
	number uint64
	name   string
	login  uint64
	why    string // the connection has ended

	mu      sync.Mutex
	stalled time.Time // nothing passes until then
	ignored time.Time // pulses are dropped until then
	ignorer int       // rule because of which they are; -1 once that was counted
	deafIn  bool      // what the client should receive is dropped
	deafOut bool      // what the client sends is dropped
	pending []int     // rules for the next message that they suit
	session feed.SessionID
	at      uint64 // number after the last one passed

	// The goroutine that passes messages down owns the fields below.
	early     *readAhead
	seed      uint32
	interval  time.Duration
	head      uint64 // of the welcome; 0 once the line has been live
	broken    bool   // the client must end the connection, so no rule is spent on it any more
	swapped   bool   // the present packet is to be kept
	dropping  uint64 // packets that are still to be dropped, because of rule dropper
	dropper   int
	hello     codec.Hello
	lineage   feed.Lineage // of the publisher
	expire    int          // rule by which the next numbers are gone after this login; -1 for none
	from      uint64       // then the number from which on they are gone, and skip the number after them
	skip      uint64
	stale     bool   // a stale snapshot was sent instead of this one
	kept      []byte // packet to send after the next message
	beatsDrop time.Time
	beatsRule int    // because of which heartbeats are dropped; -1 once that was counted
	rate      uint64 // bytes per second; 0 for no bound
	cutting   bool   // the snapshot is cut after its first part
	endless   bool   // the snapshot's end is dropped
	ended     bool   // an end message was made up
}

// errEnded ends a link on purpose.
var errEnded = errors.New("ended by the script")

func (l *Lab) serve(ctx context.Context, nc net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer nc.Close()
	socket := nc
	defer context.AfterFunc(ctx, func() { socket.Close() })()
	l.mu.Lock()
	refused, hang := time.Now().Before(l.refused), time.Until(l.hung)
	refuser, hanger := l.refuser, l.hanger
	away := l.down > 0 || len(l.links) >= maxLinks
	l.number++
	k := &link{lab: l, ctx: ctx, client: nc, number: l.number, expire: -1}
	l.mu.Unlock()
	if refused {
		k.happened(refuser, 0)
	}
	if refused || away {
		k.reset()
		return
	}
	if hang > 0 {
		k.happened(hanger, 0)
		_ = nc.SetReadDeadline(time.Now().Add(hang))
		_, _ = io.Copy(io.Discard, nc)
		return
	}
	_ = nc.SetReadDeadline(time.Now().Add(handshakeFor))
	nc, err := secureClient(nc, l.TLS)
	if err != nil {
		l.say(Event{What: "the client cannot connect: " + err.Error(), Connection: k.number})
		return
	}
	k.client = nc
	messages := codec.NewReader(nc, codec.MaxMessage)
	_, raw, err := messages.Next()
	if err != nil {
		l.say(Event{What: "the client said no hello: " + err.Error(), Connection: k.number})
		return
	}
	hello := append([]byte(nil), raw...)
	if m, err := codec.Decode(hello); err == nil {
		if h, ok := m.(*codec.Hello); ok {
			k.name, k.hello = h.Client, *h
		}
		l.hear(k.number, m)
	}
	defer l.hear(k.number, nil)
	_ = nc.SetReadDeadline(time.Time{})
	hits, login := l.rules.login(k.name)
	k.login = login
	wait := time.Duration(0)
	for _, i := range hits {
		switch f := l.rules.faultOf(i); f.Verb {
		case Refuse:
			k.happened(i, 0)
			k.refuse(&codec.Refusal{Code: f.Code, Text: "refused by the lab", Retry: f.Retry, RetryAfter: f.RetryIn})
			return
		case NoWelcome:
			k.happened(i, 0)
			_, _ = io.Copy(io.Discard, nc)
			return
		case SlowLogin:
			k.happened(i, 0)
			wait += f.For
		case Expire:
			k.expire = i
		default:
			if f.Verb.ofPublisher() {
				k.happenToPublisher(i, 0)
				continue
			}
			k.pending = append(k.pending, i)
		}
	}
	if !k.sleep(wait) || !k.unstalled() {
		return
	}
	if hello, err = k.overtake(hello); err != nil {
		l.say(Event{What: "the publisher: " + err.Error(), Client: k.name, Connection: k.number})
		return
	}
	dialling, stop := context.WithTimeout(ctx, dialTime)
	server, err := l.Dial(dialling)
	stop()
	if err != nil {
		l.say(Event{What: "the publisher cannot be reached: " + err.Error(), Client: k.name, Connection: k.number})
		return
	}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	k.server = server
	l.mu.Lock()
	if l.down > 0 { // since it was dialled
		l.mu.Unlock()
		k.reset()
		return
	}
	l.links[k] = struct{}{}
	l.waiting = slices.DeleteFunc(l.waiting, func(i int) bool {
		if !l.rules.applies(i, k.name) {
			return false
		}
		k.pending = append(k.pending, i)
		return true
	})
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.links, k)
		l.mu.Unlock()
		l.say(Event{What: "disconnected: " + k.why, Client: k.name, Connection: k.number, Login: k.login, Session: k.session, Seq: k.at})
	}()
	l.say(Event{What: "connected", Client: k.name, Connection: k.number, Login: k.login})
	defer server.Close()
	if _, err := server.Write(hello); err != nil {
		return
	}
	var up sync.WaitGroup
	gone := make(chan struct{})
	up.Go(func() {
		defer close(gone)
		k.up(messages)
	})
	k.early = newReadAhead(server)
	defer k.early.wait() // after server.Close
	err = k.down(codec.NewReader(k.early, codec.MaxMessage))
	select {
	case <-gone:
		k.why = "the client has closed"
	default:
		k.why = whyEnded(err)
	}
	switch {
	case errors.Is(err, errEnded):
		server.Close()
		k.finish(gone)
	case k.isDeaf():
		<-gone // the client must find out by itself
	case errors.Is(err, syscall.ECONNRESET):
		k.reset()
	default:
		k.finish(gone)
	}
	nc.Close()
	server.Close()
	up.Wait()
}

// whyEnded says in words why messages from the publisher ended.
func whyEnded(err error) string {
	switch {
	case errors.Is(err, errEnded):
		return "a rule has ended it"
	case errors.Is(err, io.EOF):
		return "the publisher has closed"
	case errors.Is(err, codec.ErrMalformed), errors.Is(err, codec.ErrUnknownMessage):
		return "the upstream sent what is no message of a publisher: " + err.Error()
	case errors.Is(err, context.Canceled):
		return "the lab ends"
	case errors.Is(err, net.ErrClosed):
		return "a rule or the end of the lab has ended it"
	}
	return err.Error()
}

// finish ends the connection for writing, and gives the client time to close.
func (k *link) finish(gone <-chan struct{}) {
	w, ok := k.client.(interface{ CloseWrite() error })
	if !ok || w.CloseWrite() != nil {
		return
	}
	select {
	case <-gone:
	case <-time.After(dialTime):
	case <-k.ctx.Done():
	}
}

// refuse sends a refusal to a client for which nobody was dialled, and waits until the client has closed.
func (k *link) refuse(m *codec.Refusal) {
	b, err := codec.Append(nil, m)
	if err != nil {
		return
	}
	_ = k.client.SetDeadline(time.Now().Add(dialTime))
	if _, err := k.client.Write(b); err != nil {
		return
	}
	if w, ok := k.client.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, k.client)
}

// reset closes the connection so that the client sees a reset, where TCP allows it.
func (k *link) reset() {
	if tcp, ok := k.client.(interface{ SetLinger(int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	k.client.Close()
	if k.server != nil {
		k.server.Close()
	}
}

func (k *link) isDeaf() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.deafIn
}

// happened records that rule i has done something at number seq.
func (k *link) happened(i int, seq uint64) {
	k.lab.rules.happened(i)
	r := k.lab.rules.rule(i)
	if r == nil {
		return
	}
	k.mu.Lock()
	session := k.session
	k.mu.Unlock()
	k.lab.say(Event{Line: r.Line, Fault: r.Text, Client: k.name, Connection: k.number, Login: k.login, Session: session, Seq: seq})
}

// inject applies rule i now, from another goroutine, or has the next message that it suits apply it.
func (k *link) inject(i int) {
	f := k.lab.rules.faultOf(i)
	k.mu.Lock()
	at := k.at
	switch {
	case f.Verb == Cut && f.How != "inside":
		k.mu.Unlock()
		k.happened(i, at)
		if f.How == "rst" {
			k.reset()
		} else {
			k.client.Close()
		}
		return
	case f.Verb == Stall:
		k.stalled = time.Now().Add(f.For)
	case f.Verb == HalfOpen:
		k.deafIn, k.deafOut = k.deafIn || f.How == "in", k.deafOut || f.How == "out"
	case f.Verb == IgnorePulses:
		k.ignored, k.ignorer = time.Now().Add(f.For), i
		k.mu.Unlock()
		return
	default:
		k.pending = append(k.pending, i)
		k.mu.Unlock()
		return
	}
	k.mu.Unlock()
	k.happened(i, at)
}

// sleep waits for d, and returns false if the link must end.
func (k *link) sleep(d time.Duration) bool {
	if d <= 0 {
		return k.ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-k.ctx.Done():
		return false
	}
}

// unstalled waits while nothing passes down, and unstalledUp while nothing passes up.
func (k *link) unstalled() bool { return k.during(k.stall) }

func (k *link) unstalledUp() bool { return k.during(k.stallUp) }

// during waits while stall returns a time, and returns false if the link must end.
func (k *link) during(stall func() time.Duration) bool {
	for {
		d := stall()
		if d <= 0 {
			return k.ctx.Err() == nil
		}
		if !k.sleep(d) {
			return false
		}
	}
}

// stall returns for how long nothing passes down, and stallUp for how long nothing passes up. What the client sends while the
// publisher is suspended waits on the publisher's side.
func (k *link) stall() time.Duration {
	k.lab.mu.Lock()
	until := k.lab.frozen
	k.lab.mu.Unlock()
	return max(time.Until(until), k.stallUp())
}

func (k *link) stallUp() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return time.Until(k.stalled)
}

// holdBack calls wait, which waits because of a rule, and returns its result. Meanwhile the link goes on reading from the
// publisher.
func (k *link) holdBack(wait func() bool) bool {
	k.early.hold(true)
	defer k.early.hold(false)
	return wait()
}

// up passes what the client sends.
func (k *link) up(messages *codec.Reader) {
	for {
		t, raw, err := messages.Next()
		if err == nil && k.lab.Heard != nil {
			if m, err := codec.Decode(raw); err == nil {
				k.lab.hear(k.number, m)
			}
		}
		if !k.unstalledUp() {
			return
		}
		k.mu.Lock()
		deaf := k.deafOut
		ignore := t == codec.TypePulse && time.Now().Before(k.ignored)
		ignorer := k.ignorer
		if ignore {
			k.ignorer = -1
		}
		at := k.at
		k.mu.Unlock()
		if ignore && ignorer >= 0 {
			k.happened(ignorer, at)
		}
		switch {
		case err != nil && deaf:
			return // the publisher must find out by itself
		case err != nil:
			if w, ok := k.server.(interface{ CloseWrite() error }); ok && errors.Is(err, io.EOF) {
				_ = w.CloseWrite()
			} else {
				k.server.Close()
			}
			return
		case deaf, ignore:
			continue
		}
		if _, err := k.server.Write(raw); err != nil {
			_, _ = io.Copy(io.Discard, k.client)
			return
		}
	}
}

// write sends b to the client.
func (k *link) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if k.stall() > 0 && !k.holdBack(k.unstalled) {
		return k.ctx.Err()
	}
	if k.isDeaf() {
		return nil
	}
	if k.rate == 0 {
		_, err := k.client.Write(b)
		return err
	}
	for part := range slices.Chunk(b, int(max(1, min(k.rate/20, 1<<20)))) {
		if !k.sleep(time.Duration(float64(len(part)) / float64(k.rate) * float64(time.Second))) {
			return k.ctx.Err()
		}
		if _, err := k.client.Write(part); err != nil {
			return err
		}
	}
	return nil
}

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
			if err := k.packet(raw, hits); err != nil {
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
	}
	m, err := codec.Decode(raw)
	if err != nil {
		return raw, nil // passed on as it is
	}
	switch m := m.(type) {
	case *codec.Welcome:
		owner, _, _ := m.Lineage.Owner(m.Start)
		k.mu.Lock()
		k.session, k.at = owner.ID, m.Start
		k.mu.Unlock()
		k.seed, k.interval, k.head, k.lineage = m.Seed, m.Heartbeat, m.Head, m.Lineage
		return k.expired(m, raw)
	case *codec.SessionChange:
		k.mu.Lock()
		k.session, k.at = m.Lineage.Current().ID, m.Next
		k.mu.Unlock()
		k.seed, k.lineage = m.Seed, m.Lineage
	case *codec.Subscribed:
		k.seed = m.Seed
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
