package simulation_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/simulation"
	"tickfeed/codec"
	"tickfeed/codec/effort"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/journal"
	"tickfeed/publisher/journal/memfs"
	"tickfeed/subscriber"
)

// A life is one publisher over a journal, at an address of its own.
type life struct {
	addr   string
	fs     *memfs.FS
	pub    *publisher.Publisher
	state  *feed.State
	ln     net.Listener
	cancel context.CancelFunc
	served chan error
}

// A village is publishers that lose their journals, some of them over copies of the same one, and the auditor of all.
type village struct {
	t      *testing.T
	rand   *rand.Rand
	net    *netsim.Network
	audit  simulation.Auditor
	serial int64
}

func (v *village) begin(addr string, fs *memfs.FS) *life {
	pub, err := publisher.New(publisher.Config{
		Journal: "j", FS: fs, SegmentSize: 4 << 10, RetainBytes: 64 << 10, Memory: publisher.MinMemory, Seed: v.rand.Uint64(),
	})
	require.NoError(v.t, err)
	l := &life{addr: addr, fs: fs, pub: pub, state: feed.NewState(), served: make(chan error, 1)}
	if s := pub.Recovered().State; s != nil {
		l.state = s.Clone()
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	l.ln, err = v.net.Listen(addr)
	require.NoError(v.t, err)
	go func() { l.served <- pub.Serve(ctx, l.ln) }()
	return l
}

// end kills a publisher.
func (v *village) end(l *life) {
	l.ln.Close()
	for _, link := range v.net.Links() {
		if _, to := link.Names(); to == l.addr {
			link.Reset()
		}
	}
	l.cancel()
	<-l.served
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = l.pub.Close(ctx) // it is dead
}

func (v *village) publish(l *life) {
	var ticks []feed.Tick
	if _, ok := l.state.Lookup("A", ""); !ok {
		ticks = []feed.Tick{{Kind: feed.KindDefinition, EventTime: 1, Extra: &feed.Extra{Definition: &feed.Definition{Symbol: "A"}}}}
	} else {
		for range 1 + v.rand.IntN(30) {
			v.serial++
			ticks = append(ticks, feed.Trade{Price: 100, Size: v.serial, ID: uint64(v.serial)}.Tick(0, v.serial))
		}
	}
	require.NoError(v.t, v.audit.Publish(l.pub.Lineage().Current().ID, l.pub.Stats().Head, ticks, l.state))
	require.NoError(v.t, l.pub.Publish(context.Background(), ticks))
	for i := range ticks {
		require.NoError(v.t, l.state.Apply(&ticks[i]))
	}
	if v.rand.IntN(2) == 0 {
		require.NoError(v.t, l.pub.Flush(context.Background()))
	}
}

// listen has the auditor hear a subscriber until stop.
func (v *village) listen(name string, addrs ...string) (stop func() uint64) {
	sub, err := subscriber.New(subscriber.Config{
		Addrs: addrs, Start: codec.Start{Kind: codec.StartBeginning}, Dial: v.net.From(name).Dial, Seed: v.rand.Uint64(), MaxBackoff: 20 * time.Millisecond,
	})
	require.NoError(v.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	got := uint64(0)
	running.Go(func() {
		_ = sub.Run(ctx, func(b *subscriber.Batch) error {
			if b.Change != nil || b.Snapshot {
				return nil
			}
			got += uint64(len(b.Ticks))
			return v.audit.Received(name, b.Session, b.Ticks, b.State)
		})
	})
	return func() uint64 {
		cancel()
		running.Wait()
		return got
	}
}

// harms are what becomes of a journal.
var harms = []struct {
	name string
	do   func(v *village, fs, copied *memfs.FS) *memfs.FS
}{
	{"deleted", func(*village, *memfs.FS, *memfs.FS) *memfs.FS { return &memfs.FS{} }},
	{"last file deleted", func(v *village, fs, _ *memfs.FS) *memfs.FS {
		left, names := fs.Killed(), recordings(fs)
		_ = left.Remove(names[len(names)-1])
		return left.Killed()
	}},
	{"packets deleted", func(v *village, fs, _ *memfs.FS) *memfs.FS {
		left, names := fs.Killed(), recordings(fs)
		last := names[len(names)-1]
		data := left.Bytes(last)
		left.Put(last, data[:v.rand.IntN(len(data)+1)])
		return left
	}},
	{"bytes overwritten", func(v *village, fs, _ *memfs.FS) *memfs.FS {
		left, names := fs.Killed(), recordings(fs)
		data := left.Bytes(names[v.rand.IntN(len(names))])
		data[v.rand.IntN(len(data))] ^= 0x55
		return left
	}},
	{"old copy", func(_ *village, _, copied *memfs.FS) *memfs.FS { return copied.Killed() }},
	{"killed", func(_ *village, fs, _ *memfs.FS) *memfs.FS { return fs.Killed() }},
	{"power cut", func(v *village, fs, _ *memfs.FS) *memfs.FS { return fs.PowerCut(v.rand, v.rand.Float64()) }},
}

func recordings(fs *memfs.FS) []string {
	var names []string
	for _, n := range fs.All() {
		if strings.HasSuffix(n, ".tick") && len(fs.Bytes(n)) > 0 {
			names = append(names, n)
		}
	}
	return names
}

// There are never two different ticks under one number of one session, whatever is lost, restored, or run twice
// (PROMISES.md, 21).
func TestNumbersAreNeverReused(t *testing.T) {
	alone(t)
	worlds, losses := effort.Of(t, 40, 5), 250
	done := map[string]int{}
	var delivered uint64
	for world := range effort.Times(t, worlds, 2, time.Minute) {
		synctest.Test(t, func(t *testing.T) {
			cryptotest.SetGlobalRandom(t, uint64(world))
			v := &village{t: t, rand: rand.New(rand.NewPCG(21, uint64(world))), net: netsim.New(uint64(world), netsim.Config{})}
			v.audit.Complete = true
			lives := []*life{v.begin("pub:1", &memfs.FS{}), v.begin("pub:2", &memfs.FS{})}
			stop := v.listen("both", "pub:1", "pub:2")
			copied := lives[0].fs.Killed()
			for i := range losses {
				for _, l := range lives {
					v.publish(l)
					v.publish(l)
				}
				time.Sleep(time.Duration(v.rand.IntN(int(20 * time.Millisecond))))
				if i%50 == 49 { // a reader from the beginning finds the same
					again := v.listen(fmt.Sprintf("reader%d", i), "pub:1")
					time.Sleep(500 * time.Millisecond)
					delivered += again()
				}
				if v.rand.IntN(10) == 0 {
					copied = lives[v.rand.IntN(2)].fs.Killed()
				}
				at := v.rand.IntN(2)
				l := lives[at]
				_, err := publisher.New(publisher.Config{Journal: "j", FS: l.fs})
				require.ErrorIs(t, err, journal.ErrLocked, "a second publisher on the same journal")
				if v.rand.IntN(20) == 0 { // two publishers on one journal: on a copy, which nothing can lock
					other := lives[1-at]
					v.end(other)
					lives[1-at] = v.begin(other.addr, l.fs.Killed())
					done["copied to another publisher"]++
					continue
				}
				v.end(l)
				fs := l.fs
				how := v.rand.IntN(len(harms))
				if len(recordings(fs)) == 0 {
					how = 0
				}
				lives[at] = v.begin(l.addr, harms[how].do(v, fs, copied))
				done[harms[how].name]++
			}
			delivered += stop()
			for _, l := range lives {
				v.end(l)
			}
			require.NoError(t, v.audit.Err())
		})
	}
	t.Logf("%v, %d ticks delivered", done, delivered)
	for _, h := range harms {
		assert.NotZero(t, done[h.name], h.name)
	}
	assert.NotZero(t, done["copied to another publisher"])
}
