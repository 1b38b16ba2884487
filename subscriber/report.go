package subscriber

import (
	"errors"
	"time"

	"github.com/rs/zerolog"

	"tickfeed/feed"
)

// A Report describes one recovery, from the loss of a connection until the subscriber has received all ticks published before
// the new connection. If a connection is lost before that, it is part of the same recovery.
type Report struct {
	Cause  Cause  `json:"cause"`  // why the connection was lost
	Detail string `json:"detail"` // the same in words, possibly the publisher's
	// Down, FirstTick and Live are the times until the welcome, the first delivered tick (0 if there was none), and the end
	// of the recovery. They begin when the subscriber notices that the connection is lost: after three silent heartbeat
	// intervals if the peer says nothing, and after what arrived before the end of the connection has been handled.
	Down      time.Duration `json:"down_ns"`
	FirstTick time.Duration `json:"first_tick_ns"`
	Live      time.Duration `json:"live_ns"`
	Attempts  int           `json:"attempts"` // to connect
	Resume    Resume        `json:"resume"`
	// Replayed counts the delivered ticks that were published before the new connection was made, Duplicates the ticks that
	// were dropped because they had been delivered before. A tick before the position that the ledger counts as lost,
	// withheld, disowned or not asked for is dropped as well, but is not counted, because it was not delivered before.
	Replayed   uint64         `json:"replayed"`
	Duplicates uint64         `json:"duplicates"`
	Lost       []Numbers      `json:"lost,omitempty"`
	Disowned   []Numbers      `json:"disowned,omitempty"`
	Addr       string         `json:"addr"` // address of the new connection
	Session    feed.SessionID `json:"session"`
}

// MarshalZerologObject writes the fields of the JSON form; durations are in milliseconds.
func (r *Report) MarshalZerologObject(e *zerolog.Event) {
	e.Str("cause", string(r.Cause)).Str("detail", r.Detail).
		Dur("down", r.Down).Dur("first_tick", r.FirstTick).Dur("live", r.Live).
		Int("attempts", r.Attempts).Str("resume", string(r.Resume)).
		Uint64("replayed", r.Replayed).Uint64("duplicates", r.Duplicates).
		Str("addr", r.Addr).Stringer("session", r.Session)
	if len(r.Lost) > 0 {
		e.Interface("lost", r.Lost)
	}
	if len(r.Disowned) > 0 {
		e.Interface("disowned", r.Disowned)
	}
}

// A Cause is why a connection was lost.
type Cause string

// The causes.
const (
	CauseCut      Cause = "cut"      // it ended without a goodbye
	CauseSilent   Cause = "silent"   // nothing was heard for three heartbeat intervals
	CauseGoodbye  Cause = "goodbye"  // the publisher ended it
	CauseGap      Cause = "gap"      // numbers were missing
	CauseProtocol Cause = "protocol" // the publisher broke the protocol in another way
)

// A Resume is how a recovery resumed the line. If it took several connections and one of them rewound or took a snapshot, the
// report has that Resume, even if a later connection resumed at the position.
type Resume string

// The ways to resume.
const (
	ResumeReplay   Resume = "replay"   // at the position; nothing is missing
	ResumeSnapshot Resume = "snapshot" // by a snapshot: the publisher no longer had the ticks after the position
	ResumeRewound  Resume = "rewound"  // before the position: the numbers in between are disowned
	// ResumeNewSession means that the publisher has no session in common with the position.
	ResumeNewSession Resume = "new session"
)

// CauseOf returns why a connection that ended with err was lost.
func CauseOf(err error) Cause {
	var refused *RefusedError
	var protocol *ProtocolError
	switch {
	case errors.Is(err, ErrSilent):
		return CauseSilent
	case errors.As(err, &refused):
		return CauseGoodbye
	case errors.As(err, &protocol):
		if !protocol.Missing.Empty() {
			return CauseGap
		}
		return CauseProtocol
	}
	return CauseCut
}

// A recovery is the report of a recovery that is under way.
type recovery struct {
	report Report
	since  time.Time // when the connection was lost
}
