package lab

import (
	"bytes"
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"tickfeed/codec"
)

// A Script is what goes wrong.
type Script struct {
	Seed  uint64
	Rules []*Rule
}

// A Rule is one line of a script.
type Rule struct {
	Line    int    // of the script, from 1
	Text    string // as written
	Who     Who
	Trigger Trigger
	Fault   Fault

	script string  // its name
	column int     // of the fault
	seed   *uint64 // of its script; nil if that has none
}

// refuse returns an error that says where the fault of r stands, and text.
func (r *Rule) refuse(text string) *ScriptError {
	return &ScriptError{r.script, max(r.Line, 1), max(r.column, 1), text}
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
	WithChance             // each tick, by chance
	AtTime                 // once, a time after the lab began
	EveryTime              // again and again
	ByHand                 // when asked by name, at a terminal or by control
)

// A Trigger says when a rule applies.
type Trigger struct {
	When   When
	N      uint64        // number, count
	After  time.Duration // of AtTime and EveryTime
	Chance float64       // of WithChance, for each tick
	Name   string        // of ByHand
}

// Repeatable reports whether the same script, seed and session trigger the same faults at the same ticks.
func (t Trigger) Repeatable() bool {
	return t.When != AtTime && t.When != EveryTime && t.When != ByHand
}

// timed reports whether the trigger is a time.
func (t Trigger) timed() bool { return t.When == AtTime || t.When == EveryTime }

// A Verb is the kind of a fault.
type Verb uint8

// The verbs.
const (
	Cut Verb = iota
	Stall
	HalfOpen
	Slow
	Drop
	Repeat
	Swap
	Flip
	Forge
	Delay
	MuteHeartbeats
	MuteData
	Ahead
	IgnorePulses
	Refuse
	SlowLogin
	NoWelcome
	CutSnapshot
	EndlessSnapshot
	MoveSnapshot
	SayGoodbye
	EndSession
	Garbage
	RefuseDials
	HangDials
	Kill
	Stop
	Restart
	CopyJournal
	Freeze
	FillDisk
	verbs
)

// A Fault is what a rule does.
type Fault struct {
	Verb     Verb
	How      string        // of Cut: fin, rst or inside; of HalfOpen: in or out; of Drop: packet or tick; of Restart: what it is over
	For      time.Duration // duration
	N        uint64        // of Ahead and MoveSnapshot: numbers; of Slow: bytes per second
	Code     codec.Code    // of Refuse and SayGoodbye
	Retry    bool          // of Refuse and SayGoodbye
	RetryIn  time.Duration // of Refuse and SayGoodbye
	ForTimes uint64        // of Refuse: how many logins in a row; at least 1
}

// A form describes a word of the language: how it is written, what it does, and an example.
type form struct {
	Word, Usage, Does, Example string
}

// Triggers documents the triggers, in the order of When.
var Triggers = []form{
	AtSeq:      {"at seq", "at seq N", "when a line first reaches number N, once for each client name", "at seq 1000: cut rst"},
	EverySeq:   {"every seq", "every seq N", "at each multiple of N, each once for each client name", "every seq 5000: cut"},
	AtLogin:    {"at login", "at login N", "at the N-th hello of a client name", "at login 2: refuse busy retry 200ms"},
	AtPacket:   {"at packet", "at packet N", "at the N-th packet of a client name", "at packet 3: flip"},
	AtSnapshot: {"at snapshot", "at snapshot N", "when the N-th snapshot of a client name begins", "at snapshot 1: cut snapshot"},
	AtLive:     {"at live", "at live N", "when a client name is live for the N-th time", "at live 1: mute data 2s"},
	WithChance: {"with", "with P%", "at each tick with this probability; the seed and the tick's number decide", "with 0.1%: drop packet"},
	AtTime:     {"at", "at DURATION", "once, this long after the lab began (not repeatable)", "at 5s: stall 2s"},
	EveryTime:  {"every", "every DURATION", "again and again (not repeatable)", "every 10s: cut fin"},
	ByHand:     {"on", "on NAME", "when NAME is triggered at the terminal or by control (not repeatable)", "on storm: cut rst"},
}

// Verbs documents the faults, in the order of Verb.
var Verbs = [verbs]form{
	Cut:             {"cut", "cut [fin|rst|inside]", "ends the connection: in order (fin, the default), by a reset, or in the middle of a message", "at seq 1000: cut rst"},
	Stall:           {"stall", "stall DURATION", "passes nothing in either direction for so long", "at 5s: stall 2s"},
	HalfOpen:        {"half-open", "half-open in|out", "from now on drops what the client should receive (in), or what it sends (out); TCP stays open", "at seq 500: half-open in"},
	Slow:            {"slow", "slow RATE", "passes at most RATE bytes a second to the client from now on", "at login 1: slow 20000"},
	Drop:            {"drop", "drop [packet|tick]", "leaves out a packet, or one tick of it: what follows does not join", "with 0.1%: drop packet"},
	Repeat:          {"repeat", "repeat", "sends a packet twice", "at packet 4: repeat"},
	Swap:            {"swap", "swap", "sends a packet after the one that follows it", "at packet 4: swap"},
	Flip:            {"flip", "flip", "flips a bit of a packet: its checksum is wrong", "at packet 4: flip"},
	Forge:           {"forge", "forge", "moves a packet by one number and seals it again: only the sequence shows it", "at packet 4: forge"},
	Delay:           {"delay", "delay DURATION", "passes a packet so much later, and all that follow it", "with 1%: delay 5ms"},
	MuteHeartbeats:  {"mute heartbeats", "mute heartbeats DURATION", "drops heartbeats for so long; data flows", "at seq 100: mute heartbeats 1s"},
	MuteData:        {"mute data", "mute data DURATION", "holds back data for so long; heartbeats flow", "at seq 100: mute data 1s"},
	Ahead:           {"ahead", "ahead N", "sends a heartbeat that covers N numbers that were not sent", "at seq 100: ahead 5"},
	IgnorePulses:    {"ignore pulses", "ignore pulses DURATION", "drops the pulses of the client for so long", "at login 1: ignore pulses 5s"},
	Refuse:          {"refuse", "refuse CODE [retry DURATION|for good] [N times]", "answers the hello with a refusal", "at login 2: refuse busy retry 200ms 3 times"},
	SlowLogin:       {"slow login", "slow login DURATION", "passes the hello on, and so gets the welcome, so much later", "at login 1: slow login 2s"},
	NoWelcome:       {"no welcome", "no welcome", "never answers the hello", "at login 1: no welcome"},
	CutSnapshot:     {"cut snapshot", "cut snapshot", "cuts the connection after the first part of a snapshot", "at snapshot 1: cut snapshot"},
	EndlessSnapshot: {"endless snapshot", "endless snapshot", "leaves out the end of a snapshot", "at snapshot 1: endless snapshot"},
	MoveSnapshot:    {"move snapshot", "move snapshot N", "says that a snapshot is as of N numbers earlier", "at snapshot 1: move snapshot 1"},
	SayGoodbye:      {"goodbye", "goodbye CODE [retry DURATION|for good]", "sends a goodbye and ends the connection", "at seq 1000: goodbye shutdown retry 100ms"},
	EndSession:      {"end", "end", "says that the session has ended, at the number that the line has reached", "at seq 1000: end"},
	Garbage:         {"garbage", "garbage", "sends bytes that are no message", "at seq 1000: garbage"},
	RefuseDials:     {"refuse dials", "refuse dials DURATION", "closes new connections at once for so long", "at 5s: refuse dials 1s"},
	HangDials:       {"hang dials", "hang dials DURATION", "accepts new connections for so long and does nothing with them", "at 5s: hang dials 1s"},
	Kill:            {"kill", "kill [for DURATION]", "ends the publisher as kill -9 does, and starts it again over its journal, at once or after so long", "at seq 1000: kill for 200ms"},
	Stop:            {"stop", "stop [for DURATION]", "stops the publisher, which says goodbye, and starts it again over its journal, at once or after so long", "at seq 1000: stop for 200ms"},
	Restart:         {"restart", "restart [over journal|copy|none]", "stops the publisher and starts it again over its journal (the default), over the copy that copy journal made (numbers after it are disowned), or over no journal (another session, with nothing in common)", "at seq 1000: restart"},
	CopyJournal:     {"copy journal", "copy journal", "keeps a copy of the publisher's journal for restart over copy", "at seq 500: copy journal"},
	Freeze:          {"freeze", "freeze for DURATION", "suspends the publisher, as SIGSTOP does; its connections stay open, and nothing passes", "at seq 1000: freeze for 2s"},
	FillDisk:        {"disk full", "disk full for DURATION", "leaves no room on the disk of the journal: publishing waits, and heartbeats go on", "at seq 1000: disk full for 1s"},
}

// ofPublisher reports whether v happens to the publisher, which the lab must run itself. It then happens once for all
// clients: when the first of them meets the trigger.
func (v Verb) ofPublisher() bool { return v >= Kill && v <= FillDisk }

// ofPackets reports whether v happens to a packet; ofSnapshots, ofLogins and ofDials say the same of others.
func (v Verb) ofPackets() bool {
	switch v {
	case Drop, Repeat, Swap, Flip, Forge, Delay:
		return true
	}
	return false
}

func (v Verb) ofSnapshots() bool {
	return v == CutSnapshot || v == EndlessSnapshot || v == MoveSnapshot
}

func (v Verb) ofLogins() bool { return v == Refuse || v == SlowLogin || v == NoWelcome }

func (v Verb) ofDials() bool { return v == RefuseDials || v == HangDials }

// Bounds of a script.
const (
	MaxScript = 64 << 10 // bytes
	MaxRules  = 1000
	MaxFor    = 24 * time.Hour
	MinEvery  = 10 * time.Millisecond // between two faults by the clock
)

// A ScriptError is a mistake in a script.
type ScriptError struct {
	Name         string // of the script
	Line, Column int    // from 1
	Text         string
}

func (e *ScriptError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.Name, e.Line, e.Column, e.Text)
}

// Parse reads a script. Each line is a rule "[for WHO] TRIGGER: FAULT", "seed N", empty, or a comment that begins with #.
// name is for errors, which are of type *ScriptError.
func Parse(name string, text []byte) (*Script, error) {
	s := &Script{Seed: 1}
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // of an editor
	if len(text) > MaxScript {
		return nil, &ScriptError{name, 1, 1, fmt.Sprintf("the script has %d bytes, at most %d", len(text), MaxScript)}
	}
	n, seeded := 0, false
	for raw := range strings.Lines(string(text)) {
		n++
		line, _, _ := strings.Cut(strings.TrimRight(raw, "\r\n"), "#")
		p := parser{words: wordsOf(line), end: len([]rune(strings.TrimRight(line, " \t"))) + 1}
		if len(p.words) == 0 {
			continue
		}
		seeded = seeded || p.words[0].text == "seed"
		if err := p.line(s); err != nil {
			return nil, &ScriptError{name, n, p.column(), err.Error()}
		}
		if len(s.Rules) > 0 && s.Rules[len(s.Rules)-1].Line == 0 {
			r := s.Rules[len(s.Rules)-1]
			r.Line, r.Text, r.script = n, strings.TrimSpace(line), name
		}
		if len(s.Rules) > MaxRules {
			return nil, &ScriptError{name, n, 1, fmt.Sprintf("more than %d rules", MaxRules)}
		}
	}
	for _, r := range s.Rules {
		if seeded {
			r.seed = &s.Seed
		}
	}
	return s, nil
}

// A word is a word of a line. A colon at its end is a word of its own.
type word struct {
	text   string
	column int
}

func wordsOf(line string) (words []word) {
	column, start := 0, 0
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 {
			words = append(words, word{b.String(), start})
			b.Reset()
		}
	}
	for _, r := range line {
		column++
		switch r {
		case ' ', '\t':
			flush()
		case ':':
			flush()
			words = append(words, word{":", column})
		default:
			if b.Len() == 0 {
				start = column
			}
			b.WriteRune(r)
		}
	}
	flush()
	return words
}

// A parser reads the words of one line.
type parser struct {
	words []word
	at    int
	end   int // column after the line
}

// column is where the parser stands, for an error.
func (p *parser) column() int {
	if p.at > 0 {
		return p.words[p.at-1].column
	}
	return 1
}

// next returns the next word, or "" at the end of the line.
func (p *parser) next() string {
	if p.at == len(p.words) {
		p.words = append(p.words, word{"", p.end})
	}
	p.at++
	return p.words[p.at-1].text
}

func (p *parser) peek() string {
	if p.at == len(p.words) {
		return ""
	}
	return p.words[p.at].text
}

// accept consumes text if it comes next.
func (p *parser) accept(text string) bool {
	if p.peek() != text {
		return false
	}
	p.at++
	return true
}

func (p *parser) line(s *Script) error {
	if p.accept("seed") {
		n, err := p.number("seed", 0, math.MaxUint64)
		s.Seed = n
		if err == nil && p.next() != "" {
			return fmt.Errorf("nothing may follow the seed")
		}
		return err
	}
	r := &Rule{}
	if p.accept("for") {
		if err := p.who(&r.Who); err != nil {
			return err
		}
	}
	if err := p.trigger(&r.Trigger); err != nil {
		return err
	}
	if w := p.next(); w != ":" {
		return fmt.Errorf("a colon and a fault must follow the trigger, got %q", w)
	}
	if p.peek() != "" {
		r.column = p.words[p.at].column
	}
	if err := p.fault(&r.Fault); err != nil {
		return err
	}
	if w := p.next(); w != "" {
		return fmt.Errorf("%q is too much: %s", w, Verbs[r.Fault.Verb].Usage)
	}
	if err := suits(r); err != nil {
		return err
	}
	s.Rules = append(s.Rules, r)
	return nil
}

// suits refuses a fault that cannot happen at its trigger.
func suits(r *Rule) error {
	v, w := r.Fault.Verb, r.Trigger.When
	switch usage := Verbs[v].Word; {
	case v.ofLogins() && w != AtLogin && w != ByHand:
		return fmt.Errorf("%s happens at a login: write \"at login N: %s\"", usage, usage)
	case v.ofSnapshots() && w != AtSnapshot && w != ByHand:
		return fmt.Errorf("%s happens at a snapshot: write \"at snapshot N: %s\"", usage, usage)
	case v.ofDials() && w != AtTime && w != EveryTime && w != ByHand:
		return fmt.Errorf("%s happens at a time: write \"at 5s: %s 1s\"", usage, usage)
	case v.ofPublisher() && r.Who != (Who{}) && (r.Trigger.timed() || w == ByHand):
		return fmt.Errorf("%s happens to the publisher, and no client triggers it: leave out \"for\"", usage)
	case v.ofPackets() && (w == AtLogin || w == AtSnapshot):
		return fmt.Errorf("%s happens to a packet, and there is none at %s", usage, Triggers[w].Word)
	}
	return nil
}

func (p *parser) who(w *Who) error {
	text := p.next()
	switch {
	case text == "" || text == ":":
		return fmt.Errorf("for must be followed by a client name or a share, as in \"for probe-*\" or \"for 10%%\"")
	case strings.HasSuffix(text, "%"):
		share, err := percent(text)
		w.Share = share
		return err
	}
	if _, err := path.Match(text, ""); err != nil {
		return fmt.Errorf("pattern %q: %w", text, err)
	}
	w.Name = text
	return nil
}

func percent(text string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil || !(v > 0 && v <= 100) {
		return 0, fmt.Errorf("%q must be more than 0%% and at most 100%%", text)
	}
	return v / 100, nil
}

func (p *parser) trigger(t *Trigger) (err error) {
	switch word := p.next(); word {
	case "at":
		switch what := p.peek(); what {
		case "seq", "login", "packet", "snapshot", "live":
			p.next()
			t.When = map[string]When{"seq": AtSeq, "login": AtLogin, "packet": AtPacket, "snapshot": AtSnapshot, "live": AtLive}[what]
			t.N, err = p.number("at "+what, 1, codec.MaxSeq)
		default:
			t.When = AtTime
			t.After, err = p.duration("at")
		}
	case "every":
		if p.accept("seq") {
			t.When = EverySeq
			t.N, err = p.number("every seq", 1, codec.MaxSeq)
			break
		}
		t.When = EveryTime
		if t.After, err = p.duration("every"); err == nil && t.After < MinEvery {
			err = fmt.Errorf("every must be followed by at least %v, got %v", MinEvery, t.After)
		}
	case "with":
		t.When = WithChance
		text := p.next()
		if !strings.HasSuffix(text, "%") {
			return fmt.Errorf("with must be followed by a share, as in \"with 0.1%%\", got %q", text)
		}
		t.Chance, err = percent(text)
	case "on":
		t.When, t.Name = ByHand, p.next()
		if t.Name == "" || t.Name == ":" {
			return fmt.Errorf("on must be followed by a name")
		}
	default:
		return fmt.Errorf("a rule begins with for, at, every, with or on, got %q", word)
	}
	return err
}

func (p *parser) number(what string, least, most uint64) (uint64, error) {
	text := p.next()
	n, err := strconv.ParseUint(strings.ReplaceAll(text, "_", ""), 10, 64)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%s must be followed by a number of at least %d and at most %d, got %q", what, least, most, text)
	}
	return n, nil
}

func (p *parser) duration(what string) (time.Duration, error) {
	text := p.next()
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > MaxFor {
		return 0, fmt.Errorf("%s must be followed by a duration such as 200ms or 5s, at most %v, got %q", what, MaxFor, text)
	}
	return d, nil
}

func (p *parser) fault(f *Fault) (err error) {
	first := p.next()
	// The longest word that fits: "cut snapshot" before "cut".
	v, found := Verb(0), false
	for i := range Verbs {
		words := strings.Fields(Verbs[i].Word)
		if words[0] != first || len(words) > 1 && p.peek() != words[1] {
			continue
		}
		if !found || len(words) > 1 {
			v, found = Verb(i), true
		}
	}
	if !found {
		return fmt.Errorf("there is no fault %q: %s", first, strings.Join(Words(), ", "))
	}
	if strings.Contains(Verbs[v].Word, " ") {
		p.next()
	}
	f.Verb = v
	switch v {
	case Cut:
		f.How, err = p.choice("fin", "fin", "rst", "inside")
	case HalfOpen:
		f.How, err = p.choice("", "in", "out")
	case Drop:
		f.How, err = p.choice("packet", "packet", "tick")
	case Stall, Delay, MuteHeartbeats, MuteData, IgnorePulses, SlowLogin, RefuseDials, HangDials:
		f.For, err = p.duration(Verbs[v].Word)
	case Kill, Stop:
		if p.peek() != "" {
			f.For, err = p.span(v)
		}
	case Freeze, FillDisk:
		f.For, err = p.span(v)
	case Restart:
		f.How = "journal"
		if p.peek() != "" {
			if w := p.next(); w != "over" {
				return fmt.Errorf("want \"over\", got %q", w)
			}
			f.How, err = p.choice("", "journal", "copy", "none")
		}
	case Slow:
		f.N, err = p.number("slow", 1, 1<<40)
	case Ahead, MoveSnapshot:
		f.N, err = p.number(Verbs[v].Word, 1, codec.MaxSeq)
	case Refuse, SayGoodbye:
		err = p.farewell(f)
	}
	return err
}

// span reads "for DURATION".
func (p *parser) span(v Verb) (time.Duration, error) {
	if w := p.next(); w != "for" {
		return 0, fmt.Errorf("want \"for\" and a duration after %s, got %q", Verbs[v].Word, w)
	}
	return p.duration("for")
}

// Words lists the words of the faults.
func Words() (words []string) {
	for _, f := range Verbs {
		words = append(words, f.Word)
	}
	return words
}

// choice reads one of options, or returns standard if the line ends; standard "" means that one is needed.
func (p *parser) choice(standard string, options ...string) (string, error) {
	if p.peek() == "" && standard != "" {
		return standard, nil
	}
	if text := p.next(); slices.Contains(options, text) {
		return text, nil
	} else {
		return "", fmt.Errorf("%q must be %s", text, strings.Join(options, " or "))
	}
}

// farewell reads a code, and whether and when the client may try again.
func (p *parser) farewell(f *Fault) (err error) {
	name := p.next()
	if name == "bad" && p.accept("request") {
		name = "bad request"
	}
	for c := codec.CodeShutdown; c <= codec.CodeDone; c++ {
		if c.String() == name {
			f.Code = c
		}
	}
	if f.Code == 0 {
		n, err := strconv.ParseUint(name, 10, 8)
		if err != nil || n == 0 {
			return fmt.Errorf("%q is no code: shutdown, busy, version, unauthorized, protocol, bad request, slow, silent, internal, done, or a number from 1 to 255", name)
		}
		f.Code = codec.Code(n)
	}
	f.Retry, f.ForTimes = true, 1
	switch {
	case p.accept("retry"):
		f.RetryIn, err = p.duration("retry")
	case p.accept("for"):
		f.Retry = false
		if w := p.next(); w != "good" {
			return fmt.Errorf("want \"for good\", got %q", w)
		}
	}
	if err == nil && f.Verb == Refuse && p.peek() != "" {
		f.ForTimes, err = p.number("refuse", 1, 1_000_000)
		if w := p.next(); err == nil && w != "times" {
			return fmt.Errorf("want \"times\" after the number, got %q", w)
		}
	}
	return err
}
