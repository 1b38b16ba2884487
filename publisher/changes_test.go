package publisher_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/publisher"
)

// A client may change its filter a few times at once, as a user interface does. The changes of a client that
// continues are delayed to ten a second, and longer if they are expensive. Meanwhile its line continues, and it is
// answered in order.
func TestChangesOfFilterWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		c := w.join(codec.Hello{Filter: codec.Filter{"A0"}, Start: codec.Start{Kind: codec.StartBeginning}})
		c.until(4)
		change := func(n uint64, filter codec.Filter) {
			c.send(&codec.Subscribe{Request: n, Filter: filter})
			for want := fmt.Sprintf("subscribed %d", n); ; {
				require.NoError(t, c.step())
				if last := len(c.events) - 1; last >= 0 && (c.events[last] == want || last > 0 && c.events[last-1] == want) && c.begin == nil {
					return
				}
			}
		}
		began := time.Now()
		for n := range uint64(16) {
			change(n+1, codec.Filter{"A0", fmt.Sprint("NONE", n)})
		}
		assert.Less(t, time.Since(began), 50*time.Millisecond, "sixteen changes need not wait")
		for n := range uint64(40) {
			w.quotes(3)
			change(n+17, codec.Filter{"A0", fmt.Sprint("NONE", n)})
		}
		assert.InDelta(t, 4, time.Since(began).Seconds(), 0.5, "the others are made ten a second")
		next := c.next
		w.quotes(3)
		c.until(next + 3)
		assert.Equal(t, next, c.ticks[len(c.ticks)-1].Seq, "nothing was missed")
		assert.Len(t, c.ticks, 1+41, "the definition and each quote of A0")

	})
}

// A line continues while a change waits, and the change is made when it is due, even if nothing else happens on the
// line.
func TestALineGoesOnWhileAChangeWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		c := w.join(codec.Hello{Filter: codec.Filter{"A0"}, Heartbeat: time.Minute, Start: codec.Start{Kind: codec.StartBeginning}})
		c.until(2) // what the filter leaves out after it may wait for a heartbeat
		for n := range uint64(16) {
			c.send(&codec.Subscribe{Request: n + 1, Filter: codec.Filter{"A0"}})
		}
		synctest.Wait()
		c.send(&codec.Subscribe{Request: 17, Filter: codec.Filter{"A0", "B0"}})
		synctest.Wait()
		w.quotes(3)
		c.until(5)
		assert.NotContains(t, c.events, "subscribed 17")
		assert.Equal(t, []uint64{1, 4}, c.seqs())
		began := time.Now()
		for c.events[len(c.events)-1] != "snapshot 7 scope 2" {
			require.NoError(t, c.step())
		}
		assert.Contains(t, c.events, "subscribed 17")
		assert.Less(t, time.Since(began), 200*time.Millisecond, "nothing else wakes the line")
	})
}
