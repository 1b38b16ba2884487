package subscriber

import (
	"time"

	"tickfeed/codec"
)

// A Start is where a subscription begins if it has no position; the zero Start is a snapshot as of now, and what follows.
type Start = codec.Start

// Starts of Config.Start, beside At and Since.
var (
	Beginning = Start{Kind: codec.StartBeginning} // the oldest number that the publisher was meant to keep
	FromNow   = Start{Kind: codec.StartLive}      // what follows from now, after the definitions
)

// At starts at sequence number seq, from 1. A publisher that has not given it yet refuses the subscription.
func At(seq uint64) Start { return Start{Kind: codec.StartSeq, Value: seq} }

// Since starts at the first packet that was published at t or later; a time before 1970 is the beginning of 1970. A publisher
// refuses a time that lies ahead.
func Since(t time.Time) Start {
	if t.Before(time.Unix(0, 0)) {
		t = time.Unix(0, 0)
	}
	return Start{Kind: codec.StartTime, Value: uint64(t.UnixNano())}
}
