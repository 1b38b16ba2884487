package subscriber

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
)

// SetFilter on a living connection: packets after the answer are of the new filter and seed, added instruments are reported by
// a snapshot, and the ledger goes on. A connection made later asks for the new filter.
func TestSetFilter(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		cfg.Filter = []string{"S0"}
		var asked *codec.Subscribe
		var hello *codec.Hello
		seed0, seed1 := codec.LineSeed(sessionA, codec.Filter{"S0"}), uint32(77)
		stop := publish(network, "pub:1", func(p *peer) {
			w := welcomeA(1, 3, codec.StartedAsAsked)
			w.Seed = seed0
			p.send(message(w), packet(seed0, 1, definition(0), 1))
			asked = <-p.subs
			added := feed.NewState()
			for _, t := range []feed.Tick{definition(1), quote(1, 5)} {
				if err := added.Apply(&t); err != nil {
					panic(err)
				}
			}
			snapshot, err := codec.AppendSnapshot(nil, &codec.SnapshotBegin{Seq: 4, Scope: codec.ScopeAdded, Filter: codec.Filter{"S1"}}, added.Entries(nil), seed1)
			if err != nil {
				panic(err)
			}
			p.send(packet(seed0, 3, quote(0, 1)), message(&codec.Subscribed{Request: asked.Request, From: 4, Seed: seed1}),
				snapshot, packet(seed1, 4, 3, quote(1, 6)))
			time.Sleep(interval)
		}, func(p *peer) {
			hello = p.hello
			<-p.gone
		})
		s, a := mustNew(t, cfg), &app{}
		a.on = func(b *Batch) error {
			if b.Change != nil && b.Change.State == Live && asked == nil {
				time.AfterFunc(interval/2, func() { _ = s.SetFilter([]string{"S1", "S0"}) }) // while it waits for a message
			}
			if b.Snapshot {
				in, ok := b.State.Instrument(1)
				if !ok || in.Quote.Bid != 5 {
					return errors.New("the state lacks what was added")
				}
			}
			return nil
		}
		require.ErrorIs(t, runFor(2*interval, s, a), context.DeadlineExceeded)
		stop()
		require.NotNil(t, asked)
		assert.Equal(t, codec.Filter{"S0", "S1"}, asked.Filter)
		assert.Equal(t, []uint64{1, 3, 7}, seqs(a.ticks))
		assert.Equal(t, []string{
			"connecting", "replaying", "ticks 1 to 1", "live", "ticks 3 to 3", "live, filter [S0 S1] from 4",
			"live, snapshot as of 4", "snapshot of 2 entries", "ticks 7 to 7",
		}, a.events[:9])
		assert.Equal(t, codec.Filter{"S0", "S1"}, hello.Filter)
		assert.True(t, hello.HasState)
		account := s.Ledger().Account(sessionA)
		assert.Equal(t, []feed.Span{{Range: feed.Range{From: 1, To: 8}, Delivered: 3}}, account.Filtered)
	})
}

// A filter that is set before the first connection is reported like one that is set later.
func TestSetFilterBeforeRun(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		cfg.Filter = []string{"S0"}
		stop := publish(network, "pub:1", func(p *peer) {
			w := welcomeA(3, 3, codec.StartedAsAsked)
			w.Seed = 77
			p.send(message(w))
			<-p.gone
		})
		s, a := mustNew(t, cfg), &app{}
		require.NoError(t, s.SetFilter([]string{"S1"}))
		require.ErrorIs(t, runFor(interval/2, s, a), context.DeadlineExceeded)
		stop()
		assert.Contains(t, a.events, "snapshot, filter [S1] from 3")
	})
}

// If the filter changes while there is no connection, the next line cannot continue from the old state.
func TestSetFilterWhileAway(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		var hello *codec.Hello
		stop := publish(network, "pub:1", func(p *peer) {
			p.send(message(welcomeA(1, 3, codec.StartedAsAsked)), packet(seedA(), 1, definition(0)), ticksA(2, 3))
		}, func(p *peer) {
			hello = p.hello
			w := welcomeA(3, 3, codec.StartedResumed)
			w.Seed = 77
			p.send(message(w))
			<-p.gone
		})
		s, a := mustNew(t, cfg), &app{}
		a.on = func(b *Batch) error {
			if b.Change != nil && b.Change.State == Disconnected {
				return s.SetFilter([]string{"S1"})
			}
			return nil
		}
		require.ErrorIs(t, runFor(interval, s, a), context.DeadlineExceeded)
		stop()
		assert.Equal(t, codec.Filter{"S1"}, hello.Filter)
		assert.False(t, hello.HasState)
		assert.Contains(t, a.events, "snapshot, filter [S1] from 3")
		require.Error(t, s.SetFilter(make([]string, 1)), "an empty pattern")
	})
}

func manyPatterns(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("SYM%04d", i)
	}
	return out
}

func longPatterns(n int) []string {
	out := manyPatterns(n)
	for i := range out {
		out[i] += strings.Repeat("X", 50) + "@" + strings.Repeat("Y", 50)
	}
	return out
}

// A filter that is too long for the hello is sent by subscribe. Until the answer the line has all instruments, and unwanted
// ticks are not delivered.
func TestLongFilter(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		cfg.Filter = append(manyPatterns(1000), "S1")
		var hello *codec.Hello
		var asked *codec.Subscribe
		stop := publish(network, "pub:1", func(p *peer) {
			hello = p.hello
			p.send(message(welcomeA(3, 5, codec.StartedAsAsked)), snapshot(seedA(), 3, codec.ScopeAll),
				packet(seedA(), 3, quote(0, 1), quote(1, 2), quote(0, 3)))
			asked = <-p.subs
			p.send(message(&codec.Subscribed{Request: asked.Request, From: 6, Seed: 7}), packet(7, 6, 4, quote(1, 3)))
			<-p.gone
		})
		s, a := mustNew(t, cfg), &app{}
		require.ErrorIs(t, runFor(interval/2, s, a), context.DeadlineExceeded)
		stop()
		assert.Empty(t, hello.Filter)
		assert.Len(t, asked.Filter, 1001)
		assert.Equal(t, []uint64{4, 10}, seqs(a.ticks))
		assert.Contains(t, a.events, "snapshot of 1 entries")
		assert.Equal(t, feed.Totals{NotAsked: 2 + 2 + 4, Delivered: 2}, s.Ledger().Totals())
	})
}

// A filter too long for the hello that is replaced by all instruments before it was asked for needs no answer: the line is of all
// instruments already.
func TestLongFilterIsDropped(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		cfg.Filter = append(manyPatterns(1000), "S1")
		stop := publish(network, "pub:1", func(p *peer) {
			p.send(message(welcomeA(3, 4, codec.StartedAsAsked)), snapshot(seedA(), 3, codec.ScopeAll), packet(seedA(), 3, quote(0, 1)))
			<-p.gone
		})
		s, a := mustNew(t, cfg), &app{}
		a.on = func(b *Batch) error {
			if b.Change != nil && b.Change.State == Snapshotting {
				return s.SetFilter(nil)
			}
			return nil
		}
		require.ErrorIs(t, runFor(interval/2, s, a), context.DeadlineExceeded)
		stop()
		assert.Contains(t, a.events, "live, filter [] from 4")
	})
}
