package compare

import (
	"slices"

	"tickfeed/feed"
)

// A FlawKind is what is wrong with a tick in its party, whatever the other party has.
type FlawKind uint8

// The kinds of flaws.
const (
	Contradicted FlawKind = iota // its number comes again, with another tick
	Repeated                     // its number comes again, with the same tick
	Misplaced                    // it is out of order: it comes after a greater number of its session, and did not come before that
	numFlaws
)

var flawNames = [numFlaws]string{"contradicted", "repeated", "out of order"}

func (k FlawKind) String() string { return flawNames[k] }

// A Flaw is a number whose tick a party has twice or out of order.
type Flaw struct {
	Kind    FlawKind
	Session feed.SessionID
	Seq     uint64
	// Texts are the tick, and the one that repeats or contradicts it. The second one is empty if the tick is Misplaced.
	Texts [2]string
	Lines [2]int // of Texts; 0 if the party has no lines
	After uint64 // if it is Misplaced: the greatest number before it
}

// note adds what e, which has the number of f, says about f.
func (f *Flaw) note(e *Entry) {
	switch {
	case f.Texts[0] == "":
		f.Texts[0], f.Lines[0], f.After = string(e.Text), e.Line, e.After
	case f.Texts[1] == "" && f.Kind != Misplaced && (f.Kind == Contradicted) == (string(e.Text) != f.Texts[0]):
		f.Texts[1], f.Lines[1] = string(e.Text), e.Line
	}
}

// complete reports whether nothing is to be noted any more.
func (f *Flaw) complete() bool { return f.Texts[0] != "" && (f.Kind == Misplaced || f.Texts[1] != "") }

// dropRepeated drops all but the first tick of each number. It lists the first numbers that come again with another tick, and,
// unless allowed is set, those that come again with the same one; at most listed of each.
func (x *sorted) dropRepeated(listed int, allowed bool) {
	rest := x.entries[:0]
	var flaws [numFlaws][]Flaw
	for _, k := range x.entries {
		if n := len(rest); n > 0 && rest[n-1].session == k.session && rest[n-1].from == k.from {
			x.repeated++
			kind := Repeated
			if rest[n-1].hash != k.hash {
				x.contradicted++
				kind = Contradicted
			}
			of := flaws[kind]
			known := len(of) > 0 && of[len(of)-1].Session == k.session && of[len(of)-1].Seq == k.from
			if len(of) < listed && !known && !(kind == Repeated && allowed) {
				flaws[kind] = append(of, Flaw{Kind: kind, Session: k.session, Seq: k.from})
			}
			continue
		}
		rest = append(rest, k)
	}
	x.entries = rest
	x.flaws = slices.Concat(flaws[Contradicted], flaws[Repeated])
}

// noteMisplaced counts and lists the ticks that are out of order, except those that are disowned, as facts say.
func (x *sorted) noteMisplaced(listed int, facts *Facts) {
	n := 0
	for i := range x.entries {
		k := &x.entries[i]
		if !k.late {
			continue
		}
		if gone, _ := facts.disowned(feed.Numbers{Session: k.session, Range: feed.Range{From: k.from, To: k.to}}); gone {
			continue
		}
		x.misplaced++
		if n < listed {
			x.flaws = append(x.flaws, Flaw{Kind: Misplaced, Session: k.session, Seq: k.from})
			n++
		}
	}
}
