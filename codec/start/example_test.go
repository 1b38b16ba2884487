package start_test

import (
	"fmt"

	"tickfeed/codec"
	"tickfeed/codec/start"
	"tickfeed/feed"
)

// A log in which each number has a packet of its own.
type plainLog struct{ head uint64 }

func (l plainLog) Join(least uint64) uint64            { return l.head }
func (l plainLog) SeqAt(time int64) uint64             { return l.head }
func (l plainLog) PacketOf(seq uint64) (uint64, error) { return seq, nil }

// A client that comes back too late resumes, and learns which numbers the publisher no longer has.
func Example() {
	lineage := feed.Lineage{{ID: 0x20261122a, First: 1}}
	hello := &codec.Hello{MinVersion: 1, MaxVersion: 1, Position: codec.Position{Lineage: lineage, Next: 400}}
	offer := start.Offer{Lineage: lineage, Head: 1000, Tail: 700, Oldest: 1, Memory: 900}
	answer, refusal, err := offer.Answer(hello, plainLog{head: 1000})
	if refusal != nil || err != nil {
		fmt.Println(refusal, err)
		return
	}
	fmt.Println("the line begins at", answer.First, "because", answer.Reason, "with a snapshot:", answer.Snapshot)

	welcome := &codec.Welcome{Version: 1, Lineage: answer.Lineage, Head: 1000, Tail: 700, Start: answer.First, Reason: answer.Reason}
	placed, err := start.Place(hello, welcome)
	fmt.Println("the client goes on at", placed.Position, err)
	// Output:
	// the line begins at 400 because resumed with a snapshot: true
	// the client goes on at 400 <nil>
}
