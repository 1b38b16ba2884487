package subscriber

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
)

// A first connection takes a snapshot and then the following ticks. It is live once it has all ticks published before it
// (PROTOCOL.md, "Where a line starts"). Earlier numbers are not asked for. At the end it sends a goodbye.
func TestFirstConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		var bye *codec.Goodbye
		var hello *codec.Hello
		stop := publish(network, "pub:1", func(p *peer) {
			hello = p.hello
			p.send(message(welcomeA(41, 41, codec.StartedAsAsked)), snapshot(seedA(), 41, codec.ScopeAll), ticksA(41, 43), ticksA(43, 44))
			p.beat(44, time.Minute)
			<-p.gone
			bye = p.goodbye()
		})
		s, a := mustNew(t, cfg), &app{}
		err := runFor(10*time.Second+interval/2, s, a)
		stop()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, []string{
			"connecting", "snapshot", "snapshot, snapshot as of 41", "snapshot of 3 entries", "live", "ticks 41 to 43", "closed",
		}, a.events)
		assert.Empty(t, hello.Position.Lineage)
		assert.Equal(t, codec.CodeDone, bye.Code)
		assert.Equal(t, codec.Position{Lineage: lineageA, Next: 44}, s.Position())
		assert.Equal(t, feed.Totals{NotAsked: 40, Delivered: 3}, s.Ledger().Totals())
		require.NoError(t, s.Ledger().Check())
	})
}

// beginning is a publisher whose line starts at 1 with a definition and quotes up to next, and then stays open.
func beginning(next uint64) func(*peer) {
	return func(p *peer) {
		p.send(message(welcomeA(1, next, codec.StartedAsAsked)), packet(seedA(), 1, definition(0)), ticksA(2, next))
		p.beat(next, time.Hour)
	}
}

// resuming serves a client that resumes: it sends the missing numbers up to next, and then stays open.
func resuming(next uint64) func(*peer) {
	return func(p *peer) {
		from := p.hello.Position.Next
		p.send(message(welcomeA(from, next, codec.StartedResumed)))
		if from < next {
			p.send(ticksA(from, next))
		}
		p.beat(next, time.Hour)
	}
}

// After a cut the first retry comes at once, and the subscriber continues at its position. The recovery yields one report.
func TestResumesAfterCut(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		var hello *codec.Hello
		stop := publish(network, "pub:1", func(p *peer) {
			p.send(message(welcomeA(1, 5, codec.StartedAsAsked)), packet(seedA(), 1, definition(0)), ticksA(2, 5))
			time.Sleep(10 * time.Millisecond)
		}, func(p *peer) {
			hello = p.hello
			time.Sleep(5 * time.Millisecond)
			resuming(9)(p)
		})
		s, a := mustNew(t, cfg), &app{}
		require.ErrorIs(t, runFor(interval/2, s, a), context.DeadlineExceeded)
		stop()
		assert.Equal(t, []string{
			"connecting", "replaying", "ticks 1 to 4", "live", "disconnected",
			"connecting", "replaying", "ticks 5 to 8", "live, recovered from cut by replay", "closed",
		}, a.events)
		assert.True(t, hello.HasState)
		assert.Equal(t, codec.Position{Lineage: lineageA, Next: 5}, hello.Position)
		assert.Equal(t, []Report{{
			Cause: CauseCut, Detail: "pub:1 closed the connection: EOF", Down: 5 * time.Millisecond,
			FirstTick: 5 * time.Millisecond, Live: 5 * time.Millisecond,
			Attempts: 1, Resume: ResumeReplay, Replayed: 4, Addr: "pub:1", Session: sessionA,
		}}, a.reports)
		assert.Equal(t, feed.Totals{Delivered: 8}, s.Ledger().Totals())
		assert.Equal(t, 1, s.Status().Reconnects)
	})
}

// A connection that is cut inside a message has delivered the whole messages before it.
func TestCutInsidePacket(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		whole := len(message(welcomeA(1, 5, codec.StartedAsAsked))) + len(packet(seedA(), 1, definition(0))) + len(ticksA(2, 4))
		network.OnConnect(func(l *netsim.Link) {
			if l.Number() == 1 {
				l.Down.ResetAfter(whole + 70)
			}
		})
		stop := publish(network, "pub:1", func(p *peer) {
			p.send(message(welcomeA(1, 5, codec.StartedAsAsked)), packet(seedA(), 1, definition(0)), ticksA(2, 4), ticksA(4, 9))
			<-p.gone
		}, resuming(9))
		s, a := mustNew(t, cfg), &app{}
		require.ErrorIs(t, runFor(interval/2, s, a), context.DeadlineExceeded)
		stop()
		assert.Equal(t, uint64(1), network.Stats().Cuts)
		assert.Equal(t, []uint64{1, 2, 3, 4, 5, 6, 7, 8}, seqs(a.ticks))
		require.Len(t, a.reports, 1)
		assert.Equal(t, uint64(5), a.reports[0].Replayed)
	})
}

// A line may begin before the position; repeated ticks are dropped, even inside packets.
func TestDuplicatesAreDropped(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		stop := publish(network, "pub:1", func(p *peer) {
			p.send(message(welcomeA(1, 5, codec.StartedAsAsked)), packet(seedA(), 1, definition(0)), ticksA(2, 5))
		}, func(p *peer) {
			p.send(message(welcomeA(2, 9, codec.StartedResumed)), ticksA(2, 3), ticksA(3, 9))
			p.beat(9, time.Hour)
		})
		s, a := mustNew(t, cfg), &app{}
		require.ErrorIs(t, runFor(interval/2, s, a), context.DeadlineExceeded)
		stop()
		assert.Equal(t, []uint64{1, 2, 3, 4, 5, 6, 7, 8}, seqs(a.ticks))
		require.Len(t, a.reports, 1)
		assert.Equal(t, uint64(3), a.reports[0].Duplicates)
	})
}

// A publisher that sends nothing for two intervals is stale, and after three it is dead, even if TCP reports no error.
func TestSilenceIsStaleThenDead(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		var bye *codec.Goodbye
		stop := publish(network, "pub:1", func(p *peer) {
			p.send(message(welcomeA(1, 5, codec.StartedAsAsked)), packet(seedA(), 1, definition(0)), ticksA(2, 5))
			<-p.gone
			bye = p.goodbye()
		}, resuming(9))
		s, a := mustNew(t, cfg), &app{}
		began := time.Now()
		at := map[ConnState]time.Duration{}
		a.on = func(b *Batch) error {
			if b.Change != nil && at[b.Change.State] == 0 {
				at[b.Change.State] = time.Since(began)
			}
			return nil
		}
		require.ErrorIs(t, runFor(4*interval, s, a), context.DeadlineExceeded)
		stop()
		assert.Equal(t, 2*interval, at[Stale])
		assert.Equal(t, 3*interval, at[Disconnected])
		assert.Equal(t, codec.CodeSilent, bye.Code)
		require.Len(t, a.reports, 1)
		assert.Equal(t, CauseSilent, a.reports[0].Cause)
		assert.Equal(t, []uint64{1, 2, 3, 4, 5, 6, 7, 8}, seqs(a.ticks))
	})
}

// A quiet market is not an outage: eight hours of heartbeats, some of them late, cause no change.
func TestQuietMarket(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		var pulses int
		stop := publish(network, "pub:1", func(p *peer) {
			p.send(message(welcomeA(1, 2, codec.StartedAsAsked)), packet(seedA(), 1, definition(0)))
			for i := 0; ; i++ {
				select {
				case <-p.gone:
					_, pulses = p.lastPulse()
					return
				case <-time.After(interval + time.Duration(i%2)*999*time.Millisecond): // within two intervals
					p.send(heartbeat(2, 2))
				}
			}
		})
		s, a := mustNew(t, cfg), &app{}
		require.ErrorIs(t, runFor(8*time.Hour, s, a), context.DeadlineExceeded)
		stop()
		assert.Equal(t, []string{"connecting", "replaying", "ticks 1 to 1", "live", "closed"}, a.events)
		assert.InDelta(t, 8*3600, pulses, 2)
	})
}

// A refusal or goodbye ends Run if its retry is false, whatever its code is. Others are retried, but not before the time
// that the publisher asked for.
func TestRefusalsForGoodEndRun(t *testing.T) {
	for _, test := range []struct {
		name     string
		farewell codec.Message
		terminal bool
		matches  error
	}{
		{"unauthorized", &codec.Refusal{Code: codec.CodeUnauthorized, Text: "no token"}, true, ErrUnauthorized},
		{"version", &codec.Refusal{Code: codec.CodeVersion, Text: "3 only"}, true, ErrVersion},
		{"unauthorized, with retry", &codec.Refusal{Code: codec.CodeUnauthorized, Retry: true, RetryAfter: 7 * time.Second}, false, nil},
		{"goodbye unauthorized, with retry", &codec.Goodbye{Code: codec.CodeUnauthorized, Retry: true, RetryAfter: 7 * time.Second}, false, nil},
		{"version, with retry", &codec.Refusal{Code: codec.CodeVersion, Retry: true, RetryAfter: 7 * time.Second}, false, nil},
		{"bad request, with retry", &codec.Refusal{Code: codec.CodeBadRequest, Retry: true, RetryAfter: 7 * time.Second}, false, nil},
		{"bad request", &codec.Refusal{Code: codec.CodeBadRequest}, true, nil},
		{"a code of a later version, without retry", &codec.Refusal{Code: 77}, true, nil},
		{"goodbye without retry", &codec.Goodbye{Code: codec.CodeSlow}, true, nil},
		{"busy", &codec.Refusal{Code: codec.CodeBusy, Retry: true, RetryAfter: 7 * time.Second}, false, nil},
		{"shutdown", &codec.Goodbye{Code: codec.CodeShutdown, Retry: true, RetryAfter: 7 * time.Second}, false, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
				var again time.Duration
				began := time.Now()
				stop := publish(network, "pub:1", func(p *peer) {
					p.send(message(test.farewell))
				}, func(p *peer) {
					again = time.Since(began)
					beginning(3)(p)
				})
				a := &app{}
				err := runFor(10*time.Second, mustNew(t, cfg), a)
				stop()
				var refused *RefusedError
				if !test.terminal {
					require.ErrorIs(t, err, context.DeadlineExceeded)
					assert.Equal(t, 7*time.Second, again)
					assert.Equal(t, []uint64{1, 2}, seqs(a.ticks))
					return
				}
				require.ErrorAs(t, err, &refused)
				assert.Zero(t, again, "it must not connect again")
				assert.Equal(t, "closed", a.events[len(a.events)-1])
				if test.matches != nil {
					require.ErrorIs(t, err, test.matches)
				}
			})
		})
	}
}

// After MaxAttempts failures in a row Run returns a *GiveUpError. Addresses are tried in turn. Data resets the count.
func TestGivesUp(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		var dialled []string
		dial := cfg.Dial
		cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			dialled = append(dialled, addr)
			return dial(ctx, addr)
		}
		stop := publish(network, "c", func(p *peer) {
			p.send([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
		})
		cfg.Addrs, cfg.MaxAttempts = []string{"a", "b", "c"}, 6
		err := mustNew(t, cfg).Run(t.Context(), (&app{}).handle)
		stop()
		var gaveUp *GiveUpError
		require.ErrorAs(t, err, &gaveUp)
		assert.Equal(t, 6, gaveUp.Attempts)
		assert.Equal(t, []string{"a", "b", "c", "a", "b", "c"}, dialled)
		assert.Contains(t, err.Error(), "gave up after 6 attempts: protocol: c does not speak tickfeed (it is an HTTP server: connect to the address of the feed, which is")
	})
}

// An attempt fails after the handshake timeout if the publisher accepts the connection and sends nothing.
func TestNoWelcome(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		stop := publish(network, "pub:1", func(p *peer) { <-p.gone })
		cfg.MaxAttempts = 1
		began := time.Now()
		err := mustNew(t, cfg).Run(t.Context(), (&app{}).handle)
		stop()
		require.ErrorContains(t, err, "no welcome within 5s: is it the address of a feed (--listen of the publisher), and not that of --http")
		assert.Equal(t, handshakeTimeout, time.Since(began))
	})
}

// If the lineages fork below the position, the numbers after the fork are disowned before the snapshot and any tick of the child.
func TestRewoundNumbersAreDisowned(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		seedB := codec.LineSeed(sessionB, nil)
		stop := publish(network, "pub:1", func(p *peer) {
			p.send(message(welcomeA(1, 9, codec.StartedAsAsked)), packet(seedA(), 1, definition(0)), ticksA(2, 9))
		}, func(p *peer) {
			w := welcomeA(6, 8, codec.StartedRewound)
			w.Lineage, w.Seed = lineageOf("AB6"), seedB
			p.send(message(w), snapshot(seedB, 6, codec.ScopeAll), ticksOf(seedB, 6, 8))
			p.beat(8, time.Hour)
		})
		s, a := mustNew(t, cfg), &app{}
		require.ErrorIs(t, runFor(interval/2, s, a), context.DeadlineExceeded)
		stop()
		assert.Equal(t, []string{
			"connecting", "replaying", "ticks 1 to 8", "live", "disconnected", "connecting",
			"snapshot, disowned [6, 9)", "snapshot, snapshot as of 6", "snapshot of 3 entries", "replaying", "ticks 6 to 7",
			"live, recovered from cut by rewound", "closed",
		}, a.events)
		assert.Equal(t, []Numbers{{Session: sessionA, Range: feed.Range{From: 6, To: 9}}}, a.reports[0].Disowned)
		assert.Equal(t, feed.Totals{Delivered: 7, Disowned: 3}, s.Ledger().Totals())
		require.NoError(t, s.Ledger().Check())
	})
}

// Numbers that were disowned belong to the line again if the publisher goes back to their session: those that it no longer has are
// lost then, and what follows is delivered.
func TestDisownedNumbersAreLostWhenTheyComeBack(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		seedB := codec.LineSeed(sessionB, nil)
		stop := publish(network, "pub:1", func(p *peer) {
			p.send(message(welcomeA(1, 9, codec.StartedAsAsked)), packet(seedA(), 1, definition(0)), ticksA(2, 9))
		}, func(p *peer) {
			w := welcomeA(6, 8, codec.StartedRewound)
			w.Lineage, w.Seed = lineageOf("AB6"), seedB
			p.send(message(w), snapshot(seedB, 6, codec.ScopeAll), ticksOf(seedB, 6, 8))
		}, func(p *peer) {
			p.send(message(welcomeA(6, 9, codec.StartedRewound)), packet(seedA(), 6, gone{2, codec.GoneExpired}),
				snapshot(seedA(), 8, codec.ScopeAll), ticksA(8, 9))
			p.beat(9, time.Hour)
		})
		s, a := mustNew(t, cfg), &app{}
		require.ErrorIs(t, runFor(interval/2, s, a), context.DeadlineExceeded)
		stop()
		assert.Contains(t, a.events, "snapshot, lost [6, 8)")
		in := s.Ledger().Account(sessionA)
		assert.Equal(t, []feed.Range{{From: 6, To: 8}}, in.Lost.Ranges())
		assert.Equal(t, []feed.Range{{From: 1, To: 6}, {From: 8, To: 9}}, in.Delivered.Ranges())
		assert.True(t, in.Disowned.Empty())
		require.NoError(t, s.Ledger().Check())
	})
}

// A position kept in a file is saved after the application has had the ticks: a process that starts again resumes there, and
// asks for the state. A damaged file says what to do.
func TestPositionFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "position.json")
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		cfg.PositionFile = path
		var hello *codec.Hello
		var saved atomic.Value
		stop := publish(network, "pub:1", beginning(5), func(p *peer) {
			hello = p.hello
			p.send(message(welcomeA(5, 6, codec.StartedResumed)), snapshot(seedA(), 5, codec.ScopeAll), ticksA(5, 6))
			p.beat(6, time.Hour)
		})
		first, a := mustNew(t, cfg), &app{}
		require.ErrorIs(t, runFor(interval/2, first, &app{on: func(b *Batch) error {
			time.AfterFunc(saveEvery+time.Millisecond, func() {
				data, _ := os.ReadFile(path)
				saved.Store(string(data))
			})
			return a.handle(b)
		}}), context.DeadlineExceeded)
		assert.JSONEq(t, `{"lineage":[{"session":"000000020261122a","first":1}],"next":5}`, saved.Load().(string), "while it runs")
		second, b := mustNew(t, cfg), &app{}
		assert.Equal(t, uint64(5), second.Position().Next)
		require.ErrorIs(t, runFor(interval/2, second, b), context.DeadlineExceeded)
		stop()
		assert.False(t, hello.HasState)
		assert.Equal(t, codec.Position{Lineage: lineageA, Next: 5}, hello.Position)
		assert.Equal(t, []uint64{1, 2, 3, 4}, seqs(a.ticks))
		assert.Equal(t, []uint64{5}, seqs(b.ticks))
		assert.Equal(t, feed.Totals{Delivered: 1}, second.Ledger().Totals())
	})
	for name, damaged := range map[string]string{
		"torn": `{"lineage":[{"session":"0000`, "empty": "", "no lineage": `{"next":5}`,
		"no next": `{"lineage":[{"session":"000000020261122a","first":1}]}`, "too long": strings.Repeat(" ", maxPositionFile+1),
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(path, []byte(damaged), 0o600))
			_, err := New(Config{Addrs: []string{"pub:1"}, PositionFile: path})
			require.ErrorContains(t, err, path+" is damaged")
			require.ErrorContains(t, err, "delete it to begin anew")
		})
	}
}

// Run returns the handler's error unchanged. Its batch counts as not received, and the next Run delivers it again.
func TestHandlerError(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		cfg.BatchSize = 2
		var hello *codec.Hello
		stop := publish(network, "pub:1", beginning(9), func(p *peer) {
			hello = p.hello
			p.send(message(welcomeA(5, 9, codec.StartedResumed)), snapshot(seedA(), 5, codec.ScopeAll), ticksA(5, 9))
			p.beat(9, time.Hour)
		})
		s := mustNew(t, cfg)
		a := &app{onTick: func(seq uint64) error {
			if seq == 6 {
				return errEnough
			}
			return nil
		}}
		require.Equal(t, errEnough, s.Run(t.Context(), a.handle))
		assert.Equal(t, uint64(5), s.Position().Next)
		assert.Equal(t, feed.Totals{Delivered: 4}, s.Ledger().Totals())
		a.onTick = nil
		require.ErrorIs(t, runFor(interval/2, s, a), context.DeadlineExceeded)
		stop()
		assert.False(t, hello.HasState, "the state had the ticks that the application did not take")
		assert.Equal(t, []uint64{1, 2, 3, 4, 5, 6, 7, 8}, seqs(a.ticks))
		assert.Equal(t, feed.Totals{Delivered: 8}, s.Ledger().Totals())
	})
}

// A slow handler does not make the client look dead, and the time that it takes does not count as silence.
func TestSlowHandler(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		during := 0
		stop := publish(network, "pub:1", func(p *peer) {
			p.send(message(welcomeA(1, 3, codec.StartedAsAsked)), packet(seedA(), 1, definition(0)), ticksA(2, 3))
			go func() {
				time.Sleep(19 * interval)
				_, during = p.lastPulse()
			}()
			p.beat(3, time.Hour)
		})
		s, a := mustNew(t, cfg), &app{onTick: func(uint64) error { time.Sleep(20 * interval); return nil }}
		require.ErrorIs(t, runFor(30*interval, s, a), context.DeadlineExceeded)
		stop()
		assert.InDelta(t, 19, during, 1)
		assert.Equal(t, []string{"connecting", "replaying", "ticks 1 to 2", "live", "closed"}, a.events)
	})
}

// Pulses report the application's position, with the clock of the last heartbeat. At the end of the session one is sent at once.
func TestPulsesReportThePosition(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		var atEnd, later codec.Pulse
		stop := publish(network, "pub:1", func(p *peer) {
			p.send(message(welcomeA(1, 3, codec.StartedAsAsked)), packet(seedA(), 1, definition(0)), ticksA(2, 3), message(&codec.End{Final: 3}))
			time.Sleep(time.Millisecond)
			atEnd, _ = p.lastPulse()
			p.send(heartbeat(3, 3))
			time.Sleep(interval)
			later, _ = p.lastPulse()
			p.beat(3, time.Hour)
		})
		s, a := mustNew(t, cfg), &app{}
		require.ErrorIs(t, runFor(3*interval, s, a), context.DeadlineExceeded)
		stop()
		assert.Equal(t, codec.Pulse{Next: 3, Echo: 1000}, atEnd)
		assert.Equal(t, codec.Pulse{Next: 3, Echo: 2000}, later)
		assert.Contains(t, a.events, "ended, end at 3")
	})
}

// On a busy line, which has no heartbeats, pulses have the publish time of the last packet as their clock.
func TestPulsesOfABusyLineEchoPackets(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		var echoes []int64
		stop := publish(network, "pub:1", func(p *peer) {
			p.send(message(welcomeA(1, 3, codec.StartedAsAsked)), packet(seedA(), 1, definition(0)), packetAt(900, 2, quote(0, 2)))
			time.Sleep(2 * interval)
			old, _ := p.lastPulse()
			p.send(packetAt(5000, 3, quote(0, 3)))
			time.Sleep(2 * interval)
			recent, _ := p.lastPulse()
			echoes = []int64{old.Echo, recent.Echo}
			p.beat(4, time.Hour)
		})
		require.ErrorIs(t, runFor(5*interval, mustNew(t, cfg), &app{}), context.DeadlineExceeded)
		stop()
		assert.Equal(t, []int64{1000, 5000}, echoes)
	})
}

// Ticks yields only ticks. Leaving the loop ends the connection; the next loop continues after the ticks used, even in the
// middle of a batch. The error is the last element.
func TestTicksYieldsOnlyTicks(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		stop := publish(network, "pub:1", beginning(6), func(p *peer) {
			p.send(message(welcomeA(2, 6, codec.StartedResumed)), snapshot(seedA(), p.hello.Position.Next, codec.ScopeAll), ticksA(2, 6))
			p.beat(6, time.Hour)
		})
		s := mustNew(t, cfg)
		var got []uint64
		for tick, err := range s.Ticks(t.Context()) {
			require.NoError(t, err)
			if got = append(got, tick.Seq); tick.Seq == 3 {
				break
			}
		}
		assert.Equal(t, uint64(4), s.Position().Next)
		ctx, cancel := context.WithTimeout(t.Context(), interval)
		defer cancel()
		var last error
		for tick, err := range s.Ticks(ctx) {
			if last = err; err == nil {
				got = append(got, tick.Seq)
				continue
			}
			assert.Equal(t, " 0 0", tick.Symbol+" "+tick.Price(tick.Quote().Bid)+" "+tick.Size(0), "an application that does not look at the error first does not panic")
		}
		stop()
		require.ErrorIs(t, last, context.DeadlineExceeded)
		assert.Equal(t, []uint64{1, 2, 3, 4, 5}, got)
		assert.Equal(t, feed.Totals{Delivered: 5}, s.Ledger().Totals())
	})
}

// Run returns the cause of the context, even while a dial hangs or between attempts.
func TestCancelReturnsTheCause(t *testing.T) {
	for name, mode := range map[string]netsim.DialMode{"while dialling": netsim.Hang, "between attempts": netsim.Refuse} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
				network.Dials(netsim.Any, mode)
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(3*interval, func() { cancel(errEnough) })
				began := time.Now()
				require.Equal(t, errEnough, mustNew(t, cfg).Run(ctx, (&app{}).handle))
				assert.Equal(t, 3*interval, time.Since(began))
			})
		})
	}
}

func TestConfigOutOfBoundsIsRefused(t *testing.T) {
	for _, test := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, "no address in Addrs"},
		{Config{Addrs: []string{""}}, "an empty address in Addrs"},
		{Config{Addrs: []string{"a"}, MaxLag: -1}, "MaxLag must be from 0 to 24h0m0s, got -1ns"},
		{Config{Addrs: []string{"a"}, Heartbeat: 25 * time.Hour}, "Heartbeat must be from 0"},
		{Config{Addrs: []string{"a"}, MaxAttempts: -1}, "MaxAttempts must not be negative"},
		{Config{Addrs: []string{"a"}, BatchSize: maxBatch + 1}, "BatchSize must be from"},
		{Config{Addrs: []string{"a"}, Filter: []string{"a\n"}}, "control character"},
		{Config{Addrs: []string{"a"}, Filter: manyPatterns(9000)}, "filter has 9000 patterns, at most 4096"},
		{Config{Addrs: []string{"a"}, Filter: longPatterns(1000)}, "1000 patterns do not fit"},
		{Config{Addrs: []string{"a"}, Token: codec.Token(strings.Repeat("x", 2000))}, "token"},
	} {
		_, err := New(test.cfg)
		require.ErrorContains(t, err, test.want)
	}
}
