package ops

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"

	"tickfeed/codec/lab"
	"tickfeed/feed/script"
)

// A Rulebook is the rules of a running command, faults or events. Obey changes them by a line of text, and RuleRoutes over HTTP. Its
// methods are safe for concurrent use.
type Rulebook interface {
	// List returns the rules.
	List() RuleList
	// Add adds a rule, and returns what became of it: a RuleChange.
	Add(text string) (any, error)
	// Remove removes the rule with a number that List shows. It returns false if there is none.
	Remove(n int) bool
	// Trigger triggers the rules "on NAME: …".
	Trigger(name string) (any, error)
}

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
		times := "not yet"
		if r.Times > 0 {
			times = strconv.FormatUint(r.Times, 10) + "×"
		}
		why := ""
		if r.Why != "" {
			why = " (" + Clean(r.Why) + ")"
		}
		fmt.Fprintf(w, "%d\t%s\t  %s%s\n", r.Number, times, Clean(r.Text), why)
	}
	w.Flush()
	return b.String()
}

// A RuleChange is what became of a rule.
type RuleChange struct {
	Did     string `json:"did"`
	Text    string `json:"rule"`
	Outcome string `json:"outcome,omitempty"` // what an event has done, or when it will happen
}

// String describes the change for people.
func (c RuleChange) String() string {
	text := c.Did + ": " + Clean(c.Text)
	if c.Outcome != "" {
		text += " (" + Clean(c.Outcome) + ")"
	}
	return text
}

// RuleChanges is what became of several rules.
type RuleChanges []RuleChange

// String describes the changes for people, one a line.
func (c RuleChanges) String() string {
	var lines []string
	for _, change := range c {
		lines = append(lines, change.String())
	}
	return strings.Join(lines, "\n")
}

// remove removes rules of b: the one with a number, those "on NAME", or all.
func remove(b Rulebook, which string) (any, error) {
	const all = "all"
	var changes RuleChanges
	for _, r := range b.List() {
		if (which == strconv.Itoa(r.Number) || which == all || r.On == which) && b.Remove(r.Number) {
			changes = append(changes, RuleChange{Did: fmt.Sprintf("removed rule %d", r.Number), Text: r.Text})
		}
	}
	switch {
	case len(changes) == 0 && which == all:
		return nil, errors.New("remove all: there is no rule")
	case len(changes) == 0:
		return nil, fmt.Errorf("remove %s: there is no such rule; list shows the numbers", which)
	case len(changes) == 1:
		return changes[0], nil
	}
	return changes, nil
}

// NoTrigger returns the error of Trigger if no rule of l is "on NAME: …".
func (l RuleList) NoTrigger(name string) error {
	var names []string
	for _, r := range l {
		if r.On != "" {
			names = append(names, r.On)
		}
	}
	return fmt.Errorf("trigger %s: no rule is \"on %s: …\"%s; list shows the rules", name, name, script.DidYouMean(name, names))
}

// LineHelp says which lines Obey carries out.
const LineHelp = `list                the rules, with how often each did something
remove N|NAME|all   remove rule N, the rules "on NAME: …", or all
trigger NAME        make the rules "on NAME: …" happen now
anything else       is a rule, which is added (--list documents rules)`

// Obey carries out a line: list, remove N|NAME|all, trigger NAME, help, or a rule, which is added. It returns what the methods of b
// do; nil for an empty line.
func Obey(b Rulebook, line string) (any, error) {
	const understood = "want a rule, list, remove N|NAME|all, trigger NAME or help"
	line = strings.TrimSpace(line)
	words := strings.Fields(line)
	switch {
	case len(words) == 0:
		return nil, nil
	case line == "help" || line == "?":
		return LineHelp, nil
	case words[0] == "list" && len(words) == 1:
		return b.List(), nil
	case words[0] == "remove" && len(words) == 2:
		return remove(b, words[1])
	case words[0] == "trigger" && len(words) == 2:
		return b.Trigger(words[1])
	case words[0] == "list", words[0] == "remove", words[0] == "trigger":
		return nil, fmt.Errorf("%s: %s", line, understood)
	case line == "quit" || line == "exit":
		return nil, fmt.Errorf("%s: Ctrl-C ends the command", line)
	}
	answer, err := b.Add(line)
	if err == nil {
		return answer, nil
	}
	if near := script.Nearest(words[0], []string{"list", "remove", "trigger", "help"}); near != "" {
		return nil, fmt.Errorf("%w; or did you mean %q?", err, near)
	}
	if len(words) > 1 { // a rule with a mistake
		return nil, err
	}
	return nil, fmt.Errorf("%w; %s", err, understood)
}

// A RuleRequest is the body of POST /add, /remove and /trigger.
type RuleRequest struct {
	Rule string `json:"rule,omitempty"` // for add
	N    *int   `json:"n,omitempty"`    // for remove
	Name string `json:"name,omitempty"` // for trigger; for remove: all, or the name of rules "on NAME: …"
}

// RuleRoutes returns the routes of b: GET /rules, and POST /add, /remove and /trigger.
func RuleRoutes(b Rulebook) []Route {
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
		{Name: "rules", Do: func(context.Context, []byte) (any, error) { return b.List(), nil }},
		effect("add", func(q *RuleRequest) (any, error) { return b.Add(q.Rule) }),
		effect("remove", func(q *RuleRequest) (any, error) {
			switch {
			case q.N != nil:
				return remove(b, strconv.Itoa(*q.N))
			case q.Name != "":
				return remove(b, q.Name)
			}
			return nil, errors.New(`the body must contain the number of a rule, such as {"n": 3}, or {"name": "storm"} or {"name": "all"}`)
		}),
		effect("trigger", func(q *RuleRequest) (any, error) { return b.Trigger(q.Name) }),
	}
}
