package simulation

import (
	"fmt"
	"strings"
)

// A Fault is a kind of fault in a simulation.
type Fault int

// The faults. Each is counted when it takes effect, not when it is requested.
const (
	Reset           Fault = iota // a connection was reset
	Cut                          // a connection was reset after some byte, mostly inside a message
	Truncation                   // a connection ended after some byte, without an error
	BlackHole                    // bytes of a half-open connection vanished
	Stall                        // bytes were held back for a while
	Slowness                     // bytes came later because of limited bandwidth
	FullBuffer                   // a writer met a full buffer
	BitFlip                      // a bit was flipped and read
	RefusedDial                  // a dial was refused
	HungDial                     // a dial hung until it was given up
	Partition                    // a partition held something back
	DroppedMessage               // a message of the publisher was dropped
	RepeatedMessage              // one came twice
	SwappedMessages              // two changed places
	Kill                         // the publisher was killed, and restarted with its journal
	Stop                         // the publisher was stopped in order, and restarted
	PowerCut                     // a power cut lost some unsynced data
	JournalLost                  // the publisher restarted with an empty journal
	OldCopy                      // the publisher restarted with an older copy of its journal
	SegmentLost                  // the publisher restarted without the journal's last file
	TailLost                     // the publisher restarted without the last bytes of the journal
	DiskFull                     // a write found no room
	DiskError                    // a write failed for good, and the publisher had to start again
	DiskHang                     // an operation on the disk took up to two seconds
	ReadError                    // an operation that reads the disk failed
	NoDescriptors                // an operation found no free file descriptor
	JournalRemoved               // the current file and the lock were removed from the publisher's journal
	RotatedCut                   // the power went after a file of the journal had ended, under sync 1s
	ClientKill                   // a subscriber was killed, and restarted with its position file
	ClientNap                    // an application was slow
	ClockStep                    // the wall clock was read after a jump
	FilterChange                 // a subscriber asked for other instruments
	Expired                      // retention overtook a subscriber, which reported the numbers that it lost
	Withheld                     // a slow subscriber was sent to a snapshot
	TooSlow                      // a slow subscriber was sent away
	Quiet                        // an hour, or a part of one, passed without a tick

	faults
)

var faultNames = [faults]string{
	"reset", "cut", "truncation", "black hole", "stall", "slowness", "full buffer", "bit flip", "refused dial", "hung dial",
	"partition", "dropped message", "repeated message", "swapped messages", "kill", "stop", "power cut", "journal lost",
	"old copy", "segment lost", "tail lost", "disk full", "disk error", "disk hang", "read error", "no descriptors", "journal removed", "rotated cut", "client kill", "client nap", "clock step",
	"filter change", "expired", "withheld", "too slow", "quiet",
}

func (f Fault) String() string {
	if f >= 0 && f < faults {
		return faultNames[f]
	}
	return fmt.Sprintf("fault(%d)", int(f))
}

// Faults counts how often each fault took effect.
type Faults [faults]uint64

// Add adds the counts of o.
func (f *Faults) Add(o *Faults) {
	for i := range f {
		f[i] += o[i]
	}
}

// Absent returns the faults that never took effect.
func (f *Faults) Absent() []Fault {
	var none []Fault
	for i, n := range f {
		if n == 0 {
			none = append(none, Fault(i))
		}
	}
	return none
}

// String returns a line for each fault.
func (f *Faults) String() string {
	var b strings.Builder
	for i, n := range f {
		fmt.Fprintf(&b, "%-16v %8d\n", Fault(i), n)
	}
	return b.String()
}
