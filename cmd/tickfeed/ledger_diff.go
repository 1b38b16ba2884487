package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"tickfeed/codec/compare"
	"tickfeed/feed"
	"tickfeed/feed/nouns"
)

// partyNames are the names of the parties in the output.
var partyNames = [2]string{"A", "B"}

// absenceTexts says what a party does with ticks that it lacks.
var absenceTexts = [compare.NumAbsences]string{
	"does not have", "begins after", "ends before", "lost", "withheld", "did not ask for", "disowned", "has perhaps",
}

// lacks says what d, which is described by s, does with ticks of session that it lacks.
func (d *diffParty) lacks(s *compare.PartyResult, session feed.SessionID, a compare.Absence) string {
	_, known := s.Firsts[session]
	switch {
	case a != compare.NotAskedThere, d.kind == kindLedger:
	case !known && !slices.Contains(s.Sessions, session):
		return "never had" // the session
	case d.kind == kindJournal:
		return "does not keep" // as its retention says
	}
	return absenceTexts[a]
}

// Bounds of the result for people.
const (
	rangesShown      = 8
	instrumentsShown = 12
)

// diffText prints r for people, with at most show flaws of a party.
func diffText(out *lines, parties [2]*diffParty, r *compare.Result, show int) {
	for i, d := range parties {
		s := r.Parties[i]
		notes := []string{d.kind, nouns.Count(s.Ticks, "tick")}
		if !slices.Contains(s.Sessions, 0) { // otherwise numbers of all sessions were compared
			notes = append(notes, nouns.Count(len(s.Sessions), "session"))
		}
		if d.kind == kindLedger {
			notes[1] += " without their contents"
		}
		if s.Repeated > 0 {
			notes = append(notes, nouns.Count(s.Repeated, "tick")+" twice")
		}
		if s.Misplaced > 0 {
			notes = append(notes, nouns.Count(s.Misplaced, "tick")+" out of order")
		}
		if s.Unexplained {
			notes = append(notes, "its counts do not add up")
		}
		if s.Torn {
			notes = append(notes, "its end is cut off")
		}
		if s.CutLines > 0 {
			notes = append(notes, nouns.Count(s.CutLines, "line")+" cut off")
		}
		out.printf("%s  %s: %s\n", partyNames[i], d.title(), strings.Join(notes, ", "))
	}
	width := 0
	for _, s := range r.Sessions {
		width = max(width, len(nouns.Thousands(s.Same)))
		for i := range parties {
			for a := range compare.NumAbsences {
				width = max(width, len(nouns.Thousands(s.Lacks[i][a].Count)))
			}
		}
	}
	row := func(c colour, what string, n uint64, note string) {
		text := strings.TrimRight(fmt.Sprintf("  %-18s %*s  %s", what, width, nouns.Thousands(n), note), " ")
		out.paintf(c, strings.Repeat(" ", width+23), "%s\n", text)
	}
	for _, s := range r.Sessions {
		if s.Session == 0 {
			out.printf("by number, whatever the session is\n")
		} else {
			out.printf("session %v\n", s.Session)
		}
		if s.Same > 0 {
			note := ""
			if !r.Contents {
				note = "numbers; the ticks could not be compared"
			}
			row(plain, "the same", s.Same, note)
		}
		if s.Contents.Count > 0 {
			row(red, "different ticks", s.Contents.Count, rangesText(&s.Contents))
		}
		for i, name := range partyNames {
			for a := range compare.NumAbsences {
				if n := &s.Lacks[i][a]; n.Count > 0 {
					c := plain
					if r.IsDifference(a) {
						c = red
					}
					row(c, name+" "+parties[i].lacks(&r.Parties[i], s.Session, a), n.Count, rangesText(n))
				}
			}
			if n := &s.Short[i]; n.Count > 0 {
				row(red, name+" lacks of these", n.Count, "at least, "+rangesText(n))
			}
		}
	}
	diffInstruments(out, r)
	diffFirst(out, parties, r)
	diffFlaws(out, r, show)
	out.printf("%s\n", verdict(r))
}

// diffInstruments prints the instruments that differ most.
func diffInstruments(out *lines, r *compare.Result) {
	if len(r.Instruments) > 0 {
		out.printf("instruments that differ\n")
		all := slices.Clone(r.Instruments)
		slices.SortStableFunc(all, func(x, y *compare.InstrumentResult) int { return cmp.Compare(differing(y), differing(x)) })
		for i, in := range all {
			if i == instrumentsShown {
				out.printf("  and %d more\n", len(all)-i)
				break
			}
			var parts []string
			for i, n := range in.Lacks {
				if n > 0 {
					parts = append(parts, fmt.Sprintf("%s not with %s", nouns.Thousands(n), partyNames[i]))
				}
			}
			if in.Contents > 0 {
				parts = append(parts, nouns.Thousands(in.Contents)+" different")
			}
			out.printf("  %-18s %s\n", oneLine(cmp.Or(in.Name, "(not defined)")), strings.Join(parts, ", "))
		}
	}
}

// diffFirst prints the first differences.
func diffFirst(out *lines, parties [2]*diffParty, r *compare.Result) {
	if len(r.First) > 0 {
		out.printf("first differences\n")
	}
	for _, d := range r.First {
		what := "different"
		if d.Lacks >= 0 {
			what = partyNames[d.Lacks] + " " + parties[d.Lacks].lacks(&r.Parties[d.Lacks], d.Session, d.Absence)
		}
		of := ""
		if d.Session != 0 {
			of = fmt.Sprintf(" of session %v", d.Session)
		}
		out.printf("  %s%s: %s\n", nouns.Thousands(d.Seq), of, what)
		for i, text := range d.Texts {
			if text != "" {
				out.printf("    %s  %s\n", partyNames[i], oneLine(text))
			}
		}
	}
}

// diffFlaws prints the first ticks that a party has twice or out of order.
func diffFlaws(out *lines, r *compare.Result, show int) {
	for i := range r.Parties {
		flaws := r.Parties[i].Flaws
		for k, f := range flaws[:min(show, len(flaws))] {
			if k == 0 {
				out.printf("first ticks that %s has twice or out of order\n", partyNames[i])
			}
			of := ""
			if f.Session != 0 {
				of = fmt.Sprintf(" of session %v", f.Session)
			}
			what := "twice"
			switch f.Kind {
			case compare.Contradicted:
				what = "twice, with different contents"
			case compare.Misplaced:
				what = "after " + nouns.Thousands(f.After)
			}
			out.printf("  %s%s: %s\n", nouns.Thousands(f.Seq), of, what)
			for k, text := range f.Texts {
				if text != "" {
					out.printf("    %s  %s%s\n", partyNames[i], lineOf(f.Lines[k]), oneLine(text))
				}
			}
		}
	}
}

// lineOf returns the prefix of a text that is in a line; line is 0 if it is in none.
func lineOf(line int) string {
	if line == 0 {
		return ""
	}
	return fmt.Sprintf("line %d: ", line)
}

func differing(in *compare.InstrumentResult) uint64 { return in.Lacks[0] + in.Lacks[1] + in.Contents }

// verdict returns the last line.
func verdict(r *compare.Result) string {
	same := "they hold the same ticks"
	if !r.Contents {
		same = "they hold the same numbers"
	}
	asked := ""
	for i := range r.Parties {
		if r.Lacks(i, compare.NotAskedThere) > 0 {
			asked = ", as far as both asked for them"
		}
	}
	if undecided(r) {
		same, asked = "nothing shows that they differ: a ledger of filtered ticks says how many of these came, not which", ""
	}
	switch {
	case !r.Related():
		return "they differ: they have no session in common; for a replay and its recording, or two runs with the same seed, add --by-number"
	case r.DiffersInTicks():
		var reasons []string
		if contradicted := doubled(r, func(s *compare.PartyResult) uint64 { return s.Contradicted }); contradicted != "" {
			reasons = append(reasons, contradicted+", with different contents")
		}
		if r.Disordered() {
			reasons = append(reasons, disorder(r))
		}
		if len(reasons) > 0 {
			return "they differ: " + strings.Join(reasons, "; ")
		}
		return "they differ"
	case r.Disordered() && r.Repeats():
		return fmt.Sprintf("%s%s, but %s; and %s", same, asked, disorder(r), doubled(r, func(s *compare.PartyResult) uint64 { return s.Repeated }))
	case r.Disordered():
		return fmt.Sprintf("%s%s, but %s; --any-order permits that, for the lines of several runs", same, asked, disorder(r))
	case r.Repeats():
		return fmt.Sprintf("%s%s, but %s; --allow-repeats permits that, for a subscriber that was killed and continued with --state", same, asked, doubled(r, func(s *compare.PartyResult) uint64 { return s.Repeated }))
	case !r.Compared():
		return "they hold nothing in common, and nothing that the other one should have"
	}
	return same + asked
}

// doubled says how many ticks, by count, the parties have twice.
func doubled(r *compare.Result, count func(*compare.PartyResult) uint64) string {
	var parts []string
	for i := range r.Parties {
		if n := count(&r.Parties[i]); n > 0 {
			parts = append(parts, fmt.Sprintf("%s has %s twice", partyNames[i], nouns.Count(n, "tick")))
		}
	}
	return strings.Join(parts, " and ")
}

// disorder says which parties are not in order, with the first tick of each that is not.
func disorder(r *compare.Result) string {
	var parts []string
	for i := range r.Parties {
		s := &r.Parties[i]
		k := slices.IndexFunc(s.Flaws, func(f compare.Flaw) bool { return f.Kind == compare.Misplaced })
		if k < 0 {
			continue
		}
		f := s.Flaws[k]
		text := fmt.Sprintf("%s is not in order: %d comes after %d (line %d)", partyNames[i], f.Seq, f.After, f.Lines[0])
		if s.Misplaced > 1 {
			text += fmt.Sprintf(", and %s more", nouns.Thousands(s.Misplaced-1))
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

// undecided reports whether a ledger leaves open which ticks its party has.
func undecided(r *compare.Result) bool {
	return r.Lacks(0, compare.Undecided)+r.Lacks(1, compare.Undecided) > 0
}

// rangesText lists the first ranges of s.
func rangesText(s *compare.Ranges) string {
	var b strings.Builder
	for i, r := range s.Ranges {
		if i == rangesShown {
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(r.String())
	}
	if more := uint64(len(s.Ranges)) + s.More; more > rangesShown {
		fmt.Fprintf(&b, " and %s more", nouns.Thousands(more-rangesShown))
	}
	return b.String()
}

// jsonDiff is the result of ledger diff as JSON. Ranges are [from, to).
type jsonDiff struct {
	Same        bool                 `json:"same"`
	Contents    bool                 `json:"contents_compared"`
	Ticks       uint64               `json:"same_ticks"`
	A           jsonParty            `json:"a"`
	B           jsonParty            `json:"b"`
	Sessions    []jsonDiffSession    `json:"sessions"`
	Instruments []jsonDiffInstrument `json:"instruments"`
	First       []jsonDiffTick       `json:"first"`
}

type jsonParty struct {
	Name         string           `json:"name"`
	Kind         string           `json:"kind"`
	Ticks        uint64           `json:"ticks"`
	Sessions     []feed.SessionID `json:"sessions"`
	Repeated     uint64           `json:"repeated"`
	Contradicted uint64           `json:"contradicted"`
	OutOfOrder   uint64           `json:"out_of_order"`
	Flaws        []jsonFlaw       `json:"flaws"`       // the first ticks that are there twice or out of order
	Unexplained  bool             `json:"unexplained"` // its counts do not add up
	Torn         bool             `json:"torn"`
	CutLines     int              `json:"cut_lines"`
}

type jsonFlaw struct {
	Session    feed.SessionID `json:"session,omitzero"`
	Seq        uint64         `json:"seq"`
	What       string         `json:"what"` // contradicted, repeated or out_of_order
	After      uint64         `json:"after,omitempty"`
	Line       int            `json:"line,omitempty"`
	Tick       string         `json:"tick"`
	SecondLine int            `json:"second_line,omitempty"`
	Second     string         `json:"second,omitempty"`
}

type jsonDiffSession struct {
	Session   feed.SessionID             `json:"session,omitzero"` // 0 with --by-number
	Same      uint64                     `json:"same_ticks"`
	Different *compare.Ranges            `json:"different,omitempty"`
	A         map[string]*compare.Ranges `json:"a"` // what A lacks, by the reason
	B         map[string]*compare.Ranges `json:"b"`
}

type jsonDiffInstrument struct {
	Name      string `json:"name"`
	A         uint64 `json:"not_with_a"`
	B         uint64 `json:"not_with_b"`
	Different uint64 `json:"different"`
}

type jsonDiffTick struct {
	Session feed.SessionID `json:"session,omitzero"`
	Seq     uint64         `json:"seq"`
	What    string         `json:"what"` // different, or a reason of jsonDiffSession
	A       string         `json:"a,omitempty"`
	B       string         `json:"b,omitempty"`
}

func diffJSON(parties [2]*diffParty, r *compare.Result, show int) *jsonDiff {
	party := func(i int) jsonParty {
		s := r.Parties[i]
		sessions := slices.DeleteFunc(append([]feed.SessionID{}, s.Sessions...), func(id feed.SessionID) bool { return id == 0 })
		flaws := []jsonFlaw{}
		for _, f := range s.Flaws[:min(show, len(s.Flaws))] {
			flaws = append(flaws, jsonFlaw{f.Session, f.Seq, strings.ReplaceAll(f.Kind.String(), " ", "_"), f.After, f.Lines[0], f.Texts[0], f.Lines[1], f.Texts[1]})
		}
		return jsonParty{parties[i].name, parties[i].kind, s.Ticks, sessions, s.Repeated, s.Contradicted, s.Misplaced, flaws, s.Unexplained, s.Torn, s.CutLines}
	}
	j := &jsonDiff{
		Same: !r.Differs() && r.Compared(), Contents: r.Contents, Ticks: r.Same, A: party(0), B: party(1),
		Sessions: []jsonDiffSession{}, Instruments: []jsonDiffInstrument{}, First: []jsonDiffTick{},
	}
	for _, s := range r.Sessions {
		lacks := [2]map[string]*compare.Ranges{{}, {}}
		for i := range lacks {
			for a := range compare.NumAbsences {
				if n := &s.Lacks[i][a]; n.Count > 0 {
					lacks[i][strings.ReplaceAll(a.String(), " ", "_")] = n
				}
			}
			if n := &s.Short[i]; n.Count > 0 {
				lacks[i]["at_least"] = n
			}
		}
		out := jsonDiffSession{Session: s.Session, Same: s.Same, A: lacks[0], B: lacks[1]}
		if s.Contents.Count > 0 {
			out.Different = &s.Contents
		}
		j.Sessions = append(j.Sessions, out)
	}
	for _, in := range r.Instruments {
		j.Instruments = append(j.Instruments, jsonDiffInstrument{in.Name, in.Lacks[0], in.Lacks[1], in.Contents})
	}
	for _, d := range r.First {
		what := "different"
		if d.Lacks >= 0 {
			what = strings.ReplaceAll(d.Absence.String(), " ", "_")
		}
		j.First = append(j.First, jsonDiffTick{d.Session, d.Seq, what, d.Texts[0], d.Texts[1]})
	}
	return j
}
