package journal_test

import (
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
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

// counting notes which files are open for reading.
type counting struct {
	journal.FS
	opened atomic.Int64 // ever
	open   atomic.Int64
}

type counted struct {
	journal.ReadFile
	fs *counting
}

func (c *counting) Open(name string) (journal.ReadFile, error) {
	f, err := c.FS.Open(name)
	if err != nil {
		return nil, err
	}
	c.opened.Add(1)
	c.open.Add(1)
	return counted{f, c}, nil
}

func (f counted) Close() error {
	f.fs.open.Add(-1)
	return f.ReadFile.Close()
}

// Files stay open for the next who reads them: so many, until they are removed or the journal is closed, and as long as
// somebody reads them.
func TestOpenFiles(t *testing.T) {
	fs := &counting{FS: &memfs.FS{}}
	w := newWorld()
	j := w.start(t, journal.Config{Dir: "j", FS: fs, SegmentSize: journal.MinSegmentSize, RetainBytes: 1})
	for len(files(t, fs)) < 100 {
		w.append(t, j, 20)
	}
	recovered := fs.opened.Load()
	look := func(seq uint64) *journal.Cursor {
		c := j.Cursor(seq)
		chunk, err := c.Next()
		require.NoError(t, err)
		require.True(t, chunk.Range.Contains(seq), "%v at %d", chunk.Range, seq)
		return c
	}
	for range 3 {
		look(30).Close()
	}
	assert.Equal(t, int64(1), fs.opened.Load()-recovered)
	for seq := uint64(1); seq < w.next; seq += 10 {
		look(seq).Close()
	}
	most := fs.open.Load()
	assert.Less(t, most, int64(len(files(t, fs))), "not all")
	assert.Greater(t, most, int64(10))

	reading := look(2)
	require.NoError(t, j.Retain(0))
	require.Len(t, files(t, fs), 1)
	assert.LessOrEqual(t, fs.open.Load(), int64(2), "the one that is read, and that which is written")
	last := look(w.next - 1)
	require.NoError(t, j.Close())
	assert.Equal(t, int64(2), fs.open.Load())
	reading.Close()
	last.Close()
	assert.Zero(t, fs.open.Load())
}
