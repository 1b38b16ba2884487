package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"tickfeed/cmd/ops"
	"tickfeed/codec/lab"
	"tickfeed/feed/script"
	"tickfeed/feed/sim"
)

// A director is the ops.Rulebook of a publisher: what happens in its market, and the faults of its network if its scenario has any.
// Its methods are safe for concurrent use.
type director struct {
	faults *faultLab // those of the scenario; nil for none

	addr     string        // of the publisher, for its subscribers
	patience time.Duration // that Add and Trigger have with the market; 0 means outcomePatience

	mu      sync.Mutex
	over    chan struct{} // closed by end; nil until begin
	market  *sim.Market   // nil for files, and until begin
	entries []*knownRule  // in the order in which they were added
	last    int           // the greatest number of a rule
}

// A knownRule is a rule of a director.
type knownRule struct {
	n     int // 0 until it is known that the rule waits or goes on
	rule  *script.Rule
	fault int    // number of the rule in the lab, from 1; 0 for an event
	times uint64 // that an event has happened
}

// begin gives the director its market, with the rules of its scenario.
func (d *director) begin(m *sim.Market, s *script.Script) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.market, d.over = m, make(chan struct{})
	if s == nil {
		return
	}
	faults := 0
	for _, r := range s.Rules {
		if _, ok := r.Does.(lab.Fault); ok {
			faults++
			d.numberLocked(d.enterLocked(r, faults))
		} else {
			d.numberLocked(d.enterLocked(r, 0))
		}
	}
}

// end ends the wait for a market that goes on no more.
func (d *director) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over != nil {
		close(d.over)
	}
}

// enterLocked notes a rule.
func (d *director) enterLocked(r *script.Rule, fault int) *knownRule {
	e := &knownRule{rule: r, fault: fault}
	d.entries = append(d.entries, e)
	return e
}

// numberLocked gives e a number.
func (d *director) numberLocked(e *knownRule) {
	d.last++
	e.n = d.last
}

// added gives e a number, and returns what was done.
func (d *director) added(e *knownRule) (did string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.numberLocked(e)
	return fmt.Sprintf("added rule %d", e.n)
}

// happenedAtOnce returns what was done with e, an event without a trigger that has happened: it needs a number only if it goes on.
func (d *director) happenedAtOnce(e *knownRule) (did string) {
	if d.market.InForce(e.rule) {
		return d.added(e)
	}
	d.forget(e)
	return "done"
}

// forget removes e, to which add has given no number.
func (d *director) forget(e *knownRule) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = slices.DeleteFunc(d.entries, func(x *knownRule) bool { return x == e })
}

// happened counts what happens in the market, and removes the rules that cannot happen any more.
func (d *director) happened(e sim.Event) {
	over := e.Never || e.Nothing && e.Rule.Trigger.AtOnce()
	if !e.Begins() && !over {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch i := slices.IndexFunc(d.entries, func(x *knownRule) bool { return x.rule == e.Rule }); {
	case i < 0:
	case over:
		d.entries = slices.Delete(d.entries, i, i+1)
	default:
		d.entries[i].times++
	}
}

// outcomePatience bounds how long Add and Trigger wait for a market that is slow, or that waits for a subscriber or the disk. At the
// usual speed a command happens within a quarter of a second.
const outcomePatience = 2 * time.Second

// await returns the outcome of a command; known is false if it does not come in time.
func (d *director) await(answer <-chan sim.Outcome) (o sim.Outcome, known bool) {
	d.mu.Lock()
	over := d.over
	d.mu.Unlock()
	select {
	case o, known = <-answer:
	case <-over:
	case <-time.After(cmp.Or(d.patience, outcomePatience)):
	}
	return o, known
}

// pendingText is the outcome of a command whose outcome is not known yet.
const pendingText = "pending: the market has not gone on yet; the log says what happens, and when"

// forgetLocked removes the events without a trigger that are over.
func (d *director) forgetLocked() {
	d.entries = slices.DeleteFunc(d.entries, func(e *knownRule) bool {
		return e.fault == 0 && e.rule.Trigger.AtOnce() && e.times > 0 && !d.market.InForce(e.rule)
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
			results[r.Number] = r
		}
	}
	list := ops.RuleList{}
	for _, e := range d.entries {
		if e.n == 0 {
			continue
		}
		r := lab.Result{On: e.rule.Trigger.Name, Text: e.rule.Text, Times: e.times, Line: e.rule.Line}
		if e.fault > 0 {
			r = results[e.fault]
		} else if d.market.InForce(e.rule) {
			r.Why = "it goes on"
		}
		r.Number = e.n
		list = append(list, r)
	}
	return list
}

// Add adds an event, which happens at once if it has no trigger, or a fault. It waits for what becomes of an event.
func (d *director) Add(text string) (any, error) {
	e, answer, err := d.add(text)
	if err != nil {
		return nil, err
	}
	r := e.rule
	change := ops.RuleChange{Text: r.Text}
	if answer == nil {
		change.Did = d.added(e)
		return change, nil
	}
	o, known := d.await(answer)
	switch {
	case !known:
		change.Outcome = pendingText
	case o.Err != nil:
		d.forget(e)
		return nil, o.Err
	case r.Trigger.AtOnce():
		happened := false
		if change.Outcome, happened = eventsText(o.Events); !happened {
			d.forget(e)
			return nil, r.Wrong("%s", change.Outcome)
		}
		change.Did = d.happenedAtOnce(e)
		return change, nil
	case r.Trigger.When == script.ByHand:
		change.Outcome = "it waits for: trigger " + r.Trigger.Name
	default:
		change.Outcome = nextText(&o)
	}
	change.Did = d.added(e)
	return change, nil
}

// nextText says when a rule happens first, and which instruments do not trade then.
func nextText(o *sim.Outcome) string {
	const clock = "15:04:05"
	day := ""
	if o.NextDay {
		day = "on the next day of the market, "
	}
	text := fmt.Sprintf("it happens %sat %s; the market is at %s now", day, o.Next.Format(clock+" MST"), o.Now.Format(clock))
	for _, e := range o.Events {
		if e.Note != "" {
			text += "; WARNING: " + noteOf(&e)
		}
	}
	return text
}

// eventsText says what events that have happened at once are; happened is false if nothing happened.
func eventsText(events []sim.Event) (text string, happened bool) {
	several := slices.ContainsFunc(events, func(e sim.Event) bool { return e.Rule != events[0].Rule })
	var parts []string
	for _, e := range events {
		part := ""
		switch {
		case e.Nothing:
			part = nothingText(&e)
		case e.Note != "":
			part = noteOf(&e)
		default:
			happened = true
			part = "happened at " + marketTime(&e)
			if e.Matching > 0 {
				part += " to " + shareText(&e)
			}
		}
		if several {
			part = e.Rule.Text + ": " + part
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; "), happened
}

// add adds an event or a fault. answer receives the outcome of an event; it is nil for a fault.
func (d *director) add(text string) (e *knownRule, answer <-chan sim.Outcome, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.market == nil {
		return nil, nil, errors.New("no simulated market runs here, or it has not begun yet: there is nothing that rules could change. For faults run tickfeed lab --upstream " + d.addr)
	}
	if d.forgetLocked(); len(d.entries) >= ops.MostRules {
		return nil, nil, ops.ErrManyRules
	}
	r, err := parseRule(text)
	if err != nil {
		return nil, nil, err
	}
	fault := 0
	if _, ok := r.Does.(lab.Fault); ok {
		fault, err = d.addFaultLocked(r)
	} else {
		answer, err = d.market.Do(r)
	}
	if err != nil {
		return nil, nil, err
	}
	return d.enterLocked(r, fault), answer, nil
}

// addFaultLocked adds a fault to the lab.
func (d *director) addFaultLocked(r *script.Rule) (number int, err error) {
	switch {
	case d.faults == nil:
		rule := r.Text
		if r.Trigger.AtOnce() {
			rule = "on storm: " + rule
		}
		return 0, r.Wrong("this is a fault, which needs a lab between the publisher and its subscribers: run tickfeed lab --upstream %s --rule '%s', and let the subscribers connect to localhost:%s; or start publish with any fault, such as --event 'on storm: cut rst', and faults can be added while it runs",
			d.addr, strings.ReplaceAll(rule, "'", `'\''`), labPort)
	case r.Trigger.AtOnce():
		return 0, r.Wrong("a fault needs a trigger, such as \"at seq 1000: %s\", or \"on storm: %s\" and then trigger storm", r.Text, r.Text)
	}
	return d.faults.lab.Add(lab.FaultsOf(&script.Script{Rules: []*script.Rule{r}}).Rules[0])
}

// parseRule parses an event or a fault, with or without a trigger.
func parseRule(text string) (*script.Rule, error) {
	first, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	if !slices.Contains([]string{"at", "from", "every", "on", "for", "with", "seed"}, first) {
		return script.ParseVerb(script.Typed, text, marketLanguages...)
	}
	s, err := script.Parse(script.Typed, []byte(text), marketLanguages...)
	if err != nil {
		return nil, err
	}
	if len(s.Rules) != 1 {
		return nil, fmt.Errorf("%q is no rule", text)
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
	if e.fault > 0 {
		return d.faults.lab.Remove(e.fault)
	}
	return d.market.Remove(e.rule)
}

// Trigger makes what the rules "on NAME: …" say happen, events and faults. It waits for what becomes of the events.
func (d *director) Trigger(name string) (any, error) {
	d.mu.Lock()
	market := d.market
	d.mu.Unlock()
	var answer <-chan sim.Outcome
	if market != nil {
		var err error
		if answer, err = market.Trigger(name); err != nil {
			return nil, fmt.Errorf("trigger %s: %w", name, err)
		}
	}
	faults := d.faults != nil && d.faults.lab.Trigger(name)
	change := ops.RuleChange{Did: "triggered", Text: "on " + name}
	switch {
	case answer == nil && !faults:
		return nil, d.List().NoTrigger(name)
	case answer == nil:
		return change, nil
	}
	o, known := d.await(answer)
	if !known {
		change.Outcome = pendingText
		return change, nil
	}
	happened := false
	if change.Outcome, happened = eventsText(o.Events); !happened && !faults {
		return nil, fmt.Errorf("trigger %s: %s", name, change.Outcome)
	}
	return change, nil
}
