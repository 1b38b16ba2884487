package journal_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/publisher/journal"
	"tickfeed/publisher/journal/memfs"
)

// crowd takes every file descriptor that is left, and returns a function that gives n of them back.
func crowd(t *testing.T, fs *memfs.FS) func(n int) {
	t.Helper()
	now, _ := fs.Descriptors()
	fs.Limit(now)
	return func(n int) {
		now += n
		fs.Limit(now)
	}
}

// A journal goes on to the next file although others have taken all descriptors, and the one that the last file
// gives back too: it has a reserve. When that is used up it is full, until there are descriptors again;
// and Check fills the reserve again (PROMISES.md, 32).
func TestRotateWithoutDescriptors(t *testing.T) {
	w, fs := newWorld(), &memfs.FS{}
	j := w.start(t, journal.Config{Dir: "j", FS: fs, SegmentSize: journal.MinSegmentSize, Sync: journal.SyncAlways})
	rotations := 0
	rotate := func() error {
		for !j.Full() {
			w.append(t, j, 20)
		}
		now, _ := fs.Descriptors()
		fs.Limit(now) // what the last file gave back is another's
		if err := j.Rotate(w.state); err != nil {
			return err
		}
		return j.Settle()
	}
	give := crowd(t, fs)
	for ; rotations < 100; rotations++ {
		if err := rotate(); err != nil {
			require.ErrorIs(t, err, journal.ErrFull)
			require.ErrorIs(t, err, syscall.EMFILE)
			break
		}
	}
	assert.GreaterOrEqual(t, rotations, 2, "rotations on the reserve")
	assert.Less(t, rotations, 100)
	for range 3 {
		require.ErrorIs(t, j.Rotate(w.state), journal.ErrFull, "as long as there are none")
	}
	give(100)
	require.NoError(t, j.Rotate(w.state))
	w.append(t, j, 20)
	require.NoError(t, j.Sync())
	require.NoError(t, j.Check())
	again := 0
	for ; again < rotations; again++ {
		require.NoError(t, rotate())
	}
	fs.Limit(0)
	_, err := w.audit(j, 1)
	require.NoError(t, err)
	require.NoError(t, j.Close())
	now, _ := fs.Descriptors()
	assert.Zero(t, now, "descriptors that are left open")
}

// The journal can be read without a descriptor to spare; and where there is really none, a cursor says that this
// passes, and goes on where it was.
func TestReadWithoutDescriptors(t *testing.T) {
	w, fs := newWorld(), &memfs.FS{}
	j := w.start(t, journal.Config{Dir: "j", FS: fs, SegmentSize: journal.MinSegmentSize})
	for len(files(t, fs)) < 20 {
		w.append(t, j, 20)
	}
	crowd(t, fs)
	first, second := j.Cursor(1), j.Cursor(w.next/2)
	defer first.Close()
	defer second.Close()
	for range 5 { // with one descriptor between them: the other's is given up
		a, err := first.Next()
		require.NoError(t, err)
		require.NotEmpty(t, a.Data)
		b, err := second.Next()
		require.NoError(t, err)
		require.NotEmpty(t, b.Data)
	}
	got, err := w.audit(j, 1)
	require.NoError(t, err)
	require.True(t, got.gone.Empty())

	out := true
	fs.Fault = func(op memfs.Op) (int, error) {
		if op.Kind == memfs.Open && out {
			return 0, syscall.ENFILE
		}
		return 0, nil
	}
	c := j.Cursor(1)
	defer c.Close()
	chunk, _ := c.Next() // of a file that is open already, if any
	for range 3 {
		_, err := c.Next()
		require.ErrorIs(t, err, journal.ErrFull)
		require.ErrorIs(t, err, syscall.ENFILE)
	}
	out = false
	after, err := c.Next()
	require.NoError(t, err)
	assert.Equal(t, max(1, chunk.Range.To), after.Range.From)
	require.NoError(t, j.Close())
}

// However many cursors read however many files, the descriptors that they take are bounded; and a file that retention
// removes while it is not open is reported as expired.
func TestManyReadersTakeFewDescriptors(t *testing.T) {
	w, fs := newWorld(), &memfs.FS{}
	j := w.start(t, journal.Config{Dir: "j", FS: fs, SegmentSize: journal.MinSegmentSize, RetainBytes: 1})
	for len(files(t, fs)) < 200 {
		w.append(t, j, 20)
	}
	before, _ := fs.Descriptors()
	var cursors []*journal.Cursor
	var mu sync.Mutex
	var group sync.WaitGroup
	for seq := uint64(1); seq < w.next; seq += 20 {
		group.Go(func() {
			c := j.Cursor(seq)
			chunk, err := c.Next()
			assert.NoError(t, err)
			assert.True(t, chunk.Range.Contains(seq))
			mu.Lock()
			defer mu.Unlock()
			cursors = append(cursors, c)
		})
	}
	group.Wait()
	_, most := fs.Descriptors()
	assert.LessOrEqual(t, most-before, 64)
	limit, _ := journal.FileLimit()
	assert.LessOrEqual(t, most, journal.OpenFiles(limit))
	require.NoError(t, j.Retain(0))
	gone := 0
	for _, c := range cursors {
		for {
			chunk, err := c.Next()
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			if !chunk.Gone.Empty() {
				require.Equal(t, codec.GoneExpired, chunk.Reason, "%v", chunk.Gone)
				gone++
			}
		}
		require.NoError(t, c.Close())
	}
	assert.Greater(t, gone, 100)
	require.NoError(t, j.Close())
	now, _ := fs.Descriptors()
	assert.Zero(t, now, "descriptors that are left open")
}

// overtaken lets retention remove a file just before it is opened.
type overtaken struct {
	*memfs.FS
	before func()
}

func (o *overtaken) Open(name string) (journal.ReadFile, error) {
	if before := o.before; before != nil {
		o.before = nil
		before()
	}
	return o.FS.Open(name)
}

// A cursor that is about to open a file which retention removes meanwhile reports those numbers as expired, not
// as damaged; one whose file somebody else removed reports them as damaged.
func TestRetentionOvertakesACursor(t *testing.T) {
	w, fs := newWorld(), &overtaken{FS: &memfs.FS{}}
	j := w.start(t, journal.Config{Dir: "j", FS: fs, SegmentSize: journal.MinSegmentSize, RetainBytes: 1})
	for len(files(t, fs)) < 10 {
		w.append(t, j, 20)
	}
	second := j.Cursor(1)
	chunk, err := second.Next()
	require.NoError(t, err)
	at := chunk.Range.To // in the first file, or the second begins here
	require.NoError(t, second.Close())
	fs.Unlink("j/" + files(t, fs)[3])
	c := j.Cursor(at)
	for range 10 {
		if chunk, err = c.Next(); err != nil || !chunk.Gone.Empty() {
			break
		}
	}
	require.NoError(t, err)
	require.Equal(t, codec.GoneDamaged, chunk.Reason)
	require.NoError(t, c.Close())

	c = j.Cursor(chunk.Gone.To)
	defer c.Close()
	fs.before = func() { require.NoError(t, j.Retain(0)) }
	expired, err := c.Next()
	require.NoError(t, err)
	assert.Equal(t, feed.Range{From: chunk.Gone.To, To: j.Tail()}, expired.Gone)
	assert.Equal(t, codec.GoneExpired, expired.Reason)
	require.NoError(t, j.Close())
}

// A journal of which no packet is left has no time of a last packet, though a file without packets is before the last one: the
// directory kept the name of a removed file, whose bytes a power cut took.
func TestNoPacketIsLeft(t *testing.T) {
	w, dir := newWorld(), t.TempDir()
	j := w.start(t, journal.Config{Dir: dir})
	names, err := filepath.Glob(filepath.Join(dir, "*.tick"))
	require.NoError(t, err)
	require.Len(t, names, 1)
	header, err := os.ReadFile(names[0])
	require.NoError(t, err)
	w.append(t, j, 20)
	require.NoError(t, os.Remove(names[0]))
	require.Error(t, j.Check())
	w.rotate(t, j)
	require.NoError(t, j.Close())
	require.NoError(t, os.WriteFile(names[0], header, 0o600))

	j, err = journal.Open(journal.Config{Dir: dir})
	require.NoError(t, err)
	defer j.Close()
	rec := j.Recovered()
	require.Equal(t, w.next, rec.Next)
	require.Len(t, rec.Damage, 1)
	require.Equal(t, feed.Range{From: 1, To: w.next}, rec.Damage[0].Range)
	assert.Zero(t, rec.LastTime)
}

// A current file that was removed is found missing, and the session goes on in a new one: its numbers are given to
// nothing else, also after a restart, and those that the file held are reported as missing.
func TestCurrentFileIsRemoved(t *testing.T) {
	for name, c := range map[string]struct{ packets, after int }{
		"with packets, and more follow": {3, 3}, "with packets, none follow": {3, 0}, "without packets": {0, 3},
	} {
		t.Run(name, func(t *testing.T) {
			w, fs := newWorld(), &memfs.FS{}
			cfg := journal.Config{Dir: "j", FS: fs, Sync: journal.SyncInterval}
			j := w.start(t, cfg)
			for range 3 {
				w.append(t, j, 20)
			}
			w.rotate(t, j)
			kept := w.next
			for range c.packets {
				w.append(t, j, 20)
			}
			require.NoError(t, j.Check())
			require.False(t, j.Missing())
			current := "j/" + files(t, fs)[1]
			fs.Unlink(current)
			require.ErrorIs(t, j.Check(), os.ErrNotExist)
			require.True(t, j.Missing())
			require.True(t, j.Full())
			head := w.next
			w.rotate(t, j)
			require.False(t, j.Missing())
			require.NoError(t, j.Check())
			require.Equal(t, head, j.Next())
			for range c.after {
				w.append(t, j, 20)
			}
			fs = fs.Killed()
			cfg.FS = fs
			next := w.next
			j, err := journal.Open(cfg)
			require.NoError(t, err)
			assert.Equal(t, next, j.Next(), "no number is given twice")
			assert.Equal(t, "", j.Recovered().State.Diff(w.state))
			got, err := w.audit(j, 1)
			require.NoError(t, err)
			var gone []feed.Range
			if c.packets > 0 {
				gone = []feed.Range{{From: kept, To: head}}
			}
			assert.Equal(t, gone, append([]feed.Range(nil), got.gone.Ranges()...))
			require.NoError(t, j.Close())
		})
	}
}

// If the lock was removed, a journal takes it again; if another publisher has it by then, it ends: two publishers must
// never write one journal (PROMISES.md, 22).
func TestLockIsRemoved(t *testing.T) {
	w, fs := newWorld(), &memfs.FS{}
	cfg := journal.Config{Dir: "j", FS: fs}
	j := w.start(t, cfg)
	w.append(t, j, 20)
	fs.Unlink("j/LOCK")
	require.ErrorIs(t, j.Check(), os.ErrNotExist)
	require.True(t, j.Missing())
	require.NoError(t, j.Rotate(w.state))
	require.NoError(t, j.Check())
	_, err := journal.Open(cfg)
	require.ErrorIs(t, err, journal.ErrLocked)

	fs.Unlink("j/LOCK")
	other, err := fs.Lock("j/LOCK")
	require.NoError(t, err)
	require.ErrorIs(t, j.Check(), os.ErrNotExist)
	err = j.Rotate(w.state)
	require.ErrorIs(t, err, journal.ErrLocked)
	require.ErrorIs(t, err, journal.ErrFailed)
	require.ErrorIs(t, j.Append(w.packet(1), w.next, w.time), journal.ErrFailed)
	require.ErrorIs(t, j.Close(), journal.ErrLocked)
	require.NoError(t, other.Close())
}

// On a real disk: a directory that is removed, moved, replaced, or loses one file is made again, and the session goes on
// in it; one that takes no files is a state that passes (PROMISES.md, 6).
func TestDirectoryIsTakenAway(t *testing.T) {
	for name, take := range map[string]func(t *testing.T, dir string){
		"removed":  func(t *testing.T, dir string) { require.NoError(t, os.RemoveAll(dir)) },
		"moved":    func(t *testing.T, dir string) { require.NoError(t, os.Rename(dir, dir+".old")) },
		"emptied":  func(t *testing.T, dir string) { removeFiles(t, dir, "*") },
		"no ticks": func(t *testing.T, dir string) { removeFiles(t, dir, "*.tick") },
		"no lock":  func(t *testing.T, dir string) { removeFiles(t, dir, "LOCK") },
		"replaced by a copy": func(t *testing.T, dir string) {
			require.NoError(t, os.Rename(dir, dir+".old"))
			require.NoError(t, os.CopyFS(dir, os.DirFS(dir+".old")))
		},
		"replaced by a file": func(t *testing.T, dir string) {
			require.NoError(t, os.RemoveAll(dir))
			require.NoError(t, os.WriteFile(dir, nil, 0o600))
		},
		"under a parent that was moved": func(t *testing.T, dir string) {
			require.NoError(t, os.Rename(filepath.Dir(dir), filepath.Dir(dir)+".old"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "journal")
			w := newWorld()
			j := w.start(t, journal.Config{Dir: dir, Sync: journal.SyncAlways})
			w.append(t, j, 20)
			require.NoError(t, j.Sync())
			require.NoError(t, j.Check())
			take(t, dir)
			require.Error(t, j.Check())
			require.True(t, j.Missing())
			err := j.Rotate(w.state)
			if name == "replaced by a file" {
				require.ErrorIs(t, err, journal.ErrFull)
				require.NoError(t, os.Remove(dir))
				err = j.Rotate(w.state)
			}
			require.NoError(t, err)
			require.NoError(t, j.Check())
			require.False(t, j.Missing())
			w.append(t, j, 20)
			require.NoError(t, j.Sync())
			require.NoError(t, j.Close())

			next := w.next
			again := w.start(t, journal.Config{Dir: dir})
			require.Equal(t, next, again.Next())
			require.Equal(t, "", again.Recovered().State.Diff(w.state))
			w.append(t, again, 20)
			require.NoError(t, again.Close())
		})
	}
}

func removeFiles(t *testing.T, dir, pattern string) {
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	require.NoError(t, err)
	require.NotEmpty(t, names)
	for _, name := range names {
		require.NoError(t, os.Remove(name))
	}
}

// A directory that takes no more files is reported at once, not when the next file is due; then that is a state which
// passes.
func TestDirectoryIsReadOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	w := newWorld()
	j := w.start(t, journal.Config{Dir: dir, SegmentSize: journal.MinSegmentSize})
	w.append(t, j, 20)
	require.NoError(t, os.Chmod(dir, 0o500))
	defer os.Chmod(dir, 0o700)
	if f, err := os.Create(filepath.Join(dir, "x")); err == nil {
		f.Close()
		t.Skip("this user may write everywhere")
	}
	require.ErrorIs(t, j.Check(), os.ErrPermission)
	require.False(t, j.Missing())
	for !j.Full() {
		w.append(t, j, 20)
	}
	require.ErrorIs(t, j.Rotate(w.state), journal.ErrFull)
	require.NoError(t, os.Chmod(dir, 0o700))
	require.NoError(t, j.Check())
	require.NoError(t, j.Rotate(w.state))
	w.append(t, j, 20)
	_, err := w.audit(j, 1)
	require.NoError(t, err)
	require.NoError(t, j.Close())
}

// The same, for every user: the file system says no for a while, in each of the ways in which it can.
func TestFileSystemSaysNo(t *testing.T) {
	for _, no := range []error{syscall.EACCES, syscall.EPERM, syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE} {
		w, fs := newWorld(), &memfs.FS{}
		j := w.start(t, journal.Config{Dir: "j", FS: fs, SegmentSize: journal.MinSegmentSize, Sync: journal.SyncAlways})
		for !j.Full() {
			w.append(t, j, 20)
		}
		kinds := []memfs.Kind{memfs.Create, memfs.SyncDir}
		for _, kind := range kinds {
			fs.Fault = func(op memfs.Op) (int, error) {
				if op.Kind == kind {
					return 0, no
				}
				return 0, nil
			}
			for range 3 {
				err := j.Rotate(w.state)
				require.ErrorIs(t, err, journal.ErrFull, "%v of %s", no, kind)
				require.ErrorIs(t, err, no)
				require.NotErrorIs(t, err, journal.ErrFailed)
			}
		}
		fs.Fault = nil
		require.NoError(t, j.Rotate(w.state))
		fs.Fault = func(op memfs.Op) (int, error) {
			if op.Kind == memfs.Write {
				return op.Size / 2, no
			}
			return 0, nil
		}
		p := w.packet(20)
		for range 3 {
			require.ErrorIs(t, j.Append(p, w.next, w.time), journal.ErrFull, "%v of a write", no)
		}
		fs.Fault = nil
		require.NoError(t, j.Append(p, w.next, w.time))
		require.NoError(t, j.Sync())
		_, err := w.audit(j, 1)
		require.NoError(t, err)
		require.NoError(t, j.Close())
	}
}

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

// A file that is all there is, and whose header is torn, is reported, and stays as it is; the new root takes nothing
// away from it.
func TestOnlyFileHasATornHeader(t *testing.T) {
	w, fs := newWorld(), &memfs.FS{}
	cfg := journal.Config{Dir: "j", FS: fs}
	j := w.start(t, cfg)
	require.NoError(t, j.Close())
	name := fs.All()[0]
	torn := append([]byte(nil), fs.Bytes(name)[:20]...)
	fs.Put(name, torn)
	for range 2 {
		j, err := journal.Open(cfg)
		require.NoError(t, err)
		require.Empty(t, j.Recovered().Lineage)
		require.Len(t, j.Recovered().Damage, 1)
		assert.Contains(t, j.Recovered().Damage[0].String(), filepath.Base(name))
		assert.Contains(t, j.Recovered().Damage[0].Problem, "left as it is")
		require.NoError(t, j.Close())
		assert.Equal(t, torn, fs.Bytes(name))
	}
	j = w.start(t, cfg)
	w.append(t, j, 20)
	require.NoError(t, j.Close())
	assert.Equal(t, torn, fs.Bytes(name))
	j, err := journal.Open(cfg)
	require.NoError(t, err)
	assert.Equal(t, w.next, j.Next())
	require.NoError(t, j.Close())
}

// Retention keeps what is young enough and what fits: it removes a file only if with it there would be too much, or if
// it ended too long ago, and it leaves no file that must go. Each bound is tested from both sides.
func TestRetentionKeeps(t *testing.T) {
	type file struct {
		first uint64
		size  int64
		last  int64 // publish time of its last packet
	}
	for _, c := range []struct {
		bytes int64
		age   time.Duration
	}{{20 << 10, 0}, {50 << 10, 0}, {1 << 30, 0}, {0, 300}, {0, 500}, {0, 1 << 40}, {20 << 10, 300}, {1 << 30, 300}, {20 << 10, 1 << 40}} {
		for _, restarted := range []bool{false, true} {
			w, fs := newWorld(), &memfs.FS{}
			cfg := journal.Config{
				Dir: "j", FS: fs, SegmentSize: 2 << 10, RetainBytes: c.bytes, RetainAge: c.age, Now: func() int64 { return w.time },
			}
			j := w.start(t, cfg)
			var all []file
			for range 100 {
				if j.Full() {
					all = append(all, file{last: w.time - 10})
				}
				w.append(t, j, 20)
			}
			if restarted {
				all = append(all, file{last: w.time - 10})
				require.NoError(t, j.Close())
				j = w.start(t, cfg)
			}
			names := files(t, fs)
			require.Len(t, names, len(all)+1)
			all = append(all, file{})
			for i, name := range names {
				_, err := fmt.Sscanf(name, "%d-", &all[i].first)
				require.NoError(t, err)
				all[i].size = int64(len(fs.Bytes("j/" + name)))
			}
			require.NoError(t, j.Retain(w.time))
			kept := len(all) - len(files(t, fs))
			require.Equal(t, all[kept].first, j.Tail())
			left := j.Bytes()
			tooMuch := func(bytes int64) bool { return c.bytes > 0 && bytes > c.bytes }
			tooOld := func(f file) bool { return c.age > 0 && f.last < w.time-int64(c.age) }
			what := fmt.Sprintf("%v, restarted %v: %d of %d files go", c, restarted, kept, len(all))
			if kept < len(all)-1 {
				assert.False(t, tooMuch(left), "%s: there is still too much", what)
				assert.False(t, tooOld(all[kept]), "%s: the oldest that stays is too old", what)
			}
			if kept > 0 {
				assert.True(t, tooMuch(left+all[kept-1].size) || tooOld(all[kept-1]), "%s: the last that went could have stayed", what)
			}
			if c.bytes <= 20<<10 && c.age <= 500 {
				assert.Positive(t, kept, what)
				assert.Less(t, kept, len(all)-1, what)
			}
			require.NoError(t, j.Close())
		}
	}
}

// A file that could be neither begun nor removed is in nobody's way when its beginning is tried again.
func TestLeftoverOfAFailedBeginning(t *testing.T) {
	for _, fault := range []error{syscall.ENOSPC, syscall.EMFILE} {
		w, fs := newWorld(), &memfs.FS{}
		j := w.start(t, journal.Config{Dir: "j", FS: fs, SegmentSize: journal.MinSegmentSize, Sync: journal.SyncAlways})
		for !j.Full() {
			w.append(t, j, 20)
		}
		removed := 0
		fs.Fault = func(op memfs.Op) (int, error) {
			switch {
			case op.Kind == memfs.Write && fault == syscall.ENOSPC, op.Kind == memfs.SyncDir && fault == syscall.EMFILE:
				return op.Size / 2, fault
			case op.Kind == memfs.Remove:
				removed++
				return 0, syscall.EACCES
			}
			return 0, nil
		}
		require.ErrorIs(t, j.Rotate(w.state), journal.ErrFull)
		require.ErrorIs(t, j.Rotate(w.state), journal.ErrFull, "as long as it cannot be removed")
		require.Positive(t, removed)
		fs.Fault = nil
		require.NoError(t, j.Rotate(w.state))
		w.append(t, j, 20)
		require.NoError(t, j.Sync())
		require.NoError(t, judge(w, fs.Killed(), w.next, false))
		require.NoError(t, j.Close())
	}
}

// Where a session was forked at the very number at which one of its files begins, that file is nobody's: it is not part of
// what the journal holds.
func TestForkWhereAFileBegins(t *testing.T) {
	w, fs := newWorld(), &memfs.FS{}
	cfg := journal.Config{Dir: "j", FS: fs, Sync: journal.SyncAlways}
	j := w.start(t, cfg)
	w.append(t, j, 20)
	require.NoError(t, j.Rotate(w.state))
	fork := w.next
	w.append(t, j, 20)
	fs.Fault = func(op memfs.Op) (int, error) {
		if op.Kind == memfs.Sync {
			return 0, syscall.EIO
		}
		return 0, nil
	}
	require.ErrorIs(t, j.Sync(), journal.ErrFailed)
	fs.Fault = nil
	w.fork(fork)
	require.NoError(t, j.Begin(w.lineage, codec.ModeLive, w.state))
	for range 3 {
		w.append(t, j, 20)
		require.NoError(t, j.Rotate(w.state))
	}
	w.append(t, j, 20)
	require.NoError(t, j.Close())
	j, err := journal.Open(cfg)
	require.NoError(t, err)
	defer j.Close()
	total := int64(0)
	for _, name := range files(t, fs) {
		if name != fmt.Sprintf("%020d-%016x.tick", fork, 1) {
			total += int64(len(fs.Bytes("j/" + name)))
		}
	}
	assert.Equal(t, total, j.Bytes())
	got, err := w.audit(j, 1)
	require.NoError(t, err)
	assert.True(t, got.gone.Empty())
	assert.Equal(t, "", j.Recovered().State.Diff(w.state))
}

// A file of which nothing is intact but a header in its midst, or at its end, still says how far its numbers went: none below is
// given again.
func TestNothingButALaterHeader(t *testing.T) {
	w, fs := newWorld(), &memfs.FS{}
	cfg := journal.Config{Dir: "j", FS: fs}
	j := w.start(t, cfg)
	for j.Bytes() < recording.MarkInterval+10_000 {
		w.append(t, j, 25)
	}
	fs = fs.Killed()
	name := fs.All()[0]
	data := fs.Bytes(name)
	at, size, next := 0, 0, uint64(0)
	r, err := recording.NewReader(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	marks, err := r.Marks()
	require.NoError(t, err)
	require.Len(t, marks, 2)
	at, next = int(marks[1].Offset), marks[1].Seq
	size = bytes.Index(data[at:], []byte{0x97, byte(codec.TypePacket), 0xce})
	require.Positive(t, size)
	// Packets are absent just before the header that the file ends with.
	short := bytes.LastIndex(data[:at-1], []byte{0x97, byte(codec.TypePacket), 0xce})
	require.Positive(t, short)
	disk := &memfs.FS{}
	disk.Put(name, append(append([]byte(nil), data[:short]...), data[at:at+size]...))
	late, err := journal.Open(journal.Config{Dir: "j", FS: disk})
	require.NoError(t, err)
	assert.Equal(t, next, late.Next())
	require.NoError(t, late.Close())
	for _, end := range []int{at + size, len(data)} {
		spoilt := append(make([]byte, at), data[at:end]...)
		disk := &memfs.FS{}
		disk.Put(name, spoilt)
		j, err := journal.Open(journal.Config{Dir: "j", FS: disk})
		require.NoError(t, err)
		want := next
		if end == len(data) {
			want = w.next
		}
		assert.Equal(t, want, j.Next())
		assert.Equal(t, feed.SessionID(1), j.Recovered().Lineage.Current().ID)
		require.NoError(t, j.Close())
	}
}
