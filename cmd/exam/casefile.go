package exam

import (
	"bytes"
	"embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/lab"
	"tickfeed/feed/script"
	"tickfeed/publisher"
)

// CaseSuffix ends the names of files that hold a case.
const CaseSuffix = ".case"

// caseFiles are the cases that take time.
//
//go:embed cases/*.case
var caseFiles embed.FS

// driveCases returns the cases that take time, sorted by id.
func driveCases() (cases []*Case, err error) {
	files, err := caseFiles.ReadDir("cases")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		text, err := caseFiles.ReadFile("cases/" + f.Name())
		if err != nil {
			return nil, err
		}
		c, err := ParseCase(strings.TrimSuffix(f.Name(), CaseSuffix), f.Name(), text)
		if err != nil {
			return nil, err
		}
		cases = append(cases, c)
	}
	return cases, nil
}

// A CaseKey is a line "NAME: VALUE" that a case may begin with.
type CaseKey struct {
	Name, Value, Is string
	set             func(c *Case, value string) error
}

// CaseKeys lists the lines that a case may begin with.
var CaseKeys = []CaseKey{
	{"rule", "TEXT", "what the case is about, in a sentence; must be there", func(c *Case, v string) error { c.Rule = v; return nil }},
	{"chapter", "NAME", "of the report; own if left out", func(c *Case, v string) error {
		c.Chapter = v
		return oneOf(v, Chapters...)
	}},
	{"section", "TEXT", "heading of PROTOCOL.md; A connection if left out", func(c *Case, v string) error { c.Section = v; return nil }},
	{"from", "START", "where the client starts: beginning (if left out), snapshot or live", func(c *Case, v string) error {
		if err := oneOf(v, "beginning", "snapshot", "live"); err != nil {
			return err
		}
		return c.Drive.From.Kind.UnmarshalText([]byte(v))
	}},
	{"filter", "PATTERNS", "what the client asks for, of AAPL, AMZN and MSFT; everything if left out", func(c *Case, v string) (err error) { c.Drive.Filter, err = listOf(v); return err }},
	{"slow", "POLICY", "the client's slow-consumer policy: all (if left out), latest or disconnect", func(c *Case, v string) error { return c.Drive.Slow.UnmarshalText([]byte(v)) }},
	{"ticks", "N", "quotes that are published, a thousand a second; 1200 if left out", func(c *Case, v string) (err error) { c.Drive.Ticks, err = count(v); return err }},
	{"journal", "none", "the publisher keeps the last ticks in little memory, and no journal", func(c *Case, v string) error {
		c.Drive.Memory = publisher.MinMemory
		return oneOf(v, "none")
	}},
	{"permit", "PATTERNS", "all that the client may see from a third of the quotes on; everything if left out", func(c *Case, v string) (err error) {
		if c.Drive.Permit, err = listOf(v); err != nil {
			return err
		}
		return c.Drive.Permit.Validate()
	}},
	{"quiet", "yes", "nothing is published for two seconds after the first quote", func(c *Case, v string) error { c.Drive.Quiet = true; return oneOf(v, "yes") }},
	{"kill-client", "N", "the client is killed after so many ticks, and started again with its state file", func(c *Case, v string) (err error) { c.Drive.KillAfter, err = count(v); return err }},
	{"causes", "LIST", `the causes of the client's disconnects, in order, as in "cut, refused busy", or none; any if left out`, func(c *Case, v string) (err error) {
		if c.Drive.Causes = []string{}; v != "none" {
			c.Drive.Causes, err = listOf(v)
		}
		return err
	}},
	{"hellos", "N [to M]", "how often the client says hello; any number if left out", func(c *Case, v string) (err error) {
		least, most, ok := strings.Cut(v, " to ")
		if !ok {
			most = least
		}
		d := c.Drive
		if d.Logins[0], err = count(least); err == nil {
			d.Logins[1], err = count(most)
		}
		if err == nil && d.Logins[0] > d.Logins[1] {
			err = fmt.Errorf("%d is more than %d", d.Logins[0], d.Logins[1])
		}
		return err
	}},
	{"back-within", "DURATION", "longest time from a fault to the next hello; any if left out", func(c *Case, v string) (err error) {
		c.Drive.Within, err = time.ParseDuration(v)
		return err
	}},
	{"pulses", "N", "least number of pulses on the first connection", func(c *Case, v string) (err error) { c.Drive.Pulses, err = count(v); return err }},
	{"may-lose", "yes", "numbers may be lost or withheld; otherwise the client must deliver each", func(c *Case, v string) error { c.Drive.MayLose = true; return oneOf(v, "yes") }},
	{"must-end", "yes", "the client must end by itself, and may lack what follows", func(c *Case, v string) error { c.Drive.Terminal = true; return oneOf(v, "yes") }},
}

func oneOf(v string, all ...string) error {
	if !slices.Contains(all, v) {
		return fmt.Errorf("want %s, got %q", strings.Join(all, ", "), v)
	}
	return nil
}

func listOf(v string) (list []string, err error) {
	for part := range strings.SplitSeq(v, ",") {
		if part = strings.TrimSpace(part); part == "" {
			return nil, fmt.Errorf("the list %q has an empty part", v)
		}
		list = append(list, part)
	}
	return list, nil
}

// maxCount bounds the numbers of a case.
const maxCount = 100_000

func count(v string) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > maxCount {
		return 0, fmt.Errorf("want a number from 1 to %d, got %q", maxCount, v)
	}
	return n, nil
}

// endOfKeys is the line before the script of a case.
const endOfKeys = "---"

// ParseCase reads a case for clients: lines "NAME: VALUE" of CaseKeys, comments that begin with #, and empty lines; then the
// line "---" and a script of package lab, which may be empty. name is for errors, which are of type *script.Error.
func ParseCase(id, name string, text []byte) (*Case, error) {
	c := &Case{ID: id, Chapter: chapterOwn, Section: "A connection", Drive: &Drive{From: codec.Start{Kind: codec.StartBeginning}}}
	wrong := func(line int, format string, args ...any) (*Case, error) {
		return nil, &script.Error{Name: name, Line: line, Column: 1, Text: fmt.Sprintf(format, args...)}
	}
	if len(text) > lab.MaxScript {
		return wrong(1, "the case has %d bytes, at most %d", len(text), lab.MaxScript)
	}
	head, body, ok := bytes.Cut(append([]byte("\n"), text...), []byte("\n"+endOfKeys+"\n"))
	if !ok {
		return wrong(1, "a line %q must stand before the script, and lines such as \"rule: TEXT\" before that", endOfKeys)
	}
	lines := strings.Split(string(head), "\n")[1:]
	given := map[string]bool{}
	for i, line := range lines {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		at := slices.IndexFunc(CaseKeys, func(k CaseKey) bool { return k.Name == key })
		switch {
		case !ok || at < 0:
			var names []string
			for _, k := range CaseKeys {
				names = append(names, k.Name)
			}
			return wrong(i+1, "the line must begin with one of these words and a colon: %s", strings.Join(names, ", "))
		case given[key]:
			return wrong(i+1, "%s is given twice", key)
		}
		given[key] = true
		if err := CaseKeys[at].set(c, strings.TrimSpace(value)); err != nil {
			return wrong(i+1, "%s: %v", key, err)
		}
	}
	if c.Rule == "" {
		return wrong(1, "the line \"rule: TEXT\" is missing: what is the case about?")
	}
	c.Drive.Script = strings.TrimSpace(string(body))
	rules, err := lab.Parse(name, append(bytes.Repeat([]byte("\n"), len(lines)+1), body...)) // so that errors have the file's lines
	if err != nil {
		return nil, err
	}
	if err := (&lab.Lab{Publisher: gate{}}).Check(rules.Rules...); err != nil {
		return nil, err
	}
	for _, r := range rules.Rules {
		if r.Trigger.When == script.ByHand {
			return wrong(r.Line, "on %s: nothing triggers this rule by hand in an exam: write another trigger, such as \"at seq 600\"", r.Trigger.Name)
		}
		if v := r.Fault.Verb; v == lab.RestartSession || v == lab.RewindSession || v == lab.ReplaceSession {
			return wrong(r.Line, "%s makes up a session, which the judge does not know of; the exam runs the publisher itself: write restart, restart over copy or restart over none", lab.Verbs[v].Word)
		}
	}
	c.Needs = needs(c)
	return c, nil
}
