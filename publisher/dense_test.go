package publisher_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/publisher"
)

// Instrument ids are dense: a definition's id is at most the number of definitions before it.
func TestInstrumentIDsAreDense(t *testing.T) {
	p, err := publisher.New(publisher.Config{Seed: 1})
	require.NoError(t, err)
	define := func(id feed.InstrumentID, symbol string) error {
		return p.Publish(t.Context(), []feed.Tick{{Kind: feed.KindDefinition, Instrument: id, Extra: &feed.Extra{Definition: &feed.Definition{Symbol: symbol}}}})
	}
	require.ErrorContains(t, define(1, "A"), "the next one is 0")
	require.NoError(t, define(0, "A"))
	require.ErrorContains(t, define(feed.MaxInstruments-1, "B"), "the next one is 1")
	require.NoError(t, define(1, "B"))
	require.NoError(t, define(0, "C"), "a known id may be redefined")
	assert.EqualValues(t, 4, p.Stats().Head)
	require.NoError(t, p.Close(t.Context()))
}
