package recording

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A watchedDisk is a disk that records the order in which files become durable, and their sizes at each sync.
type watchedDisk struct {
	osDisk
	done []string
	fail string // the operation that must fail
}

var errDisk = errors.New("the disk fails")

func (d *watchedDisk) note(what string) error {
	d.done = append(d.done, what)
	if d.fail != "" && strings.HasPrefix(what, d.fail) {
		return errDisk
	}
	return nil
}

func (d *watchedDisk) Sync(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return d.note(fmt.Sprintf("sync %d", info.Size()))
}

func (d *watchedDisk) SyncDir(dir string) error {
	return d.note("sync directory " + filepath.Base(dir))
}

func (d *watchedDisk) Rename(from, to string) error {
	if err := d.note("rename to " + filepath.Base(to)); err != nil {
		return err
	}
	return d.osDisk.Rename(from, to)
}

func watchDisk(t *testing.T) *watchedDisk {
	d := &watchedDisk{}
	before := system
	system = d
	t.Cleanup(func() { system = before })
	return d
}

// The files of import, cut, merge and export are durable before they get their names, and the names before
// success is reported: the whole file, including the end that closing a compressed one adds.
func TestOutputIsDurable(t *testing.T) {
	for _, name := range []string{"a.tick", "a.tick.zst"} {
		dir := filepath.Join(t.TempDir(), "here")
		require.NoError(t, os.Mkdir(dir, 0o700))
		path := filepath.Join(dir, name)
		write := func(d *watchedDisk) error {
			d.done = nil
			o, err := Create(path, true)
			require.NoError(t, err)
			defer o.Discard()
			s := newSession(0xa1)
			w, err := NewWriter(o, s.header, nil)
			require.NoError(t, err)
			p := s.packet(500)
			require.NoError(t, w.Append(p, s.next, noon))
			if err := w.Close(); err != nil {
				return err
			}
			return o.Commit()
		}
		d := watchDisk(t)
		require.NoError(t, write(d))
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, []string{fmt.Sprintf("sync %d", info.Size()), "rename to " + name, "sync directory here"}, d.done, name)

		for fail, reached := range map[string]int{"sync " + fmt.Sprint(info.Size()): 1, "rename": 2, "sync directory": 3} {
			d.fail = fail
			require.ErrorIs(t, write(d), errDisk, "%s: %s", name, fail)
			assert.Len(t, d.done, reached, "%s: %s", name, fail)
		}
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		assert.Len(t, entries, 1, "nothing is left behind")
	}
}

// No output is taken for what a killed process left, even if many create the same file at once, and whatever was left is removed.
func TestOutputsAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.tick")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 10 {
				o, err := Create(path, true)
				if !assert.NoError(t, err) {
					return
				}
				_, err = o.Write([]byte(strconv.Itoa(i)))
				assert.NoError(t, err)
				assert.NoError(t, o.Close())
				assert.NoError(t, Check(path, true))
				assert.NoError(t, o.Commit())
			}
		})
	}
	all.Wait()
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

// A file made by CreateNew has its name from the beginning, and is durable once it is closed.
func TestNewFileIsDurable(t *testing.T) {
	for _, compressed := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "here")
		require.NoError(t, os.Mkdir(dir, 0o700))
		path := filepath.Join(dir, "a.tick")
		d := watchDisk(t)
		r := NewRecorder(RecorderConfig{Now: func() int64 { return noon }, Create: func(int) (File, error) {
			f, err := CreateNew(path)
			if err != nil || !compressed {
				return f, err
			}
			return Compress(f)
		}})
		s := newSession(0xa1)
		require.NoError(t, r.Begin(s.header, s.state, feed.Range{}))
		require.NoError(t, r.Packet(s.packet(500)))
		require.NoError(t, r.Close())
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.NotEmpty(t, d.done)
		assert.Equal(t, "sync directory here", d.done[0])
		assert.Equal(t, fmt.Sprintf("sync %d", info.Size()), d.done[len(d.done)-1], "the whole file")

		_, err = CreateNew(path)
		require.ErrorIs(t, err, os.ErrExist)
		d.fail = "sync directory"
		_, err = CreateNew(path + "2")
		require.ErrorIs(t, err, errDisk)
		_, err = os.Stat(path + "2")
		require.ErrorIs(t, err, os.ErrNotExist)
	}
}

// A syncing file records how long it was when it was made durable.
type syncing struct {
	memory
	synced int
}

func (s *syncing) Sync() error { s.synced = s.Len(); return nil }

// A Recorder makes each file durable before it calls Closed: all of it, including index and trailer.
func TestRecorderSyncs(t *testing.T) {
	var files []*syncing
	r := NewRecorder(RecorderConfig{
		Now: func() int64 { return noon }, RotateSize: 20_000,
		Create: func(int) (File, error) {
			files = append(files, &syncing{})
			return files[len(files)-1], nil
		},
		Closed: func(n int) error {
			f := files[n-1]
			assert.Equal(t, f.Len(), f.synced, "file %d", n)
			x := open(t, f.Bytes())
			for {
				if _, err := x.Next(); err != nil {
					assert.ErrorIs(t, err, io.EOF)
					break
				}
			}
			assert.True(t, x.Closed())
			return nil
		},
	})
	s := newSession(0xa1)
	require.NoError(t, r.Begin(s.header, s.state, feed.Range{}))
	for range 20 {
		before := s.state.Clone()
		p := s.packet(50)
		require.NoError(t, r.Before(codec.PacketAt(p), before))
		require.NoError(t, r.Packet(p))
	}
	require.NoError(t, r.Close())
	require.Greater(t, len(files), 1)
	assert.NotZero(t, files[len(files)-1].synced)
}
