package journal_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/publisher/journal"
	"tickfeed/publisher/journal/memfs"
)

func TestMain(m *testing.M) {
	// A million journals of a few KiB: half of the time went to collecting them. 800 % of what is alive during a collection
	// may be half a gigabyte, which the limit prevents.
	debug.SetGCPercent(800)
	debug.SetMemoryLimit(192 << 20)
	goleak.VerifyTestMain(m)
}

// Appended ticks are read over files and sessions, and a restart continues after them, with the state and the definitions as
// they were.
func TestAppendRestartRead(t *testing.T) {
	cfg := journal.Config{Dir: filepath.Join(t.TempDir(), "a", "b"), SegmentSize: 8 << 10}
	w := newWorld()
	definitions := &feed.Definitions{}
	for range 4 {
		j := w.start(t, cfg)
		rec := j.Recovered()
		require.Empty(t, rec.Damage)
		require.Equal(t, "", rec.State.Diff(w.state))
		for range 60 {
			w.append(t, j, 1+int(w.next%30))
		}
		for seq := uint64(1); seq < j.Next(); seq += 13 {
			got, err := w.audit(j, seq)
			require.NoError(t, err, "from %d", seq)
			require.True(t, got.gone.Empty())
		}
		require.Equal(t, w.next, j.Next())
		require.NoError(t, j.Close())
		require.NoError(t, j.Close())
	}
	for seq := uint64(1); seq < w.next; seq++ {
		if seq <= instruments || seq%97 == 0 {
			id := feed.InstrumentID((seq - 1) % instruments)
			definitions.Define(seq, id, &feed.Definition{Symbol: fmt.Sprintf("S%d", id), Lot: int64(seq)})
		}
	}
	j, err := journal.Open(cfg)
	require.NoError(t, err)
	defer j.Close()
	for seq := uint64(1); seq <= w.next; seq++ {
		want := map[feed.InstrumentID]feed.Definition{}
		for id, d := range definitions.AsOf(seq) {
			want[id] = *d
		}
		got := map[feed.InstrumentID]feed.Definition{}
		for id, d := range j.Recovered().Definitions.AsOf(seq) {
			got[id] = *d
		}
		require.Equal(t, want, got, "as of %d", seq)
	}
	assert.Equal(t, w.time-10, j.Recovered().LastTime)
	assert.Equal(t, w.time-10, j.Recovered().LastEvent)
}

// A second publisher on one journal is refused by name, and takes over when the first is gone
// (PROMISES.md, 22).
func TestSecondPublisherIsRefused(t *testing.T) {
	cfg := journal.Config{Dir: t.TempDir()}
	first, err := journal.Open(cfg)
	require.NoError(t, err)
	_, err = journal.Open(cfg)
	require.ErrorIs(t, err, journal.ErrLocked)
	require.EqualError(t, err, "journal "+cfg.Dir+" is in use by another publisher")
	require.NoError(t, first.Close())
	second, err := journal.Open(cfg)
	require.NoError(t, err)
	require.NoError(t, second.Close())
}

// Configurations out of bounds are refused by the field's name.
func TestConfigOutOfBoundsIsRefused(t *testing.T) {
	for field, cfg := range map[string]journal.Config{
		"Dir": {}, "SegmentSize": {Dir: "x", SegmentSize: 1}, "RetainBytes": {Dir: "x", RetainBytes: -1},
		"RetainAge": {Dir: "x", RetainAge: -1}, "Sync": {Dir: "x", Sync: 9},
	} {
		_, err := journal.Open(cfg)
		assert.ErrorContains(t, err, field)
	}
}

// A journal that cannot be made is an error that names it.
func TestNotWritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := journal.Open(journal.Config{Dir: filepath.Join(file, "journal")})
	require.ErrorContains(t, err, file)
}

// The state as of any number is what folding every tick before it gives; the first packet at
// a time is that of a plain search.
func TestStateAtSeqAt(t *testing.T) {
	w := newWorld()
	cfg := journal.Config{Dir: "j", FS: &memfs.FS{}, SegmentSize: 4 << 10}
	type packet struct {
		first uint64
		time  int64
	}
	var packets []packet
	check := func(j *journal.Journal) {
		for seq := uint64(1); seq <= w.next; seq += 1 + seq%3 {
			want := feed.NewState()
			for first := uint64(1); first < seq; {
				owner, _, _ := w.lineage.Owner(first)
				raw := w.made[place{owner.ID, first}]
				h := codec.PacketAt(raw)
				b := codec.PacketBody(&h, raw[codec.PacketHeader:])
				var ticks [64]feed.Tick
				n, err := b.Decode(ticks[:])
				require.NoError(t, err)
				for i := range ticks[:n] {
					if ticks[i].Seq < seq {
						require.NoError(t, want.Apply(&ticks[i]))
					}
				}
				first += h.Count
			}
			got, err := j.StateAt(seq)
			require.NoError(t, err)
			require.Equal(t, "", got.Diff(want), "as of %d", seq)
		}
		_, err := j.StateAt(w.next + 1)
		require.ErrorIs(t, err, journal.ErrGone)
		for i, p := range packets {
			require.Equal(t, p.first, j.SeqAt(p.time))
			require.Equal(t, p.first, j.SeqAt(p.time-1), "packet %d", i)
		}
		require.Equal(t, w.next, j.SeqAt(w.time))
		require.Equal(t, uint64(1), j.SeqAt(-1<<63))
	}
	for range 3 {
		j := w.start(t, cfg)
		for range 25 {
			packets = append(packets, packet{w.next, w.time})
			w.append(t, j, 1+int(w.next%20))
		}
		check(j)
		require.NoError(t, j.Close())
	}
	j, err := journal.Open(cfg)
	require.NoError(t, err)
	check(j)
	require.NoError(t, j.Close())
}

// Cursors read while the journal is appended to, rotated and retained: each number once, in
// order, nothing that was never wholly appended.
func TestConcurrentCursors(t *testing.T) {
	w := newWorld()
	cfg := journal.Config{Dir: t.TempDir(), SegmentSize: 16 << 10, RetainBytes: 200 << 10, Sync: journal.SyncInterval}
	j := w.start(t, cfg)
	const packets = 1500
	done := make(chan struct{})
	var group sync.WaitGroup
	problems := make(chan error, 8)
	var mu sync.Mutex // guards w.made, which the readers compare with
	for reader := range 3 {
		group.Go(func() {
			next := uint64(1)
			c := j.Cursor(next)
			defer c.Close()
			for last := false; ; {
				chunk, err := c.Next()
				switch {
				case err == io.EOF:
					if last {
						return
					}
					select {
					case <-done:
						last = true
					default:
						runtime.Gosched()
					}
					continue
				case err != nil:
					problems <- err
					return
				case !chunk.Gone.Empty():
					if chunk.Gone.From != next || chunk.Reason != codec.GoneExpired {
						problems <- fmt.Errorf("gone %v (%v) at %d", chunk.Gone, chunk.Reason, next)
						return
					}
					next = chunk.Gone.To
				case chunk.Range.From != next:
					problems <- fmt.Errorf("packets %v at %d", chunk.Range, next)
					return
				default:
					mu.Lock()
					raw := w.made[place{chunk.Session.ID, next}]
					mu.Unlock()
					if len(raw) > len(chunk.Data) || string(raw) != string(chunk.Data[:len(raw)]) {
						problems <- fmt.Errorf("packet at %d differs", next)
						return
					}
					next = chunk.Range.To
				}
				if reader == 0 && next%11 == 0 { // one that keeps opening
					c.Close()
					c = j.Cursor(next)
				}
			}
		})
	}
	group.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if err := j.Sync(); err != nil {
					problems <- err
					return
				}
				if err := j.Settle(); err != nil {
					problems <- err
					return
				}
				if err := j.Retain(0); err != nil {
					problems <- err
					return
				}
				j.SeqAt(int64(j.Tail()))
				runtime.Gosched()
			}
		}
	})
	for range packets {
		mu.Lock()
		if j.Full() {
			assert.NoError(t, j.Rotate(w.state))
		}
		p := w.packet(1 + int(w.next%50))
		mu.Unlock()
		assert.NoError(t, j.Append(p, w.next, w.time-10))
	}
	close(done)
	group.Wait()
	close(problems)
	for p := range problems {
		t.Error(p)
	}
	require.NoError(t, j.Close())
}

// Files that are missing, old, foreign, or of a session outside the lineage are reported as such, and no number is read twice
// with different bytes (PROMISES.md, 21).
func TestMissingAndForeignFiles(t *testing.T) {
	build := func() (*world, *memfs.FS, journal.Config, []string) {
		w := newWorld()
		fs := &memfs.FS{}
		cfg := journal.Config{Dir: "j", FS: fs, SegmentSize: 4 << 10}
		for range 2 {
			j := w.start(t, cfg)
			for range 30 {
				w.append(t, j, 20)
			}
			require.NoError(t, j.Close())
		}
		return w, fs, cfg, fs.All()
	}
	open := func(w *world, cfg journal.Config) (*journal.Journal, told) {
		j, err := journal.Open(cfg)
		require.NoError(t, err)
		t.Cleanup(func() { j.Close() })
		got, err := w.audit(j, 1)
		require.NoError(t, err)
		return j, got
	}
	t.Run("a segment in the middle", func(t *testing.T) {
		w, fs, cfg, names := build()
		require.NoError(t, fs.Remove(names[2]))
		j, got := open(w, cfg)
		require.Len(t, got.gone.Ranges(), 1)
		require.Len(t, j.Recovered().Damage, 1)
		assert.Equal(t, got.gone.Ranges()[0], j.Recovered().Damage[0].Range)
		assert.Equal(t, w.next, j.Next())
		assert.Equal(t, "", j.Recovered().State.Diff(w.state))
	})
	t.Run("the first segment", func(t *testing.T) {
		w, fs, cfg, names := build()
		require.NoError(t, fs.Remove(names[0]))
		j, got := open(w, cfg)
		assert.Equal(t, []feed.Range{{From: 1, To: j.Tail()}}, got.gone.Ranges())
		assert.Equal(t, "", j.Recovered().State.Diff(w.state))
	})
	t.Run("the last segments", func(t *testing.T) {
		w, fs, cfg, names := build()
		for _, n := range names[3:] {
			require.NoError(t, fs.Remove(n))
		}
		j, got := open(w, cfg)
		assert.True(t, got.gone.Empty())
		assert.Less(t, j.Next(), w.next)
		next := j.Next()
		require.NoError(t, j.Close())
		j = w.start(t, cfg)
		w.append(t, j, 20)
		got, err := w.audit(j, 1)
		require.NoError(t, err)
		assert.True(t, got.gone.Empty())
		assert.Equal(t, feed.Session{ID: w.ids, First: next}, w.lineage.Current())
		require.NoError(t, j.Close())
	})
	t.Run("the last segment, restored after a child began before it", func(t *testing.T) {
		w, fs, cfg, names := build()
		last := names[len(names)-1]
		b := fs.Bytes(last)
		require.NoError(t, fs.Remove(last))
		require.NoError(t, fs.Remove(names[len(names)-2]))
		j := w.start(t, cfg)
		w.append(t, j, 20)
		require.NoError(t, j.Close())
		fs.Put(last, b)
		j, got := open(w, cfg)
		assert.True(t, got.gone.Empty())
		assert.Equal(t, w.lineage, j.Recovered().Lineage)
		assert.Equal(t, w.next, j.Next())
	})
	t.Run("the end of a segment, and the next one is empty", func(t *testing.T) {
		w, fs, cfg, names := build()
		before, last := names[len(names)-2], names[len(names)-1]
		b := fs.Bytes(before)
		fs.Put(before, b[:len(b)-1000])
		b = fs.Bytes(last)
		at := bytes.Index(b, []byte{0x97, byte(codec.TypePacket), 0xce})
		next := codec.PacketAt(b[at:]).First
		fs.Put(last, b[:at])
		j, got := open(w, cfg)
		assert.Equal(t, next, j.Next(), "the header says where the one before it ended")
		require.Len(t, got.gone.Ranges(), 1)
		assert.Equal(t, next, got.gone.Ranges()[0].To)
		assert.Equal(t, "", j.Recovered().State.Diff(w.states[place{w.ids, next}]))
	})
	t.Run("a file of another journal", func(t *testing.T) {
		w, fs, cfg, _ := build()
		other, otherFS := newWorld(), &memfs.FS{}
		other.ids = 0xbeef
		j := other.start(t, journal.Config{Dir: "j", FS: otherFS})
		other.append(t, j, 20)
		require.NoError(t, j.Close())
		name := otherFS.All()[0]
		fs.Put(name, otherFS.Bytes(name))
		fs.Put("j/notes.txt", []byte("hello"))
		fs.Put("j/00000000000000000001-zz.tick", []byte("hello"))
		j, got := open(w, cfg)
		assert.True(t, got.gone.Empty())
		assert.Equal(t, w.next, j.Next())
		require.Len(t, j.Recovered().Damage, 1)
		assert.Contains(t, j.Recovered().Damage[0].Problem, "foreign")
		assert.NotNil(t, fs.Bytes("j/notes.txt"))
		assert.NotNil(t, fs.Bytes(name))
	})
	t.Run("a recycled file", func(t *testing.T) {
		w, fs, cfg, names := build()
		last := names[len(names)-1]
		older := fs.Bytes(names[1])
		b := fs.Bytes(last)
		fs.Put(last, append(append([]byte(nil), b[:len(b)-100]...), older[500:]...))
		j, got := open(w, cfg)
		assert.True(t, got.gone.Empty())
		assert.Less(t, j.Next(), w.next)
		assert.Positive(t, j.Recovered().Torn)
	})
}

// Files of a crash between their creation and their first packet are gone at the next start,
// and however often that happens, the lineage does not grow.
func TestEmptyFiles(t *testing.T) {
	w := newWorld()
	fs := &memfs.FS{}
	cfg := journal.Config{Dir: "j", FS: fs}
	j := w.start(t, cfg)
	w.append(t, j, 20)
	require.NoError(t, j.Close())
	for range 100 {
		j, err := journal.Open(cfg)
		require.NoError(t, err)
		require.Equal(t, feed.Lineage{{ID: 1, First: 1}}, j.Recovered().Lineage)
		require.Empty(t, j.Recovered().Damage)
		require.NoError(t, w.restart(j.Recovered()))
		require.NoError(t, j.Begin(w.lineage, codec.ModeLive, w.state))
		fs = fs.Killed()
		cfg.FS = fs
	}
	require.Len(t, fs.All(), 2)
	for size := range len(fs.Bytes(fs.All()[1])) { // and torn within what begins it
		part := fs.Killed()
		part.Put(part.All()[1], part.Bytes(part.All()[1])[:size])
		j, err := journal.Open(journal.Config{Dir: "j", FS: part})
		require.NoError(t, err)
		require.Equal(t, uint64(21), j.Next())
		require.Equal(t, "", j.Recovered().State.Diff(w.state))
		require.NoError(t, j.Close())
	}
}

// A session of which a power cut left only the beginning is still an ancestor, so that its ticks are disowned for subscribers
// that received them. The lineage does not grow, however often that happens.
func TestNothingButTheBeginning(t *testing.T) {
	w := newWorld()
	fs := &memfs.FS{}
	cfg := journal.Config{Dir: "j", FS: fs, Sync: journal.SyncInterval}
	for i := range 3 {
		j := w.start(t, cfg)
		require.Empty(t, j.Recovered().Damage)
		want := feed.Lineage{{ID: 1, First: 1}}
		if i > 0 {
			want = want.Child(feed.SessionID(1+i), 1)
		}
		require.Equal(t, want, w.lineage)
		w.append(t, j, 20)
		fs = fs.PowerCut(rand.New(rand.NewPCG(1, 1)), 0)
		cfg.FS = fs
	}
	j, err := journal.Open(cfg)
	require.NoError(t, err)
	require.Equal(t, uint64(1), j.Next())
	require.NoError(t, j.Close())
	files := slices.DeleteFunc(fs.All(), func(name string) bool { return !strings.HasSuffix(name, ".tick") })
	require.Equal(t, []string{"j/00000000000000000001-0000000000000001.tick"}, files)
}

func drain(t *testing.T, c *journal.Cursor) (data []byte, gone []feed.Range) {
	t.Helper()
	for {
		chunk, err := c.Next()
		if err == io.EOF {
			return data, gone
		}
		require.NoError(t, err)
		if !chunk.Gone.Empty() {
			gone = append(gone, chunk.Gone)
		}
		data = append(data, chunk.Data...)
	}
}

// The lineage of a journal is all that its files name together, over any number of restarts, and each file names at most
// feed.MaxLineage sessions.
func TestManyRestarts(t *testing.T) {
	w := newWorld()
	cfg := journal.Config{Dir: "j", FS: &memfs.FS{}}
	for range 100 {
		j := w.start(t, cfg)
		w.append(t, j, 5)
		require.NoError(t, j.Close())
	}
	j, err := journal.Open(cfg)
	require.NoError(t, err)
	require.Equal(t, w.lineage, j.Recovered().Lineage)
	require.Len(t, j.Recovered().Lineage, 100)
	require.Empty(t, j.Recovered().Damage)
	c := j.Cursor(1)
	next := uint64(1)
	for {
		chunk, err := c.Next()
		if err != nil {
			break
		}
		require.Equal(t, next, chunk.Range.From)
		next = chunk.Range.To
	}
	require.Equal(t, w.next, next)
	require.NoError(t, j.Close())
}

// Where retention has left the file that was begun last alone, and it has no packets yet, the next session goes on after
// it, though the file of a root without packets lies there still.
func TestRestartOfAnEmptySessionAfterRetention(t *testing.T) {
	w := newWorld()
	cfg := journal.Config{Dir: "j", FS: &memfs.FS{}, SegmentSize: journal.MinSegmentSize, RetainBytes: 1}
	j := w.start(t, cfg) // a root, which publishes nothing
	require.NoError(t, j.Close())
	j = w.start(t, cfg)
	for range 50 {
		w.append(t, j, 20)
	}
	require.NoError(t, j.Close())
	j = w.start(t, cfg)
	require.NoError(t, j.Retain(w.time))
	require.NoError(t, j.Close())
	for range 3 {
		j = w.start(t, cfg)
		require.Equal(t, uint64(1001), j.Recovered().Next)
		require.Equal(t, "", j.Recovered().State.Diff(w.state))
		require.NoError(t, j.Retain(w.time))
		require.NoError(t, j.Close())
	}
}

func files(t *testing.T, fs journal.FS, dir ...string) []string {
	names, err := fs.Names(append(dir, "j")[0])
	require.NoError(t, err)
	return slices.DeleteFunc(names, func(s string) bool { return filepath.Ext(s) != ".tick" })
}

// A policy is a word, in flags and logs.
func TestSyncIsAWord(t *testing.T) {
	for sync, word := range map[journal.Sync]string{journal.SyncNone: "none", journal.SyncInterval: "1s", journal.SyncAlways: "always"} {
		assert.Equal(t, word, sync.String())
		var back journal.Sync
		require.NoError(t, back.UnmarshalText([]byte(word)))
		assert.Equal(t, sync, back)
	}
	_, err := journal.Open(journal.Config{Dir: t.TempDir(), Sync: 3})
	assert.ErrorContains(t, err, "Sync must be none, 1s or always, got sync(3)")
}
