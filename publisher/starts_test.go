package publisher_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"tickfeed/codec"
	"tickfeed/publisher"
)

// A subscriber starts where it asks to (PROTOCOL.md, "Where a line starts"), and ends with the same state as a
// subscriber from the beginning.
func TestStartsAreWhereAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.quotes(3000) // numbers 4 to 3003, several packets
		all := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
		all.until(3004)
		all.consecutive(1, 3004)
		assert.Empty(t, all.events, "a line from number 1 needs no snapshot")

		late := w.join(codec.Hello{})
		late.snapshot()
		assert.Equal(t, uint64(3004), late.next)
		assert.Empty(t, all.state.Diff(late.state))

		live := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartLive}})
		live.snapshot()
		assert.Equal(t, []string{"snapshot 3004 scope 1"}, live.events)

		mid := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartSeq, Value: 1500}})
		mid.until(3004)
		mid.consecutive(1500, 3004)
		assert.Equal(t, []string{"snapshot 1500 scope 0"}, mid.events)
		assert.Empty(t, all.state.Diff(mid.state))

		time.Sleep(time.Second)
		w.quotes(10)
		after := all.welcome.Now + int64(time.Second)
		timed := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartTime, Value: uint64(after)}})
		timed.until(3014)
		timed.consecutive(3004, 3014)
		for _, c := range []*client{all, late, live, mid} {
			c.until(3014)
		}
		assert.Empty(t, all.state.Diff(late.state))
	})
}
