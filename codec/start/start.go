// Package start decides where a line starts, on both sides of a connection, as PROTOCOL.md, "Where a line starts",
// says: an [Offer] answers a hello for the publisher, and [Place] tells the subscriber what the answer means. Neither
// reads a clock, a log or a socket.
//
//	hello ──> Offer.Answer ──> welcome ──> Place ──> position, and what is not asked, lost or disowned
package start

import (
	"fmt"
	"math"

	"tickfeed/codec"
	"tickfeed/feed"
)

// An Offer is what a publisher can serve when a hello arrives.
type Offer struct {
	Lineage feed.Lineage // every session of the publisher, oldest first; not only those that a message can hold
	Mode    codec.Mode
	Head    uint64 // number after the last one that may be sent
	Tail    uint64 // oldest number that can be served to this client, at most Head
	Oldest  uint64 // oldest number that the client may expect, at most Tail: the numbers from there to Tail are reported as gone
	Memory  uint64 // oldest number in memory
	Now     int64  // the publisher's clock or, if that is later, the publish time of the last packet; ns since the Unix epoch
}

// A Log finds places in the log of a publisher.
type Log interface {
	// Join returns a number at or after least, and at or after the head of the offer if least is the head, where a client
	// that follows from now on starts.
	Join(least uint64) uint64
	// SeqAt returns the number of the first packet with a publish time of at least time, or the head if there is none.
	SeqAt(time int64) uint64
	// PacketOf returns the first number of the packet that holds seq, or seq if no packet holds it. It returns an error if
	// the log cannot be read now.
	PacketOf(seq uint64) (uint64, error)
}

// An Answer is where a line starts.
type Answer struct {
	Position uint64 // the position of the client: every number below is accounted for
	First    uint64 // first number of the line; at most Position, and below it only inside the packet that holds Position
	Reason   codec.StartReason
	Owner    feed.Session    // session that owns Position, with which the line begins
	Lineage  feed.Lineage    // for the welcome
	Snapshot bool            // a snapshot as of Position is sent first
	Scope    codec.ScopeKind // of that snapshot
	Joined   bool            // Position was returned by Log.Join
}

// Answer decides where the line of a client that sent h starts. It returns a refusal without Retry if the client asked
// for something that does not exist, and an error if the log cannot be read now.
func (o *Offer) Answer(h *codec.Hello, log Log) (a Answer, refusal *codec.Refusal, err error) {
	held := h.Position
	resuming := len(held.Lineage) > 0
	fork, common := uint64(0), false
	if resuming {
		if fork, common = o.Lineage.Fork(held.Lineage, held.Next); common {
			_, _, common = o.Lineage.Owner(fork)
		}
	}
	switch {
	case common && fork > o.Head:
		return a, badRequest("position %d is beyond the head of session %v, which is %d", fork, o.Lineage.Current().ID, o.Head), nil
	case common && fork == held.Next:
		a.Position, a.Reason, a.Snapshot = fork, codec.StartedResumed, !h.HasState
	case common:
		a.Position, a.Reason, a.Snapshot = fork, codec.StartedRewound, true
	case resuming && o.hasFirst(held.Next):
		// The client followed a session that this lineage replaces, and can have every tick of this lineage.
		a.Position, a.Reason, a.Snapshot = o.Lineage[0].First, codec.StartedBySnapshot, true
	default:
		if a, refusal = o.asAsked(h.Start, log); refusal != nil && (!resuming || h.Start.Kind == codec.StartTime) {
			return Answer{}, refusal, nil
		} else if refusal != nil { // a number that this session has not reached does not exist for this client
			a, _ = o.asAsked(codec.Start{}, log)
		}
		if a.Snapshot = true; resuming {
			a.Reason, a.Scope = codec.StartedBySnapshot, codec.ScopeAll
		}
	}
	if a.First, err = log.PacketOf(a.Position); err != nil {
		return Answer{}, nil, err
	}
	if a.Reason == codec.StartedBySnapshot {
		a.Position = a.First // the client knows none of the numbers of the packet
	}
	a.Owner, _, _ = o.Lineage.Owner(a.Position) // Position is not below the oldest session
	a.Lineage = o.named(held, a.Position)
	a.Snapshot = a.Snapshot && a.Position > 1
	return a, nil, nil
}

func badRequest(format string, args ...any) *codec.Refusal {
	return &codec.Refusal{Code: codec.CodeBadRequest, Text: fmt.Sprintf(format, args...)}
}

// hasFirst reports whether a client at position next of another session should start at the first number of this
// publisher. That is so if memory holds the first number, or if the first number can be served and the client has
// received nothing yet or the publisher replays a recording.
func (o *Offer) hasFirst(next uint64) bool {
	first := o.Lineage[0].First
	return o.Memory == first || o.Tail == first && (next == first || o.Mode == codec.ModeReplay)
}

// asAsked returns where a line begins for the requested start. It refuses a number beyond the head and a time in the
// future.
//
// For the start "beginning" the line begins at the oldest number that the client may expect, so that a gone entry first
// names the numbers that are gone.
func (o *Offer) asAsked(s codec.Start, log Log) (a Answer, refusal *codec.Refusal) {
	switch s.Kind {
	case codec.StartSnapshot:
		return Answer{Position: log.Join(0), Joined: true}, nil
	case codec.StartLive:
		return Answer{Position: log.Join(o.Head), Scope: codec.ScopeDefinitions, Joined: true}, nil
	case codec.StartBeginning:
		return Answer{Position: o.Oldest}, nil
	case codec.StartTime:
		if s.Value > math.MaxInt64 || int64(s.Value) > o.Now {
			return a, badRequest("time %d is later than the publisher's clock, which is at %d", s.Value, o.Now)
		}
		if a.Position = log.SeqAt(int64(s.Value)); a.Position == o.Tail { // removed packets may have this time too
			a.Position = o.Oldest
		}
		return a, nil
	}
	if a.Position = max(s.Value, o.Lineage[0].First); a.Position > o.Head {
		return a, badRequest("seq %d has not been published yet: the head is %d", a.Position, o.Head)
	}
	return a, nil
}

// named returns the lineage for a welcome to a client that held the position held, for a line at next: the newest
// sessions of the publisher or, if those do not show where the line begins, the newest sessions up to the owner of
// next.
func (o *Offer) named(held codec.Position, next uint64) feed.Lineage {
	newest := o.Lineage.Newest()
	fork, common := o.Lineage.Fork(held.Lineage, held.Next)
	if as, ok := newest.Fork(held.Lineage, held.Next); next >= newest[0].First && as == fork && ok == common {
		return newest
	}
	owner, _, _ := o.Lineage.Owner(next)
	upto, _ := o.Lineage.Until(owner.ID)
	return upto.Newest()
}

// A Placed is where a line starts for the subscriber, and what becomes of the numbers before.
type Placed struct {
	Position                 uint64 // every number below is accounted for
	NotAsked, Lost, Disowned []feed.Numbers
	Unrelated                bool // the publisher has no session in common with the position of the hello
}

// Place applies an answer to the hello that was sent. It returns an error if the welcome contradicts the hello or
// itself; the client must then end the connection.
func Place(h *codec.Hello, w *codec.Welcome) (Placed, error) {
	held := h.Position
	resuming := len(held.Lineage) > 0
	fork, common := uint64(0), false
	if resuming {
		fork, common = w.Lineage.Fork(held.Lineage, held.Next)
	}
	if _, _, ok := w.Lineage.Owner(w.Start); !ok || w.Start > w.Head {
		return Placed{}, fmt.Errorf("welcome: start %d is not in [%d, %d]", w.Start, w.Lineage[0].First, w.Head)
	}
	p, before := Placed{}, func(seq uint64) feed.Range { return feed.Range{From: 1, To: seq} }
	switch w.Reason {
	case codec.StartedAsAsked:
		if resuming {
			return Placed{}, fmt.Errorf("welcome: starts as asked, although the hello has a position")
		}
		asked := askedFrom(h.Start, w)
		p.Position = max(w.Start, asked)
		p.NotAsked = w.Lineage.Split(before(asked))
		p.Lost = w.Lineage.Split(feed.Range{From: asked, To: p.Position})
	case codec.StartedResumed:
		if !common || fork != held.Next || w.Start > fork {
			return Placed{}, fmt.Errorf("welcome: resumed at %d, the position is %d and the lineages part at %d", w.Start, held.Next, fork)
		}
		p.Position = fork
	case codec.StartedRewound:
		if !common || fork >= held.Next || w.Start > fork {
			return Placed{}, fmt.Errorf("welcome: rewound to %d, the position is %d and the lineages part at %d", w.Start, held.Next, fork)
		}
		p.Position = fork
		p.Disowned = held.Lineage.Split(feed.Range{From: fork, To: held.Next})
	default:
		switch {
		case !resuming:
			return Placed{}, fmt.Errorf("welcome: no session in common, although the hello has no position")
		case common:
			return Placed{}, fmt.Errorf("welcome: no session in common, although the lineages part at %d", fork)
		}
		p = Placed{Position: w.Start, Lost: w.Lineage.Split(before(w.Start)), Unrelated: true}
	}
	if p.Position > w.Head {
		return Placed{}, fmt.Errorf("welcome: head %d is below the position %d", w.Head, p.Position)
	}
	return p, nil
}

// askedFrom returns the first number that was asked for by the start of a line that began as asked. If the publisher no
// longer has it, the line starts later, and the numbers between are lost.
func askedFrom(start codec.Start, w *codec.Welcome) uint64 {
	switch {
	case start.Kind == codec.StartSeq:
		return start.Value
	case start.Kind == codec.StartBeginning,
		// The publisher does not know the times of the ticks that it no longer has: any of them may be as late as start.
		start.Kind == codec.StartTime && w.Start == w.Tail:
		return w.Lineage[0].First
	}
	return w.Start
}
