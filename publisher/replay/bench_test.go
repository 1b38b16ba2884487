package replay_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/text/texttest"
	"tickfeed/feed"
	"tickfeed/feed/sim"
	"tickfeed/publisher"
	"tickfeed/publisher/replay"
	"tickfeed/subscriber"
)

// BenchmarkMax measures the cost of a tick played at maximum speed with a journal and without subscribers.
func BenchmarkMax(b *testing.B) {
	rec, ticks, _, _ := market(b, 1_000_000, false)
	b.ReportAllocs()
	for b.Loop() {
		stage, err := replay.NewStage(publisher.Config{}, 0, b.TempDir(), nil)
		if err != nil {
			b.Fatal(err)
		}
		p, err := replay.New(replay.Config{Recordings: []replay.Recording{rec}, Speed: replay.Max, ExitAtEnd: true}, stage)
		if err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(p.Run(context.Background()), stage.Close()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(ticks)), "ns/tick")
}

// BenchmarkServe measures how fast quotes and trades that are replayed at maximum speed reach one subscriber over
// TCP, from the journal of a feed and from an imported file with a packet per millisecond, and the same ticks
// published a hundred per call. All publishers have a journal.
func BenchmarkServe(b *testing.B) {
	imported, ticks := quotesAndTrades(b, 2_000_000)
	replayed := func(b *testing.B, rec replay.Recording) {
		for b.Loop() {
			b.StopTimer()
			ln := localListener(b)
			stage, err := replay.NewStage(publisher.Config{}, 0, b.TempDir(), []net.Listener{ln})
			if err != nil {
				b.Fatal(err)
			}
			p, err := replay.New(replay.Config{Recordings: []replay.Recording{rec}, Speed: replay.Max, Paused: true}, stage)
			if err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(context.Background())
			var running sync.WaitGroup
			running.Go(func() { _ = stage.Run(ctx) })
			running.Go(func() { _ = p.Run(ctx) })
			joined, arrived := receive(b, ctx, ln.Addr().String(), uint64(len(ticks)))
			<-joined
			b.StartTimer()
			err = p.Resume(ctx)
			<-arrived
			b.StopTimer()
			stop()
			running.Wait()
			if err := errors.Join(err, stage.Close()); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
		b.ReportMetric(float64(b.N)*float64(len(ticks))/b.Elapsed().Seconds()/1e6, "Mticks/s")
	}
	b.Run("replayed", func(b *testing.B) { replayed(b, journalOf(b, ticks)) })
	b.Run("imported", func(b *testing.B) { replayed(b, imported) })
	b.Run("published", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			ln := localListener(b)
			pub, err := publisher.New(publisher.Config{Journal: filepath.Join(b.TempDir(), "j")})
			if err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(context.Background())
			var running sync.WaitGroup
			running.Go(func() { _ = pub.Serve(ctx, ln) })
			joined, arrived := receive(b, ctx, ln.Addr().String(), uint64(len(ticks)))
			<-joined
			b.StartTimer()
			for i := 0; i < len(ticks); i += 100 {
				if err := pub.Publish(ctx, ticks[i:min(i+100, len(ticks))]); err != nil {
					b.Fatal(err)
				}
			}
			<-arrived
			b.StopTimer()
			stop()
			running.Wait()
			if err := pub.Close(context.Background()); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
		b.ReportMetric(float64(b.N)*float64(len(ticks))/b.Elapsed().Seconds()/1e6, "Mticks/s")
	})
}

// BenchmarkMerge measures the cost of a tick of two merged recordings at maximum speed, before it is published.
func BenchmarkMerge(b *testing.B) {
	one, ticks := quotesAndTrades(b, 1_000_000)
	two, _ := quotesAndTrades(b, 1_000_000)
	for b.Loop() {
		p, err := replay.New(replay.Config{Recordings: []replay.Recording{one, two}, Speed: replay.Max, ExitAtEnd: true}, nowhere{})
		if err == nil {
			err = p.Run(context.Background())
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(2*len(ticks)), "ns/tick")
}

// quotesAndTrades returns a recording of n ticks of a simulated market without books, and the ticks.
func quotesAndTrades(b *testing.B, n int) (replay.Recording, []feed.Tick) {
	m, err := sim.New(sim.Config{Seed: 3})
	if err != nil {
		b.Fatal(err)
	}
	ticks := make([]feed.Tick, n)
	for at := 0; at < n; {
		k, err := m.Next(context.Background(), ticks[at:min(at+500, n)])
		if err != nil {
			b.Fatal(err)
		}
		at += k
	}
	f := &texttest.Memory{}
	w, err := recording.NewBuilder(f, codec.FileHeader{Lineage: feed.Lineage{{ID: 0xabc, First: 1}}, Next: 1}, nil)
	if err == nil {
		err = errors.Join(w.Append(ticks), w.Close())
	}
	if err != nil {
		b.Fatal(err)
	}
	return replay.Recording{Name: "market.tick", R: bytes.NewReader(f.Bytes()), Size: int64(f.Len())}, ticks
}

// journalOf returns the journal of a publisher that published ticks, as a recording.
func journalOf(b *testing.B, ticks []feed.Tick) replay.Recording {
	dir := b.TempDir()
	pub, err := publisher.New(publisher.Config{Journal: dir})
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i < len(ticks) && err == nil; i += 100 {
		err = pub.Publish(context.Background(), ticks[i:min(i+100, len(ticks))])
	}
	if err := errors.Join(err, pub.Close(context.Background())); err != nil {
		b.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.tick"))
	if err != nil || len(files) != 1 {
		b.Fatal(files, err)
	}
	f, err := os.Open(files[0])
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		b.Fatal(err)
	}
	return replay.Recording{Name: "journal.tick", R: f, Size: info.Size()}
}

func localListener(b *testing.B) net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	return ln
}

// receive subscribes to addr. It closes joined once it is connected, and arrived once it has received number last.
func receive(b *testing.B, ctx context.Context, addr string, last uint64) (joined, arrived <-chan struct{}) {
	sub, err := subscriber.New(subscriber.Config{
		Addrs: []string{addr}, Start: codec.Start{Kind: codec.StartBeginning}, Heartbeat: publisher.MaxHeartbeat,
	})
	if err != nil {
		b.Fatal(err)
	}
	in, end := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(end)
		done := errors.New("all there")
		err := sub.Run(ctx, func(batch *subscriber.Batch) error {
			if n := len(batch.Ticks); n > 0 && batch.Ticks[n-1].Seq >= last {
				return done
			}
			return nil
		})
		if !errors.Is(err, done) {
			b.Error(err)
		}
	}()
	go func() {
		defer close(in)
		for sub.Status().State != subscriber.Live {
			select {
			case <-end:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return in, end
}

// BenchmarkFirstSeek measures the cost of each tick that a seek passes for the first time, without a kept state to
// start from.
func BenchmarkFirstSeek(b *testing.B) {
	rec, ticks, _, _ := market(b, 1_000_000, false)
	b.ReportAllocs()
	for b.Loop() {
		p, err := replay.New(replay.Config{
			Recordings: []replay.Recording{rec}, From: replay.ToSeq(uint64(len(ticks))), Speed: replay.Max, ExitAtEnd: true,
		}, nowhere{})
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Run(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(ticks)), "ns/tick")
}

// A nowhere is an output that discards everything.
type nowhere struct{ replay.Output }

func (nowhere) Begin(context.Context, uint64, *feed.State) error     { return nil }
func (nowhere) Republish(context.Context, []feed.Tick, uint64) error { return nil }
func (nowhere) Relay(_ context.Context, packets []byte) (n, ticks int, err error) {
	return len(packets), 0, nil
}
func (nowhere) State() (*feed.State, uint64) { return feed.NewState(), 1 }
func (nowhere) End(context.Context) error    { return nil }
