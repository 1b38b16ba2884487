package publisher_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/logto/logtest"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/journal"
	"tickfeed/publisher/journal/memfs"
)

// The removal of journal files under a running publisher is detected and logged within little more than a second.
// Publishing continues in new files, in the same session, and gives no number twice; a restart continues after the
// last number.
func TestJournalIsRemoved(t *testing.T) {
	for _, idle := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			fs, log := &memfs.FS{}, &logtest.Buffer{}
			cfg := publisher.Config{Seed: 1, Journal: "j", FS: fs, Sync: journal.SyncInterval, Logger: zerolog.New(log)}
			w := start(t, cfg)
			w.quotes(10)
			c := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
			c.until(14)
			session := w.pub.Lineage().Current()
			for _, name := range append(fs.All(), "j/LOCK") {
				fs.Unlink(name)
			}
			if !idle {
				w.quotes(10)
			}
			time.Sleep(time.Second + 10*time.Millisecond)
			synctest.Wait()
			assert.Len(t, log.Lines("the directory is not as it was left"), 1)
			assert.Len(t, log.Lines("continues in a new file"), 1)
			head := w.pub.Stats().Head
			left, err := journal.Open(journal.Config{Dir: "j", FS: fs.Killed()})
			require.NoError(t, err)
			assert.Equal(t, head, left.Next(), "after a kill no number is given twice")
			require.NoError(t, left.Close())
			_, err = journal.Open(journal.Config{Dir: "j", FS: fs})
			require.ErrorIs(t, err, journal.ErrLocked)
			w.quotes(10)
			time.Sleep(time.Second)
			assert.Len(t, log.Lines("the directory is intact again"), 1)
			late := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
			late.until(w.pub.Stats().Head)
			late.consecutive(1, w.pub.Stats().Head)
			c.until(w.pub.Stats().Head)
			c.consecutive(1, w.pub.Stats().Head)
			assert.Empty(t, c.events, "no other session, no snapshot")
			next := w.pub.Stats().Head
			position := w.position(c, next)
			late.nc.Close()
			c.nc.Close()
			w.stop()
			cfg.FS = fs.Killed()
			w.open(cfg)
			assert.Equal(t, session.ID, w.pub.Lineage()[0].ID)
			assert.Equal(t, next, w.pub.Lineage().Current().First)
			again := w.join(codec.Hello{Position: position})
			assert.Equal(t, codec.StartedResumed, again.welcome.Reason)
			again.nc.Close()
		})
	}
}

// The same on a real disk, with a directory that is removed and whose place is taken: the condition is logged once,
// with its remedy, and ends by itself once the directory can be created. Nothing logs an end before that.
func TestJournalDirectoryIsRemoved(t *testing.T) {
	const moved = "the file in the place of the directory, or of a file in it, is removed or moved away"
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, parent, dir string)
		mend  func(t *testing.T, parent, dir string) // nil if the publisher can recover by itself
	}{
		{"a file is in its place", func(t *testing.T, _, dir string) {
			require.NoError(t, os.RemoveAll(dir))
			require.NoError(t, os.WriteFile(dir, nil, 0o600))
		}, func(t *testing.T, _, dir string) { require.NoError(t, os.Remove(dir)) }},
		{"a symbolic link to nowhere", func(t *testing.T, _, dir string) {
			require.NoError(t, os.RemoveAll(dir))
			require.NoError(t, os.Symlink("nowhere", dir))
		}, func(t *testing.T, _, dir string) { require.NoError(t, os.Remove(dir)) }},
		{"a symbolic link to itself", func(t *testing.T, _, dir string) {
			require.NoError(t, os.RemoveAll(dir))
			require.NoError(t, os.Symlink(filepath.Base(dir), dir))
		}, func(t *testing.T, _, dir string) { require.NoError(t, os.Remove(dir)) }},
		{"a file is in the place of its parent", func(t *testing.T, parent, _ string) {
			require.NoError(t, os.RemoveAll(parent))
			require.NoError(t, os.WriteFile(parent, nil, 0o600))
		}, func(t *testing.T, parent, _ string) { require.NoError(t, os.Remove(parent)) }},
		{"a directory is in the place of the lock", func(t *testing.T, _, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, "LOCK")))
			require.NoError(t, os.Mkdir(filepath.Join(dir, "LOCK"), 0o700))
		}, func(t *testing.T, _, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, "LOCK"))) }},
		{"its parent is gone", func(t *testing.T, parent, _ string) { require.NoError(t, os.RemoveAll(parent)) }, nil},
		{"another directory, with files of its own", func(t *testing.T, _, dir string) {
			require.NoError(t, os.RemoveAll(dir))
			require.NoError(t, os.Mkdir(dir, 0o700))
			for _, name := range []string{"foreign", "00000000000000000001-0000000000000001.tick"} {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600))
			}
		}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				parent, log := filepath.Join(t.TempDir(), "parent"), &logtest.Buffer{}
				dir := filepath.Join(parent, "journal")
				p, err := publisher.New(publisher.Config{Journal: dir, Logger: zerolog.New(log)})
				require.NoError(t, err)
				id, err := p.Define(t.Context(), feed.Definition{Symbol: "A"})
				require.NoError(t, err)
				require.NoError(t, p.Flush(t.Context()))
				test.spoil(t, parent, dir)
				says := func(text string) func() bool { return func() bool { return len(log.Lines(text)) > 0 } }
				require.Eventually(t, says("the directory is not as it was left"), 30*time.Second, 10*time.Millisecond)
				if test.mend != nil {
					require.Eventually(t, func() bool { return p.Stats().Disk != "" }, 30*time.Second, 10*time.Millisecond)
					require.NoError(t, p.Publish(t.Context(), []feed.Tick{feed.Trade{Price: 1, Size: 1}.Tick(id, noon)}))
					ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond) // the directory is checked twice meanwhile
					defer cancel()
					require.ErrorIs(t, p.Flush(ctx), context.DeadlineExceeded)
					require.Equal(t, uint64(2), p.Stats().Committed, "only ticks in the journal are sent")
					assert.Empty(t, log.Lines("intact again"))
					assert.Empty(t, log.Lines("no room"))
					test.mend(t, parent, dir)
				} else {
					require.NoError(t, p.Publish(t.Context(), []feed.Tick{feed.Trade{Price: 1, Size: 1}.Tick(id, noon)}))
				}
				require.NoError(t, p.Flush(t.Context()))
				require.Eventually(t, says("intact again"), 30*time.Second, 10*time.Millisecond)
				assert.Len(t, log.Lines("the directory is not as it was left"), 1)
				assert.Len(t, log.Lines("intact again"), 1)
				times := 0
				if test.mend != nil {
					times = 1
				}
				assert.Len(t, log.Lines("files cannot be created or written, publishing waits"), times)
				assert.Len(t, log.Lines("publishing resumes once "+moved), times)
				assert.Len(t, log.Lines("can be written again"), times)
				require.NoError(t, p.Close(t.Context()))
				j, err := journal.Open(journal.Config{Dir: dir})
				require.NoError(t, err)
				assert.Equal(t, uint64(3), j.Next())
				require.NoError(t, j.Close())
			})
		})
	}
}
