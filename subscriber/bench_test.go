package subscriber

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/feed/sim"
)

// A tape is a connection that serves a welcome and then the same block of packets repeatedly, with increasing numbers.
type tape struct {
	net.Conn  // nil
	head      []byte
	block     []byte
	packets   int // in block, all of the same count
	count     uint64
	at        int
	seed      uint32
	remaining int // blocks
}

func (c *tape) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	if c.remaining == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.block[c.at:])
	if c.at += n; c.at == len(c.block) {
		c.at = 0
		c.remaining--
		c.renumber()
	}
	return n, nil
}

// renumber moves the block's packets on by the numbers and publish times that it covers.
func (c *tape) renumber() {
	for p := c.block; len(p) > 0; {
		n := codec.PacketSize(p)
		h := codec.PacketAt(p)
		h.First += c.count * uint64(c.packets)
		h.PublishTime += int64(c.packets)
		codec.SealPacket(p[:n], &h, c.seed)
		p = p[n:]
	}
}

func (c *tape) Write(p []byte) (int, error)      { return len(p), nil }
func (c *tape) Close() error                     { return nil }
func (c *tape) SetDeadline(time.Time) error      { return nil }
func (c *tape) SetReadDeadline(time.Time) error  { return nil }
func (c *tape) SetWriteDeadline(time.Time) error { return nil }

// newTape serves about n ticks of a thousand instruments, size to a packet, one trade in eight.
func newTape(n, size int) *tape {
	const instruments = 1000
	seed := codec.LineSeed(sessionA, nil)
	rng := rand.New(rand.NewPCG(1, 2))
	c := &tape{seed: seed, count: uint64(size)}
	c.packets = 512 << 10 / (27 * size)
	w := welcomeA(1, 1, codec.StartedAsAsked)
	c.head = message(w)
	var body []byte
	for id := range feed.InstrumentID(instruments) {
		d := definition(id)
		if body = codec.AppendTick(body, &d, 0); len(body) > 32<<10 || id == instruments-1 {
			first := uint64(1)
			if n := len(c.head); n > len(message(w)) {
				h := codec.PacketAt(c.head[len(message(w)):])
				first = h.First + h.Count
			}
			c.head = codec.AppendPacket(c.head, &codec.Packet{First: first, Count: uint64(id) + 2 - first}, body, seed)
			body = nil
		}
	}
	next := uint64(instruments + 1)
	base := int64(1_795_357_800_000_000_000)
	published := base // each packet has its own
	for range c.packets {
		body = body[:0]
		for i := range size {
			id, price := feed.InstrumentID(rng.IntN(instruments)), 10000+rng.Int64N(10000)
			t := feed.Quote{Bid: price, BidSize: 100, Ask: price + 1, AskSize: 200}.Tick(id, base+int64(i)*1000)
			if rng.IntN(8) == 0 {
				t = feed.Trade{Price: price, Size: 100, ID: uint64(i), Side: feed.SideBuy}.Tick(id, base+int64(i)*1000)
			}
			body = codec.AppendTick(body, &t, base)
		}
		c.block = codec.AppendPacket(c.block, &codec.Packet{First: next, Count: uint64(size), PublishTime: published, Base: base}, body, seed)
		next += uint64(size)
		published++
	}
	c.remaining = max(1, n/(size*c.packets))
	return c
}

// BenchmarkReceive measures receiving a tick: checking, decoding, applying, accounting and delivering it. The connection
// renumbers its packets; "tape alone" measures the cost of that.
func BenchmarkReceive(b *testing.B) {
	for _, bench := range []struct {
		name string
		size int
	}{{"1 a packet", 1}, {"10 a packet", 10}, {"100 a packet", 100}, {"1000 a packet", 1000}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			c := newTape(b.N, bench.size)
			s, err := New(Config{Addrs: []string{"tape"}, MaxAttempts: 1, Dial: func(context.Context, string) (net.Conn, error) { return c, nil }})
			require.NoError(b, err)
			want := uint64(1000 + c.remaining*c.packets*bench.size)
			total := c.remaining * c.packets * bench.size
			b.ResetTimer()
			ticks := 0
			err = s.Run(b.Context(), func(batch *Batch) error {
				ticks += len(batch.Ticks)
				if batch.Change != nil && batch.Change.State == Disconnected {
					return errEnough
				}
				return nil
			})
			b.StopTimer()
			require.Equal(b, errEnough, err)
			require.Equal(b, want, uint64(ticks))
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(total), "ns/tick")
		})
	}
	b.Run("tape alone", func(b *testing.B) {
		c := newTape(b.N, 100)
		total := c.remaining * c.packets * 100
		buf := make([]byte, 256<<10)
		b.ResetTimer()
		for {
			if _, err := c.Read(buf); err != nil {
				break
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(total), "ns/tick")
	})
}

// BenchmarkSnapshot measures receiving a snapshot of 10,000 instruments: splitting it into messages, checking, decoding and
// applying them, and moving the line to it.
func BenchmarkSnapshot(b *testing.B) {
	const instruments = 10_000
	market, err := sim.New(sim.Config{Seed: 1, Instruments: instruments, Continuous: true})
	require.NoError(b, err)
	state, batch := feed.NewState(), make([]feed.Tick, 4096)
	for range 30*instruments/len(batch) + 1 {
		n, err := market.Next(b.Context(), batch)
		require.NoError(b, err)
		_, err = state.ApplyAll(batch[:n])
		require.NoError(b, err)
	}
	raw, err := codec.AppendSnapshot(nil, &codec.SnapshotBegin{Seq: 5}, state.Entries(nil), seedA())
	require.NoError(b, err)
	hello := (&Config{}).hello(nil, codec.Position{}, false)
	receive := func(b *testing.B) *collecting {
		l := newLine(codec.Position{}, 0)
		l.connect("pub:1")
		require.NoError(b, l.welcome(hello, welcomeA(5, 9, codec.StartedAsAsked), nil, time.Time{}))
		for r := codec.NewReader(bytes.NewReader(raw), 0); ; {
			t, message, err := r.Next()
			require.NoError(b, err)
			told, err := l.control(t, message)
			require.NoError(b, err)
			if told != nil {
				return told
			}
		}
	}
	b.Run("receive", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			receive(b)
		}
	})
	b.Run("tell", func(b *testing.B) {
		told := receive(b)
		require.Empty(b, state.Diff(told.state))
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			for t := range told.entries(nil) {
				n += int(t.Kind)
			}
		}
	})
}
