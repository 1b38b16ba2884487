package lab

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"tickfeed/codec"
	"tickfeed/feed/script"
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
	return &ScriptError{Name: r.script, Line: max(r.Line, 1), Column: max(r.column, 1), Text: text}
}

// Scripts are those of package script, whose rules say when something happens and to whom.
type (
	Who         = script.Who
	When        = script.When
	Trigger     = script.Trigger
	ScriptError = script.Error
)

// The triggers.
const (
	AtSeq      = script.AtSeq
	EverySeq   = script.EverySeq
	AtLogin    = script.AtLogin
	AtPacket   = script.AtPacket
	AtSnapshot = script.AtSnapshot
	AtLive     = script.AtLive
	AtEnd      = script.AtEnd
	WithChance = script.WithChance
	AtTime     = script.AtTime
	EveryTime  = script.EveryTime
	ByHand     = script.ByHand
)

// Triggers documents the triggers of faults, in the order of When.
var Triggers = script.Triggers[:script.AtClock]

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
	StaleSnapshot
	Expire
	SayGoodbye
	EndSession
	Garbage
	RestartSession
	RewindSession
	ReplaceSession
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
	How      string        // of Cut: fin, rst or inside; of HalfOpen: in or out; of faults of packets: packet or tick; of Restart: what it is over
	For      time.Duration // duration
	N        uint64        // of Drop: packets, 0 for one; of Ahead, MoveSnapshot, StaleSnapshot, Expire and RewindSession: numbers; of Slow: bytes per second
	Code     codec.Code    // of Refuse and SayGoodbye
	Retry    bool          // of Refuse and SayGoodbye
	RetryIn  time.Duration // of Refuse and SayGoodbye
	ForTimes uint64        // of Refuse: how many logins in a row; of EndSession: how many ends; at least 1
}

// A class is what a fault happens to.
type class uint8

const (
	ofConnections class = iota
	ofPackets           // at a number, a packet or by chance
	ofSnapshots
	ofLogins
	ofDials     // by the clock
	ofSessions  // makes up a session, once for all clients, for any publisher
	ofPublisher // which the lab must run itself; once for all clients, when the first of them meets the trigger
)

// faults has the class and the documentation of each verb. doc.go says what else to touch to add one.
var faults = [verbs]struct {
	class
	script.Form
}{
	Cut:             {ofConnections, script.Form{"cut", "cut [fin|rst|inside]", "ends the connection: in order (fin, the default), by a reset, which also throws away what the client has not read yet, or in the middle of a message", "at seq 1000: cut rst"}},
	Stall:           {ofConnections, script.Form{"stall", "stall DURATION", "passes nothing in either direction for so long", "at 5s: stall 2s"}},
	HalfOpen:        {ofConnections, script.Form{"half-open", "half-open in|out", "from now on drops what the client should receive (in), or what it sends (out); TCP stays open", "at seq 500: half-open in"}},
	Slow:            {ofConnections, script.Form{"slow", "slow RATE", "passes at most RATE bytes a second to the client from now on", "at login 1: slow 20000"}},
	Drop:            {ofPackets, script.Form{"drop", "drop [packet|tick|N packets]", "leaves out a packet, one tick, or several packets in a row: what follows does not join", "with 0.1%: drop packet"}},
	Repeat:          {ofPackets, script.Form{"repeat", "repeat [packet|tick]", "sends a packet, or one tick, twice", "at packet 4: repeat"}},
	Swap:            {ofPackets, script.Form{"swap", "swap [packet|tick]", "sends a packet, or one tick, after the one that follows it", "at packet 4: swap"}},
	Flip:            {ofPackets, script.Form{"flip", "flip [packet|tick]", "flips a bit of a packet, or of one tick: its checksum is wrong", "at packet 4: flip"}},
	Forge:           {ofPackets, script.Form{"forge", "forge [packet|tick]", "moves a packet, or one tick, by one number and seals it again: only the sequence shows it", "at packet 4: forge"}},
	Delay:           {ofPackets, script.Form{"delay", "delay [packet|tick] DURATION", "passes a packet, or one tick, so much later, and all that follow it", "with 1%: delay 5ms"}},
	MuteHeartbeats:  {ofConnections, script.Form{"mute heartbeats", "mute heartbeats DURATION", "drops heartbeats for so long; data flows", "at seq 100: mute heartbeats 1s"}},
	MuteData:        {ofConnections, script.Form{"mute data", "mute data DURATION", "holds back data for so long; heartbeats flow", "at seq 100: mute data 1s"}},
	Ahead:           {ofConnections, script.Form{"ahead", "ahead N", "sends a heartbeat that covers N numbers that were not sent", "at seq 100: ahead 5"}},
	IgnorePulses:    {ofConnections, script.Form{"ignore pulses", "ignore pulses DURATION", "drops the pulses of the client for so long", "at login 1: ignore pulses 5s"}},
	Refuse:          {ofLogins, script.Form{"refuse", "refuse CODE [retry DURATION|for good] [N times]", "answers the hello with a refusal", "at login 2: refuse busy retry 200ms 3 times"}},
	SlowLogin:       {ofLogins, script.Form{"slow login", "slow login DURATION", "passes the hello on, and so gets the welcome, so much later", "at login 1: slow login 2s"}},
	NoWelcome:       {ofLogins, script.Form{"no welcome", "no welcome", "never answers the hello", "at login 1: no welcome"}},
	CutSnapshot:     {ofSnapshots, script.Form{"cut snapshot", "cut snapshot", "cuts the connection after the first part of a snapshot", "at snapshot 1: cut snapshot"}},
	EndlessSnapshot: {ofSnapshots, script.Form{"endless snapshot", "endless snapshot", "leaves out the end of a snapshot", "at snapshot 1: endless snapshot"}},
	MoveSnapshot:    {ofSnapshots, script.Form{"move snapshot", "move snapshot N", "says that a snapshot is as of N numbers earlier", "at snapshot 1: move snapshot 1"}},
	StaleSnapshot:   {ofSnapshots, script.Form{"stale snapshot", "stale snapshot N", "sends the snapshot of N numbers earlier, whole, instead of the one that is due", "at snapshot 1: stale snapshot 10"}},
	Expire:          {ofLogins, script.Form{"expire", "expire N", "says that the publisher has removed the N numbers that follow the client's position: retention has overtaken the client", "at login 2: expire 50"}},
	SayGoodbye:      {ofConnections, script.Form{"goodbye", "goodbye CODE [retry DURATION|for good]", "sends a goodbye and ends the connection", "at seq 1000: goodbye shutdown retry 100ms"}},
	EndSession:      {ofConnections, script.Form{"end", "end [N times]", "says that the session has ended, at the number that the line has reached, once or more often", "at seq 1000: end"}},
	Garbage:         {ofConnections, script.Form{"garbage", "garbage", "sends bytes that are no message", "at seq 1000: garbage"}},
	RestartSession:  {ofSessions, script.Form{"restart session", "restart session", "says that the publisher has started again: connections end, and from this number on another session follows; a client that was ahead of it disowns what it has beyond", "at seq 1000: restart session"}},
	RewindSession:   {ofSessions, script.Form{"rewind session", "rewind session N", "says that the publisher has started again over an old copy: connections end, and another session begins N numbers before this one, which are disowned and come again", "at seq 1000: rewind session 50"}},
	ReplaceSession:  {ofSessions, script.Form{"replace session", "replace session", "says that another publisher has taken the place of this one: connections end, and nothing is common with the session that follows, which has the same numbers from 1", "at seq 1000: replace session"}},
	RefuseDials:     {ofDials, script.Form{"refuse dials", "refuse dials DURATION", "closes new connections at once for so long", "at 5s: refuse dials 1s"}},
	HangDials:       {ofDials, script.Form{"hang dials", "hang dials DURATION", "accepts new connections for so long and does nothing with them", "at 5s: hang dials 1s"}},
	Kill:            {ofPublisher, script.Form{"kill", "kill [for DURATION]", "ends the publisher as kill -9 does, and starts it again over its journal, at once or after so long", "at seq 1000: kill for 200ms"}},
	Stop:            {ofPublisher, script.Form{"stop", "stop [for DURATION]", "stops the publisher, which sends what it has published, says goodbye, and starts again over its journal, at once or after so long", "at seq 1000: stop for 200ms"}},
	Restart:         {ofPublisher, script.Form{"restart", "restart [over journal|copy|none]", "stops the publisher as stop does, and starts it again over its journal (the default), over the copy that copy journal made (numbers after it are disowned), or over no journal (another session, with nothing in common)", "at seq 1000: restart"}},
	CopyJournal:     {ofPublisher, script.Form{"copy journal", "copy journal", "keeps a copy of the publisher's journal for restart over copy", "at seq 500: copy journal"}},
	Freeze:          {ofPublisher, script.Form{"freeze", "freeze for DURATION", "suspends the publisher, as SIGSTOP does; its connections stay open, and nothing passes", "at seq 1000: freeze for 2s"}},
	FillDisk:        {ofPublisher, script.Form{"disk full", "disk full for DURATION", "leaves no room on the disk of the journal: publishing waits, and heartbeats go on", "at seq 1000: disk full for 1s"}},
}

// Verbs documents the faults, in the order of Verb.
var Verbs = func() (list [verbs]script.Form) {
	for v := range faults {
		list[v] = faults[v].Form
	}
	return list
}()

// is reports whether v happens to c.
func (v Verb) is(c class) bool { return faults[v].class == c }

// spoils reports whether v spoils packets, so that a right client ends the connection.
func (v Verb) spoils() bool { return v.is(ofPackets) && v != Delay }

// MaxScript bounds a script, in bytes.
const MaxScript = script.MaxScript

// Language is the rules that make faults.
var Language = &script.Language{Noun: "fault", Verbs: Verbs[:], Parse: parseFault, Suits: suits}

// Parse reads a script of faults. Each line is a rule "[for WHO] TRIGGER: FAULT", "seed N", empty, or a comment that begins with #.
// name is for errors, which are of type *ScriptError.
func Parse(name string, text []byte) (*Script, error) {
	s, err := script.Parse(name, text, Language)
	if err != nil {
		return nil, err
	}
	return FaultsOf(s), nil
}

// FaultsOf returns the rules of s that make faults.
func FaultsOf(s *script.Script) *Script {
	faults := &Script{Seed: s.Seed}
	for _, r := range s.Rules {
		f, ok := r.Does.(Fault)
		if !ok {
			continue
		}
		rule := &Rule{Line: r.Line, Text: r.Text, Who: r.Who, Trigger: r.Trigger, Fault: f, script: r.Name, column: r.Column}
		if s.Seeded {
			rule.seed = &faults.Seed
		}
		faults.Rules = append(faults.Rules, rule)
	}
	return faults
}

// suits refuses a fault that cannot happen at its trigger.
func suits(r *script.Rule) error {
	v, w := r.Does.(Fault).Verb, r.Trigger.When
	word, example := Verbs[v].Word, Verbs[v].Example
	switch {
	case w == script.AtClock:
		return fmt.Errorf("at a time of day only events of the market happen, and %s is a fault: write, for example, %q", word, example)
	case v.is(ofLogins) && w != AtLogin && w != ByHand:
		return fmt.Errorf("%s happens at a login: write, for example, %q", word, example)
	case v.is(ofSnapshots) && w != AtSnapshot && w != ByHand:
		return fmt.Errorf("%s happens at a snapshot: write, for example, %q", word, example)
	case v.is(ofDials) && w != AtTime && w != EveryTime && w != ByHand:
		return fmt.Errorf("%s happens at a time: write, for example, %q", word, example)
	case v.is(ofPublisher) && r.Who != (Who{}) && (r.Trigger.Timed() || w == ByHand):
		return fmt.Errorf("%s happens to the publisher, and no client triggers it: leave out \"for\"", word)
	case v.is(ofPackets) && (w == AtLogin || w == AtSnapshot || w == AtEnd):
		return fmt.Errorf("%s happens to a packet, and there is none %s", word, script.Triggers[w].Word)
	}
	return nil
}

// parseFault reads what follows the words of a verb.
func parseFault(p *script.Parser, verb int) (any, error) {
	f := Fault{Verb: Verb(verb)}
	err := readFault(p, &f)
	return f, err
}

func readFault(p *script.Parser, f *Fault) (err error) {
	v := f.Verb
	switch v {
	case Cut:
		f.How, err = p.Choice("fin", "fin", "rst", "inside")
	case HalfOpen:
		f.How, err = p.Choice("", "in", "out")
	case Drop:
		switch p.Peek() {
		case "", "packet", "tick":
			f.How, err = p.Choice("packet", "packet", "tick")
		default:
			f.How = "packet"
			if f.N, err = p.Number("drop", 1, 1_000_000); err == nil && !p.Accept("packets") {
				return fmt.Errorf("want \"packets\" after the number, got %q", p.Next())
			}
		}
	case Repeat, Swap, Flip, Forge:
		f.How, err = p.Choice("packet", "packet", "tick")
	case Delay:
		if f.How = "packet"; p.Accept("tick") {
			f.How = "tick"
		} else {
			p.Accept("packet")
		}
		f.For, err = p.Duration("delay")
	case EndSession:
		if f.ForTimes = 1; p.Peek() != "" {
			err = times(p, f)
		}
	case Stall, MuteHeartbeats, MuteData, IgnorePulses, SlowLogin, RefuseDials, HangDials:
		f.For, err = p.Duration(Verbs[v].Word)
	case Kill, Stop:
		if p.Peek() != "" {
			f.For, err = span(p, v)
		}
	case Freeze, FillDisk:
		f.For, err = span(p, v)
	case Restart:
		f.How = "journal"
		if p.Peek() != "" {
			if w := p.Next(); w != "over" {
				return fmt.Errorf("want \"over\", got %q", w)
			}
			f.How, err = p.Choice("", "journal", "copy", "none")
		}
	case Slow:
		f.N, err = p.Number("slow", 1, 1<<40)
	case Ahead, MoveSnapshot, StaleSnapshot, Expire, RewindSession:
		f.N, err = p.Number(Verbs[v].Word, 1, codec.MaxSeq)
	case Refuse, SayGoodbye:
		err = farewell(p, f)
	}
	return err
}

// span reads "for DURATION".
func span(p *script.Parser, v Verb) (time.Duration, error) {
	if w := p.Next(); w != "for" {
		return 0, fmt.Errorf("want \"for\" and a duration after %s, got %q", Verbs[v].Word, w)
	}
	return p.Duration("for")
}

// farewell reads a code, and whether and when the client may try again.
func farewell(p *script.Parser, f *Fault) (err error) {
	name := p.Next()
	if name == "bad" && p.Accept("request") {
		name = "bad request"
	}
	if n, err := strconv.ParseUint(name, 10, 8); err == nil && n > 0 {
		f.Code = codec.Code(n)
	} else if err := f.Code.UnmarshalText([]byte(name)); err != nil {
		return fmt.Errorf("%w: want a code, or its number from 1 to 255", err)
	}
	f.Retry, f.ForTimes = true, 1
	const both = "retry and for good exclude each other: after \"for good\" the client must not connect again"
	switch {
	case p.Accept("retry"):
		if f.RetryIn, err = p.Duration("retry"); err == nil && p.Accept("for") {
			return errors.New(both)
		}
	case p.Accept("for"):
		f.Retry = false
		if w := p.Next(); w != "good" {
			return fmt.Errorf("want \"for good\", got %q", w)
		}
		if p.Accept("retry") {
			return errors.New(both)
		}
	}
	if err == nil && f.Verb == Refuse && p.Peek() != "" {
		err = times(p, f)
	}
	return err
}

// times reads "N times".
func times(p *script.Parser, f *Fault) (err error) {
	if f.ForTimes, err = p.Number(Verbs[f.Verb].Word, 1, 1_000_000); err != nil {
		return err
	}
	if w := p.Next(); w != "times" {
		return fmt.Errorf("want \"times\" after the number, got %q", w)
	}
	return nil
}
