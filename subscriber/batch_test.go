package subscriber

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
)

// packetAt is packet with a publish time.
func packetAt(published int64, first uint64, entries ...any) []byte {
	raw := packet(seedA(), first, entries...)
	h := codec.PacketAt(raw)
	h.PublishTime = published
	codec.SealPacket(raw, &h, seedA())
	return raw
}

// published lists the publish time of each tick of b, in each of the ways in which the batch says it.
func published(t *testing.T, b *Batch) (times []int64) {
	n := 0
	for at, ticks := range b.ByPublishTime() {
		for i := range ticks {
			assert.Equal(t, &b.Ticks[n], &ticks[i])
			assert.Equal(t, at, b.PublishTime(n), "tick %d", n)
			times = append(times, at)
			n++
		}
	}
	assert.Len(t, times, len(b.Ticks))
	return times
}

// Each tick of a batch has the publish time of its own packet, however packets and batches divide the line.
func TestPublishTimes(t *testing.T) {
	q := quote(0, 7)
	stream := slices.Concat(
		message(welcomeA(1, 1, codec.StartedAsAsked)),
		packetAt(100, 1, definition(0)), packetAt(200, 2, q, q), packetAt(200, 4, q), packetAt(300, 5, 10, q, 2), packetAt(400, 18, 5),
	)
	want := []int64{100, 200, 200, 200, 300}
	for _, test := range []struct {
		name  string
		size  int
		sizes []int
	}{
		{"all packets in one batch", 0, []int{5}},
		{"a batch ends inside a packet", 2, []int{2, 2, 1}},
		{"each tick is a batch", 1, []int{1, 1, 1, 1, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
				cfg.BatchSize = test.size
				cfg.Filter = []string{"S0"}
				stop := publish(network, "pub:1", func(p *peer) {
					p.send(stream)
					p.beat(23, time.Hour)
				})
				s, a := mustNew(t, cfg), &app{}
				var times []int64
				var sizes []int
				a.on = func(b *Batch) error {
					if b.Change == nil {
						times, sizes = append(times, published(t, b)...), append(sizes, len(b.Ticks))
						return nil
					}
					assert.Empty(t, b.Published)
					assert.Zero(t, b.PublishTime(0))
					return nil
				}
				require.ErrorIs(t, runFor(interval/2, s, a), context.DeadlineExceeded)
				stop()
				assert.Equal(t, want, times)
				assert.Equal(t, test.sizes, sizes)
			})
		})
	}
}

// A tick that comes again after a cut is dropped, and the next one keeps the publish time of its packet. The entries of a
// snapshot have no publish time.
func TestPublishTimesAfterRecovery(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		stop := publish(network, "pub:1", func(p *peer) {
			p.send(message(welcomeA(3, 3, codec.StartedAsAsked)), snapshot(seedA(), 3, codec.ScopeAll), packetAt(100, 3, quote(0, 3)))
		}, func(p *peer) {
			p.send(slices.Concat(message(welcomeA(3, 7, codec.StartedResumed)), packetAt(100, 3, quote(0, 3)),
				packetAt(200, 4, quote(0, 4), quote(0, 5)), packetAt(300, 6, quote(0, 6))))
			p.beat(7, time.Hour)
		})
		s, a := mustNew(t, cfg), &app{}
		var times []int64
		a.on = func(b *Batch) error {
			switch {
			case b.Snapshot:
				assert.Empty(t, b.Published)
				assert.Equal(t, make([]int64, len(b.Ticks)), published(t, b))
			case b.Change == nil:
				times = append(times, published(t, b)...)
			}
			return nil
		}
		require.ErrorIs(t, runFor(interval/2, s, a), context.DeadlineExceeded)
		stop()
		assert.Equal(t, []uint64{3, 4, 5, 6}, seqs(a.ticks))
		assert.Equal(t, []int64{100, 200, 200, 300}, times)
	})
}

// LagTime is the lag of the last delivered tick, not of a later packet without ticks, or of a packet that is
// being delivered.
func TestLagIsOfTheLastTick(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		cfg.Filter = []string{"S0"}
		cfg.Now = func() int64 { return 1000 }
		cfg.BatchSize = 2
		stop := publish(network, "pub:1", func(p *peer) {
			p.send(slices.Concat(message(welcomeA(1, 1, codec.StartedAsAsked)),
				packetAt(100, 1, definition(0), quote(0, 2), quote(0, 3)), packetAt(900, 4, 5), heartbeat(9, 11)))
			p.beat(9, time.Hour)
		})
		s, a := mustNew(t, cfg), &app{}
		var during []time.Duration
		a.on = func(b *Batch) error {
			if b.Change == nil {
				during = append(during, s.Status().LagTime)
			}
			return nil
		}
		require.ErrorIs(t, runFor(interval/2, s, a), context.DeadlineExceeded)
		stop()
		assert.Equal(t, []time.Duration{0, 900}, during, "lag while the first and the second batch are handed over")
		assert.Equal(t, uint64(2), s.Status().LagTicks)
		assert.Equal(t, time.Duration(900), s.Status().LagTime)
	})
}

// Receiving ticks allocates nothing per tick, per packet or per batch, whether a batch holds many packets or one, or a packet fills
// many batches.
func TestReceiveDoesNotAllocate(t *testing.T) {
	for _, test := range []struct{ size, batch int }{{1, 0}, {1000, 0}, {1000, 256}} {
		size := test.size
		t.Run(fmt.Sprintf("%d a packet, batches of %d", size, test.batch), func(t *testing.T) {
			c := newTape(400_000, size)
			s := mustNew(t, Config{Addrs: []string{"tape"}, BatchSize: test.batch, MaxAttempts: 1, Dial: func(context.Context, string) (net.Conn, error) { return c, nil }})
			var before, after runtime.MemStats
			ticks, runs, batches := 0, 0, 0
			require.Equal(t, errEnough, s.Run(t.Context(), func(b *Batch) error {
				switch {
				case b.Change != nil && b.Change.State == Disconnected:
					runtime.ReadMemStats(&after)
					return errEnough
				case b.Change != nil:
					return nil
				}
				for range b.ByPublishTime() {
					runs++
				}
				if ticks += len(b.Ticks); ticks > 10_000 { // the definitions, which allocate, come first
					if batches++; batches == 1 {
						runtime.ReadMemStats(&before)
					}
				}
				return nil
			}))
			require.Greater(t, ticks, 300_000)
			require.Greater(t, batches, min(1000, 300_000/size))
			require.Greater(t, runs, ticks/size-1000)
			assert.Less(t, after.Mallocs-before.Mallocs, uint64(batches/2), "timers and the runtime allocate too, in a slow run more")
		})
	}
}

// A state is a word, which reads back as the state.
func TestConnStateIsAWord(t *testing.T) {
	for s := Disconnected; s <= Closed; s++ {
		var back ConnState
		text, err := s.MarshalText()
		require.NoError(t, err)
		require.NoError(t, back.UnmarshalText(text))
		assert.Equal(t, s, back)
	}
	assert.Equal(t, "state(8)", (Closed + 1).String())
}
