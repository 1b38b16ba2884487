package exam

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/lab"
	"tickfeed/feed"
)

// A judge compares what a client printed in a Drive with what was published. It keeps its own account, number by number.
type judge struct {
	d      *Drive
	beat   time.Duration
	script *lab.Script
	truth  *truth
	sight  *sight

	line      int
	session   feed.SessionID
	next      uint64 // the number that must come next
	known     bool   // session and next are known
	fork      uint64 // the numbers from here on must be disowned now; 0 for none
	narrowed  uint64 // the first number that the line lacked because the client may not see it; 0 before
	connected bool
	attempts  []uint64 // the position of the client when it said each hello; 0 if it had none
	again     bool     // the client was killed and started again: its hellos can no longer be counted
	causes    []string
	totals    map[string]uint64
	sets      map[string]*feed.RangeSet // what totals count of the present account
	state     map[string]int64          // last bid by symbol
	entries   map[string]int64          // of the snapshot that is being printed
	ended     bool
	left      bool
	final     map[string]int64
}

// all judges the lines of the first process, which was killed, if there was one, and of the last. err says why the case ended
// before the client had done everything; nil if it had. late reports whether the fault may be one of time alone.
func (j *judge) all(before, lines []string, err error) (fault *Fault, late bool) {
	fault, recent := j.lines(before, lines)
	text := ""
	switch {
	case errors.Is(err, errTooOften):
		text, err = j.tooOften()+"; "+j.where(len(before)+len(lines)), nil
	case fault == nil && err == nil:
		text = j.end()
	case fault == nil:
		text, err = err.Error()+"; "+j.where(len(before)+len(lines)), nil
	}
	switch {
	case fault == nil && text == "":
		return nil, false
	case fault == nil:
		fault = &Fault{Text: text, Before: recent}
	case err != nil:
		fault.Text += "; " + err.Error()
	}
	return fault, j.late() || fault.Text == noGoodbye // a client does not wait for long to send it
}

// where says how far n lines of a client have come, for people.
func (j *judge) where(n int) string {
	switch {
	case n == 0:
		return "it has printed nothing"
	case !j.known:
		return `its output has no event "connected"`
	}
	return fmt.Sprintf("its output accounts for the numbers below %d", j.next)
}

// lines judges each line, and returns the last ones that were right.
func (j *judge) lines(before, lines []string) (fault *Fault, recent []string) {
	j.totals, j.state, j.final = map[string]uint64{}, map[string]int64{}, map[string]int64{}
	j.account()
	process := func(lines []string, killed bool) *Fault {
		for i, line := range lines {
			j.line = i + 1
			o, err := parseLine(line)
			if err != nil && killed && i == len(lines)-1 {
				break // a line that the kill cut
			}
			if err != nil {
				return &Fault{Line: j.line, Text: notJSON(err), Got: line, Before: recent}
			}
			if text := j.read(o); text != "" {
				return &Fault{Line: j.line, Text: text, Got: line, Before: recent}
			}
			recent = append(recent[max(0, len(recent)-around+1):], line)
		}
		return nil
	}
	if len(before) > 0 {
		if f := process(before, true); f != nil {
			return f, nil
		}
		j.restart()
	}
	return process(lines, false), recent
}

// account begins the account of another numbering.
func (j *judge) account() {
	j.sets = map[string]*feed.RangeSet{"delivered": {}, "lost": {}, "withheld": {}}
}

// count notes what became of numbers.
func (j *judge) count(what string, r feed.Range) {
	j.totals[what] += r.Len()
	j.sets[what].Add(r)
}

// restart begins the lines of a client that was killed and started again: it may deliver again what it had not saved.
func (j *judge) restart() {
	j.connected, j.known, j.totals, j.again = false, false, map[string]uint64{}, true
	j.account()
}

// attempt notes that the client has said hello.
func (j *judge) attempt() {
	if j.again {
		return
	}
	next := uint64(0)
	if j.known {
		next = j.next
	}
	j.attempts = append(j.attempts, next)
}

// numberOf returns the number in field key of o.
func numberOf(o object, key string) (uint64, bool) {
	n, ok := o[key].(json.Number)
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseUint(n.String(), 10, 64)
	return v, err == nil
}

func sessionOf(o object) (id feed.SessionID) {
	text, _ := o["session"].(string)
	_ = id.UnmarshalText([]byte(text))
	return id
}

// read judges one line.
func (j *judge) read(o object) string {
	if o["sessions"] != nil {
		return ""
	}
	switch event, _ := o["event"].(string); event {
	case "":
		switch {
		case o["state"] == true:
			return j.entry(o, j.final)
		case o["snapshot"] == true:
			return j.entry(o, j.entries)
		}
		return j.tick(o)
	case "connected":
		return j.connect(o)
	case "disconnected":
		if cause, _ := o["cause"].(string); true {
			if code, ok := o["code"].(string); ok {
				cause += " " + code
			}
			j.causes = append(j.causes, cause)
		}
		if !j.connected { // refused, or cut before the welcome
			j.attempt()
		}
		j.connected = false
	case "snapshot":
		if j.fork > 0 {
			return j.notDisowned()
		}
		if seq, _ := numberOf(o, "seq"); j.known && seq != j.next {
			return fmt.Sprintf("the snapshot is as of %d, and the position is %d", seq, j.next)
		}
		j.entries = map[string]int64{}
	case "lost", "withheld":
		if !j.d.MayLose {
			return fmt.Sprintf("the client says that numbers are %s, and the publisher had every number", event)
		}
		return j.without(o, event)
	case "disowned":
		return j.disown(o)
	case "end":
		j.ended = true
		if final, _ := numberOf(o, "final"); final != j.truth.final && !j.madeUp() {
			return fmt.Sprintf(`"final" is %s, and the session ends at %d`, show(o["final"]), j.truth.final)
		}
	case "left":
		j.left = true
		for _, key := range []string{"delivered", "withheld", "lost", "disowned"} {
			if v, ok := numberOf(o, key); !ok || v != j.totals[key] {
				text := fmt.Sprintf("the total of %q is %s, and the lines before it come to %d", key, show(o[key]), j.totals[key])
				if j.totals["disowned"] > 0 && key != "disowned" {
					text += fmt.Sprintf(": the %d numbers that were disowned count as nothing else", j.totals["disowned"])
				}
				return text
			}
		}
		next, ok := numberOf(o, "next")
		if !ok || !j.known {
			break
		}
		if text := j.skip(next); text != "" { // numbers that the filter does not want may follow
			return text
		}
		if next != j.next {
			return fmt.Sprintf(`"next" is %d, and the lines before it account for the numbers below %d`, next, j.next)
		}
	}
	return ""
}

// madeUp reports whether the script ends a session that has not ended.
func (j *judge) madeUp() bool {
	return slices.ContainsFunc(j.sight.faults, func(e lab.Event) bool {
		return slices.ContainsFunc(j.script.Rules, func(r *lab.Rule) bool { return r.Line == e.Line && r.Fault.Verb == lab.EndSession })
	})
}

func (j *judge) connect(o object) string {
	if j.connected {
		return `the event "connected" comes a second time, without "disconnected" before it`
	}
	j.connected = true
	j.attempt()
	position, ok := numberOf(o, "position")
	if !ok {
		return `"position" is missing`
	}
	session := sessionOf(o)
	if j.truth.ticks[session] == nil {
		return j.noSession(o)
	}
	switch reason, _ := o["reason"].(string); {
	case !j.known, reason == "snapshot": // another account begins
		j.account()
		j.session, j.next, j.known = session, position, true
	case reason == "resumed":
		if text := j.skip(position); text != "" {
			return text
		}
		if position != j.next {
			return fmt.Sprintf("the client resumes at %d, and the lines before account for the numbers below %d", position, j.next)
		}
	case reason == "rewound" && position < j.next: // the line that disowns numbers follows
		j.fork = position
	}
	return ""
}

// wants reports whether the filter wants a tick.
func (j *judge) wants(t tickTruth) bool {
	return j.d.Filter.All() || j.d.Filter.Match(&feed.Definition{Symbol: t.symbol, Venue: "XNAS"})
}

// denies reports whether the client may not see a tick once the publisher has noticed that less is permitted.
func (j *judge) denies(t tickTruth) bool {
	return len(j.d.Permit) > 0 && !j.d.Permit.Match(&feed.Definition{Symbol: t.symbol, Venue: "XNAS"})
}

// skip passes over numbers up to seq that the filter does not want, or the client may not see. It returns a sentence if one is missing.
func (j *judge) skip(seq uint64) string {
	for ; j.next < seq; j.next++ {
		t, ok := j.lookup(j.session, j.next)
		switch {
		case !ok || !j.wants(t):
		case j.denies(t) && j.truth.permit > 0 && j.next >= j.truth.permit:
			if j.narrowed == 0 {
				j.narrowed = j.next
			}
		default:
			return fmt.Sprintf("number %d is missing: what follows begins at %d", j.next, seq)
		}
	}
	return ""
}

// lookup returns the tick with a number of session or, if it is of an older session, of the one that owns it.
func (j *judge) lookup(session feed.SessionID, seq uint64) (tickTruth, bool) {
	if t, ok := j.truth.ticks[session][seq]; ok {
		return t, ok
	}
	for _, s := range j.truth.sessions {
		if t, ok := j.truth.ticks[s][seq]; ok {
			return t, ok
		}
	}
	return tickTruth{}, false
}

func (j *judge) tick(o object) string {
	seq, ok := numberOf(o, "seq")
	if !ok {
		return "the line is neither an event nor a tick: seq is missing"
	}
	session := sessionOf(o)
	t, ok := j.truth.ticks[session][seq]
	switch {
	case j.truth.ticks[session] == nil:
		return j.noSession(o)
	case j.fork > 0:
		return j.notDisowned()
	case !ok:
		return fmt.Sprintf("number %d of session %v was never published", seq, session)
	case !j.known:
		return fmt.Sprintf(`number %d comes before the event "connected"`, seq)
	case !j.connected:
		return fmt.Sprintf(`number %d comes after "disconnected", and before the next "connected"`, seq)
	}
	j.session = session
	if seq < j.next {
		return fmt.Sprintf("number %d comes a second time, or out of order: %d is next", seq, j.next)
	}
	if text := j.skip(seq); text != "" {
		return text
	}
	if !j.wants(t) {
		return fmt.Sprintf("number %d is of %s, which was not asked for", seq, t.symbol)
	}
	if j.narrowed > 0 && j.denies(t) {
		return fmt.Sprintf("number %d is of %s, which the client may not see from number %d on: the publisher did not send it", seq, t.symbol, j.narrowed)
	}
	if symbol, _ := o["symbol"].(string); symbol != t.symbol {
		return fmt.Sprintf("number %d has the symbol %q, want %q", seq, symbol, t.symbol)
	}
	kind, _ := o["type"].(string)
	switch {
	case t.bid == 0 && kind != "definition", t.bid != 0 && kind != "quote":
		return fmt.Sprintf("number %d is of type %q", seq, kind)
	case t.bid != 0:
		if text := j.quote(o, t.symbol, t.bid); text != "" {
			return fmt.Sprintf("number %d: %s", seq, text)
		}
		j.state[t.symbol] = t.bid
	}
	j.next = seq + 1
	j.count("delivered", feed.Range{From: seq, To: seq + 1})
	return ""
}

// noSession says that the publisher never had the session of a line.
func (j *judge) noSession(o object) string {
	if o["session"] == nil {
		return `"session" is missing`
	}
	var all []string
	for _, s := range j.truth.sessions {
		all = append(all, s.String())
	}
	return fmt.Sprintf(`"session" is %s, and the publisher has only had %s`, show(o["session"]), strings.Join(all, ", "))
}

// quote compares the prices of a line with those of the quote whose bid is bid.
func (j *judge) quote(o object, symbol string, bid int64) string {
	scale := int64(1)
	if o["raw"] != true {
		scale = 100
	}
	for key, want := range map[string]int64{"bid": bid, "ask": bid + 1} {
		text := strconv.FormatInt(want, 10)
		if scale > 1 {
			text = fmt.Sprintf("%d.%02d", want/scale, want%scale)
		}
		if !equal(json.Number(text), o[key]) {
			return fmt.Sprintf("%q of %s is %s, want %s", key, symbol, show(o[key]), text)
		}
	}
	return ""
}

// entry judges an entry of a snapshot, or of the state at the end.
func (j *judge) entry(o object, into map[string]int64) string {
	symbol, _ := o["symbol"].(string)
	if !slices.Contains(driveSymbols, symbol) {
		return fmt.Sprintf("there is no instrument %q", symbol)
	}
	if o["type"] != "quote" || into == nil {
		return ""
	}
	bid, ok := numberOf(o, "bid")
	if o["raw"] != true || !ok {
		return ""
	}
	into[symbol] = int64(bid)
	if o["snapshot"] != true {
		return ""
	}
	want := int64(0) // the last quote of the symbol before the snapshot
	for seq := j.next; seq > 0 && want == 0; seq-- {
		if t, ok := j.truth.ticks[sessionOf(o)][seq-1]; ok && t.symbol == symbol {
			want = t.bid
		} else if t, ok := j.lookup(sessionOf(o), seq-1); ok && t.symbol == symbol {
			want = t.bid
		}
	}
	if want != int64(bid) && want != 0 {
		return fmt.Sprintf("the snapshot as of %d has the bid %d of %s, want %d", j.next, bid, symbol, want)
	}
	j.state[symbol] = int64(bid)
	return ""
}

// without accounts for numbers that are lost or withheld.
func (j *judge) without(o object, event string) string {
	from, ok1 := numberOf(o, "from")
	to, ok2 := numberOf(o, "to")
	if !ok1 || !ok2 || from >= to {
		return "the range is empty, or from or to is missing"
	}
	session := sessionOf(o)
	if session == j.session || from >= j.next {
		if from < j.next {
			return fmt.Sprintf("number %d is %s, and was delivered: %d is next", from, event, j.next)
		}
		if text := j.skip(from); text != "" {
			return text
		}
	}
	j.session, j.next = session, to
	j.count(event, feed.Range{From: from, To: to})
	return ""
}

// notDisowned says that the event "disowned" is missing.
func (j *judge) notDisowned() string {
	return fmt.Sprintf(`the event "disowned" from %d to %d is missing: the line begins again at %d, and the numbers from there on were delivered`, j.fork, j.next, j.fork)
}

// disown takes back numbers that were delivered.
func (j *judge) disown(o object) string {
	from, ok1 := numberOf(o, "from")
	to, ok2 := numberOf(o, "to")
	if !ok1 || !ok2 || from >= to {
		return "the range is empty, or from or to is missing"
	}
	if to != j.next {
		return fmt.Sprintf("numbers up to %d are disowned, and the client has those below %d", to, j.next)
	}
	if owner, _, ok := j.truth.lineage.Owner(from); !ok || owner.First != from {
		return fmt.Sprintf("numbers from %d on are disowned, and no session begins there", from)
	}
	j.next, j.fork = from, 0
	j.totals["disowned"] += to - from
	gone := feed.NewRangeSet(feed.Range{From: from, To: to})
	for what, set := range j.sets {
		j.totals[what] -= set.Intersect(gone).Len()
		*set = set.Minus(gone)
	}
	return ""
}

// end judges the whole.
func (j *judge) end() string {
	if j.d.Terminal {
		return j.seen()
	}
	switch {
	case !j.known:
		return `the output has no event "connected"`
	case !j.left:
		return missingLeft
	}
	if text := j.skip(j.truth.final); text != "" {
		return fmt.Sprintf("the output ends without number %d; the session ends at %d", j.next, j.truth.final)
	}
	if !j.ended {
		return `the event "end" is missing`
	}
	if len(j.final) > 0 {
		for _, symbol := range driveSymbols {
			if t := (tickTruth{symbol: symbol}); j.narrowed > 0 && j.denies(t) {
				if bid, ok := j.final[symbol]; ok {
					return fmt.Sprintf("the state at the end has the bid %d of %s, and the snapshot that followed the change of what the client may see lacks it", bid, symbol)
				}
				continue
			}
			if want := j.last(symbol); want != 0 && j.wants(tickTruth{symbol: symbol}) && j.final[symbol] != want {
				return fmt.Sprintf("the state at the end has the bid %d of %s, want %d", j.final[symbol], symbol, want)
			}
		}
	}
	return j.seen()
}

// last returns the last bid of symbol that was published and is not disowned.
func (j *judge) last(symbol string) int64 {
	for seq := j.truth.final; seq > 1; seq-- {
		owner, _, ok := j.truth.lineage.Owner(seq - 1)
		if !ok {
			return 0
		}
		if t, ok := j.truth.ticks[owner.ID][seq-1]; ok && t.symbol == symbol && t.bid != 0 {
			return t.bid
		}
	}
	return 0
}

// seen judges what the client sent, and when.
func (j *judge) seen() string {
	d, s := j.d, j.sight
	if d.Causes != nil && !slices.Equal(d.Causes, j.causes) {
		return fmt.Sprintf("the causes of its disconnects are %q, want %q", j.causes, d.Causes)
	}
	if text := j.tooOften(); text != "" {
		return text
	}
	if text := j.patient(); text != "" {
		return text
	}
	if got, want := j.pulses(); got < want {
		return fmt.Sprintf("the client sent %d pulses on its first connection, want at least %d: one each %v", got, want, j.beat)
	}
	if d.Within > 0 {
		for _, f := range s.faults {
			i := slices.IndexFunc(s.hellos, func(h lab.Heard) bool { return h.Time.After(f.Time) })
			if i < 0 {
				return fmt.Sprintf("the client has not come back after %q", f.Fault)
			}
			if gap := s.hellos[i].Time.Sub(f.Time); gap > d.Within+3*j.beat {
				return fmt.Sprintf("the client comes back %v after %q, want at most %v", gap.Round(time.Millisecond), f.Fault, d.Within+3*j.beat)
			}
		}
	}
	wants := j.attempts
	if s.turned > 0 { // their clients may or may not have printed that; at least the position did not change meanwhile
		wants = slices.Compact(slices.Clone(wants))
	}
	for i, h := range s.hellos {
		held := h.Message.(*codec.Hello).Position
		if i > 0 && len(wants) > 0 && (s.turned == 0 || held.Next != wants[0]) {
			wants = wants[1:]
		}
		if len(wants) == 0 {
			break
		}
		switch want := wants[0]; {
		case want == 0 || held.Next == want && len(held.Lineage) > 0:
		case len(held.Lineage) == 0:
			return fmt.Sprintf("hello %d has no position, and the client has printed every number below %d", i+1, want)
		case held.Next < want || d.Filter.All() && len(d.Permit) == 0:
			return fmt.Sprintf("hello %d has the position %d, and the client has printed every number below %d", i+1, held.Next, want)
		}
	}
	if !d.Terminal && len(s.goodbyes) == 0 {
		return noGoodbye
	}
	return ""
}

const noGoodbye = "the client has not said goodbye when it left"

// tooOften reports a client that said hello more often, or less often, than it may.
func (j *judge) tooOften() string {
	n, least, most := len(j.sight.hellos), j.d.Logins[0], j.d.Logins[1]
	if most == 0 || n >= least && n <= most {
		return ""
	}
	return fmt.Sprintf("the client has said hello %d times; it must do so %s", n, times(least, most))
}

// pulses returns how many pulses the client sent on its first connection, and the least number that it must send.
func (j *judge) pulses() (got, want int) {
	if len(j.sight.hellos) == 0 {
		return 0, 0
	}
	return j.sight.pulses[j.sight.hellos[0].Connection], j.d.Pulses * int(driveBeat/time.Millisecond) / int(j.beat/time.Millisecond)
}

// late reports whether the client sent too few pulses, or the client or its publisher was taken for dead where the case does
// not provide for it: that can be the machine's fault.
func (j *judge) late() bool {
	if got, want := j.pulses(); got < want {
		return true
	}
	if len(j.sight.hellos) < j.d.Logins[0] && slices.ContainsFunc(j.script.Rules, func(r *lab.Rule) bool { return r.Fault.Verb == lab.HalfOpen }) {
		return true // the session was over before either side noticed
	}
	return silences(j.causes) > silences(j.d.Causes)
}

// silences counts the causes that say that somebody was taken for dead.
func silences(causes []string) (n int) {
	for _, c := range causes {
		if strings.HasSuffix(c, "silent") {
			n++
		}
	}
	return n
}

// early is how much sooner than it was asked to a client may come back: clocks are read on both sides.
const early = 5 * time.Millisecond

// patient reports a client that came back before it was asked to, or although it must not.
func (j *judge) patient() string {
	for _, f := range j.sight.faults {
		i := slices.IndexFunc(j.script.Rules, func(r *lab.Rule) bool { return r.Line == f.Line })
		if i < 0 {
			continue
		}
		fault := j.script.Rules[i].Fault
		if fault.Verb != lab.Refuse && fault.Verb != lab.SayGoodbye {
			continue
		}
		for _, h := range j.sight.hellos {
			gap := h.Time.Sub(f.Time)
			switch {
			case gap <= 0:
			case !fault.Retry:
				return fmt.Sprintf("the client came back %v after %q, which says that it must not", gap.Round(time.Millisecond), f.Fault)
			case gap < fault.RetryIn-early:
				return fmt.Sprintf("the client came back %v after %q, want at least %v", gap.Round(time.Millisecond), f.Fault, fault.RetryIn)
			}
		}
	}
	return ""
}
