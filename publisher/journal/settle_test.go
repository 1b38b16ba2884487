package journal_test

import (
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/publisher/journal"
	"tickfeed/publisher/journal/memfs"
)

// rotated returns a journal whose file of packets [1, 61) has ended and waits for Settle, and whose current file holds
// [61, 81). The numbers up to 41 are synced.
func rotated(t *testing.T, cfg journal.Config) (*world, *journal.Journal) {
	t.Helper()
	w := newWorld()
	j := w.start(t, cfg)
	w.append(t, j, 20)
	w.append(t, j, 20)
	require.NoError(t, j.Sync())
	w.append(t, j, 20)
	require.NoError(t, j.Rotate(w.state))
	w.append(t, j, 20)
	require.Equal(t, uint64(41), j.Synced())
	return w, j
}

// failing returns a file system whose operations of one kind fail while broken is true.
func failing(kind memfs.Kind, err error) (fs *memfs.FS, broken *bool) {
	broken = new(bool)
	return &memfs.FS{Fault: func(op memfs.Op) (int, error) {
		if *broken && op.Kind == kind && !strings.HasSuffix(op.Name, "LOCK") {
			return 0, err
		}
		return 0, nil
	}}, broken
}

// nothingKept returns what a power cut leaves on a disk that keeps nothing but what was synced.
func nothingKept(fs *memfs.FS) *memfs.FS { return fs.PowerCut(rand.New(rand.NewPCG(1, 1)), 0) }

// A power cut between rotation and Settle may cost the end of the file that ended and leave the next one. The numbers
// between them are reported as missing, and the next session begins after everything that is left.
func TestEndOfAnUnsettledFileIsLost(t *testing.T) {
	for name, spoil := range map[string]func(b []byte, safe int) []byte{
		"cut short": func(b []byte, safe int) []byte { return b[:safe] },
		"zeros":     func(b []byte, safe int) []byte { clear(b[safe:]); return b },
		"cut within a packet, which has zeros at its end": func(b []byte, safe int) []byte {
			clear(b[safe+20:])
			return b[:safe+50]
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := &memfs.FS{}
			cfg := journal.Config{Dir: "j", FS: fs, Sync: journal.SyncInterval}
			w, j := rotated(t, cfg)
			old := "j/" + files(t, fs)[0]
			lost := len(w.made[place{w.ids, 41}])
			cfg.FS = fs.Killed()
			disk := cfg.FS.(*memfs.FS)
			b := disk.Bytes(old)
			disk.Put(old, spoil(b, len(b)-lost))
			w.synced = 41
			require.NoError(t, judge(w, disk.Killed(), 41, true))

			again, err := journal.Open(cfg)
			require.NoError(t, err)
			require.Equal(t, uint64(81), again.Next())
			require.Len(t, again.Recovered().Damage, 1)
			require.Equal(t, feed.Range{From: 41, To: 61}, again.Recovered().Damage[0].Range)
			require.Equal(t, "", again.Recovered().State.Diff(w.state))
			require.NoError(t, again.Close())
			require.NoError(t, j.Close())
		})
	}
}

// A sync of a file that ended fails after the next file has begun: the journal has failed. A child session begins at
// what was synced, and the numbers of both files from there on belong to no session, also after a restart.
func TestSyncFailsAfterRotation(t *testing.T) {
	for name, sync := range map[string]func(*journal.Journal) error{"in Settle": (*journal.Journal).Settle, "in Sync": (*journal.Journal).Sync} {
		t.Run(name, func(t *testing.T) {
			fs, broken := failing(memfs.Sync, syscall.EIO)
			cfg := journal.Config{Dir: "j", FS: fs, Sync: journal.SyncInterval}
			w, j := rotated(t, cfg)
			reader := j.Cursor(1)
			defer reader.Close()
			*broken = true
			require.ErrorIs(t, sync(j), journal.ErrFailed)
			*broken = false
			require.ErrorIs(t, j.Append(w.packet(5), w.next, w.time), journal.ErrFailed)
			require.ErrorIs(t, j.Rotate(w.state), journal.ErrFailed)
			require.ErrorIs(t, j.Sync(), journal.ErrFailed)
			require.NoError(t, j.Settle(), "the file is closed as it is")
			require.Equal(t, uint64(41), j.Synced(), "whatever the second sync returned")

			w.fork(41)
			require.NoError(t, j.Begin(w.lineage, codec.ModeLive, w.state))
			for range 5 {
				w.append(t, j, 20)
				w.rotate(t, j)
			}
			w.append(t, j, 20)
			got, err := w.audit(j, 1)
			require.NoError(t, err)
			require.True(t, got.gone.Empty())
			data, gone := drain(t, reader)
			require.NotEmpty(t, data)
			require.Empty(t, gone)
			state, err := j.StateAt(w.next)
			require.NoError(t, err)
			require.Equal(t, "", state.Diff(w.state))
			require.NoError(t, j.Close())
			require.NoError(t, judge(w, fs.Killed(), w.next, false))
		})
	}
}

// hooked calls a function after a file was created.
type hooked struct {
	*memfs.FS
	created func()
}

func (h *hooked) Create(name string) (recording.File, error) {
	f, err := h.FS.Create(name)
	if h.created != nil {
		h.created()
	}
	return f, err
}

// A sync that fails while Rotate creates the next file is not forgotten when the file is made.
func TestSyncFailsDuringRotation(t *testing.T) {
	fs, broken := failing(memfs.Sync, syscall.EIO)
	hook := &hooked{FS: fs}
	w, j := rotated(t, journal.Config{Dir: "j", FS: hook, Sync: journal.SyncInterval})
	hook.created = func() {
		*broken = true
		require.ErrorIs(t, j.Settle(), journal.ErrFailed)
		*broken = false
	}
	require.NoError(t, j.Rotate(w.state))
	require.ErrorIs(t, j.Append(w.packet(5), w.next, w.time), journal.ErrFailed)
	require.Equal(t, uint64(41), j.Synced())
	require.ErrorIs(t, j.Close(), journal.ErrFailed)
}

// After a kill, the next session begins after everything that the killed process wrote, and syncs it first: what a
// power cut could have taken before is safe once Begin has returned.
func TestOpenSyncsUnsettledFiles(t *testing.T) {
	fs := &memfs.FS{}
	cfg := journal.Config{Dir: "j", FS: fs, Sync: journal.SyncInterval}
	w, _ := rotated(t, cfg)
	fs.Kill()
	j := w.start(t, cfg)
	require.Empty(t, j.Recovered().Damage)
	require.Equal(t, uint64(81), j.Next())
	fs.Kill()
	require.NoError(t, judge(w, nothingKept(fs), 81, false))
}

// If there is no room for the header of the next file, the current file is what it was: appending to it can go on.
func TestNoRoomForTheNextFile(t *testing.T) {
	fs, broken := failing(memfs.Write, syscall.ENOSPC)
	w, j := rotated(t, journal.Config{Dir: "j", FS: fs, Sync: journal.SyncInterval})
	*broken = true
	for range 3 {
		require.ErrorIs(t, j.Rotate(w.state), journal.ErrFull)
	}
	*broken = false
	require.Len(t, files(t, fs), 2)
	w.append(t, j, 20)
	require.NoError(t, j.Settle())
	require.NoError(t, j.Sync())
	require.NoError(t, j.Rotate(w.state))
	require.NoError(t, judge(w, nothingKept(fs), w.next, false))
	require.NoError(t, j.Close())
}

// Without room for the index, a file is settled without it.
func TestNoRoomForTheIndex(t *testing.T) {
	fs, broken := failing(memfs.Write, syscall.ENOSPC)
	w, j := rotated(t, journal.Config{Dir: "j", FS: fs, Sync: journal.SyncInterval})
	*broken = true
	require.NoError(t, j.Settle())
	*broken = false
	require.Equal(t, uint64(61), j.Synced())
	require.NoError(t, j.Sync())
	require.NoError(t, judge(w, nothingKept(fs), 81, false))
	require.NoError(t, j.Close())
}

// A directory that cannot be synced for a while is a state that passes: nothing counts as synced that a power cut could
// take with its name.
func TestDirectoryCannotBeSynced(t *testing.T) {
	fs, broken := failing(memfs.SyncDir, syscall.EMFILE)
	w, j := rotated(t, journal.Config{Dir: "j", FS: fs, Sync: journal.SyncInterval})
	*broken = true
	for range 2 {
		require.ErrorIs(t, j.Sync(), journal.ErrFull)
	}
	require.Equal(t, uint64(61), j.Synced())
	require.NoError(t, j.Settle(), "its name is durable")
	require.NoError(t, judge(w, nothingKept(fs), j.Synced(), false))
	*broken = false
	require.NoError(t, j.Sync())
	require.Equal(t, uint64(81), j.Synced())
	require.NoError(t, judge(w, nothingKept(fs), 81, false))
	require.NoError(t, j.Close())
}

// Retention may remove a file that waits for Settle. It is settled nevertheless, and the journal goes on.
func TestRetentionReachesAnUnsettledFile(t *testing.T) {
	fs := &memfs.FS{}
	w, j := rotated(t, journal.Config{Dir: "j", FS: fs, Sync: journal.SyncInterval, RetainBytes: 1})
	require.NoError(t, j.Retain(w.time))
	require.Len(t, files(t, fs), 1)
	require.Equal(t, uint64(61), j.Tail())
	require.NoError(t, j.Settle())
	w.append(t, j, 20)
	require.NoError(t, j.Sync())
	require.Equal(t, w.next, j.Synced())
	require.NoError(t, judge(w, nothingKept(fs), w.next, false))
	require.NoError(t, j.Close())
	open, _ := fs.Descriptors()
	assert.Zero(t, open)
}

// A file that ended is read as before while it waits for Settle, while it is settled and after it: by a cursor that was
// in it, by one that comes to it, and for a state. With SyncAlways all of it is synced before the next file begins.
func TestReadersOfAnUnsettledFile(t *testing.T) {
	for _, sync := range []journal.Sync{journal.SyncNone, journal.SyncInterval, journal.SyncAlways} {
		w := newWorld()
		j := w.start(t, journal.Config{Dir: "j", FS: &memfs.FS{}, Sync: sync})
		inside := j.Cursor(1)
		defer inside.Close()
		w.append(t, j, 20)
		require.NoError(t, j.Sync())
		_, err := inside.Next()
		require.NoError(t, err)
		w.append(t, j, 20) // not synced
		middle := w.next
		require.NoError(t, j.Rotate(w.state))
		w.append(t, j, 20)
		require.NoError(t, j.Sync())
		for range 2 {
			got, err := w.audit(j, 1)
			require.NoError(t, err)
			require.Equal(t, 3, got.packets)
			require.True(t, got.gone.Empty())
			state, err := j.StateAt(middle)
			require.NoError(t, err)
			require.Equal(t, "", state.Diff(w.states[place{w.ids, middle}]))
			require.NoError(t, j.Settle())
		}
		data, gone := drain(t, inside)
		require.Empty(t, gone)
		require.Len(t, data, len(w.made[place{w.ids, 21}])+len(w.made[place{w.ids, 41}]))
		require.NoError(t, j.Close())
	}
}

// A journal keeps few ended files open: while they wait for Settle, Full does not ask for more, so the current file
// grows. A rotation that must be settles them itself.
func TestManyUnsettledFiles(t *testing.T) {
	fs := &memfs.FS{}
	w := newWorld()
	j := w.start(t, journal.Config{Dir: "j", FS: fs, Sync: journal.SyncInterval, SegmentSize: journal.MinSegmentSize})
	for range 100 {
		if j.Full() {
			require.NoError(t, j.Rotate(w.state))
		}
		p := w.packet(20)
		require.NoError(t, j.Append(p, w.next, w.time-10))
	}
	require.Len(t, files(t, fs), 3)
	require.Greater(t, len(fs.Bytes("j/"+files(t, fs)[2])), 10*journal.MinSegmentSize)
	for range 5 {
		require.NoError(t, j.Rotate(w.state))
		p := w.packet(20)
		require.NoError(t, j.Append(p, w.next, w.time-10))
	}
	require.Len(t, files(t, fs), 8)
	require.NoError(t, j.Settle())
	w.append(t, j, 200)
	require.True(t, j.Full())
	require.NoError(t, j.Close())
	require.NoError(t, judge(w, nothingKept(fs), w.next, false))
}

// Unsynced counts the bytes of all files that a power cut may cost, and says when the oldest of their appends was made.
// An append during a sync counts from then on.
func TestUnsyncedCountsBytesAndAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := false
		fs := &memfs.FS{Delay: func(op memfs.Op) time.Duration {
			if op.Kind == memfs.Sync && slow {
				return time.Second
			}
			return 0
		}}
		w := newWorld()
		j := w.start(t, journal.Config{Dir: "j", FS: fs, Sync: journal.SyncInterval})
		unsynced := func(bytes int, since time.Time) {
			t.Helper()
			n, at := j.Unsynced()
			assert.Equal(t, int64(bytes), n)
			assert.Equal(t, since, at)
		}
		size := func() int { return len(w.made[place{w.ids, w.next - 20}]) }
		unsynced(0, time.Time{})
		first := time.Now()
		w.append(t, j, 20)
		one := size()
		unsynced(one, first)
		time.Sleep(time.Minute)
		w.append(t, j, 20)
		two := one + size()
		unsynced(two, first)
		require.NoError(t, j.Rotate(w.state))
		begun := len(fs.Bytes("j/" + files(t, fs)[1]))
		unsynced(two+begun, first)
		time.Sleep(time.Minute)
		third := time.Now()
		w.append(t, j, 20)
		unsynced(two+begun+size(), first)
		require.NoError(t, j.Settle())
		unsynced(begun+size(), third)

		// While the current file is synced, another append is made.
		slow = true
		synced := make(chan error)
		go func() { synced <- j.Sync() }()
		time.Sleep(500 * time.Millisecond)
		fourth := time.Now()
		w.append(t, j, 20)
		require.NoError(t, <-synced)
		unsynced(size(), fourth)
		slow = false
		require.NoError(t, j.Sync())
		unsynced(0, time.Time{})

		// However long nothing is synced, what is remembered of it stays small and is never too young.
		first = time.Now()
		for range 5000 {
			w.append(t, j, 1)
			time.Sleep(10 * time.Millisecond)
		}
		_, at := j.Unsynced()
		assert.Equal(t, first, at)
		require.NoError(t, j.Sync())
		unsynced(0, time.Time{})
		require.NoError(t, j.Close())
	})
}
