package compare

import (
	"io"

	"tickfeed/feed"
)

// A Claim is what a party says about numbers.
type Claim uint8

// The claims, the better ones first: of two claims of one party about a number, the better one counts.
const (
	Held      Claim = iota // the party has these ticks
	Filtered               // it was sent some of them, and did not ask for the others; which is not said
	Withheld               // its own slow-consumer policy left them out
	NotAsked               // it did not ask for them
	Lost                   // it asked for them, and could not have them
	Disowned               // no session owns them any more
	numClaims              // not a claim
)

// An Entry is one tick, or a claim about a range of numbers.
type Entry struct {
	feed.Numbers
	Claim Claim
	// Delivered is how many numbers of a Filtered range the party was sent.
	Delivered uint64
	// Definition and Kind are those of a tick. Definition is nil for ranges.
	Definition *feed.Definition
	Kind       feed.Kind
	// Text is a tick in a form in which equal ticks are equal, whatever party they come from; empty if the party knows only
	// the number. It is valid until the next entry.
	Text []byte

	// Line is the line of a tick in the lines of a subscriber, from 1; 0 in other parties.
	Line int
	// After is the greatest number of the same session, and of the same run of a subscriber, that came before this tick, if that
	// number is greater than the tick's own: the tick is out of order, or repeated. Otherwise After is 0.
	After uint64

	hash uint64 // of Text, which is not kept, in an entry of a party that was sorted
}

// A Party is a holder of ticks.
type Party struct {
	// Open returns a new stream of the party's entries, from its beginning. The caller closes it.
	Open func() (Stream, error)
}

// A Stream yields the entries of a party.
type Stream interface {
	// Next returns the next entry, which is valid until the next call. The error is io.EOF at the end.
	Next() (*Entry, error)
	// Facts returns what the party as a whole says. It is complete once Next has returned io.EOF.
	Facts() Facts
	io.Closer
}

// Facts are what a party says besides its entries.
type Facts struct {
	// Ends has the first number that a session does not own any more, because a later session begins there.
	Ends map[feed.SessionID]uint64
	// Disowned has numbers that the party was sent and that were disowned later.
	Disowned map[feed.SessionID]feed.RangeSet
	// Started is true if the party says where it began: it did not ask for the numbers before its first entry.
	Started bool
	// Left is true if the party says where it ended: it did not ask for the numbers after its last entry.
	Left bool
	// Firsts has the first number of the lineage of a session, as far as the party knows it.
	Firsts map[feed.SessionID]uint64
	// Torn is true if the end of the party is incomplete.
	Torn bool
	// CutLines is how many lines before the last one are cut off, as after a kill, and are passed over.
	CutLines int
	// Ticks is how many ticks the party has, including repeated ones.
	Ticks uint64

	runs     []run            // of the subscribers whose lines the party has
	sessions []feed.SessionID // that the lines of runs name, in order of first appearance
}

// end notes that session ends before the number first of its child.
func (f *Facts) end(session feed.SessionID, first uint64) {
	if f.Ends == nil {
		f.Ends = make(map[feed.SessionID]uint64)
	}
	if old, ok := f.Ends[session]; !ok || first < old {
		f.Ends[session] = first
	}
}

// lineage notes where the sessions of l end.
func (f *Facts) lineage(l feed.Lineage) {
	for i := 1; i < len(l); i++ {
		f.end(l[i-1].ID, l[i].First)
	}
	if len(l) == 0 || len(l) >= feed.MaxLineage { // older sessions may be left out
		return
	}
	if f.Firsts == nil {
		f.Firsts = make(map[feed.SessionID]uint64)
	}
	for _, s := range l {
		f.Firsts[s.ID] = l[0].First
	}
}

// disown notes that n is disowned.
func (f *Facts) disown(n feed.Numbers) {
	if f.Disowned == nil {
		f.Disowned = make(map[feed.SessionID]feed.RangeSet)
	}
	set := f.Disowned[n.Session]
	set.Add(n.Range)
	f.Disowned[n.Session] = set
}

// disowned reports whether the first number of n is disowned, and up to which number that holds.
func (f *Facts) disowned(n feed.Numbers) (is bool, upTo uint64) {
	upTo = n.Range.To
	if end, ok := f.Ends[n.Session]; ok {
		if n.Range.From >= end {
			return true, upTo
		}
		upTo = min(upTo, end)
	}
	for _, r := range f.Disowned[n.Session].Ranges() {
		switch {
		case r.Contains(n.Range.From):
			return true, min(upTo, r.To)
		case r.From > n.Range.From:
			return false, min(upTo, r.From)
		}
	}
	return false, upTo
}
