package journal_test

import (
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/publisher/journal"
	"tickfeed/publisher/journal/memfs"
)

// durability records, over the real file system, what was written and what of it was made durable.
type durability struct {
	journal.OS
	mu    sync.Mutex
	trace []string
}

// A lasting file records its writes, syncs and closing.
type lasting struct {
	recording.File
	d    *durability
	name string
}

func (d *durability) note(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trace = append(d.trace, what)
}

func (d *durability) Create(name string) (recording.File, error) {
	f, err := d.OS.Create(name)
	d.note("create")
	return &lasting{f, d, name}, err
}

func (d *durability) SyncDir(dir string) error {
	d.note("sync directory")
	return d.OS.SyncDir(dir)
}

func (f *lasting) Write(p []byte) (int, error) {
	f.d.note("write")
	return f.File.Write(p)
}

func (f *lasting) Sync() error {
	f.d.note("sync")
	return f.File.Sync()
}

func (f *lasting) Close() error {
	f.d.note("close")
	return f.File.Close()
}

// Rotate makes durable what it must before the next append: nothing, except with SyncAlways, where the next file and its
// name are. Settle syncs the file that ended before its trailer is written, unless the policy is SyncNone, and closes
// it. Sync makes the next file and its name durable (PROMISES.md, 2).
func TestRotationIsDurable(t *testing.T) {
	for sync, want := range map[journal.Sync]struct{ rotate, settle, sync []string }{
		journal.SyncNone:     {[]string{"create", "write"}, []string{"write", "close"}, []string{"sync directory", "sync"}},
		journal.SyncInterval: {[]string{"create", "write"}, []string{"sync", "write", "sync", "close"}, []string{"sync directory", "sync"}},
		journal.SyncAlways:   {[]string{"create", "write", "sync", "sync directory"}, []string{"write", "sync", "close"}, nil},
	} {
		fs := &durability{}
		w := newWorld()
		j := w.start(t, journal.Config{Dir: t.TempDir(), FS: fs, Sync: sync, SegmentSize: journal.MinSegmentSize})
		for !j.Full() {
			w.append(t, j, 20)
			if sync == journal.SyncAlways {
				require.NoError(t, j.Sync())
			}
		}
		traced := func(do func() error) []string {
			fs.trace = nil
			require.NoError(t, do())
			return fs.trace
		}
		assert.Equal(t, want.rotate, traced(func() error { return j.Rotate(w.state) }), "sync %v", sync)
		assert.Equal(t, want.settle, traced(j.Settle), "sync %v", sync)
		assert.Equal(t, w.next, j.Synced())
		assert.Empty(t, traced(j.Settle))
		assert.Equal(t, want.sync, traced(j.Sync), "sync %v", sync)
		assert.Empty(t, traced(j.Sync))
		w.append(t, j, 20)
		assert.Equal(t, []string{"sync", "write", "sync", "close"}, traced(j.Close), "packets, index, and the end")
	}
}

// Ticks below Synced are there after a power cut, also over the end of a file and the beginning of the next, under each policy.
func TestSyncedSurvivesRotation(t *testing.T) {
	for _, sync := range []journal.Sync{journal.SyncInterval, journal.SyncAlways} {
		for seed := range uint64(300) {
			r := rand.New(rand.NewPCG(seed, 7))
			w, fs := newWorld(), &memfs.FS{}
			j := w.start(t, journal.Config{Dir: "j", FS: fs, Sync: sync, SegmentSize: journal.MinSegmentSize})
			for range 1 + r.IntN(30) {
				w.append(t, j, 1+r.IntN(25))
				if r.IntN(8) == 0 {
					require.NoError(t, j.Sync())
				}
			}
			least := j.Synced()
			w.synced = least
			for range 4 {
				disk := fs.PowerCut(r, r.Float64()/2)
				require.NoError(t, judge(w, disk, least, true), "sync %v, seed %d", sync, seed)
			}
		}
	}
}

// A sync that fails is final for its file: nothing more is appended to it, and what was not
// synced is not given out any more once a child session began before it (PROMISES.md, 5).
func TestFailedSync(t *testing.T) {
	w := newWorld()
	fs := &memfs.FS{}
	cfg := journal.Config{Dir: "j", FS: fs, Sync: journal.SyncAlways}
	j := w.start(t, cfg)
	w.append(t, j, 20)
	require.NoError(t, j.Sync())
	require.Equal(t, uint64(21), j.Synced())
	for _, fault := range []error{syscall.EIO, syscall.ENOSPC} {
		w.append(t, j, 20)
		next := j.Next()
		fs.Fault = func(op memfs.Op) (int, error) {
			if op.Kind == memfs.Sync {
				return 0, fault
			}
			return 0, nil
		}
		err := j.Sync()
		require.ErrorIs(t, err, journal.ErrFailed)
		require.NotErrorIs(t, err, journal.ErrFull)
		fs.Fault = nil
		require.Equal(t, err, j.Sync())
		require.Equal(t, err, j.Append(w.packet(5), w.next, w.time))
		require.Equal(t, err, j.Rotate(w.state))
		require.Less(t, j.Synced(), next)
		require.Error(t, j.Begin(w.lineage.Child(99, next+1), codec.ModeLive, w.state))
		require.Error(t, j.Begin(w.lineage.Child(99, j.Synced()-1), codec.ModeLive, w.state))

		reader := j.Cursor(1)
		w.fork(j.Synced())
		require.NoError(t, j.Begin(w.lineage, codec.ModeLive, w.state))
		w.append(t, j, 20)
		_, gone := drain(t, reader)
		require.Empty(t, gone)
		synced, err := w.audit(j, 1)
		require.ErrorContains(t, err, "ends at", "what is not synced is not given out")
		require.NoError(t, j.Sync())
		all, err := w.audit(j, 1)
		require.NoError(t, err)
		require.Equal(t, synced.packets+1, all.packets)
		w.append(t, j, 20)
		data, gone := drain(t, reader)
		require.Empty(t, gone)
		require.Len(t, data, len(w.made[place{w.ids, w.lineage.Current().First}]))
		require.NoError(t, j.Sync())
		data, gone = drain(t, reader)
		require.Empty(t, gone)
		require.NotEmpty(t, data)
		require.NoError(t, reader.Close())
		require.Equal(t, w.next, j.Next())
	}
	require.NoError(t, j.Close())
	again, err := journal.Open(cfg)
	require.NoError(t, err)
	require.Equal(t, "", again.Recovered().State.Diff(w.state))
	_, err = w.audit(again, 1)
	require.NoError(t, err)
	require.NoError(t, again.Close())
	require.ErrorIs(t, again.Append(nil, 1, 1), journal.ErrClosed)
	_, err = again.Cursor(1).Next()
	require.ErrorIs(t, err, journal.ErrClosed)
}
