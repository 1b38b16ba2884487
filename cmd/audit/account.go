package audit

import (
	"fmt"
	"slices"

	"tickfeed/feed"
)

// An Outcome is what became of a number for one reader.
type Outcome uint8

// The outcomes.
const (
	Unaccounted Outcome = iota // at the end: not asked for
	Delivered
	Withheld
	Lost
	Disowned
	Outcomes // the number of outcomes
)

var outcomeNames = [Outcomes]string{"unaccounted", "delivered", "withheld", "lost", "disowned"}

// String returns o in lower case.
func (o Outcome) String() string { return outcomeNames[o] }

// An Account holds the outcome of each number for one reader: what it received, and what the publisher
// reported to it. The zero Account is empty.
// It is not safe for concurrent use.
type Account struct{ book Book[Outcome] }

// Of returns the outcome of a number.
func (a *Account) Of(session feed.SessionID, seq uint64) Outcome { return a.book.Of(session, seq) }

// Note notes the outcome o of numbers r. It returns an error if one of them was none of before.
func (a *Account) Note(session feed.SessionID, r feed.Range, o Outcome, before ...Outcome) (err error) {
	for seq := r.From; seq < r.To; seq++ {
		at := a.book.At(session, seq)
		if err == nil && !slices.Contains(before, *at) {
			err = fmt.Errorf("number %d of session %v was %v, and was %v before", seq, session, o, *at)
		}
		*at = o
	}
	return err
}

// Totals counts the numbers of each outcome; those of Unaccounted have no meaning.
func (a *Account) Totals() (n [Outcomes]uint64) {
	for o := range a.book.All() {
		n[o]++
	}
	return n
}

// Compare returns an error if a number has another outcome in the reader's own ledger than here, or more than one.
func (a *Account) Compare(l *feed.Ledger) error {
	if err := l.Check(); err != nil {
		return fmt.Errorf("the ledger contradicts itself: %w", err)
	}
	left := a.Totals()
	for _, session := range l.Sessions() {
		theirs := l.Account(session)
		for _, c := range []struct {
			outcome Outcome
			set     feed.RangeSet
		}{{Delivered, theirs.Delivered}, {Withheld, theirs.Withheld}, {Lost, theirs.Lost}, {Disowned, theirs.Disowned}} {
			for _, r := range c.set.Ranges() {
				for seq := r.From; seq < r.To; seq++ {
					if o := a.Of(session, seq); o != c.outcome {
						return fmt.Errorf("by the ledger, number %d of session %v was %v, it was %v", seq, session, c.outcome, o)
					}
					left[c.outcome]--
				}
			}
		}
		for _, span := range theirs.Filtered {
			got := uint64(0)
			for seq := span.Range.From; seq < span.Range.To; seq++ {
				if a.Of(session, seq) == Delivered {
					got++
				}
			}
			if got != span.Delivered {
				return fmt.Errorf("by the ledger, %d numbers of %v of session %v were delivered, it was %d", span.Delivered, span.Range, session, got)
			}
			left[Delivered] -= got
		}
	}
	for o := Delivered; o < Outcomes; o++ {
		if left[o] != 0 {
			return fmt.Errorf("the ledger lacks %d numbers that were %v", left[o], o)
		}
	}
	return nil
}
