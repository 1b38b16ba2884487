package compare

import (
	"math"
	"slices"

	"tickfeed/feed"
)

// maxRuns bounds the runs of subscribers whose lines are in one party.
const maxRuns = 1 << 16

// maxRecent bounds the ranges of holes that a run keeps until they may be disowned.
const maxRecent = 4096

// A point is a number of a session.
type point struct {
	session feed.SessionID
	seq     uint64
}

// A run follows the lines of one run of a subscriber, from its first "connected" to its "left". The run asked for the numbers
// from the first position up to its last one; without a "left" it asked for all that follow. Numbers between that no line
// accounts for are holes: they were not asked for if the totals of "left" add up with that many, and otherwise they are missing.
type run struct {
	from, to point // from is the zero point if nothing says where it began; to counts if ended is set
	ended    bool
	anew     bool // it began without a position: its totals count the numbers below from, too

	linked bool                    // no "disconnected" since "connected"
	at     point                   // the number after the last one that a line accounts for
	high   uint64                  // at.seq before numbers were disowned
	most   uint64                  // the greatest at.seq
	past   map[feed.SessionID]bool // sessions that it left
	odd    bool                    // it came back to a session that it had left, or one of its positions is missing

	ticks    uint64       // in order, each number once
	holes    uint64       // numbers between from and at without a line, except those that were disowned
	recent   []feed.Range // the last ranges of holes, at most maxRecent
	below    uint64       // numbers below from that are lost
	disowned uint64       // numbers disowned of those that ticks, told and the numbers below from count
	told     feed.Totals
	sent     feed.Totals // those of "left"

	explained bool // see explains; set once the first number of its lineage is known
}

// connect notes a "connected" after the first one.
func (r *run) connect(to point, unrelated bool) {
	r.linked = true
	switch {
	case unrelated:
		r.recent = nil
		r.leave(to)
	default:
		r.hole(to.seq)
		r.leave(point{to.session, max(to.seq, r.at.seq)})
	}
}

// leave makes p the place of the run.
func (r *run) leave(p point) {
	if r.at.session != p.session {
		if r.past == nil {
			r.past = make(map[feed.SessionID]bool)
		}
		r.past[r.at.session] = true
	}
	r.at, r.high, r.most = p, p.seq, max(r.most, p.seq)
}

// hole counts the numbers from the place of the run up to seq as holes.
func (r *run) hole(seq uint64) {
	if seq > r.at.seq {
		r.holes += seq - r.at.seq
		if len(r.recent) == maxRecent {
			r.recent = r.recent[:copy(r.recent, r.recent[maxRecent/2:])]
		}
		r.recent = append(r.recent, feed.Range{From: r.at.seq, To: seq})
	}
}

// fill notes a tick that is out of order: if its number was counted as a hole, the number is not one.
func (r *run) fill(seq uint64) {
	i, in := slices.BinarySearchFunc(r.recent, seq, func(hole feed.Range, seq uint64) int {
		switch {
		case hole.To <= seq:
			return -1
		case hole.From > seq:
			return 1
		}
		return 0
	})
	if !in {
		return
	}
	hole := r.recent[i]
	r.ticks++
	r.holes--
	switch below, above := (feed.Range{From: hole.From, To: seq}), (feed.Range{From: seq + 1, To: hole.To}); {
	case below.Empty() && above.Empty():
		r.recent = slices.Delete(r.recent, i, i+1)
	case above.Empty():
		r.recent[i] = below
	case below.Empty() || len(r.recent) == maxRecent: // then below stays counted, as in a hole that is no longer kept
		r.recent[i] = above
	default:
		r.recent[i] = below
		r.recent = slices.Insert(r.recent, i+1, above)
	}
}

// tick notes a tick.
func (r *run) tick(n point) {
	switch {
	case n.session == r.at.session:
		if n.seq < r.at.seq {
			r.fill(n.seq)
			return
		}
	case r.past[n.session]:
		r.odd = true
		return
	case n.seq < r.at.seq: // the session has nothing in common with the one before; without a snapshot it began at 1
		r.recent = nil
		r.leave(point{n.session, 1})
	}
	r.ticks++
	r.hole(n.seq)
	r.leave(point{n.session, n.seq + 1})
}

// claim notes numbers that are lost or withheld.
func (r *run) claim(n feed.Numbers) {
	switch {
	case n.Range.To <= r.at.seq:
		if r.anew && r.ticks == 0 && r.at == r.from {
			r.below += n.Range.Len()
		}
	case !r.past[n.Session]:
		r.hole(n.Range.From)
		r.leave(point{n.Session, n.Range.To})
	}
}

// disown notes numbers that are disowned.
func (r *run) disown(n feed.Range) {
	from := n.From
	if !r.anew {
		from = max(from, r.from.seq)
	}
	if to := min(n.To, r.high); from < to {
		r.disowned += to - from
	}
	for k := len(r.recent); k > 0 && r.recent[k-1].To > n.From; k = len(r.recent) {
		last := &r.recent[k-1]
		gone := last.To - max(last.From, n.From)
		r.holes -= gone
		r.disowned -= min(r.disowned, gone)
		if last.To = n.From; last.Empty() {
			r.recent = r.recent[:k-1]
		}
	}
	r.at.seq = min(r.at.seq, n.From)
}

// snapshot notes a snapshot as of p. In a session that has nothing in common with the one before, the line begins there.
func (r *run) snapshot(p point) {
	if p.session != r.at.session && !r.past[p.session] {
		r.recent = nil
		r.leave(p)
	}
}

// end notes "left". Without a position, which a run that was connected has, at is the zero point.
func (r *run) end(at point, totals feed.Totals) {
	r.sent = totals
	if at == (point{}) {
		r.odd = true
		return
	}
	r.odd = r.odd || at.seq < r.at.seq
	r.hole(at.seq)
	r.to, r.ended, r.most, r.past = at, true, max(r.most, at.seq), nil
	r.recent = nil
}

// explains reports whether r did not ask for its holes, as its totals say. first is the first number of the oldest session of
// its lineage, or 0 if that is not known.
func (r *run) explains(first uint64) bool {
	lost, withheld := r.told.Lost-r.sent.Lost, r.told.Withheld-r.sent.Withheld // those that were disowned
	if !r.ended || r.odd || r.holes == 0 || r.from.seq == 0 || r.told.Lost < r.sent.Lost || r.told.Withheld < r.sent.Withheld ||
		lost+withheld > r.disowned || r.ticks < r.sent.Delivered || r.ticks-r.sent.Delivered > r.disowned {
		return false
	}
	// The numbers that were delivered or not asked for, less those that were disowned, must equal the ticks, the holes and
	// the numbers below from.
	inside := r.ticks + r.holes + lost + withheld
	sent := r.sent.Delivered + r.sent.NotAsked + r.disowned
	least, most := uint64(0), uint64(0)
	if r.anew {
		first = min(first, r.from.seq)
		most = r.from.seq - max(1, first)
		if first > 0 {
			least = most
		}
		least, most = least-min(least, r.below), most-min(most, r.below)
	}
	// Where a fork cuts a filtered range only their sum is exact.
	return sent >= inside+least && sent <= inside+most && r.sent.NotAsked > least
}

// explain decides for each run whether it did not ask for its holes. firsts is what the other party knows of lineages.
func (f *Facts) explain(firsts map[feed.SessionID]uint64) {
	for i := range f.runs {
		r := &f.runs[i]
		r.explained = r.explains(firsts[r.from.session])
	}
}

// span returns the numbers of session that r asked for.
func (r *run) span(session feed.SessionID, ranks map[feed.SessionID]int, byNumber bool) feed.Range {
	if byNumber {
		s := feed.Range{From: r.from.seq, To: math.MaxUint64}
		if r.ended {
			s.To = r.most
		}
		return s
	}
	s, rank := feed.Range{To: math.MaxUint64}, ranks[session]
	if r.from != (point{}) {
		switch from := ranks[r.from.session]; {
		case rank < from:
			return feed.Range{}
		case rank == from:
			s.From = r.from.seq
		}
	}
	if r.ended {
		switch to := ranks[r.to.session]; {
		case rank > to:
			return feed.Range{}
		case rank == to:
			s.To = r.to.seq
		}
	}
	return s
}

// asked returns the numbers of session that a party asked for, and that are missing if the party says nothing about them.
func (s *side) asked(session feed.SessionID) []feed.Range {
	if set, ok := s.wanted[session]; ok {
		return set.Ranges()
	}
	var set feed.RangeSet
	for i := range s.facts.runs {
		if r := &s.facts.runs[i]; !r.explained {
			set.Add(r.span(session, s.ranks, s.byNumber))
		}
	}
	if s.wanted == nil {
		s.wanted = make(map[feed.SessionID]feed.RangeSet)
	}
	s.wanted[session] = set
	return set.Ranges()
}

// inRanges reports whether the first number of n is in ranges, which ascend, and up to where that holds.
func inRanges(ranges []feed.Range, n feed.Range) (in bool, upTo uint64) {
	i, _ := slices.BinarySearchFunc(ranges, n.From, func(r feed.Range, seq uint64) int {
		if r.To <= seq {
			return -1
		}
		return 1
	})
	switch {
	case i == len(ranges):
		return false, n.To
	case ranges[i].From > n.From:
		return false, min(n.To, ranges[i].From)
	}
	return true, min(n.To, ranges[i].To)
}
