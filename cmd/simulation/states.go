package simulation

import (
	"fmt"
	"strings"
)

// A State is a situation that enough simulations must reach, because no single fault causes it and bugs are
// likely in it. Each is detected from outside, in the bytes between the publisher and its clients, or on the
// publisher's disk.
type State int

// The states.
const (
	FellToJournal     State = iota // a line that read from memory fell to the journal while a file was being begun
	JournalResume                  // a resume was answered from the journal
	MemoryResume                   // a resume was answered from memory
	FilteredCrossing               // a line crossed from one session to the next while filtered
	TwoCrossings                   // a line in catch-up crossed two sessions
	RetentionOvertook              // retention removed numbers that a line was about to read
	DamageReported                 // a line was sent the range of damage in the middle of the journal
	Jumped                         // a slow consumer was sent on to a snapshot
	CatchUpSnapshot                // a snapshot was sent during catch-up
	CatchUpFilter                  // a filter changed during catch-up
	CutInSnapshot                  // a connection ended inside a snapshot
	CutRequest                     // a connection ended before a change of filter was answered
	Rewound                        // a resume went back to a fork
	NoCommonSession                // a client without a common session came back
	BeforePosition                 // a line began before the position, inside a packet
	LongFilterResumed              // a client resumed whose filter does not fit into the hello
	StoppedInCatchUp               // the publisher stopped in order during a line's catch-up
	FullDiskJoin                   // a client joined while the disk was full
	FileOnFullDisk                 // a file of the journal was to begin while the disk was full
	QuietSkip                      // a filtered line advanced by a skip, for its heartbeat
	ClockHeld                      // publish times did not advance, because the wall clock had gone back

	states
)

var stateNames = [states]string{
	"a line fell from memory to the journal while a file was begun",
	"a resume was answered from the journal",
	"a resume was answered from memory",
	"a line crossed a session while filtered",
	"a line that caught up crossed two sessions",
	"retention overtook a line",
	"a line was sent the range of damage in its midst",
	"a slow consumer jumped",
	"a snapshot was sent in the midst of catch-up",
	"a filter changed in the midst of catch-up",
	"a connection ended inside a snapshot",
	"a connection ended before a change of filter was answered",
	"a resume went back to a fork",
	"a client came back without a session in common",
	"a line began before the position",
	"a client resumed whose filter does not fit into a hello",
	"the publisher stopped while a line caught up",
	"a client joined while the disk was full",
	"a file was to begin while the disk was full",
	"a filtered line was moved on for its heartbeat",
	"publish times stood still while the clock had gone back",
}

func (s State) String() string {
	if s >= 0 && s < states {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", int(s))
}

// States counts how often each state was seen.
type States [states]uint64

// Add adds the counts of o.
func (s *States) Add(o *States) {
	for i := range s {
		s[i] += o[i]
	}
}

// Absent returns the states that were never seen.
func (s *States) Absent() []State {
	var none []State
	for i, n := range s {
		if n == 0 {
			none = append(none, State(i))
		}
	}
	return none
}

// String returns a line for each state.
func (s *States) String() string {
	var b strings.Builder
	for i, n := range s {
		fmt.Fprintf(&b, "%8d %v\n", n, State(i))
	}
	return b.String()
}
