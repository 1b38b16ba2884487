package feed_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"

	"tickfeed/feed"
)

// A table keeps what was put there for each instrument, and one great id costs little memory.
func TestTableHoldsGreatIDsCheaply(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var table feed.Table[[64]byte]
	ids := []feed.InstrumentID{0, 255, 256, 900_000, feed.MaxInstruments - 1}
	for i, id := range ids {
		if i != 1 { // whose page there is
			assert.Nil(t, table.Lookup(id))
		}
		assert.Zero(t, *table.At(id))
		assert.Same(t, table.At(id), table.Lookup(id))
		table.At(id)[0] = byte(i + 1)
	}
	runtime.ReadMemStats(&after)
	for i, id := range ids {
		assert.EqualValues(t, i+1, table.At(id)[0], id)
	}
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(2<<20))
}
