package ops

import (
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"tickfeed/codec/lab"
	"tickfeed/feed/script"
)

// Rules is the Rulebook of a running lab.
type Rules struct{ Lab *lab.Lab }

// List returns the rules.
func (r Rules) List() RuleList { return append(RuleList{}, r.Lab.Results()...) }

// MostRules bounds the rules that Add adds to.
const MostRules = 1000

// ErrManyRules says that there are MostRules.
var ErrManyRules = fmt.Errorf("there are %d rules already, which is the limit; remove some", MostRules)

// Add adds the rule text.
func (r Rules) Add(text string) (any, error) {
	s, err := lab.Parse(script.Typed, []byte(text))
	if err != nil {
		return nil, err
	}
	if len(s.Rules) != 1 {
		return nil, fmt.Errorf("want one rule, such as \"at seq 1000: cut rst\", got %q", text)
	}
	if len(r.Lab.Results()) >= MostRules {
		return nil, ErrManyRules
	}
	n, err := r.Lab.Add(s.Rules[0])
	if err != nil {
		return nil, err
	}
	return RuleChange{Did: fmt.Sprintf("added rule %d", n), Text: s.Rules[0].Text}, nil
}

// Remove removes rule n, a number that List shows. It returns false if there is none.
func (r Rules) Remove(n int) bool { return r.Lab.Remove(n) }

// Trigger triggers the rules "on NAME: …".
func (r Rules) Trigger(name string) (any, error) {
	if !r.Lab.Trigger(name) {
		return nil, r.List().NoTrigger(name)
	}
	return RuleChange{Did: "triggered", Text: "on " + name}, nil
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
		emit(counter(descLabFault, float64(x.Times), strconv.Itoa(x.Number), nameOf(x.Text)))
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
