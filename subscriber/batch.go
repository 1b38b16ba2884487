package subscriber

import (
	"fmt"
	"iter"
	"sort"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A Batch is what the application is handed: ticks, a part of a snapshot, or a change. It and all it points to are valid
// until the handler returns. Exactly one of Ticks and Change is set.
type Batch struct {
	// Session is the one that gave the ticks their numbers; 0 before the first connection.
	Session feed.SessionID
	// Ticks are in order, with Seq set unless they are a snapshot's. Numbers that lie between two of them were not asked for.
	Ticks []feed.Tick
	// Published holds the publish times of Ticks, in order; it is empty for snapshots and changes. A batch may hold the ticks
	// of many packets, and each packet has its own publish time.
	Published []Published
	// Snapshot says that Ticks are a snapshot's entries (FlagSnapshot, no Seq). They are told after the state was replaced,
	// have been counted before or never will be, and must not be taken for new ticks.
	Snapshot bool
	// State is the state after these ticks, to read.
	State  *feed.State
	Change *Change
}

// Published is the publish time of some consecutive ticks of a batch: the ticks of one packet, or of several packets with the
// same publish time.
type Published struct {
	// End is the index after the last of these ticks in Batch.Ticks. They begin at the End of the Published before, the first at 0.
	End int
	// Time is when the publisher sealed the packet, in nanoseconds since the Unix epoch, UTC. On a filtered line the publisher
	// joins packets that it sealed within 1 ms, and Time is that of the last of them.
	Time int64
}

// PublishTime returns the publish time of Ticks[i]; 0 for a snapshot's entries. A loop over all ticks should use
// ByPublishTime, which does not search.
func (b *Batch) PublishTime(i int) int64 { return publishTime(b.Published, i) }

func publishTime(published []Published, i int) int64 {
	n := sort.Search(len(published), func(n int) bool { return published[n].End > i })
	if n == len(published) {
		return 0
	}
	return published[n].Time
}

// ByPublishTime iterates over Ticks in runs with the same publish time, which comes first. A snapshot's entries are one run
// with publish time 0.
func (b *Batch) ByPublishTime() iter.Seq2[int64, []feed.Tick] {
	return func(yield func(int64, []feed.Tick) bool) {
		from := 0
		for _, p := range b.Published {
			if !yield(p.Time, b.Ticks[from:p.End]) {
				return
			}
			from = p.End
		}
		if from < len(b.Ticks) {
			yield(0, b.Ticks[from:])
		}
	}
}

// A Change is something that happened between ticks. Changes come in order with the ticks.
type Change struct {
	State ConnState // that of the connection after the change
	Addr  string    // the publisher that this is about; empty if there is none
	// Err is why the state is Disconnected or Closed.
	Err error
	// Connected is set in the first change after a publisher has welcomed the subscriber.
	Connected *Connected
	// Report is set where a recovery is over.
	Report *Report
	// Withheld, Lost and Disowned are numbers that were accounted for so just now.
	Withheld, Lost, Disowned []Numbers
	// Reason is why Lost cannot be had any more, if the publisher gave a reason.
	Reason codec.GoneReason
	// Unrelated says that the publisher has no session in common with the position that was held. Lost is then what the
	// subscriber knew of the session it left, and what came in the new sessions before the line starts.
	Unrelated bool
	// Snapshot is set where a snapshot has ended: the state was replaced, the snapshot's entries follow.
	Snapshot *codec.SnapshotBegin
	// Filtered is set where another filter takes effect: after SetFilter, or where a publisher grants less than was asked for.
	Filtered *Filtered
	// End says that the session is over: no number from Final on will ever be given.
	End   bool
	Final uint64
	// Saved is the position that the position file now holds, if it was replaced just now.
	Saved *codec.Position
}

// Connected is where the line of a new connection begins.
type Connected struct {
	Session  feed.SessionID // that owns the first number of the line
	Mode     codec.Mode
	Reason   codec.StartReason
	Position uint64 // the next number to deliver
	Head     uint64 // next number of the publisher's session
}

// Filtered reports a filter and the number from which on the ticks that are handed over are those that it wants.
type Filtered struct {
	Filter codec.Filter
	From   uint64
}

// Numbers are sequence numbers of one session.
type Numbers struct {
	Session feed.SessionID `json:"session"`
	Range   feed.Range     `json:"range"`
}

func (n Numbers) String() string { return fmt.Sprintf("%v of session %v", n.Range, n.Session) }

// spread tells which session of l owns which part of r. What lies before all that l remembers is left out.
func spread(l feed.Lineage, r feed.Range) []Numbers {
	var out []Numbers
	for len(l) > 0 && !r.Empty() {
		s, owned, ok := l.Owner(r.From)
		if !ok {
			r.From = l[0].First
			continue
		}
		part := r.Intersect(owned)
		out = append(out, Numbers{s.ID, part})
		r.From = part.To
	}
	return out
}

// A ConnState is what the subscriber is doing.
type ConnState uint8

// The states.
const (
	Disconnected ConnState = iota // waiting before the next attempt
	Connecting                    // dialling, or waiting for the welcome
	Snapshotting                  // a snapshot is under way, or due
	Replaying                     // receiving what was published before the connection was made
	Live                          // everything that was there when the connection was made has been received
	Stale                         // nothing heard for two heartbeat intervals
	Ended                         // the session is over; the connection lives on
	Closed                        // Run returns
)

var stateNames = [...]string{"disconnected", "connecting", "snapshot", "replaying", "live", "stale", "ended", "closed"}

func (s ConnState) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// MarshalText writes the state as String does.
func (s ConnState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
