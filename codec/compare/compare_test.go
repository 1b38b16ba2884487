package compare_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/compare"
	"tickfeed/feed"
	"tickfeed/feed/decimal"
	"tickfeed/feed/files/rawfile"
)

const (
	rootID  = feed.SessionID(0xa)
	childID = feed.SessionID(0xb)
)

var aapl, msft = &feed.Definition{Symbol: "AAPL", Venue: "XNAS"}, &feed.Definition{Symbol: "MSFT"}

// A list is a party with the given entries.
type list struct {
	entries []compare.Entry
	facts   compare.Facts
}

func (l list) party() compare.Party {
	return compare.Party{Open: func() (compare.Stream, error) { return &listStream{l: l}, nil }}
}

type listStream struct {
	l    list
	next int
}

func (s *listStream) Next() (*compare.Entry, error) {
	if s.next == len(s.l.entries) {
		return nil, io.EOF
	}
	s.next++
	return &s.l.entries[s.next-1], nil
}
func (s *listStream) Facts() compare.Facts { return s.l.facts }
func (s *listStream) Close() error         { return nil }

// entriesOf parses entries: "1 2 3" are ticks of AAPL in the root session, "3!" is one with other contents, "3m" is one of
// MSFT, "b:5" a number of the child session, "lost:5-8" numbers from 5 up to and including 7 that are lost, likewise
// withheld, notasked, disowned, held (without ticks) and filtered:5-8/2.
func entriesOf(t *testing.T, text string) (entries []compare.Entry) {
	claims := map[string]compare.Claim{"lost": compare.Lost, "withheld": compare.Withheld, "notasked": compare.NotAsked, "disowned": compare.Disowned, "held": compare.Held, "filtered": compare.Filtered}
	for _, word := range strings.Fields(text) {
		e := compare.Entry{Numbers: feed.Numbers{Session: rootID}}
		if rest, ok := strings.CutPrefix(word, "b:"); ok {
			e.Session, word = childID, rest
		}
		if name, r, ok := strings.Cut(word, ":"); ok {
			e.Claim = claims[name]
			_, err := fmt.Sscanf(r, "%d-%d", &e.Range.From, &e.Range.To)
			require.NoError(t, err, word)
			if _, n, ok := strings.Cut(r, "/"); ok {
				_, err = fmt.Sscan(n, &e.Delivered)
				require.NoError(t, err, word)
			}
		} else {
			e.Definition, e.Kind = aapl, feed.KindTrade
			_, err := fmt.Sscan(strings.TrimRight(word, "!m"), &e.Range.From)
			require.NoError(t, err, word)
			if strings.Contains(word, "m") {
				e.Definition = msft
			}
			e.Range.To = e.Range.From + 1
			e.Text = fmt.Appendf(nil, "%s price=%s", e.Definition.Name(), word)
		}
		entries = append(entries, e)
	}
	return entries
}

// summary describes r in a line: "A missing [3, 4); different [5, 6)".
func summary(r *compare.Result) string {
	parts := []string{fmt.Sprintf("same %d", r.Same)}
	for _, s := range r.Sessions {
		of := ""
		if s.Session != rootID {
			of = fmt.Sprintf("%x: ", uint64(s.Session))
		}
		for i := range 2 {
			for a := range compare.NumAbsences {
				if n := s.Lacks[i][a]; n.Count > 0 {
					parts = append(parts, fmt.Sprintf("%s%c %v %v", of, 'A'+i, a, feed.NewRangeSet(n.Ranges...)))
				}
			}
			if n := s.Short[i]; n.Count > 0 {
				parts = append(parts, fmt.Sprintf("%s%c at least %d of %v", of, 'A'+i, n.Count, feed.NewRangeSet(n.Ranges...)))
			}
		}
		if s.Contents.Count > 0 {
			parts = append(parts, fmt.Sprintf("%sdifferent %v", of, feed.NewRangeSet(s.Contents.Ranges...)))
		}
	}
	for i, p := range r.Parties {
		if p.Repeated > 0 {
			parts = append(parts, fmt.Sprintf("%c repeats %d, %d of them differently", 'A'+i, p.Repeated, p.Contradicted))
		}
	}
	return strings.Join(parts, "; ")
}

func TestPairsAreComparedByNumber(t *testing.T) {
	ends := compare.Facts{Ends: map[feed.SessionID]uint64{rootID: 3}}
	for _, test := range []struct {
		name    string
		a, b    string
		fa, fb  compare.Facts
		cfg     compare.Config
		want    string
		differs bool
	}{
		{name: "equal", a: "1 2 3", b: "1 2 3", want: "same 3"},
		{name: "nothing on either side", want: "same 0"},
		{name: "a tick is missing", a: "1 2 3", b: "1 3", want: "same 2; B missing [2, 3)", differs: true},
		{name: "the same, the other way round", a: "1 3", b: "1 2 3", want: "same 2; A missing [2, 3)", differs: true},
		{name: "another tick has the number", a: "1 2 3", b: "1 2! 3", want: "same 2; different [2, 3)", differs: true},
		{name: "of another instrument", a: "1 2 3", b: "1 2m 3", want: "same 2; different [2, 3)", differs: true},
		{name: "begins later", a: "1 2 3", b: "2 3", want: "same 2; B before [1, 2)", differs: true},
		{name: "begins later, and says so", a: "1 2 3", b: "2 3", fb: compare.Facts{Started: true}, want: "same 2; B not asked [1, 2)"},
		{name: "ends earlier", a: "1 2 3", b: "1 2", want: "same 2; B after [3, 4)", differs: true},
		{name: "ends earlier, and says so", a: "1 2 3", b: "1 2", fb: compare.Facts{Left: true}, want: "same 2; B not asked [3, 4)"},
		{name: "only what both reach", a: "1 2 3", b: "2 3 4", cfg: compare.Config{Common: true}, want: "same 2; A after [4, 5); B before [1, 2)"},
		{name: "only what both reach, where one is missing", a: "1 2 3 4", b: "2 4 5", cfg: compare.Config{Common: true}, want: "same 2; A after [5, 6); B missing [3, 4); B before [1, 2)", differs: true},
		{name: "lost", a: "1 2 3 4", b: "1 lost:2-4 4", want: "same 2; B lost [2, 4)", differs: true},
		{name: "withheld", a: "1 2 3 4", b: "1 withheld:2-4 4", want: "same 2; B withheld [2, 4)", differs: true},
		{name: "not asked", a: "1 2 3 4", b: "1 notasked:2-4 4", want: "same 2; B not asked [2, 4)"},
		{name: "disowned", a: "1 2 3 4", b: "1 disowned:2-4 4", want: "same 2; B disowned [2, 4)"},
		{name: "neither has them, for different reasons", a: "1 lost:2-4 4", b: "1 withheld:2-4 4", want: "same 2"},
		{name: "partly silent, partly lost", a: "1 2 3 4 5", b: "1 lost:3-5 5", want: "same 2; B missing [2, 3); B lost [3, 5)", differs: true},
		{name: "numbers without ticks", a: "1 2 3 4", b: "held:1-5", want: "same 4"},
		{name: "numbers without ticks, one of them missing", a: "1 2 3 4", b: "held:1-3 held:4-5", want: "same 3; B missing [3, 4)", differs: true},
		{name: "two ledgers", a: "held:1-10 lost:10-12", b: "held:1-4 withheld:4-6 held:6-12", want: "same 7; A lost [10, 12); B withheld [4, 6)", differs: true},
		{name: "a filtered range that holds fewer", a: "1 2 3 4", b: "filtered:1-5/3", want: "same 0; B undecided [1, 5)"},
		{name: "a filtered range that holds as many", a: "1 4", b: "filtered:1-5/2", want: "same 0; B undecided [1, 2) [4, 5)"},
		{name: "a filtered range that holds more", a: "1 4", b: "filtered:1-5/4", want: "same 0; A at least 2 of [1, 5); B undecided [1, 2) [4, 5)", differs: true},
		{name: "nothing that both asked for", a: "1 2", b: "notasked:1-3", want: "same 0; B not asked [1, 3)"},
		{name: "two equal filtered ranges", a: "filtered:1-5/2", b: "filtered:1-5/2", want: "same 0"},
		{name: "two filtered ranges", a: "filtered:1-5/2", b: "filtered:1-5/3", want: "same 0; A at least 1 of [1, 5)", differs: true},
		{name: "two filtered ranges that overlap in part", a: "filtered:1-11/8", b: "filtered:1-5/2 filtered:6-11/4", want: "same 0; B at least 2 of [1, 11)", differs: true},
		{name: "a child session continues the numbers", a: "1 2 b:3 b:4", b: "1 2 b:3 b:4", want: "same 4"},
		{name: "numbers beyond the fork, of a party that does not know of it", a: "1 2 3 4", b: "1 2 b:3 b:4", fb: ends, want: "same 2; B disowned [3, 5); b: A after [3, 5)", differs: true},
		{name: "numbers beyond the fork that were disowned", a: "1 2 3 4 b:3 b:4", b: "1 2 b:3 b:4", fa: compare.Facts{Disowned: map[feed.SessionID]feed.RangeSet{rootID: feed.NewRangeSet(feed.Range{From: 3, To: 5})}}, fb: ends, want: "same 4"},
		{name: "numbers of the root where the other one has the child's", a: "1 2 3 4", b: "1 2 b:3 b:4", want: "same 2; B missing [3, 5); b: A after [3, 5)", differs: true},
		{name: "an unrelated session before", a: "b:1 b:2 1 2", b: "1 2", want: "same 2; b: B before [1, 3)", differs: true},
		{name: "no session in common", a: "1 2", b: "b:1 b:2", want: "same 0; B before [1, 3); b: A after [1, 3)", differs: true},
		{name: "whatever the session is", a: "1 2", b: "b:1 b:2", cfg: compare.Config{ByNumber: true}, want: "0: same 2"},
		{name: "numbers come twice", a: "1 2 1 2 3", b: "1 2 3", want: "same 3; A repeats 2, 0 of them differently", differs: true},
		{name: "numbers come twice, which is allowed", a: "1 2 1 2 3", b: "1 2 3", cfg: compare.Config{AllowRepeats: true}, want: "same 3; A repeats 2, 0 of them differently"},
		{name: "numbers come twice, differently", a: "1 2 2! 3", b: "1 2 3", cfg: compare.Config{AllowRepeats: true}, want: "same 3; A repeats 1, 1 of them differently", differs: true},
		{name: "numbers of an instrument that was not chosen come twice", a: "1 2m 2m 3", b: "1 2m 3", cfg: compare.Config{Want: func(e *compare.Entry) bool { return e.Definition.Symbol == "AAPL" }}, want: "same 2"},
		{name: "out of order", a: "2 1 4 3", b: "1 2 3 4", want: "same 4"},
		{name: "out of order on both sides, with differences", a: "2 1 4 3", b: "3 2! 5 lost:4-5", want: "same 1; A after [5, 6); B before [1, 2); B lost [4, 5); different [2, 3)", differs: true},
		{name: "what was lost came later", a: "1 2 3", b: "1 lost:2-4 3", want: "same 2; B lost [2, 3)", differs: true},
		{name: "the sessions in another order", a: "1 2 b:1 b:2", b: "b:1 b:2 1 2", want: "same 4"},
		{name: "only an instrument", a: "1 2m 3 4m", b: "1 2m! 3", cfg: compare.Config{Want: func(e *compare.Entry) bool { return e.Definition.Symbol == "AAPL" }}, want: "same 2"},
		{name: "nothing, for that instrument is in neither", a: "1 2m", b: "1 2m", cfg: compare.Config{Want: func(e *compare.Entry) bool { return e.Definition.Symbol == "AAPLL" }}, want: "same 0"},
		{name: "only an instrument, of which one is missing", a: "1 2m 3 4m 5", b: "1 5", cfg: compare.Config{Want: func(e *compare.Entry) bool { return e.Definition.Symbol == "AAPL" }}, want: "same 2; B missing [3, 4)", differs: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := list{entriesOf(t, test.a), test.fa}, list{entriesOf(t, test.b), test.fb}
			r, err := compare.Compare(t.Context(), a.party(), b.party(), test.cfg)
			require.NoError(t, err)
			assert.Equal(t, strings.TrimPrefix(test.want, "0: "), summary(r))
			assert.Equal(t, test.differs, r.Differs())
			assert.Equal(t, test.a != "" && !strings.Contains(test.name, "nothing"), r.Compared(), "compared")
		})
	}
}

// The first differing ticks are listed with their texts, also those of a party that had to be sorted; instruments are counted.
func TestFirstDifferencesAreListed(t *testing.T) {
	a, b := list{entries: entriesOf(t, "1 2m 3 4 5")}, list{entries: entriesOf(t, "5 4 2m! 1")}
	for _, show := range []int{0, 1, 10} {
		r, err := compare.Compare(t.Context(), a.party(), b.party(), compare.Config{Show: show})
		require.NoError(t, err)
		want := []compare.Difference{
			{Session: rootID, Seq: 2, Lacks: -1, Texts: [2]string{"MSFT price=2m", "MSFT price=2m!"}},
			{Session: rootID, Seq: 3, Lacks: 1, Absence: compare.Missing, Texts: [2]string{"AAPL@XNAS price=3", ""}},
		}
		assert.Equal(t, want[:min(show, 2)], append([]compare.Difference{}, r.First...))
		assert.Equal(t, []*compare.InstrumentResult{{Name: "MSFT", Contents: 1}, {Name: "AAPL@XNAS", Lacks: [2]uint64{0, 1}}}, r.Instruments)
	}
}

// Random edits of a list of ticks are found exactly, whether the edited list is in order or not.
func TestEditsAreFoundExactly(t *testing.T) {
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 7))
		n := uint64(1 + rng.IntN(60))
		fork := 1 + rng.Uint64N(n)
		var original, edited []compare.Entry
		want := make(map[string]feed.RangeSet) // by session and what becomes of the number
		note := func(e *compare.Entry, what string) {
			key := fmt.Sprint(e.Session, " ", what)
			set := want[key]
			set.Add(e.Range)
			want[key] = set
		}
		repeated := uint64(0)
		for seq := uint64(1); seq <= n; seq++ {
			e := compare.Entry{Numbers: feed.Numbers{Session: rootID, Range: feed.Range{From: seq, To: seq + 1}}, Definition: aapl, Text: fmt.Appendf(nil, "tick %d", seq)}
			if seq >= fork {
				e.Session = childID
			}
			original = append(original, e)
			kept := e
			switch rng.IntN(12) {
			case 0: // decided below, once it is known what was kept
				kept.Claim, kept.Definition = compare.Claim(255), nil
			case 1:
				kept.Text = []byte("another")
				note(&e, "different")
			case 2:
				kept = compare.Entry{Numbers: e.Numbers, Claim: compare.Lost}
				note(&e, "lost")
			case 3:
				kept = compare.Entry{Numbers: e.Numbers, Claim: compare.Withheld}
				note(&e, "withheld")
			case 4:
				kept = compare.Entry{Numbers: e.Numbers, Claim: compare.NotAsked}
				note(&e, "not asked")
			case 5:
				kept = compare.Entry{Numbers: e.Numbers, Claim: compare.Disowned}
				note(&e, "disowned")
			default:
				note(&e, "same")
			}
			edited = append(edited, kept)
			if kept.Claim == compare.Held && rng.IntN(20) == 0 {
				edited = append(edited, kept)
				repeated++
			}
		}
		first, last := -1, -1
		for i := range edited {
			if edited[i].Claim != 255 {
				if first < 0 {
					first = i
				}
				last = i
			}
		}
		var rest []compare.Entry
		for i := range edited {
			switch {
			case edited[i].Claim != 255:
				rest = append(rest, edited[i])
			case first < 0 || i < first:
				note(&edited[i], "before")
			case i > last:
				note(&edited[i], "after")
			default:
				note(&edited[i], "missing")
			}
		}
		if rng.IntN(2) == 0 {
			rng.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
			if len(rest) > 0 && rest[0].Session == childID && first >= 0 {
				slices.SortStableFunc(rest, func(a, b compare.Entry) int { return int(int64(a.Session) - int64(b.Session)) })
			}
		}
		for side := range 2 {
			parties := [2]compare.Party{list{entries: original}.party(), list{entries: rest}.party()}
			if side == 0 { // the edited list is A
				slices.Reverse(parties[:])
			}
			r, err := compare.Compare(context.Background(), parties[0], parties[1], compare.Config{})
			require.NoError(t, err)
			got := make(map[string]feed.RangeSet)
			same := uint64(0)
			for _, s := range r.Sessions {
				put := func(what string, n compare.Ranges) {
					if n.Count > 0 {
						got[fmt.Sprint(s.Session, " ", what)] = feed.NewRangeSet(n.Ranges...)
						assert.Equal(t, n.Count, feed.NewRangeSet(n.Ranges...).Len())
					}
				}
				put("different", s.Contents)
				for a := range compare.NumAbsences {
					put(a.String(), s.Lacks[side][a])
					assert.Zero(t, s.Lacks[1-side][a].Count, "seed %d: the original lacks nothing", seed)
				}
				same += s.Same
			}
			for key, set := range want {
				if strings.HasSuffix(key, " same") {
					same -= set.Len()
					continue
				}
				require.Equal(t, set.String(), got[key].String(), "seed %d, side %d: %s", seed, side, key)
				delete(got, key)
			}
			require.Empty(t, got, "seed %d", seed)
			require.Zero(t, same, "seed %d", seed)
			require.Equal(t, repeated, r.Parties[side].Repeated, "seed %d", seed)
		}
	}
}

// linesOf returns the party that printed text.
func linesOf(text string) compare.Party {
	return compare.OfLines(func() (compare.Lines, error) {
		return struct {
			*rawfile.Lines
			io.Closer
		}{rawfile.NewLines(strings.NewReader(text), compare.MaxLine), io.NopCloser(nil)}, nil
	})
}

const trade = `{"session":"000000000000000a","seq":%d,"type":"trade","symbol":"AAPL","venue":"XNAS","ts_event":1767623400000000000,"ts_publish":1767623400000000001,"price":%s,"size":100,"side":"buy","trade_id":"7"}` + "\n"

// Lines of two parties are compared by what they mean, not by how their numbers are written.
func TestLines(t *testing.T) {
	line := func(seq int, price string) string { return fmt.Sprintf(trade, seq, price) }
	plain := line(1, "187.25") + line(2, "187.5") + line(3, "188")
	const connected = `{"event":"connected","session":"000000000000000a","position":2}` + "\n"
	const left = `{"event":"left","session":"000000000000000a","next":4,"delivered":%d,"not_asked":%d,"withheld":0,"lost":%d,"disowned":0}` + "\n"
	for _, test := range []struct{ name, b, want string }{
		{"the same", plain, "same 3"},
		{"numbers in other forms", line(1, "1.8725e2") + line(2, "187.500") + line(3, "188.0"), "same 3"},
		{"another price", line(1, "187.25") + line(2, "187.51") + line(3, "188"), "same 2; different [2, 3)"},
		{"raw", strings.ReplaceAll(line(1, "18725")+line(2, "18750")+line(3, "18800"), `"ts_event"`, `"raw":true,"price_exponent":-2,"size_exponent":0,"ts_event"`), "same 3"},
		{"times as text", strings.NewReplacer("1767623400000000000", `"2026-01-05T14:30:00.000000000Z"`, "1767623400000000001", `"2026-01-05T14:30:00.000000001Z"`).Replace(plain), "same 3"},
		{"blanks, another order of fields, and fields that are not known", `{ "x" : [1,{"y":"}"}], "seq": 1 , "price":187.25,"size":100,"side":"b\u0075y","trade_id":"7","type":"trade","symbol":"AAPL","venue":"XNAS","session":"000000000000000a","ts_event":1767623400000000000,"ts_publish":1767623400000000001}` + "\n\n" + line(2, "187.5") + line(3, "188"), "same 3"},
		{"snapshots and states", `{"session":"000000000000000a","snapshot":true,"type":"trade","symbol":"X","venue":""}` + "\n" + plain + `{"session":"000000000000000a","state":true,"type":"trade","symbol":"X","venue":""}` + "\n", "same 3"},
		{"an end that is cut off", plain[:len(plain)-20], "same 2; B after [3, 4)"},
		{"a start that is not stated", line(2, "187.5") + line(3, "188"), "same 2; B before [1, 2)"},
		{"a start that is stated", connected + line(2, "187.5") + line(3, "188"), "same 2; B not asked [1, 2)"},
		{"an end that is stated", connected + line(2, "187.5") + fmt.Sprintf(left, 1, 1, 0), "same 1; B not asked [1, 2) [3, 4)"},
		{"what was not asked for, by the totals", strings.Replace(connected, "2", "1", 1) + line(1, "187.25") + line(3, "188") + fmt.Sprintf(left, 2, 1, 0), "same 2; B not asked [2, 3)"},
		{"totals of which a line is missing", strings.Replace(connected, "2", "1", 1) + line(1, "187.25") + line(3, "188") + fmt.Sprintf(left, 3, 0, 0), "same 2; B missing [2, 3)"},
		{"lost", line(1, "187.25") + `{"event":"lost","session":"000000000000000a","from":2,"to":3,"reason":"damaged"}` + "\n" + line(3, "188"), "same 2; B lost [2, 3)"},
		{"disowned", plain + `{"event":"disowned","session":"000000000000000a","from":3,"to":4}` + "\n", "same 2; B disowned [3, 4)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := compare.Compare(t.Context(), linesOf(plain), linesOf(test.b), compare.Config{})
			require.NoError(t, err)
			assert.Equal(t, test.want, summary(r))
		})
	}
}

// Lines that are cut off, as those that a client was writing when it was killed, are passed over and counted.
func TestCutLinesArePassedOver(t *testing.T) {
	one, two := fmt.Sprintf(trade, 1, "187.25"), fmt.Sprintf(trade, 2, "187.5")
	r, err := compare.Compare(t.Context(), linesOf(one+two), linesOf(one+two[:70]+"\n"+two[:1]+"\n"+two+one[:40]+"\n"), compare.Config{})
	require.NoError(t, err)
	assert.Equal(t, "same 2", summary(r))
	assert.Equal(t, 2, r.Parties[1].CutLines)
	assert.True(t, r.Parties[1].Torn)
}

// A line that is not one of subscribe --json is an error that names it.
func TestBadLines(t *testing.T) {
	good := fmt.Sprintf(trade, 1, "187.25")
	for _, test := range []struct{ name, text, want string }{
		{"no JSON", good + "hello\n" + good, "line 2 is not a JSON object"},
		{"a list", "[1]\n", "line 1 is not a JSON object"},
		{"no line of ours", `{"time":"2026-01-05T14:30:00Z","symbol":"AAPL","price":1}` + "\n", `line 1 has neither "event" nor "session" and "seq": it is not of "subscribe --json"`},
		{"a seq that is no number", fmt.Sprintf(strings.Replace(trade, "%d", "-%d", 1), 1, "1"), `line 1 has seq "-1": want a number`},
		{"a seq of 0", fmt.Sprintf(trade, 0, "1"), "line 1 has seq 0: numbers begin at 1"},
		{"a session that is none", strings.Replace(good, "000000000000000a", "xyz", 1), `line 1 has session "xyz": want 16 hexadecimal digits`},
		{"a price that is none", strings.Replace(good, "187.25", `"dear"`, 1), `line 1 has price "dear": ` + decimal.ErrSyntax.Error()},
		{"a time that is none", strings.Replace(good, "1767623400000000000", `"noon"`, 1), `line 1 has ts_event "noon": want nanoseconds since the Unix epoch, or a time such as 2026-01-05T14:30:00Z`},
		{"a start without a position", `{"event":"connected"}` + "\n", `line 1 has session "": want 16 hexadecimal digits`},
		{"a start at 0", `{"event":"connected","session":"000000000000000a","position":0}` + "\n", "line 1 has position 0: numbers begin at 1"},
		{"an end without counts", `{"event":"left","session":"000000000000000a","next":1}` + "\n", `line 1 has delivered "": want a number`},
		{"an empty range", `{"event":"lost","session":"000000000000000a","from":3,"to":3}` + "\n", "line 1 has the empty range [3, 3)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := compare.Compare(t.Context(), linesOf(good), linesOf(test.text), compare.Config{})
			var of *compare.PartyError
			require.True(t, errors.As(err, &of), "%v", err)
			assert.Equal(t, 1, of.Party)
			assert.Equal(t, test.want, of.Err.Error())
		})
	}
}

// A comparison of any lines ends without a panic.
func FuzzLines(f *testing.F) {
	f.Add(fmt.Sprintf(trade, 1, "187.25") + `{"event":"left","delivered":1,"not_asked":0,"withheld":0,"lost":0,"disowned":0}`)
	f.Add(`{"a":"\"","b":[{"c":"]"}],"session":"1","seq":5}`)
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = compare.Compare(t.Context(), linesOf(text), linesOf(text), compare.Config{Show: 3})
	})
}

// Nothing is kept of parties in order, however long they are.
func TestBoundedMemoryForPartiesInOrder(t *testing.T) {
	long := func(skip uint64) compare.Party {
		return compare.Party{Open: func() (compare.Stream, error) { return &longStream{skip: skip}, nil }}
	}
	a, b := long(0), long(2)
	var r *compare.Result
	var err error
	allocs := testing.AllocsPerRun(1, func() { r, err = compare.Compare(t.Context(), a, b, compare.Config{Show: 5}) })
	require.NoError(t, err)
	assert.Equal(t, uint64(longTicks/2), r.Same)
	lacks := &r.Sessions[0].Lacks[1][compare.Missing]
	assert.Equal(t, uint64(longTicks/2-1), lacks.Count, "all but the first, which comes before")
	assert.Len(t, lacks.Ranges, compare.MaxRanges)
	assert.Less(t, allocs, longTicks/2+200.0, "the name of each differing tick, and little else")
}

const longTicks = 200_000

var longText = []byte("x")

// A longStream has longTicks ticks; every skip-th is left out.
type longStream struct {
	seq, skip uint64
	entry     compare.Entry
}

func (s *longStream) Next() (*compare.Entry, error) {
	for s.seq++; s.skip > 0 && s.seq%s.skip == 1; s.seq++ {
	}
	if s.seq > longTicks {
		return nil, io.EOF
	}
	s.entry = compare.Entry{Numbers: feed.Numbers{Session: rootID, Range: feed.Range{From: s.seq, To: s.seq + 1}}, Definition: aapl, Text: longText}
	return &s.entry, nil
}
func (s *longStream) Facts() compare.Facts { return compare.Facts{} }
func (s *longStream) Close() error         { return nil }
