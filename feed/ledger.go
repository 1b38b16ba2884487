package feed

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// A Ledger accounts for every sequence number of a subscription, session by session. Each number is delivered,
// not asked for, withheld by the subscription's own slow-consumer policy, lost, or disowned (no session owns it
// any more, because a later session forked off before it). The zero Ledger is empty and ready to use.
//
// A number that is accounted for again keeps the better outcome: delivered, then withheld, not asked for, lost,
// disowned. A number in a filtered span changes only to delivered.
type Ledger struct {
	accounts []Account // in order of first appearance; none is empty
	last     int       // the account used last
}

// An Account is the part of a ledger for one session. If Check returns nil, no number is in two of its fields,
// except that every number of Expired is also in Lost.
type Account struct {
	Session   SessionID `json:"session"`
	Delivered RangeSet  `json:"delivered,omitzero"`
	// Filtered is the numbers covered by a filtered line, sorted; spans neither overlap nor touch.
	Filtered []Span   `json:"filtered,omitempty"`
	Withheld RangeSet `json:"withheld,omitzero"`
	NotAsked RangeSet `json:"not_asked,omitzero"`
	Lost     RangeSet `json:"lost,omitzero"`
	// Expired is the part of Lost that the publisher did not promise to keep: the subscription asked for the
	// beginning or for a time, and retention removed these numbers before the first number that the publisher
	// could send. Numbers that retention removes later, or that were asked for by number, are in Lost only.
	Expired  RangeSet `json:"expired,omitzero"`
	Disowned RangeSet `json:"disowned,omitzero"`
}

// A Span is a range on a filtered line, where delivered numbers alternate with numbers that were not asked for.
// The span records how many were delivered but not which ones. If a span is cut in two, the first part gets the
// count's share by length, rounded down, and the second part the rest.
type Span struct {
	Range
	Delivered uint64 // at most Len; the other numbers were not asked for
}

// Totals are counts of numbers. The numbers of Expired are also counted in Lost.
type Totals struct{ Delivered, NotAsked, Withheld, Lost, Expired, Disowned uint64 }

// Add adds the counts of o to t.
func (t *Totals) Add(o Totals) {
	t.Delivered += o.Delivered
	t.NotAsked += o.NotAsked
	t.Withheld += o.Withheld
	t.Lost += o.Lost
	t.Expired += o.Expired
	t.Disowned += o.Disowned
}

// Deliver accounts for every number of r as delivered. It returns how many numbers of r were accounted for
// already, in any way: if not 0, numbers came twice.
//
// For r at the end of the session Deliver takes constant time, and no memory if r joins the last range
// delivered.
func (l *Ledger) Deliver(session SessionID, r Range) (again uint64) {
	return l.record(session, r, func(a *Account) *RangeSet { return &a.Delivered })
}

// DeliverFiltered accounts for r on a filtered line: delivered of its numbers were delivered, the others not
// asked for. Its cost and result are like those of Deliver. It panics if delivered exceeds the length of r.
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

// NotAsked accounts for r as not asked for, because it precedes the start of the subscription. The result is
// like that of Deliver.
func (l *Ledger) NotAsked(session SessionID, r Range) (again uint64) {
	return l.record(session, r, func(a *Account) *RangeSet { return &a.NotAsked })
}

// Withhold accounts for r as withheld by the subscription's slow-consumer policy. The result is like that of
// Deliver.
func (l *Ledger) Withhold(session SessionID, r Range) (again uint64) {
	return l.record(session, r, func(a *Account) *RangeSet { return &a.Withheld })
}

// Lose accounts for r as lost: no longer available anywhere. The result is like that of Deliver.
func (l *Ledger) Lose(session SessionID, r Range) (again uint64) {
	return l.record(session, r, func(a *Account) *RangeSet { return &a.Lost })
}

// Expire accounts for r as lost and expired, see Account.Expired. The result is like that of Deliver.
func (l *Ledger) Expire(session SessionID, r Range) (again uint64) {
	again = l.Lose(session, r)
	if !r.Empty() {
		a := l.account(session)
		a.Expired = a.Expired.Union(NewRangeSet(r)).Intersect(a.Lost)
	}
	return again
}

// record adds r to the set that choose returns.
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

// Disown makes the numbers of r that are accounted for disowned, and returns how many of them were not disowned
// before. In a filtered span every number in r becomes disowned; the rest of the span keeps its share of the
// count, see Span.
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

// Sessions returns the sessions that have an account, in order of first appearance.
func (l *Ledger) Sessions() []SessionID {
	ids := make([]SessionID, len(l.accounts))
	for i := range l.accounts {
		ids[i] = l.accounts[i].Session
	}
	return ids
}

// Account returns a copy of the account of session. If there is none, the result is empty except for Session.
func (l *Ledger) Account(session SessionID) Account {
	if i := l.find(session); i >= 0 {
		return l.accounts[i].clone()
	}
	return Account{Session: session}
}

// Totals returns the sum over all sessions.
func (l *Ledger) Totals() Totals {
	var t Totals
	for i := range l.accounts {
		t.Add(l.accounts[i].Totals())
	}
	return t
}

// Totals returns the counts of the numbers in a.
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

// Gaps returns the ranges of r that are not accounted for.
func (l *Ledger) Gaps(session SessionID, r Range) []Range {
	gaps := NewRangeSet(r)
	if i := l.find(session); i >= 0 {
		gaps = gaps.Minus(l.accounts[i].all())
	}
	return gaps.Ranges()
}

// Merge adds the accounts of o. A number that both account for keeps the better outcome. Where filtered spans
// overlap, both are cut, and the common part keeps the greater of the two counts. Merge does not change o, and
// shares nothing with it. The order of merging affects only the order of sessions and, if spans of several
// ledgers overlap in part, the rounding of their shares.
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

// Clone returns a copy that shares nothing with l.
func (l *Ledger) Clone() *Ledger {
	c := &Ledger{accounts: make([]Account, len(l.accounts)), last: l.last}
	for i := range l.accounts {
		c.accounts[i] = l.accounts[i].clone()
	}
	return c
}

// String returns the ledger for people: for each session a line with its id, and a line for each outcome with
// its count and at most the first maxShown ranges.
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

// Check returns an error that names the first numbers accounted for in two ways, or an impossible filtered
// span. It finds no error in a ledger built by its methods.
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

// MarshalJSON writes {"sessions":[…]}, an object per session in order of first appearance: "session" is 16
// hexadecimal digits, each outcome a list of [from,to], "filtered" a list of [from,to,delivered]. Empty
// outcomes are left out.
func (l *Ledger) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Sessions []Account `json:"sessions"`
	}{append([]Account{}, l.accounts...)})
}

// UnmarshalJSON reads what MarshalJSON wrote. It returns an error if Check does, or if a session has no id,
// occurs twice, or has an empty account.
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
			return fmt.Errorf("ledger: session %v is listed twice", a.Session)
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

// account returns the account of session, which it adds if need be. The caller must then add numbers to it.
func (l *Ledger) account(session SessionID) *Account {
	i := l.find(session)
	if i < 0 {
		i = len(l.accounts)
		l.accounts = append(l.accounts, Account{Session: session})
	}
	l.last = i
	return &l.accounts[i]
}

// end returns the number after the greatest number accounted for.
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

// all returns every number accounted for.
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

// mergeAccounts merges a and b. Each number gets the better of its outcomes. The result shares no memory with
// either.
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

// appendSpan appends s, which must begin at or beyond the end of spans.
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

// cut splits s at seq. If seq is not inside s, one part is empty.
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

// minusSpans returns spans without the numbers of set. The result shares no memory with spans.
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

// mergeSpans merges x and y. It cuts each wherever the other begins or ends; a part that both cover keeps the
// greater count. The result shares no memory with either.
func mergeSpans(x, y []Span) []Span {
	var m []Span
	var a, b Span // the rest of the current spans
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
			a, b = b, a // the current part begins in b
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

// String returns the range and how much of it was delivered, such as "[1, 9) 3 of 8".
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
