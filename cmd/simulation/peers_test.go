package simulation_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/effort"
	"tickfeed/codec/netsim"
	"tickfeed/publisher"
	"tickfeed/subscriber"
)

// A peer that is gone, however it went, is found by both sides within three intervals, and everything goes on when it is
// back (PROMISES.md, 12). A stopped process has a test of its own.
func TestDeadPeerIsFound(t *testing.T) {
	alone(t)
	const interval = time.Second
	for name, c := range map[string]struct {
		fault func(*netsim.Network, *netsim.Link)
		lab   string // instead, the fault of a lab between them
		// The side that hears nothing any more; the other one hears of the end when the network is whole again.
		subscriber, publisher bool
	}{
		"partition":                     {func(n *netsim.Network, _ *netsim.Link) { n.Partition("client0", "pub:1") }, "", true, true},
		"partition, from the publisher": {func(n *netsim.Network, _ *netsim.Link) { n.Block("pub:1", "client0") }, "", true, false},
		"partition, to the publisher":   {func(n *netsim.Network, _ *netsim.Link) { n.Block("client0", "pub:1") }, "", false, true},
		"half-open":                     {func(_ *netsim.Network, l *netsim.Link) { l.BlackHole() }, "", true, true},
		"reset":                         {func(_ *netsim.Network, l *netsim.Link) { l.Reset() }, "", true, true},
		"lab: half-open in":             {nil, "half-open in", true, false},
		"lab: half-open out":            {nil, "half-open out", false, true},
		"lab: stall":                    {nil, "stall 5s", true, true},
		"lab: cut":                      {nil, "cut rst", true, true},
		"lab: goodbye":                  {nil, "goodbye shutdown", true, true},
	} {
		for _, busy := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, busy %t", name, busy), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newStage(t, publisher.Config{Seed: 1, Heartbeat: interval})
					if c.lab != "" {
						s.behind("on now: "+c.lab, nil)
					}
					var down, up atomic.Int64 // when the subscriber found it, and was live again; ns since the epoch
					var stale atomic.Bool
					sub, stop := s.subscribe(subscriber.Config{Start: codec.Start{Kind: codec.StartBeginning}, MaxBackoff: interval}, func(b *subscriber.Batch) {
						switch {
						case b.Change == nil:
						case b.Change.State == subscriber.Disconnected:
							down.CompareAndSwap(0, time.Now().UnixNano())
						case b.Change.State == subscriber.Stale:
							stale.Store(true)
						case b.Change.Report != nil:
							up.CompareAndSwap(0, time.Now().UnixNano())
						}
					})
					var market sync.WaitGroup
					var closed atomic.Bool
					market.Go(func() {
						for !closed.Load() {
							if busy {
								s.quotes(3)
							}
							time.Sleep(29_000_003)
						}
					})
					time.Sleep(10*interval + 300*time.Millisecond)
					require.Equal(t, subscriber.Live, sub.Status().State)
					require.False(t, stale.Load(), "a false alarm")

					at, remote := time.Now(), s.pub.Stats().Conns[0].Remote
					if c.fault != nil {
						require.Len(t, s.net.Links(), 1)
						c.fault(s.net, s.net.Links()[0])
					} else {
						require.True(t, s.lab.Trigger("now"))
					}
					found := time.Duration(0) // by the publisher
					for time.Since(at) < 4*interval {
						time.Sleep(time.Millisecond)
						if found == 0 && !slices.ContainsFunc(s.pub.Stats().Conns, func(c publisher.ConnStats) bool { return c.Remote == remote }) {
							found = time.Since(at)
						}
						if c.subscriber && !c.publisher && down.Load() != 0 || c.publisher && !c.subscriber && found != 0 {
							break // the side that found it tells the other, where that can hear
						}
					}
					if c.subscriber {
						require.NotZero(t, down.Load(), "the subscriber does not know")
						assert.LessOrEqual(t, time.Duration(down.Load()-at.UnixNano()), 3*interval, "until the subscriber knows")
					}
					if c.publisher {
						require.NotZero(t, found, "the publisher does not know")
						assert.LessOrEqual(t, found, 3*interval+2*time.Millisecond, "until the publisher knows")
					}
					s.net.Heal(netsim.Any, netsim.Any)
					time.Sleep(6 * interval)
					assert.NotZero(t, up.Load(), "the subscriber is not live again")
					closed.Store(true)
					market.Wait()
					require.NoError(t, s.pub.Flush(t.Context()))
					time.Sleep(interval)
					assert.Equal(t, subscriber.Live, sub.Status().State)
					assert.Equal(t, s.pub.Stats().Head, sub.Status().Next)
					assert.Zero(t, sub.Ledger().Totals().Lost)
					stop()
					s.end()
				})
			})
		}
	}
}

// A refusal that is triggered by hand meets the next hellos, as many as it says, and nobody before.
func TestRefusalByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, publisher.Config{Seed: 1})
		s.behind("on now: refuse busy retry 50ms 2 times\non now: cut", nil)
		sub, stop := s.subscribe(subscriber.Config{Start: codec.Start{Kind: codec.StartBeginning}, MaxBackoff: time.Millisecond}, nil)
		time.Sleep(2 * time.Second)
		require.Equal(t, subscriber.Live, sub.Status().State)
		require.True(t, s.lab.Trigger("now"))
		time.Sleep(90 * time.Millisecond)
		require.NotEqual(t, subscriber.Live, sub.Status().State, "refused twice")
		time.Sleep(3 * time.Second)
		require.Equal(t, subscriber.Live, sub.Status().State)
		assert.Equal(t, uint64(2), s.lab.Results()[0].Times)
		stop()
		s.end()
	})
}

// Where one packet in twenty is lost, so that what follows it waits for its repetition, nobody is taken for dead
// (PROMISES.md, 12).
func TestLossIsNoDeath(t *testing.T) {
	alone(t)
	minutes := effort.Of(t, 30, 10)
	const (
		interval = 800 * time.Millisecond // no default limit is shorter
		share    = 20
		repeat   = 200 * time.Millisecond // the least that TCP waits before it repeats a packet
	)
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, publisher.Config{Seed: 1, Heartbeat: interval})
		var losses atomic.Int64
		s.net.OnConnect(func(l *netsim.Link) {
			for _, d := range []*netsim.Direction{l.Down, l.Up} {
				d.SetConditions(netsim.Conditions{Latency: 20_000_003})
				d.SetMiddlebox(&lossy{d: d, rand: d.Rand(), share: share, repeat: repeat, losses: &losses})
			}
		})
		var stops []func()
		var subs []*subscriber.Subscriber
		for range 8 {
			sub, stop := s.subscribe(subscriber.Config{Start: codec.Start{Kind: codec.StartBeginning}}, func(b *subscriber.Batch) {
				if b.Change != nil {
					assert.NotEqual(t, subscriber.Disconnected, b.Change.State, "%v", b.Change.Err)
				}
			})
			subs, stops = append(subs, sub), append(stops, stop)
		}
		r := rand.New(rand.NewPCG(12, 12))
		began := time.Now()
		for time.Since(began) < time.Duration(minutes)*time.Minute {
			s.quotes(1 + r.IntN(3))
			time.Sleep(time.Duration(r.Int64N(int64(3 * interval))))
		}
		time.Sleep(10 * interval)
		for i, sub := range subs {
			assert.Zero(t, sub.Status().Reconnects, "subscriber %d", i)
			assert.Equal(t, s.pub.Stats().Head, sub.Status().Next, "subscriber %d", i)
			stops[i]()
		}
		s.end()
		assert.Greater(t, losses.Load(), int64(minutes*20), "packets that were lost")
		t.Logf("%d packets were lost in %d minutes", losses.Load(), minutes)
	})
}

// A lossy loses one in share of what passes: it and what follows comes later by as long as TCP takes to repeat it, which
// doubles if the repetition is lost too.
type lossy struct {
	d      *netsim.Direction
	rand   *rand.Rand
	share  int
	repeat time.Duration
	losses *atomic.Int64
}

func (m *lossy) Pass(dst, p []byte) []byte {
	if len(p) > 0 {
		wait := time.Duration(0)
		for again := m.repeat; m.rand.IntN(m.share) == 0; again *= 2 {
			wait += again
			m.losses.Add(1)
		}
		if wait > 0 {
			m.d.Stall(wait)
		}
	}
	return append(dst, p...)
}
