package compare

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"

	"tickfeed/feed"
)

// An outline holds the facts about a party that are known before it is compared.
type outline struct {
	facts    Facts
	sessions []feed.SessionID // in order of first appearance
	segments []feed.SessionID // the session of each sequence of entries of one session; at most maxSegments
	entered  int              // how many sessions have entries
	ascends  bool             // within each segment numbers ascend, and none is in two entries
	skips    bool             // it did not ask for numbers between those that it has
	bare     bool             // an entry has numbers without their ticks
}

// maxSegments bounds the changes of session of a party that is compared without being sorted.
const maxSegments = 1 << 16

// outline reads p to its end.
func (c *comparer) outline(p Party) (*outline, error) {
	s, err := c.open(p)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	o := &outline{ascends: true}
	seen := make(map[feed.SessionID]bool)
	next := uint64(0)
	for {
		e, err := c.next(s)
		if errors.Is(err, io.EOF) {
			o.facts = s.Facts()
			o.entered = len(seen)
			if c.cfg.ByNumber {
				o.facts.Ends, o.facts.Disowned, o.facts.sessions, o.facts.Firsts = nil, nil, nil, nil
				if len(o.facts.runs) > 0 {
					o.sessions = []feed.SessionID{0}
				}
			}
			if o.facts.sessions != nil { // also those without entries
				o.sessions = o.facts.sessions
			}
			return o, nil
		} else if err != nil {
			return nil, err
		}
		if n := len(o.segments); n == 0 || o.segments[n-1] != e.Session {
			if !seen[e.Session] {
				seen[e.Session] = true
				o.sessions = append(o.sessions, e.Session)
			}
			if n < maxSegments {
				o.segments = append(o.segments, e.Session)
			} else {
				o.ascends = false
			}
			next = 0
		}
		o.ascends = o.ascends && e.Range.From >= next && e.After == 0
		o.skips = o.skips || e.Claim == NotAsked
		o.bare = o.bare || (e.Claim == Held || e.Claim == Filtered) && e.Definition == nil
		next = e.Range.To
	}
}

// ordered reports whether the entries of o ascend by the ranks of their sessions.
func (o *outline) ordered(ranks map[feed.SessionID]int) bool {
	return o.ascends && slices.IsSortedFunc(o.segments, func(a, b feed.SessionID) int { return cmp.Compare(ranks[a], ranks[b]) }) &&
		len(o.segments) == o.entered
}

// rank gives each session of a and b a rank, in an order that agrees with that of a and, if possible, with that of b.
func rank(a, b []feed.SessionID) map[feed.SessionID]int {
	ranks := make(map[feed.SessionID]int)
	add := func(id feed.SessionID) {
		if _, ok := ranks[id]; !ok {
			ranks[id] = len(ranks)
		}
	}
	inA := make(map[feed.SessionID]bool)
	for _, id := range a {
		inA[id] = true
	}
	for _, id := range a {
		if i := slices.Index(b, id); i >= 0 {
			for ; len(b) > 0 && b[0] != id && !inA[b[0]]; b = b[1:] { // only b has these
				add(b[0])
			}
			if len(b) > 0 && b[0] == id {
				b = b[1:]
			}
		}
		add(id)
	}
	for _, id := range b {
		add(id)
	}
	return ranks
}

// open opens a stream of p.
func (c *comparer) open(p Party) (Stream, error) {
	s, err := p.Open()
	if l, ok := s.(*ledgerStream); ok && c.cfg.ByNumber {
		return l.byNumber(), nil
	}
	return s, err
}

// side opens p for the comparison, sorted if need be. If the stream was opened it is returned also with an error.
func (c *comparer) side(p Party, o *outline, ranks map[feed.SessionID]int) (*side, error) {
	stream, err := c.open(p)
	if err != nil {
		return nil, err
	}
	s := &side{stream: stream, facts: o.facts, ranks: ranks, byNumber: c.cfg.ByNumber}
	if l, ok := stream.(*ledgerStream); ok {
		l.inOrder(ranks)
		return s, nil
	}
	if o.ordered(ranks) {
		return s, nil
	}
	s.sorted, err = c.sort(stream, ranks, &o.facts)
	if err == nil {
		err = stream.Close()
		s.stream = s.sorted
	}
	return s, err
}

// maxSorted bounds the ticks of a party that is sorted; it takes 40 bytes for each.
const maxSorted = 1 << 25

// A TooManyError reports a party that is too large to be sorted.
type TooManyError struct{}

func (TooManyError) Error() string {
	return fmt.Sprintf("its numbers are not in order, or it has some twice, and it has more than %d ticks: too many to sort in memory; compare parts of it, or chosen instruments", maxSorted)
}

// A sorted is a stream of entries in order. It has the texts of ticks as hashes only.
type sorted struct {
	entries                []kept
	definitions            []*feed.Definition
	repeated, contradicted uint64
	misplaced              uint64
	flaws                  []Flaw // the first ones

	entry Entry
}

// A kept is an entry.
type kept struct {
	session    feed.SessionID
	from, to   uint64
	hash       uint64
	definition int32 // index of definitions; -1 for none
	kind       feed.Kind
	claim      Claim
	late       bool // Entry.After is set
}

var seed = maphash.MakeSeed()

// hashOf returns the hash of the text of e, which is never 0.
func hashOf(e *Entry) uint64 {
	if e.hash != 0 {
		return e.hash
	}
	return maphash.Bytes(seed, e.Text) | 1
}

// sameTick reports whether x and y are the same tick, as far as both say what tick they are.
func sameTick(x, y *Entry) bool {
	switch {
	case x.Definition == nil || y.Definition == nil:
		return true
	case x.hash != 0 || y.hash != 0:
		return hashOf(x) == hashOf(y)
	}
	return string(x.Text) == string(y.Text)
}

// sort reads s, whose facts are facts, to its end and sorts it. Of several claims about a number the better one remains.
func (c *comparer) sort(s Stream, ranks map[feed.SessionID]int, facts *Facts) (*sorted, error) {
	x := &sorted{}
	known := make(map[string]int32)
	var ranges []kept
	for {
		e, err := c.next(s)
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		k := kept{session: e.Session, from: e.Range.From, to: e.Range.To, definition: -1, kind: e.Kind, claim: e.Claim, late: e.After > 0}
		if e.Definition == nil {
			ranges = append(ranges, k)
		} else {
			name := e.Definition.Symbol + "\x00" + e.Definition.Venue
			i, ok := known[name]
			if !ok {
				i = int32(len(x.definitions))
				known[name] = i
				x.definitions = append(x.definitions, &feed.Definition{Symbol: e.Definition.Symbol, Venue: e.Definition.Venue})
			}
			k.definition, k.hash = i, hashOf(e)
			x.entries = append(x.entries, k)
		}
		if len(x.entries)+len(ranges) > maxSorted {
			return nil, TooManyError{}
		}
	}
	order := func(a, b kept) int {
		return cmp.Or(cmp.Compare(ranks[a.session], ranks[b.session]), cmp.Compare(a.from, b.from))
	}
	slices.SortStableFunc(x.entries, order)
	listed := max(1, c.cfg.Show) // the verdict names one
	x.dropRepeated(listed, c.cfg.AllowRepeats)
	if c.cfg.AnyOrder {
		listed = 0
	}
	x.noteMisplaced(listed, facts)
	x.entries = append(x.entries, uncovered(x.entries, ranges)...)
	slices.SortFunc(x.entries, order)
	return x, nil
}

// uncovered returns the parts of ranges that are neither in ticks, which are sorted, nor in a range with a better claim.
func uncovered(ticks, ranges []kept) (rest []kept) {
	better := make(map[feed.SessionID]feed.RangeSet)
	add := func(k *kept, sets map[feed.SessionID]feed.RangeSet) {
		set := sets[k.session]
		set.Add(feed.Range{From: k.from, To: k.to})
		sets[k.session] = set
	}
	for i := range ticks {
		add(&ticks[i], better)
	}
	slices.SortFunc(ranges, func(a, b kept) int { return cmp.Or(cmp.Compare(a.claim, b.claim), cmp.Compare(a.from, b.from)) })
	for len(ranges) > 0 {
		claim := ranges[0].claim
		these := make(map[feed.SessionID]feed.RangeSet)
		for ; len(ranges) > 0 && ranges[0].claim == claim; ranges = ranges[1:] {
			add(&ranges[0], these)
		}
		for id, set := range these {
			for _, r := range set.Minus(better[id]).Ranges() {
				rest = append(rest, kept{session: id, from: r.From, to: r.To, definition: -1, claim: claim})
			}
			better[id] = better[id].Union(set)
		}
	}
	return rest
}

func (x *sorted) Next() (*Entry, error) {
	if len(x.entries) == 0 {
		return nil, io.EOF
	}
	k := &x.entries[0]
	x.entries = x.entries[1:]
	x.entry = Entry{Numbers: feed.Numbers{Session: k.session, Range: feed.Range{From: k.from, To: k.to}}, Claim: k.claim, Kind: k.kind}
	if k.definition >= 0 {
		x.entry.Definition, x.entry.hash = x.definitions[k.definition], k.hash
	}
	return &x.entry, nil
}

func (x *sorted) Facts() Facts { return Facts{} }

func (x *sorted) Close() error { return nil }

// fill adds the texts and lines of party i, which was sorted, to the ticks that are listed.
func (c *comparer) fill(i int, p Party) error {
	type number struct {
		session feed.SessionID
		seq     uint64
	}
	flaws := make(map[number][]*Flaw)
	for k := range c.sides[i].sorted.flaws {
		f := &c.sides[i].sorted.flaws[k]
		key := number{f.Session, f.Seq}
		flaws[key] = append(flaws[key], f)
	}
	wanted := make(map[number]*Difference)
	for k := range c.result.First {
		if d := &c.result.First[k]; d.Lacks != i {
			wanted[number{d.Session, d.Seq}] = d
		}
	}
	s, err := c.open(p)
	if err != nil {
		return err
	}
	defer s.Close()
	for len(wanted)+len(flaws) > 0 {
		e, err := c.next(s)
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		key := number{e.Session, e.Range.From}
		if e.Definition == nil {
			continue
		}
		if d := wanted[key]; d != nil {
			d.Texts[i] = string(e.Text)
			delete(wanted, key)
		}
		for _, f := range flaws[key] {
			f.note(e)
		}
		if !slices.ContainsFunc(flaws[key], func(f *Flaw) bool { return !f.complete() }) {
			delete(flaws, key)
		}
	}
	return nil
}
