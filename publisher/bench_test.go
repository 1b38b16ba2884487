package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/usage"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/subscriber"
)

// varied returns ticks that resemble a market: many instruments, prices and sizes of different lengths.
func varied(ids []feed.InstrumentID, n int) []feed.Tick {
	r := rand.New(rand.NewPCG(1, 2))
	ticks := make([]feed.Tick, n)
	at := noon
	for i := range ticks {
		at += r.Int64N(2_000)
		id := ids[r.IntN(len(ids))]
		price := int64(10_000) << (uint(id) % 10)
		if r.IntN(8) == 0 {
			ticks[i] = feed.Trade{Price: price, Size: 1 + r.Int64N(1000), ID: uint64(i), Side: feed.SideBuy}.Tick(id, at)
			continue
		}
		bid := price + r.Int64N(100)
		ticks[i] = feed.Quote{Bid: bid, BidSize: 1 + r.Int64N(400), Ask: bid + 1, AskSize: 1 + r.Int64N(400)}.Tick(id, at)
	}
	return ticks
}

func benchPublisher(b *testing.B, cfg publisher.Config, instruments int) (*publisher.Publisher, []feed.Tick) {
	b.Helper()
	pub, err := publisher.New(cfg)
	require.NoError(b, err)
	b.Cleanup(func() { _ = pub.Close(context.Background()) })
	ids := make([]feed.InstrumentID, instruments)
	for i := range ids {
		ids[i], err = pub.Define(context.Background(), feed.Definition{Symbol: fmt.Sprint("S", i), PriceExponent: -2})
		require.NoError(b, err)
	}
	return pub, varied(ids, 100*256)
}

// BenchmarkPublish measures the cost of a tick to the publisher without subscribers, with and without a journal.
func BenchmarkPublish(b *testing.B) {
	for _, batch := range []int{1, 100} {
		for _, onDisk := range []bool{false, true} {
			b.Run(fmt.Sprintf("batch=%d/journal=%v", batch, onDisk), func(b *testing.B) {
				cfg := publisher.Config{Seed: 1}
				if onDisk {
					cfg.Journal, cfg.RetainBytes = filepath.Join(b.TempDir(), "j"), 1<<30
				}
				pub, ticks := benchPublisher(b, cfg, 1000)
				b.ReportAllocs()
				b.ResetTimer()
				n := 0
				for i := 0; i < b.N; i += batch {
					if err := pub.Publish(context.Background(), ticks[n:n+batch]); err != nil {
						b.Fatal(err)
					}
					n = (n + batch) % len(ticks)
				}
				require.NoError(b, pub.Flush(context.Background()))
			})
		}
	}
}

// BenchmarkServe measures one publisher with a journal and n subscribers in one process over loopback TCP. The
// subscribers decode, check and fold every tick. The raw cases send the same bytes through plain sockets.
func BenchmarkServe(b *testing.B) {
	for _, clients := range []int{1, 100} {
		b.Run(fmt.Sprintf("raw/clients=%d", clients), func(b *testing.B) { benchRaw(b, clients) })
		b.Run(fmt.Sprintf("tickfeed/clients=%d", clients), func(b *testing.B) {
			pub, ticks := benchPublisher(b, publisher.Config{
				Seed: 1, Journal: filepath.Join(b.TempDir(), "j"), RetainBytes: 1 << 30,
			}, 1000)
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(b, err)
			ctx, cancel := context.WithCancel(context.Background())
			var all sync.WaitGroup
			all.Go(func() { _ = pub.Serve(ctx, ln) })
			head := pub.Stats().Head
			var ready, readers sync.WaitGroup
			for range clients {
				sub, err := subscriber.New(subscriber.Config{
					Addrs: []string{ln.Addr().String()}, Start: codec.Start{Kind: codec.StartLive}, Heartbeat: publisher.MaxHeartbeat,
				})
				require.NoError(b, err)
				ready.Add(1)
				done := errors.New("all there")
				readers.Go(func() {
					joined := false
					last := head + uint64(b.N) - 1
					err := sub.Run(ctx, func(batch *subscriber.Batch) error {
						if !joined && sub.Position().Next >= head {
							joined = true
							ready.Done()
						}
						if n := len(batch.Ticks); n > 0 && batch.Ticks[n-1].Seq >= last {
							return done
						}
						return nil
					})
					if !errors.Is(err, done) {
						b.Error(err)
					}
				})
			}
			ready.Wait()
			b.ReportAllocs()
			b.ResetTimer()
			cpu := usage.CPU()
			n := 0
			for i := 0; i < b.N; {
				batch := min(100, b.N-i)
				if err := pub.Publish(context.Background(), ticks[n:n+batch]); err != nil {
					b.Fatal(err)
				}
				i += batch
				n = (n + 100) % len(ticks)
			}
			readers.Wait()
			b.StopTimer()
			b.ReportMetric(float64(usage.CPU()-cpu)/float64(b.N)/float64(clients), "cpu-ns/tick")
			b.ReportMetric(float64(b.N)*float64(clients)/b.Elapsed().Seconds()/1e6, "Mticks/s")
			cancel()
			all.Wait()
		})
	}
}

// rawTick is the approximate size of a tick on the wire in these benchmarks, in bytes.
const rawTick = 27

// benchRaw sends the bytes of b.N ticks through plain TCP to each client.
func benchRaw(b *testing.B, clients int) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	defer ln.Close()
	var all sync.WaitGroup
	conns := make([]net.Conn, clients)
	for i := range conns {
		out, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(b, err)
		in, err := ln.Accept()
		require.NoError(b, err)
		conns[i] = out
		all.Go(func() {
			buf := make([]byte, 256<<10)
			for {
				if _, err := in.Read(buf); err != nil {
					if err != io.EOF {
						b.Error(err)
					}
					in.Close()
					return
				}
			}
		})
	}
	b.ResetTimer()
	cpu := usage.CPU()
	chunk := make([]byte, 256<<10)
	for left := b.N * rawTick; left > 0; left -= len(chunk) {
		for _, c := range conns {
			if _, err := c.Write(chunk[:min(left, len(chunk))]); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, c := range conns {
		c.Close()
	}
	all.Wait()
	b.ReportMetric(float64(usage.CPU()-cpu)/float64(b.N)/float64(clients), "cpu-ns/tick")
	b.ReportMetric(float64(b.N)*float64(clients)/b.Elapsed().Seconds()/1e6, "Mticks/s")
}
