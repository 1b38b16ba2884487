package publisher_test

import (
	"path/filepath"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
	"tickfeed/publisher"
)

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
