package main

import (
	"fmt"
	"sync"
	"time"

	"tickfeed/cmd/audit"
	"tickfeed/feed"
)

// An auditor keeps its own books, number by number, of the ticks that several subscribers of one feed received, and
// shares no code with the subscribers. Every number must have the same tick for all subscribers, and exactly one outcome
// for each.
type auditor struct {
	mu       sync.Mutex
	book     audit.Book[entry]
	readers  [audience]audit.Account
	problems []string
	more     int // problems beyond maxProblems
}

const (
	audience    = 3 // maximum number of subscribers
	maxProblems = 20
)

// An entry is what all subscribers must have received alike for a number.
type entry struct {
	hash uint64 // 0 if it is not known
	// published is the publish time. It is negated while only the filtered subscriber has received the number; the
	// publisher's own packet may then be up to mergeTime earlier.
	published int64
	wanted    bool // wanted by the filtered subscriber, going by the symbol that the full one saw
}

func (a *auditor) problem(format string, args ...any) {
	if len(a.problems) == maxProblems {
		a.more++
		return
	}
	a.problems = append(a.problems, fmt.Sprintf(format, args...))
}

// mergeTime is the greatest delay of a publish time on a filtered line: the publisher joins packets that are published so
// close together.
const mergeTime = int64(time.Millisecond)

// bookTime records the publish time of a number. It returns false if the time contradicts that of another subscriber.
// narrow is true for a filtered line.
func (e *entry) bookTime(published int64, narrow bool) bool {
	known := e.published
	switch {
	case known == 0 && narrow:
		e.published = -published
		return true
	case known == 0:
		e.published = published
		return true
	case known < 0 && narrow:
		return published == -known
	case known < 0:
		e.published = published
		return published <= -known && -known-published <= mergeTime
	case narrow:
		return known <= published && published-known <= mergeTime
	}
	return known == published
}

// ticks records ticks that were published together and that the subscriber with number who received. wanted reports for each
// tick whether the filter wants it, and is nil if that is unknown. narrow reports whether the line is filtered.
func (a *auditor) ticks(who int, name string, session feed.SessionID, published int64, narrow bool, ticks []feed.Tick, wanted []bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range ticks {
		t := &ticks[i]
		e := a.book.At(session, t.Seq)
		if h := audit.Hash(t); e.hash == 0 {
			e.hash = h
		} else if e.hash != h {
			a.problem("%s: number %d of session %v differs from the tick that was received before", name, t.Seq, session)
		}
		if !e.bookTime(published, narrow) {
			a.problem("%s: number %d of session %v has publish time %d, which contradicts the one that was received before", name, t.Seq, session, published)
		}
		if err := a.readers[who].Note(session, feed.Range{From: t.Seq, To: t.Seq + 1}, audit.Delivered, audit.Unaccounted); err != nil {
			a.problem("%s: %v", name, err)
		}
		if wanted != nil {
			e.wanted = wanted[i]
		}
	}
}

// reported records the outcome o, reported to subscriber who, for the numbers in r.
func (a *auditor) reported(who int, name string, session feed.SessionID, r feed.Range, o audit.Outcome) {
	before := []audit.Outcome{audit.Unaccounted}
	if o == audit.Disowned {
		before = []audit.Outcome{audit.Unaccounted, audit.Delivered, audit.Withheld, audit.Lost, audit.Disowned}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.readers[who].Note(session, r, o, before...); err != nil {
		a.problem("%s: %v", name, err)
	}
}

// tally counts the outcomes of a subscriber over all sessions.
func (a *auditor) tally(who int) [audit.Outcomes]uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.readers[who].Totals()
}

// A rule is what close requires of a subscriber's numbers.
type rule uint8

const (
	everything rule = iota // every number delivered
	skipping               // every number delivered or withheld
	filtered               // every wanted number delivered, and no other
)

// close checks the outcomes of subscriber who for all numbers of l before final.
func (a *auditor) close(who int, name string, l feed.Lineage, final uint64, must rule) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for seq := uint64(1); seq < final; seq++ {
		owner, _, ok := l.Owner(seq)
		if !ok {
			a.problem("%s: number %d belongs to no session of the lineage", name, seq)
			return
		}
		o := a.readers[who].Of(owner.ID, seq)
		good := o == audit.Delivered
		switch must {
		case skipping:
			good = good || o == audit.Withheld
		case filtered:
			good = good == a.book.Of(owner.ID, seq).wanted && (good || o == audit.Unaccounted)
		}
		if !good {
			a.problem("%s: number %d of session %v is %v", name, seq, owner.ID, o)
		}
	}
}

// compare checks a subscriber's own ledger against the books.
func (a *auditor) compare(who int, name string, l *feed.Ledger) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.readers[who].Compare(l); err != nil {
		a.problem("%s: %v", name, err)
	}
}
