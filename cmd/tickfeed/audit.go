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
	pages    map[pageKey]*page
	problems []string
	more     int // problems beyond maxProblems
}

// An outcome is the result of one number for one subscriber.
type outcome uint8

const (
	unaccounted outcome = iota // at the end: not asked for
	delivered
	withheld
	lost
	disowned
	outcomes
)

var outcomeNames = [outcomes]string{"unaccounted", "delivered", "withheld", "lost", "disowned"}

const (
	pageSize    = 4096
	audience    = 3 // maximum number of subscribers
	maxProblems = 20
)

type pageKey struct {
	session feed.SessionID
	index   uint64
}

// A page holds the books for pageSize numbers of a session.
type page struct {
	hash [pageSize]uint64
	// published is the publish time of each number. It is negated while only the filtered subscriber has received the
	// number; the publisher's own packet may then be up to mergeTime earlier.
	published [pageSize]int64
	wanted    [pageSize]bool // wanted by the filtered subscriber, going by the symbol that the full one saw
	outcomes  [audience][pageSize]outcome
}

func newAuditor() *auditor { return &auditor{pages: make(map[pageKey]*page)} }

func (a *auditor) problem(format string, args ...any) {
	if len(a.problems) == maxProblems {
		a.more++
		return
	}
	a.problems = append(a.problems, fmt.Sprintf(format, args...))
}

func (a *auditor) page(session feed.SessionID, seq uint64) (*page, uint64) {
	k := pageKey{session, seq / pageSize}
	p := a.pages[k]
	if p == nil {
		p = new(page)
		a.pages[k] = p
	}
	return p, seq % pageSize
}

// mergeTime is the greatest delay of a publish time on a filtered line: the publisher joins packets that are published so
// close together.
const mergeTime = int64(time.Millisecond)

// bookTime records the publish time of number n. It returns false if the time contradicts that of another subscriber.
// narrow is true for a filtered line.
func (p *page) bookTime(n uint64, published int64, narrow bool) bool {
	known := p.published[n]
	switch {
	case known == 0 && narrow:
		p.published[n] = -published
		return true
	case known == 0:
		p.published[n] = published
		return true
	case known < 0 && narrow:
		return published == -known
	case known < 0:
		p.published[n] = published
		return published <= -known && -known-published <= mergeTime
	case narrow:
		return known <= published && published-known <= mergeTime
	}
	return known == published
}

// ticks records ticks that subscriber who received, which were published together. wanted is whether the filter wants
// each tick, nil if unknown. narrow is true if the line of who is filtered.
func (a *auditor) ticks(who int, name string, session feed.SessionID, published int64, narrow bool, ticks []feed.Tick, wanted []bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range ticks {
		t := &ticks[i]
		p, n := a.page(session, t.Seq)
		if h := audit.Hash(t); p.hash[n] == 0 {
			p.hash[n] = h
		} else if p.hash[n] != h {
			a.problem("%s: number %d of session %v differs from the tick that was received before", name, t.Seq, session)
		}
		if !p.bookTime(n, published, narrow) {
			a.problem("%s: number %d of session %v has publish time %d, which contradicts the one that was received before", name, t.Seq, session, published)
		}
		if o := p.outcomes[who][n]; o != unaccounted {
			a.problem("%s: number %d of session %v was delivered, and was %s before", name, t.Seq, session, outcomeNames[o])
		}
		p.outcomes[who][n] = delivered
		if wanted != nil {
			p.wanted[n] = wanted[i]
		}
	}
}

// told records the outcome o, reported to subscriber who, for the numbers in r.
func (a *auditor) told(who int, name string, session feed.SessionID, r feed.Range, o outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for seq := r.From; seq < r.To; seq++ {
		p, n := a.page(session, seq)
		if before := p.outcomes[who][n]; before != unaccounted && o != disowned {
			a.problem("%s: number %d of session %v was %s, and was %s before", name, seq, session, outcomeNames[o], outcomeNames[before])
		}
		p.outcomes[who][n] = o
	}
}

// tally counts the outcomes of a subscriber over all sessions.
func (a *auditor) tally(who int) (counts [outcomes]uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.pages {
		for _, o := range p.outcomes[who] {
			counts[o]++
		}
	}
	return counts
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
		p, n := a.page(owner.ID, seq)
		o := p.outcomes[who][n]
		good := o == delivered
		switch must {
		case skipping:
			good = good || o == withheld
		case filtered:
			good = good == p.wanted[n] && (good || o == unaccounted)
		}
		if !good {
			a.problem("%s: number %d of session %v is %s", name, seq, owner.ID, outcomeNames[o])
		}
	}
}

// compare checks a subscriber's own ledger against the books.
func (a *auditor) compare(who int, name string, l *feed.Ledger) {
	mine, theirs := a.tally(who), l.Totals()
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := l.Check(); err != nil {
		a.problem("%s: ledger: %v", name, err)
	}
	for _, c := range []struct {
		outcome outcome
		ledger  uint64
	}{{delivered, theirs.Delivered}, {withheld, theirs.Withheld}, {lost, theirs.Lost}, {disowned, theirs.Disowned}} {
		if mine[c.outcome] != c.ledger {
			a.problem("%s: the ledger has %d numbers %s, the auditor counted %d", name, c.ledger, outcomeNames[c.outcome], mine[c.outcome])
		}
	}
}
