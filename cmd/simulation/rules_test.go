package simulation_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/simulation"
	"tickfeed/codec"
	"tickfeed/codec/effort"
	"tickfeed/codec/lab"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/subscriber"
)

// A stage is one publisher at pub:1 on a simulated network, and subscribers that a witness hears.
type stage struct {
	t      *testing.T
	net    *netsim.Network
	pub    *publisher.Publisher
	audit  simulation.Auditor
	end    func()
	lab    *lab.Lab // nil if subscribers dial the publisher itself
	subs   []*subscriber.Subscriber
	broken atomic.Pointer[error]
	n      int64
}

func newStage(t *testing.T, cfg publisher.Config) *stage {
	s := &stage{t: t, net: netsim.New(1, netsim.Config{})}
	cfg.Sleep = time.Sleep
	pub, err := publisher.New(cfg)
	require.NoError(t, err)
	s.pub = pub
	_, err = pub.Define(t.Context(), feed.Definition{Symbol: "A0"})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ln, err := s.net.Listen("pub:1")
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() { pub.Serve(ctx, ln) })
	s.end = func() {
		cancel()
		running.Wait()
		require.NoError(t, pub.Close(context.Background()))
	}
	return s
}

// behind puts a lab with a script before the subscribers to come. Its clients are called as they are by subscribe.
func (s *stage) behind(script string, event func(lab.Event)) {
	rules, err := lab.Parse("script", []byte(script))
	require.NoError(s.t, err)
	s.lab = &lab.Lab{Script: rules, Event: event, Dial: func(ctx context.Context) (net.Conn, error) { return s.net.From("lab").Dial(ctx, "pub:1") }}
	ln, err := s.net.Listen("lab:1")
	require.NoError(s.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.lab.Serve(ctx, ln)
	}()
	end := s.end
	s.end = func() {
		cancel()
		<-served
		end()
	}
}

// quotes publishes n quotes.
func (s *stage) quotes(n int) {
	ticks := make([]feed.Tick, n)
	for i := range ticks {
		s.n++
		ticks[i] = feed.Quote{Bid: s.n, Ask: s.n + 1}.Tick(0, s.n)
	}
	if err := s.pub.Publish(context.Background(), ticks); err != nil {
		s.broken.CompareAndSwap(nil, &err)
	}
}

// subscribe runs a subscriber until stop is called, which judges it.
func (s *stage) subscribe(cfg subscriber.Config, see func(*subscriber.Batch)) (sub *subscriber.Subscriber, stop func()) {
	cfg.Addrs, cfg.Client = []string{"pub:1"}, fmt.Sprintf("client%d", len(s.subs))
	if s.lab != nil {
		cfg.Addrs = []string{"lab:1"}
	}
	if cfg.Dial == nil {
		cfg.Dial = s.net.From(fmt.Sprintf("client%d", len(s.subs))).Dial
	}
	cfg.Seed = uint64(len(s.subs)) + 1
	sub, err := subscriber.New(cfg)
	require.NoError(s.t, err)
	w := s.audit.Witness(fmt.Sprintf("client%d", len(s.subs)), sub)
	s.subs = append(s.subs, sub)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = sub.Run(ctx, func(b *subscriber.Batch) error {
			if see != nil {
				see(b)
			}
			return w.Take(sub, b)
		})
	}()
	return sub, func() {
		cancel()
		<-done
		assert.NoError(s.t, w.Judge(sub))
	}
}

// A gap is known within one heartbeat interval, whichever packets are missing (PROMISES.md, 11).
func TestGapIsKnownWithinOneHeartbeat(t *testing.T) {
	alone(t)
	gaps, clients := effort.Of(t, 10_000, 1000), 40
	const interval = time.Second
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, publisher.Config{Seed: 1, Heartbeat: interval})
		type theft struct{ at atomic.Int64 } // when the last of the missing packets was due, if nobody knows yet; ns since the epoch
		thefts := map[string]*theft{}
		for i := range clients {
			thefts[fmt.Sprintf("client%d", i)] = &theft{}
		}
		var script strings.Builder
		for i := range clients { // chance is by rule and number, so that each client needs rules of its own
			for _, what := range []string{"packet", "tick", "2 packets", "4 packets"} {
				fmt.Fprintf(&script, "for client%d with 4%%: drop %s\n", i, what)
			}
		}
		s.behind(script.String(), func(e lab.Event) {
			if e.Line > 0 {
				thefts[e.Client].at.Store(time.Now().UnixNano())
			}
		})
		var known, late atomic.Int64
		var longest atomic.Int64
		var stops []func()
		for i := range clients {
			mine := thefts[fmt.Sprintf("client%d", i)]
			_, stop := s.subscribe(subscriber.Config{Start: codec.Start{Kind: codec.StartBeginning}, MaxBackoff: time.Millisecond}, func(b *subscriber.Batch) {
				if b.Change == nil || b.Change.State != subscriber.Disconnected {
					return
				}
				at := mine.at.Swap(0)
				var gap *subscriber.ProtocolError
				if at == 0 || !errors.As(b.Change.Err, &gap) {
					return
				}
				took := time.Now().UnixNano() - at
				known.Add(1)
				longest.Store(max(longest.Load(), took))
				if took > int64(interval) || gap.Missing.Empty() {
					late.Add(1)
				}
			})
			stops = append(stops, stop)
		}
		r := rand.New(rand.NewPCG(1, 1))
		for known.Load() < int64(gaps) {
			s.quotes(1 + r.IntN(3))
			time.Sleep(time.Duration(r.Int64N(int64(50 * time.Millisecond))))
			if r.IntN(40) == 0 {
				time.Sleep(3 * interval) // the last packet before a pause may be missing too
			}
		}
		for _, stop := range stops {
			stop()
		}
		s.end()
		assert.Zero(t, late.Load(), "gaps that were not known within %v, or not as gaps", interval)
		assert.Greater(t, longest.Load(), int64(interval/2), "some gaps were known only by a heartbeat")
		kinds := map[string]uint64{}
		for _, r := range s.lab.Results() {
			_, kind, _ := strings.Cut(r.Text, ": ")
			kinds[kind] += r.Times
		}
		for kind, times := range kinds {
			assert.Greater(t, times, uint64(gaps/10), kind)
		}
		t.Logf("%d gaps, the slowest known after %v", known.Load(), time.Duration(longest.Load()))
	})
}

// A quiet market is no outage (PROMISES.md, 13).
func TestQuietMarketIsNoOutage(t *testing.T) {
	alone(t)
	hours := effort.Of(t, 8, 2)
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, publisher.Config{Seed: 1})
		s.quotes(10)
		var stops []func()
		for i, cfg := range []subscriber.Config{{Start: codec.Start{Kind: codec.StartBeginning}}, {Filter: []string{"Z*"}}, {Heartbeat: 800 * time.Millisecond}} {
			sub, stop := s.subscribe(cfg, func(b *subscriber.Batch) {
				if b.Change != nil {
					assert.NotEqual(t, subscriber.Disconnected, b.Change.State)
					assert.NotEqual(t, subscriber.Stale, b.Change.State)
				}
			})
			stops = append(stops, func() {
				assert.Zero(t, sub.Status().Reconnects, "subscriber %d", i)
				assert.Equal(t, subscriber.Live, sub.Status().State)
				assert.Equal(t, uint64(12), sub.Status().Next)
				stop()
			})
		}
		time.Sleep(time.Duration(hours) * time.Hour)
		for _, stop := range stops {
			stop()
		}
		s.end()
		assert.Equal(t, uint64(3), s.net.Stats().Connections)
	})
}

// A server whose TCP lives but whose loop hangs is no quiet market: it is found within three intervals (PROMISES.md, 13).
func TestMuteServerIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const interval = time.Second
		network := netsim.New(1, netsim.Config{})
		ln, err := network.Listen("pub:1")
		require.NoError(t, err)
		var serving sync.WaitGroup
		serving.Go(func() {
			for {
				nc, err := ln.Accept()
				if err != nil {
					return
				}
				serving.Go(func() { // it reads, acknowledges, and hangs after its welcome
					defer nc.Close()
					r := codec.NewReader(nc, 0)
					if _, _, err := r.Next(); err != nil {
						return
					}
					welcome, _ := codec.Append(nil, &codec.Welcome{
						Version: codec.Version, Lineage: feed.Lineage{{ID: 7, First: 1}}, Head: 1, Tail: 1, Start: 1,
						Heartbeat: interval, Seed: codec.LineSeed(7, nil),
					})
					_, _ = nc.Write(welcome)
					_, _ = io.Copy(io.Discard, nc)
				})
			}
		})
		var welcomed, found time.Time
		sub, err := subscriber.New(subscriber.Config{Addrs: []string{"pub:1"}, Dial: network.From("client").Dial, MaxAttempts: 1})
		require.NoError(t, err)
		err = sub.Run(t.Context(), func(b *subscriber.Batch) error {
			switch {
			case b.Change.State == subscriber.Live:
				welcomed = time.Now()
			case b.Change.State == subscriber.Disconnected:
				found = time.Now()
				assert.ErrorIs(t, b.Change.Err, subscriber.ErrSilent)
			}
			return nil
		})
		assert.ErrorIs(t, err, subscriber.ErrSilent)
		assert.Greater(t, found.Sub(welcomed), 2*interval, "less than three intervals of silence prove nothing")
		assert.LessOrEqual(t, found.Sub(welcomed), 3*interval)
		ln.Close()
		serving.Wait()
	})
}

// A client whose TCP lives but that gives no sign of life is found too.
func TestMuteClientIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const interval = time.Second
		s := newStage(t, publisher.Config{Seed: 1, Heartbeat: interval})
		nc, err := s.net.Dial(t.Context(), "pub:1")
		require.NoError(t, err)
		hello, err := codec.Append(nil, &codec.Hello{MinVersion: 1, MaxVersion: 1})
		require.NoError(t, err)
		_, err = nc.Write(hello)
		require.NoError(t, err)
		began := time.Now()
		var last codec.Message
		for r := codec.NewReader(nc, 0); ; {
			typ, raw, err := r.Next()
			if err != nil {
				break
			}
			if typ == codec.TypeGoodbye {
				last, err = codec.Decode(raw)
				require.NoError(t, err)
				assert.Greater(t, time.Since(began), 2*interval)
				assert.LessOrEqual(t, time.Since(began), 3*interval+time.Millisecond)
			}
		}
		require.IsType(t, &codec.Goodbye{}, last)
		assert.Equal(t, codec.CodeSilent, last.(*codec.Goodbye).Code)
		nc.Close()
		s.end()
	})
}

// A thousand clients that are cut in the same millisecond, and refused at once, do not come back together: later tries
// spread over at least 80 % of their window (PROMISES.md, 16).
func TestLaterTriesSpread(t *testing.T) {
	alone(t)
	clients := effort.Of(t, 1000, 100)
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, publisher.Config{Seed: 1, Heartbeat: 10 * time.Second})
		s.behind("on storm: refuse dials 5s\non storm: cut rst", nil)
		s.quotes(10)
		var mu sync.Mutex
		dials := map[int][]time.Duration{} // by attempt: the wait before it
		var cut time.Time
		var stops []func()
		for i := range clients {
			tries, last := 0, time.Time{}
			dial := s.net.From(fmt.Sprintf("client%d", i)).Dial
			_, stop := s.subscribe(subscriber.Config{Dial: func(ctx context.Context, addr string) (net.Conn, error) {
				mu.Lock()
				if !cut.IsZero() {
					if tries == 0 {
						last = cut
					}
					dials[tries] = append(dials[tries], time.Since(last))
					tries, last = tries+1, time.Now()
				}
				mu.Unlock()
				return dial(ctx, addr)
			}}, nil)
			stops = append(stops, stop)
		}
		time.Sleep(11 * time.Second) // all have had a heartbeat
		require.Equal(t, clients, s.lab.Connections())

		mu.Lock()
		cut = time.Now()
		mu.Unlock()
		require.True(t, s.lab.Trigger("storm"))
		time.Sleep(time.Minute)
		assert.Equal(t, clients, s.lab.Connections(), "all are back")
		for _, stop := range stops {
			stop()
		}
		s.end()

		require.Len(t, dials[0], clients)
		for _, d := range dials[0] {
			require.Less(t, d, time.Millisecond, "the first try comes at once")
		}
		for try := 1; try <= 4; try++ {
			window := 100 * time.Millisecond << (try - 1)
			require.Len(t, dials[try], clients)
			least, most := window, time.Duration(0)
			var tenths [10]int
			for _, d := range dials[try] {
				least, most = min(least, d), max(most, d)
				if d < window {
					tenths[d*10/window]++
				}
			}
			assert.Less(t, most, window, "try %d", try)
			assert.Greater(t, most-least, window*8/10, "try %d is spread over too little of %v", try, window)
			for i, n := range tenths {
				assert.Greater(t, n, clients/25, "try %d, tenth %d of its window", try, i)
			}
		}
	})
}
