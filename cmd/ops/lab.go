package ops

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"text/tabwriter"

	"github.com/prometheus/client_golang/prometheus"

	"tickfeed/codec/lab"
)

// Rules are the rules of a running lab, and what can be done to them by a line of text or over HTTP.
type Rules struct{ Lab *lab.Lab }

// A RuleList is rules with how often each did something.
type RuleList []lab.Result

// String is the list as a table.
func (l RuleList) String() string {
	if len(l) == 0 {
		return "there is no rule"
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, r := range l {
		times := "never"
		if r.Times > 0 {
			times = strconv.FormatUint(r.Times, 10) + "×"
		}
		why := ""
		if r.Why != "" {
			why = "  (" + Clean(r.Why) + ")"
		}
		fmt.Fprintf(w, "%d\t%s\t  %s%s\n", r.Index, times, Clean(r.Text), why)
	}
	w.Flush()
	return b.String()
}

// A RuleChange is what became of a rule.
type RuleChange struct {
	Did  string `json:"did"`
	Text string `json:"rule"`
}

// String describes the change for people.
func (c RuleChange) String() string { return c.Did + ": " + Clean(c.Text) }

// List returns the rules.
func (r Rules) List() RuleList { return append(RuleList{}, r.Lab.Results()...) }

// mostRules bounds the rules that Add adds to.
const mostRules = 1000

// Add adds the rule text.
func (r Rules) Add(text string) (any, error) {
	s, err := lab.Parse("rule", []byte(text))
	if err != nil {
		return nil, err
	}
	if len(s.Rules) != 1 {
		return nil, fmt.Errorf("want one rule, such as \"at seq 1000: cut rst\", got %q", text)
	}
	if n := len(r.Lab.Results()); n >= mostRules {
		return nil, fmt.Errorf("there are %d rules already, which is the limit; remove some", n)
	}
	i, err := r.Lab.Add(s.Rules[0])
	if err != nil {
		return nil, err
	}
	return RuleChange{fmt.Sprintf("added rule %d", i), s.Rules[0].Text}, nil
}

// Remove removes rule n, a number that List shows.
func (r Rules) Remove(n string) (any, error) {
	for _, x := range r.Lab.Results() {
		if n == strconv.Itoa(x.Index) && r.Lab.Remove(x.Index) {
			return RuleChange{"removed rule " + n, x.Text}, nil
		}
	}
	return nil, fmt.Errorf("remove %s: there is no such rule; list shows the numbers", n)
}

// Trigger triggers the rules "on NAME: …".
func (r Rules) Trigger(name string) (any, error) {
	if !r.Lab.Trigger(name) {
		return nil, fmt.Errorf("trigger %s: no rule is \"on %s: …\"; list shows the rules", name, name)
	}
	return RuleChange{"triggered", "on " + name}, nil
}

// ErrNoCommand says what Obey understands.
var ErrNoCommand = errors.New("want a rule, list, remove N or trigger NAME")

// Obey carries out a line: list, remove N, trigger NAME, or a rule, which is added. It returns what List, Remove, Trigger or
// Add returns; nil for an empty line.
func (r Rules) Obey(line string) (any, error) {
	words := strings.Fields(line)
	switch {
	case len(words) == 0:
		return nil, nil
	case words[0] == "list" && len(words) == 1:
		return r.List(), nil
	case words[0] == "remove" && len(words) == 2:
		return r.Remove(words[1])
	case words[0] == "trigger" && len(words) == 2:
		return r.Trigger(words[1])
	case words[0] == "list", words[0] == "remove", words[0] == "trigger":
		return nil, fmt.Errorf("%s: %w", line, ErrNoCommand)
	}
	answer, err := r.Add(line)
	if err != nil {
		return nil, fmt.Errorf("%w; %w", err, ErrNoCommand)
	}
	return answer, nil
}

// A RuleRequest is the body of POST /add, /remove and /trigger. Each uses one field.
type RuleRequest struct {
	Rule string `json:"rule,omitempty"` // for add
	N    *int   `json:"n,omitempty"`    // for remove
	Name string `json:"name,omitempty"` // for trigger
}

// Routes returns the routes of a lab: GET /rules, and POST /add, /remove and /trigger.
func (r Rules) Routes() []Route {
	effect := func(name string, do func(q *RuleRequest) (any, error)) Route {
		return Route{Name: name, Effect: true, Do: func(_ context.Context, body []byte) (any, error) {
			q, err := Read[RuleRequest](body)
			if err != nil {
				return nil, err
			}
			answer, err := do(q)
			if err != nil {
				return nil, BadRequest("%w", err)
			}
			return answer, nil
		}}
	}
	return []Route{
		{Name: "rules", Do: func(context.Context, []byte) (any, error) { return r.List(), nil }},
		effect("add", func(q *RuleRequest) (any, error) { return r.Add(q.Rule) }),
		effect("remove", func(q *RuleRequest) (any, error) {
			if q.N == nil {
				return nil, errors.New(`the body must contain the number of a rule, such as {"n": 3}`)
			}
			return r.Remove(strconv.Itoa(*q.N))
		}),
		effect("trigger", func(q *RuleRequest) (any, error) { return r.Trigger(q.Name) }),
	}
}

// The metrics of a lab.
var (
	descLabConns  = desc("lab_connections", "Clients that are connected through the lab.")
	descLabRules  = desc("lab_rules", "Rules that the lab has.")
	descLabFaults = desc("lab_faults_total", "Faults that the present rules have made.")
	descLabFault  = desc("lab_rule_faults_total", "Faults that one rule has made.", "rule", "text")
)

// Metrics adds the metrics of the lab.
func (r Rules) Metrics(emit func(prometheus.Metric)) {
	emit(gauge(descLabConns, float64(r.Lab.Connections())))
	rules, total := r.List(), uint64(0)
	for _, x := range rules {
		total += x.Times
	}
	emit(gauge(descLabRules, float64(len(rules))))
	emit(counter(descLabFaults, float64(total)))
}

// Details adds the metrics of each rule.
func (r Rules) Details(emit func(prometheus.Metric)) {
	for _, x := range r.List() {
		emit(counter(descLabFault, float64(x.Times), strconv.Itoa(x.Index), nameOf(x.Text)))
	}
}

// An Upstream is whether the last attempt to reach a publisher succeeded. The zero Upstream has not been tried. It is safe for
// concurrent use.
type Upstream struct{ failed atomic.Pointer[error] }

// Note records the result of an attempt.
func (u *Upstream) Note(err error) {
	if err == nil {
		u.failed.Store(nil)
		return
	}
	u.failed.Store(&err)
}

// Ready returns the condition that the upstream can be reached.
func (u *Upstream) Ready() []Check {
	if err := u.failed.Load(); err != nil {
		return []Check{{checkUpstream, false, (*err).Error()}}
	}
	return []Check{{Name: checkUpstream, Ok: true}}
}
