package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/subscriber"
)

// As text, a snapshot of many instruments is one line, the ticks of one of a few are printed, and so are those of every snapshot
// with --snapshot.
func TestTextOfASnapshot(t *testing.T) {
	printed := func(instruments int, brief bool, scope codec.ScopeKind) string {
		state := feed.NewState()
		var entries []feed.Tick
		for i := range instruments {
			d := feed.Tick{Kind: feed.KindDefinition, Instrument: feed.InstrumentID(i), Extra: &feed.Extra{Definition: &feed.Definition{Symbol: fmt.Sprint("S", i), Venue: "XNAS"}}}
			require.NoError(t, state.Apply(&d))
			d.Flags |= feed.FlagSnapshot
			entries = append(entries, d)
		}
		var out bytes.Buffer
		r := receiver{say: func(string, ...any) {}, printer: newPrinter(&out, new(textFormat)), brief: brief, patterns: patterns{matched: true}}
		quote := feed.Quote{Bid: 1, Ask: 2}.Tick(0, 2)
		quote.Seq = 12_345
		for _, b := range []subscriber.Batch{
			{Session: 1, State: state, Change: &subscriber.Change{Snapshot: &codec.SnapshotBegin{Seq: 12_345, Scope: scope}}},
			{Session: 1, State: state, Snapshot: true, Ticks: entries[:instruments/2]},
			{Session: 1, State: state, Snapshot: true, Ticks: entries[instruments/2:]},
			{Session: 1, State: state, Ticks: []feed.Tick{quote}, Published: []subscriber.Published{{End: 1, Time: 3}}},
		} {
			require.NoError(t, r.handle(&b))
		}
		assert.Contains(t, out.String(), "\n 12345 ")
		return out.String()
	}
	many := printed(1000, true, codec.ScopeAll)
	assert.True(t, strings.HasPrefix(many, "       snapshot of 1,000 instruments as of number 12,345 (--snapshot prints it)\n 12345 "), many)
	assert.Contains(t, printed(11, true, codec.ScopeDefinitions), "       definitions of 11 instruments as of number 12,345 ")
	assert.Contains(t, printed(11, true, codec.ScopeAdded), "       snapshot of the added instruments as of number 12,345 ")
	assert.Equal(t, 11, strings.Count(printed(fewInstruments, true, codec.ScopeAll), "\n"))
	assert.Equal(t, 1001, strings.Count(printed(1000, false, codec.ScopeAll), "\n"))
}

// The patterns of each filter are compared with the instruments once, when the state has all that match: at once if the filter adds
// none, and after the snapshot otherwise.
func TestPatternsAreComparedOnce(t *testing.T) {
	state := feed.NewState()
	require.NoError(t, state.Apply(&feed.Tick{Kind: feed.KindDefinition, Extra: &feed.Extra{Definition: &feed.Definition{Symbol: "AAPL"}}}))
	live := func() *subscriber.Change { return &subscriber.Change{State: subscriber.Live} }
	filtered := func(state subscriber.ConnState, limits string, patterns ...string) *subscriber.Change {
		return &subscriber.Change{State: state, Filtered: &subscriber.Filtered{Filter: patterns, Limits: limits}}
	}
	p := patterns{filter: codec.Filter{"AAPL", "MSFT"}}
	for i, test := range []struct {
		c    *subscriber.Change
		want string // - for no comparison
	}{
		{&subscriber.Change{State: subscriber.Snapshotting}, "-"},
		{live(), "--symbols: no instrument matches MSFT so far; patterns are case-sensitive"},
		{live(), "-"},
		{filtered(subscriber.Live, "", "AAPL"), ""},
		{filtered(subscriber.Live, "", "AAPL", "APPL"), "-"},
		{live(), `symbols: no instrument matches APPL so far; did you mean "AAPL"?`},
		{filtered(subscriber.Live, "", "APPL"), `symbols: no instrument matches APPL so far; did you mean "AAPL"?`},
		{filtered(subscriber.Replaying, ""), "-"},
		{live(), ""},
		{filtered(subscriber.Replaying, "", "X"), "-"},
		{live(), "symbols: no instrument matches X so far; patterns are case-sensitive"},
		{filtered(subscriber.Live, "l2", "Z"), "-"},
		{live(), "no instrument matches Z so far, to which the publisher limits this user"},
	} {
		got, ok := p.compare(test.c, state)
		if !ok {
			got = "-"
		}
		assert.Equal(t, test.want, got, "change %d", i)
	}
}
