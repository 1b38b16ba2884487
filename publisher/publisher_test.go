package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/feed/sim"
	"tickfeed/publisher"
	"tickfeed/publisher/journal"
	"tickfeed/publisher/journal/memfs"
)

const noon = int64(1_767_700_800_000_000_000)

// A world is a publisher on a simulated network, in virtual time.
type world struct {
	t      *testing.T
	net    *netsim.Network
	pub    *publisher.Publisher
	ids    []feed.InstrumentID
	serve  chan error
	cancel context.CancelFunc
	silent bool // nothing is published, no instruments either
}

// start makes a publisher with instruments A0, A1, B0 and serves it at pub:1.
func start(t *testing.T, cfg publisher.Config) *world {
	t.Helper()
	w := &world{t: t, net: netsim.New(1, netsim.Config{})}
	w.open(cfg)
	t.Cleanup(w.stop)
	return w
}

// startRecorded is start for a publisher of recorded ticks.
func startRecorded(t *testing.T, cfg publisher.Config, origin publisher.Origin) *world {
	t.Helper()
	w := &world{t: t, net: netsim.New(1, netsim.Config{})}
	cfg.Sleep = time.Sleep
	pub, err := publisher.NewRecorded(cfg, origin)
	require.NoError(t, err)
	w.serveWith(pub.Publisher)
	t.Cleanup(w.stop)
	return w
}

func (w *world) open(cfg publisher.Config) {
	w.t.Helper()
	cfg.Sleep = time.Sleep
	pub, err := publisher.New(cfg)
	require.NoError(w.t, err)
	w.serveWith(pub)
}

func (w *world) serveWith(pub *publisher.Publisher) {
	w.t.Helper()
	w.pub, w.ids = pub, nil
	w.define()
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel, w.serve = cancel, make(chan error, 1)
	ln, err := w.net.Listen("pub:1")
	require.NoError(w.t, err)
	go func() { w.serve <- pub.Serve(ctx, ln) }()
}

func (w *world) define() {
	w.t.Helper()
	if w.silent {
		return
	}
	for _, s := range []string{"A0", "A1", "B0"} {
		id, err := w.pub.Define(context.Background(), feed.Definition{Symbol: s, PriceExponent: -2})
		require.NoError(w.t, err)
		w.ids = append(w.ids, id)
	}
	require.NoError(w.t, w.pub.Flush(context.Background())) // so that clients that join find them
}

func (w *world) stop() {
	if w.pub == nil {
		return
	}
	w.cancel()
	<-w.serve
	assert.NoError(w.t, w.pub.Close(context.Background()))
	w.pub = nil
}

// quotes publishes n quotes, round robin over the instruments, and flushes.
func (w *world) quotes(n int) {
	w.t.Helper()
	ticks := make([]feed.Tick, n)
	for i := range ticks {
		p := int64(100 + i)
		ticks[i] = feed.Quote{Bid: p, BidSize: 1, Ask: p + 1, AskSize: 2}.Tick(w.ids[i%len(w.ids)], noon+int64(i))
	}
	require.NoError(w.t, w.pub.Publish(context.Background(), ticks))
	require.NoError(w.t, w.pub.Flush(context.Background()))
}

// A client is a subscriber that checks the rules of PROTOCOL.md and applies what it receives to a state.
type client struct {
	t       *testing.T
	nc      net.Conn
	r       *codec.Reader
	welcome *codec.Welcome

	at      uint64 // end of what the line has covered
	next    uint64 // the position
	seed    uint32
	lineage feed.Lineage
	state   *feed.State
	ticks   []feed.Tick
	events  []string // everything but packets of ticks and heartbeats
	gone    feed.RangeSet
	publish int64 // publish time of the last packet
	skipped uint64
	part    *feed.State
	begin   *codec.SnapshotBegin
}

func (w *world) dial(h codec.Hello) *client {
	w.t.Helper()
	nc, err := w.net.Dial(context.Background(), "pub:1")
	require.NoError(w.t, err)
	c := &client{t: w.t, nc: nc, r: codec.NewReader(nc, 0), state: feed.NewState()}
	w.t.Cleanup(func() { nc.Close() })
	if h.MaxVersion == 0 {
		h.MinVersion, h.MaxVersion = 1, 1
	}
	c.send(&h)
	return c
}

// join dials and reads the welcome.
func (w *world) join(h codec.Hello) *client {
	w.t.Helper()
	c := w.dial(h)
	m := c.message()
	require.IsType(w.t, &codec.Welcome{}, m)
	c.welcome = m.(*codec.Welcome)
	c.at, c.seed, c.lineage = c.welcome.Start, c.welcome.Seed, c.welcome.Lineage
	c.next = c.at
	switch {
	case len(h.Position.Lineage) > 0 && c.welcome.Reason != codec.StartedBySnapshot:
		c.next, _ = c.lineage.Fork(h.Position.Lineage, h.Position.Next)
	case len(h.Position.Lineage) == 0 && h.Start.Kind == codec.StartSeq:
		c.next = max(c.at, h.Start.Value)
	}
	require.LessOrEqual(w.t, c.at, c.next, "a line starts at its position or before")
	return c
}

func (c *client) send(m codec.Message) {
	c.t.Helper()
	b, err := codec.Append(nil, m)
	require.NoError(c.t, err)
	_, err = c.nc.Write(b)
	require.NoError(c.t, err)
}

// message returns the next message other than packets and parts.
func (c *client) message() codec.Message {
	c.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(time.Minute))
	_, raw, err := c.r.Next()
	require.NoError(c.t, err)
	m, err := codec.Decode(raw)
	require.NoError(c.t, err)
	return m
}

// until reads and checks the stream until the line has reached number next and no snapshot is open. The client gives
// signs of life meanwhile.
func (c *client) until(next uint64) {
	c.t.Helper()
	for c.next < next || c.begin != nil {
		require.NoError(c.t, c.step())
	}
}

// snapshot reads until a snapshot has ended.
func (c *client) snapshot() {
	c.t.Helper()
	for n := len(c.events); len(c.events) == n || c.begin != nil; {
		require.NoError(c.t, c.step())
	}
}

// step reads one message.
func (c *client) step() error {
	c.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(time.Minute))
	typ, raw, err := c.r.Next()
	if err != nil {
		return err
	}
	switch typ {
	case codec.TypePacket:
		c.packet(raw)
		return nil
	case codec.TypeSnapshotPart:
		part, err := codec.ParsePart(raw, c.seed)
		require.NoError(c.t, err)
		require.Equal(c.t, c.begin.Seq, part.Seq)
		body := codec.PartBody(&part)
		c.each(&body, func(t feed.Tick) { require.NoError(c.t, c.part.Apply(&t)) })
		return nil
	}
	m, err := codec.Decode(raw)
	require.NoError(c.t, err)
	switch m := m.(type) {
	case *codec.Heartbeat:
		require.Equal(c.t, c.at, m.Covered, "a heartbeat has the position of the line")
		c.send(&codec.Pulse{Next: c.next, Echo: m.Now})
	case *codec.SnapshotBegin:
		require.Equal(c.t, c.next, m.Seq, "a snapshot comes at its own number")
		c.begin, c.part = m, feed.NewState()
	case *codec.SnapshotEnd:
		c.events = append(c.events, fmt.Sprintf("snapshot %d scope %d", m.Seq, uint8(c.begin.Scope)))
		var scope func(feed.InstrumentID, *feed.Definition) bool
		if c.begin.Scope == codec.ScopeAdded {
			f := c.begin.Filter
			scope = func(_ feed.InstrumentID, d *feed.Definition) bool { return f.Match(d) }
		}
		c.state.Replace(scope, c.part)
		c.begin = nil
	case *codec.SessionChange:
		require.Equal(c.t, c.at, m.Next)
		c.seed = m.Seed
		c.events = append(c.events, fmt.Sprintf("session %d", len(m.Lineage)))
	case *codec.Subscribed:
		require.Equal(c.t, c.at, m.From)
		c.seed = m.Seed
		c.events = append(c.events, fmt.Sprintf("subscribed %d", m.Request))
	case *codec.End:
		require.Equal(c.t, c.at, m.Final)
		c.events = append(c.events, "end")
	case *codec.Goodbye:
		c.events = append(c.events, "goodbye "+m.Code.String())
		return io.EOF
	default:
		c.t.Fatalf("unexpected %T", m)
	}
	return nil
}

func (c *client) packet(raw []byte) {
	c.t.Helper()
	require.True(c.t, codec.VerifyPacket(raw, c.seed), "checksum of %+v", codec.PacketAt(raw))
	h, b, err := codec.ParsePacket(raw)
	require.NoError(c.t, err)
	require.Equal(c.t, c.at, h.First, "packets follow each other")
	require.LessOrEqual(c.t, c.publish, h.PublishTime, "publish times never decrease along a line")
	c.publish = h.PublishTime
	body := codec.PacketBody(&h, b)
	c.each(&body, func(t feed.Tick) {
		if t.Seq >= c.next {
			require.NoError(c.t, c.state.Apply(&t))
			c.ticks = append(c.ticks, t)
		}
	})
	c.skipped += body.NotAsked()
	if n := body.Withheld(); n > 0 {
		c.events = append(c.events, fmt.Sprintf("withheld [%d, %d)", h.First, h.First+n))
	}
	if n, reason := body.Gone(); n > 0 {
		c.gone.Add(h.Range())
		c.events = append(c.events, fmt.Sprintf("gone [%d, %d) %v", h.First, h.First+n, reason))
	}
	c.at = h.First + h.Count
	c.next = max(c.next, c.at)
}

func (c *client) each(b *codec.Body, f func(feed.Tick)) {
	c.t.Helper()
	var batch [7]feed.Tick
	for {
		n, err := b.Decode(batch[:])
		require.NoError(c.t, err)
		if n == 0 {
			return
		}
		for _, t := range batch[:n] {
			f(t)
		}
	}
}

func (c *client) seqs() []uint64 {
	var s []uint64
	for _, t := range c.ticks {
		s = append(s, t.Seq)
	}
	return s
}

// consecutive asserts that the client received every number of [from, to) once, in order.
func (c *client) consecutive(from, to uint64) {
	c.t.Helper()
	require.Len(c.t, c.ticks, int(to-from))
	for i, t := range c.ticks {
		require.Equal(c.t, from+uint64(i), t.Seq)
	}
}

func (w *world) position(c *client, next uint64) codec.Position {
	return codec.Position{Lineage: c.lineage, Next: next}
}

// A subscriber starts where it asks to (PROTOCOL.md, "Where a line starts"), and ends with the same state as a
// subscriber from the beginning.
func TestStarts(t *testing.T) {
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

// A subscriber resumes at its position, or where the lineages fork (PROTOCOL.md, "Lineage").
func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.quotes(100)
		c := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
		c.until(104)

		again := w.join(codec.Hello{HasState: true, Position: w.position(c, 50)})
		assert.Equal(t, codec.StartedResumed, again.welcome.Reason)
		again.state = c.state
		again.until(104)
		again.consecutive(50, 104)
		assert.Empty(t, again.events)

		fresh := w.join(codec.Hello{Position: w.position(c, 50)})
		fresh.until(104)
		fresh.consecutive(50, 104)
		assert.Equal(t, []string{"snapshot 50 scope 0"}, fresh.events)
		assert.Empty(t, c.state.Diff(fresh.state))

		lost := append(feed.Lineage{}, c.lineage...).Child(0xB, 60)
		rewound := w.join(codec.Hello{HasState: true, Position: codec.Position{Lineage: lost, Next: 90}})
		assert.Equal(t, codec.StartedRewound, rewound.welcome.Reason)
		rewound.until(104)
		rewound.consecutive(60, 104)
		assert.Equal(t, []string{"snapshot 60 scope 0"}, rewound.events)

		stranger := w.join(codec.Hello{HasState: true, Position: codec.Position{Lineage: feed.Lineage{{ID: 0xB, First: 1}}, Next: 90}})
		assert.Equal(t, codec.StartedBySnapshot, stranger.welcome.Reason)
		stranger.until(104)
		stranger.consecutive(1, 104) // memory holds the whole session: the client misses nothing
		assert.Empty(t, c.state.Diff(stranger.state))
	})
}

// A filtered line has the ticks asked for and skips the others. An idle line advances with the heartbeat, and the
// filter can be changed while the connection is open (PROTOCOL.md, "Filters").
func TestFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.quotes(30)
		c := w.join(codec.Hello{Filter: codec.Filter{"B*"}, Start: codec.Start{Kind: codec.StartBeginning}})
		c.until(34)
		assert.Equal(t, []uint64{3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33}, c.seqs())
		assert.Equal(t, uint64(33-11), c.skipped)

		require.NoError(t, w.pub.Publish(t.Context(), []feed.Tick{
			feed.Trade{Price: 1, Size: 1}.Tick(w.ids[0], noon), feed.Trade{Price: 1, Size: 1}.Tick(w.ids[0], noon),
		}))
		c.until(36)
		assert.Len(t, c.ticks, 11, "an idle line advances without ticks")

		id, err := w.pub.Define(t.Context(), feed.Definition{Symbol: "B1"})
		require.NoError(t, err)
		require.NoError(t, w.pub.Publish(t.Context(), []feed.Tick{feed.Trade{Price: 1, Size: 1}.Tick(id, noon)}))
		c.until(38)
		assert.Equal(t, []uint64{36, 37}, c.seqs()[11:], "an instrument defined later")

		c.send(&codec.Subscribe{Request: 7, Filter: codec.Filter{"A1", "B*"}})
		for len(c.events) < 2 {
			require.NoError(t, c.step())
		}
		assert.Equal(t, []string{"subscribed 7", "snapshot 38 scope 2"}, c.events)
		in, ok := c.state.Instrument(w.ids[1])
		require.True(t, ok)
		assert.Equal(t, int64(128), in.Quote.Bid)
		w.quotes(3)
		c.until(41)
		assert.Equal(t, []uint64{39, 40}, c.seqs()[13:])

		many := codec.Filter{"B*"}
		for i := range 1000 {
			many = append(many, fmt.Sprintf("NONE-OF-THESE-IS-THERE-%d", i)) // far longer than a hello may be
		}
		c.send(&codec.Subscribe{Request: 9, Filter: many})
		for len(c.events) < 4 {
			require.NoError(t, c.step())
		}
		c.events = c.events[:2]
		c.send(&codec.Subscribe{Request: 8})
		for len(c.events) < 4 {
			require.NoError(t, c.step())
		}
		w.quotes(3)
		c.until(44)
		assert.Equal(t, []uint64{41, 42, 43}, c.seqs()[15:])
	})
}

// Many filtered lines are served together, and lines with equal filters from the same bytes. Each gets exactly its
// own ticks, even if it joins late, reads late or changes its filter, or an instrument is defined meanwhile.
func TestFilteredTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		filters := []codec.Filter{{"A0"}, {"A1", "B*"}, {"A*"}, {"C*"}, {"*0"}, {"A0"}, {"A1", "B*"}, {"NONE"}}
		var (
			clients []*client
			asks    []codec.Filter
			symbols = map[feed.InstrumentID]string{}
			told    []string // by seq, the symbol
		)
		for i, s := range []string{"A0", "A1", "B0"} {
			symbols[w.ids[i]] = s
			told = append(told, s)
		}
		join := func(i int) {
			f := filters[i%len(filters)]
			clients = append(clients, w.join(codec.Hello{
				Filter: f, Start: codec.Start{Kind: codec.StartBeginning}, Heartbeat: 30 * time.Second,
			}))
			asks = append(asks, f)
		}
		for i := range 20 {
			join(i)
		}
		for round := range 60 {
			n := 1 + round*371%5000
			for i := range n {
				told = append(told, symbols[w.ids[i%len(w.ids)]])
			}
			w.quotes(n)
			if round%20 == 10 {
				symbol := fmt.Sprintf("C%d", round%30)
				id, err := w.pub.Define(t.Context(), feed.Definition{Symbol: symbol})
				require.NoError(t, err)
				symbols[id], w.ids, told = symbol, append(w.ids, id), append(told, symbol)
			}
			if round == 30 {
				join(0)
			}
			for i, c := range clients {
				if i%5 == 4 && round%25 != 0 {
					continue // it reads late
				}
				last := len(told)
				for last > 0 && !asks[i].Match(&feed.Definition{Symbol: told[last-1]}) {
					last--
				}
				c.until(uint64(last + 1))
			}
			synctest.Wait()
		}
		require.NoError(t, w.pub.Flush(t.Context()))
		for i, c := range clients {
			c.until(uint64(len(told) + 1))
			var want []uint64
			for seq, symbol := range told {
				if asks[i].Match(&feed.Definition{Symbol: symbol}) {
					want = append(want, uint64(seq+1))
				}
			}
			assert.Equal(t, want, c.seqs(), "client %d, which wants %v", i, asks[i])
			assert.Equal(t, uint64(len(told)), uint64(len(want))+c.skipped, "client %d accounts for every number", i)
		}
	})
}

// Each start with a journal begins a child session. A subscriber that was away follows through all of them, and its
// filter holds across them (PROTOCOL.md, "Sessions").
func TestChildSessions(t *testing.T) {
	for _, filter := range []codec.Filter{nil, {"A*", "B0"}} {
		t.Run(fmt.Sprint(filter), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := publisher.Config{Seed: 1, Journal: filepath.Join(t.TempDir(), "j")}
				w := start(t, cfg)
				w.quotes(100)
				first := w.join(codec.Hello{Filter: filter, Start: codec.Start{Kind: codec.StartBeginning}})
				first.until(50)
				held := w.position(first, 50)
				for range 3 {
					w.stop()
					w.open(cfg)
					w.quotes(100)
				}
				c := w.join(codec.Hello{Filter: filter, HasState: true, Position: held})
				assert.Equal(t, codec.StartedResumed, c.welcome.Reason)
				c.state = feed.NewState()
				for i, s := range []string{"A0", "A1", "B0"} {
					def := feed.Definition{Symbol: s, PriceExponent: -2}
					require.NoError(t, c.state.Apply(&feed.Tick{
						Kind: feed.KindDefinition, Instrument: feed.InstrumentID(i), Extra: &feed.Extra{Definition: &def},
					}))
				}
				c.until(404)
				c.consecutive(50, 404)
				assert.Equal(t, []string{"session 2", "session 3", "session 4"}, c.events)
			})
		})
	}
}

// A journal of more sessions than a message can list is served from its first number.
func TestMoreSessionsThanALineageNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := publisher.Config{Seed: 1, Journal: "j", FS: &memfs.FS{}, Memory: publisher.MinMemory}
		w := start(t, cfg)
		w.quotes(100)
		for range feed.MaxLineage + 5 {
			w.stop()
			w.open(cfg)
			w.quotes(10)
		}
		head := uint64(1 + 3 + 100 + 10*(feed.MaxLineage+5))
		assert.Equal(t, uint64(1), w.pub.Stats().Tail)
		for _, from := range []codec.Start{{Kind: codec.StartBeginning}, {Kind: codec.StartSeq, Value: 1}, {Kind: codec.StartTime}} {
			c := w.join(codec.Hello{Start: from})
			assert.Equal(t, uint64(1), c.welcome.Start)
			c.until(head)
			c.consecutive(1, head)
		}
	})
}

// Without a journal, a subscriber that resumes at a position that memory has dropped is sent the range of the numbers
// that are gone, and the state after them.
func TestMemoryOnlyPublisherForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1, Memory: publisher.MinMemory})
		w.quotes(10)
		early := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
		early.until(14)
		for range 20 {
			w.quotes(5000)
		}
		tail := w.pub.Stats().Tail
		require.Greater(t, tail, uint64(100))

		time.Sleep(time.Second) // the dropped ticks have earlier publish times than the ticks that remain
		c := w.join(codec.Hello{HasState: true, Position: w.position(early, 14)})
		c.until(100_014)
		assert.Equal(t, []string{fmt.Sprintf("gone [14, %d) expired", tail), fmt.Sprintf("snapshot %d scope 0", tail)}, c.events)
		c.consecutive(tail, 100_014)
		late := w.join(codec.Hello{})
		late.snapshot()
		assert.Empty(t, late.state.Diff(c.state))
	})
}

// A subscriber of a session that ended before its first tick misses nothing of the next session.
func TestSessionWithoutTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.quotes(10)
		held := codec.Position{Lineage: feed.Lineage{{ID: 99, First: 1}}, Next: 1}
		c := w.join(codec.Hello{HasState: true, Position: held})
		assert.Equal(t, codec.StartedBySnapshot, c.welcome.Reason)
		c.until(14)
		c.consecutive(1, 14)
		assert.Empty(t, c.events)
	})
}

// A subscriber that does not read costs the others nothing, and its slow-consumer policy is applied.
func TestSlowConsumers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1, Journal: filepath.Join(t.TempDir(), "j"), Memory: publisher.MinMemory})
		all := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
		latest := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}, Slow: codec.SlowLatest, MaxLag: time.Second})
		cut := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}, Slow: codec.SlowDisconnect, MaxLag: time.Second})
		healthy := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
		for _, c := range []*client{all, latest, cut, healthy} {
			c.until(4)
		}
		total := uint64(4)
		for range 20 { // 20 × 130 kB, past the send buffers and past memory
			w.quotes(5000)
			total += 5000
			healthy.until(total)
			for _, c := range []*client{all, latest, healthy} {
				c.send(&codec.Pulse{Next: c.next})
			}
			if b, err := codec.Append(nil, &codec.Pulse{Next: cut.next}); assert.NoError(t, err) {
				_, _ = cut.nc.Write(b) // it is cut off at some time
			}
			time.Sleep(500 * time.Millisecond)
		}
		require.Greater(t, w.pub.Stats().Journal, int64(2*publisher.MinMemory), "memory has dropped the beginning, and only the journal holds it")
		all.until(total)
		all.consecutive(1, total)
		assert.Empty(t, all.events, "the journal has everything that memory dropped")

		latest.until(total)
		latest.snapshot()
		require.Len(t, latest.events, 2)
		assert.Contains(t, latest.events[0], "withheld")
		assert.Empty(t, all.state.Diff(latest.state), "volumes stay right")
		assert.Less(t, len(latest.ticks), len(all.ticks))

		var err error
		for err == nil {
			err = cut.step()
		}
		assert.Less(t, cut.next, total)
	})
}

// A subscriber that does not read data from the journal soon costs the rest of one packet only; with a filter, it
// costs the filtered chunk (PROMISES.md, 14). When it reads again, it gets everything.
func TestStalledReadersOfTheJournal(t *testing.T) {
	for name, c := range map[string]struct {
		filter codec.Filter
		most   uint64 // bytes for each
	}{
		"all":      {nil, 64 << 10},
		"filtered": {codec.Filter{"A*"}, 192 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{t: t, net: netsim.New(1, netsim.Config{Conditions: netsim.Conditions{Buffer: 16 << 10}})}
				w.open(publisher.Config{Seed: 1, Journal: filepath.Join(t.TempDir(), "j"), Memory: publisher.MinMemory})
				t.Cleanup(w.stop)
				for range 20 {
					w.quotes(5000)
				}
				heap := func() uint64 {
					runtime.GC()
					runtime.GC() // a pool keeps unused memory for one collection
					var m runtime.MemStats
					runtime.ReadMemStats(&m)
					return m.HeapAlloc
				}
				hello := codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}, Filter: c.filter}
				again := w.join(hello)
				const clients = 40
				before := heap()
				for range clients {
					w.dial(hello)
				}
				time.Sleep(500 * time.Millisecond)
				synctest.Wait()
				require.Len(t, w.pub.Stats().Conns, clients+1)
				assert.Less(t, heap(), before+clients*c.most)

				for next := uint64(20_004); next <= 100_004; next += 20_000 {
					again.until(next)
					time.Sleep(200 * time.Millisecond)
				}
				assert.Empty(t, again.events)
				if c.filter == nil {
					again.consecutive(1, 100_004)
				} else {
					assert.Equal(t, uint64(100_003), uint64(len(again.ticks))+again.skipped)
				}
			})
		})
	}
}

// A client with a lag limit that resumes has the duration of the limit to replay what it missed. If that is too
// short, its policy applies although it was never live.
func TestSlowConsumerResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		quick := w.join(codec.Hello{Slow: codec.SlowLatest, MaxLag: time.Second})
		quick.snapshot()
		held := w.position(quick, quick.next)
		quick.nc.Close()
		for range 10 {
			w.quotes(5000)
			time.Sleep(time.Second)
		}
		quick = w.join(codec.Hello{HasState: true, Position: held, Slow: codec.SlowLatest, MaxLag: time.Second})
		quick.state = feed.NewState()
		slow := w.join(codec.Hello{Position: held, Slow: codec.SlowLatest, MaxLag: time.Second})
		slow.snapshot()
		quick.state = slow.state.Clone()
		quick.until(50_004)
		assert.Empty(t, quick.events, "everything was replayed, however old")
		for range 5 {
			slow.send(&codec.Pulse{Next: slow.next})
			time.Sleep(time.Second)
		}
		slow.until(50_004)
		slow.snapshot()
		require.Len(t, slow.events, 3)
		assert.Contains(t, slow.events[1], "withheld")
		quick.nc.Close()
		slow.nc.Close()
	})
}

// A client that breaks a rule before login is refused with a code and a reason.
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		hello codec.Hello
		raw   []byte
		code  codec.Code
	}{
		"version":      {hello: codec.Hello{MinVersion: 2, MaxVersion: 9}, code: codec.CodeVersion},
		"no token":     {hello: codec.Hello{}, code: codec.CodeUnauthorized},
		"wrong token":  {hello: codec.Hello{Token: "guess"}, code: codec.CodeUnauthorized},
		"future seq":   {hello: codec.Hello{Token: "open sesame", Start: codec.Start{Kind: codec.StartSeq, Value: 99}}, code: codec.CodeBadRequest},
		"not msgpack":  {raw: []byte("GET / HTTP/1.1\r\n\r\n"), code: codec.CodeProtocol},
		"a bomb":       {raw: []byte{0xdd, 0xff, 0xff, 0xff, 0xff}, code: codec.CodeProtocol},
		"not a hello":  {raw: []byte{0x93, 13, 1, 0}, code: codec.CodeProtocol},
		"odd position": {hello: codec.Hello{Token: "open sesame", Position: codec.Position{Next: 99}}, code: codec.CodeBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := start(t, publisher.Config{Seed: 1, Token: "open sesame"})
				if c.hello.Position.Next > 0 {
					c.hello.Position.Lineage = w.pub.Lineage()
				}
				var cl *client
				if c.raw == nil {
					cl = w.dial(c.hello)
				} else {
					nc, err := w.net.Dial(t.Context(), "pub:1")
					require.NoError(t, err)
					_, err = nc.Write(c.raw)
					require.NoError(t, err)
					cl = &client{t: t, nc: nc, r: codec.NewReader(nc, 0)}
				}
				m := cl.message()
				require.IsType(t, &codec.Refusal{}, m)
				assert.Equal(t, c.code, m.(*codec.Refusal).Code)
				assert.NotEmpty(t, m.(*codec.Refusal).Text)
				cl.nc.Close()
			})
		})
	}
}

// A peer that continues to send after it was refused does not keep the publisher busy.
func TestFloodAfterRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		nc, err := w.net.Dial(context.Background(), "pub:1")
		require.NoError(t, err)
		defer nc.Close()
		sent, chunk := 0, make([]byte, 4096)
		chunk[0] = 0xc1 // no msgpack
		for err == nil && sent < 16<<20 {
			var n int
			n, err = nc.Write(chunk)
			sent += n
		}
		assert.Error(t, err, "%d bytes were taken of a connection that was refused", sent)
	})
}

// Silent connections cost a bounded time. Above MaxHandshakes the oldest is closed (PROMISES.md, 17), and a client
// that sends a hello is served at once.
func TestSilentConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1, MaxHandshakes: 100})
		for range 300 {
			nc, err := w.net.Dial(t.Context(), "pub:1")
			require.NoError(t, err)
			defer nc.Close()
			_, _ = nc.Write([]byte{0x9d})
		}
		synctest.Wait()
		assert.Equal(t, 100, w.pub.Stats().Handshakes)
		begun := time.Now()
		c := w.join(codec.Hello{})
		c.snapshot()
		assert.Less(t, time.Since(begun), time.Second)
		time.Sleep(publisher.DefaultHandshakeTimeout + time.Second)
		assert.Zero(t, w.pub.Stats().Handshakes)
	})
}

// A client that is silent for three intervals is disconnected. A client that sends pulses is not, and is sent
// heartbeats for as long as the market is quiet (PROMISES.md, 12, 13).
func TestLiveness(t *testing.T) {
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

// Drained waits for a subscriber whose connection was lost before it had everything, for as long as the subscriber
// may take to notice. It does not wait for one that said goodbye.
func TestDrainedWaitsForWhoWasCutOff(t *testing.T) {
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
				drained := make(chan time.Duration)
				go func() {
					assert.NoError(t, w.pub.Drained(t.Context()))
					drained <- time.Since(began)
				}()
				test.then(w, c)
				assert.Equal(t, test.waited, <-drained)
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
		drained := make(chan error)
		go func() { drained <- w.pub.Drained(t.Context()) }()
		synctest.Wait()
		select {
		case <-drained:
			t.Error("drained before the client has confirmed")
		default:
		}
		c.send(&codec.Pulse{Next: 104})
		require.NoError(t, <-drained)
		w.cancel()
		for c.step() == nil {
		}
		assert.Equal(t, []string{"end", "goodbye " + codec.CodeShutdown.String()}, c.events)
		c.nc.Close()
	})
}

// If many goroutines publish at once, every tick gets a number of its own, and the ticks of each goroutine keep their
// order.
func TestConcurrentPublishers(t *testing.T) {
	w := start(t, publisher.Config{Seed: 1, Journal: filepath.Join(t.TempDir(), "j"), SegmentSize: 64 << 10})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				tick := feed.Trade{Price: int64(g), Size: 1, ID: uint64(i + 1)}.Tick(w.ids[0], noon)
				assert.NoError(t, w.pub.Publish(context.Background(), []feed.Tick{tick}))
			}
		})
	}
	c := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
	c.until(8004)
	wg.Wait()
	c.consecutive(1, 8004)
	last := make([]uint64, 4)
	for _, tick := range c.ticks[3:] {
		g := tick.Trade().Price
		require.Equal(t, last[g]+1, tick.Trade().ID)
		last[g]++
	}
}

// An invalid tick is refused and gets no number.
func TestPublishRefuses(t *testing.T) {
	w := start(t, publisher.Config{Seed: 1})
	good := feed.Trade{Price: 1, Size: 1}.Tick(w.ids[0], noon)
	for name, bad := range map[string]feed.Tick{
		"a negative size":         feed.Trade{Price: 1, Size: -1}.Tick(w.ids[0], noon),
		"no kind":                 {},
		"an undefined instrument": feed.Trade{Price: 1, Size: 1}.Tick(77, noon),
		"a summary":               {Kind: feed.KindSummary, Extra: &feed.Extra{Summary: &feed.Summary{}}},
	} {
		before := w.pub.Stats().Head
		err := w.pub.Publish(context.Background(), []feed.Tick{good, bad, good})
		var partial *publisher.PublishError
		require.ErrorAs(t, err, &partial, name)
		assert.Equal(t, 1, partial.Published, name)
		assert.Equal(t, before+1, w.pub.Stats().Head, name)
	}
	require.NoError(t, w.pub.Flush(context.Background()))
}

// Ticks published a few at a time are sent unchanged and in order, whatever other calls come between them, and
// refused ticks get no number.
func TestFewAtATime(t *testing.T) {
	w := start(t, publisher.Config{Seed: 1})
	ctx := t.Context()
	r := rand.New(rand.NewPCG(1, 2))
	next := uint64(4)
	var want []feed.Tick
	one := func() feed.Tick {
		id, at := w.ids[r.IntN(len(w.ids))], noon+r.Int64N(1e9)
		switch r.IntN(40) {
		case 0:
			return feed.Level{Side: feed.SideBuy, Price: 3, Size: 4}.Tick(id, at)
		case 1:
			return feed.Quote{Bid: feed.NoPrice, Ask: 1 << 40}.Tick(id, at)
		case 2:
			return feed.Quote{Bid: 1 << 40, Ask: 1<<40 + 1}.Tick(id, noon-1<<50)
		case 3, 4, 5:
			return feed.Trade{Price: 7, Size: 8, ID: uint64(len(want)), Side: feed.SideSell}.Tick(id, at)
		}
		return feed.Quote{Bid: r.Int64N(1000), BidSize: 1, Ask: 2000, AskSize: 2}.Tick(id, at)
	}
	for len(want) < 30_000 {
		ticks := make([]feed.Tick, 1+r.IntN(12)*r.IntN(2))
		for i := range ticks {
			ticks[i] = one()
		}
		good := len(ticks)
		if r.IntN(20) == 0 {
			good = r.IntN(len(ticks))
			ticks[good] = []feed.Tick{
				feed.Quote{Bid: 1, BidSize: -1, Ask: 2}.Tick(w.ids[0], noon), feed.Quote{Bid: 1, Ask: 2}.Tick(1000, noon), {},
			}[r.IntN(3)]
		}
		err := w.pub.Publish(ctx, ticks)
		if good < len(ticks) {
			var partial *publisher.PublishError
			require.ErrorAs(t, err, &partial)
			require.Equal(t, good, partial.Published)
		} else {
			require.NoError(t, err)
		}
		for i := range ticks[:good] {
			ticks[i].Seq = next
			next++
		}
		want = append(want, ticks[:good]...)
		switch r.IntN(200) {
		case 0:
			require.Equal(t, next, w.pub.Stats().Head)
		case 1:
			_, seq := w.pub.State()
			require.Equal(t, next, seq)
		case 2:
			require.NoError(t, w.pub.Flush(ctx))
		case 3:
			require.NoError(t, (&publisher.Recorded{Publisher: w.pub}).Skip(ctx, 5, recording.SkipNotAsked, nil))
			next += 5
		case 4:
			d := feed.Definition{Symbol: fmt.Sprint("S", next)}
			id, err := w.pub.Define(ctx, d)
			require.NoError(t, err)
			w.ids = append(w.ids, id)
			want = append(want, feed.Tick{Seq: next, Kind: feed.KindDefinition, Instrument: id, Extra: &feed.Extra{Definition: &d}})
			next++
		}
	}
	for range 100 {
		tick := one()
		require.NoError(t, w.pub.Publish(ctx, []feed.Tick{tick}))
		tick.Seq = next
		want = append(want, tick)
		next++
	}
	require.NoError(t, w.pub.End(ctx))
	require.ErrorIs(t, w.pub.Publish(ctx, []feed.Tick{one()}), publisher.ErrEnded)
	c := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
	c.until(next)
	require.Len(t, c.ticks, 3+len(want))
	for i, got := range c.ticks[3:] {
		if got.Kind == feed.KindDefinition {
			got.EventTime = 0 // it has the event time of the tick before it
		}
		require.True(t, got.Equal(&want[i]), "%+v\n%+v", got, want[i])
		require.Equal(t, want[i].Seq, got.Seq)
	}
}

// A second publisher on the same journal is refused (PROMISES.md, 22).
func TestSecondPublisherIsRefused(t *testing.T) {
	cfg := publisher.Config{Seed: 1, Journal: filepath.Join(t.TempDir(), "j")}
	w := start(t, cfg)
	_, err := publisher.New(cfg)
	assert.ErrorIs(t, err, journal.ErrLocked)
	w.quotes(1)
}

// Feed stops when its context ends, whatever the source does.
func TestFeedStops(t *testing.T) {
	w := start(t, publisher.Config{Seed: 1})
	market, err := sim.New(sim.Config{Instruments: 10})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := w.pub.Feed(ctx, market, publisher.Pace{})
		done <- err
	}()
	cancel()
	assert.ErrorIs(t, <-done, context.Canceled)
}

// A listSource yields ticks, then err.
type listSource struct {
	ticks []feed.Tick
	err   error
}

func (s *listSource) Next(_ context.Context, batch []feed.Tick) (int, error) {
	n := copy(batch, s.ticks)
	s.ticks = s.ticks[n:]
	if len(s.ticks) == 0 {
		return n, s.err
	}
	return n, nil
}

func (s *listSource) Close() error { return nil }

// Feed maps the instruments of a source to ids of the publisher, and keeps its pace on an absolute schedule.
func TestFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		def := func(id int, symbol string) feed.Tick {
			return feed.Tick{Kind: feed.KindDefinition, Instrument: feed.InstrumentID(id), EventTime: noon,
				Extra: &feed.Extra{Definition: &feed.Definition{Symbol: symbol, PriceExponent: -2}}}
		}
		src := &listSource{err: io.EOF, ticks: []feed.Tick{def(0, "B0"), def(1, "C0")}}
		for i := range 1000 {
			src.ticks = append(src.ticks, feed.Trade{Price: 1, Size: 1}.Tick(feed.InstrumentID(i%2), noon+int64(i)*int64(time.Second)))
		}
		begun := time.Now()
		n, err := w.pub.Feed(t.Context(), src, publisher.Pace{Speed: 100})
		require.NoError(t, err)
		assert.Equal(t, uint64(1001), n, "B0 is known already, and gets no number")
		assert.InDelta(t, 9.99, time.Since(begun).Seconds(), 0.001)
		c := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
		c.until(1005)
		assert.Equal(t, []feed.InstrumentID{w.ids[2], 3, w.ids[2]}, []feed.InstrumentID{c.ticks[4].Instrument, c.ticks[5].Instrument, c.ticks[6].Instrument})

		broken := errors.New("line 7 is odd")
		_, err = w.pub.Feed(t.Context(), &listSource{err: broken, ticks: []feed.Tick{def(0, "B0")}}, publisher.Pace{Rate: 10})
		assert.ErrorIs(t, err, broken)
	})
}

// On a full disk publishing waits, within its context, while subscribers are served and sent heartbeats. When there
// is room everything resumes, and nothing is lost or sent twice (PROMISES.md, 6).
func TestDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var room atomic.Int64
		room.Store(1 << 20)
		fs := &memfs.FS{Fault: func(op memfs.Op) (int, error) {
			if op.Kind != memfs.Write {
				return 0, nil
			}
			if left := room.Add(-int64(op.Size)); left < 0 {
				fits := max(0, int64(op.Size)+left)
				room.Add(int64(op.Size) - fits)
				return int(fits), syscall.ENOSPC
			}
			return 0, nil
		}}
		w := start(t, publisher.Config{Seed: 1, Journal: "j", FS: fs, Memory: publisher.MinMemory})
		c := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
		c.until(4)

		published := make(chan error)
		ticks := make([]feed.Tick, 200_000) // 5 MB
		for i := range ticks {
			ticks[i] = feed.Quote{Bid: 1, BidSize: 1, Ask: 2, AskSize: 2}.Tick(w.ids[0], noon+int64(i))
		}
		go func() { published <- w.pub.Publish(t.Context(), ticks) }()
		c.until(30_000)
		for range 10 {
			require.NoError(t, c.step()) // what there is, and heartbeats
		}
		assert.NotEmpty(t, w.pub.Stats().Disk)
		late := w.join(codec.Hello{})
		late.snapshot()
		assert.LessOrEqual(t, late.next, w.pub.Stats().Committed)
		late.nc.Close()

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.ErrorIs(t, w.pub.Publish(ctx, ticks[:100_000]), context.DeadlineExceeded)
		synctest.Wait()
		room.Store(100 << 20)
		begun := time.Now()
		require.NoError(t, <-published)
		assert.LessOrEqual(t, time.Since(begun), time.Second)
		require.NoError(t, w.pub.Flush(t.Context()))
		assert.Empty(t, w.pub.Stats().Disk)
		head := w.pub.Stats().Head
		c.until(head)
		c.consecutive(1, head)
		c.nc.Close()
	})
}

// With SyncInterval the journal is synced within a second, and at once if much was appended, so that rotating to the
// next file has little to sync.
func TestMuchIsSyncedSooner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var synced atomic.Int64
		fs := &memfs.FS{Fault: func(op memfs.Op) (int, error) {
			if op.Kind == memfs.Sync {
				synced.Add(1)
			}
			return 0, nil
		}}
		w := start(t, publisher.Config{Seed: 1, Journal: "j", FS: fs, Sync: journal.SyncInterval})
		ticks := make([]feed.Tick, 10_000)
		for i := range ticks {
			ticks[i] = feed.Quote{Bid: int64(i), BidSize: 1, Ask: int64(i) + 1, AskSize: 1}.Tick(w.ids[0], noon)
		}
		publish := func(n int) { // of 260 kB each, in no time
			for range n {
				require.NoError(t, w.pub.Publish(t.Context(), ticks))
				require.NoError(t, w.pub.Flush(t.Context()))
				synctest.Wait()
			}
		}
		before := synced.Load()
		publish(60)
		assert.Equal(t, before, synced.Load(), "syncs of 15.6 MB within a second")
		publish(60)
		assert.Equal(t, before+1, synced.Load(), "syncs of twice as much")
		time.Sleep(time.Second + time.Millisecond)
		assert.Equal(t, before+2, synced.Load(), "syncs once a second is over")
	})
}

// When the journal fails for good nothing more is acknowledged, and the next start begins a child session after the
// last safe number (PROMISES.md, 5).
func TestJournalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		fs := &memfs.FS{Fault: func(op memfs.Op) (int, error) {
			if op.Kind == memfs.Sync && broken.Load() {
				return 0, errors.New("the disk is broken")
			}
			return 0, nil
		}}
		cfg := publisher.Config{Seed: 1, Journal: "j", FS: fs, Sync: journal.SyncAlways}
		w := start(t, cfg)
		w.quotes(10)
		broken.Store(true)
		tick := feed.Trade{Price: 1, Size: 1}.Tick(w.ids[0], noon)
		_ = w.pub.Publish(t.Context(), []feed.Tick{tick})
		assert.ErrorIs(t, w.pub.Flush(t.Context()), journal.ErrFailed)
		assert.ErrorIs(t, w.pub.Publish(t.Context(), []feed.Tick{tick}), journal.ErrFailed)
		assert.ErrorIs(t, w.pub.Failed(), journal.ErrFailed)
		assert.Equal(t, uint64(14), w.pub.Stats().Committed)
		w.cancel()
		<-w.serve
		assert.ErrorIs(t, w.pub.Close(t.Context()), journal.ErrFailed)
		w.pub = nil

		cfg.FS = fs.Killed()
		w.open(cfg)
		assert.Len(t, w.pub.Lineage(), 2)
		w.quotes(1)
	})
}
