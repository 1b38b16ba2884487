package publisher

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
	"tickfeed/publisher/journal"
	"tickfeed/publisher/journal/memfs"
)

// stateAt returns the state as of seq, which the log must hold.
func (p *Publisher) stateAt(seq uint64) (*feed.State, error) {
	if s, ok := p.log.stateAt(seq); ok {
		return s, nil
	}
	return p.journal.StateAt(seq)
}

// A gatedFS is a file system in memory that counts reads, and can block reads of the beginning of a file.
type gatedFS struct {
	journal.FS
	read   atomic.Int64 // bytes read
	begins atomic.Int64 // reads of the beginning of a file

	mu   sync.Mutex
	gate chan struct{} // if not nil, reads of the beginning of a file wait until it is closed
}

func (f *gatedFS) hold() (release func()) {
	gate := make(chan struct{})
	f.mu.Lock()
	f.gate = gate
	f.mu.Unlock()
	return func() {
		f.mu.Lock()
		f.gate = nil
		f.mu.Unlock()
		close(gate)
	}
}

func (f *gatedFS) Open(name string) (journal.ReadFile, error) {
	file, err := f.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return &gatedFile{file, f}, nil
}

type gatedFile struct {
	journal.ReadFile
	fs *gatedFS
}

func (f *gatedFile) ReadAt(p []byte, at int64) (int, error) {
	if at < 64<<10 {
		f.fs.begins.Add(1)
		f.fs.mu.Lock()
		gate := f.fs.gate
		f.fs.mu.Unlock()
		if gate != nil {
			<-gate
		}
	}
	n, err := f.ReadFile.ReadAt(p, at)
	f.fs.read.Add(int64(n))
	return n, err
}

// An archive is a publisher on a simulated network, with most of its ticks in one file of the journal only.
type archive struct {
	t    *testing.T
	fs   *gatedFS
	net  *netsim.Network
	p    *Publisher
	head uint64 // end of the numbers that are not in memory
}

// serveAt serves p at pub:1 of network until the test ends, and then closes p.
func serveAt(t *testing.T, network *netsim.Network, p *Publisher) {
	ctx, cancel := context.WithCancel(t.Context())
	ln, err := network.Listen("pub:1")
	require.NoError(t, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = p.Serve(ctx, ln)
	}()
	t.Cleanup(func() {
		cancel()
		<-served
		assert.NoError(t, p.Close(context.Background()))
	})
}

func newArchive(t *testing.T) *archive {
	a := &archive{t: t, fs: &gatedFS{FS: &memfs.FS{}}, net: netsim.New(1, netsim.Config{})}
	p, err := New(Config{Journal: "j", FS: a.fs, Memory: MinMemory, SegmentSize: 64 << 20, Seed: 1, Sleep: time.Sleep, Sync: journal.SyncNone})
	require.NoError(t, err)
	a.p = p
	var ids []feed.InstrumentID
	for i := range 20 {
		id, err := p.Define(t.Context(), feed.Definition{Symbol: fmt.Sprintf("S%02d", i), Venue: "XNAS"})
		require.NoError(t, err)
		ids = append(ids, id)
	}
	ticks := make([]feed.Tick, 500)
	for n := range 240 {
		for i := range ticks {
			price := int64(n*len(ticks) + i)
			ticks[i] = feed.Quote{Bid: price, BidSize: 1, Ask: price + 1, AskSize: 2}.Tick(ids[i%len(ids)], 1_795_357_800_000_000_000+price)
		}
		require.NoError(t, p.Publish(t.Context(), ticks))
		require.NoError(t, p.Flush(t.Context()))
	}
	a.head = p.log.tail() - 1
	require.Greater(t, a.head, uint64(60_000))
	_, err = p.journal.StateAt(a.head) // opens the file and makes its index
	require.NoError(t, err)
	serveAt(t, a.net, p)
	return a
}

// join connects a client with position seq of the current session, and reads the welcome.
func (a *archive) join(seq uint64, hello codec.Hello) (net.Conn, *codec.Reader) {
	a.t.Helper()
	hello.MinVersion, hello.MaxVersion = 1, 1
	hello.Position = codec.Position{Lineage: a.p.Lineage(), Next: seq}
	nc, err := a.net.Dial(context.Background(), "pub:1")
	require.NoError(a.t, err)
	b, err := codec.Append(nil, &hello)
	require.NoError(a.t, err)
	_, err = nc.Write(b)
	require.NoError(a.t, err)
	r := codec.NewReader(nc, 0)
	typ, _, err := r.Next()
	require.NoError(a.t, err)
	require.Equal(a.t, codec.TypeWelcome, typ)
	return nc, r
}

// snapshot reads up to the end of the first snapshot, and returns the number of heartbeats before it, and its state.
func (a *archive) snapshot(r *codec.Reader, seq uint64) (heartbeats int, state *feed.State) {
	a.t.Helper()
	state = feed.NewState()
	for {
		typ, raw, err := r.Next()
		require.NoError(a.t, err)
		switch typ {
		case codec.TypeHeartbeat:
			heartbeats++
		case codec.TypeSnapshotPart:
			part, err := codec.ParsePart(raw, codec.LineSeed(a.p.session.ID, nil))
			require.NoError(a.t, err)
			require.Equal(a.t, seq, part.Seq)
			body := codec.PartBody(&part)
			var batch [64]feed.Tick
			for {
				n, err := body.Decode(batch[:])
				require.NoError(a.t, err)
				if n == 0 {
					break
				}
				for i := range batch[:n] {
					require.NoError(a.t, state.Apply(&batch[i]))
				}
			}
		case codec.TypeSnapshotEnd:
			return heartbeats, state
		case codec.TypeSnapshotBegin:
		default:
			a.t.Fatalf("%v before the snapshot", typ)
		}
	}
}

// A file is read once for all clients with positions in it, and each gets the state as of its own position.
func TestOnePassServesAllPositions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive(t)
		begins := a.fs.begins.Load()
		_, err := a.p.journal.StateAt(a.head)
		require.NoError(t, err)
		one := a.fs.begins.Load() - begins // a fold
		release := a.fs.hold()
		begins = a.fs.begins.Load()
		var seqs []uint64
		var readers []*codec.Reader
		for i := range uint64(60) {
			seq := a.head - 50*i // many in one packet, and some equal
			if i%5 == 0 {
				seq = a.head - 700
			}
			_, r := a.join(seq, codec.Hello{})
			seqs, readers = append(seqs, seq), append(readers, r)
		}
		synctest.Wait()
		release()
		for i, r := range readers {
			_, state := a.snapshot(r, seqs[i])
			want, err := a.p.journal.StateAt(seqs[i])
			require.NoError(t, err)
			require.Empty(t, want.Diff(state), "position %d", seqs[i])
		}
		assert.Equal(t, 1, a.p.serving.states.begun, "one pass")
		assert.Equal(t, one*int64(1+len(seqs)), a.fs.begins.Load()-begins, "one fold, and one for each comparison")
	})
}

// Positions in memory are served the same way: those of one stretch by one fold.
func TestOneFoldServesPositionsInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive(t)
		tail, head := a.p.log.tail(), a.p.seq.next
		s := &a.p.serving.states
		l := &line{p: a.p}
		l.setSession(a.p.session)
		s.mu.Lock() // until all requests are made
		var requests []*stateRequest
		for i := range uint64(40) {
			seq := tail + (head-tail)*i/39
			r := &stateRequest{stateView: stateView{seq: seq, line: l, scope: codec.ScopeAll}, conn: &conn{p: a.p}, done: make(chan struct{})}
			requests = append(requests, r)
		}
		s.requests = append(s.requests, requests...)
		w := &pass{from: 1, last: 0}
		s.passes = append(s.passes, w)
		s.mu.Unlock()
		a.p.done.Go(func() { s.run(w) })
		stretches := map[uint64]bool{}
		for _, r := range requests {
			<-r.done
			require.NoError(t, r.err)
			want, err := a.p.stateAt(r.seq)
			require.NoError(t, err)
			b, err := r.encode(want, 0)
			require.NoError(t, err)
			require.Equal(t, b, r.held.data, "as of %d", r.seq)
			part, ok := a.p.log.stretch(r.seq)
			require.True(t, ok)
			stretches[part.first] = true
			_ = part.fold(func(*feed.State, uint64, uint64) uint64 { return 0 })
		}
		assert.Equal(t, len(stretches), s.begun, "a fold for each stretch")
		synctest.Wait()
		assert.Empty(t, s.passes)
	})
}

// The welcome does not wait for the state, and heartbeats are sent until the state is read, which may take longer
// than a client waits for a silent publisher.
func TestWelcomeComesBeforeTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive(t)
		release := a.fs.hold()
		nc, r := a.join(a.head, codec.Hello{}) // has taken the welcome
		go func() {
			time.Sleep(2500 * time.Millisecond)
			b, _ := codec.Append(nil, &codec.Pulse{})
			_, _ = nc.Write(b)
			time.Sleep(2 * time.Second)
			release()
		}()
		began := time.Now()
		heartbeats, _ := a.snapshot(r, a.head)
		assert.Equal(t, 4, heartbeats)
		assert.InDelta(t, 4.5, time.Since(began).Seconds(), 0.1)
	})
}

// A client whose position is inside a packet may confirm it before it has received the packet, whether it is first
// sent heartbeats, while its state is read, or a part of a line that starts before the position.
func TestPositionInsideAPacketIsConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive(t)
		release := a.fs.hold()
		const inside = 7
		nc, r := a.join(a.head-inside, codec.Hello{})
		go func() {
			for range 2 {
				time.Sleep(1500 * time.Millisecond) // a heartbeat comes in between
				b, _ := codec.Append(nil, &codec.Pulse{Next: a.head - inside})
				_, _ = nc.Write(b)
			}
			time.Sleep(time.Second)
			release()
		}()
		heartbeats, _ := a.snapshot(r, a.head-inside)
		assert.Equal(t, 4, heartbeats)
		conns := a.p.Stats().Conns
		require.Len(t, conns, 1)
		assert.Equal(t, a.head-inside, conns[0].Confirmed)
	})
}

// Nothing is read for clients that have left, whether they leave before their turn or while their file is being read.
func TestNothingIsReadForClientsThatHaveGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive(t)
		for name, leave := range map[string]func(net.Conn){
			"left": func(nc net.Conn) {
				b, err := codec.Append(nil, &codec.Goodbye{Code: codec.CodeDone})
				require.NoError(t, err)
				_, err = nc.Write(b)
				require.NoError(t, err)
			},
			"cut":            func(nc net.Conn) { nc.Close() },
			"broke the text": func(nc net.Conn) { _, _ = nc.Write([]byte("GET / HTTP/1.1")) },
			"fell silent":    func(nc net.Conn) { time.Sleep(5 * time.Second) },
		} {
			release := a.fs.hold()
			var conns []net.Conn
			for i := range uint64(60) {
				nc, _ := a.join(a.head-i, codec.Hello{})
				conns = append(conns, nc)
			}
			synctest.Wait()
			for _, nc := range conns {
				leave(nc)
			}
			synctest.Wait()
			assert.Empty(t, a.p.serving.states.requests, name)
			read := a.fs.read.Load()
			release()
			synctest.Wait()
			assert.LessOrEqual(t, a.fs.read.Load()-read, int64(1<<20), "%s: what was being read when they went, of 3 MB", name)
			assert.Empty(t, a.p.serving.states.passes, name)
			for _, nc := range conns {
				nc.Close()
			}
			time.Sleep(time.Second)
			assert.Empty(t, a.p.Stats().Conns, name)
		}
	})
}

// No state is computed for a client that has its state, with or without a filter.
func TestNothingIsFoldedForAClientThatHasItsState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive(t)
		begins := a.fs.begins.Load()
		for _, filter := range []codec.Filter{nil, {"S01"}, {"S0*"}} {
			for _, seq := range []uint64{a.head, a.p.seq.next - 10} {
				_, r := a.join(seq, codec.Hello{HasState: true, Filter: filter})
				typ, _, err := r.Next()
				require.NoError(t, err)
				require.Equal(t, codec.TypePacket, typ)
			}
		}
		assert.Zero(t, a.p.serving.states.begun, "passes")
		assert.Nil(t, a.p.serving.joins.last, "states as of now")
		assert.Equal(t, begins, a.fs.begins.Load(), "reads of the beginning of a file")
	})
}

// The index of a file that was not closed properly, and is not the last one, is made once for all clients with
// positions in it.
func TestIndexIsMadeOnce(t *testing.T) {
	disk := &memfs.FS{}
	var head uint64
	for i := range 2 { // two publishers that are killed
		p, err := New(Config{Journal: "j", FS: disk, Memory: MinMemory, SegmentSize: 64 << 20, Seed: 1, Sync: journal.SyncNone})
		require.NoError(t, err)
		id, err := p.Define(t.Context(), feed.Definition{Symbol: "A"})
		require.NoError(t, err)
		for range 100 - 99*i {
			ticks := make([]feed.Tick, 1000)
			for i := range ticks {
				ticks[i] = feed.Quote{Bid: 1, BidSize: 1, Ask: 2, AskSize: 2}.Tick(id, 1_795_357_800_000_000_000)
			}
			require.NoError(t, p.Publish(t.Context(), ticks))
			require.NoError(t, p.Flush(t.Context()))
		}
		head = p.seq.next
		require.NoError(t, p.Flush(t.Context()))
		disk = disk.Killed()
		t.Cleanup(func() { _ = p.Close(context.Background()) })
	}
	fs := &gatedFS{FS: disk}
	p, err := New(Config{Journal: "j", FS: fs, Memory: MinMemory, Seed: 1})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close(context.Background())) })
	before := fs.read.Load()
	var all sync.WaitGroup
	for i := range uint64(40) {
		all.Go(func() {
			seq := head/2 + i*100
			l := &line{p: p}
			h, ok, err := l.packetFrom(seq)
			assert.NoError(t, err)
			assert.True(t, ok)
			assert.LessOrEqual(t, h.First, seq)
			assert.Less(t, seq, h.First+h.Count)
		})
	}
	all.Wait()
	assert.Less(t, fs.read.Load()-before, int64(10<<20), "bytes that were read, of a file of 2.8 MB")
}

// A request that comes when a pass is already beyond its number is left for another pass: it must not get a later
// state.
func TestALateRequestIsForAnotherPass(t *testing.T) {
	w := &pass{from: 1, last: 100}
	p, err := New(Config{Seed: 1})
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Close(context.Background()) })
	s := &p.serving.states
	s.passes = []*pass{w}
	ask := func(seq uint64) *stateRequest {
		r := &stateRequest{stateView: stateView{seq: seq, line: &line{p: p}}, conn: &conn{p: p}, done: make(chan struct{})}
		s.requests = append(s.requests, r)
		s.changes.Add(1)
		return r
	}
	served := func(r *stateRequest) bool {
		select {
		case <-r.done:
			return true
		default:
			return false
		}
	}
	v := visitor{s: s, w: w}
	first := ask(60)
	require.EqualValues(t, 60, v.visit(feed.NewState(), 50, 50))
	late, in, ahead, equal := ask(55), ask(58), ask(70), ask(70)
	require.False(t, s.coveredLocked(50))
	require.EqualValues(t, 70, v.visit(feed.NewState(), 58, 60), "nothing stands in [58, 60)")
	assert.False(t, served(late), "55 is passed")
	assert.True(t, served(in))
	assert.True(t, served(first))
	assert.Zero(t, v.visit(feed.NewState(), 70, 70), "no more numbers are requested")
	assert.True(t, served(ahead) && served(equal))
	assert.Same(t, ahead.held, equal.held, "equal requests share the bytes")
	assert.False(t, s.coveredLocked(80), "the pass is over")
	assert.Len(t, s.requests, 1)
}
