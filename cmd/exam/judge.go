package exam

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"

	"tickfeed/feed"
)

// A Fault is the first difference between what a client printed and what a right client prints.
type Fault struct {
	Line   int      `json:"line"`             // of the output of the client, from 1; 0 if the fault is in no line
	Text   string   `json:"text"`             // a sentence for the author
	Want   string   `json:"want,omitempty"`   // the line of a right client
	Got    string   `json:"got,omitempty"`    // the line of the client
	Before []string `json:"before,omitempty"` // the last lines that were right
}

func (f *Fault) Error() string { return f.Text }

// around is how many right lines a Fault shows before the wrong one.
const around = 3

// Judge compares got, the lines that a client printed, with want, those of a right client, in order. It compares lines
// as JSON values and ignores fields that are not expected, "saved" events, the state at the end and the ledger where want
// has none. It returns nil if got is right.
func Judge(want, got []string) *Fault {
	expected := make([]object, 0, len(want))
	states, ledger := false, false
	for _, line := range want {
		o, err := parseLine(line)
		if err != nil {
			panic("exam: internal error: expected line " + line + ": " + err.Error())
		}
		states = states || o["state"] == true
		ledger = ledger || o["sessions"] != nil
		expected = append(expected, o)
	}
	var before []string
	next := 0
	for i, line := range got {
		if strings.TrimSpace(line) == "" {
			continue
		}
		o, err := parseLine(line)
		if err != nil {
			f := &Fault{Line: i + 1, Text: notJSON(err), Got: line, Before: before}
			if len(expected) > next {
				f.Want = want[next]
			}
			return f
		}
		if o["event"] == "saved" || o["state"] == true && !states || o["sessions"] != nil && !ledger {
			continue
		}
		if next == len(expected) {
			return &Fault{Line: i + 1, Text: "the line is one too many: a right client has ended here", Got: line, Before: before}
		}
		if text := differs(expected[next], o); text != "" {
			return &Fault{Line: i + 1, Text: text, Want: want[next], Got: line, Before: before}
		}
		next++
		before = append(before[max(0, len(before)-around+1):], line)
	}
	if next < len(expected) {
		missing := "1 line"
		if n := len(expected) - next; n > 1 {
			missing = fmt.Sprint(n, " lines")
		}
		text := fmt.Sprintf("the output ends %s too early; %s", missing, kindOf(expected[next]))
		if next == 0 && len(before) == 0 {
			text = fmt.Sprintf("the client has printed nothing, and %s are missing; %s", missing, kindOf(expected[next]))
		}
		return &Fault{Text: text, Want: want[next], Before: before}
	}
	return nil
}

// notJSON says that a line is not a JSON object.
func notJSON(err error) string {
	return "the line is not a JSON object (" + err.Error() + `): a client prints one for each tick and event, see CLIENT.md, "What a client prints"`
}

// missingLeft says that a client does not print its last event.
const missingLeft = `the event "left" is missing: the exam ends a client by SIGTERM, and the client must catch it, say goodbye (code done) and print "left"`

// An object is a line of output.
type object = map[string]any

func parseLine(line string) (object, error) {
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	var o object
	if err := d.Decode(&o); err != nil {
		if other := (*json.UnmarshalTypeError)(nil); errors.As(err, &other) {
			err = fmt.Errorf("it begins with another value, of type %s", other.Value)
		}
		return nil, err
	}
	if o == nil {
		return nil, errors.New("it is null")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the object")
	}
	return o, nil
}

// differs returns how got differs from want in the fields of want, in a sentence, or "".
func differs(want, got object) string {
	if sessions := want["sessions"]; sessions != nil {
		return ledgersDiffer(sessions, got["sessions"])
	}
	for _, key := range order(want) {
		v, ok := got[key]
		switch {
		case key == "detail": // text for people
		case !ok && key == "event" && got["type"] != nil:
			return fmt.Sprintf("the line is a tick, of type %v; %s", show(got["type"]), kindOf(want))
		case !ok && key == "raw":
			return "the field \"raw\" is missing: the exam compares prices and sizes as integers, as --raw prints them"
		case !ok && key != "bid" && key != "ask":
			return fmt.Sprintf("the field %q is missing; %s", key, kindOf(want))
		case !ok:
			return fmt.Sprintf("the field %q is missing: a price that is not there is null", key)
		case !equal(want[key], v):
			return fmt.Sprintf("%q is %s, want %s", key, show(v), show(want[key]))
		}
	}
	for _, key := range []string{"event", "type", "snapshot", "state", "more"} {
		if v, ok := got[key]; ok && want[key] == nil {
			return fmt.Sprintf("%q is %s, and must be left out here; %s", key, show(v), kindOf(want))
		}
	}
	return ""
}

// kindOf says what line is expected.
func kindOf(o object) string {
	switch {
	case o["sessions"] != nil:
		return "the ledger is expected (a client without one: --lacks ledger)"
	case o["event"] != nil:
		return fmt.Sprintf("the event %v is expected", show(o["event"]))
	case o["seq"] != nil:
		return fmt.Sprintf("number %v is expected, of type %v", o["seq"], show(o["type"]))
	case o["snapshot"] == true:
		return fmt.Sprintf("an entry of a snapshot is expected, of type %v", show(o["type"]))
	}
	return fmt.Sprintf("an entry of the state is expected, of type %v (a client that does not print its state: --lacks state)", show(o["type"]))
}

// order returns the fields of o, those first that say what line it is.
func order(o object) []string {
	rank := map[string]int{"event": 1, "cause": 2, "state": 3, "snapshot": 4, "session": 5, "seq": 6, "from": 7, "to": 8, "type": 9, "symbol": 10, "venue": 11}
	keys := make([]string, 0, len(o))
	for k := range o {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int {
		x, y := rank[a], rank[b]
		if x == 0 {
			x = len(rank) + 1
		}
		if y == 0 {
			y = len(rank) + 1
		}
		if x != y {
			return x - y
		}
		return strings.Compare(a, b)
	})
	return keys
}

func show(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
	return strings.TrimSpace(b.String())
}

// equal compares two JSON values; numbers by their value.
func equal(a, b any) bool {
	switch a := a.(type) {
	case json.Number:
		n, ok := b.(json.Number)
		if !ok {
			return false
		}
		if a == n {
			return true
		}
		if len(a) > maxDigits || len(n) > maxDigits {
			return false
		}
		x, ok1 := new(big.Rat).SetString(a.String())
		y, ok2 := new(big.Rat).SetString(n.String())
		return ok1 && ok2 && x.Cmp(y) == 0
	case []any:
		l, ok := b.([]any)
		return ok && slices.EqualFunc(a, l, equal)
	case object:
		o, ok := b.(object)
		if !ok || len(a) != len(o) {
			return false
		}
		for k, v := range a {
			if w, ok := o[k]; !ok || !equal(v, w) {
				return false
			}
		}
		return true
	}
	return a == b
}

// maxDigits bounds the length of a number that is compared by its value.
const maxDigits = 100

// An account is one session of a ledger.
type account struct {
	Session   feed.SessionID `json:"session"`
	Delivered feed.RangeSet  `json:"delivered"`
	NotAsked  feed.RangeSet  `json:"not_asked"`
	Withheld  feed.RangeSet  `json:"withheld"`
	Lost      feed.RangeSet  `json:"lost"`
	Disowned  feed.RangeSet  `json:"disowned"`
	Expired   feed.RangeSet  `json:"expired"`
	Filtered  [][3]uint64    `json:"filtered"`
}

// covered returns the numbers that a filtered line covered, delivered or not, and how many were delivered.
func (a *account) covered() (set feed.RangeSet, ticks uint64) {
	for _, f := range a.Filtered {
		set.Add(feed.Range{From: f[0], To: f[1]})
		ticks += f[2]
	}
	return set.Union(a.Delivered).Union(a.NotAsked), ticks + a.Delivered.Len()
}

// ledgersDiffer returns how two ledgers differ. What a filtered line covered may be given as filtered ranges, or as
// delivered and not asked.
func ledgersDiffer(want, got any) string {
	if got == nil {
		return "the ledger is expected here"
	}
	w, err := accountsOf(want)
	if err != nil {
		panic("exam: internal error: expected ledger: " + err.Error())
	}
	g, err := accountsOf(got)
	if err != nil {
		return "the ledger cannot be read: " + err.Error()
	}
	if len(w) != len(g) {
		return fmt.Sprintf("the ledger has %d sessions, want %d", len(g), len(w))
	}
	for i := range w {
		a, b := &w[i], &g[i]
		if a.Session != b.Session {
			return fmt.Sprintf("session %d of the ledger is %v, want %v", i+1, b.Session, a.Session)
		}
		for _, x := range []struct {
			name string
			a, b feed.RangeSet
		}{{"withheld", a.Withheld, b.Withheld}, {"lost", a.Lost, b.Lost}, {"disowned", a.Disowned, b.Disowned}, {"expired", a.Expired, b.Expired}} {
			if !x.a.Equal(x.b) {
				return fmt.Sprintf("the ledger of session %v says %s %s, want %s", a.Session, x.name, ranges(x.b), ranges(x.a))
			}
		}
		if len(a.Filtered) == 0 && len(b.Filtered) == 0 {
			if !a.Delivered.Equal(b.Delivered) {
				return fmt.Sprintf("the ledger of session %v says delivered %s, want %s", a.Session, ranges(b.Delivered), ranges(a.Delivered))
			}
			if !a.NotAsked.Equal(b.NotAsked) {
				return fmt.Sprintf("the ledger of session %v says not asked %s, want %s", a.Session, ranges(b.NotAsked), ranges(a.NotAsked))
			}
			continue
		}
		ac, at := a.covered()
		bc, bt := b.covered()
		if !ac.Equal(bc) || at != bt {
			return fmt.Sprintf("the ledger of session %v covers %s with %d ticks, want %s with %d", a.Session, ranges(bc), bt, ranges(ac), at)
		}
	}
	return ""
}

// ranges returns s for people.
func ranges(s feed.RangeSet) string {
	if s.Empty() {
		return "no number"
	}
	return s.String()
}

func accountsOf(v any) (accounts []account, err error) {
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, &accounts)
	}
	return accounts, err
}
