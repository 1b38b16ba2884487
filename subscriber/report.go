package subscriber

import (
	"errors"
	"time"

	"github.com/rs/zerolog"

	"tickfeed/feed"
)

// A Report tells one recovery, from the loss of a connection until everything published before the new connection was
// received. Connections that are lost again before that are part of the same recovery.
type Report struct {
	Cause  Cause  `json:"cause"`  // why the connection was lost
	Detail string `json:"detail"` // the same in words, possibly the publisher's
	// Down is from the loss to the welcome, FirstTick to when the first tick was handed over (0 if none had come), Live to the
	// end.
	Down      time.Duration `json:"down_ns"`
	FirstTick time.Duration `json:"first_tick_ns"`
	Live      time.Duration `json:"live_ns"`
	Attempts  int           `json:"attempts"` // to connect
	Resume    Resume        `json:"resume"`
	// Replayed counts the ticks delivered that were published before the new connection was made, Duplicates the ticks that
	// were dropped because they had been delivered before. A tick whose number the ledger has as lost, withheld or not asked
	// for is dropped too if it comes before the position, but it repeats nothing that was delivered, and is not counted.
	Replayed   uint64         `json:"replayed"`
	Duplicates uint64         `json:"duplicates"`
	Lost       []Numbers      `json:"lost,omitempty"`
	Disowned   []Numbers      `json:"disowned,omitempty"`
	Addr       string         `json:"addr"` // where it is connected now
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

// A Resume is how a recovery went on. If it took several connections, and one of them rewound or began by a snapshot, the
// report says so, whatever the last of them did.
type Resume string

// The ways to resume.
const (
	ResumeReplay   Resume = "replay"   // at the position; nothing is missing
	ResumeSnapshot Resume = "snapshot" // by a snapshot: the publisher no longer had what followed the position
	ResumeRewound  Resume = "rewound"  // before the position: what followed is disowned
	// ResumeNewSession is a start in sessions that have none in common with the position.
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

// A recovery is a report that is being written.
type recovery struct {
	report Report
	since  time.Time // when the connection was lost
}
