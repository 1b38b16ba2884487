package lab

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/neterror"
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
	why    string        // the connection has ended
	gone   chan struct{} // closed when the client has ended it
	over   atomic.Bool   // a rule has ended it

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
	answered  *time.Timer // reports that the publisher does not answer
	head      uint64      // of the welcome; 0 once the line has been live
	decided   uint64      // the rules for the numbers below it have applied to this line or never will
	broken    bool        // the client must end the connection because of rule breaker: before the next rule is spent, the link waits
	breaker   int
	blind     [verbs]bool // faults that the client has not noticed
	dropping  uint64      // packets that are still to be dropped, because of rule dropper
	dropper   int
	hello     codec.Hello // to the publisher
	role      role
	lineage   feed.Lineage // of the publisher
	expire    int          // rule by which the next numbers are gone after this login; -1 for none
	from      uint64       // first number that is gone then
	skip      uint64       // number after the last one that is gone then
	stale     bool         // a stale snapshot was sent instead of this one
	kept      []byte       // packets to send after the next one
	beatsDrop time.Time    // until when heartbeats are dropped
	beatsRule int          // rule by which heartbeats are dropped; -1 once that was counted
	rate      uint64       // bytes per second; 0 for no bound
	cutting   bool         // the snapshot is cut after its first part
	endless   bool         // the snapshot's end is dropped
	ended     bool         // an end message was made up
}

// errEnded ends a link on purpose. errGone ends it because the client has.
var (
	errEnded = errors.New("ended by the script")
	errGone  = errors.New("the client has closed")
)

// whyEnded says in words why messages from the publisher ended with err. ruled is whether a rule had ended the connection before.
func (k *link) whyEnded(ruled bool, err error) string {
	gone := false
	select {
	case <-k.gone:
		gone = true
	default:
	}
	switch { // the end of the lab, or a rule, also ends what the client sends
	case k.ctx.Err() != nil:
		return "the lab ends"
	case ruled, errors.Is(err, errEnded):
		return "a rule has ended it"
	case gone:
		return errGone.Error()
	case errors.Is(err, io.EOF):
		return "the publisher has closed"
	case errors.Is(err, codec.ErrMalformed), errors.Is(err, codec.ErrUnknownMessage):
		return "the upstream sent what is no message of a publisher: " + err.Error()
	}
	return neterror.Plain(err).Error()
}

// finish ends the connection for writing, and gives the client time to close.
func (k *link) finish() {
	w, ok := k.client.(interface{ CloseWrite() error })
	if !ok || w.CloseWrite() != nil {
		return
	}
	select {
	case <-k.gone:
	case <-time.After(dialTime):
	case <-k.ctx.Done():
	}
}

// refuse sends a refusal to a client for which nobody was dialled, and waits until the client has closed.
func (k *link) refuse(m *codec.Refusal) {
	b, err := encode(nil, m)
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
	k.over.Store(true)
	if tcp, ok := k.client.(interface{ SetLinger(int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	k.client.Close()
	if k.server != nil {
		k.server.Close()
	}
}

// isOver reports whether the connection has ended, so that nothing can happen to it any more.
func (k *link) isOver() bool {
	select {
	case <-k.gone:
		return true
	default:
		return k.over.Load()
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

// inject applies rule i now, from another goroutine, or has the next message that it suits apply it. It returns false if the
// connection has ended.
func (k *link) inject(i int) bool {
	f := k.lab.rules.faultOf(i)
	ends := f.Verb == Cut && f.How != "inside"
	k.mu.Lock()
	if k.isOver() || ends && k.over.Swap(true) {
		k.mu.Unlock()
		return false
	}
	at := k.at
	switch {
	case ends:
	case f.Verb == Stall:
		k.stalled = time.Now().Add(f.For)
	case f.Verb == HalfOpen:
		k.deafIn, k.deafOut = k.deafIn || f.How == "in", k.deafOut || f.How == "out"
	case f.Verb == IgnorePulses:
		k.ignored, k.ignorer = time.Now().Add(f.For), i
		k.mu.Unlock()
		k.lab.rules.because(i, "the client sent no pulse while it lasted")
		return true
	default:
		k.pending = append(k.pending, i)
		k.mu.Unlock()
		return true
	}
	k.mu.Unlock()
	k.happened(i, at)
	switch {
	case ends && f.How == "rst":
		k.reset()
	case ends:
		k.client.Close()
	}
	return true
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

// leave ends the connection to the publisher for writing, as the client has ended its own.
func (k *link) leave(err error) {
	if w, ok := k.server.(interface{ CloseWrite() error }); ok && errors.Is(err, io.EOF) {
		_ = w.CloseWrite()
	} else {
		k.server.Close()
	}
}

// up passes what the client sends, until the client ends. It returns how, or nil if the publisher must not notice.
func (k *link) up(messages *codec.Reader) error {
	for {
		t, raw, err := messages.Next()
		if err == nil && k.lab.Heard != nil {
			if m, err := codec.Decode(raw); err == nil {
				k.lab.hear(k.number, m)
			}
		}
		if !k.unstalledUp() {
			return nil
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
			return nil // the publisher must find out by itself
		case err != nil:
			return err
		case deaf, ignore:
			continue
		}
		if _, err := k.server.Write(raw); err != nil {
			_, _ = io.Copy(io.Discard, k.client)
			return nil
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
