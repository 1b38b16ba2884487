package subscriber

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
)

// Config.Until ends the subscription once every number below it is accounted for, in the middle of a packet, a skip or a gone
// entry, even if the publisher does not know it. Run returns nil, and a second Run returns nil without a connection.
func TestUntilAccountsForEveryNumberBelow(t *testing.T) {
	for _, test := range []struct {
		name  string
		until uint64
		send  [][]byte
		want  feed.Totals
	}{
		{"in a packet", 5, [][]byte{ticksA(3, 9)}, feed.Totals{Delivered: 4}},
		{"at the end of a packet", 9, [][]byte{ticksA(3, 9)}, feed.Totals{Delivered: 8}},
		{"in what is gone", 5, [][]byte{packet(seedA(), 3, gone{100, codec.GoneExpired})}, feed.Totals{Delivered: 2, Lost: 2}},
		{"before the first packet", 1, nil, feed.Totals{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
				cfg.Until = test.until
				connections := 0
				var hello *codec.Hello
				var said *codec.Goodbye
				stop := publish(network, "pub:1", func(p *peer) {
					connections++
					hello = p.hello
					p.send(message(welcomeA(1, 200, codec.StartedAsAsked)))
					if test.until > 1 {
						p.send(packet(seedA(), 1, definition(0), quote(0, 2)))
					}
					p.send(test.send...)
					<-p.gone
					said = p.goodbye()
				})
				s, a := mustNew(t, cfg), &app{}
				require.NoError(t, runFor(10*interval, s, a))
				assert.Equal(t, "closed", a.events[len(a.events)-1])
				require.NoError(t, runFor(10*interval, s, a), "there is nothing left to do")
				stop()
				assert.Equal(t, 1, connections)
				assert.Equal(t, test.until, hello.Until)
				require.NotNil(t, said)
				assert.Equal(t, codec.CodeDone, said.Code)
				assert.Equal(t, test.until, s.Position().Next)
				assert.Equal(t, test.want, s.Ledger().Totals())
				assert.Len(t, a.ticks, int(test.want.Delivered))
			})
		})
	}
}

// A publisher that says that it has covered Config.Until, while numbers below have not arrived, has left a gap: they were dropped on
// the way. Without Config.Until, the same goodbye ends the subscription.
func TestUntilAfterAGap(t *testing.T) {
	for _, until := range []uint64{0, 9} {
		inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
			cfg.Until = until
			connections := 0
			var said *codec.Goodbye
			stop := publish(network, "pub:1", func(p *peer) {
				if connections++; connections == 1 {
					p.send(message(welcomeA(1, 200, codec.StartedAsAsked)), packet(seedA(), 1, definition(0), quote(0, 2)))
					p.send(message(&codec.Goodbye{Code: codec.CodeDone, Text: "covered up to 9, as asked"}))
					<-p.gone
					said = p.goodbye()
					return
				}
				assert.Equal(t, uint64(3), p.hello.Position.Next)
				p.send(message(welcomeA(3, 200, codec.StartedResumed)), ticksA(3, 9))
				<-p.gone
			})
			s, a := mustNew(t, cfg), &app{}
			err := runFor(10*interval, s, a)
			stop()
			if until == 0 {
				assert.ErrorAs(t, err, new(*RefusedError))
				assert.Equal(t, 1, connections)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, 2, connections)
			assert.Equal(t, until, s.Position().Next)
			assert.Equal(t, feed.Totals{Delivered: 8}, s.Ledger().Totals())
			assert.Equal(t, codec.CodeProtocol, said.Code)
			assert.Contains(t, said.Text, "ends at 9, want 3")
		})
	}
}

// With Config.Ack, if the publisher grants it, a pulse reports delivered ticks at once, at most one per millisecond.
func TestAckPulsesAtOnce(t *testing.T) {
	for _, granted := range []bool{false, true} {
		inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
			cfg.Ack = true
			var after, much int
			var next uint64
			stop := publish(network, "pub:1", func(p *peer) {
				assert.Equal(t, []string{codec.FeatureAck, codec.FeatureNarrow}, p.hello.Features)
				w := welcomeA(1, 3, codec.StartedAsAsked)
				if granted {
					w.Features = []string{codec.FeatureAck, "of-another-time"}
				}
				p.send(message(w), packet(seedA(), 1, definition(0), quote(0, 2)))
				time.Sleep(interval / 10)
				pulse, n := p.lastPulse()
				after, next = n, pulse.Next
				for seq := uint64(3); seq < 1003; seq++ {
					p.send(ticksA(seq, seq+1))
					time.Sleep(100 * time.Microsecond)
				}
				_, much = p.lastPulse()
				<-p.gone
			})
			require.ErrorIs(t, runFor(interval/2, mustNew(t, cfg), &app{}), context.DeadlineExceeded)
			stop()
			if granted {
				assert.Equal(t, 1, after)
				assert.Equal(t, uint64(3), next)
				assert.InDelta(t, 100, much, 15, "in a tenth of a second")
			} else {
				assert.Zero(t, after)
				assert.Zero(t, much)
			}
		})
	}
}

// A welcome or subscribed message may grant less than the filter asked for. The line and its state then have the granted filter,
// and the subscriber does not ask again. A grant of more is refused. If another connection grants another filter, the state is no
// longer valid.
func TestGrantedFilterIsTheLines(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		cfg.Filter = []string{"S0", "S9"}
		only := codec.Filter{"S0"}
		var first, second, third *codec.Hello
		stop := publish(network, "pub:1", func(p *peer) {
			first = p.hello
			w := welcomeA(1, 3, codec.StartedAsAsked)
			w.Granted = &only
			p.send(message(w), packet(seedA(), 1, definition(0), quote(0, 2)))
			time.Sleep(interval / 4)
			assert.Empty(t, p.subs, "what is not granted is not asked for again")
		}, func(p *peer) {
			second = p.hello
			w := welcomeA(3, 3, codec.StartedResumed)
			w.Granted = &codec.Filter{"S9"}
			p.send(message(w), ticksA(3, 4))
			<-p.gone
		}, func(p *peer) {
			third = p.hello
			w := welcomeA(3, 3, codec.StartedResumed)
			w.Granted = &codec.Filter{}
			p.send(message(w))
			<-p.gone
		})
		s, a := mustNew(t, cfg), &app{}
		var seen []string
		var errs []error
		a.on = func(b *Batch) error {
			if b.Change == nil {
				seen = s.Status().Granted
			} else if b.Change.State == Disconnected {
				errs = append(errs, b.Change.Err)
			}
			return nil
		}
		require.Error(t, runFor(interval, s, a))
		stop()
		assert.Equal(t, []string{"S0"}, seen)
		assert.False(t, first.HasState)
		assert.False(t, second.HasState, "it has the state of what was granted, not of what it asks for")
		assert.False(t, third.HasState, "another grant")
		require.GreaterOrEqual(t, len(errs), 3)
		assert.ErrorContains(t, errs[1], "before the snapshot that was due")
		assert.ErrorContains(t, errs[2], "everything is granted, where 2 patterns were asked for")
		assert.Equal(t, []uint64{1, 2}, seqs(a.ticks))
	})
}

// With the feature narrow a publisher may send a subscribed that nobody asked for: the line then has what it grants, after a
// snapshot. Without the feature, and without the snapshot, that is a violation. A state with limits is never offered again.
func TestNarrowedLineHasASnapshot(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		only := codec.Filter{"S0"}
		seed := codec.LineSeed(sessionA, only)
		var hellos []*codec.Hello
		begin := func(p *peer, w *codec.Welcome) {
			hellos = append(hellos, p.hello)
			p.send(message(w))
		}
		narrowed := message(&codec.Subscribed{From: 3, Seed: seed, Granted: &only, Limits: "no S1"})
		stop := publish(network, "pub:1", func(p *peer) {
			w := welcomeA(1, 3, codec.StartedAsAsked)
			w.Features = p.hello.Features
			begin(p, w)
			p.send(packet(seedA(), 1, definition(0), quote(0, 2)), narrowed)
			p.send(snapshot(seed, 3, codec.ScopeAll), packet(seed, 3, quote(0, 3)))
			time.Sleep(interval / 4)
		}, func(p *peer) {
			w := welcomeA(4, 4, codec.StartedResumed)
			w.Features = p.hello.Features
			begin(p, w)
			p.send(snapshot(seedA(), 4, codec.ScopeAll), message(&codec.Subscribed{From: 4, Seed: seed, Granted: &only}), packet(seed, 4, quote(0, 4)))
			<-p.gone
		}, func(p *peer) {
			begin(p, welcomeA(4, 4, codec.StartedResumed))
			p.send(snapshot(seedA(), 4, codec.ScopeAll), message(&codec.Subscribed{From: 4, Seed: seed, Granted: &only}))
			<-p.gone
		})
		s, a := mustNew(t, cfg), &app{}
		var filtered []Filtered
		var errs []error
		a.on = func(b *Batch) error {
			if b.Change != nil && b.Change.Filtered != nil {
				filtered = append(filtered, *b.Change.Filtered)
			}
			if b.Change != nil && b.Change.State == Disconnected {
				errs = append(errs, b.Change.Err)
			}
			return nil
		}
		require.Error(t, runFor(interval, s, a))
		stop()
		require.GreaterOrEqual(t, len(hellos), 3)
		assert.False(t, hellos[1].HasState, "the state lacks what the publisher did not permit")
		assert.Equal(t, []Filtered{{Filter: only, Limits: "no S1", From: 3}, {From: 4}, {Filter: only, From: 4}}, filtered[:3])
		assert.Equal(t, []uint64{1, 2, 3}, seqs(a.ticks))
		require.GreaterOrEqual(t, len(errs), 3)
		assert.ErrorContains(t, errs[1], "before the snapshot that was due")
		assert.ErrorContains(t, errs[2], "request 0, which was not made")
	})
}

// A client that has the state of all that it asked for needs another one if the next line is granted less.
func TestGrantedLess(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		cfg.Filter = []string{"S0", "S1"}
		seed := codec.LineSeed(sessionA, cfg.Filter)
		var had []bool
		stop := publish(network, "pub:1", func(p *peer) {
			w := welcomeA(1, 3, codec.StartedAsAsked)
			w.Seed = seed
			p.send(message(w), packet(seed, 1, definition(0), quote(0, 2)))
			time.Sleep(interval / 4)
		}, func(p *peer) {
			had = append(had, p.hello.HasState)
			w := welcomeA(3, 3, codec.StartedResumed)
			w.Granted, w.Seed = &codec.Filter{"S0"}, seed
			p.send(message(w), packet(seed, 3, quote(0, 3)))
			<-p.gone
		})
		s, a := mustNew(t, cfg), &app{}
		var errs []error
		a.on = func(b *Batch) error {
			if b.Change != nil && b.Change.State == Disconnected {
				errs = append(errs, b.Change.Err)
			}
			return nil
		}
		require.Error(t, runFor(interval, s, a))
		stop()
		require.GreaterOrEqual(t, len(errs), 2)
		assert.True(t, had[0])
		assert.ErrorContains(t, errs[1], "before the snapshot that was due")
		assert.Equal(t, []uint64{1, 2}, seqs(a.ticks))
	})
}

// A publisher that grants the same of another filter has answered all the same: a Change with Filtered says so.
func TestSameGrantIsReported(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		cfg.Filter = []string{"S0", "S8"}
		only := codec.Filter{"S0"}
		stop := publish(network, "pub:1", func(p *peer) {
			w := welcomeA(1, 1, codec.StartedAsAsked)
			w.Granted, w.Limits = &only, "only S0"
			p.send(message(w))
			asked := <-p.subs
			p.send(message(&codec.Subscribed{Request: asked.Request, From: 1, Seed: seedA(), Granted: &only, Limits: "only S0"}))
			<-p.gone
		})
		s, a := mustNew(t, cfg), &app{}
		var filtered []Filtered
		a.on = func(b *Batch) error {
			if b.Change != nil && b.Change.Filtered != nil {
				if filtered = append(filtered, *b.Change.Filtered); len(filtered) == 1 {
					return s.SetFilter([]string{"S0", "S9"})
				}
			}
			return nil
		}
		require.ErrorIs(t, runFor(interval/2, s, a), context.DeadlineExceeded)
		stop()
		want := Filtered{Filter: only, Limits: "only S0", From: 1}
		assert.Equal(t, []Filtered{want, want}, filtered)
	})
}
