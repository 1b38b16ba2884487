// Package script reads the scripts of tickfeed: what goes wrong in a network (package codec/lab), and what happens in a
// simulated market (package feed/sim). A script is a list of rules, one on a line:
//
//	[for WHO] TRIGGER: WHAT     # comment
//
// Triggers are the same for all; what a rule does is up to the [Language] of its first word.
package script

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
	"time"
)

// A Script is the rules of all languages, in their order.
type Script struct {
	Seed   uint64 // 1 if the script has none
	Seeded bool   // the script has one
	Rules  []*Rule
}

// A Rule is one line of a script.
type Rule struct {
	Name    string // of the script
	Line    int    // of the script, from 1
	Column  int    // of what the rule does, from 1
	Text    string // as written
	Who     Who
	Trigger Trigger
	Does    any // what its Language has parsed
}

// Wrong returns an error that says where the rule is.
func (r *Rule) Wrong(format string, args ...any) *Error {
	return &Error{r.Name, max(r.Line, 1), max(r.Column, 1), fmt.Sprintf(format, args...)}
}

// A Who is the clients to which a rule applies.
type Who struct {
	Name  string  // pattern of the client's name in its hello, as path.Match; "" for all
	Share float64 // of the client names, chosen by the seed; 0 for all
}

// A When is the kind of a trigger.
type When uint8

// The triggers.
const (
	AtSeq      When = iota // a line reaches a sequence number, for the first time for each client name
	EverySeq               // a line reaches a multiple of a sequence number, each for the first time for each client name
	AtLogin                // the n-th hello of a client name
	AtPacket               // the n-th packet of a client name
	AtSnapshot             // the n-th snapshot of a client name begins
	AtLive                 // a line is live for the n-th time for a client name: it has reached the head of the welcome
	AtEnd                  // the n-th time that a client name is sent the end of a session
	WithChance             // each tick, by chance
	AtTime                 // once, a time after the lab began, or after the opening of the market
	EveryTime              // again and again
	ByHand                 // when asked by name, at a terminal or by control
	AtClock                // at a time of day of the market, each day
)

// A Trigger says when a rule applies.
type Trigger struct {
	When   When
	N      uint64        // number, count
	After  time.Duration // of AtTime and EveryTime; of AtClock the time of day
	Chance float64       // of WithChance, for each tick
	Name   string        // of ByHand
}

// Repeatable reports whether the same script, seed and session trigger the same faults at the same ticks.
func (t Trigger) Repeatable() bool {
	return t.When != AtTime && t.When != EveryTime && t.When != ByHand
}

// Timed reports whether the trigger is a duration.
func (t Trigger) Timed() bool { return t.When == AtTime || t.When == EveryTime }

// On reports whether the trigger is "on NAME".
func (t Trigger) On(name string) bool { return t.When == ByHand && t.Name == name }

// AtOnce reports whether there is no trigger, as in a rule of ParseVerb.
func (t Trigger) AtOnce() bool { return t.On("") }

// A Form describes a word of a language: how it is written, what it does, and an example.
type Form = struct {
	Word, Usage, Does, Example string
}

// Triggers documents the triggers, in the order of When.
var Triggers = []Form{
	AtSeq:      {"at seq", "at seq N", "when a line first reaches number N, once for each client name; a line that begins beyond N does not", "at seq 1000: cut rst"},
	EverySeq:   {"every seq", "every seq N", "when a line reaches a multiple of N, at each once for each client name", "every seq 5000: cut"},
	AtLogin:    {"at login", "at login N", "at the N-th hello of a client name", "at login 2: refuse busy retry 200ms"},
	AtPacket:   {"at packet", "at packet N", "at the N-th packet of a client name", "at packet 3: flip"},
	AtSnapshot: {"at snapshot", "at snapshot N", "when the N-th snapshot of a client name begins", "at snapshot 1: cut snapshot"},
	AtLive:     {"at live", "at live N", "when a client name is live for the N-th time", "at live 1: mute data 2s"},
	AtEnd:      {"at end", "at end N", "before a client name is sent the end of a session for the N-th time", "at end 1: cut inside"},
	WithChance: {"with", "with P%", "at each tick with this probability; the seed and the tick's number decide", "with 0.1%: drop packet"},
	AtTime:     {"at", "at DURATION", "once, this long after the lab began", "at 5s: stall 2s"},
	EveryTime:  {"every", "every DURATION", "again and again", "every 10s: cut fin"},
	ByHand:     {"on", "on NAME", "when NAME is triggered at the terminal or by control", "on storm: cut rst"},
	AtClock:    {"at", "at HH:MM[:SS]", "each day at this time of day, in the time zone of the market", "at 10:00: halt TSLA for 10m"},
}

// Bounds of a script.
const (
	MaxScript = 64 << 10 // bytes
	MaxRules  = 1000
	MaxFor    = 24 * time.Hour
	MinEvery  = 10 * time.Millisecond // between two rules by the clock
	maxSeq    = math.MaxInt64         // of a trigger
	maxErrors = 20                    // lines that are reported as wrong at once
)

// Typed is the name of a script that is one line, whose writer is looking at it: errors do not say where it is wrong.
const Typed = ""

// An Error is a mistake in a script.
type Error struct {
	Name         string // of the script; may be Typed
	Line, Column int    // from 1
	Text         string
}

func (e *Error) Error() string {
	if e.Name == Typed {
		return e.Text
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.Name, e.Line, e.Column, e.Text)
}

// A Language is what rules can do.
type Language struct {
	Noun   string   // what a rule makes: "fault"
	Verbs  []Form   // Word is one word or two
	Begins []string // the words with which its rules begin, for errors; nil for all
	// Parse reads what follows the words of Verbs[verb] and returns what Rule.Does is to hold.
	Parse func(p *Parser, verb int) (any, error)
	// Suits, if set, returns an error if the rule cannot do this for these clients at this trigger.
	Suits func(r *Rule) error
}

// Words lists the words of the verbs.
func (l *Language) Words() (words []string) {
	for _, f := range l.Verbs {
		words = append(words, f.Word)
	}
	return words
}

// Parse reads a script whose rules are of the given languages. Each line is a rule, "seed N", empty, or a comment that begins
// with #. name is for errors, which are of type *Error; if several lines are wrong the error joins those of the first maxErrors,
// and says where there are more.
func Parse(name string, text []byte, languages ...*Language) (*Script, error) {
	s := &Script{Seed: 1}
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // of an editor
	if len(text) > MaxScript {
		return nil, &Error{name, 1, 1, fmt.Sprintf("the script has %d bytes, at most %d", len(text), MaxScript)}
	}
	n := 0
	var wrong []*Error
	for raw := range strings.Lines(string(text)) {
		n++
		if len(wrong) > maxErrors {
			break
		}
		words, line, err := wordsOf(strings.TrimRight(raw, "\r\n"))
		if err != nil {
			err.Name, err.Line = name, n
			wrong = append(wrong, err)
			continue
		}
		p := Parser{line: strings.TrimSpace(line), words: words, end: len([]rune(strings.TrimRight(line, " \t"))) + 1}
		if len(p.words) == 0 {
			continue
		}
		r, failed := p.rule(s, languages)
		if failed != nil {
			wrong = append(wrong, p.wrong(name, n, failed))
			continue
		}
		if r == nil {
			continue
		}
		r.Name, r.Line, r.Text = name, n, strings.TrimSpace(line)
		if s.Rules = append(s.Rules, r); len(s.Rules) > MaxRules {
			wrong = append(wrong, &Error{name, n, 1, fmt.Sprintf("more than %d rules", MaxRules)})
			break
		}
	}
	switch len(wrong) {
	case 0:
		return s, nil
	case 1:
		return nil, wrong[0]
	}
	if len(wrong) > maxErrors {
		wrong[maxErrors].Text = "there are more mistakes from here on"
	}
	errs := make([]error, len(wrong))
	for i, w := range wrong {
		errs[i] = w
	}
	return nil, errors.Join(errs...)
}

// ParseVerb reads what a rule does, without a trigger. Its errors are of type *Error, about line 1 of name.
func ParseVerb(name, text string, languages ...*Language) (*Rule, error) {
	words, line, err := wordsOf(text)
	if err != nil {
		err.Name, err.Line = name, 1
		return nil, err
	}
	p := Parser{line: strings.TrimSpace(line), words: words, end: len([]rune(strings.TrimRight(line, " \t"))) + 1}
	r := &Rule{Name: name, Line: 1, Text: strings.TrimSpace(line), Trigger: Trigger{When: ByHand}}
	if failed := p.does(r, languages); failed != nil {
		return nil, p.wrong(name, 1, failed)
	}
	return r, nil
}

// rule reads a rule, or a seed: then it returns nil.
func (p *Parser) rule(s *Script, languages []*Language) (*Rule, error) {
	if p.Accept("seed") {
		if s.Seeded {
			return nil, fmt.Errorf("the script has two seeds: remove one")
		}
		n, err := p.Number("seed", 0, math.MaxUint64)
		s.Seed, s.Seeded = n, true
		if err == nil && p.Next() != "" {
			return nil, fmt.Errorf("nothing may follow the seed")
		}
		return nil, err
	}
	r := &Rule{}
	if p.Accept("for") {
		if err := p.who(&r.Who); err != nil {
			return nil, err
		}
	}
	if err := p.trigger(&r.Trigger, languages); err != nil {
		return nil, err
	}
	if w := p.Next(); w != ":" {
		return nil, fmt.Errorf("a colon and %s %s must follow the trigger, got %q", article(languages[0].Noun), languages[0].Noun, w)
	}
	return r, p.does(r, languages)
}

// does reads what a rule does.
func (p *Parser) does(r *Rule, languages []*Language) error {
	if p.at < len(p.words) {
		r.Column = p.words[p.at].column
	}
	l, verb, err := p.verb(languages)
	if err != nil {
		return err
	}
	if r.Does, err = l.Parse(p, verb); err != nil {
		return err
	}
	if w := p.Next(); w != "" {
		return fmt.Errorf("%q is too much: %s", w, l.Verbs[verb].Usage)
	}
	if l.Suits == nil {
		return nil
	}
	if err := l.Suits(r); err != nil {
		return &Error{Column: r.Column, Text: err.Error()}
	}
	return nil
}

// verb finds the verb whose words come next: the longest that fits, "cut snapshot" before "cut".
func (p *Parser) verb(languages []*Language) (found *Language, verb int, err error) {
	first := p.Next()
	for _, l := range languages {
		for i := range l.Verbs {
			words := strings.Fields(l.Verbs[i].Word)
			if words[0] != first || len(words) > 1 && p.Peek() != words[1] {
				continue
			}
			if found == nil || len(words) > 1 {
				found, verb = l, i
			}
		}
	}
	if found == nil {
		return nil, 0, unknown(first, p.Peek(), languages)
	}
	if strings.Contains(found.Verbs[verb].Word, " ") {
		p.Next()
	}
	return found, verb, nil
}

// unknown returns the error about a verb that no language has; next is the word after it.
func unknown(first, next string, languages []*Language) error {
	var nouns, verbs []string
	for _, l := range languages {
		nouns, verbs = append(nouns, l.Noun), append(verbs, l.Words()...)
	}
	near := DidYouMean(first+" "+next, verbs)
	if !strings.Contains(near, " ") || near == "" {
		near = DidYouMean(first, verbs)
	}
	if near == "" {
		near = ";"
	}
	return fmt.Errorf("there is no %s %q%s --list shows all", strings.Join(nouns, " or "), first, near)
}

func (p *Parser) who(w *Who) error {
	text := p.Next()
	switch {
	case text == "" || text == ":":
		return fmt.Errorf("for must be followed by a client name or a share, as in \"for probe-*\" or \"for 10%%\"")
	case strings.HasSuffix(text, "%"):
		share, err := Share(text)
		w.Share = share
		return err
	}
	if _, err := path.Match(text, ""); err != nil {
		return fmt.Errorf("pattern %q: %w", text, err)
	}
	w.Name = text
	return nil
}

// article returns the indefinite article of noun.
func article(noun string) string {
	if strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an"
	}
	return "a"
}

// counted are the words of triggers by number, after "at".
var counted = []string{"seq", "login", "packet", "snapshot", "live", "end"}

func (p *Parser) trigger(t *Trigger, languages []*Language) (err error) {
	switch word := p.Next(); word {
	case "at", "from":
		switch what := p.Peek(); {
		case word == "at" && slices.Contains(counted, what):
			p.Next()
			t.When = map[string]When{"seq": AtSeq, "login": AtLogin, "packet": AtPacket, "snapshot": AtSnapshot, "live": AtLive, "end": AtEnd}[what]
			t.N, err = p.Number("at "+what, 1, maxSeq)
		case strings.Contains(what, ":"):
			t.When = AtClock
			t.After, err = p.clock(word)
		case word == "at" && what != "" && !strings.ContainsRune("0123456789-+.", rune(what[0])):
			p.Next()
			return fmt.Errorf("at must be followed by seq N, login N, packet N, snapshot N, live N or end N, a duration such as 200ms, or a time of day such as 09:30; got %q%s", what, DidYouMean(what, counted))
		default:
			t.When = AtTime
			t.After, err = p.duration(word, 0, "0s or more")
		}
	case "every":
		if p.Accept("seq") {
			t.When = EverySeq
			t.N, err = p.Number("every seq", 1, maxSeq)
			break
		}
		t.When = EveryTime
		if t.After, err = p.Duration("every"); err == nil && t.After < MinEvery {
			err = fmt.Errorf("every must be followed by at least %v, got %v", MinEvery, t.After)
		}
	case "with":
		t.When = WithChance
		text := p.Next()
		if !strings.HasSuffix(text, "%") {
			return fmt.Errorf("with must be followed by a share, as in \"with 0.1%%\", got %q", text)
		}
		t.Chance, err = Share(text)
	case "on":
		t.When, t.Name = ByHand, p.Next()
		if t.Name == "" || t.Name == ":" {
			return fmt.Errorf("on must be followed by a name")
		}
	default:
		return p.noTrigger(word, languages)
	}
	return err
}

// beginnings are the words with which rules begin.
var beginnings = []string{"for", "at", "every", "with", "on"}

// noTrigger returns the error about a rule that begins with word instead of a trigger.
func (p *Parser) noTrigger(word string, languages []*Language) error {
	begins := languages[0].Begins
	if begins == nil {
		begins = beginnings
	}
	last := len(begins) - 1
	text := fmt.Sprintf("a rule begins with %s or %s, got %q", strings.Join(begins[:last], ", "), begins[last], word)
	for _, l := range languages {
		if slices.ContainsFunc(l.Verbs, func(f Form) bool { return strings.Fields(f.Word)[0] == word }) {
			return fmt.Errorf("%s; write %q", text, "at 10s: "+p.line)
		}
	}
	return errors.New(text + DidYouMean(word, append([]string{"seed"}, beginnings...)))
}

// clock reads a time of day.
func (p *Parser) clock(what string) (time.Duration, error) {
	text := p.Next()
	for _, layout := range []string{"15:04", "15:04:05"} { // also with a fraction of the second
		if at, err := time.Parse(layout, text); err == nil {
			return at.Sub(at.Truncate(24 * time.Hour)), nil
		}
	}
	return 0, fmt.Errorf("%s must be followed by a time of day such as 09:30 or 15:59:30, got %q", what, text)
}
