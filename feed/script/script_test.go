package script

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A toy language: break TEXT, break glass and wait DURATION.
var faults = &Language{
	Noun:  "fault",
	Verbs: []Form{{"break", "break TEXT", "breaks", "at seq 5: break it"}, {"break glass", "break glass", "breaks glass", "at 5s: break glass"}},
	Parse: func(p *Parser, verb int) (any, error) {
		if verb == 1 {
			return "glass", nil
		}
		text := p.Next()
		if text == "" {
			return nil, fmt.Errorf("break what?")
		}
		return text, nil
	},
	Suits: func(r *Rule) error {
		if r.Trigger.When == AtClock {
			return fmt.Errorf("not at a time of day")
		}
		return nil
	},
}

var events = &Language{
	Noun:  "event",
	Verbs: []Form{{"wait", "wait DURATION", "waits", "at 10:00: wait 5s"}},
	Parse: func(p *Parser, _ int) (any, error) { return p.Duration("wait") },
	Suits: func(*Rule) error { return nil },
}

// Rules of several languages stand in one script; their triggers are the same.
func TestParseMixesLanguages(t *testing.T) {
	s, err := Parse("x", []byte("seed 7 # of chance\r\nat 09:30: wait 5s\nfor 10% at seq 5:break \"it # now: x\" # a comment\nfrom 15:59:30.5: wait 1m\nat 0s: break glass\non it: wait 1s\n"), faults, events)
	require.NoError(t, err)
	assert.Equal(t, uint64(7), s.Seed)
	assert.True(t, s.Seeded)
	assert.Equal(t, []*Rule{
		{Name: "x", Line: 2, Column: 11, Text: "at 09:30: wait 5s", Trigger: Trigger{When: AtClock, After: 9*time.Hour + 30*time.Minute}, Does: 5 * time.Second},
		{Name: "x", Line: 3, Column: 18, Text: `for 10% at seq 5:break "it # now: x"`, Who: Who{Share: 0.1}, Trigger: Trigger{When: AtSeq, N: 5}, Does: "it # now: x"},
		{Name: "x", Line: 4, Column: 18, Text: "from 15:59:30.5: wait 1m", Trigger: Trigger{When: AtClock, After: 16*time.Hour - 29500*time.Millisecond}, Does: time.Minute},
		{Name: "x", Line: 5, Column: 8, Text: "at 0s: break glass", Trigger: Trigger{When: AtTime}, Does: "glass"},
		{Name: "x", Line: 6, Column: 8, Text: "on it: wait 1s", Trigger: Trigger{When: ByHand, Name: "it"}, Does: time.Second},
	}, s.Rules)
	r, err := ParseVerb("line", "wait 2s", faults, events)
	require.NoError(t, err)
	assert.Equal(t, 2*time.Second, r.Does)
}

// A mistake is reported with its line and column.
func TestErrorsNameLineAndColumn(t *testing.T) {
	for _, test := range []struct{ script, want string }{
		{"at 10:00 wait 5s", `x:1:10: a colon and a fault must follow the trigger, got "wait"`},
		{"\nat 10:61: wait 5s", `x:2:4: at must be followed by a time of day such as 09:30 or 15:59:30, got "10:61"`},
		{"at 10:00: break it", "x:1:11: not at a time of day"},
		{"at 10:00: sleep", `x:1:11: there is no fault or event "sleep"; --list shows all`},
		{"at 10:00: braek it", `x:1:11: there is no fault or event "braek"; did you mean "break"? --list shows all`},
		{"at 10:00: break glas", `x:1:11: not at a time of day`},
		{"at 10:00: brek glass", `x:1:11: there is no fault or event "brek"; did you mean "break glass"? --list shows all`},
		{"ta 10:00: break it", `a rule begins with for, at, every, with or on, got "ta"; did you mean "at"?`},
		{"break it # now", `a rule begins with for, at, every, with or on, got "break"; write "at 10s: break it"`},
		{"at -1s: break it", `x:1:4: at must be followed by a duration such as 200ms or 5s, 0s or more and at most 24h0m0s, got "-1s"`},
		{"every 0s: break it", `x:1:7: every must be followed by a duration such as 200ms or 5s, greater than 0`},
		{"at 5s: break", "x:1:13: break what?"},
		{"seed 1\nseed 2", "x:2:1: the script has two seeds"},
		{`at 5s: break "it`, "x:1:14: the quote has no end"},
		{"at 5s: break it now", `x:1:17: "now" is too much: break TEXT`},
		{"at sequ 5: break it", `x:1:4: at must be followed by seq N, login N, packet N, snapshot N, live N or end N, a duration such as 200ms, or a time of day such as 09:30; got "sequ"; did you mean "seq"?`},
		{"at 5s: wait 1d", `x:1:13: wait must be followed by a duration`},
	} {
		_, err := Parse("x", []byte(test.script), faults, events)
		require.Error(t, err, test.script)
		assert.Contains(t, err.Error(), test.want)
		assert.IsType(t, &Error{}, err)
	}
	_, err := ParseVerb("line", `break "`, faults)
	assert.EqualError(t, err, "line:1:7: the quote has no end")
	_, err = ParseVerb(Typed, `break "`, faults)
	assert.EqualError(t, err, "the quote has no end")
	_, err = ParseVerb("line", "sleep", faults)
	assert.ErrorContains(t, err, `line:1:1: there is no fault "sleep"`)
	_, err = Parse("x", []byte("at 10:00 wait 5s"), events)
	assert.ErrorContains(t, err, "a colon and an event must follow the trigger")
}

// Factors and percentages are read within their bounds.
func TestFactorsAndPercentages(t *testing.T) {
	parse := func(text string) *Parser {
		words, _, err := wordsOf(text)
		require.Nil(t, err)
		return &Parser{words: words, end: len(text) + 1}
	}
	for text, want := range map[string]float64{"x3": 3, "x0.5": 0.5, "/10": 0.1} {
		v, err := parse(text).Factor("f", 100)
		require.NoError(t, err, text)
		assert.Equal(t, want, v, text)
	}
	for _, text := range []string{"", "3", "x", "x0", "/0", "x101", "/101", "xNaN", "x-1", "//2"} {
		_, err := parse(text).Factor("f", 100)
		assert.ErrorContains(t, err, "f must be followed by a factor such as x3", text)
	}
	for text, want := range map[string]float64{"-4%": -0.04, "+2.5%": 0.025, "60%": 0.6, "-99.9%": -0.999} {
		v, err := parse(text).Percent("p", 100)
		require.NoError(t, err, text)
		assert.InDelta(t, want, v, 1e-12, text)
	}
	for _, text := range []string{"", "4", "-100%", "101%", "NaN%", "%"} {
		_, err := parse(text).Percent("p", 100)
		assert.ErrorContains(t, err, "p must be followed by a percentage", text)
	}
}

// All wrong lines of a script are reported, at most 20.
func TestErrorsOfAllLines(t *testing.T) {
	_, err := Parse("x", []byte("at seq 0: break it\nseed 7\nat noon: break it\n\"\n"), faults)
	require.Error(t, err)
	lines := strings.Split(err.Error(), "\n")
	require.Len(t, lines, 3)
	for i, place := range []string{"x:1:", "x:3:", "x:4:"} {
		assert.True(t, strings.HasPrefix(lines[i], place), lines[i])
	}
	_, err = Parse("x", []byte(strings.Repeat("x\n", 100)), faults)
	require.Error(t, err)
	assert.Equal(t, maxErrors+1, strings.Count(err.Error(), "\n")+1)
	assert.ErrorContains(t, err, "x:21:1: there are more mistakes from here on")
	_, err = Parse("x", []byte(strings.Repeat("x\n", maxErrors)), faults)
	assert.ErrorContains(t, err, "x:20:1: ")
	assert.NotContains(t, err.Error(), "more mistakes")
}
