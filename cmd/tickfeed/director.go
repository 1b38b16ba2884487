package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"tickfeed/cmd/ops"
	"tickfeed/codec/lab"
	"tickfeed/feed/script"
	"tickfeed/feed/sim"
)

// A director is the ops.Rulebook of a publisher: what happens in its market, and the faults of its network if its scenario has any.
// Its methods are safe for concurrent use.
type director struct {
	faults *faultLab // those of the scenario; nil for none

	mu      sync.Mutex
	market  *sim.Market  // nil for files, and until begin
	entries []*knownRule // by number
	next    int
}

// A knownRule is a rule of a director.
type knownRule struct {
	n     int
	rule  *script.Rule
	fault int    // index of the rule in the lab, or -1 for an event
	times uint64 // that an event has happened
}

// begin gives the director its market, with the rules of its scenario.
func (d *director) begin(m *sim.Market, s *script.Script) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.market = m
	if s == nil {
		return
	}
	faults := 0
	for _, r := range s.Rules {
		if _, ok := r.Does.(lab.Fault); ok {
			d.enterLocked(r, faults)
			faults++
		} else {
			d.enterLocked(r, -1)
		}
	}
}

// enterLocked notes a rule and gives it a number.
func (d *director) enterLocked(r *script.Rule, fault int) *knownRule {
	d.next++
	e := &knownRule{n: d.next, rule: r, fault: fault}
	d.entries = append(d.entries, e)
	return e
}

// happened counts what happens in the market.
func (d *director) happened(e sim.Event) {
	if !e.Begins() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.IndexFunc(d.entries, func(x *knownRule) bool { return x.rule == e.Rule }); i >= 0 {
		d.entries[i].times++
	}
}

// forgetLocked removes the events without a trigger that are over.
func (d *director) forgetLocked() {
	d.entries = slices.DeleteFunc(d.entries, func(e *knownRule) bool {
		return e.fault < 0 && e.rule.Trigger.AtOnce() && e.times > 0 && !d.market.InForce(e.rule)
	})
}

// List returns the rules that wait, and those that go on.
func (d *director) List() ops.RuleList {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forgetLocked()
	results := make(map[int]lab.Result)
	if d.faults != nil {
		for _, r := range d.faults.lab.Results() {
			results[r.Index] = r
		}
	}
	list := ops.RuleList{}
	for _, e := range d.entries {
		r := lab.Result{On: e.rule.Trigger.Name, Text: e.rule.Text, Times: e.times, Line: e.rule.Line}
		if e.fault >= 0 {
			r = results[e.fault]
		} else if d.market.InForce(e.rule) {
			r.Why = "it goes on"
		}
		r.Index = e.n
		list = append(list, r)
	}
	return list
}

// Add adds an event, which happens at once if it has no trigger, or a fault.
func (d *director) Add(text string) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.market == nil {
		return nil, errors.New("no simulated market runs here, or it has not begun yet: there is nothing that rules could change. For faults start tickfeed lab --upstream ADDR")
	}
	if d.forgetLocked(); len(d.entries) >= ops.MostRules {
		return nil, ops.ErrManyRules
	}
	r, err := parseRule(text)
	if err != nil {
		return nil, err
	}
	fault := -1
	if _, ok := r.Does.(lab.Fault); ok {
		fault, err = d.addFaultLocked(r)
	} else {
		err = d.market.Do(r)
	}
	if err != nil {
		return nil, err
	}
	return ops.RuleChange{Did: fmt.Sprintf("added rule %d", d.enterLocked(r, fault).n), Text: r.Text}, nil
}

// addFaultLocked adds a fault to the lab.
func (d *director) addFaultLocked(r *script.Rule) (index int, err error) {
	switch {
	case d.faults == nil:
		return 0, r.Wrong("this is a fault, and no lab stands between this publisher and its subscribers: start publish with a fault, such as --event 'on storm: cut rst', or run tickfeed lab --upstream ADDR")
	case r.Trigger.AtOnce():
		return 0, r.Wrong("a fault needs a trigger, such as \"at seq 1000: %s\", or \"on storm: %s\" and then trigger storm", r.Text, r.Text)
	}
	return d.faults.lab.Add(lab.FaultsOf(&script.Script{Rules: []*script.Rule{r}}).Rules[0])
}

// parseRule parses an event or a fault, with or without a trigger.
func parseRule(text string) (*script.Rule, error) {
	first, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	if !slices.Contains([]string{"at", "from", "every", "on", "for", "with", "seed"}, first) {
		return script.ParseVerb("line", text, marketLanguages...)
	}
	s, err := script.Parse("line", []byte(text), marketLanguages...)
	if err != nil {
		return nil, err
	}
	if len(s.Rules) != 1 {
		return nil, fmt.Errorf("line: %q is no rule", text)
	}
	return s.Rules[0], nil
}

// Remove removes a rule, and ends what an event multiplies, quiets, locks or moves. It returns false if there is none.
func (d *director) Remove(n int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.entries, func(e *knownRule) bool { return e.n == n })
	if i < 0 {
		return false
	}
	e := d.entries[i]
	d.entries = slices.Delete(d.entries, i, i+1)
	if e.fault >= 0 {
		return d.faults.lab.Remove(e.fault)
	}
	return d.market.Remove(e.rule)
}

// Trigger makes what the rules "on NAME: …" say happen, events and faults.
func (d *director) Trigger(name string) (any, error) {
	d.mu.Lock()
	market := d.market
	d.mu.Unlock()
	events := market != nil && market.Trigger(name)
	faults := d.faults != nil && d.faults.lab.Trigger(name)
	if !events && !faults {
		return nil, d.List().NoTrigger(name)
	}
	return ops.RuleChange{Did: "triggered", Text: "on " + name}, nil
}
