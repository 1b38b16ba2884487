package publisher_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/publisher"
)

// Activity counts what was published in each slot, of each instrument, whatever its kind, and names the busiest.
func TestActivityNamesTheBusiest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		time.Sleep(time.Minute) // the definitions are long ago
		assert.Empty(t, w.pub.Activity(4, time.Second, 10).Busiest)
		publish := func(ticks ...feed.Tick) {
			require.NoError(t, w.pub.Publish(context.Background(), ticks))
			require.NoError(t, w.pub.Flush(context.Background()))
		}
		quote := func(i int) feed.Tick {
			return feed.Quote{Bid: 1, BidSize: 1, Ask: 2, AskSize: 1}.Tick(w.ids[i], noon)
		}
		time.Sleep(500 * time.Millisecond) // the middle of each slot
		publish(quote(0), quote(0), quote(1))
		time.Sleep(2 * time.Second)
		publish(quote(1), feed.Tick{Kind: feed.KindStatus, Instrument: w.ids[1], EventTime: noon, Status: feed.StatusHalted}, quote(1))
		time.Sleep(time.Second)
		publish(quote(2))
		time.Sleep(500 * time.Millisecond)
		a := w.pub.Activity(4, time.Second, 2)
		assert.Equal(t, time.Second, a.Slot)
		assert.Equal(t, []uint64{3, 0, 3, 1}, a.Ticks)
		assert.Equal(t, []publisher.InstrumentActivity{{Name: "A1", Total: 4, Ticks: []uint32{1, 0, 3, 0}}, {Name: "A0", Total: 2, Ticks: []uint32{2, 0, 0, 0}}}, a.Busiest)
	})
}

// If memory does not reach back, or there was too much to look at, the slots are shorter; nothing is counted twice.
func TestActivityIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1, Memory: 16 * publisher.MinMemory})
		for range 40 {
			w.quotes(20_000)
			time.Sleep(10 * time.Millisecond)
		}
		head := w.pub.Summary().Head
		require.Greater(t, head, uint64(800_000))
		a := w.pub.Activity(8, time.Second, 3)
		require.Len(t, a.Busiest, 3)
		total := uint64(0)
		for _, n := range a.Ticks {
			total += n
		}
		assert.LessOrEqual(t, total, uint64(320_000))
		assert.Greater(t, total, uint64(250_000))
		assert.Less(t, a.Slot, 100*time.Millisecond)
		assert.Positive(t, slices.Min(a.Ticks), "%v", a.Ticks)
		sum := a.Busiest[0].Total + a.Busiest[1].Total + a.Busiest[2].Total
		assert.Equal(t, total, sum)
	})
}
