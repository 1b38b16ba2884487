package journal_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/publisher/journal"
	"tickfeed/publisher/journal/memfs"
)

// A preparing is a journal in memory whose files, of MinSegmentSize bytes, take as long to fill as the test says.
type preparing struct {
	*world
	*journal.Journal
	fs   *memfs.FS
	room int64
	now  time.Duration
	made map[memfs.Kind]int // operations, by kind
	fail map[memfs.Kind]error
}

func newPreparing(t *testing.T, cfg journal.Config) *preparing {
	t.Helper()
	p := &preparing{world: newWorld(), room: 1 << 30, made: map[memfs.Kind]int{}, fail: map[memfs.Kind]error{}}
	p.fs = &memfs.FS{Room: &p.room, Fault: func(op memfs.Op) (int, error) {
		if p.fail[op.Kind] == nil {
			p.made[op.Kind]++
		}
		return 0, p.fail[op.Kind]
	}}
	cfg.Dir, cfg.FS, cfg.SegmentSize = "j", p.fs, journal.MinSegmentSize
	cfg.Now = func() int64 { return int64(p.now) }
	p.Journal = p.start(t, cfg)
	return p
}

// one appends a packet.
func (p *preparing) one(t *testing.T) {
	t.Helper()
	b := p.packet(20)
	require.NoError(t, p.Append(b, p.world.next, p.world.time-10))
}

// file fills the current file within d and goes on to the next one, which Prepare follows.
func (p *preparing) file(t *testing.T, d time.Duration) {
	t.Helper()
	for !p.Full() {
		p.one(t)
	}
	p.now += d
	require.NoError(t, p.Rotate(p.world.state))
	require.NoError(t, p.Settle())
	p.Prepare()
}

// finish closes the journal: nothing is left open, and everything can be read.
func (p *preparing) finish(t *testing.T) {
	t.Helper()
	require.NoError(t, p.Close())
	open, _ := p.fs.Descriptors()
	assert.Zero(t, open)
	p.fs.Fault = nil
	require.NoError(t, judge(p.world, p.fs.Killed(), p.world.next, false))
}

// After a file that was filled fast, the next one is prepared once, and Rotate gives it its name. Until then the
// directory does not show it.
func TestNextFileIsPrepared(t *testing.T) {
	p := newPreparing(t, journal.Config{})
	p.file(t, time.Second)
	p.Prepare()
	require.Equal(t, 1, p.made[memfs.Prepare])
	require.Len(t, files(t, p.fs), 2)
	created := p.made[memfs.Create]
	p.file(t, time.Second)
	p.file(t, time.Second)
	assert.Equal(t, 2, p.made[memfs.Link])
	assert.Equal(t, created, p.made[memfs.Create])
	require.Len(t, files(t, p.fs), 4)
	p.finish(t)
}

// No file is prepared for a feed that fills a file slowly, or whose files end before they are full.
func TestSlowFeedPreparesNothing(t *testing.T) {
	p := newPreparing(t, journal.Config{RetainAge: time.Second})
	p.file(t, 10*time.Second)
	for range 3 {
		p.one(t)
		p.now += time.Second
		require.True(t, p.Full(), "by its age")
		require.NoError(t, p.Rotate(p.world.state))
		require.NoError(t, p.Settle())
		p.Prepare()
	}
	assert.Zero(t, p.made[memfs.Prepare])
	p.finish(t)
}

// A prepared file that is not needed soon is removed, and so is one at Close.
func TestPreparedFileIsRemoved(t *testing.T) {
	p := newPreparing(t, journal.Config{})
	open := func() int { now, _ := p.fs.Descriptors(); return now }
	p.file(t, time.Second)
	before := open()
	p.now += 10*time.Second - 1
	p.Prepare()
	require.Equal(t, before, open())
	p.now++
	p.Prepare()
	require.Equal(t, before-1, open())
	p.file(t, time.Second)
	p.file(t, time.Second)
	require.Equal(t, before, open())
	p.finish(t)
}

// A file system that cannot prepare a file, or cannot name it any more, has the next file created as usual.
func TestFileCannotBePrepared(t *testing.T) {
	for _, kind := range []memfs.Kind{memfs.Prepare, memfs.Link} {
		p := newPreparing(t, journal.Config{})
		p.fail[kind] = syscall.EXDEV
		for range 3 {
			p.file(t, time.Second)
		}
		assert.Zero(t, p.made[memfs.Link])
		assert.Equal(t, 4, p.made[memfs.Create])
		p.finish(t)
	}
}

// On a full disk the space reserved for the next file is for ticks.
func TestPreparedFileMakesRoom(t *testing.T) {
	p := newPreparing(t, journal.Config{})
	p.file(t, time.Second)
	p.room = 0
	b := p.packet(20)
	write := func() error { return p.Append(b, p.world.next, p.world.time-10) }
	require.ErrorIs(t, write(), journal.ErrFull)
	require.Equal(t, int64(journal.MinSegmentSize), p.room)
	require.NoError(t, write())
	p.room = 1 << 20
	p.file(t, time.Second)
	p.finish(t)
}

// The space that a file reserved and did not use is free once the file has ended.
func TestUnusedReservationIsFreed(t *testing.T) {
	p := newPreparing(t, journal.Config{})
	p.file(t, time.Second)
	p.file(t, time.Second)
	p.one(t)
	p.finish(t)
	size := 0
	for _, name := range p.fs.All() {
		size += len(p.fs.Bytes(name))
	}
	assert.Equal(t, int64(1<<30-size), p.room)
}

// No file is prepared while as many files that ended wait for Settle as may be open: a journal never has more files
// open than if it prepared none.
func TestPrepareWaitsForSettle(t *testing.T) {
	most := func(fail error) int {
		p := newPreparing(t, journal.Config{Sync: journal.SyncInterval})
		p.fail[memfs.Prepare] = fail
		rotate := func() {
			for range 10 {
				p.one(t)
			}
			require.NoError(t, p.Rotate(p.world.state))
			p.Prepare()
		}
		for range 2 { // then two files wait
			rotate()
		}
		if fail == nil {
			require.Equal(t, 1, p.made[memfs.Prepare])
			require.NoError(t, p.Settle())
			p.Prepare()
			require.Equal(t, 2, p.made[memfs.Prepare])
		}
		for range 5 {
			rotate()
		}
		p.finish(t)
		_, most := p.fs.Descriptors()
		return most
	}
	assert.Equal(t, most(syscall.EOPNOTSUPP), most(nil))
}

// With SyncAlways, a file that was prepared is durable, with its name, before Rotate returns.
func TestPreparedFileIsDurable(t *testing.T) {
	p := newPreparing(t, journal.Config{Sync: journal.SyncAlways})
	for range 3 {
		p.file(t, time.Second)
	}
	require.Equal(t, 2, p.made[memfs.Link])
	p.fs.Fault = nil
	disk := nothingKept(p.fs)
	require.Len(t, files(t, disk), 4)
	require.NoError(t, judge(p.world, disk, p.world.next, false))
	p.finish(t)
}

// closing closes the journal while a file is being prepared.
type closing struct {
	*memfs.FS
	close func()
}

func (c *closing) Prepare(dir string, size int64) (journal.PreparedFile, error) {
	f, err := c.FS.Prepare(dir, size)
	c.close()
	return f, err
}

// A journal that is closed while a file is being prepared keeps nothing open.
func TestPrepareWhileClosing(t *testing.T) {
	fs := &closing{FS: &memfs.FS{}}
	w := newWorld()
	j := w.start(t, journal.Config{Dir: "j", FS: fs, SegmentSize: journal.MinSegmentSize})
	closed := false
	fs.close = func() { closed = true; require.NoError(t, j.Close()) }
	for !j.Full() {
		w.append(t, j, 20)
	}
	require.NoError(t, j.Rotate(w.state))
	j.Prepare()
	require.True(t, closed)
	open, _ := fs.Descriptors()
	assert.Zero(t, open)
	require.NoError(t, judge(w, fs.Killed(), w.next, false))
}
