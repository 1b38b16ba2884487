package feed

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// A Ledger accounts for every sequence number of a subscription, session by session. Each
// number is delivered, not asked for, withheld by the subscription's own slow-consumer
// policy, lost, or disowned (it belongs to nobody any more, because a later session forked
// off before it). The zero Ledger is empty and ready to use.
//
// A number that is accounted for again keeps the better outcome: delivered, then withheld,
// not asked, lost, disowned. A number in a filtered span yields to delivered only.
type Ledger struct {
	accounts []Account // in order of first appearance; none is empty
	last     int       // the account used last
}

// An Account is the part of a ledger that is about one session. As long as Check agrees, no
// number is in two of its fields, except that every number of Expired is in Lost too.
type Account struct {
	Session   SessionID `json:"session"`
	Delivered RangeSet  `json:"delivered,omitzero"`
	// Filtered is what a filtered line covered, sorted; spans neither overlap nor touch.
	Filtered []Span   `json:"filtered,omitempty"`
	Withheld RangeSet `json:"withheld,omitzero"`
	NotAsked RangeSet `json:"not_asked,omitzero"`
	Lost     RangeSet `json:"lost,omitzero"`
	// Expired is the part of Lost that nobody promised to keep: the subscription asked for the
	// beginning or for a time, and the publisher's retention removed the numbers before the first
	// one came that the publisher still has. Numbers that retention removes later, or that were
	// asked for by number, are in Lost only.
	Expired  RangeSet `json:"expired,omitzero"`
	Disowned RangeSet `json:"disowned,omitzero"`
}

// A Span is a range on a filtered line, where delivered numbers and such as were not asked
// for alternate: how many were delivered is known, which ones is not kept. When a span is
// cut in two, the first part gets the count's share by length, rounded down, and the second
// part the rest.
type Span struct {
	Range
	Delivered uint64 // at most Len; the others were not asked for
}

// Totals are counts of numbers. Those of Expired are counted in Lost too.
type Totals struct{ Delivered, NotAsked, Withheld, Lost, Expired, Disowned uint64 }

// Deliver accounts for r as delivered, every number of it. It returns how many numbers of r
// were accounted for already, in any way: not 0 means that something came twice.
//
// At the end of the session it takes constant time, and no memory if r joins the last range
// delivered.
func (l *Ledger) Deliver(session SessionID, r Range) (again uint64) {
	return l.record(session, r, func(a *Account) *RangeSet { return &a.Delivered })
}

// DeliverFiltered accounts for r on a filtered line: delivered numbers of it were delivered,
// the others not asked for. Cost and result are those of Deliver. It panics if delivered is
// more than r holds.
func (l *Ledger) DeliverFiltered(session SessionID, r Range, delivered uint64) (again uint64) {
	if delivered > r.Len() {
		panic(fmt.Sprintf("feed: internal error: %d numbers delivered of %v", delivered, r))
	}
	if r.Empty() {
		return 0
	}
	a := l.account(session)
	s := Span{r, delivered}
	if r.From >= a.end() {
		a.Filtered = appendSpan(a.Filtered, s)
		return 0
	}
	again = a.overlap(r)
	*a = mergeAccounts(a, &Account{Filtered: []Span{s}})
	return again
}

// NotAsked accounts for r as not asked for: what came before the start of the subscription.
// The result is that of Deliver.
func (l *Ledger) NotAsked(session SessionID, r Range) (again uint64) {
	return l.record(session, r, func(a *Account) *RangeSet { return &a.NotAsked })
}

// Withhold accounts for r as withheld by the subscription's slow-consumer policy. The result
// is that of Deliver.
func (l *Ledger) Withhold(session SessionID, r Range) (again uint64) {
	return l.record(session, r, func(a *Account) *RangeSet { return &a.Withheld })
}

// Lose accounts for r as lost: it cannot be had any more. The result is that of Deliver.
func (l *Ledger) Lose(session SessionID, r Range) (again uint64) {
	return l.record(session, r, func(a *Account) *RangeSet { return &a.Lost })
}

// Expire accounts for r as lost and expired, see Account.Expired. The result is that of Deliver.
func (l *Ledger) Expire(session SessionID, r Range) (again uint64) {
	again = l.Lose(session, r)
	if !r.Empty() {
		a := l.account(session)
		a.Expired = a.Expired.Union(NewRangeSet(r)).Intersect(a.Lost)
	}
	return again
}

// record adds r to the class that choose picks.
func (l *Ledger) record(session SessionID, r Range, choose func(*Account) *RangeSet) (again uint64) {
	if r.Empty() {
		return 0
	}
	a := l.account(session)
	if r.From >= a.end() {
		choose(a).Add(r)
		return 0
	}
	again = a.overlap(r)
	var o Account
	choose(&o).Add(r)
	*a = mergeAccounts(a, &o)
	return again
}

// Disown makes disowned what of r is accounted for, and returns how many numbers that was
// which were not disowned before. Of a filtered span every number in r becomes disowned; the
// rest of the span keeps its share of the count, see Span.
func (l *Ledger) Disown(session SessionID, r Range) (moved uint64) {
	i := l.find(session)
	if i < 0 {
		return 0
	}
	a := &l.accounts[i]
	only := NewRangeSet(r)
	gone := a.all().Intersect(only).Minus(a.Disowned)
	a.Delivered = a.Delivered.Minus(only)
	a.Filtered = minusSpans(a.Filtered, only)
	a.Withheld = a.Withheld.Minus(only)
	a.NotAsked = a.NotAsked.Minus(only)
	a.Lost = a.Lost.Minus(only)
	a.Expired = a.Expired.Minus(only)
	a.Disowned = a.Disowned.Union(gone)
	return gone.Len()
}

// Sessions are the sessions of which numbers are accounted for, in order of first
// appearance.
func (l *Ledger) Sessions() []SessionID {
	ids := make([]SessionID, len(l.accounts))
	for i := range l.accounts {
		ids[i] = l.accounts[i].Session
	}
	return ids
}

// Account is a copy of the account of session; empty but for Session if there is none.
func (l *Ledger) Account(session SessionID) Account {
	if i := l.find(session); i >= 0 {
		return l.accounts[i].clone()
	}
	return Account{Session: session}
}

// Totals sums up all sessions.
func (l *Ledger) Totals() Totals {
	var t Totals
	for i := range l.accounts {
		a := l.accounts[i].Totals()
		t.Delivered += a.Delivered
		t.NotAsked += a.NotAsked
		t.Withheld += a.Withheld
		t.Lost += a.Lost
		t.Expired += a.Expired
		t.Disowned += a.Disowned
	}
	return t
}

// Totals counts the numbers of a.
func (a *Account) Totals() Totals {
	t := Totals{
		Delivered: a.Delivered.Len(), NotAsked: a.NotAsked.Len(), Withheld: a.Withheld.Len(),
		Lost: a.Lost.Len(), Expired: a.Expired.Len(), Disowned: a.Disowned.Len(),
	}
	for _, s := range a.Filtered {
		t.Delivered += s.Delivered
		t.NotAsked += s.Len() - s.Delivered
	}
	return t
}

// Gaps are the ranges of r that nobody accounted for.
func (l *Ledger) Gaps(session SessionID, r Range) []Range {
	gaps := NewRangeSet(r)
	if i := l.find(session); i >= 0 {
		gaps = gaps.Minus(l.accounts[i].all())
	}
	return gaps.Ranges()
}

// Merge adds what o accounts for. Where both account for a number the better outcome stays.
// Where filtered spans overlap, both are cut and of the two counts of the common part the
// greater stays. O is as before and shares nothing with l; the order of merging does not
// matter, except to the order of sessions and, where spans of several ledgers overlap in
// part, to the rounding of their shares.
func (l *Ledger) Merge(o *Ledger) {
	for i := range o.accounts {
		b := &o.accounts[i]
		a := l.account(b.Session)
		*a = mergeAccounts(a, b)
	}
}

// Equal reports whether both ledgers account for the same numbers in the same way; the order
// of sessions does not matter.
func (l *Ledger) Equal(o *Ledger) bool {
	if len(l.accounts) != len(o.accounts) {
		return false
	}
	for i := range l.accounts {
		j := o.find(l.accounts[i].Session)
		if j < 0 || !l.accounts[i].equal(&o.accounts[j]) {
			return false
		}
	}
	return true
}

// Clone is a copy that shares nothing with l.
func (l *Ledger) Clone() *Ledger {
	c := &Ledger{accounts: make([]Account, len(l.accounts)), last: l.last}
	for i := range l.accounts {
		c.accounts[i] = l.accounts[i].clone()
	}
	return c
}

// String is the ledger for people: per session a line with its id, and one for each outcome
// that there is, with its count and its ranges; of more than maxShown ranges, the first.
//
//	session 00000000deadbeef
//	  delivered      1232  [1, 800) [802, 1235)
//	  lost              2  [800, 802)
func (l *Ledger) String() string {
	if len(l.accounts) == 0 {
		return "nothing accounted for\n"
	}
	var b strings.Builder
	for i := range l.accounts {
		a := &l.accounts[i]
		fmt.Fprintf(&b, "session %v\n", a.Session)
		line(&b, "delivered", a.Delivered.Len(), a.Delivered.ranges)
		var delivered, covered uint64
		for _, s := range a.Filtered {
			delivered += s.Delivered
			covered += s.Len()
		}
		line(&b, "filtered", delivered, a.Filtered)
		if covered > 0 {
			fmt.Fprintf(&b, "  %-9s %9d  in these\n", "not asked", covered-delivered)
		}
		line(&b, "not asked", a.NotAsked.Len(), a.NotAsked.ranges)
		line(&b, "withheld", a.Withheld.Len(), a.Withheld.ranges)
		line(&b, "lost", a.Lost.Len(), a.Lost.ranges)
		line(&b, "expired", a.Expired.Len(), a.Expired.ranges)
		line(&b, "disowned", a.Disowned.Len(), a.Disowned.ranges)
	}
	return b.String()
}

// maxShown bounds the ranges on one line of String.
const maxShown = 12

func line[R fmt.Stringer](b *strings.Builder, outcome string, n uint64, ranges []R) {
	if len(ranges) == 0 {
		return
	}
	fmt.Fprintf(b, "  %-9s %9d ", outcome, n)
	for i, r := range ranges {
		if i == maxShown {
			fmt.Fprintf(b, " and %d more", len(ranges)-i)
			break
		}
		b.WriteByte(' ')
		b.WriteString(r.String())
	}
	b.WriteByte('\n')
}

// Check reports the first numbers that are accounted for in two ways, and filtered spans
// that cannot be. It finds nothing in a ledger that was kept by its methods.
func (l *Ledger) Check() error {
	for i := range l.accounts {
		if err := l.accounts[i].Check(); err != nil {
			return err
		}
	}
	return nil
}

// Check is Ledger.Check for one session.
func (a *Account) Check() error {
	for i, s := range a.Filtered {
		if s.Empty() || s.Delivered > s.Len() || i > 0 && s.From <= a.Filtered[i-1].To {
			return fmt.Errorf("session %v: filtered span %v is empty, holds less than was delivered, or does not follow the one before it", a.Session, s)
		}
	}
	classes := []struct {
		name string
		set  RangeSet
	}{
		{"delivered", a.Delivered},
		{"filtered", spanned(a.Filtered)},
		{"withheld", a.Withheld},
		{"not asked", a.NotAsked},
		{"lost", a.Lost},
		{"disowned", a.Disowned},
	}
	for i, c := range classes {
		for _, d := range classes[:i] {
			if both := c.set.Intersect(d.set); !both.Empty() {
				return fmt.Errorf("session %v: %v is both %s and %s", a.Session, both.ranges[0], d.name, c.name)
			}
		}
	}
	if other := a.Expired.Minus(a.Lost); !other.Empty() {
		return fmt.Errorf("session %v: %v is expired, but not lost", a.Session, other.ranges[0])
	}
	return nil
}

// MarshalJSON writes {"sessions":[…]}, an object per session in order of first appearance:
// "session" is 16 hexadecimal digits, each outcome a list of [from,to], "filtered" a list of
// [from,to,delivered]; what is empty is left out.
func (l *Ledger) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Sessions []Account `json:"sessions"`
	}{append([]Account{}, l.accounts...)})
}

// UnmarshalJSON reads what MarshalJSON wrote. It refuses a ledger that Check does not
// accept, and a session that has no id, stands twice, or has an empty account.
func (l *Ledger) UnmarshalJSON(b []byte) error {
	var v struct {
		Sessions []Account `json:"sessions"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	seen := make(map[SessionID]bool, len(v.Sessions))
	for i := range v.Sessions {
		a := &v.Sessions[i]
		switch {
		case a.Session == 0:
			return fmt.Errorf("ledger: account %d names no session", i)
		case seen[a.Session]:
			return fmt.Errorf("ledger: session %v stands twice", a.Session)
		case a.end() == 0:
			return fmt.Errorf("ledger: session %v accounts for nothing", a.Session)
		}
		seen[a.Session] = true
		if err := a.Check(); err != nil {
			return fmt.Errorf("ledger: %w", err)
		}
	}
	*l = Ledger{accounts: v.Sessions}
	return nil
}

func (l *Ledger) find(session SessionID) int {
	if l.last < len(l.accounts) && l.accounts[l.last].Session == session {
		return l.last
	}
	return slices.IndexFunc(l.accounts, func(a Account) bool { return a.Session == session })
}

// account finds or begins the account of session; the caller is about to add to it.
func (l *Ledger) account(session SessionID) *Account {
	i := l.find(session)
	if i < 0 {
		i = len(l.accounts)
		l.accounts = append(l.accounts, Account{Session: session})
	}
	l.last = i
	return &l.accounts[i]
}

// end is the number after the greatest that is accounted for.
func (a *Account) end() uint64 {
	var end uint64
	if n := len(a.Filtered); n > 0 {
		end = a.Filtered[n-1].To
	}
	for _, set := range [...]*RangeSet{&a.Delivered, &a.Withheld, &a.NotAsked, &a.Lost, &a.Disowned} {
		if n := len(set.ranges); n > 0 {
			end = max(end, set.ranges[n-1].To)
		}
	}
	return end
}

// all is every number accounted for.
func (a *Account) all() RangeSet {
	return a.Delivered.Union(spanned(a.Filtered)).Union(a.Withheld).Union(a.NotAsked).Union(a.Lost).Union(a.Disowned)
}

func (a *Account) overlap(r Range) uint64 { return a.all().Intersect(NewRangeSet(r)).Len() }

func (a *Account) clone() Account {
	return Account{
		Session: a.Session, Delivered: a.Delivered.Clone(), Filtered: slices.Clone(a.Filtered),
		Withheld: a.Withheld.Clone(), NotAsked: a.NotAsked.Clone(), Lost: a.Lost.Clone(),
		Expired: a.Expired.Clone(), Disowned: a.Disowned.Clone(),
	}
}

func (a *Account) equal(o *Account) bool {
	return a.Session == o.Session && a.Delivered.Equal(o.Delivered) && slices.Equal(a.Filtered, o.Filtered) &&
		a.Withheld.Equal(o.Withheld) && a.NotAsked.Equal(o.NotAsked) && a.Lost.Equal(o.Lost) && a.Expired.Equal(o.Expired) && a.Disowned.Equal(o.Disowned)
}

// mergeAccounts is a and b together, each number with the better of its outcomes. It shares
// memory with neither.
func mergeAccounts(a, b *Account) Account {
	m := Account{Session: a.Session}
	m.Delivered = a.Delivered.Union(b.Delivered)
	m.Filtered = mergeSpans(minusSpans(a.Filtered, m.Delivered), minusSpans(b.Filtered, m.Delivered))
	better := m.Delivered.Union(spanned(m.Filtered))
	join := func(x, y RangeSet) RangeSet {
		set := x.Union(y).Minus(better)
		better = better.Union(set)
		return set
	}
	m.Withheld = join(a.Withheld, b.Withheld)
	m.NotAsked = join(a.NotAsked, b.NotAsked)
	m.Lost = join(a.Lost, b.Lost)
	m.Expired = a.Expired.Union(b.Expired).Intersect(m.Lost)
	m.Disowned = join(a.Disowned, b.Disowned)
	return m
}

// appendSpan adds s, which begins at or beyond the end of spans.
func appendSpan(spans []Span, s Span) []Span {
	if s.Empty() {
		return spans
	}
	if n := len(spans); n > 0 && spans[n-1].To == s.From {
		spans[n-1].To = s.To
		spans[n-1].Delivered += s.Delivered
		return spans
	}
	return append(spans, s)
}

// cut splits s at seq; a part that lies beyond is empty.
func (s Span) cut(seq uint64) (before, after Span) {
	switch {
	case seq <= s.From:
		return Span{}, s
	case seq >= s.To:
		return s, Span{}
	}
	hi, lo := bits.Mul64(s.Delivered, seq-s.From)
	share, _ := bits.Div64(hi, lo, s.Len()) // hi < Len, because Delivered ≤ Len
	return Span{Range{s.From, seq}, share}, Span{Range{seq, s.To}, s.Delivered - share}
}

// minusSpans is spans without the numbers of set. It shares no memory with spans.
func minusSpans(spans []Span, set RangeSet) []Span {
	var rest []Span
	out := set.ranges
	for _, s := range spans {
		for len(out) > 0 && out[0].To <= s.From {
			out = out[1:]
		}
		for c := out; len(c) > 0 && c[0].From < s.To; c = c[1:] {
			var kept Span
			kept, s = s.cut(c[0].From)
			rest = appendSpan(rest, kept)
			_, s = s.cut(c[0].To)
		}
		rest = appendSpan(rest, s)
	}
	return rest
}

// mergeSpans is x and y together. Both are cut wherever the other begins or ends; of a part
// that both cover the greater count stays. It shares memory with neither.
func mergeSpans(x, y []Span) []Span {
	var m []Span
	var a, b Span // what is left of the present spans
	for {
		if a.Empty() && len(x) > 0 {
			a, x = x[0], x[1:]
		}
		if b.Empty() && len(y) > 0 {
			b, y = y[0], y[1:]
		}
		if a.Empty() && b.Empty() {
			return m
		}
		if b.Empty() || !a.Empty() && a.From < b.From {
			a, b = b, a // the present part begins in b
			x, y = y, x
		}
		at := b.To
		switch {
		case a.Empty():
		case a.From > b.From:
			at = min(at, a.From)
		default:
			at = min(at, a.To)
		}
		var part, common Span
		part, b = b.cut(at)
		common, a = a.cut(at)
		part.Delivered = max(part.Delivered, common.Delivered)
		m = appendSpan(m, part)
	}
}

func spanned(spans []Span) RangeSet {
	var set RangeSet
	for _, s := range spans {
		set.Add(s.Range)
	}
	return set
}

// String is the range, and how much of it was delivered: "[1, 9) 3 of 8".
func (s Span) String() string { return fmt.Sprintf("%v %d of %d", s.Range, s.Delivered, s.Len()) }

// MarshalJSON writes [from,to,delivered].
func (s Span) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "[%d,%d,%d]", s.From, s.To, s.Delivered), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *Span) UnmarshalJSON(b []byte) error {
	var v []uint64
	if err := json.Unmarshal(b, &v); err != nil {
		return fmt.Errorf("filtered span %.64s: want [from,to,delivered]: %w", b, err)
	}
	if len(v) != 3 {
		return fmt.Errorf("filtered span %.64s: want [from,to,delivered]", b)
	}
	*s = Span{Range{v[0], v[1]}, v[2]}
	return nil
}
