package subscriber

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
)

// A recordingDisk notes the operations on the operating system's disk, and fails where it is asked to.
type recordingDisk struct {
	osDisk
	log  *[]string
	fail string // the operation that fails
}

var errDisk = errors.New("disk is broken")

func (d *recordingDisk) note(what string) error {
	*d.log = append(*d.log, what)
	if what == d.fail {
		return errDisk
	}
	return nil
}

type recordingFile struct {
	diskFile
	disk *recordingDisk
}

func (d *recordingDisk) Create(name string) (diskFile, error) {
	if err := d.note("create"); err != nil {
		return nil, err
	}
	f, err := d.osDisk.Create(name)
	return &recordingFile{f, d}, err
}

func (d *recordingDisk) Rename(from, to string) error {
	return errors.Join(d.note("rename"), d.osDisk.Rename(from, to))
}

func (d *recordingDisk) SyncDir(dir string) error {
	return errors.Join(d.note("sync directory"), d.osDisk.SyncDir(dir))
}

func (f *recordingFile) Write(p []byte) (int, error) {
	if err := f.disk.note("write"); err != nil {
		return 0, err
	}
	return f.diskFile.Write(p)
}

func (f *recordingFile) Sync() error { return errors.Join(f.disk.note("sync"), f.diskFile.Sync()) }

func (f *recordingFile) Close() error { return errors.Join(f.disk.note("close"), f.diskFile.Close()) }

// A position is on disk only after the ticks before it are: the handler has them, its output is durable, and the file's new
// content is durable before it takes the place of the old, which is made durable too.
func TestPositionIsSavedAfterTheOutput(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		var log []string
		cfg.PositionFile = filepath.Join(t.TempDir(), "position")
		cfg.SyncOutput = func() error { log = append(log, "sync output"); return nil }
		stop := publish(network, "pub:1", func(p *peer) {
			p.send(message(welcomeA(1, 1, codec.StartedAsAsked)), packet(seedA(), 1, definition(0)))
			time.Sleep(saveEvery * 3 / 2)
			p.send(ticksA(2, 4))
			p.beat(4, time.Hour)
		})
		s := mustNew(t, cfg)
		s.position.savedAt = time.Now() // the first save is due after the first tick, not with the welcome
		s.position.disk = &recordingDisk{log: &log}
		a := &app{onTick: func(seq uint64) error { log = append(log, fmt.Sprintf("ticks to %d", seq)); return nil }}
		require.ErrorIs(t, runFor(interval/2, s, a), context.DeadlineExceeded)
		stop()
		save := []string{"sync output", "create", "write", "sync", "close", "rename", "sync directory"}
		want := append([]string{"ticks to 1"}, save...)
		want = append(append(want, "ticks to 3"), save...)
		assert.Equal(t, want, log)
		assert.Equal(t, uint64(4), mustNew(t, cfg).Position().Next)
	})
}

// The position is saved when Run returns, whatever ends it, and only after the output is durable.
func TestLastPositionIsSavedAfterTheOutput(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		var log []string
		cfg.PositionFile = filepath.Join(t.TempDir(), "position")
		cfg.SyncOutput = func() error { log = append(log, "sync output"); return nil }
		stop := publish(network, "pub:1", beginning(9))
		cfg.BatchSize = 4
		s := mustNew(t, cfg)
		s.position.savedAt = time.Now().Add(time.Hour) // nothing is due before the end
		s.position.disk = &recordingDisk{log: &log}
		a := &app{onTick: func(seq uint64) error {
			if log = append(log, fmt.Sprintf("ticks to %d", seq)); seq == 8 {
				return errEnough
			}
			return nil
		}}
		require.ErrorIs(t, runFor(interval/2, s, a), errEnough)
		stop()
		assert.Equal(t, []string{"ticks to 4", "ticks to 8", "sync output", "create", "write", "sync", "close", "rename", "sync directory"}, log)
		assert.Equal(t, uint64(5), mustNew(t, cfg).Position().Next, "the batch that the handler refused is not in the position")
	})
}

// Output that cannot be made durable ends Run, and no position is saved after that: even if a later sync succeeds, output may
// have been lost.
func TestOutputThatCannotBeSynced(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		cfg.PositionFile = filepath.Join(t.TempDir(), "position")
		calls := 0
		broken := errors.New("input/output error")
		cfg.SyncOutput = func() error {
			if calls++; calls == 1 {
				return broken
			}
			return nil
		}
		stop := publish(network, "pub:1", beginning(5))
		s := mustNew(t, cfg)
		assert.Equal(t, broken, runFor(interval/2, s, &app{}))
		assert.ErrorIs(t, runFor(interval/2, s, &app{}), broken, "it repeats")
		stop()
		assert.Equal(t, 1, calls)
		_, err := os.Lstat(cfg.PositionFile)
		assert.ErrorIs(t, err, fs.ErrNotExist)
	})
}

// However long it takes to make the output durable, the subscriber has saveEvery for ticks before it does so again.
func TestSlowSyncsLeaveTimeForTicks(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		cfg.PositionFile = filepath.Join(t.TempDir(), "position")
		var ended time.Time
		syncs := 0
		cfg.SyncOutput = func() error {
			if syncs++; syncs > 1 {
				assert.GreaterOrEqual(t, time.Since(ended), saveEvery)
			}
			time.Sleep(3 * saveEvery)
			ended = time.Now()
			return nil
		}
		stop := publish(network, "pub:1", func(p *peer) {
			p.send(message(welcomeA(1, 1, codec.StartedAsAsked)), packet(seedA(), 1, definition(0)))
			for seq := uint64(2); ; seq++ {
				select {
				case <-p.gone:
					return
				case <-time.After(saveEvery / 10):
					p.send(ticksA(seq, seq+1))
				}
			}
		})
		require.ErrorIs(t, runFor(10*interval+saveEvery/20, mustNew(t, cfg), &app{}), context.DeadlineExceeded)
		stop()
		assert.Greater(t, syncs, 10)
	})
}

// A position that cannot be saved leaves the old one as it was, is tried again, and is an error of Run at the end.
func TestPositionThatCannotBeSaved(t *testing.T) {
	for _, fail := range []string{"create", "write", "sync", "close", "rename", "sync directory"} {
		t.Run(fail, func(t *testing.T) {
			inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
				var log []string
				cfg.PositionFile = filepath.Join(t.TempDir(), "position")
				stop := publish(network, "pub:1", beginning(5))
				s := mustNew(t, cfg)
				disk := &recordingDisk{log: &log, fail: fail}
				s.position.disk = disk
				err := runFor(interval/2, s, &app{})
				require.ErrorIs(t, err, errDisk)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				if fail != "rename" && fail != "sync directory" {
					_, err := os.Lstat(cfg.PositionFile)
					assert.ErrorIs(t, err, fs.ErrNotExist)
				}
				entries, err := os.ReadDir(filepath.Dir(cfg.PositionFile))
				require.NoError(t, err)
				for _, e := range entries {
					assert.NotContains(t, e.Name(), ".tmp")
				}
				tries := 0
				for _, what := range log {
					if what == fail {
						tries++
					}
				}
				assert.Greater(t, tries, 2, "it is tried again")
				stop()
			})
		})
	}
}

// Two subscribers never use one position file at the same time. The lock ends with Run.
func TestPositionFileIsLocked(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		cfg.PositionFile = filepath.Join(t.TempDir(), "position")
		stop := publish(network, "pub:1", beginning(5))
		first, second := mustNew(t, cfg), mustNew(t, cfg)
		var err error
		require.ErrorIs(t, runFor(interval/2, first, &app{onTick: func(uint64) error {
			err = second.Run(t.Context(), func(*Batch) error { panic("it has begun") })
			return nil
		}}), context.DeadlineExceeded)
		assert.ErrorIs(t, err, ErrPositionLocked)
		assert.ErrorContains(t, err, cfg.PositionFile+" is in use by another subscriber")
		assert.ErrorContains(t, err, "stop it, or give each subscriber a file of its own")

		err = second.Run(t.Context(), func(*Batch) error { panic("it has begun") })
		assert.ErrorContains(t, err, "has changed since this subscriber read it (next was 0 and is 5): start again")
		require.ErrorIs(t, runFor(interval/2, first, &app{}), context.DeadlineExceeded, "its own saves are no change")
		stop()

		third := mustNew(t, cfg)
		require.NoError(t, os.WriteFile(cfg.PositionFile, []byte(`{"lineage":[{"session":"000000020261122a","first":1}],"next":4}`), 0o600))
		err = third.Run(t.Context(), func(*Batch) error { panic("it has begun") })
		assert.ErrorContains(t, err, "(next was 5 and is 4): start again")
	})
}

// Only a regular file is taken for a position file; a link is followed, and stays.
func TestPositionFileKinds(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "position")
	for path, want := range map[string]string{
		dir:                                "is a directory: name a regular file",
		os.DevNull:                         "is a device: name a regular file",
		filepath.Join(dir, "none", "file"): "there is no directory " + filepath.Join(dir, "none"),
	} {
		if runtime.GOOS == "windows" && path == os.DevNull {
			continue
		}
		_, err := New(Config{Addrs: []string{"pub:1"}, PositionFile: path})
		assert.ErrorContains(t, err, want)
	}

	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		link := filepath.Join(dir, "link")
		require.NoError(t, os.WriteFile(file, []byte(`{"lineage":[{"session":"000000020261122a","first":1}],"next":3}`), 0o600))
		if err := os.Symlink(file, link); err != nil {
			t.Skip(err)
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, ".position.tmp"), []byte("of a process that was killed"), 0o600))
		cfg.PositionFile = link
		stop := publish(network, "pub:1", func(p *peer) {
			p.send(message(welcomeA(3, 5, codec.StartedResumed)), snapshot(seedA(), 3, codec.ScopeAll), ticksA(3, 5))
			p.beat(5, time.Hour)
		})
		require.ErrorIs(t, runFor(interval/2, mustNew(t, cfg), &app{}), context.DeadlineExceeded)
		stop()
		info, err := os.Lstat(link)
		require.NoError(t, err)
		assert.NotZero(t, info.Mode()&fs.ModeSymlink)
		assert.Equal(t, uint64(5), mustNew(t, cfg).Position().Next)
		info, err = os.Stat(file)
		require.NoError(t, err)
		if runtime.GOOS != "windows" {
			assert.Equal(t, fs.FileMode(0o600), info.Mode())
		}
	})
}

// Numbers that were delivered to an earlier process and that a fork takes back are disowned in the ledger of this process, as
// they are in the changes and the reports.
func TestDisownedOfAnEarlierProcess(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		cfg.PositionFile = filepath.Join(t.TempDir(), "position")
		require.NoError(t, os.WriteFile(cfg.PositionFile, []byte(`{"lineage":[{"session":"000000020261122a","first":1}],"next":9}`), 0o600))
		seedB := codec.LineSeed(sessionB, nil)
		stop := publish(network, "pub:1", func(p *peer) {
			w := welcomeA(6, 8, codec.StartedRewound)
			w.Lineage, w.Seed = lineageOf("AB6"), seedB
			p.send(message(w), snapshot(seedB, 6, codec.ScopeAll), ticksOf(seedB, 6, 8))
			p.beat(8, time.Hour)
		})
		s, a := mustNew(t, cfg), &app{}
		require.ErrorIs(t, runFor(interval/2, s, a), context.DeadlineExceeded)
		stop()
		assert.Contains(t, a.events, "snapshot, disowned [6, 9)")
		assert.Equal(t, feed.Totals{Delivered: 2, Disowned: 3}, s.Ledger().Totals())
		require.NoError(t, s.Ledger().Check())
	})
}

// The longest possible position can be saved and read back.
func TestLongestPosition(t *testing.T) {
	held := codec.Position{Next: codec.MaxSeq}
	for i := range uint64(feed.MaxLineage) {
		held.Lineage = append(held.Lineage, feed.Session{ID: feed.SessionID(1<<64 - 1 - i), First: codec.MaxSeq - feed.MaxLineage + i})
	}
	held.Lineage[0].First = 1
	path := filepath.Join(t.TempDir(), "position")
	p := &positionFile{path: path, disk: osDisk{}}
	require.NoError(t, p.save(held))
	assert.Equal(t, held, mustNew(t, Config{Addrs: []string{"pub:1"}, PositionFile: path}).Position())
}

// A subscriber that goes on from a position file, is sent to an unrelated session, and then back to the first one from number 1, as
// after an old copy of a journal was restored, is handed what it had not had: what an earlier process had is passed over too.
func TestSessionOfAnEarlierProcessComesBack(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		cfg.PositionFile = filepath.Join(t.TempDir(), "position")
		raw, err := json.Marshal(codec.Position{Lineage: lineageA, Next: 42})
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(cfg.PositionFile, raw, 0o600))
		seedB := codec.LineSeed(sessionB, nil)
		stop := publish(network, "pub:1",
			func(p *peer) {
				p.send(message(welcomeA(42, 44, codec.StartedResumed)), snapshot(seedA(), 42, codec.ScopeAll), ticksA(42, 44))
			},
			func(p *peer) {
				w := welcomeA(1, 3, codec.StartedBySnapshot)
				w.Lineage, w.Seed = feed.Lineage{{ID: sessionB, First: 1}}, seedB
				p.send(message(w), packet(seedB, 1, definition(0), quote(0, 2)))
			},
			func(p *peer) {
				p.send(message(welcomeA(1, 47, codec.StartedBySnapshot)), packet(seedA(), 1, definition(0)), ticksA(2, 47))
				p.beat(47, time.Hour)
			})
		s, a := mustNew(t, cfg), &app{}
		require.Error(t, runFor(interval*3/2, s, a))
		stop()
		assert.Equal(t, []uint64{42, 43, 1, 2, 44, 45, 46}, seqs(a.ticks))
		assert.Equal(t, uint64(47), s.Position().Next)
	})
}
