package publisher

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
)

// After 10,000 restarts that each published ticks, the lineage in a welcome has at most 65 sessions, shows
// which session owns the number where the line begins, and has the same fork with every position that names at least
// one of the sessions.
func TestWelcomeNamesEnough(t *testing.T) {
	const sessions, each = 10_000, 7
	p := &Publisher{}
	for i := range feed.SessionID(sessions) {
		p.lineage = append(p.lineage, feed.Session{ID: 1 + i, First: 1 + uint64(i)*each})
	}
	check := func(held codec.Position, next uint64) {
		t.Helper()
		l := p.named(held, next)
		require.NoError(t, l.Validate())
		owner, _, _ := p.lineage.Owner(next)
		got, _, ok := l.Owner(next)
		require.True(t, ok && got == owner, "who owns %d", next)
		if next >= p.lineage.Newest()[0].First+each {
			require.Equal(t, p.lineage.Newest(), l)
		}
		want, common := p.lineage.Fork(held.Lineage, held.Next)
		fork, ok := l.Fork(held.Lineage, held.Next)
		require.Equal(t, common, ok)
		if common {
			require.Equal(t, want, fork, "the fork with %d of %v", held.Next, held.Lineage.Current())
		}
	}
	for _, next := range []uint64{1, 2, each, each + 1, sessions / 2 * each, sessions*each - 66*each, sessions*each + 1} {
		check(codec.Position{}, next)
		check(codec.Position{Lineage: feed.Lineage{{ID: 1 << 40, First: 1}}, Next: 99}, next)
	}
	for _, n := range []int{0, 1, 63, 64, 65, 66, 5000, sessions - 67, sessions - 66, sessions - 65, sessions - 64, sessions - 2, sessions - 1} {
		upto := p.lineage[:n+1].Newest()
		for _, ahead := range []uint64{0, 1, each - 1, each, each + 5} { // beyond each, numbers that no session owns now
			held := codec.Position{Lineage: upto, Next: p.lineage[n].First + ahead}
			fork, ok := p.lineage.Fork(held.Lineage, held.Next)
			require.True(t, ok)
			check(held, fork)
			// So has a position that continued in a session outside this lineage.
			held.Lineage = upto.Child(1<<40, p.lineage[n].First+min(ahead, 3)).Newest()
			fork, ok = p.lineage.Fork(held.Lineage, held.Next)
			require.True(t, ok)
			check(held, fork)
		}
	}
	assert.Len(t, p.lineage, sessions, "the publisher keeps all sessions")
}
