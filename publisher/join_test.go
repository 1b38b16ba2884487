package publisher

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/feed/sim"
)

// A snapshot of everything is encoded into a buffer as large as the last one, so that it is not copied as it grows,
// and keeps little unused memory. A snapshot of a few instruments does not change the estimate.
func TestSnapshotIsWrittenInPlace(t *testing.T) {
	p, err := New(Config{Seed: 1})
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Close(context.Background()) })
	define := func(from, to int) {
		for i := from; i < to; i++ {
			_, err := p.Define(t.Context(), feed.Definition{Symbol: fmt.Sprint("S", i)})
			require.NoError(t, err)
		}
		require.NoError(t, p.Flush(t.Context()))
	}
	snapshot := func(filter codec.Filter) []byte {
		next, _ := p.log.head()
		j, l := p.joinAt(next, 0), &line{p: p, filter: filter}
		l.setSession(p.session)
		l.wanted = newWanted(filter, nil, j.state)
		all, c := &p.serving.snapshots, &conn{p: p}
		v := &stateView{seq: j.seq, line: l, scope: codec.ScopeAll}
		held, _ := all.hold(c, v, j.state)
		require.NotNil(t, held)
		defer all.release(c, held)
		require.NoError(t, all.make(held, v, j.state))
		return held.data
	}
	define(0, 2000)
	first := snapshot(nil)
	define(2000, 2010)
	second := snapshot(nil)
	require.Greater(t, len(second), len(first))
	require.InDelta(t, len(first)*2010/2000*17/16, cap(second), 64)
	require.Less(t, cap(snapshot(codec.Filter{"S1"})), 1024)
	define(2010, 4000)
	require.Greater(t, len(snapshot(nil)), cap(second), "a longer snapshot gets as much memory as it needs")
}

// BenchmarkJoin measures how long a client that joins waits at a publisher of 10,000 instruments: the time to copy
// and encode the current state. In "at rest" nothing was published since the last join.
func BenchmarkJoin(b *testing.B) {
	p, err := New(Config{Seed: 1})
	require.NoError(b, err)
	b.Cleanup(func() { _ = p.Close(context.Background()) })
	market, err := sim.New(sim.Config{Seed: 1, Instruments: 10_000, Continuous: true})
	require.NoError(b, err)
	batch := make([]feed.Tick, 1000)
	publish := func(n int) {
		for n > 0 {
			k, err := market.Next(b.Context(), batch[:min(n, len(batch))])
			require.NoError(b, err)
			require.NoError(b, p.Publish(b.Context(), batch[:k]))
			n -= k
		}
		require.NoError(b, p.Flush(b.Context()))
	}
	publish(310_000)
	c := &conn{p: p, line: line{p: p}}
	c.line.setSession(p.session)
	all := &p.serving.snapshots
	for _, bench := range []struct {
		name  string
		ticks int
	}{{"at rest", 0}, {"1000 ticks later", 1000}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			size := 0
			for range b.N {
				b.StopTimer()
				publish(bench.ticks)
				b.StartTimer()
				next, _ := p.log.head()
				j := p.joinAt(next, 0)
				v := &stateView{seq: j.seq, line: &c.line, scope: codec.ScopeAll}
				held, _ := all.hold(c, v, j.state)
				if err := all.make(held, v, j.state); err != nil {
					b.Fatal(err)
				}
				size = len(held.data)
				all.release(c, held)
			}
			b.SetBytes(int64(size))
		})
	}
}
