package publisher_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/journal/memfs"
)

// A subscriber resumes at its position, or where the lineages fork (PROTOCOL.md, "Lineage").
func TestResumeAtPositionOrFork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.quotes(100)
		c := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
		c.until(104)

		again := w.join(codec.Hello{HasState: true, Position: w.position(c, 50)})
		assert.Equal(t, codec.StartedResumed, again.welcome.Reason)
		again.state = c.state
		again.until(104)
		again.consecutive(50, 104)
		assert.Empty(t, again.events)

		fresh := w.join(codec.Hello{Position: w.position(c, 50)})
		fresh.until(104)
		fresh.consecutive(50, 104)
		assert.Equal(t, []string{"snapshot 50 scope 0"}, fresh.events)
		assert.Empty(t, c.state.Diff(fresh.state))

		lost := append(feed.Lineage{}, c.lineage...).Child(0xB, 60)
		rewound := w.join(codec.Hello{HasState: true, Position: codec.Position{Lineage: lost, Next: 90}})
		assert.Equal(t, codec.StartedRewound, rewound.welcome.Reason)
		rewound.until(104)
		rewound.consecutive(60, 104)
		assert.Equal(t, []string{"snapshot 60 scope 0"}, rewound.events)

		stranger := w.join(codec.Hello{HasState: true, Position: codec.Position{Lineage: feed.Lineage{{ID: 0xB, First: 1}}, Next: 90}})
		assert.Equal(t, codec.StartedBySnapshot, stranger.welcome.Reason)
		stranger.until(104)
		stranger.consecutive(1, 104) // memory holds the whole session: the client misses nothing
		assert.Empty(t, c.state.Diff(stranger.state))
	})
}

// Each start with a journal begins a child session. A subscriber that was away follows through all of them, and its
// filter holds across them (PROTOCOL.md, "Sessions").
func TestChildSessions(t *testing.T) {
	for _, filter := range []codec.Filter{nil, {"A*", "B0"}} {
		t.Run(fmt.Sprint(filter), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := publisher.Config{Seed: 1, Journal: filepath.Join(t.TempDir(), "j")}
				w := start(t, cfg)
				w.quotes(100)
				first := w.join(codec.Hello{Filter: filter, Start: codec.Start{Kind: codec.StartBeginning}})
				first.until(50)
				held := w.position(first, 50)
				for range 3 {
					w.stop()
					w.open(cfg)
					w.quotes(100)
				}
				c := w.join(codec.Hello{Filter: filter, HasState: true, Position: held})
				assert.Equal(t, codec.StartedResumed, c.welcome.Reason)
				c.state = feed.NewState()
				for i, s := range []string{"A0", "A1", "B0"} {
					def := feed.Definition{Symbol: s, PriceExponent: -2}
					require.NoError(t, c.state.Apply(&feed.Tick{
						Kind: feed.KindDefinition, Instrument: feed.InstrumentID(i), Extra: &feed.Extra{Definition: &def},
					}))
				}
				c.until(404)
				c.consecutive(50, 404)
				assert.Equal(t, []string{"session 2", "session 3", "session 4"}, c.events)
			})
		})
	}
}

// A journal of more sessions than a message can list is served from its first number.
func TestMoreSessionsThanALineageNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := publisher.Config{Seed: 1, Journal: "j", FS: &memfs.FS{}, Memory: publisher.MinMemory}
		w := start(t, cfg)
		w.quotes(100)
		for range feed.MaxLineage + 5 {
			w.stop()
			w.open(cfg)
			w.quotes(10)
		}
		head := uint64(1 + 3 + 100 + 10*(feed.MaxLineage+5))
		assert.Equal(t, uint64(1), w.pub.Stats().Tail)
		for _, from := range []codec.Start{{Kind: codec.StartBeginning}, {Kind: codec.StartSeq, Value: 1}, {Kind: codec.StartTime}} {
			c := w.join(codec.Hello{Start: from})
			assert.Equal(t, uint64(1), c.welcome.Start)
			c.until(head)
			c.consecutive(1, head)
		}
	})
}

// Without a journal, a subscriber that resumes at a position that memory has dropped is sent the range of the numbers
// that are gone, and the state after them.
func TestMemoryOnlyPublisherForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1, Memory: publisher.MinMemory})
		w.quotes(10)
		early := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
		early.until(14)
		for range 20 {
			w.quotes(5000)
		}
		tail := w.pub.Stats().Tail
		require.Greater(t, tail, uint64(100))

		time.Sleep(time.Second) // the dropped ticks have earlier publish times than the ticks that remain
		c := w.join(codec.Hello{HasState: true, Position: w.position(early, 14)})
		c.until(100_014)
		assert.Equal(t, []string{fmt.Sprintf("gone [14, %d) expired", tail), fmt.Sprintf("snapshot %d scope 0", tail)}, c.events)
		c.consecutive(tail, 100_014)
		late := w.join(codec.Hello{})
		late.snapshot()
		assert.Empty(t, late.state.Diff(c.state))
	})
}

// A subscriber of a session that ended before its first tick misses nothing of the next session.
func TestSessionWithoutTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.quotes(10)
		held := codec.Position{Lineage: feed.Lineage{{ID: 99, First: 1}}, Next: 1}
		c := w.join(codec.Hello{HasState: true, Position: held})
		assert.Equal(t, codec.StartedBySnapshot, c.welcome.Reason)
		c.until(14)
		c.consecutive(1, 14)
		assert.Empty(t, c.events)
	})
}
