package journal_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/publisher/journal"
	"tickfeed/publisher/journal/memfs"
)

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
