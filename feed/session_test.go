package feed_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// lineage returns the lineage of the sessions id, first, id, first, …
func lineage(pairs ...uint64) feed.Lineage {
	var l feed.Lineage
	for i := 0; i < len(pairs); i += 2 {
		l = append(l, feed.Session{ID: feed.SessionID(pairs[i]), First: pairs[i+1]})
	}
	return l
}

func TestSessionIDText(t *testing.T) {
	assert.Equal(t, "0000000000000000", feed.SessionID(0).String())
	assert.Equal(t, "20261122000000ab", feed.SessionID(0x20261122000000ab).String())
	b, err := json.Marshal(lineage(0xa, 1))
	require.NoError(t, err)
	assert.JSONEq(t, `[{"session":"000000000000000a","first":1}]`, string(b))
	var back feed.Lineage
	require.NoError(t, json.Unmarshal(b, &back))
	assert.Equal(t, lineage(0xa, 1), back)

	var id feed.SessionID
	require.NoError(t, id.UnmarshalText([]byte("ffffffffffffffff")))
	assert.Equal(t, feed.SessionID(math.MaxUint64), id)
	for _, bad := range []string{"", "xyz", "0x1", "-1", "10000000000000000"} {
		assert.ErrorContains(t, id.UnmarshalText([]byte(bad)), "want up to 16 hexadecimal digits", bad)
	}
}

// A lineage is bounded, its sessions differ, and its first numbers do not decrease.
func TestLineageValidate(t *testing.T) {
	long := lineage(1, 1)
	for id := feed.SessionID(2); len(long) < feed.MaxLineage; id++ {
		long = append(long, feed.Session{ID: id, First: 5})
	}
	for _, c := range []struct {
		name string
		l    feed.Lineage
		want string // "" if valid
	}{
		{"a root", lineage(0xa, 1), ""},
		{"sessions that gave nothing", lineage(0xa, 1, 0xb, 1, 0xc, 7, 0xd, 7), ""},
		{"a root that was forgotten", lineage(0xa, 1000, 0xb, 2000), ""},
		{"the greatest", long, ""},
		{"one more", append(long[:len(long):len(long)], feed.Session{ID: 99, First: 5}), "lineage has 66 sessions, at most 65"},
		{"empty", nil, "lineage is empty"},
		{"no id", lineage(0xa, 1, 0, 2), "lineage: session 1 has no id"},
		{"from 0", lineage(0xa, 0), "lineage: session 000000000000000a begins at 0, want at least 1"},
		{"backwards", lineage(0xa, 10, 0xb, 9), "lineage: session 000000000000000b begins at 9, want at least 10"},
		{"one twice", lineage(0xa, 1, 0xb, 5, 0xa, 9), "lineage: session 000000000000000a is listed twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.want == "" {
				assert.NoError(t, c.l.Validate())
			} else {
				assert.EqualError(t, c.l.Validate(), c.want)
			}
		})
	}
}

// A child continues its lineage and shares no memory with it; a lineage that is too long to be sent drops its oldest
// sessions.
func TestLineageChild(t *testing.T) {
	parent := make(feed.Lineage, 0, 10)
	parent = append(parent, feed.Session{ID: 0xa, First: 1})
	b, c := parent.Child(0xb, 42), parent.Child(0xc, 44)
	assert.Equal(t, lineage(0xa, 1, 0xb, 42), b)
	assert.Equal(t, lineage(0xa, 1, 0xc, 44), c)
	assert.Equal(t, feed.Session{ID: 0xb, First: 42}, b.Current())
	assert.Equal(t, feed.Session{}, feed.Lineage(nil).Current())

	long := feed.Lineage(nil)
	for id := range feed.SessionID(100) {
		long = long.Child(id+1, uint64(id+1)*10)
		require.NoError(t, long.Newest().Validate())
	}
	assert.Len(t, long, 100)
	assert.Len(t, long.Newest(), feed.MaxLineage)
	assert.Equal(t, feed.Session{ID: 36, First: 360}, long.Newest()[0])
	assert.Equal(t, feed.Session{ID: 100, First: 1000}, long.Newest().Current())
}

// A session owns the numbers from its first up to the next session's first.
func TestLineageOwner(t *testing.T) {
	l := lineage(0xa, 10, 0xb, 42, 0xc, 42, 0xd, 44)
	for _, c := range []struct {
		seq   uint64
		id    feed.SessionID
		owned feed.Range
	}{
		{0, 0, feed.Range{}},
		{9, 0, feed.Range{}},
		{10, 0xa, span(10, 42)},
		{41, 0xa, span(10, 42)},
		{42, 0xc, span(42, 44)},
		{44, 0xd, span(44, math.MaxUint64)},
		{1 << 63, 0xd, span(44, math.MaxUint64)},
	} {
		s, owned, ok := l.Owner(c.seq)
		assert.Equal(t, c.id != 0, ok, c.seq)
		assert.Equal(t, c.id, s.ID, c.seq)
		assert.Equal(t, c.owned, owned, c.seq)
	}
}

// Until ends with the session, and shares no memory that an append could change.
func TestLineageUntil(t *testing.T) {
	l := lineage(0xa, 1, 0xb, 42, 0xc, 44)
	until, ok := l.Until(0xb)
	assert.True(t, ok)
	assert.Equal(t, lineage(0xa, 1, 0xb, 42), until)
	_ = append(until, feed.Session{ID: 0xd, First: 50})
	assert.Equal(t, feed.SessionID(0xc), l[2].ID, "appending to the result leaves l alone")
	_, ok = l.Until(0xd)
	assert.False(t, ok)
}

// A reader continues at its position, or at the end of the last session that it has in common with the
// publisher, whichever is lower.
func TestLineageFork(t *testing.T) {
	for _, c := range []struct {
		name      string
		publisher feed.Lineage
		held      feed.Lineage
		next      uint64
		seq       uint64 // 0 if there is no common session
	}{
		{"the same session", lineage(0xa, 1), lineage(0xa, 1), 42, 42},
		{"restarted at the head", lineage(0xa, 1, 0xb, 42), lineage(0xa, 1), 42, 42},
		{"restarted beyond the position", lineage(0xa, 1, 0xb, 44), lineage(0xa, 1), 42, 42},
		{"restarted before the position", lineage(0xa, 1, 0xb, 41), lineage(0xa, 1), 44, 41},
		{"restarted twice, the second time before the first", lineage(0xa, 1, 0xb, 41, 0xc, 41), lineage(0xa, 1), 44, 41},
		{"another child, which began earlier", lineage(0xa, 1, 0xb, 41), lineage(0xa, 1, 0xc, 44), 50, 41},
		{"another child, which began later", lineage(0xa, 1, 0xb, 44), lineage(0xa, 1, 0xc, 41), 50, 41},
		{"the publisher went back to an old copy", lineage(0xa, 1), lineage(0xa, 1, 0xb, 41), 50, 41},
		{"the old copy is behind the position of then", lineage(0xa, 1, 0xc, 30), lineage(0xa, 1, 0xb, 41), 35, 30},
		{"nothing received yet of the last session", lineage(0xa, 1, 0xb, 41, 0xc, 50), lineage(0xa, 1, 0xb, 41), 41, 41},
		{"the oldest sessions are forgotten", lineage(0xb, 41, 0xc, 50), lineage(0xa, 1, 0xb, 41), 45, 45},
		{"another root", lineage(0xd, 1), lineage(0xa, 1), 42, 0},
		{"nothing held", lineage(0xa, 1), nil, 1, 0},
		{"an empty publisher", nil, lineage(0xa, 1), 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			seq, ok := c.publisher.Fork(c.held, c.next)
			assert.Equal(t, c.seq != 0, ok)
			assert.Equal(t, c.seq, seq)
		})
	}
}

// In a tree of sessions, each begun somewhere within its parent, the fork of two readers is the first number
// that different sessions own on their paths, or the end of what is held.
func TestLineageForkInATree(t *testing.T) {
	eachSeed(t, 300, func(t *testing.T, rng *rand.Rand) {
		tree := []feed.Lineage{lineage(1, 1)}
		for id := feed.SessionID(2); id < 12; id++ {
			parent := tree[rng.IntN(len(tree))]
			tree = append(tree, parent.Child(id, parent.Current().First+rng.Uint64N(6)))
		}
		publisher, held := tree[rng.IntN(len(tree))], tree[rng.IntN(len(tree))]
		next := held.Current().First + rng.Uint64N(8)
		want := uint64(1)
		for want < next {
			a, _, _ := publisher.Owner(want)
			b, _, _ := held.Owner(want)
			if a.ID != b.ID {
				break
			}
			want++
		}
		seq, ok := publisher.Fork(held, next)
		require.True(t, ok)
		require.Equal(t, want, seq, "publisher %v, held %v, next %d", publisher, held, next)
	})
}

// A session has an id other than 0, and another one than its neighbours.
func TestNewSessionID(t *testing.T) {
	seen := map[feed.SessionID]bool{0: true}
	for range 1000 {
		id := feed.NewSessionID()
		require.False(t, seen[id], "%v again", id)
		seen[id] = true
	}
}
