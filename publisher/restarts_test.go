package publisher_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/journal/memfs"
	"tickfeed/subscriber"
)

// A publisher knows all sessions of its journal, however often it was started: a line from the beginning
// begins at 1, and every position with at least one known session resumes. A session that owns no numbers is in no
// lineage.
func TestManyRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const restarts = 150
		cfg := publisher.Config{Seed: 1, Journal: "j", FS: &memfs.FS{}}
		var lineages []feed.Lineage
		for i := range restarts {
			pub, err := publisher.New(cfg)
			require.NoError(t, err)
			lineages = append(lineages, pub.Lineage())
			if i%10 != 9 { // in the others it publishes nothing
				_, err = pub.Define(t.Context(), feed.Definition{Symbol: fmt.Sprintf("S%d", i)})
				require.NoError(t, err)
			}
			require.NoError(t, pub.Close(t.Context()))
		}
		w := start(t, cfg)
		published := uint64(restarts - restarts/10)
		require.Len(t, w.pub.Lineage(), int(published)+1)
		head := w.pub.Stats().Head
		require.Equal(t, published+4, head)

		all := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
		assert.Equal(t, uint64(1), all.welcome.Start)
		assert.Equal(t, w.pub.Lineage()[:1], all.welcome.Lineage, "up to the session that owns number 1")
		all.until(head)
		all.consecutive(1, head)
		sessions := slices.DeleteFunc(all.events, func(e string) bool { return e != "session 65" })
		assert.Len(t, sessions, int(published)+1-64, "the oldest sessions are dropped")

		for i, l := range lineages {
			next := l.Current().First
			c := w.join(codec.Hello{HasState: true, Position: codec.Position{Lineage: l.Newest(), Next: next}})
			assert.Equal(t, codec.StartedResumed, c.welcome.Reason, "restart %d", i)
			assert.Equal(t, next, c.welcome.Start)
			fork, ok := c.welcome.Lineage.Fork(l.Newest(), next)
			assert.True(t, ok && fork == next, "restart %d: %d of %v", i, next, l.Current())
			c.nc.Close()
		}
		// Our subscriber accepts these lineages, even if it is disconnected in old sessions.
		s, err := subscriber.New(subscriber.Config{Addrs: []string{"pub:1"}, Dial: w.connect, Seed: 1, Start: codec.Start{Kind: codec.StartBeginning}})
		require.NoError(t, err)
		enough := errors.New("enough")
		for _, upto := range []uint64{3, 40, 41, 90, head} {
			err = s.Run(t.Context(), func(b *subscriber.Batch) error {
				require.NotEqual(t, subscriber.Disconnected, connState(b), "%+v", b.Change)
				if s.Position().Next >= upto && b.Change != nil {
					return enough
				}
				return nil
			})
			require.ErrorIs(t, err, enough)
		}
		assert.Equal(t, feed.Totals{Delivered: head - 1}, s.Ledger().Totals())
		assert.NoError(t, s.Ledger().Check())
	})
}

// connState returns the state after a change; Live for ticks.
func connState(b *subscriber.Batch) subscriber.ConnState {
	if b.Change == nil {
		return subscriber.Live
	}
	return b.Change.State
}
