package feed_test

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// The entries of a state, applied to an empty one, give an equal state, which stays equal under the same
// further ticks: a late joiner knows as much as a subscriber that was there from the start.
func TestStateEntriesRebuildIt(t *testing.T) {
	eachSeed(t, 150, func(t *testing.T, rng *rand.Rand) {
		g := &script{rng: rng, instruments: 1 + rng.IntN(80), stride: 1 + rng.IntN(100)}
		s := stateOf(t, g.ticks(rng.IntN(1500))...)
		joined := feed.NewState()
		var order []feed.Tick
		for e := range s.Entries(nil) {
			require.Zero(t, e.Seq)
			require.Equal(t, feed.FlagSnapshot, e.Flags&feed.FlagSnapshot)
			require.NotContains(t, []feed.Kind{feed.KindTrade, feed.KindCorrection, feed.KindCancel}, e.Kind)
			require.NoError(t, joined.Apply(&e))
			order = append(order, e)
		}
		require.Empty(t, s.Diff(joined))
		require.True(t, slices.IsSortedFunc(order, func(a, b feed.Tick) int { return int(a.Instrument) - int(b.Instrument) }))
		require.Equal(t, order, slices.Collect(joined.Entries(nil)))

		for _, next := range g.ticks(200) {
			apply(t, s, next)
			apply(t, joined, next)
		}
		require.Empty(t, s.Diff(joined))
	})
}

// Entries yields only the known parts of each instrument, in a fixed order, with their event times.
func TestStateEntries(t *testing.T) {
	type entry struct {
		id   feed.InstrumentID
		kind feed.Kind
		time int64
	}
	s := stateOf(t, define(0, "AAPL"), define(1, "MSFT"), define(2, "IBM"), define(3, "X"),
		feed.Level{Side: feed.SideSell, Price: 12, Size: 1}.Tick(0, 41), feed.Level{Side: feed.SideSell, Price: 11, Size: 1}.Tick(0, 42),
		feed.Level{Side: feed.SideBuy, Price: 10, Size: 1}.Tick(0, 43), feed.Quote{Bid: 10, Ask: 11}.Tick(0, 44),
		trade(10, 1, 0), feed.StatusTick(1, 45, feed.StatusTrading, 20261123), feed.StatusTick(2, 46, feed.StatusHalted, 0),
		feed.Trade{Price: 1}.Tick(2, 47))
	var got []entry
	for e := range s.Entries(nil) {
		got = append(got, entry{e.Instrument, e.Kind, e.EventTime})
	}
	assert.Equal(t, []entry{
		{0, feed.KindDefinition, 0}, {0, feed.KindSummary, 1010}, {0, feed.KindQuote, 44},
		{0, feed.KindLevel, 43}, {0, feed.KindLevel, 42}, {0, feed.KindLevel, 41},
		{1, feed.KindDefinition, 0}, {1, feed.KindStatus, 45},
		{2, feed.KindDefinition, 0}, {2, feed.KindStatus, 46}, {2, feed.KindSummary, 47},
		{3, feed.KindDefinition, 0},
	}, got)
}

// Entries yields only wanted instruments, and stops when the caller does.
func TestStateEntriesWanted(t *testing.T) {
	g := &script{rng: rand.New(rand.NewPCG(1, 1)), instruments: 20, stride: 3}
	s := stateOf(t, g.ticks(2000)...)
	even := func(id feed.InstrumentID) bool { return id%2 == 0 }
	all := slices.Collect(s.Entries(nil))
	var wanted, definitions []feed.Tick
	for _, e := range all {
		if even(e.Instrument) {
			wanted = append(wanted, e)
			if e.Kind == feed.KindDefinition {
				definitions = append(definitions, e)
			}
		}
	}
	assert.Equal(t, wanted, slices.Collect(s.Entries(even)))
	assert.Equal(t, definitions, slices.Collect(s.Definitions(even)))
	for n := 1; n <= len(all); n++ {
		require.Equal(t, all[:n], first(n, s.Entries(nil)))
	}
	assert.Equal(t, definitions[:1], first(1, s.Definitions(even)))
}

func first(n int, seq iter.Seq[feed.Tick]) (ticks []feed.Tick) {
	for e := range seq {
		if ticks = append(ticks, e); len(ticks) == n {
			break
		}
	}
	return ticks
}

// A clone and its original are independent, in whichever order they change, and also if they are cloned again.
func TestStateCloneIsIndependent(t *testing.T) {
	eachSeed(t, 200, func(t *testing.T, rng *rand.Rand) {
		g := &script{rng: rng, instruments: 1 + rng.IntN(100), stride: 1 + rng.IntN(3)}
		type version struct {
			state   *feed.State
			history []feed.Tick
			script  script
		}
		versions := []*version{{state: feed.NewState(), script: *g}}
		for range 12 {
			v := versions[rng.IntN(len(versions))]
			if rng.IntN(2) == 0 {
				versions = append(versions, &version{v.state.Clone(), slices.Clone(v.history), v.script})
				versions[len(versions)-1].script.defined = slices.Clone(v.script.defined)
			}
			ticks := v.script.ticks(rng.IntN(150))
			apply(t, v.state, ticks...)
			v.history = append(v.history, ticks...)
		}
		for i, v := range versions {
			require.Empty(t, v.state.Diff(stateOf(t, v.history...)), "version %d", i)
		}
	})
}

// At the end of a snapshot the instruments in scope are those of the snapshot, and nothing else has changed.
func TestStateReplace(t *testing.T) {
	eachSeed(t, 200, func(t *testing.T, rng *rand.Rand) {
		g := &script{rng: rng, instruments: 40, stride: 1 + rng.IntN(70)}
		s := stateOf(t, g.ticks(rng.IntN(600))...)
		s.Clone()
		g2 := &script{rng: rng, instruments: 40, stride: g.stride}
		ticks := g2.ticks(rng.IntN(600))
		from, source := stateOf(t, ticks...), stateOf(t, ticks...)
		was := s.Clone()
		scope := func(id feed.InstrumentID, _ *feed.Definition) bool { return int(id)/g.stride%3 == 0 }
		if rng.IntN(4) == 0 {
			scope = nil
		}
		s.Replace(scope, from)
		require.Empty(t, from.Diff(source), "the snapshot")

		want := feed.NewState()
		for e := range was.Entries(func(id feed.InstrumentID) bool { return scope != nil && !scope(id, nil) }) {
			apply(t, want, e)
		}
		for e := range source.Entries(func(id feed.InstrumentID) bool { return scope == nil || scope(id, nil) }) {
			apply(t, want, e)
		}
		require.Empty(t, s.Diff(want))
		require.Equal(t, want.Len(), s.Len())
		for id := range feed.InstrumentID(s.Len()) {
			if d, ok := s.Definition(id); ok {
				got, ok := s.Lookup(d.Symbol, d.Venue)
				require.True(t, ok)
				require.Equal(t, id, got)
			}
		}

		// A later change to one of the two must not affect the other.
		touch := func(s *feed.State) {
			for _, e := range slices.Collect(s.Definitions(nil)) {
				id := e.Instrument
				apply(t, s, feed.Level{Side: feed.SideBuy, Price: 3, Size: 77}.Tick(id, 1), feed.Quote{Bid: 77}.Tick(id, 1))
			}
		}
		touch(from)
		require.Empty(t, s.Diff(want))
		from = stateOf(t, ticks...)
		s.Replace(scope, from)
		touch(s)
		require.Empty(t, from.Diff(source))
	})
}

// After a fork an id or a name may belong to another instrument: the snapshot decides.
func TestStateReplaceAfterAFork(t *testing.T) {
	s := stateOf(t, define(0, "AAPL"), define(1, "MSFT"), define(2, "DISOWNED"), define(3, "ALSO"))
	from := stateOf(t, define(0, "AAPL"), define(1, "MSFT"), define(2, "OTHER"))
	all := func(feed.InstrumentID, *feed.Definition) bool { return true }
	s.Replace(all, from)
	assert.Empty(t, s.Diff(from))
	assert.Equal(t, 3, s.Len())
	_, ok := s.Lookup("DISOWNED", "")
	assert.False(t, ok)

	s = stateOf(t, define(0, "AAPL"), define(1, "MSFT"), define(2, "IBM"))
	onlyM := func(_ feed.InstrumentID, d *feed.Definition) bool { return d.Symbol[0] == 'M' }
	s.Replace(onlyM, stateOf(t, define(2, "MSFT"), define(5, "IGNORED")))
	assert.Empty(t, s.Diff(stateOf(t, define(0, "AAPL"), define(2, "MSFT"))))
	_, ok = s.Lookup("IBM", "")
	assert.False(t, ok)

	s = stateOf(t, define(0, "AAPL"), define(1, "MSFT"))
	only2 := func(id feed.InstrumentID, _ *feed.Definition) bool { return id == 2 }
	s.Replace(only2, stateOf(t, define(2, "MSFT")))
	assert.Empty(t, s.Diff(stateOf(t, define(0, "AAPL"), define(2, "MSFT"))))
}

// Diff names each difference, a line per instrument, and is bounded.
func TestStateDiff(t *testing.T) {
	a := stateOf(t, define(0, "AAPL"), define(1, "MSFT"), define(2, "IBM"))
	b := stateOf(t, define(0, "AAPL"), define(2, "IBM"), define(3, "X"))
	apply(t, b, feed.Quote{Bid: 1}.Tick(2, 1))
	assert.True(t, a.Equal(a.Clone()))
	assert.False(t, a.Equal(b))
	assert.Regexp(t, `^instrument 1 is MSFT, not defined in the other
instrument 2: .*
instrument 3 is not defined, in the other X$`, a.Diff(b))
	for id := range feed.InstrumentID(100) {
		apply(t, b, define(100+id, fmt.Sprint("Y", id)))
	}
	assert.LessOrEqual(t, len(a.Diff(b)), 4000)
}
