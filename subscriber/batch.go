package subscriber

import (
	"iter"
	"sort"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/feed/words"
)

// A Batch holds ticks, a part of a snapshot, or a change. The batch and all it points to are valid until the handler
// returns. Exactly one of Ticks and Change is set.
type Batch struct {
	// Session is the session that numbered the ticks; 0 before the first connection.
	Session feed.SessionID
	// Ticks are in order. Seq is set, except in the entries of a snapshot. Numbers between two ticks were not asked for.
	Ticks []feed.Tick
	// Published holds the publish times of Ticks, in order; it is empty for snapshots and changes. A batch may hold the ticks
	// of many packets, and each packet has its own publish time.
	Published []Published
	// Snapshot reports whether Ticks are entries of a snapshot (FlagSnapshot, no Seq). The entries follow the replacement of
	// the state. They are not new ticks and must not be counted as such.
	Snapshot bool
	// State is the state after these ticks. It is read-only.
	State  *feed.State
	Change *Change
}

// Published is the publish time of some consecutive ticks of a batch: the ticks of one packet, or of several packets with the
// same publish time.
type Published struct {
	// End is the index in Batch.Ticks after the last of the ticks, which begin at the End of the previous Published, or at 0.
	End int
	// Time is when the publisher sealed the packet, in nanoseconds since the Unix epoch, UTC. On a filtered line the publisher
	// joins packets that it sealed within 1 ms, and Time is the time of the last of them.
	Time int64
}

// PublishTime returns the publish time of Ticks[i], or 0 for an entry of a snapshot. To loop over all ticks, use
// ByPublishTime, which does not search.
func (b *Batch) PublishTime(i int) int64 { return publishTime(b.Published, i) }

func publishTime(published []Published, i int) int64 {
	n := sort.Search(len(published), func(n int) bool { return published[n].End > i })
	if n == len(published) {
		return 0
	}
	return published[n].Time
}

// ByPublishTime iterates over Ticks in runs with the same publish time: it yields the publish time and the ticks of each run.
// The entries of a snapshot are one run with publish time 0.
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

// A Change is an event between ticks, delivered in order with them.
type Change struct {
	State ConnState // the state of the connection after the change
	Addr  string    // the address of the publisher; empty if there is none
	// Err is why the state is Disconnected or Closed.
	Err error
	// Connected is set in the first change after a publisher has welcomed the subscriber.
	Connected *Connected
	// Report is set when a recovery has ended.
	Report *Report
	// Withheld, Lost and Disowned are the numbers that the ledger now counts as such.
	Withheld, Lost, Disowned []Numbers
	// Reason is why the publisher no longer has the numbers in Lost, if it gave a reason.
	Reason codec.GoneReason
	// Unrelated reports whether the publisher has no session in common with the previous position. Lost then holds the
	// numbers of the old session that the subscriber knew of, and the numbers of the new sessions before the start of the line.
	Unrelated bool
	// Snapshot is set when a snapshot has ended: the state was replaced, and the entries of the snapshot follow.
	Snapshot *codec.SnapshotBegin
	// Filtered is set when another filter takes effect, after SetFilter or when a publisher grants less than was asked for, and when a
	// publisher grants the same as before of another filter.
	Filtered *Filtered
	// End reports whether the session has ended. Final is the number after the last one of the session.
	End   bool
	Final uint64
	// Saved is the position in the position file, if the file was replaced just now.
	Saved *codec.Position
}

// Connected is where the line of a new connection begins.
type Connected struct {
	Session  feed.SessionID // owner of the first number of the line
	Mode     codec.Mode
	Reason   codec.StartReason
	Position uint64 // the next number to deliver
	Head     uint64 // the next number of the publisher's session
}

// Filtered reports the filter that applies to the ticks delivered from number From on.
type Filtered struct {
	Filter codec.Filter
	Limits string // what the ticks lack of Filter, because the publisher does not permit it, in its words; empty for nothing
	From   uint64
}

// Numbers are sequence numbers of one session.
type Numbers = feed.Numbers

// A ConnState is what the subscriber is doing.
type ConnState uint8

// The states.
const (
	Disconnected ConnState = iota // waiting before the next attempt
	Connecting                    // dialling, or waiting for the welcome
	Snapshotting                  // a snapshot is under way, or due
	Replaying                     // receiving ticks that were published before the connection was made
	Live                          // all ticks published before the connection was made have been received
	Stale                         // nothing heard for two heartbeat intervals
	Ended                         // the session has ended; the connection stays open
	Closed                        // Run returns
)

var stateWords = words.List{What: "state", Words: []string{
	"disconnected", "connecting", "snapshot", "replaying", "live", "stale", "ended", "closed",
}}

// String returns the word for s.
func (s ConnState) String() string { return stateWords.Word(int(s)) }

// MarshalText writes the word that String returns.
func (s ConnState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the word that String returns.
func (s *ConnState) UnmarshalText(text []byte) error { return words.Parse(s, &stateWords, text) }
