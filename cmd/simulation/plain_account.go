package simulation

import (
	"encoding/json"
	"fmt"
	"strings"

	"tickfeed/feed"
)

// A plainAccount accounts for the numbers of one session.
type plainAccount struct {
	delivered, notAsked, lost, disowned []feed.Range
}

// account returns the account of session id.
func (p *plain) account(id feed.SessionID) *plainAccount {
	a := p.accounts[id]
	if a == nil {
		a = &plainAccount{}
		p.accounts[id] = a
		p.order = append(p.order, id)
	}
	return a
}

// cover accounts for numbers r of the lineage: those of ticks were delivered, the others were not asked for.
func (p *plain) cover(r feed.Range, ticks []feed.Tick) {
	for session, part := range parts(p.lineage, r) {
		a, told := p.account(session), p.witness.story(session)
		if again := intersect(a.lost, []feed.Range{part}); len(again) > 0 {
			if !p.anew {
				p.w.fail(fmt.Errorf("%s: %v of session %v was lost before", p.name, again[0], session))
			}
			a.lost, told.lost = minus(a.lost, again), minus(told.lost, again)
		}
		if len(a.disowned) > 0 {
			a.disowned = minus(a.disowned, []feed.Range{part})
			told.disowned = minus(told.disowned, []feed.Range{part})
		}
		from := part.From
		pass := func(to uint64) { // numbers without a tick to deliver
			for _, r := range minus([]feed.Range{{From: from, To: to}}, since(a.delivered, from)) {
				a.notAsked = with(a.notAsked, r)
			}
		}
		for i := range ticks {
			seq := ticks[i].Seq
			if seq < part.From || seq >= part.To {
				continue
			}
			if within(a.delivered, seq) {
				p.w.fail(fmt.Errorf("%s: number %d of session %v was delivered twice", p.name, seq, session))
			}
			pass(seq)
			one := feed.Range{From: seq, To: seq + 1}
			if within(a.notAsked, seq) { // before the line came back, under another filter
				a.notAsked = minus(a.notAsked, []feed.Range{one})
			}
			a.delivered, told.delivered = with(a.delivered, one), with(told.delivered, one)
			from = seq + 1
		}
		pass(part.To)
	}
}

// since returns the ranges of rs that end after seq.
func since(rs []feed.Range, seq uint64) []feed.Range {
	for i := len(rs); ; i-- {
		if i == 0 || rs[i-1].To <= seq {
			return rs[i:]
		}
	}
}

// lose reports numbers r of the lineage as lost, except those that are accounted for.
func (p *plain) lose(r feed.Range) {
	for session, part := range parts(p.lineage, r) {
		a, told := p.account(session), p.witness.story(session)
		fresh := minus(minus(minus([]feed.Range{part}, a.delivered), a.notAsked), a.lost)
		a.disowned, a.lost = minus(a.disowned, fresh), union(a.lost, fresh)
		told.lost = union(told.lost, fresh)
	}
}

// with returns rs with r added. It is fast if r comes after rs.
func with(rs []feed.Range, r feed.Range) []feed.Range {
	if n := len(rs); n == 0 || rs[n-1].To <= r.From {
		return extend(rs, r)
	}
	return union(rs, []feed.Range{r})
}

// disown moves the numbers from fork to the position to disowned.
func (p *plain) disown(fork uint64) {
	for session, part := range parts(p.lineage, feed.Range{From: fork, To: p.next}) {
		a, told, r := p.account(session), p.witness.story(session), []feed.Range{part}
		a.delivered, a.notAsked, a.lost, a.disowned = minus(a.delivered, r), minus(a.notAsked, r), minus(a.lost, r), union(a.disowned, r)
		told.delivered, told.lost, told.disowned = minus(told.delivered, r), minus(told.lost, r), union(told.disowned, r)
		told.forked = true
	}
}

// through adds the numbers below the position to those that the line has covered.
func (p *plain) through() { p.witness.through(p.lineage, p.next) }

// ledger returns the accounts in the form of CLIENT.md, "The ledger".
func (p *plain) ledger() []byte {
	var sessions []string
	for _, id := range p.order {
		a := p.accounts[id]
		fields := []string{fmt.Sprintf(`"session":"%016x"`, uint64(id))}
		for _, o := range []struct {
			name   string
			ranges []feed.Range
		}{{"delivered", a.delivered}, {"not_asked", a.notAsked}, {"lost", a.lost}, {"disowned", a.disowned}} {
			var list []string
			for _, r := range union(o.ranges, nil) {
				list = append(list, fmt.Sprintf("[%d,%d]", r.From, r.To))
			}
			if len(list) > 0 {
				fields = append(fields, fmt.Sprintf("%q:[%s]", o.name, strings.Join(list, ",")))
			}
		}
		sessions = append(sessions, "{"+strings.Join(fields, ",")+"}")
	}
	return []byte(`{"sessions":[` + strings.Join(sessions, ",") + `]}`)
}

// judge returns an error if the ledger does not agree with what the client reported, or reports what cannot be.
func (p *plain) judge() error {
	p.through()
	var ledger feed.Ledger
	if err := json.Unmarshal(p.ledger(), &ledger); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	switch t := ledger.Totals(); {
	case t.Lost > 0 && !p.w.mayLose.Load():
		return fmt.Errorf("%s: %d numbers lost for no reason\n%v", p.name, t.Lost, &ledger)
	case t.Disowned > 0 && !p.w.mayDisown.Load():
		return fmt.Errorf("%s: %d numbers disowned for no reason\n%v", p.name, t.Disowned, &ledger)
	}
	return p.witness.judgeLedger(&ledger)
}

// well returns an error unless the line has reached head, and its end.
func (p *plain) well(head uint64) error {
	if at, end := p.at.Load(), p.ended.Load(); at != head || end != head {
		return fmt.Errorf("%s: next is %d and the end %d, want %d", p.name, at, end, head)
	}
	return nil
}
