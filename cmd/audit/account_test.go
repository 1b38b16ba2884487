package audit

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

const sessionA, sessionB = feed.SessionID(0xa), feed.SessionID(0xb)

// An account finds each number whose outcome is not what it may be after the one before, and each that a ledger has otherwise.
func TestAccountFindsContradictions(t *testing.T) {
	r := func(from, to uint64) feed.Range { return feed.Range{From: from, To: to} }
	var a Account
	var l feed.Ledger
	require.NoError(t, a.Note(sessionA, r(1, 3000), Delivered, Unaccounted)) // over several pages
	l.Deliver(sessionA, r(1, 3000))
	require.NoError(t, a.Note(sessionB, r(41, 44), Lost, Unaccounted))
	l.Lose(sessionB, r(41, 44))
	require.NoError(t, a.Note(sessionB, r(60, 61), Delivered, Unaccounted)) // of a filtered line
	l.DeliverFiltered(sessionB, r(50, 70), 1)
	require.NoError(t, a.Compare(&l))
	assert.Equal(t, uint64(3000), a.Totals()[Delivered])
	assert.Equal(t, Lost, a.Of(sessionB, 43))
	assert.Equal(t, Unaccounted, a.Of(sessionB, 44))

	assert.ErrorContains(t, a.Note(sessionA, r(2999, 3001), Delivered, Unaccounted), "number 2999 of session 000000000000000a was delivered, and was delivered before")
	assert.ErrorContains(t, a.Compare(&l), "the ledger lacks 1 numbers that were delivered")
	l.Withhold(sessionA, r(3000, 3001))
	assert.ErrorContains(t, a.Compare(&l), "number 3000 of session 000000000000000a was withheld, it was delivered")
}
