package exam

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
)

// The report of a drive says to the author of a client what was seen, what was expected, and how far the client has come.
func TestDriveReports(t *testing.T) {
	const a, b = feed.SessionID(0x20261122a), feed.SessionID(0x20261122b)
	quotes := func(from, to uint64) map[uint64]tickTruth {
		all := make(map[uint64]tickTruth)
		for seq := from; seq < to; seq++ {
			all[seq] = tickTruth{"AAPL", int64(seq), 0}
		}
		return all
	}
	// Numbers 4 and 5 of the first session are disowned.
	published := truth{
		sessions: []feed.SessionID{a, b}, ticks: map[feed.SessionID]map[uint64]tickTruth{a: quotes(1, 6), b: quotes(4, 7)},
		lineage: feed.Lineage{{ID: a, First: 1}, {ID: b, First: 4}}, final: 7,
	}
	connected := func(session feed.SessionID, position uint64, reason string) string {
		return fmt.Sprintf(`{"event":"connected","session":"%v","position":%d,"reason":"%s"}`, session, position, reason)
	}
	tick := func(session feed.SessionID, seq uint64) string {
		return fmt.Sprintf(`{"session":"%v","seq":%d,"type":"quote","symbol":"AAPL","raw":true,"bid":%d,"ask":%d}`, session, seq, seq, seq+1)
	}
	first := []string{connected(a, 1, "as asked"), tick(a, 1), tick(a, 2), tick(a, 3), tick(a, 4), tick(a, 5), `{"event":"disconnected","cause":"cut"}`, connected(b, 4, "rewound")}
	disowned := fmt.Sprintf(`{"event":"disowned","session":"%v","from":4,"to":6}`, a)
	whole := append(append([]string{}, first...), disowned, fmt.Sprintf(`{"event":"snapshot","session":"%v","seq":4}`, b), tick(b, 4), tick(b, 5), tick(b, 6), `{"event":"end","final":7}`)
	left := `{"event":"left","next":7,"delivered":6,"lost":0,"withheld":0,"disowned":2}`
	plus := func(lines []string, more ...string) []string { return append(append([]string{}, lines...), more...) }
	died := endedError{errors.New("exit status 1")}
	for _, test := range []struct {
		name  string
		lines []string
		err   error
		want  string // "" if all is right
	}{
		{"all is right but for a goodbye", plus(whole, left), nil, noGoodbye},
		{"nothing", nil, died, "the client has ended by itself: exit status 1; it has printed nothing"},
		{"no connected", []string{`{"event":"saved"}`}, died, `the client has ended by itself: exit status 1; its output has no event "connected"`},
		{"ends in the middle", first[:4], died, "the client has ended by itself: exit status 1; its output accounts for the numbers below 4"},
		{"does not catch SIGTERM", whole, nil, missingLeft},
		{"ends too early", plus(first[:4], `{"event":"left","next":4,"delivered":3,"lost":0,"withheld":0,"disowned":0}`), nil, "the output ends without number 4; the session ends at 7"},
		{"does not print the end", plus(whole[:len(whole)-1], left), nil, `the event "end" is missing`},
		{"another session", plus(first[:2], tick(0xabcd, 2)), nil, `"session" is "000000000000abcd", and the publisher has only had 000000020261122a, 000000020261122b`},
		{"no session", plus(first[:2], `{"seq":2}`), nil, `"session" is missing`},
		{"a tick is missing", plus(first[:2], tick(a, 3)), nil, "number 2 is missing: what follows begins at 3"},
		{"a tick before connected", first[1:], nil, `number 1 comes before the event "connected"`},
		{"a tick after disconnected", plus(first[:3], first[6], tick(a, 3)), nil, `number 3 comes after "disconnected", and before the next "connected"`},
		{"does not disown", plus(first, tick(b, 4)), nil, `the event "disowned" from 4 to 6 is missing: the line begins again at 4`},
		{"counts what was disowned as delivered", plus(whole, `{"event":"left","next":7,"delivered":8,"lost":0,"withheld":0,"disowned":2}`), nil,
			`the total of "delivered" is 8, and the lines before it come to 6: the 2 numbers that were disowned count as nothing else`},
		{"does not count what was disowned", plus(whole, `{"event":"left","next":7,"delivered":6,"lost":0,"withheld":0,"disowned":0}`), nil, `the total of "disowned" is 0, and the lines before it come to 2`},
		{"leaves elsewhere", plus(whole, `{"event":"left","next":6,"delivered":6,"lost":0,"withheld":0,"disowned":2}`), nil, `"next" is 6, and the lines before it account for the numbers below 7`},
		{"wrong line, then dead", plus(first[:1], "50 AAPL"), died, "it begins with another value, of type number"},
	} {
		t.Run(test.name, func(t *testing.T) {
			j := judge{d: &Drive{}, beat: driveBeat, truth: &published, sight: &sight{}}
			fault, late := j.all(nil, test.lines, test.err)
			require.NotNil(t, fault)
			assert.Contains(t, fault.Text, test.want)
			assert.Equal(t, test.want == noGoodbye, late)
		})
	}
	published.lineage, published.final = published.lineage[:1], 6
	j := judge{d: &Drive{}, beat: driveBeat, truth: &published, sight: &sight{}}
	fault, late := j.all(nil, plus(first[:4], `{"event":"disconnected","cause":"silent"}`), died)
	require.NotNil(t, fault)
	assert.True(t, late, "the machine may have been slow")
}

// A client whose permission was narrowed may lack numbers of other instruments from then on, and must then neither print more of them
// nor keep their state.
func TestDriveNarrowed(t *testing.T) {
	const a = feed.SessionID(0x20261122a)
	published := truth{
		sessions: []feed.SessionID{a}, lineage: feed.Lineage{{ID: a, First: 1}}, final: 6, permit: 3,
		ticks: map[feed.SessionID]map[uint64]tickTruth{a: {1: {"AAPL", 1, 0}, 2: {"MSFT", 2, 0}, 3: {"MSFT", 3, 0}, 4: {"AAPL", 4, 0}, 5: {"MSFT", 5, 0}}},
	}
	line := func(seq uint64) string {
		return fmt.Sprintf(`{"session":"%v","seq":%d,"type":"quote","symbol":"%s","raw":true,"bid":%d,"ask":%d}`, a, seq, published.ticks[a][seq].symbol, seq, seq+1)
	}
	state := func(symbol string, bid int) string {
		return fmt.Sprintf(`{"state":true,"session":"%v","type":"quote","symbol":"%s","raw":true,"bid":%d,"ask":%d}`, a, symbol, bid, bid+1)
	}
	end := []string{`{"event":"end","final":6}`, `{"event":"left","next":6,"delivered":%d,"lost":0,"withheld":0,"disowned":0}`, state("AAPL", 4)}
	for _, test := range []struct {
		seqs []uint64
		more string
		want string
	}{
		{[]uint64{1, 2, 4}, "", "has not said goodbye"},
		{[]uint64{1, 2, 3, 4}, "", "has not said goodbye"},
		{[]uint64{1, 4}, "", "number 2 is missing"},
		{[]uint64{1, 2, 3, 5}, "", "number 4 is missing"},
		{[]uint64{1, 2, 4, 5}, "", "number 5 is of MSFT, which the client may not see from number 3 on"},
		{[]uint64{1, 2, 4}, state("MSFT", 2), "the state at the end has the bid 2 of MSFT"},
	} {
		lines := []string{fmt.Sprintf(`{"event":"connected","session":"%v","position":1,"reason":"as asked"}`, a)}
		for _, seq := range test.seqs {
			lines = append(lines, line(seq))
		}
		lines = append(lines, end[0], fmt.Sprintf(end[1], len(test.seqs)), end[2])
		if test.more != "" {
			lines = append(lines, test.more)
		}
		j := judge{d: &Drive{Permit: codec.Filter{"A*"}}, beat: driveBeat, truth: &published, sight: &sight{}}
		fault, _ := j.all(nil, lines, nil)
		require.NotNil(t, fault)
		assert.Contains(t, fault.Text, test.want, "%v", test.seqs)
	}
}
