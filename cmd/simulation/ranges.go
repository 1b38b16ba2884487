package simulation

import (
	"iter"
	"slices"
	"sort"

	"tickfeed/feed"
)

// This file implements sets of numbers as sorted ranges that neither overlap nor touch. Package feed has such
// sets too, but the auditor must not share feed's mistakes.

// extend returns rs with r added, which must begin at or after the end of rs. It reuses rs.
func extend(rs []feed.Range, r feed.Range) []feed.Range {
	if n := len(rs); n > 0 && rs[n-1].To == r.From {
		rs[n-1].To = r.To
		return rs
	}
	return append(rs, r)
}

func union(a, b []feed.Range) []feed.Range {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(x, y feed.Range) int {
		switch {
		case x.From < y.From:
			return -1
		case x.From > y.From:
			return 1
		}
		return 0
	})
	var out []feed.Range
	for _, r := range all {
		switch n := len(out); {
		case r.From >= r.To:
		case n > 0 && r.From <= out[n-1].To:
			out[n-1].To = max(out[n-1].To, r.To)
		default:
			out = append(out, r)
		}
	}
	return out
}

// minus returns the numbers of a that are not in b. A may overlap, and b may contain empty ranges.
func minus(a, b []feed.Range) []feed.Range {
	a, b = union(a, nil), union(b, nil)
	var out []feed.Range
	i := 0
	for _, r := range a {
		for i < len(b) && b[i].To <= r.From {
			i++
		}
		for j := i; j < len(b) && b[j].From < r.To; j++ {
			if b[j].From > r.From {
				out = append(out, feed.Range{From: r.From, To: b[j].From})
			}
			r.From = max(r.From, b[j].To)
		}
		if r.From < r.To {
			out = append(out, r)
		}
	}
	return out
}

func intersect(a, b []feed.Range) []feed.Range { return minus(a, minus(a, b)) }

func within(rs []feed.Range, seq uint64) bool {
	i := sort.Search(len(rs), func(i int) bool { return rs[i].To > seq })
	return i < len(rs) && rs[i].From <= seq
}

func length(rs []feed.Range) uint64 {
	var n uint64
	for _, r := range rs {
		n += r.To - r.From
	}
	return n
}

// spanning returns the least range that contains a and b.
func spanning(a, b feed.Range) feed.Range {
	if a.Empty() {
		return b
	}
	return feed.Range{From: min(a.From, b.From), To: max(a.To, b.To)}
}

// parts yields the sessions of l that own numbers of r, root first, each with the part of r that it owns.
func parts(l feed.Lineage, r feed.Range) iter.Seq2[feed.SessionID, feed.Range] {
	return func(yield func(feed.SessionID, feed.Range) bool) {
		for i, session := range l {
			part := feed.Range{From: max(r.From, session.First), To: r.To}
			if i+1 < len(l) {
				part.To = min(part.To, l[i+1].First)
			}
			if part.From < part.To && !yield(session.ID, part) {
				return
			}
		}
	}
}

// below yields the sessions of l, each with the numbers below next that it owns.
func below(l feed.Lineage, next uint64) iter.Seq2[feed.SessionID, feed.Range] {
	return parts(l, feed.Range{To: next})
}
