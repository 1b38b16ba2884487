package lab

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed/script/scripttest"
)

// Every word of the language has an example that Parse reads, and is documented.
func TestEveryExampleIsARule(t *testing.T) {
	for v, f := range Verbs {
		s, err := Parse("x", []byte(f.Example))
		require.NoError(t, err, f.Example)
		require.Len(t, s.Rules, 1)
		assert.Equal(t, Verb(v), s.Rules[0].Fault.Verb, f.Example)
		assert.NotEmpty(t, f.Does, f.Word)
		assert.True(t, strings.HasPrefix(f.Usage, f.Word), f.Usage)
	}
	for w, f := range Triggers {
		s, err := Parse("x", []byte(f.Example))
		require.NoError(t, err, f.Example)
		assert.Equal(t, When(w), s.Rules[0].Trigger.When, f.Example)
		assert.NotContains(t, f.Does, "market", "a lab has none")
	}
}

// A refusal and a goodbye can have each code of the protocol, by its name and by its number.
func TestEveryCode(t *testing.T) {
	for code := codec.CodeShutdown; code <= codec.CodeDenied; code++ {
		for _, name := range []string{code.String(), fmt.Sprint(uint8(code))} {
			for _, script := range []string{"at login 1: refuse " + name + " for good", "at seq 5: goodbye " + name} {
				s, err := Parse("x", []byte(script))
				require.NoError(t, err, script)
				assert.Equal(t, code, s.Rules[0].Fault.Code, script)
			}
		}
	}
}

func TestParseReadsEachForm(t *testing.T) {
	s, err := Parse("x", []byte(`
# a bad day
seed 7
at seq 1_000: cut rst          # the tick before which it happens
for probe-* at login 2: refuse bad request for good
for 10% with 0.5%: drop tick
at login 3:refuse busy retry 200ms 3 times
at seq 5: goodbye 77
`))
	require.NoError(t, err)
	assert.Equal(t, uint64(7), s.Seed)
	for _, r := range s.Rules {
		assert.Equal(t, "x", r.script)
		assert.Equal(t, strings.Index(r.Text, ":")+2, r.column-strings.Count(r.Text[strings.Index(r.Text, ":"):][:2], " "), r.Text)
		assert.Equal(t, uint64(7), *r.seed)
		r.script, r.column, r.seed = "", 0, nil
	}
	assert.Equal(t, []*Rule{
		{Line: 4, Text: "at seq 1_000: cut rst", Trigger: Trigger{When: AtSeq, N: 1000}, Fault: Fault{Verb: Cut, How: "rst"}},
		{Line: 5, Text: "for probe-* at login 2: refuse bad request for good", Who: Who{Name: "probe-*"}, Trigger: Trigger{When: AtLogin, N: 2}, Fault: Fault{Verb: Refuse, Code: codec.CodeBadRequest, ForTimes: 1}},
		{Line: 6, Text: "for 10% with 0.5%: drop tick", Who: Who{Share: 0.1}, Trigger: Trigger{When: WithChance, Chance: 0.005}, Fault: Fault{Verb: Drop, How: "tick"}},
		{Line: 7, Text: "at login 3:refuse busy retry 200ms 3 times", Trigger: Trigger{When: AtLogin, N: 3}, Fault: Fault{Verb: Refuse, Code: codec.CodeBusy, Retry: true, RetryIn: 200 * time.Millisecond, ForTimes: 3}},
		{Line: 8, Text: "at seq 5: goodbye 77", Trigger: Trigger{When: AtSeq, N: 5}, Fault: Fault{Verb: SayGoodbye, Code: 77, Retry: true, ForTimes: 1}},
	}, s.Rules)
}

// A mistake is reported with its line and column, before anything starts.
func TestParseErrors(t *testing.T) {
	for _, test := range []struct{ script, want string }{
		{"cut", "bad.lab:1:1: a rule begins with for, at, every, with or on, got \"cut\"; write \"at 10s: cut\""},
		{"at seq 1000 cut", "bad.lab:1:13: a colon and a fault must follow the trigger, got \"cut\""},
		{"\n\nat seq x: cut", "bad.lab:3:8: at seq must be followed by a number of at least 1 and at most"},
		{"at seq 0: cut", "bad.lab:1:8: at seq must be followed by a number of at least 1"},
		{"at seq 5: cutt", "bad.lab:1:11: there is no fault \"cutt\""},
		{"at seq 5: cut fun", "bad.lab:1:15: \"fun\" must be fin or rst or inside"},
		{"at seq 5: cut rst now", "bad.lab:1:19: \"now\" is too much: cut [fin|rst|inside]"},
		{"at seq 5: stall", "bad.lab:1:16: stall must be followed by a duration such as 200ms or 5s"},
		{"at seq 5: stall 5", "bad.lab:1:17: stall must be followed by a duration"},
		{"at seq 5: refuse busy", "refuse happens at a login: write, for example, \"at login 2: refuse busy retry 200ms 3 times\""},
		{"at login 1: drop", "drop happens to a packet, and there is none at login"},
		{"at seq 5: cut snapshot", "cut snapshot happens at a snapshot"},
		{"at seq 5: refuse dials 1s", "refuse dials happens at a time"},
		{"at seq 5: drop 3", "bad.lab:1:17: want \"packets\" after the number, got \"\""},
		{"at seq 5: drop three packets", "bad.lab:1:16: drop must be followed by a number"},
		{"at seq 5: end 3", "want \"times\" after the number, got \"\""},
		{"at seq 5: expire 3", "expire happens at a login"},
		{"at seq 5: stale snapshot 3", "stale snapshot happens at a snapshot"},
		{"at end 1: drop tick", "drop happens to a packet, and there is none at end"},
		{"at seq 5: delay tick", "bad.lab:1:21: delay must be followed by a duration"},
		{"at seq 5: freeze", "bad.lab:1:17: want \"for\" and a duration after freeze, got \"\""},
		{"at seq 5: freeze 2s", "bad.lab:1:18: want \"for\" and a duration after freeze, got \"2s\""},
		{"at seq 5: kill now", "bad.lab:1:16: want \"for\" and a duration after kill, got \"now\""},
		{"at seq 5: restart over there", "bad.lab:1:24: \"there\" must be journal or copy or none"},
		{"at seq 5: restart now", "bad.lab:1:19: want \"over\", got \"now\""},
		{"for probe at 5s: stop", "stop happens to the publisher, and no client triggers it: leave out \"for\""},
		{"at login 1: refuse nonsense", "bad.lab:1:20: code must be shutdown, busy, version"},
		{"at login 1: refuse busy for bad", "want \"for good\", got \"bad\""},
		{"at login 1: refuse busy retry 1h for good", "bad.lab:1:34: retry and for good exclude each other"},
		{"at login 1: goodbye busy for good retry 1h", "bad.lab:1:35: retry and for good exclude each other"},
		{"at login 1: refuse busy 3", "want \"times\" after the number"},
		{"with 200%: drop", "bad.lab:1:6: \"200%\" must be more than 0% and at most 100%"},
		{"with 1: drop", "with must be followed by a share"},
		{"for : at seq 1: cut", "for must be followed by a client name or a share"},
		{"for [ at seq 1: cut", "pattern \"[\""},
		{"seed", "bad.lab:1:5: seed must be followed by a number"},
		{"seed 1 2", "nothing may follow the seed"},
		{"at 5x: cut", "bad.lab:1:4: at must be followed by a duration"},
		{"at 25h: cut", "at most 24h0m0s"},
		{"on : cut", "on must be followed by a name"},
	} {
		_, err := Parse("bad.lab", []byte(test.script))
		require.Error(t, err, test.script)
		assert.Contains(t, err.Error(), test.want)
		scripttest.RequireEach[*ScriptError](t, err)
	}
}

// A rule with a time of day is refused, and the rule that the error gives as an example is right.
func TestTimeOfDayIsRefusedWithAnExample(t *testing.T) {
	for _, f := range Verbs {
		_, fault, ok := strings.Cut(f.Example, ": ")
		require.True(t, ok, f.Example)
		_, err := Parse("x", []byte("at 10:00: "+fault))
		require.ErrorContains(t, err, f.Word+" is a fault: write, for example, ")
		_, quoted, ok := strings.Cut(err.Error(), "for example, ")
		require.True(t, ok)
		example, err := strconv.Unquote(quoted)
		require.NoError(t, err)
		_, err = Parse("x", []byte(example))
		require.NoError(t, err, example)
	}
}

// A rule that can do nothing in this lab is refused with its line and column.
func TestCheckRefusesRulesThatDoNothing(t *testing.T) {
	s, err := Parse("bad.lab", []byte("seed 1\nat seq 5: cut\nfor x at seq 6:  kill for 1s"))
	require.NoError(t, err)
	var refused *ScriptError
	require.ErrorAs(t, new(Lab).Check(s.Rules...), &refused)
	assert.Equal(t, "bad.lab:3:18", fmt.Sprintf("%s:%d:%d", refused.Name, refused.Line, refused.Column))
	assert.Contains(t, refused.Text, "kill happens to a publisher that the lab runs itself")
	require.NoError(t, new(Lab).Check(s.Rules[0]))
	_, err = new(Lab).Add(s.Rules[1])
	require.ErrorAs(t, err, &refused)

	can := &Lab{Publisher: canAll{}}
	s, err = Parse("x", []byte("at seq 5: restart over copy\nat seq 4: copy journal"))
	require.NoError(t, err)
	require.ErrorContains(t, can.Check(s.Rules[0]), "x:1:11: restart over copy needs a copy")
	require.NoError(t, can.Check(s.Rules...))
	_, err = can.Add(s.Rules[0])
	require.ErrorContains(t, err, "needs a copy")
	_, err = can.Add(s.Rules[1])
	require.NoError(t, err)
	_, err = can.Add(s.Rules[0])
	require.NoError(t, err)
}

// canAll is a Publisher that can do everything.
type canAll struct{ Publisher }

func (canAll) Can(Fault) error { return nil }

func FuzzParse(f *testing.F) {
	for _, v := range Verbs {
		f.Add(v.Example)
	}
	f.Add("at seq 5: drop 3 packets\nat packet 2: delay tick 5ms\nat end 1: end 3 times\nwith 1%: repeat tick")
	f.Add("at seq 5: restart over copy\nat seq 4: copy journal\nfor p* every seq 7: stop for 1s\nat 5s: disk full for 1s")
	f.Add("seed 7\nfor 10% with 1%: drop tick # x\n")
	f.Add("at seq 5: cutt\nat seqs 6: cut\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse("x", []byte(text))
		if err != nil {
			scripttest.RequireEach[*ScriptError](t, err)
			return
		}
		for _, r := range s.Rules { // a rule reads as it is written
			again, err := Parse("x", []byte(r.Text))
			require.NoError(t, err, r.Text)
			require.Len(t, again.Rules, 1)
			require.Equal(t, r.Fault, again.Rules[0].Fault)
			require.Equal(t, r.Trigger, again.Rules[0].Trigger)
			require.Equal(t, r.Who, again.Rules[0].Who)
			if r.Fault.Verb.is(ofPublisher) {
				var refused *ScriptError
				require.ErrorAs(t, new(Lab).Check(r), &refused)
				require.Equal(t, r.Line, refused.Line)
			}
		}
	})
}
