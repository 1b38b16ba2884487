package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"tickfeed/cmd/exam"
	"tickfeed/feed/nouns"
)

// judgeExam returns the error of an exam that was not passed.
func (p *program) judgeExam(o *examOptions, verdicts []exam.Verdict) error {
	failures, passes := 0, 0
	for _, v := range verdicts {
		switch v.Outcome {
		case exam.Failed:
			failures++
		case exam.Passed:
			passes++
		}
	}
	switch {
	case failures > 0 && len(o.cases) == 0:
		p.notef("add --case ID to see the lines around a fault")
		return &exitError{code: exitData}
	case failures > 0:
		return &exitError{code: exitData}
	case passes == 0:
		return usage("no case was run: the program lacks what each of them needs")
	}
	return nil
}

// lastSaid is how many of the last lines that a program said are printed in an exam of all cases.
const lastSaid = 2

// printVerdict prints the verdict of a case. With lines it also prints the lines around a fault, which are long.
func (p *program) printVerdict(o *examOptions, v *exam.Verdict, lines bool) error {
	if o.json {
		return output(json.NewEncoder(p.stdout).Encode(v))
	}
	s := p.screen(p.stdout)
	var b strings.Builder
	switch {
	case v.Fault == nil:
		fmt.Fprintf(&b, "%s %s: %s\n", s.paint(green, string(v.Outcome)), v.ID, v.Case.Rule)
	default:
		text := printable(v.Fault.Text)
		if v.Fault.Line > 0 {
			text = fmt.Sprintf("line %d: %s", v.Fault.Line, text)
		}
		fmt.Fprintf(&b, "%s %s\n", s.paint(red, "FAILED"), s.fit(v.ID+": "+v.Case.Rule, "  "))
		fmt.Fprintln(&b, s.fit("  "+text, "    "))
		fmt.Fprintln(&b, s.fit(fmt.Sprintf("  PROTOCOL.md, %q; %s", v.Case.Section, o.command("--show "+v.ID)), "    "))
		if lines {
			for _, line := range v.Fault.Before {
				fmt.Fprintf(&b, "  right  %s\n", printable(line))
			}
			if v.Fault.Want != "" {
				fmt.Fprintf(&b, "  want   %s\n", v.Fault.Want)
			}
			if v.Fault.Got != "" {
				fmt.Fprintf(&b, "  got    %s\n", shortened(printable(v.Fault.Got)))
			}
		}
		said := strings.Split(strings.TrimSuffix(v.Said, "\n"), "\n")
		if !lines {
			said = said[max(0, len(said)-lastSaid):]
		}
		for _, line := range said {
			if line != "" {
				fmt.Fprintf(&b, "  said   %s\n", shortened(printable(line)))
			}
		}
	}
	_, err := fmt.Fprint(p.stdout, b.String())
	return output(err)
}

// shortened returns line, or its first part if it is much longer than a line of a right client.
func shortened(line string) string {
	const most = 1000
	if len(line) <= most {
		return line
	}
	return strings.ToValidUTF8(line[:most], "") + fmt.Sprintf("… (%d bytes)", len(line))
}

func (p *program) printScores(o *examOptions, verdicts []exam.Verdict) error {
	scores := exam.Scores(verdicts)
	if o.json {
		return output(json.NewEncoder(p.stdout).Encode(map[string][]exam.Score{"scores": scores}))
	}
	s := p.screen(p.stdout)
	var b strings.Builder
	lacking := map[exam.Ability]int{}
	for _, v := range verdicts {
		if v.Lacks != "" {
			lacking[v.Lacks]++
		}
	}
	for _, a := range slices.Sorted(maps.Keys(lacking)) {
		shownBy, program := exam.ShownBy, "client"
		if o.publisher {
			shownBy, program = exam.PublisherShownBy, "publisher"
		}
		how := ""
		if placeholder := shownBy[a]; placeholder != "" {
			how = fmt.Sprintf("; pass %s to the %s", placeholder, program)
		}
		defer p.notef("not applicable without %s: %s%s", a, nouns.Count(lacking[a], "case"), how)
	}
	total := exam.Score{Chapter: "all"}
	line := func(x exam.Score) {
		text := fmt.Sprintf("%-10s %3d of %d passed", x.Chapter, x.Passed, x.Passed+x.Failed)
		if x.NotApplicable > 0 {
			text += fmt.Sprintf(", %d not applicable", x.NotApplicable)
		}
		c := green
		if x.Failed > 0 {
			c = red
		}
		fmt.Fprintln(&b, s.paint(c, text))
	}
	for _, x := range scores {
		line(x)
		total.Passed, total.Failed, total.NotApplicable = total.Passed+x.Passed, total.Failed+x.Failed, total.NotApplicable+x.NotApplicable
	}
	line(total)
	_, err := fmt.Fprint(p.stdout, b.String())
	return output(err)
}
