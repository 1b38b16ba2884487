package main

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"tickfeed/cmd/audit"
	"tickfeed/feed/nouns"
	"tickfeed/subscriber"
)

// A demoResult is the final account.
type demoResult struct {
	Agree     bool           `json:"agree"`
	Problems  []string       `json:"problems,omitempty"`
	Seed      uint64         `json:"seed"`
	Published uint64         `json:"published"`
	Sessions  int            `json:"sessions"`
	Faults    map[string]int `json:"faults"`
	Parties   []partyResult  `json:"subscribers"`
	P50       time.Duration  `json:"recover_p50_ns"`
	Max       time.Duration  `json:"recover_max_ns"`
}

// A partyResult is the account of one subscriber. The auditor counted its ticks; the recoveries are from its reports.
type partyResult struct {
	Name       string `json:"name"`
	Delivered  uint64 `json:"delivered"`
	NotAsked   uint64 `json:"not_asked"`
	Withheld   uint64 `json:"withheld"`
	Lost       uint64 `json:"lost"`
	Disowned   uint64 `json:"disowned"`
	Duplicated uint64 `json:"duplicated"`
	ByReplay   int    `json:"recoveries_by_replay"`
	BySnapshot int    `json:"recoveries_by_snapshot"`
	Replayed   uint64 `json:"replayed"`
}

// result closes the books and returns the final account.
func (d *demo) result() demoResult {
	lineage := d.parties[0].sub.Position().Lineage
	final := d.parties[0].final
	r := demoResult{Seed: d.o.seed, Published: final - 1, Sessions: len(lineage), Faults: d.faults}
	var times []time.Duration
	for _, x := range d.parties {
		if x.final != final {
			d.books.problem("the last number of %s is %d, but that of full is %d", x.name, x.final-1, final-1)
		}
		d.books.close(x.who, x.name, lineage, final, x.rule)
		d.books.compare(x.who, x.name, x.sub.Ledger())
		c := d.books.tally(x.who)
		pr := partyResult{
			Name: x.name, Delivered: c[audit.Delivered], Withheld: c[audit.Withheld], Lost: c[audit.Lost], Disowned: c[audit.Disowned],
			NotAsked: x.sub.Ledger().Totals().NotAsked, Duplicated: x.order.repeated,
		}
		x.mu.Lock()
		for i := range x.reports {
			times = append(times, x.reports[i].Live)
			pr.Replayed += x.reports[i].Replayed
			if x.reports[i].Resume == subscriber.ResumeReplay {
				pr.ByReplay++
			} else {
				pr.BySnapshot++
			}
		}
		x.mu.Unlock()
		if pr.Duplicated > 0 {
			d.books.problem("%s: %s came twice or out of order", x.name, nouns.Count(pr.Duplicated, "tick"))
		}
		r.Parties = append(r.Parties, pr)
	}
	if n := len(times); n > 0 {
		slices.Sort(times)
		r.P50, r.Max = times[n/2], times[n-1]
	}
	r.Problems = d.books.problems
	if d.books.more > 0 {
		r.Problems = append(r.Problems, fmt.Sprintf("and %d more", d.books.more))
	}
	r.Agree = len(r.Problems) == 0
	return r
}

// lostRow matches the rows of the table that report errors and are not all 0.
var lostRow = regexp.MustCompile(`(?m)^ +(lost|disowned|duplicated) .*[1-9].*$`)

// show prints the table, and with --json also the JSON object.
func (d *demo) show(stdout io.Writer, r demoResult) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s published in %s\n\n", nouns.Count(r.Published, "tick"), nouns.Count(r.Sessions, "session"))
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', tabwriter.AlignRight)
	row := func(name string, of func(x partyResult) string) {
		fmt.Fprintf(w, "%s\t", name)
		for _, x := range r.Parties {
			fmt.Fprintf(w, "%s\t", of(x))
		}
		fmt.Fprint(w, "\n")
	}
	row("", func(x partyResult) string { return x.Name })
	for _, measure := range []struct {
		name string
		of   func(x partyResult) uint64
	}{
		{"delivered", func(x partyResult) uint64 { return x.Delivered }},
		{"not asked", func(x partyResult) uint64 { return x.NotAsked }},
		{"withheld", func(x partyResult) uint64 { return x.Withheld }},
		{"lost", func(x partyResult) uint64 { return x.Lost }},
		{"disowned", func(x partyResult) uint64 { return x.Disowned }},
		{"duplicated", func(x partyResult) uint64 { return x.Duplicated }},
		{"recovered by replay", func(x partyResult) uint64 { return uint64(x.ByReplay) }},
		{"recovered by snapshot", func(x partyResult) uint64 { return uint64(x.BySnapshot) }},
		{"ticks replayed", func(x partyResult) uint64 { return x.Replayed }},
	} {
		row(measure.name, func(x partyResult) string { return nouns.Thousands(measure.of(x)) })
	}
	w.Flush()
	fmt.Fprintf(&b, "\nTime from noticing a fault to having recovered: p50 %s, max %s.\n", formatDuration(r.P50), formatDuration(r.Max))
	screen := d.screen()
	if r.Agree {
		b.WriteString(screen.paint(green, "Every number is accounted for exactly once: the auditor and all ledgers agree.") + "\n")
	}
	d.print("%s", lostRow.ReplaceAllStringFunc(b.String(), func(row string) string { return screen.paint(red, row) }))
	if d.o.json {
		return output(json.NewEncoder(stdout).Encode(r))
	}
	return d.printed()
}
