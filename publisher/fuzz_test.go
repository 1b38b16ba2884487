package publisher

import (
	"bytes"
	"context"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
)

// Any bytes that a client sends cost a bounded multiple of their length, and nothing of the connection is left when it has
// ended (PROMISES.md, 17, 18).
func FuzzClient(f *testing.F) {
	p, err := New(Config{Memory: MinMemory, Seed: 1, Token: "s3cret"})
	require.NoError(f, err)
	f.Cleanup(func() { _ = p.Close(context.Background()) })
	for _, symbol := range []string{"A", "B", "ESH6"} {
		id, err := p.Define(f.Context(), feed.Definition{Symbol: symbol})
		require.NoError(f, err)
		require.NoError(f, p.Publish(f.Context(), []feed.Tick{feed.Quote{Bid: 1, BidSize: 2, Ask: 3, AskSize: 4}.Tick(id, 100)}))
	}
	require.NoError(f, p.Flush(f.Context()))
	add := func(messages ...codec.Message) {
		var stream []byte
		for _, m := range messages {
			stream, err = codec.Append(stream, m)
			require.NoError(f, err)
		}
		f.Add(stream)
	}
	hello := func(h codec.Hello) *codec.Hello {
		h.MinVersion, h.MaxVersion, h.Token = codec.Version, codec.Version, "s3cret"
		return &h
	}
	add(hello(codec.Hello{}), &codec.Pulse{Next: 7})
	add(hello(codec.Hello{Filter: codec.Filter{"A"}}), &codec.Subscribe{Request: 1, Filter: codec.Filter{"B", "ES*"}}, &codec.Goodbye{Code: codec.CodeDone})
	add(hello(codec.Hello{Start: codec.Start{Kind: codec.StartSeq, Value: 3}, Slow: codec.SlowLatest, MaxLag: time.Second}))
	add(hello(codec.Hello{Position: codec.Position{Lineage: p.Lineage(), Next: 4}, HasState: true}), &codec.Pulse{Next: 5})
	add(&codec.Hello{MinVersion: codec.Version, MaxVersion: codec.Version})
	f.Fuzz(func(t *testing.T, stream []byte) {
		const constant = 192 << 10 // the buffers of a connection
		bound := constant + 20*uint64(len(stream))
		least := uint64(math.MaxUint64)
		for range 5 { // other allocations at the same time count too, so try again
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			d := &door{ctx: t.Context()}
			if c := p.admit(d, p.serving.enter(d.ctx, netsim.Canned(bytes.NewReader(stream)))); c != nil {
				c.run()
			}
			d.conns.Wait()
			runtime.ReadMemStats(&after)
			least = min(least, after.TotalAlloc-before.TotalAlloc)
			if s := p.Stats(); s.Handshakes+len(s.Conns) != 0 {
				t.Fatalf("%d handshakes and %d connections are left", s.Handshakes, len(s.Conns))
			}
			if least <= bound {
				return
			}
		}
		t.Fatalf("%d bytes allocated for a stream of %d", least, len(stream))
	})
}
