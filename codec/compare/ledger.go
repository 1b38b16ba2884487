package compare

import (
	"cmp"
	"io"
	"slices"

	"tickfeed/feed"
)

// OfLedger returns the party that l accounts for. It holds numbers without ticks. l must not change.
func OfLedger(l *feed.Ledger) Party {
	return Party{Open: func() (Stream, error) { return newLedgerStream(l), nil }}
}

type ledgerStream struct {
	entries []Entry
	facts   Facts
}

func newLedgerStream(l *feed.Ledger) *ledgerStream {
	s := &ledgerStream{facts: Facts{Started: true, Left: true, Ticks: l.Totals().Delivered}}
	for _, id := range l.Sessions() {
		a := l.Account(id)
		begin := len(s.entries)
		for _, c := range []struct {
			claim Claim
			set   feed.RangeSet
		}{{Held, a.Delivered}, {Withheld, a.Withheld}, {NotAsked, a.NotAsked}, {Lost, a.Lost}, {Disowned, a.Disowned}} {
			for _, r := range c.set.Ranges() {
				s.entries = append(s.entries, Entry{Numbers: feed.Numbers{Session: id, Range: r}, Claim: c.claim})
			}
		}
		for _, span := range a.Filtered {
			s.entries = append(s.entries, Entry{Numbers: feed.Numbers{Session: id, Range: span.Range}, Claim: Filtered, Delivered: span.Delivered})
		}
		slices.SortFunc(s.entries[begin:], func(a, b Entry) int { return cmp.Compare(a.Range.From, b.Range.From) })
	}
	return s
}

// inOrder puts the sessions of s into the order of ranks.
func (s *ledgerStream) inOrder(ranks map[feed.SessionID]int) {
	slices.SortStableFunc(s.entries, func(a, b Entry) int { return cmp.Compare(ranks[a.Session], ranks[b.Session]) })
}

// byNumber returns s with all of its sessions as one.
func (s *ledgerStream) byNumber() *ledgerStream {
	const one = feed.SessionID(1)
	merged := new(feed.Ledger)
	for _, e := range s.entries {
		switch e.Claim {
		case Held:
			merged.Deliver(one, e.Range)
		case Filtered:
			merged.DeliverFiltered(one, e.Range, e.Delivered)
		case Withheld:
			merged.Withhold(one, e.Range)
		case NotAsked:
			merged.NotAsked(one, e.Range)
		case Lost:
			merged.Lose(one, e.Range)
		}
	}
	return newLedgerStream(merged)
}

func (s *ledgerStream) Next() (*Entry, error) {
	if len(s.entries) == 0 {
		return nil, io.EOF
	}
	e := &s.entries[0]
	s.entries = s.entries[1:]
	return e, nil
}

func (s *ledgerStream) Facts() Facts { return s.facts }

func (s *ledgerStream) Close() error { return nil }
