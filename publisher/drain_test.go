package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/journal/memfs"
	"tickfeed/subscriber"
)

// Subscribers of a publisher that is drained leave one after the other, come back to the next publisher of the journal as spread
// as they left, and lose nothing. Meanwhile publishing goes on, and no client is admitted.
func TestDrainSpreadsSubscribers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const crowd, over, restart = 20, 10 * time.Second, 500 * time.Millisecond
		cfg := publisher.Config{Seed: 1, Journal: "j", FS: &memfs.FS{}}
		w := start(t, cfg)
		w.quotes(100)
		began := time.Now()
		left, back := make([]time.Duration, crowd), make([]time.Duration, crowd)
		for i := range left {
			left[i] = -1
		}
		subs := make([]*subscriber.Subscriber, crowd)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		for i := range subs {
			var err error
			subs[i], err = subscriber.New(subscriber.Config{Addrs: []string{"pub:1"}, Dial: w.connect, Seed: uint64(i + 1), Start: codec.Start{Kind: codec.StartBeginning}})
			require.NoError(t, err)
			running.Go(func() {
				err := subs[i].Run(ctx, func(b *subscriber.Batch) error {
					if b.Change != nil && b.Change.State == subscriber.Disconnected && left[i] < 0 {
						left[i] = time.Since(began)
					}
					if b.Change != nil && b.Change.Report != nil {
						back[i] = time.Since(began)
					}
					return nil
				})
				assert.ErrorIs(t, err, context.Canceled)
			})
			time.Sleep(time.Millisecond) // so that they are connected in this order
		}
		synctest.Wait()
		began = time.Now()

		drained := make(chan error)
		run, err := w.pub.Drain(over)
		require.NoError(t, err)
		assert.True(t, w.pub.Summary().Draining)
		go func() { drained <- run(t.Context()) }()
		for range 90 { // publishing goes on
			w.quotes(10)
			time.Sleep(over / 100)
		}
		assert.Zero(t, w.pub.Summary().Missing, "clients that were asked to come back to the next process")
		_, err = w.pub.Drain(0)
		assert.ErrorIs(t, err, publisher.ErrDraining)
		late := w.dial(codec.Hello{})
		refusal := late.message().(*codec.Refusal)
		assert.Equal(t, &codec.Refusal{Code: codec.CodeShutdown, Text: "the publisher restarts", Retry: true, RetryAfter: over}, refusal)
		require.NoError(t, <-drained)
		w.stop()
		time.Sleep(restart)
		w.open(cfg)
		w.quotes(100)
		time.Sleep(over + time.Second)
		synctest.Wait()

		for i := range subs {
			due := over * time.Duration(i) / crowd
			assert.InDelta(t, due.Seconds(), left[i].Seconds(), 0.1, "subscriber %d", i)
			assert.InDelta(t, (due + over).Seconds(), back[i].Seconds(), 0.6, "subscriber %d", i)
		}
		head := w.pub.Summary().Head
		require.Greater(t, head, uint64(1100))
		for i, s := range subs {
			assert.Equal(t, feed.Totals{Delivered: head - 1}, s.Totals(), "subscriber %d", i)
			assert.NoError(t, s.Ledger().Check())
		}
		stop()
		running.Wait()
	})
}

// A client of a publisher that is drained is sent all that was published before, also without a journal, and a spread of
// Config.RetryAfter is added to the time that it is asked to wait. A drain ends with its context.
func TestDrainSendsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1, RetryAfter: 4 * time.Second})
		waits := map[time.Duration]bool{}
		var clients []*client
		for range 10 {
			clients = append(clients, w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}}))
		}
		w.quotes(1000)
		ctx, cancel := context.WithTimeout(t.Context(), 1700*time.Millisecond)
		defer cancel()
		drained := make(chan error)
		run, err := w.pub.Drain(2 * time.Second)
		require.NoError(t, err)
		go func() { drained <- run(ctx) }()
		for i, c := range clients[:8] {
			c.until(1004)
			bye := c.ending()
			require.NotNil(t, bye, "client %d", i)
			assert.Equal(t, "the publisher restarts", bye.Text)
			assert.GreaterOrEqual(t, bye.RetryAfter, 2*time.Second)
			assert.Less(t, bye.RetryAfter, 6*time.Second)
			waits[bye.RetryAfter] = true
			assert.Len(t, c.ticks, 1003, fmt.Sprintf("client %d", i))
			c.nc.Close()
		}
		assert.Greater(t, len(waits), 6)
		err = <-drained
		assert.True(t, errors.Is(err, context.DeadlineExceeded), "%v", err)
	})
}

// A client that is kicked is sent what was published, and a goodbye that asks it to come back. Others stay.
func TestKickAsksToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		first := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
		second := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
		synctest.Wait()
		conns := w.pub.Stats().Conns
		require.Len(t, conns, 2)
		w.quotes(100)
		number := min(conns[0].Number, conns[1].Number)
		assert.True(t, w.pub.Kick(number))
		first.until(104)
		bye := first.ending()
		assert.Equal(t, &codec.Farewell{Code: codec.CodeShutdown, Text: "the operator of the publisher ended this connection", Retry: true, RetryAfter: time.Second}, bye)
		first.nc.Close()
		synctest.Wait()
		assert.False(t, w.pub.Kick(number), "it has left")
		s := w.pub.Stats()
		assert.Len(t, s.Conns, 1)
		assert.Equal(t, map[publisher.Reason]uint64{publisher.LeftKicked: 1}, s.Left)
		second.until(104)
		w.join(codec.Hello{Position: codec.Position{Lineage: first.lineage, Next: 104}})
		assert.EqualValues(t, 1, w.pub.Summary().Returned)
	})
}
