package feed_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

func asOf(h *feed.Definitions, seq uint64) map[feed.InstrumentID]string {
	got := map[feed.InstrumentID]string{}
	for id, d := range h.AsOf(seq) {
		got[id] = d.Symbol
	}
	return got
}

// AsOf S includes every definition before S.
func TestDefinitionsAsOf(t *testing.T) {
	var h feed.Definitions
	assert.Empty(t, asOf(&h, 100))
	h.Define(41, 0, &feed.Definition{Symbol: "AAPL"})
	h.Define(42, 2, &feed.Definition{Symbol: "MSFT"})
	h.Define(44, 0, &feed.Definition{Symbol: "APPL"})
	for seq, want := range map[uint64]map[feed.InstrumentID]string{
		0: {}, 41: {}, 42: {0: "AAPL"}, 43: {0: "AAPL", 2: "MSFT"}, 44: {0: "AAPL", 2: "MSFT"},
		45: {0: "APPL", 2: "MSFT"}, 1 << 63: {0: "APPL", 2: "MSFT"},
	} {
		assert.Equal(t, want, asOf(&h, seq), "as of %d", seq)
	}
	for range h.AsOf(100) {
		break
	}
	assert.Equal(t, 3, h.Len())
}

// Pruning before S changes nothing as of S and later, and keeps one earlier definition per instrument.
func TestDefinitionsPrune(t *testing.T) {
	eachSeed(t, 100, func(t *testing.T, rng *rand.Rand) {
		var h, whole feed.Definitions
		for seq := range uint64(200) {
			id, d := feed.InstrumentID(rng.IntN(10)), &feed.Definition{Symbol: string(rune('A' + rng.IntN(26)))}
			h.Define(seq, id, d)
			whole.Define(seq, id, d)
		}
		cut := rng.Uint64N(220)
		h.Prune(cut)
		for seq := cut; seq < 220; seq++ {
			require.Equal(t, asOf(&whole, seq), asOf(&h, seq))
		}
		since := 200 - min(cut, 200)
		require.LessOrEqual(t, uint64(h.Len()), since+10)
		require.GreaterOrEqual(t, uint64(h.Len()), since)
	})
}
