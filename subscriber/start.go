package subscriber

import (
	"time"

	"tickfeed/codec"
)

// A Start is where a subscription begins if it has no position. The zero Start is a snapshot as of now.
type Start = codec.Start

// Starts for Config.Start; At and Since return others.
var (
	Beginning = Start{Kind: codec.StartBeginning} // the oldest number that the publisher was meant to keep
	FromNow   = Start{Kind: codec.StartLive}      // ticks published from now on, after the definitions
)

// At starts at sequence number seq, which is at least 1. A publisher that has not reached seq refuses the subscription.
func At(seq uint64) Start { return Start{Kind: codec.StartSeq, Value: seq} }

// Since starts at the first packet that was published at t or later; a time before 1970 counts as the beginning of 1970. A
// publisher refuses a time in the future.
func Since(t time.Time) Start {
	if t.Before(time.Unix(0, 0)) {
		t = time.Unix(0, 0)
	}
	return Start{Kind: codec.StartTime, Value: uint64(t.UnixNano())}
}
