package exam

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"tickfeed/codec"
	"tickfeed/codec/lab"
	"tickfeed/feed"
	"tickfeed/feed/script/scripttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Each case has a chapter, a sentence, and a section that PROTOCOL.md has.
func TestCasesNameTheirChapterAndSection(t *testing.T) {
	text, err := os.ReadFile("../../codec/PROTOCOL.md")
	require.NoError(t, err)
	headings := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if i := strings.Index(line, "# "); strings.HasPrefix(line, "#") && i > 0 {
			headings[strings.TrimSpace(line[i+2:])] = true
		}
	}
	assert.GreaterOrEqual(t, len(Cases()), 160)
	assert.GreaterOrEqual(t, len(PublisherCases()), 40)
	ids := map[string]bool{}
	for _, c := range PublisherCases() {
		assert.Contains(t, Chapters, c.Chapter, c.ID)
		assert.NotEmpty(t, c.Rule, c.ID)
		assert.NotEmpty(t, c.Does, c.ID)
		assert.True(t, headings[c.Section], "%s: PROTOCOL.md has no section %q", c.ID, c.Section)
		assert.Subset(t, PublisherAbilities, c.Needs, c.ID)
		assert.False(t, ids[c.ID], c.ID)
		ids[c.ID] = true
	}
	for _, c := range Cases() {
		assert.Contains(t, Chapters, c.Chapter, c.ID)
		assert.NotEmpty(t, c.Rule, c.ID)
		assert.True(t, headings[c.Section], "%s: PROTOCOL.md has no section %q", c.ID, c.Section)
		if c.Drive != nil {
			assert.NotEmpty(t, c.Drive.Describe(), c.ID)
			_, err := lab.Parse(c.ID, []byte(c.Drive.Script))
			assert.NoError(t, err)
			continue
		}
		assert.NotEmpty(t, c.Streams, c.ID)
		wants := c.Wants()
		assert.True(t, slices.ContainsFunc(wants, func(l string) bool { return strings.Contains(l, `"event":"left"`) }), "%s ends with left", c.ID)
	}
}

// The pages for authors list the placeholders and the abilities that there are, and how many cases need each.
func TestPagesForAuthors(t *testing.T) {
	text, err := os.ReadFile("../../codec/CLIENT.md")
	require.NoError(t, err)
	_, exam, ok := strings.Cut(string(text), "\n## The exam\n")
	require.True(t, ok)
	rows := func(head string) (rows [][]string) {
		_, table, ok := strings.Cut(exam, "\n| "+head+" |")
		require.True(t, ok, head)
		for i, line := range strings.Split(table, "\n") {
			if i < 2 {
				continue
			}
			if !strings.HasPrefix(line, "|") {
				break
			}
			cells := strings.Split(strings.Trim(line, "| "), " | ")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells)
		}
		return rows
	}
	var placeholders, want []string
	for _, row := range rows("placeholder") {
		placeholders = append(placeholders, strings.Trim(row[0], "`"))
	}
	for _, p := range Placeholders {
		want = append(want, p.Name)
	}
	assert.ElementsMatch(t, want, placeholders)
	abilities := rows("ability")
	require.Len(t, abilities, len(Abilities))
	for i, row := range abilities {
		a := Abilities[i]
		assert.Equal(t, "`"+string(a)+"`", row[0])
		needed := 0
		for _, c := range Cases() {
			named := strings.Contains(row[3], "`"+c.ID+"`")
			if slices.Contains(c.Needs, a) {
				needed++
			} else {
				assert.False(t, named, "%s does not need %s", c.ID, a)
			}
		}
		if by := ShownBy[a]; by != "" {
			assert.Equal(t, "`"+by+"`", row[2])
			assert.True(t, strings.HasPrefix(row[3], fmt.Sprint(needed, ": ")), "%d cases need %s: %s", needed, a, row[3])
		} else {
			assert.Equal(t, "`--lacks "+string(a)+"`", row[2])
			assert.Zero(t, needed, a)
		}
	}
	exam = strings.Join(strings.Fields(exam), " ")
	assert.Contains(t, exam, fmt.Sprintf("takes at most %.0f s (`--limit`)", DefaultLimit.Seconds()))
	assert.Contains(t, exam, fmt.Sprintf("kills it %.0f s later", endTime.Seconds()))
}

// CLIENT.md lists every line that a case file may have, and its example is a valid case file.
func TestPageOnOwnCases(t *testing.T) {
	text, err := os.ReadFile("../../codec/CLIENT.md")
	require.NoError(t, err)
	_, own, ok := strings.Cut(string(text), "\n### Cases of your own\n")
	require.True(t, ok)
	var want strings.Builder
	for _, k := range CaseKeys {
		fmt.Fprintf(&want, "| `%s: %s` | %s |\n", k.Name, k.Value, k.Is)
	}
	assert.Contains(t, own, "| line | |\n| --- | --- |\n"+want.String()+"\n")
	_, example, _ := strings.Cut(own, "```\n")
	example, _, _ = strings.Cut(example, "```\n")
	c, err := ParseCase("twice-refused", "twice-refused.case", []byte(example))
	require.NoError(t, err)
	assert.Equal(t, &Drive{
		Script: "at seq 100: cut fin\nat login 2: refuse busy retry 100ms 2 times", Ticks: 300, From: codec.Start{Kind: codec.StartBeginning},
		Causes: []string{"cut", "refused busy", "refused busy"}, Logins: [2]int{4, 4},
	}, c.Drive)
	assert.Equal(t, []any{"own", "A connection", []Ability{Starts}}, []any{c.Chapter, c.Section, c.Needs})
	script, err := os.ReadFile("../tickfeed/testdata/script/exam.txtar")
	require.NoError(t, err)
	assert.Contains(t, string(script), "-- own/twice-refused.case --\n"+example, "it is run there")
}

// A mistake in a case is reported with its line, before anything starts.
func TestCaseErrors(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"rule: x\n", `x.case:1:1: a line "---" must stand before the script`},
		{"---\nat seq 5: cut\n", `x.case:1:1: the line "rule: TEXT" is missing`},
		{"rule: x\n\n# y\nhello: 2\n---\n", "x.case:4:1: the line must begin with one of these words and a colon: rule, chapter,"},
		{"rule: x\nat seq 5: cut\n---\n", "x.case:2:1: the line must begin with"},
		{"rule: x\nrule: y\n---\n", "x.case:2:1: rule is given twice"},
		{"rule: x\nhellos: 3 to 2\n---\n", "x.case:2:1: hellos: 3 is more than 2"},
		{"rule: x\nhellos: some\n---\n", `x.case:2:1: hellos: want a number from 1 to 100000, got "some"`},
		{"rule: x\nfrom: end\n---\n", `x.case:2:1: from: want beginning, snapshot, live, got "end"`},
		{"rule: x\nquiet: no\n---\n", `x.case:2:1: quiet: want yes, got "no"`},
		{"rule: x\nback-within: 5\n---\n", "x.case:2:1: back-within: time: missing unit"},
		{"rule: x\nchapter: mine\n---\n", "x.case:2:1: chapter: want tolerance"},
		{"rule: x\nfilter: A*,\n---\n", `x.case:2:1: filter: the list "A*," has an empty part`},
		{"rule: x\n---\nat seq 5: cutt\n", `x.case:3:11: there is no fault "cutt"`},
		{"rule: x\n---\n\nat seq 5: rewind session 2\n", "x.case:4:1: rewind session makes up a session, which the judge does not know of; the exam runs the publisher itself: write restart"},
		{"rule: x\n---\nat seq 5: cut\non storm: cut\n", "x.case:4:1: on storm: nothing triggers this rule by hand in an exam"},
		{"rule: x\n---\nat seq 5: restart over copy\n", "x.case:3:11: restart over copy needs a copy"},
	} {
		_, err := ParseCase("x", "x.case", []byte(test.text))
		require.ErrorContains(t, err, test.want, test.text)
		scripttest.RequireEach[*lab.ScriptError](t, err)
	}
}

// A case file of any content is either parsed, or refused with the place of the mistake.
func FuzzParseCase(f *testing.F) {
	f.Add("rule: x\nhellos: 2 to 3\ncauses: cut, refused busy\nback-within: 1s\n---\nat seq 5: cut\n")
	f.Add("# x\nrule: x\nfrom: live\nfilter: A*\nticks: 9\nkill-client: 3\n---\n")
	f.Add("rule: x\n---\nat seq 5: cutt\nat seqs 6: cut\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCase("x", "x.case", []byte(text))
		if err != nil {
			scripttest.RequireEach[*lab.ScriptError](t, err)
			return
		}
		require.NotEmpty(t, c.Drive.Describe())
		require.NotEmpty(t, c.Rule)
	})
}

// find returns the case with the given id.
func find(t *testing.T, id string) *Case {
	t.Helper()
	cases, err := Select(Cases(), []string{id})
	require.NoError(t, err)
	require.Len(t, cases, 1)
	return cases[0]
}

// The lines of a right client are right in every case, also with fields that nobody expects, "saved" events, and numbers
// written in another way.
func TestJudgeAcceptsARightClient(t *testing.T) {
	for _, c := range golden() {
		require.Nil(t, Judge(c.Wants(), c.Wants()), c.ID)
		var other []string
		for _, line := range c.Wants() {
			line = strings.Replace(line, "{", `{"extra":[1,{"x":null}],`, 1)
			line = strings.ReplaceAll(line, `"size":100,`, `"size":1e2,`)
			other = append(other, `{"event":"saved","session":"000000020261122a","next":3}`, line, "")
		}
		require.Nil(t, Judge(c.Wants(), other), c.ID)
	}
}

// Each way to print something wrong is a fault, with a sentence that says what.
func TestJudgeFindsFaults(t *testing.T) {
	lines := find(t, "account-rewound").Wants()
	filtered := find(t, "account-filtered").Wants()
	index := func(lines []string, part string) int {
		i := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, part) })
		require.GreaterOrEqual(t, i, 0, part)
		return i
	}
	without := func(lines []string, part string) []string {
		i := index(lines, part)
		return slices.Concat(lines[:i], lines[i+1:])
	}
	replaced := func(lines []string, old, new string) []string {
		i := index(lines, old)
		return slices.Concat(lines[:i], []string{strings.Replace(lines[i], old, new, 1)}, lines[i+1:])
	}
	twice := func(lines []string, part string) []string {
		i := index(lines, part)
		return slices.Concat(lines[:i+1], lines[i:])
	}
	for _, test := range []struct {
		name  string
		want  []string
		got   []string
		fault string
	}{
		{"nothing", lines, nil, "the client has printed nothing, and 18 lines are missing"},
		{"a tick is missing", lines, without(lines, `"seq":3,`), `"seq" is 4, want 3`},
		{"a tick twice", lines, twice(lines, `"seq":3,`), `"seq" is 3, want 4`},
		{"an event is missing", lines, without(lines, `"disowned","session"`), `"event" is "snapshot", want "disowned"`},
		{"a range that is too long", lines, replaced(lines, `"from":4,"to":6`, `"from":4,"to":7`), `"to" is 7, want 6`},
		{"a range that begins too early", lines, replaced(lines, `"from":4,"to":6`, `"from":3,"to":6`), `"from" is 3, want 4`},
		{"another session", lines, replaced(lines, `000000020261122b","mode"`, `000000020261122c","mode"`), `"session" is "000000020261122c"`},
		{"another cause", lines, replaced(lines, `"cause":"cut"`, `"cause":"silent"`), `"cause" is "silent", want "cut"`},
		{"a snapshot that is a tick", lines, replaced(lines, `"snapshot":true,`, `"seq":4,`), `"snapshot" is missing`},
		{"a tick that is a snapshot", lines, replaced(lines, `"seq":3,`, `"snapshot":true,"seq":3,`), `"snapshot" is true, and must be left out`},
		{"another price", lines, replaced(lines, `"bid":18725`, `"bid":18724`), `"bid" is 18724, want 18725`},
		{"a price that is not raw", lines, replaced(lines, `"raw":true,`, ``), "as --raw prints them"},
		{"a tick where an event is expected", lines, without(lines, `"event":"connected"`), `the line is a tick, of type "definition"; the event "connected" is expected`},
		{"a price as text", lines, replaced(lines, `"bid":18725`, `"bid":"18725"`), `"bid" is "18725", want 18725`},
		{"a price that is nearly right", lines, replaced(lines, `"bid":18725`, `"bid":18725.0000001`), `"bid" is 18725.0000001`},
		{"a price that is left out", lines, replaced(lines, `"bid":18725,`, ``), `"bid" is missing: a price that is not there is null`},
		{"a trade id that is a number", lines, replaced(lines, `"trade_id":"9001"`, `"trade_id":9001`), `"trade_id" is 9001, want "9001"`},
		{"a side in other words", lines, replaced(lines, `"side":"buy"`, `"side":"bid"`), `"side" is "bid", want "buy"`},
		{"more of an event that is over", lines, replaced(lines, `"seq":3,`, `"more":true,"seq":3,`), `"more" is true, and must be left out`},
		{"a sum that is wrong", lines, replaced(lines, `"delivered":5,`, `"delivered":6,`), `"delivered" is 6, want 5`},
		{"no ledger", lines, lines[:len(lines)-1], "1 line too early; the ledger is expected"},
		{"a ledger that delivers disowned numbers", lines, replaced(lines, `"delivered":[[1,4]],"disowned":[[4,6]]`, `"delivered":[[1,6]]`), "says disowned no number, want [4, 6)"},
		{"a ledger without a session", lines, replaced(lines, `,{"session":"000000020261122b","delivered":[[4,6]]}`, ``), "the ledger has 1 sessions, want 2"},
		{"a ledger with ranges that touch", lines, replaced(lines, `"delivered":[[1,4]]`, `"delivered":[[3,4],[1,3]]`), "the ledger cannot be read"},
		{"a filtered ledger that counts wrong", filtered, replaced(filtered, `[[1,15,2]]`, `[[1,15,3]]`), "with 3 ticks, want"},
		{"text instead of JSON", lines, append([]string{"connected"}, lines...), "not a JSON object"},
		{"a number instead of an object", lines, append([]string{"50 AAPL"}, lines...), "it begins with another value, of type number"},
		{"two objects in a line", lines, append([]string{lines[0] + lines[1]}, lines[2:]...), "something follows the object"},
		{"more at the end", lines, append(slices.Clone(lines), lines[1]), "one too many"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := Judge(test.want, test.got)
			require.NotNil(t, f)
			assert.Contains(t, f.Text, test.fault)
		})
	}
	other := replaced(filtered, `"filtered":[[1,15,2]]`, `"delivered":[[2,3],[11,12]],"not_asked":[[1,2],[3,11],[12,15]]`)
	assert.Nil(t, Judge(filtered, other), "a filtered line may be accounted for number by number")
}

// A forger prints the lines of a right client without understanding anything: it knows the case from its token.
type forger struct {
	*Output
	stop chan struct{}

	hello  func(*codec.Hello) // changes each hello
	lines  func([]string) []string
	hangs  bool  // does not end by itself
	silent bool  // does not connect
	code   error // if not nil, it ends by itself, so
}

// golden returns the cases of bytes.
func golden() []*Case {
	return slices.DeleteFunc(slices.Clone(Cases()), func(c *Case) bool { return c.Drive != nil })
}

func (f *forger) Start(ctx context.Context, o Orders) (Process, error) {
	run := *f
	run.Output, run.stop = NewOutput(), make(chan struct{}, 1)
	go func() { run.Output.End(run.sit(ctx, o)) }()
	return &run, nil
}

func (f *forger) Stop() {
	if !f.hangs {
		f.Kill()
	}
}

func (f *forger) Kill() {
	select {
	case f.stop <- struct{}{}:
	default:
	}
}

func (f *forger) Said() string { return "forged" }

func (f *forger) sit(ctx context.Context, o Orders) error {
	cases, err := Select(Cases(), []string{o.Token})
	if err != nil {
		return err
	}
	if !f.silent {
		for _, s := range cases[0].Streams {
			nc, err := net.Dial("tcp", o.Addr)
			if err != nil {
				return err
			}
			h := *s.Hello
			if f.hello != nil {
				f.hello(&h)
			}
			b, err := codec.Append(nil, &h)
			if err != nil {
				return err
			}
			_, _ = nc.Write(b)
			_, _ = new(bytes.Buffer).ReadFrom(nc)
			nc.Close()
		}
	}
	lines := cases[0].Wants()
	if f.lines != nil {
		lines = f.lines(lines)
	}
	for _, line := range lines {
		if !strings.Contains(line, `"event":"left"`) {
			f.Add(line)
			continue
		}
		if f.code == nil {
			select {
			case <-f.stop:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		f.Add(line)
	}
	return f.code
}

// The exam also judges the messages that a client sends, and a client that does not end fails.
func TestRunJudgesMessagesOfTheClient(t *testing.T) {
	for _, test := range []struct {
		name   string
		id     string
		client forger
		limit  time.Duration
		fault  string // "" if the case is passed
		late   bool
	}{
		{"a right client", "account-rewound", forger{}, time.Minute, "", false},
		{"a right client that refuses", "bad-gap", forger{}, time.Minute, "", false},
		{"resumes one number too late", "account-rewound", forger{hello: func(h *codec.Hello) {
			if h.Position.Next > 0 {
				h.Position.Next++
			}
		}}, time.Minute, "account-rewound-2: the hello has next 7, want 6", false},
		{"forgets its lineage", "account-rewound", forger{hello: func(h *codec.Hello) { h.Position = codec.Position{} }}, time.Minute, "has the lineage []", false},
		{"throws its state away", "account-resumed", forger{hello: func(h *codec.Hello) { h.HasState = false }}, time.Minute, "a needless snapshot", false},
		{"claims a state that it does not have", "good-plain", forger{hello: func(h *codec.Hello) {
			h.HasState = true
			h.Position = codec.Position{Lineage: feed.Lineage{{ID: 1, First: 1}}, Next: 1}
		}}, time.Minute, "has the lineage", false},
		{"asks for something else", "account-filtered", forger{hello: func(h *codec.Hello) { h.Filter = nil }}, time.Minute, "the hello asks for []", false},
		{"starts elsewhere", "good-live", forger{hello: func(h *codec.Hello) { h.Start = codec.Start{} }}, time.Minute, "starts at snapshot, want live", false},
		{"speaks another version", "good-plain", forger{hello: func(h *codec.Hello) { h.MinVersion, h.MaxVersion = 2, 3 }}, time.Minute, "versions 2 to 3", false},
		{"prints too little", "good-plain", forger{lines: func(l []string) []string { return slices.Concat(l[:2], l[3:]) }}, time.Minute, `"seq" is 3, want 2`, false},
		{"ends by itself after a refusal for good", "good-refused", forger{code: errors.New("exit status 1")}, time.Minute, "", false},
		{"ends by itself too early", "good-plain", forger{lines: func([]string) []string { return nil }, code: errors.New("exit status 1")}, time.Minute, "ended by itself: exit status 1", false},
		{"does not connect", "good-plain", forger{silent: true}, 100 * time.Millisecond, "the client has not connected: the time limit of the case, 100ms, is over", false},
		{"does not end", "good-plain", forger{hangs: true}, 500 * time.Millisecond, "the client has not ended after SIGTERM: the time limit of the case, 500ms, is over", true},
		{"does not say that it is disconnected", "good-plain", forger{lines: func(l []string) []string { return nil }, hangs: true}, time.Minute, "the client has printed nothing, and 8 lines are missing", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			x := Exam{Program: &test.client, Limit: test.limit, Dir: t.TempDir()}
			v := x.Run(t.Context(), find(t, test.id))
			if test.fault == "" {
				require.Nil(t, v.Fault)
				assert.Equal(t, Passed, v.Outcome)
				return
			}
			require.NotNil(t, v.Fault)
			assert.Equal(t, Failed, v.Outcome)
			assert.Contains(t, v.Fault.Text, test.fault)
			assert.Equal(t, test.late, v.Late)
			assert.Equal(t, "forged", v.Said)
		})
	}
}

// A forger passes every case; cases that need what it lacks do not count.
func TestRunAll(t *testing.T) {
	x := Exam{Program: &forger{}, Limit: time.Minute, Dir: t.TempDir(), Lacks: []Ability{Filters}}
	var done []string
	verdicts := x.RunAll(t.Context(), golden(), 8, func(v Verdict) { done = append(done, v.ID) })
	require.Len(t, verdicts, len(golden()))
	for i, v := range verdicts {
		assert.Equal(t, golden()[i].ID, done[i])
		if slices.Contains(v.Case.Needs, Filters) {
			assert.Equal(t, NotApplicable, v.Outcome, v.ID)
		} else {
			assert.Equal(t, Passed, v.Outcome, "%s: %v", v.ID, v.Fault)
		}
	}
}

// The result has the elements and attributes that CI tools read.
func TestWriteJUnit(t *testing.T) {
	of := func(id string, outcome Outcome, took time.Duration) Verdict {
		return Verdict{Case: find(t, id), ID: id, Outcome: outcome, Took: took}
	}
	failed := of("good-filtered", Failed, 1500*time.Millisecond)
	failed.Fault, failed.Said = &Fault{Text: "it is <wrong>", Want: "w", Got: "g\x00"}, "said"
	lacking := of("bad-gap", NotApplicable, 0)
	lacking.Lacks = Starts
	var b bytes.Buffer
	require.NoError(t, WriteJUnit(&b, []Verdict{of("good-plain", Passed, 250*time.Millisecond), failed, lacking}))
	assert.Equal(t, `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="tickfeed exam" tests="3" failures="1" errors="0" skipped="1" time="1.750">
  <testsuite name="tickfeed exam: tolerance" tests="2" failures="1" errors="0" skipped="0" time="1.750">
    <testcase name="good-plain" classname="tickfeed.exam.tolerance" time="0.250"></testcase>
    <testcase name="good-filtered" classname="tickfeed.exam.tolerance" time="1.500">
      <failure message="it is &lt;wrong&gt;" type="fault">`+find(t, "good-filtered").Rule+`&#xA;PROTOCOL.md, &#34;`+find(t, "good-filtered").Section+`&#34;&#xA;want w&#xA;got  g�&#xA;said</failure>
    </testcase>
  </testsuite>
  <testsuite name="tickfeed exam: faults" tests="1" failures="0" errors="0" skipped="1" time="0.000">
    <testcase name="bad-gap" classname="tickfeed.exam.faults" time="0.000">
      <skipped message="not applicable without starts"></skipped>
    </testcase>
  </testsuite>
</testsuites>
`, b.String())
}

// A case that failed on time alone is repeated, alone; not so if the client never connected, and not for ever.
func TestLateCasesAreRepeated(t *testing.T) {
	run := func(f *forger, cases []*Case) (repeated int) {
		x := Exam{Program: f, Limit: 200 * time.Millisecond, Dir: t.TempDir()}
		verdicts := x.RunAll(t.Context(), cases, 6, func(Verdict) {})
		require.Len(t, verdicts, len(cases))
		for _, v := range verdicts {
			assert.Equal(t, Failed, v.Outcome)
			if v.Repeated {
				repeated++
			}
		}
		return repeated
	}
	assert.Zero(t, run(&forger{silent: true}, []*Case{find(t, "good-plain")}))
	assert.Equal(t, 1, run(&forger{hangs: true}, []*Case{find(t, "good-plain")}))
	assert.Equal(t, maxHopeless, run(&forger{hangs: true}, golden()[:6]))
}

// The limit bounds the whole of a case that takes time, also if the client ignores SIGTERM, and the report says how far the
// client has come.
func TestLimitOfADrive(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the client is a shell script")
	}
	for _, test := range []struct{ name, id, script, fault string }{
		{"hangs", "session-end", "sleep 60", "the client has not said hello: the time limit of the case, 2s, is over; it has printed nothing"},
		{"ends at once", "session-end", "exit 7", "the client has ended by itself: exit status 7; it has printed nothing"},
		{"prints text", "session-end", "echo connected; sleep 60", "the line is not a JSON object (invalid character 'c' looking for beginning of value): a client prints one"},
		{"hangs before it is killed", "recover-killed", `echo '{"event":"connected"}'; sleep 60`, `"position" is missing; the client has not said hello: the time limit of the case, 2s, is over`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := Command{Args: []string{"sh", "-c", "trap '' TERM; " + test.script, "{addr}"}}
			x := Exam{Program: &c, Limit: 2 * time.Second, Dir: t.TempDir()}
			v := x.Run(t.Context(), find(t, test.id))
			require.NotNil(t, v.Fault)
			assert.Contains(t, v.Fault.Text, test.fault)
			assert.Less(t, v.Took, 10*time.Second)
			assert.False(t, v.Late, "the case is not repeated")
		})
	}
}

// The placeholders of a command are replaced; an empty one takes the flag before it along.
func TestCommandArguments(t *testing.T) {
	c := Command{Args: []string{"client", "{addr}", "--symbols", "{filter}", "--from={from}", "-s", "{state-file}", "--slow={slow}", "-v", "{files}"}}
	assert.Equal(t, []string{"client", "h:1", "--symbols", "A*,B", "--from=live", "-s", "p.json", "--slow=all", "-v", "a", "b"},
		c.args(Orders{Addr: "h:1", Filter: codec.Filter{"A*", "B"}, From: "live", StateFile: "p.json", Slow: "all", Files: []string{"a", "b"}}))
	assert.Equal(t, []string{"client", "h:1", "--from=live", "-v"}, c.args(Orders{Addr: "h:1", From: "live"}))
}

// A client that the exam cannot start names the case as its token; without one the cases come in order.
func TestServerTakesTheCaseFromTheToken(t *testing.T) {
	cases, err := Select(Cases(), []string{"account-rewound", "good-plain"})
	require.NoError(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	played := make(chan Played, 10)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	s := Server{Cases: cases, Limit: time.Minute, Played: func(p Played) { played <- p }}
	go func() { served <- s.Serve(ctx, ln) }()
	connect := func(token string, h codec.Hello) Played {
		nc, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		defer nc.Close()
		h.Token = codec.Token(token)
		b, err := codec.Append(nil, &h)
		require.NoError(t, err)
		_, err = nc.Write(b)
		require.NoError(t, err)
		_, err = new(bytes.Buffer).ReadFrom(nc)
		require.NoError(t, err)
		nc.Close()
		return <-played
	}
	for _, c := range cases { // in order
		for i := range c.Streams {
			p := connect("", *c.Streams[i].Hello)
			assert.Equal(t, c, p.Case)
			assert.Equal(t, i, p.Stream)
			assert.Empty(t, p.Fault)
		}
	}
	p := connect("good-plain", *find(t, "good-plain").Streams[0].Hello)
	assert.Equal(t, "good-plain", p.Case.ID)
	assert.Empty(t, p.Fault)
	p = connect("good-plain", codec.Hello{MinVersion: 1, MaxVersion: 1})
	assert.Contains(t, p.Fault, "starts at snapshot")
	p = connect("no-such-case", codec.Hello{MinVersion: 1, MaxVersion: 1})
	assert.Nil(t, p.Case)
	assert.Contains(t, p.Fault, "no case")
	cancel()
	assert.ErrorIs(t, <-served, context.Canceled)
}
