package lobby

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type conn struct{ closed bool }

func (c *conn) Close() error {
	c.closed = true
	return nil
}

// If there is no place, the oldest guest that has not proved itself gives way, and not before it has had its grace.
func TestTheOldestGivesWay(t *testing.T) {
	const grace = 20 * time.Millisecond
	start := time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	l := New(3, grace)
	var guests []*Guest
	for ms := range 3 {
		g, evicted, wait := l.enter(&conn{}, at(ms))
		require.NotNil(t, g)
		require.Nil(t, evicted)
		require.Zero(t, wait)
		guests = append(guests, g)
	}
	require.True(t, guests[0].Stay())
	assert.Equal(t, 2, l.Waiting())

	g, _, wait := l.enter(&conn{}, at(20))
	assert.Nil(t, g)
	assert.Equal(t, time.Millisecond, wait, "the second guest came 1 ms after the first, which has proved itself")
	g, evicted, _ := l.enter(&conn{}, at(21))
	require.NotNil(t, g)
	assert.Same(t, guests[1], evicted)
	assert.True(t, evicted.Left())
	assert.False(t, evicted.Leave(), "its place was not freed twice")
	assert.False(t, evicted.Stay())

	assert.True(t, guests[2].Leave())
	assert.False(t, guests[2].Leave())
	require.True(t, g.Stay())
	g, evicted, _ = l.enter(&conn{}, at(22))
	require.NotNil(t, g, "a guest has left")
	assert.Nil(t, evicted)
	require.True(t, g.Stay())
	g, _, wait = l.enter(&conn{}, at(1000))
	assert.Nil(t, g, "all guests have proved themselves")
	assert.Zero(t, wait)
}

// Enter waits until a guest leaves, until the oldest one has had its grace, or until its context ends.
func TestEnterWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(1, 20*time.Millisecond)
		began := time.Now()
		enter := func(ctx context.Context) (*Guest, *conn, bool) {
			c := &conn{}
			g, evicted := l.Enter(ctx, c)
			return g, c, evicted
		}
		_, c, evicted := enter(t.Context())
		assert.False(t, evicted)
		second, _, evicted := enter(t.Context())
		assert.True(t, evicted)
		assert.True(t, c.closed)
		assert.Equal(t, 20*time.Millisecond, time.Since(began))

		time.AfterFunc(5*time.Millisecond, func() { second.Leave() })
		third, _, evicted := enter(t.Context())
		assert.False(t, evicted)
		assert.Equal(t, 25*time.Millisecond, time.Since(began))

		third.Stay()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		g, c, _ := enter(ctx)
		assert.Nil(t, g)
		assert.False(t, c.closed, "it is the caller's")
		assert.Equal(t, 25*time.Millisecond+time.Minute, time.Since(began))
	})
}

// If two guests leave before either of two calls of Enter waits, both calls get a place, as the listeners of a publisher do.
func TestEveryFreePlaceIsGiven(t *testing.T) {
	l := New(2, time.Second)
	var guests []*Guest
	for range 2 {
		g, _ := l.Enter(t.Context(), &conn{})
		require.True(t, g.Stay())
		guests = append(guests, g)
	}
	for range 2 { // the calls find no place
		g, _, _ := l.enter(&conn{}, time.Now())
		require.Nil(t, g)
	}
	for _, g := range guests {
		g.Leave()
	}
	for range 2 { // and look again as often as they are woken
		require.Len(t, l.freed, 1)
		<-l.freed
		g, _, _ := l.enter(&conn{}, time.Now())
		require.NotNil(t, g)
	}
	assert.Empty(t, l.freed)
}
