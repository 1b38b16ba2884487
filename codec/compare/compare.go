package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"tickfeed/feed"
)

// Config says what Compare compares.
type Config struct {
	// Want, if set, chooses the ticks that are compared; all others are treated as if neither party had them. It is
	// called for entries with a Definition only.
	Want func(*Entry) bool
	// ByNumber compares numbers whatever their session is, as for a replay and its recording, or two runs of a simulation.
	// Each of these publishes at its own times, so publish times are not compared.
	ByNumber bool
	// Common makes no difference of what only one party has before the first or after the last entry of the other one.
	Common bool
	// AllowRepeats makes no difference of a tick that a party has twice, as after a subscriber that was killed and continued from
	// the position in its file. Without it such a party differs, because a subscriber delivers each tick at most once.
	AllowRepeats bool
	// AnyOrder makes no difference of ticks that are out of order in the lines of a subscriber, as after runs whose lines were put
	// together in another order. Without it such a party differs, because a subscriber delivers the ticks of a session in order.
	AnyOrder bool
	// Show is how many of the differing ticks First lists, and how many of each kind PartyResult.Flaws lists: at least one.
	Show int
	// Read, if set, is called now and then with the number of entries read so far.
	Read func(entries uint64)
}

// An Absence is a way in which one party lacks ticks that the other one holds.
type Absence uint8

// The absences. The first ones, up to and with WithheldThere, are differences.
const (
	Missing       Absence = iota // it says nothing about them
	Before                       // likewise, and they lie before its first entry
	After                        // likewise, and they lie after its last entry
	LostThere                    // it says that they are lost
	WithheldThere                // its slow-consumer policy left them out
	NotAskedThere                // it did not ask for them
	DisownedThere                // no session owns them any more
	Undecided                    // they are in a filtered range of a ledger, which does not say which of its numbers came
	NumAbsences                  // not an absence
)

var absenceNames = [NumAbsences]string{"missing", "before", "after", "lost", "withheld", "not asked", "disowned", "undecided"}

func (a Absence) String() string { return absenceNames[a] }

// MaxRanges bounds the ranges that a Ranges lists.
const MaxRanges = 1000

// Ranges are numbers of one session: how many, and the first ranges of them.
type Ranges struct {
	Count  uint64       `json:"count"`
	Ranges []feed.Range `json:"ranges"`
	More   uint64       `json:"more_ranges,omitempty"` // beyond MaxRanges
	last   feed.Range
}

// add adds r, which lies after all others.
func (s *Ranges) add(r feed.Range) {
	s.Count += r.Len()
	if s.Count > r.Len() && s.last.To == r.From {
		s.last.To = r.To
		if s.More == 0 {
			s.Ranges[len(s.Ranges)-1].To = r.To
		}
		return
	}
	if s.last = r; len(s.Ranges) < MaxRanges {
		s.Ranges = append(s.Ranges, r)
	} else {
		s.More++
	}
}

// A SessionResult is the comparison of the numbers of one session.
type SessionResult struct {
	Session feed.SessionID
	Same    uint64 // ticks that both hold; if one of them is a ledger, only the numbers were compared
	// Contents are numbers that both hold, with different ticks.
	Contents Ranges
	// Lacks has, for A and for B, the numbers of the other one that it lacks.
	Lacks [2][NumAbsences]Ranges
	// Short has, for A and for B, ranges of which it has fewer numbers than the ledger of the other one says that were sent.
	// Count is the least number that is missing, anywhere in the range.
	Short [2]Ranges
}

// An InstrumentResult counts the differing ticks of one instrument.
type InstrumentResult struct {
	Name     string
	Lacks    [2]uint64 // differences only
	Contents uint64
}

// MaxInstruments bounds the instruments that a Result lists.
const MaxInstruments = 1 << 16

// A Difference is one differing tick.
type Difference struct {
	Session feed.SessionID
	Seq     uint64
	// Lacks is 0 if A lacks it, 1 if B does, and -1 if both hold it with different contents.
	Lacks   int
	Absence Absence // if Lacks is not -1
	// Texts are the ticks; empty where there is none.
	Texts [2]string
}

// A PartyResult describes one party.
type PartyResult struct {
	Facts
	Sessions []feed.SessionID // in order of first appearance
	// Repeated counts ticks whose number the party has already. Contradicted counts those that differ from the tick
	// before them.
	Repeated, Contradicted uint64
	// Misplaced counts ticks that are out of order: see FlawKind. Only the lines of a subscriber have an order.
	Misplaced uint64
	Flaws     []Flaw // the first ones of each kind that is not permitted, by kind and number
	Sorted    bool   // the numbers were not in order
	// Unexplained is true if the lines of a run of a subscriber, and the counts of its "left", do not say together which numbers
	// it did not ask for. It is false if ticks are out of order, since what lies between is then not known.
	Unexplained bool
}

// A Result is the outcome of Compare.
type Result struct {
	Parties     [2]PartyResult
	Same        uint64
	Contents    bool // contents were compared: neither party is a ledger
	Sessions    []*SessionResult
	Instruments []*InstrumentResult // with differences only, in order of first appearance; at most MaxInstruments
	First       []Difference
	common      bool
	repeats     bool // Config.AllowRepeats
	anyOrder    bool // Config.AnyOrder
	compared    bool
}

// Lacks returns how many ticks party i lacks in way a, over all sessions.
func (r *Result) Lacks(i int, a Absence) (n uint64) {
	for _, s := range r.Sessions {
		n += s.Lacks[i][a].Count
	}
	return n
}

// Differs reports whether the parties hold different ticks: one party lacks a tick that the other one holds, although it has
// asked for the tick and does not report it as disowned; or a tick has other contents; or a party contradicts itself, or has a
// tick twice, which Config.AllowRepeats permits, or out of order, which Config.AnyOrder permits. Parties without a common session
// differ as well.
func (r *Result) Differs() bool { return r.DiffersInTicks() || r.Repeats() || r.Disordered() }

// Disordered reports whether a party has a tick out of order, and Config.AnyOrder does not permit it.
func (r *Result) Disordered() bool {
	return !r.anyOrder && r.Parties[0].Misplaced+r.Parties[1].Misplaced > 0
}

// Repeats reports whether a party has a tick twice, and Config.AllowRepeats does not permit it.
func (r *Result) Repeats() bool {
	return !r.repeats && r.Parties[0].Repeated+r.Parties[1].Repeated > 0
}

// DiffersInTicks is Differs, except that a party may have the same tick twice, and ticks out of order.
func (r *Result) DiffersInTicks() bool {
	if !r.Related() {
		return true
	}
	for i, p := range r.Parties {
		for a := Missing; a <= WithheldThere; a++ {
			if r.IsDifference(a) && r.Lacks(i, a) > 0 {
				return true
			}
		}
		if p.Contradicted > 0 {
			return true
		}
	}
	for _, s := range r.Sessions {
		if s.Contents.Count+s.Short[0].Count+s.Short[1].Count > 0 {
			return true
		}
	}
	return false
}

// Compared reports whether there was anything to compare: a number of which both parties were sent the tick, or may have been,
// or a difference.
func (r *Result) Compared() bool { return r.compared || r.Differs() }

// IsDifference reports whether ticks that a party lacks in way a make the parties differ.
func (r *Result) IsDifference(a Absence) bool {
	return a <= WithheldThere && !(r.common && (a == Before || a == After))
}

// Related reports whether the parties have a session in common, or one of them has none at all.
func (r *Result) Related() bool {
	return len(r.Parties[0].Sessions) == 0 || len(r.Parties[1].Sessions) == 0 || slices.ContainsFunc(r.Parties[0].Sessions, func(id feed.SessionID) bool { return slices.Contains(r.Parties[1].Sessions, id) })
}

// ErrChanged reports a party whose entries were not in the order of its outline: it was written to meanwhile.
var ErrChanged = errors.New("it changed while it was read")

// A PartyError is an error of one party.
type PartyError struct {
	Party int // 0 for A, 1 for B
	Err   error
}

func (e *PartyError) Error() string { return fmt.Sprintf("party %c: %v", 'A'+e.Party, e.Err) }
func (e *PartyError) Unwrap() error { return e.Err }

// Compare compares two parties. The error is a *PartyError, or that of ctx.
func Compare(ctx context.Context, a, b Party, cfg Config) (*Result, error) {
	c := &comparer{ctx: ctx, cfg: cfg, result: &Result{common: cfg.Common, repeats: cfg.AllowRepeats, anyOrder: cfg.AnyOrder}, sessions: make(map[feed.SessionID]*SessionResult), instruments: make(map[string]*InstrumentResult)}
	var outlines [2]*outline
	for i, p := range [2]Party{a, b} {
		o, err := c.outline(p)
		if err != nil {
			return nil, c.failed(i, err)
		}
		outlines[i] = o
	}
	for i, o := range outlines {
		o.facts.explain(outlines[1-i].facts.Firsts)
		c.merged = c.merged || o.skips || slices.ContainsFunc(o.facts.runs, func(r run) bool { return r.holes > 0 })
	}
	c.merged = c.merged || cfg.ByNumber
	ranks := rank(outlines[0].sessions, outlines[1].sessions)
	for i, p := range [2]Party{a, b} {
		s, err := c.side(p, outlines[i], ranks)
		if s != nil {
			defer s.stream.Close()
		}
		if err != nil {
			return nil, c.failed(i, err)
		}
		c.sides[i] = s
	}
	for i := range c.sides {
		if err := c.advance(i); err != nil {
			return nil, c.failed(i, err)
		}
	}
	if err := c.run(); err != nil {
		return nil, err
	}
	for i, s := range c.sides {
		r := &c.result.Parties[i]
		r.Facts, r.Sessions = outlines[i].facts, outlines[i].sessions
		r.Unexplained = slices.ContainsFunc(r.runs, func(r run) bool { return r.holes > 0 && !r.explained })
		r.Sorted = s.sorted != nil
		if s.sorted != nil {
			r.Repeated, r.Contradicted, r.Misplaced = s.sorted.repeated, s.sorted.contradicted, s.sorted.misplaced
			r.Unexplained = r.Unexplained && r.Misplaced == 0
		}
	}
	c.result.Contents = !outlines[0].bare && !outlines[1].bare
	for i, p := range [2]Party{a, b} {
		if c.sides[i].sorted != nil {
			if err := c.fill(i, p); err != nil {
				return nil, c.failed(i, err)
			}
			c.result.Parties[i].Flaws = c.sides[i].sorted.flaws
		}
	}
	return c.result, nil
}

func (c *comparer) failed(i int, err error) error {
	if err == c.ctx.Err() {
		return err
	}
	return &PartyError{i, err}
}

// A comparer compares two parties.
type comparer struct {
	ctx         context.Context
	cfg         Config
	sides       [2]*side
	result      *Result
	sessions    map[feed.SessionID]*SessionResult
	instruments map[string]*InstrumentResult
	read        uint64
	merged      bool // publish times are not compared: two sessions are compared by number, or a party has a filtered line, where a tick may have a later one
}

// A side is one party while it is compared.
type side struct {
	stream Stream
	sorted *sorted // stream, if it is one
	facts  Facts
	ranks  map[feed.SessionID]int

	byNumber bool
	wanted   map[feed.SessionID]feed.RangeSet // what asked has returned

	entry *Entry     // the present entry; nil at the end
	rest  feed.Range // the part of it that is not compared yet
	begun bool       // an entry was compared
	span  *span      // what is known about the present entry, if it is Filtered
	last  place
}

// A span collects what the other party holds of a filtered range.
type span struct {
	held  uint64 // numbers that it holds
	maybe uint64 // numbers that it may hold: those in filtered ranges of its own
}

// A place is a number, with the rank of its session.
type place struct {
	rank int
	seq  uint64
}

func (p place) before(o place) bool { return p.rank < o.rank || p.rank == o.rank && p.seq < o.seq }

// place returns where the rest of the present entry begins.
func (s *side) place() place { return place{s.ranks[s.entry.Session], s.rest.From} }

// next reads the next entry of s that is wanted.
func (c *comparer) next(s Stream) (*Entry, error) {
	for {
		if c.read++; c.read%4096 == 0 {
			if err := c.ctx.Err(); err != nil {
				return nil, err
			}
			if c.cfg.Read != nil {
				c.cfg.Read(c.read)
			}
		}
		e, err := s.Next()
		if err != nil {
			return nil, err
		}
		if e.Range.Empty() || e.Definition != nil && c.cfg.Want != nil && !c.cfg.Want(e) {
			continue
		}
		if c.cfg.ByNumber {
			e.Session = 0
		}
		if c.merged {
			e.Text = withoutPublish(e.Text)
		}
		return e, nil
	}
}

// advance makes the next entry of party i the present one.
func (c *comparer) advance(i int) error {
	s := c.sides[i]
	e, err := c.next(s.stream)
	if errors.Is(err, io.EOF) {
		s.entry = nil
		return nil
	} else if err != nil {
		return err
	}
	s.entry, s.rest = e, e.Range
	if e.Claim == Filtered {
		s.span = new(span)
	}
	at := s.place()
	if s.begun && at.before(s.last) {
		return ErrChanged
	}
	s.last = place{at.rank, s.rest.To}
	return nil
}

// run compares all entries.
func (c *comparer) run() error {
	a, b := c.sides[0], c.sides[1]
	for a.entry != nil || b.entry != nil {
		var part feed.Numbers
		in := [2]bool{}
		switch {
		case b.entry == nil || a.entry != nil && a.place().before(b.place()):
			in[0], part = true, feed.Numbers{Session: a.entry.Session, Range: a.rest}
			if b.entry != nil && b.entry.Session == a.entry.Session {
				part.Range.To = min(part.Range.To, b.rest.From)
			}
		case a.entry == nil || b.place().before(a.place()):
			in[1], part = true, feed.Numbers{Session: b.entry.Session, Range: b.rest}
			if a.entry != nil && b.entry.Session == a.entry.Session {
				part.Range.To = min(part.Range.To, a.rest.From)
			}
		default:
			in = [2]bool{true, true}
			part = feed.Numbers{Session: a.entry.Session, Range: a.rest.Intersect(b.rest)}
		}
		var claims [2]claimed
		for i, s := range c.sides {
			claims[i] = s.claim(part, in[i])
			part.Range.To = min(part.Range.To, claims[i].upTo)
		}
		c.judge(part, claims)
		for i, s := range c.sides {
			if !in[i] {
				continue
			}
			s.begun = true
			if s.rest.From = part.Range.To; s.rest.Empty() {
				c.finish(i)
				if err := c.advance(i); err != nil {
					return c.failed(i, err)
				}
			}
		}
	}
	return nil
}

// A claimed is what a party claims, or an absence if it claims nothing.
type claimed struct {
	claim  Claim
	absent Absence
	upTo   uint64 // it holds for the numbers below
}

// claim returns what s says about the first number of n, and up to where that holds. in says whether it is in the present
// entry.
func (s *side) claim(n feed.Numbers, in bool) claimed {
	disowned, upTo := s.facts.disowned(n)
	switch {
	case disowned:
		return claimed{Disowned, DisownedThere, upTo}
	case in:
		absent := [numClaims]Absence{Held: Missing, Filtered: Undecided, Withheld: WithheldThere, NotAsked: NotAskedThere, Lost: LostThere, Disowned: DisownedThere}
		return claimed{s.entry.Claim, absent[s.entry.Claim], upTo}
	case s.facts.Started && !s.begun, s.facts.Left && s.entry == nil:
		return claimed{NotAsked, NotAskedThere, upTo}
	}
	if s.facts.runs != nil {
		asked, to := inRanges(s.asked(n.Session), feed.Range{From: n.Range.From, To: upTo})
		if upTo = to; !asked {
			return claimed{NotAsked, NotAskedThere, upTo}
		}
	}
	switch {
	case !s.begun && s.entry == nil:
		return claimed{numClaims, Missing, upTo}
	case !s.begun:
		return claimed{numClaims, Before, upTo}
	case s.entry == nil:
		return claimed{numClaims, After, upTo}
	}
	return claimed{numClaims, Missing, upTo}
}

// judge compares what both parties claim about part.
func (c *comparer) judge(part feed.Numbers, claims [2]claimed) {
	for i, s := range c.sides {
		if claims[i].claim != Filtered {
			continue
		}
		switch claims[1-i].claim {
		case Held:
			s.span.held += part.Range.Len()
		case Filtered:
			s.span.maybe += min(part.Range.Len(), c.sides[1-i].entry.Delivered)
		case Disowned:
			s.span.maybe += part.Range.Len()
		}
	}
	if claims[0].claim <= Filtered && claims[1].claim <= Filtered {
		c.result.compared = true
	}
	a, b := claims[0].claim == Held, claims[1].claim == Held
	switch {
	case a && b:
		r := c.session(part.Session)
		x, y := c.sides[0].entry, c.sides[1].entry
		if sameTick(x, y) {
			r.Same += part.Range.Len()
			c.result.Same += part.Range.Len()
			return
		}
		r.Contents.add(part.Range)
		for i, name := range [2]string{x.Definition.Name(), y.Definition.Name()} {
			if in := c.instrument(name); in != nil && (i == 0 || name != x.Definition.Name()) {
				in.Contents++
			}
		}
		c.show(part, -1, 0)
	case a:
		c.lack(part, 1, claims[1].absent)
	case b:
		c.lack(part, 0, claims[0].absent)
	}
}

// lack notes that party i lacks part, which the other one holds.
func (c *comparer) lack(part feed.Numbers, i int, a Absence) {
	c.session(part.Session).Lacks[i][a].add(part.Range)
	if !c.result.IsDifference(a) {
		return
	}
	if d := c.sides[1-i].entry.Definition; d != nil {
		if in := c.instrument(d.Name()); in != nil {
			in.Lacks[i]++
		}
	}
	c.show(part, i, a)
}

// show adds the first number of part to the ticks that are listed. Numbers without a tick are not listed.
func (c *comparer) show(part feed.Numbers, lacks int, a Absence) {
	if len(c.result.First) >= c.cfg.Show {
		return
	}
	d := Difference{Session: part.Session, Seq: part.Range.From, Lacks: lacks, Absence: a}
	for i, s := range c.sides {
		if i != lacks {
			if s.entry.Definition == nil {
				return
			}
			d.Texts[i] = string(s.entry.Text)
		}
	}
	c.result.First = append(c.result.First, d)
}

// finish judges the present entry of party i, all of which is compared, if it is Filtered.
func (c *comparer) finish(i int) {
	s := c.sides[i]
	if s.span == nil {
		return
	}
	if there := s.span.held + s.span.maybe; s.entry.Delivered > there {
		short := &c.session(s.entry.Session).Short[1-i]
		short.Count += s.entry.Delivered - there
		if len(short.Ranges) < MaxRanges {
			short.Ranges = append(short.Ranges, s.entry.Range)
		} else {
			short.More++
		}
	}
	s.span = nil
}

func (c *comparer) session(id feed.SessionID) *SessionResult {
	r := c.sessions[id]
	if r == nil {
		r = &SessionResult{Session: id}
		c.sessions[id] = r
		c.result.Sessions = append(c.result.Sessions, r)
	}
	return r
}

// instrument returns the result of an instrument, or nil if there are too many.
func (c *comparer) instrument(name string) *InstrumentResult {
	r := c.instruments[name]
	if r == nil && len(c.instruments) < MaxInstruments {
		r = &InstrumentResult{Name: name}
		c.instruments[name] = r
		c.result.Instruments = append(c.result.Instruments, r)
	}
	return r
}
