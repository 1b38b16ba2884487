package compare_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/compare"
	"tickfeed/feed"
)

// journalOf returns a party that knows, as a journal does, that its lineages begin at 1.
func journalOf(text string) compare.Party {
	return compare.Party{Open: func() (compare.Stream, error) {
		s, err := linesOf(text).Open()
		return &knowing{s, make(map[feed.SessionID]uint64)}, err
	}}
}

type knowing struct {
	compare.Stream
	firsts map[feed.SessionID]uint64
}

func (k *knowing) Next() (*compare.Entry, error) {
	e, err := k.Stream.Next()
	if e != nil {
		k.firsts[e.Session] = 1
	}
	return e, err
}

func (k *knowing) Facts() compare.Facts {
	f := k.Stream.Facts()
	f.Firsts = k.firsts
	return f
}

// A tick on a filtered line may have a later publish time than on the full line (PROTOCOL.md, "Filters").
func TestPublishTimes(t *testing.T) {
	later := strings.NewReplacer("400000000001", "400000000009")
	full := linesOf(script(t, "1-4"))
	for _, test := range []struct{ b, want string }{
		{"connected:1 1 3 left:4/2,1", "same 2; B not asked [2, 3)"},
		{"connected:1 3 1 left:4/2,1", "same 2; B not asked [2, 3)"}, // sorted; 1 is no hole
		{"connected:1 1-4 left:4/3,0", "same 0; different [1, 4)"},
	} {
		r, err := compare.Compare(t.Context(), full, linesOf(later.Replace(script(t, test.b))), compare.Config{})
		require.NoError(t, err)
		assert.Equal(t, test.want, summary(r))
	}
}

// script makes lines of words: "3" is tick 3 of the root session and "b3" of the child, "3-6" are ticks 3, 4 and 5; "connected:5",
// "resumed:5", "rewound:5" and "by-snapshot:5" connect at 5 (or at b5); "cut" disconnects; "lost:3-5", "withheld:3-5" and
// "disowned:3-5" are events, "snapshot:5" a snapshot; "left:10/9,0" leaves with next 10, 9 delivered and 0 not asked, and then, if
// given, withheld, lost and disowned.
func script(t *testing.T, words string) string {
	var b strings.Builder
	for _, word := range strings.Fields(words) {
		name, rest, ok := strings.Cut(word, ":")
		if !ok {
			name, rest = "", word
		}
		session := rootID
		if cut, ok := strings.CutPrefix(rest, "b"); ok {
			session, rest = childID, cut
		}
		var from, to uint64
		n, _ := fmt.Sscanf(rest, "%d-%d", &from, &to)
		if n == 1 {
			to = from + 1
		}
		event := func(format string, args ...any) {
			fmt.Fprintf(&b, `{"event":"%s","session":"%v"`+format+"}\n", append([]any{name, session}, args...)...)
		}
		switch name {
		case "":
			if word == "cut" {
				b.WriteString(`{"event":"disconnected","cause":"cut"}` + "\n")
				continue
			}
			require.NotZero(t, n, word)
			for ; from < to; from++ {
				b.WriteString(strings.Replace(fmt.Sprintf(trade, from, "187.25"), rootID.String(), session.String(), 1))
			}
		case "connected", "resumed", "rewound", "by-snapshot":
			reason := strings.TrimPrefix(strings.Replace(name, "connected", "as asked", 1), "by-")
			name = "connected"
			event(`,"mode":"live","reason":"%s","position":%d,"head":9`, reason, from)
		case "snapshot":
			event(`,"seq":%d,"scope":"all"`, from)
		case "left":
			var counts [5]uint64
			_, text, _ := strings.Cut(rest, "/")
			for i, count := range strings.Split(text, ",") {
				_, err := fmt.Sscan(count, &counts[i])
				require.NoError(t, err, word)
			}
			event(`,"next":%d,"delivered":%d,"not_asked":%d,"withheld":%d,"lost":%d,"disowned":%d`,
				from, counts[0], counts[1], counts[2], counts[3], counts[4])
		default:
			event(`,"from":%d,"to":%d`, from, to)
		}
	}
	return b.String()
}

var differs = regexp.MustCompile("missing|before|after|lost|withheld|no session in common")

// Numbers without a line count as not asked for only if the other lines and their totals say so.
func TestRunsWithoutALineAreNotAskedFor(t *testing.T) {
	for _, test := range []struct{ name, a, b, want string }{
		{"a right one", "1-10", "connected:1 1-10 left:10/9,0", "same 9"},
		{"it counts what it printed", "1-10", "connected:1 1-4 6-10 left:10/7,0", "same 7; B missing [4, 6)"},
		{"one twice, one not", "1-10", "connected:1 1 2 2 3 5-10 left:10/9,0", "same 8; B missing [4, 5); B repeats 1, 0 of them differently"},
		{"its first ticks are not there", "1-10", "connected:1 4-10 left:10/9,0", "same 6; B before [1, 4)"},
		{"nor does it count them", "1-10", "connected:1 4-10 left:10/6,0", "same 6; B before [1, 4)"},
		{"its last ticks are not there", "1-10", "connected:1 1-7 left:10/9,0", "same 6; B after [7, 10)"},
		{"nor does it count them, at the end", "1-10", "connected:1 1-7 left:10/6,0", "same 6; B after [7, 10)"},
		{"it leaves earlier", "1-10", "connected:1 1-7 left:7/6,0", "same 6; B not asked [7, 10)"},
		{"it died", "1-10", "connected:1 1-7", "same 6; B after [7, 10)"},
		{"it died after its welcome", "1-10", "connected:1", "same 0; B missing [1, 10)"},
		{"it printed no tick", "1-10", "connected:1 left:10/9,0", "same 0; B missing [1, 10)"},
		{"it left at once", "1-10", "connected:4 left:4/0,3", "same 0; B not asked [1, 10)"},
		{"it was connected elsewhere", "1-10", "connected:b4", "same 0; B not asked [1, 10); no session in common"},
		{"it says nothing about its beginning", "1-10", "3-5 left:7/2,5", "same 2; B before [1, 3); B after [5, 7); B not asked [7, 10)"},

		{"from a snapshot", "1-10", "connected:5 5-10 left:10/5,4", "same 5; B not asked [1, 5)"},
		{"from a snapshot, and one is missing", "1-10", "connected:5 5-7 8-10 left:10/4,4", "same 4; B missing [7, 8); B not asked [1, 5)"},
		{"with a filter", "1-10", "connected:1 1 4 8 left:10/3,6", "same 3; B not asked [2, 4) [5, 8) [9, 10)"},
		{"with a filter, and one is missing", "1-10", "connected:1 1 8 left:10/3,6", "same 2; B missing [2, 8); B after [9, 10)"},
		{"with a filter, and one is in no count", "1-10", "connected:1 1 8 left:10/2,6", "same 2; B missing [2, 8); B after [9, 10)"},
		{"with a filter, twice as one is missing", "1-10", "connected:1 1 1 8 left:10/3,6", "same 2; B missing [2, 8); B after [9, 10); B repeats 1, 0 of them differently"},
		{"with a filter, from a snapshot", "1-10", "connected:5 6 8 left:10/2,7", "same 2; B not asked [1, 6) [7, 8) [9, 10)"},
		{"with a filter, from a snapshot, and one is missing", "1-10", "connected:5 6 left:10/1,7", "same 1; B before [5, 6); B after [7, 10); B not asked [1, 5)"},
		{"with a filter, over two connections", "1-10", "connected:1 1 cut resumed:3 4 left:10/2,7", "same 2; B not asked [2, 4) [5, 10)"},
		{"with a filter, lost and withheld", "1-10", "connected:1 lost:1-2 2 withheld:4-6 snapshot:6 8 left:10/2,4,2,1", "same 2; B lost [1, 2); B withheld [4, 6); B not asked [3, 4) [6, 8) [9, 10)"},
		{"less is lost than it says", "1-10", "connected:1 lost:1-2 2 left:10/1,7,0,2", "same 1; B after [3, 10); B lost [1, 2)"},
		{"what was asked for is lost", "1-10", "connected:5 lost:3-5 5 6 9 left:10/3,4,0,2", "same 3; B lost [3, 5); B not asked [1, 3) [7, 9)"},

		{"two runs", "1-10", "connected:1 1-4 left:4/3,0 resumed:4 4-10 left:10/6,0", "same 9"},
		{"two runs, and the second one lacks one", "1-10", "connected:1 1-4 left:4/3,0 resumed:4 4-6 7-10 left:10/5,0", "same 8; B missing [6, 7)"},
		{"two runs with a filter", "1-10", "connected:1 1 left:4/1,2 resumed:4 5 left:10/1,5", "same 2; B not asked [2, 5) [6, 10)"},
		{"two runs with a filter, and one is killed", "1-10", "connected:1 1 resumed:4 5 left:10/1,5", "same 2; B missing [2, 4); B not asked [4, 5) [6, 10)"},
		{"killed, and begun anew", "1-10", "connected:1 1-4 connected:7 7-10 left:10/3,6", "same 6; B missing [4, 7)"},
		{"two runs, and nobody asked for what lies between", "1-10", "connected:1 1-4 left:4/3,0 connected:7 7-10 left:10/3,6", "same 6; B not asked [4, 7)"},

		{"over a fork", "1-6 b6-10", "connected:1 1-6 b6-10 left:b10/9,0", "same 9"},
		{"over a fork, and one is missing", "1-6 b6-10", "connected:1 1-5 b6-10 left:b10/8,0", "same 8; B missing [5, 6)"},
		{"disowned", "1-4 b4-10", "connected:1 1-6 disowned:4-6 snapshot:b4 b4-10 left:b10/9,0,0,0,2", "same 9"},
		{"disowned, and one is missing", "1-4 b4-10", "connected:1 1-6 cut rewound:b4 disowned:4-6 b4-7 b8-10 left:b10/8,0,0,0,2", "same 8; b: B missing [7, 8)"},
		{"disowned, with a filter", "1-4 b4-10", "connected:1 1 5 cut rewound:b4 disowned:4-6 b7 left:b10/2,7,0,0,2", "same 2; B not asked [2, 4); b: B not asked [4, 7) [8, 10)"},
		{"disowned, with a filter, and one is missing", "1-4 b4-10", "connected:1 1 5 cut rewound:b4 disowned:4-6 left:b10/1,7,0,0,2", "same 1; B missing [2, 4); b: B after [4, 10)"},
		{"disowned before it began", "1-4 b4-10", "rewound:b4 disowned:4-6 b7 left:b10/1,5,0,0,2", "same 1; B not asked [1, 4); b: B not asked [4, 7) [8, 10)"},
		{"another session", "1-4 b1-10", "connected:1 1 3 cut by-snapshot:b1 b2 left:b10/3,9", "same 3; B not asked [2, 3); b: B not asked [1, 2) [3, 10)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := compare.Compare(t.Context(), journalOf(script(t, test.a)), linesOf(script(t, test.b)), compare.Config{})
			require.NoError(t, err)
			got := strings.ReplaceAll(summary(r), fmt.Sprintf("%x: ", uint64(childID)), "b: ")
			if !r.Related() {
				got += "; no session in common"
			}
			assert.Equal(t, test.want, got)
			assert.Equal(t, differs.MatchString(test.want), r.Differs(), "differs")
		})
	}
}

// The totals of a right client add up for each stream, and no tick can be taken out of its lines unnoticed, whether or not the
// count of the delivered ticks is reduced with it.
func TestRightLines(t *testing.T) {
	files, err := filepath.Glob("../../testdata/streams/*.ndjson")
	require.NoError(t, err)
	texts := make(map[string]string) // what one client printed over all of its connections
	for _, f := range files {        // sorted: -1 before -2
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		texts[connection.ReplaceAllString(filepath.Base(f), "")] += string(text)
	}
	require.Greater(t, len(texts), 100)
	taken := 0
	for name, text := range texts {
		diff := func(other string) *compare.Result {
			r, err := compare.Compare(t.Context(), journalOf(text), linesOf(other), compare.Config{})
			require.NoError(t, err, name)
			return r
		}
		r := diff(text)
		require.False(t, r.Differs(), name)
		require.False(t, r.Parties[0].Unexplained, name)
		lines := strings.SplitAfter(text, "\n")
		for i, line := range lines {
			if !strings.Contains(line, `"seq":`) || strings.Contains(line, `"event":`) || taken%7 > 0 && len(lines) > 50 {
				continue
			}
			taken++
			rest := strings.Join(slices.Delete(slices.Clone(lines), i, i+1), "")
			without := diff(rest)
			if without.Same == r.Same {
				continue // it was disowned, or came twice
			}
			assert.True(t, without.Differs(), "%s without line %d", name, i+1)
			less := delivered.ReplaceAllStringFunc(rest, func(s string) string {
				n, _ := strconv.Atoi(delivered.FindStringSubmatch(s)[1])
				return fmt.Sprintf(`"delivered":%d,`, n-1)
			})
			assert.True(t, diff(less).Differs(), "%s without line %d and its count", name, i+1)
		}
	}
	assert.Greater(t, taken, 300)
}

var connection, delivered = regexp.MustCompile(`(-\d)?\.ndjson$`), regexp.MustCompile(`"delivered":(\d+),`)
