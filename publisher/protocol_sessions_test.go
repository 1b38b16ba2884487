package publisher_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/journal/memfs"
)

func testVersions(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		for _, v := range [][2]uint64{{1, 1}, {1, 2}, {1, 1 << 63}} {
			c := w.raw(hello(helloMin, v[0], helloMax, v[1]))
			m := c.message()
			require.IsType(t, &codec.Welcome{}, m)
			assert.Equal(t, uint64(1), m.(*codec.Welcome).Version)
			c.nc.Close()
		}
		for _, v := range [][2]uint64{{2, 2}, {2, 1 << 63}} {
			c := w.raw(hello(helloMin, v[0], helloMax, v[1]))
			m := c.message()
			require.IsType(t, &codec.Refusal{}, m)
			assert.Equal(t, codec.CodeVersion, m.(*codec.Refusal).Code)
			assert.False(t, m.(*codec.Refusal).Retry)
			c.nc.Close()
		}
	})(t)
}

func testWelcome(t *testing.T) {
	bubble(func(t *testing.T) {
		var now atomic.Int64
		now.Store(noon)
		w := start(t, publisher.Config{
			Seed: 1, Memory: publisher.MinMemory, Mode: codec.ModeSimulation, Server: "test 1.0", Now: func() int64 { return now.Load() },
		})
		for range 12 {
			w.quotes(5000)
		}
		now.Add(12345)
		c := w.join(codec.Hello{})
		l := w.pub.Lineage()
		assert.Equal(t, &codec.Welcome{
			Version: 1, Server: "test 1.0", Mode: codec.ModeSimulation, Lineage: l, Head: 60_004, Tail: w.pub.Stats().Tail,
			Heartbeat: publisher.DefaultHeartbeat, Seed: codec.LineSeed(l[0].ID, nil), Start: 60_004, Now: now.Load(),
		}, c.welcome)
		assert.Greater(t, c.welcome.Tail, uint64(1), "memory has forgotten the beginning")
		tail := w.join(codec.Hello{Start: fromBeginning})
		assert.Equal(t, tail.welcome.Tail, tail.welcome.Start)
		tail.until(60_004)
		tail.consecutive(tail.welcome.Tail, 60_004)
	})(t)
}

func testGreatestWelcome(t *testing.T) {
	bubble(func(t *testing.T) {
		cfg := publisher.Config{Seed: 1, Journal: "j", FS: &memfs.FS{}, Server: strings.Repeat("ä", 5000)}
		w := start(t, cfg)
		for range feed.MaxLineage + 1 {
			w.quotes(1)
			w.stop()
			w.open(cfg)
		}
		require.Len(t, w.pub.Lineage(), feed.MaxLineage+2)
		c := w.dial(codec.Hello{})
		c.r.SetLimit(4096)
		m := c.message()
		require.IsType(t, &codec.Welcome{}, m)
		assert.Len(t, m.(*codec.Welcome).Lineage, feed.MaxLineage)
		assert.Len(t, m.(*codec.Welcome).Server, 1024)
	})(t)
}

func testSubscribeBeforeTheWelcome(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.quotes(10)
		c := w.raw(join(hello(helloStart, 2, helloFilter, []string{"A0"}), pack(11, 5, []string{"A1"})))
		c.welcome = c.message().(*codec.Welcome)
		c.at, c.next, c.seed, c.lineage = c.welcome.Start, c.welcome.Start, c.welcome.Seed, c.welcome.Lineage
		for len(c.events) < 2 {
			require.NoError(t, c.step())
		}
		assert.Equal(t, "subscribed 5", c.events[0])
		w.quotes(3)
		c.until(16)
		assert.Equal(t, uint64(15), c.ticks[len(c.ticks)-1].Seq)
		assert.Equal(t, w.ids[1], c.ticks[len(c.ticks)-1].Instrument)
	})(t)
}

func testSessionIDs(t *testing.T) {
	bubble(func(t *testing.T) {
		seen := map[feed.SessionID]bool{0: true}
		for range 20 { // the same seed each time
			w := start(t, publisher.Config{Seed: 1})
			l := w.pub.Lineage()
			require.Len(t, l, 1)
			assert.Equal(t, uint64(1), l[0].First, "a root is numbered from 1")
			assert.False(t, seen[l[0].ID], "an id that was there, or 0")
			seen[l[0].ID] = true
			w.stop()
		}
		cfg := publisher.Config{Seed: 1, Journal: "j", FS: &memfs.FS{}}
		w := start(t, cfg)
		w.quotes(10)
		root := w.pub.Lineage()
		w.stop()
		w.open(cfg)
		child := w.pub.Lineage()
		require.Len(t, child, 2)
		assert.Equal(t, root[0], child[0])
		assert.Equal(t, uint64(14), child[1].First, "a child is numbered on from its first")
		assert.False(t, seen[child[1].ID])
		w.quotes(1)
		assert.Equal(t, uint64(15), w.pub.Stats().Head)
	})(t)
}

func testFork(t *testing.T) {
	bubble(func(t *testing.T) {
		cfg := publisher.Config{Seed: 1, Journal: "j", FS: &memfs.FS{}}
		w := start(t, cfg)
		w.quotes(10)
		w.stop()
		w.open(cfg) // the child begins at 14
		w.quotes(10)
		l := w.pub.Lineage()
		require.Equal(t, uint64(14), l[1].First)
		stranger := feed.Session{ID: 0xB, First: 8}
		for _, test := range []struct {
			name    string
			lineage feed.Lineage
			next    uint64
			fork    uint64
		}{
			{"the client's next, in the session that is now", l, 17, 17},
			{"the client's next, in the one before", l[:1], 9, 9},
			{"the head", l, 24, 24},
			{"the first of the session that follows in the client's lineage", feed.Lineage{l[0], stranger}, 12, 8},
			{"the first of the session that follows in the publisher's lineage", l[:1], 20, 14},
			{"both follow: the client's is less", feed.Lineage{l[0], stranger}, 30, 8},
			{"both follow: the publisher's is less", feed.Lineage{l[0], {ID: 0xB, First: 18}}, 30, 14},
			{"the last common session counts", feed.Lineage{l[0], l[1], {ID: 0xB, First: 16}}, 19, 16},
		} {
			c := w.join(codec.Hello{HasState: true, Position: codec.Position{Lineage: test.lineage, Next: test.next}})
			want := codec.StartedResumed
			if test.fork < test.next {
				want = codec.StartedRewound
			}
			assert.Equal(t, want, c.welcome.Reason, test.name)
			assert.Equal(t, test.fork, c.next, test.name)
			c.state = feed.NewState()
			if want == codec.StartedRewound {
				c.snapshot()
				assert.Equal(t, fmt.Sprintf("snapshot %d scope 0", test.fork), c.events[0], test.name)
				c.until(24)
				c.consecutive(test.fork, 24)
			}
			c.nc.Close()
		}
		beyond := w.dial(codec.Hello{Position: codec.Position{Lineage: l, Next: 25}})
		m := beyond.message()
		require.IsType(t, &codec.Refusal{}, m)
		assert.Equal(t, codec.CodeBadRequest, m.(*codec.Refusal).Code)
	})(t)
}

func testWelcomeOfAnOlderSession(t *testing.T) {
	bubble(func(t *testing.T) {
		cfg := publisher.Config{Seed: 1, Journal: "j", FS: &memfs.FS{}}
		w := start(t, cfg)
		w.quotes(10)
		for range 3 {
			w.stop()
			w.open(cfg)
			w.quotes(10)
		}
		l := w.pub.Lineage()
		for i, s := range l {
			c := w.join(codec.Hello{HasState: true, Position: codec.Position{Lineage: l[:i+1], Next: s.First}})
			assert.Equal(t, l, c.welcome.Lineage, "the whole lineage")
			assert.Equal(t, codec.LineSeed(s.ID, nil), c.welcome.Seed, "the seed of the session that owns %d", s.First)
			c.nc.Close()
		}
	})(t)
}

func testSessionMessages(t *testing.T) {
	for _, filter := range []codec.Filter{nil, {"A1"}, {"NONE"}} {
		synctest.Test(t, func(t *testing.T) {
			cfg := publisher.Config{Seed: 1, Journal: "j", FS: &memfs.FS{}}
			w := start(t, cfg)
			w.quotes(9)
			for range 2 {
				w.stop()
				w.open(cfg)
				w.quotes(9)
			}
			l := w.pub.Lineage()
			c := w.join(codec.Hello{Start: fromBeginning, Filter: filter})
			seed, session, at := c.seed, 0, c.at
			for _, o := range c.observe(time.Second / 2) {
				switch o.typ {
				case codec.TypePacket:
					h := codec.PacketAt(o.raw)
					assert.True(t, codec.VerifyPacket(o.raw, seed), "%v, session %d", h.Range(), session)
					assert.GreaterOrEqual(t, h.First, l[session].First, "a packet is of one session")
					if session+1 < len(l) {
						assert.LessOrEqual(t, h.First+h.Count, l[session+1].First)
					}
					at = h.First + h.Count
				case codec.TypeSession:
					session++
					m := o.msg.(*codec.SessionChange)
					assert.Equal(t, l[:session+1], m.Lineage, "the lineage up to that session")
					assert.Equal(t, l[session].First, m.Next)
					assert.Equal(t, at, m.Next, "between the packets")
					assert.Equal(t, codec.LineSeed(l[session].ID, filter), m.Seed)
					seed = m.Seed
				}
			}
			assert.Equal(t, 2, session)
			c.nc.Close()
		})
	}
}

func testStartTime(t *testing.T) {
	for name, cfg := range map[string]publisher.Config{
		"memory": {Seed: 1}, "journal": {Seed: 1, Journal: "j", FS: &memfs.FS{}, Memory: publisher.MinMemory},
	} {
		synctest.Test(t, func(t *testing.T) {
			var now atomic.Int64
			now.Store(noon)
			cfg.Now = func() int64 { return now.Load() }
			w := start(t, cfg)
			now.Add(1000)
			w.quotes(10) // 4 to 13, at noon + 1000
			now.Add(1000)
			w.quotes(10) // 14 to 23, at noon + 2000
			if cfg.Journal != "" {
				for range 12 {
					now.Add(1000)
					w.quotes(5000) // memory drops the beginning
				}
			}
			for value, want := range map[int64]uint64{
				0: 1, noon: 1, noon + 1: 4, noon + 999: 4, noon + 1000: 4, noon + 1001: 14, noon + 2000: 14,
				now.Load() + 1: w.pub.Stats().Head,
			} {
				now.Store(max(now.Load(), value))
				c := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartTime, Value: uint64(value)}})
				assert.Equal(t, want, c.welcome.Start, "%s, time noon + %d", name, value-noon)
				assert.Equal(t, codec.StartedAsAsked, c.welcome.Reason)
				c.nc.Close()
			}
			m := w.dial(codec.Hello{Start: codec.Start{Kind: codec.StartTime, Value: uint64(now.Load() + 1)}}).message()
			require.IsType(t, &codec.Refusal{}, m, "later than the publisher's clock")
			assert.Equal(t, codec.CodeBadRequest, m.(*codec.Refusal).Code)
		})
	}
}

func testReplayNamesItsOrigin(t *testing.T) {
	bubble(func(t *testing.T) {
		w := startRecorded(t, publisher.Config{Seed: 1}, publisher.Origin{Session: 0xABC, First: 41})
		w.quotes(10)
		c := w.join(codec.Hello{Start: fromBeginning})
		assert.Equal(t, codec.ModeReplay, c.welcome.Mode)
		assert.Equal(t, feed.SessionID(0xABC), c.welcome.Origin)
		require.Len(t, c.welcome.Lineage, 1)
		assert.NotEqual(t, c.welcome.Origin, c.welcome.Lineage[0].ID, "a session of its own")
		assert.Equal(t, uint64(41), c.welcome.Start, "the recorded numbers")
		held := c.lineage
		c.nc.Close()
		w.stop()

		w.open(publisher.Config{Seed: 1}) // the live session
		w.quotes(100)
		back := w.join(codec.Hello{HasState: true, Position: codec.Position{Lineage: held, Next: 50}})
		assert.Equal(t, codec.StartedBySnapshot, back.welcome.Reason, "a client does not resume from a replay into the live session")
		assert.Equal(t, codec.ModeLive, back.welcome.Mode)
		assert.Zero(t, back.welcome.Origin)
	})(t)
}

func testMoved(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1, Mode: codec.ModeReplay, RetryAfter: time.Hour})
		ctx, cancel := context.WithCancelCause(context.Background())
		ln, err := w.net.Listen("pub:2")
		require.NoError(t, err)
		serve := make(chan error)
		go func() { serve <- w.pub.Serve(ctx, ln) }()
		var clients []*client
		for range 3 {
			nc, err := w.connect(t.Context(), "pub:2")
			require.NoError(t, err)
			c := &client{t: t, nc: nc, r: codec.NewReader(nc, 0), state: feed.NewState()}
			c.send(&codec.Hello{MinVersion: 1, MaxVersion: 1})
			require.IsType(t, &codec.Welcome{}, c.message())
			clients = append(clients, c)
		}
		cancel(publisher.ErrMoved)
		for _, c := range clients {
			bye := c.ending()
			require.NotNil(t, bye)
			assert.Equal(t, codec.CodeShutdown, bye.Code)
			assert.True(t, bye.Retry)
			assert.Zero(t, bye.RetryAfter, "at once")
			c.nc.Close()
		}
		assert.ErrorIs(t, <-serve, publisher.ErrMoved)
	})(t)
}

func testAfterTheEnd(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.quotes(10)
		c := w.join(codec.Hello{Start: fromBeginning})
		require.NoError(t, w.pub.End(t.Context()))
		ended, beats := false, 0
		for beats < 3 {
			for _, o := range c.observe(publisher.DefaultHeartbeat / 2) {
				switch m := o.msg.(type) {
				case *codec.End:
					assert.False(t, ended, "once")
					assert.Equal(t, uint64(14), m.Final)
					ended = true
				case *codec.Heartbeat:
					if ended {
						beats++
						assert.Equal(t, codec.Heartbeat{Covered: 14, Head: 14, Now: m.Now}, *m)
					}
				default:
					require.False(t, ended, "%v after the end", o.typ)
				}
			}
			c.send(&codec.Pulse{Next: 14})
		}
		late := w.join(codec.Hello{Start: fromBeginning}) // it is told too, after the last packet
		late.until(14)
		for len(late.events) == 0 {
			require.NoError(t, late.step())
		}
		assert.Equal(t, []string{"end"}, late.events)
	})(t)
}
