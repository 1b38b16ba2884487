package exam

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"path"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Select returns the cases whose ids match one of patterns, as path.Match does; all for none. It returns an error for a
// pattern that is malformed or matches no case.
func Select(cases []*Case, patterns []string) ([]*Case, error) {
	if len(patterns) == 0 {
		return cases, nil
	}
	used := make([]bool, len(patterns))
	var selected []*Case
	for _, c := range cases {
		any := false
		for i, p := range patterns {
			ok, err := path.Match(p, c.ID)
			if err != nil {
				return nil, fmt.Errorf("pattern %q: %w", p, err)
			}
			used[i] = used[i] || ok
			any = any || ok
		}
		if any {
			selected = append(selected, c)
		}
	}
	if i := slices.Index(used, false); i >= 0 {
		return nil, fmt.Errorf("no case matches %q", patterns[i])
	}
	return selected, nil
}

// RunAll runs cases, parallel of them at the same time (0 for two per processor), and passes each verdict to done, one
// at a time, in the order of cases. A case that failed on time alone is repeated once, alone, before it counts; after
// maxHopeless of them that fail again, one after another, the others count at once. RunAll returns early, without the remaining
// verdicts, if ctx ends.
func (x *Exam) RunAll(ctx context.Context, cases []*Case, parallel int, done func(Verdict)) (verdicts []Verdict) {
	if parallel <= 0 {
		parallel = 2 * runtime.GOMAXPROCS(0)
	}
	results := make([]Verdict, len(cases))
	finished := make([]chan struct{}, len(cases))
	for i := range finished {
		finished[i] = make(chan struct{})
	}
	var workers sync.WaitGroup
	defer workers.Wait()
	next := make(chan int)
	for range min(parallel, len(cases)) {
		workers.Go(func() {
			for i := range next {
				results[i] = x.Run(ctx, cases[i])
				close(finished[i])
			}
		})
	}
	workers.Go(func() {
		defer close(next)
		for i := range cases {
			select {
			case next <- i:
			case <-ctx.Done():
				return
			}
		}
	})
	var late []int
	for i := range cases {
		select {
		case <-finished[i]:
		case <-ctx.Done():
			return verdicts
		}
		if ctx.Err() != nil {
			return verdicts
		}
		if results[i].Late {
			late = append(late, i)
			continue
		}
		verdicts = append(verdicts, results[i])
		done(results[i])
	}
	workers.Wait()
	hopeless := 0
	for _, i := range late {
		v := results[i]
		if hopeless < maxHopeless {
			if v = x.Again(ctx, cases[i]); v.Late {
				hopeless++
			} else {
				hopeless = 0
			}
		}
		if ctx.Err() != nil {
			return verdicts
		}
		verdicts = append(verdicts, v)
		done(v)
	}
	return verdicts
}

// maxHopeless is after how many repeated cases that were late again no other is repeated: the client hangs, not the machine.
const maxHopeless = 3

// Again is Run for a case that has failed on time alone: with rare heartbeats.
func (x *Exam) Again(ctx context.Context, c *Case) Verdict {
	patient := *x
	patient.slow = true
	v := patient.Run(ctx, c)
	v.Repeated = true
	return v
}

// A Score counts the verdicts of a chapter.
type Score struct {
	Chapter       string `json:"chapter"`
	Passed        int    `json:"passed"`
	Failed        int    `json:"failed"`
	NotApplicable int    `json:"not_applicable"`
}

// Scores counts verdicts by chapter, in the order of Chapters. Chapters without a case are left out.
func Scores(verdicts []Verdict) (scores []Score) {
	for _, chapter := range Chapters {
		s := Score{Chapter: chapter}
		for _, v := range verdicts {
			if v.Case.Chapter != chapter {
				continue
			}
			switch v.Outcome {
			case Passed:
				s.Passed++
			case Failed:
				s.Failed++
			default:
				s.NotApplicable++
			}
		}
		if s.Passed+s.Failed+s.NotApplicable > 0 {
			scores = append(scores, s)
		}
	}
	return scores
}

// WriteJUnit writes verdicts as JUnit XML, a test suite for each chapter.
func WriteJUnit(w io.Writer, verdicts []Verdict) error {
	type failure struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
	type skipped struct {
		Message string `xml:"message,attr"`
	}
	type testcase struct {
		Name      string   `xml:"name,attr"`
		Classname string   `xml:"classname,attr"`
		Time      string   `xml:"time,attr"`
		Failure   *failure `xml:"failure"`
		Skipped   *skipped `xml:"skipped"`
	}
	type counts struct {
		Name     string `xml:"name,attr"`
		Tests    int    `xml:"tests,attr"`
		Failures int    `xml:"failures,attr"`
		Errors   int    `xml:"errors,attr"` // always 0
		Skipped  int    `xml:"skipped,attr"`
		Time     string `xml:"time,attr"`
	}
	type suite struct {
		counts
		Cases []testcase `xml:"testcase"`
	}
	type suites struct {
		XMLName xml.Name `xml:"testsuites"`
		counts
		Suites []suite `xml:"testsuite"`
	}
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
	all := suites{counts: counts{Name: "tickfeed exam"}}
	var total time.Duration
	for _, s := range Scores(verdicts) {
		out := suite{counts: counts{Name: "tickfeed exam: " + s.Chapter, Tests: s.Passed + s.Failed + s.NotApplicable, Failures: s.Failed, Skipped: s.NotApplicable}}
		var took time.Duration
		for _, v := range verdicts {
			if v.Case.Chapter != s.Chapter {
				continue
			}
			took += v.Took
			c := testcase{Name: v.ID, Classname: "tickfeed.exam." + s.Chapter, Time: seconds(v.Took)}
			switch v.Outcome {
			case Failed:
				c.Failure = &failure{Message: v.Fault.Text, Type: "fault", Text: v.Case.Rule + "\nPROTOCOL.md, \"" + v.Case.Section + "\"\nwant " + v.Fault.Want + "\ngot  " + v.Fault.Got + "\n" + v.Said}
			case NotApplicable:
				c.Skipped = &skipped{Message: fmt.Sprintf("not applicable without %s", v.Lacks)}
			}
			out.Cases = append(out.Cases, c)
		}
		out.Time = seconds(took)
		all.Suites = append(all.Suites, out)
		all.Tests, all.Failures, all.Skipped, total = all.Tests+out.Tests, all.Failures+out.Failures, all.Skipped+out.Skipped, total+took
	}
	all.Time = seconds(total)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
