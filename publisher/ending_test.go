package publisher_test

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/publisher"
)

// A client that is silent for three intervals is disconnected. A client that sends pulses is not, and is sent
// heartbeats for as long as the market is quiet (PROMISES.md, 12, 13).
func TestLivenessOfSilentClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		lively, mute := w.join(codec.Hello{}), w.join(codec.Hello{})
		begun := time.Now()
		for time.Since(begun) < 8*time.Hour {
			require.NoError(t, lively.step())
		}
		assert.Len(t, w.pub.Stats().Conns, 1)
		var err error
		_ = mute.nc.SetReadDeadline(time.Time{})
		for err == nil {
			_, _, err = mute.r.Next()
		}
		assert.ErrorIs(t, err, io.EOF)
	})
}

// The round trip of a subscriber is measured from what it echoes for the first time. A client that repeats an old echo, because a
// busy line has no heartbeats, does not seem slower as its connection ages.
func TestRoundTripDoesNotGrowWithTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		all, few := w.join(codec.Hello{}), w.join(codec.Hello{Filter: codec.Filter{"A0"}})
		clients := []*client{all, few}
		trips := func() (list []time.Duration) {
			for _, c := range w.pub.Stats().Conns {
				list = append(list, c.RoundTrip)
			}
			return list
		}
		for i := range 6 {
			now := time.Now().UnixNano()
			w.quotes(3)
			for _, c := range clients {
				for c.publish < now {
					require.NoError(t, c.step())
				}
			}
			time.Sleep(200 * time.Millisecond)
			for _, c := range clients {
				echo := c.welcome.Now
				if i >= 4 {
					echo = c.publish
				}
				c.send(&codec.Pulse{Next: c.next, Echo: echo})
			}
			synctest.Wait()
			assert.Equal(t, []time.Duration{200 * time.Millisecond, 200 * time.Millisecond}, trips(), "after %d pulses", i+1)
		}
	})
}

// WaitConfirmed waits for a subscriber whose connection was lost before it had everything, for as long as the subscriber
// may take to notice. It does not wait for one that said goodbye.
func TestWaitConfirmedWaitsForOneThatWasCutOff(t *testing.T) {
	for _, test := range []struct {
		name   string
		then   func(w *world, c *client)
		waited time.Duration
	}{
		{"it comes back", func(w *world, c *client) {
			w.net.Links()[0].Reset()
			time.Sleep(time.Second)
			again := w.join(codec.Hello{Position: codec.Position{Lineage: c.lineage, Next: 50}})
			time.Sleep(time.Second)
			again.until(104)
			again.send(&codec.Pulse{Next: 104})
		}, 2 * time.Second},
		{"it does not", func(w *world, c *client) { w.net.Links()[0].Reset() }, 3 * time.Second},
		{"it says goodbye", func(w *world, c *client) { c.send(&codec.Goodbye{Code: codec.CodeDone}) }, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := start(t, publisher.Config{Seed: 1})
				c := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
				w.quotes(100)
				require.NoError(t, w.pub.End(t.Context()))
				c.until(104)
				began := time.Now()
				waited := make(chan time.Duration)
				go func() {
					assert.NoError(t, w.pub.WaitConfirmed(t.Context()))
					waited <- time.Since(began)
				}()
				test.then(w, c)
				assert.Equal(t, test.waited, <-waited)
			})
		})
	}
}

// A publisher that stops sends the remaining data and a goodbye; an ended session is reported as ended.
func TestEndAndGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1, RetryAfter: time.Second})
		c := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
		w.quotes(100)
		require.NoError(t, w.pub.End(t.Context()))
		assert.ErrorIs(t, w.pub.Publish(t.Context(), make([]feed.Tick, 1)), publisher.ErrEnded)
		c.until(104)
		for len(c.events) == 0 {
			require.NoError(t, c.step())
		}
		confirmed := make(chan error)
		go func() { confirmed <- w.pub.WaitConfirmed(t.Context()) }()
		synctest.Wait()
		select {
		case <-confirmed:
			t.Error("WaitConfirmed returned before the client has confirmed")
		default:
		}
		c.send(&codec.Pulse{Next: 104})
		require.NoError(t, <-confirmed)
		w.cancel()
		for c.step() == nil {
		}
		assert.Equal(t, []string{"end", "goodbye " + codec.CodeShutdown.String()}, c.events)
		c.nc.Close()
	})
}
