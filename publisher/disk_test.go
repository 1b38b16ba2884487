package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/logto/logtest"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/journal"
	"tickfeed/publisher/journal/memfs"
)

// trades returns n trades of the first instrument.
func (w *world) trades(n int) []feed.Tick {
	ticks := make([]feed.Tick, n)
	for i := range ticks {
		ticks[i] = feed.Trade{Price: 1, Size: 1}.Tick(w.ids[0], noon+int64(i))
	}
	return ticks
}

// While any operation of the disk hangs for two seconds, nothing is sent that is not in the journal, readers of
// memory are served, heartbeats are sent, and no client is disconnected as silent (PROMISES.md, 31).
func TestDiskHangs(t *testing.T) {
	const hang = 2 * time.Second
	for _, sync := range []journal.Sync{journal.SyncNone, journal.SyncInterval, journal.SyncAlways} {
		for _, kind := range []memfs.Kind{memfs.Write, memfs.Sync, memfs.Check, memfs.ReadAt, ""} {
			t.Run(fmt.Sprintf("sync %d, %s", sync, kind), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var hangs atomic.Bool
					var hung atomic.Int64
					fs, log := &memfs.FS{Delay: func(op memfs.Op) time.Duration {
						if !hangs.Load() || kind != "" && op.Kind != kind {
							return 0
						}
						hung.Add(1)
						return hang
					}}, &logtest.Buffer{}
					w := start(t, publisher.Config{Seed: 1, Journal: "j", FS: fs, Sync: sync, RetainBytes: 1 << 30, Logger: zerolog.New(log)})
					w.quotes(10)
					c := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
					c.until(14)
					hangs.Store(true)
					published := make(chan error)
					go func() {
						var err error
						for range 4 {
							err = errors.Join(err, w.pub.Publish(t.Context(), w.trades(10)), w.pub.Flush(t.Context()))
						}
						published <- err
					}()
					for begun := time.Now(); time.Since(begun) < 3*hang; {
						at := time.Now()
						require.NoError(t, c.step())
						require.LessOrEqual(t, time.Since(at), publisher.DefaultHeartbeat, "silence")
						left, err := journal.Open(journal.Config{Dir: "j", FS: fs.Killed()})
						require.NoError(t, err)
						require.LessOrEqual(t, c.next, left.Next(), "sent, and not in the journal")
						require.NoError(t, left.Close())
					}
					at := time.Now()
					late := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
					late.until(14)
					assert.Less(t, time.Since(at), 100*time.Millisecond, "a reader of memory")
					late.nc.Close()
					hangs.Store(false)
					c.until(54)
					require.NoError(t, <-published)
					c.consecutive(1, 54)
					if kind != memfs.ReadAt && !(kind == memfs.Sync && sync == journal.SyncNone) {
						assert.Positive(t, hung.Load(), "operations that hung")
					}
					assert.Empty(t, log.Lines(`"level":"error"`))
					assert.Empty(t, log.Lines("nothing heard"))
					c.nc.Close()
				})
			})
		}
	}
}

// A stuck file system lets syncs wait while it has a gate.
type stuck struct {
	*memfs.FS
	gate atomic.Pointer[chan struct{}]
}

func (s *stuck) Create(name string) (recording.File, error) {
	f, err := s.FS.Create(name)
	return stuckFile{f, s}, err
}

func (s *stuck) Check(name string, f io.Closer) error {
	if stuck, ok := f.(stuckFile); ok {
		f = stuck.File
	}
	return s.FS.Check(name, f)
}

type stuckFile struct {
	recording.File
	fs *stuck
}

func (f stuckFile) Sync() error {
	if gate := f.fs.gate.Load(); gate != nil {
		<-*gate
	}
	return f.File.Sync()
}

// A sync that does not return: with SyncInterval, nothing more is written or sent once something has not been synced
// for 2 seconds, so a power cut costs no more than that. Publish waits within its context, subscribers are sent
// heartbeats and served from memory, and the status and the log say why. All of it resumes when the sync returns. With
// SyncAlways nothing is sent before it returns, and the status says so.
func TestSyncDoesNotReturn(t *testing.T) {
	for name, policy := range map[string]journal.Sync{"synced each second": journal.SyncInterval, "synced always": journal.SyncAlways} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs, log, gate := &stuck{FS: &memfs.FS{}}, &logtest.Buffer{}, make(chan struct{})
				w := start(t, publisher.Config{
					Seed: 1, Journal: "j", FS: fs, Sync: policy, Memory: publisher.MinMemory, Logger: zerolog.New(log),
				})
				w.quotes(10)
				c := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
				c.until(14)
				time.Sleep(1500 * time.Millisecond) // all is synced
				fs.gate.Store(&gate)
				release := sync.OnceFunc(func() { fs.gate.Store(nil); close(gate) })
				defer release()
				during := func(do func() error) error { // while the client hears something in each heartbeat interval
					done := make(chan error, 1)
					go func() { done <- do() }()
					for begun := time.Now(); ; {
						require.Less(t, time.Since(begun), 10*time.Second)
						at := time.Now()
						require.NoError(t, c.step())
						require.LessOrEqual(t, time.Since(at), publisher.DefaultHeartbeat)
						c.send(&codec.Pulse{Next: c.next})
						select {
						case err := <-done:
							return err
						default:
						}
					}
				}
				require.NoError(t, during(func() error {
					for range 50 { // 5 seconds
						if err := w.pub.Publish(t.Context(), w.trades(3)); err != nil {
							return err
						}
						time.Sleep(100 * time.Millisecond)
					}
					return nil
				}))
				stats := w.pub.Stats()
				require.Equal(t, c.next, stats.Committed)
				left, err := journal.Open(journal.Config{Dir: "j", FS: fs.PowerCut(rand.New(rand.NewPCG(1, 1)), 0)})
				require.NoError(t, err)
				require.Equal(t, uint64(14), left.Next())
				require.NoError(t, left.Close())
				assert.Contains(t, stats.Disk, "the disk does not keep up")
				if policy == journal.SyncAlways {
					assert.Equal(t, uint64(14), stats.Committed)
				} else {
					assert.GreaterOrEqual(t, stats.Committed, uint64(14+57), "sent in 2 seconds")
					assert.LessOrEqual(t, stats.Committed, uint64(14+63), "sent in 2 seconds")
					assert.Len(t, log.Lines("the disk does not keep up, publishing waits"), 1)
				}
				late := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
				late.until(stats.Committed)
				late.nc.Close()
				require.ErrorIs(t, during(func() error {
					ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
					defer cancel()
					at := time.Now()
					err := w.pub.Publish(ctx, w.trades(200_000))
					assert.Equal(t, 5*time.Second, time.Since(at))
					assert.ErrorIs(t, w.pub.Flush(ctx), context.DeadlineExceeded)
					return err
				}), context.DeadlineExceeded)
				assert.Equal(t, stats.Committed, w.pub.Stats().Committed)

				at := time.Now()
				release()
				require.NoError(t, w.pub.Flush(t.Context()))
				assert.LessOrEqual(t, time.Since(at), 100*time.Millisecond)
				head := w.pub.Stats().Head
				c.until(head)
				c.consecutive(1, head)
				assert.Empty(t, w.pub.Stats().Disk)
				if policy == journal.SyncInterval {
					assert.Len(t, log.Lines("publishing waits"), 1)
					assert.Len(t, log.Lines("can be written again"), 1)
				}
				c.nc.Close()
			})
		})
	}
}

// A disk that does not respond delays Close by at most its context and three seconds, even if the write of a call of
// Publish never returns. The error of Close says which ticks are not in the journal, and that the journal was not
// closed.
func TestCloseOnADiskThatHangs(t *testing.T) {
	for name, kind := range map[string]memfs.Kind{"write": memfs.Write, "sync": memfs.Sync} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var hangs atomic.Bool
				fs := &memfs.FS{Delay: func(op memfs.Op) time.Duration {
					if op.Kind == kind && hangs.Load() {
						return time.Hour
					}
					return 0
				}}
				w := start(t, publisher.Config{Seed: 1, Journal: "j", FS: fs, Sync: journal.SyncAlways})
				head := w.pub.Stats().Committed
				time.Sleep(time.Second) // idle: the next call of Publish flushes itself
				hangs.Store(true)
				published := make(chan error, 1)
				go func() { published <- w.pub.Publish(context.Background(), w.trades(10)) }()
				synctest.Wait()
				w.cancel()
				<-w.serve
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				at := time.Now()
				err := w.pub.Close(ctx)
				assert.LessOrEqual(t, time.Since(at), 4*time.Second)
				assert.ErrorContains(t, err, fmt.Sprintf("10 ticks, from number %d on, reached neither the journal nor the subscribers", head))
				assert.ErrorContains(t, err, "journal j was not closed: the disk does not answer")
				w.pub = nil
				hangs.Store(false)
				<-published
				time.Sleep(time.Hour)
			})
		})
	}
}

// A failed sync stops the publisher within a second, even if nothing is published.
func TestFailedSyncIsAnnouncedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		fs, log := &memfs.FS{Fault: func(op memfs.Op) (int, error) {
			if op.Kind == memfs.Sync && broken.Load() {
				return 0, syscall.EIO
			}
			return 0, nil
		}}, &logtest.Buffer{}
		w := start(t, publisher.Config{Seed: 1, Journal: "j", FS: fs, Sync: journal.SyncInterval, Logger: zerolog.New(log)})
		broken.Store(true)
		w.quotes(10)
		time.Sleep(time.Second)
		synctest.Wait()
		assert.ErrorIs(t, w.pub.Failed(), journal.ErrFailed)
		assert.Len(t, log.Lines("journal failed"), 1)
		w.cancel()
		<-w.serve
		assert.ErrorIs(t, w.pub.Close(t.Context()), journal.ErrFailed)
		w.pub = nil
	})
}

// Publish times never decrease within a session or across a restart, whatever the clock does.
func TestPublishTimesNeverDecrease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now atomic.Int64
		now.Store(noon)
		fs := &memfs.FS{}
		cfg := publisher.Config{Seed: 1, Journal: "j", FS: fs, Now: now.Load}
		w := start(t, cfg)
		c := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
		for _, step := range []time.Duration{time.Second, -time.Hour, time.Minute, -time.Nanosecond, 2 * time.Hour} {
			now.Add(int64(step))
			w.quotes(1)
			c.until(w.pub.Stats().Head)
		}
		last := c.publish
		assert.Equal(t, now.Load(), last)
		c.nc.Close()
		w.stop()
		now.Add(-int64(time.Hour))
		cfg.FS = fs.Killed()
		w.open(cfg)
		w.quotes(1)
		again := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
		again.until(w.pub.Stats().Head) // it checks that they never decrease
		assert.Equal(t, last, again.publish)
		again.nc.Close()
	})
}

// Ticks published while a write waits for room do not become part of that write: the journal is given the same write
// again.
func TestPublishWhileTheDiskIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var full atomic.Bool
		fs := &memfs.FS{Fault: func(op memfs.Op) (int, error) {
			if op.Kind == memfs.Write && full.Load() {
				return min(op.Size/2, 10), syscall.ENOSPC
			}
			return 0, nil
		}}
		w := start(t, publisher.Config{Seed: 1, Journal: "j", FS: fs})
		full.Store(true)
		for range 5 {
			require.NoError(t, w.pub.Publish(t.Context(), w.trades(10)))
			time.Sleep(70 * time.Millisecond)
			require.NoError(t, w.pub.Failed())
		}
		full.Store(false)
		require.NoError(t, w.pub.Flush(t.Context()))
		c := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
		c.until(54)
		c.consecutive(1, 54)
		c.nc.Close()
	})
}

// A second publisher on the same journal is refused (PROMISES.md, 22).
func TestSecondPublisherIsRefused(t *testing.T) {
	cfg := publisher.Config{Seed: 1, Journal: filepath.Join(t.TempDir(), "j")}
	w := start(t, cfg)
	_, err := publisher.New(cfg)
	assert.ErrorIs(t, err, journal.ErrLocked)
	w.quotes(1)
}

// On a full disk publishing waits, within its context, while subscribers are served and sent heartbeats. When there
// is room everything resumes, and nothing is lost or sent twice (PROMISES.md, 6).
func TestDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var room atomic.Int64
		room.Store(1 << 20)
		fs := &memfs.FS{Fault: func(op memfs.Op) (int, error) {
			if op.Kind != memfs.Write {
				return 0, nil
			}
			if left := room.Add(-int64(op.Size)); left < 0 {
				fits := max(0, int64(op.Size)+left)
				room.Add(int64(op.Size) - fits)
				return int(fits), syscall.ENOSPC
			}
			return 0, nil
		}}
		w := start(t, publisher.Config{Seed: 1, Journal: "j", FS: fs, Memory: publisher.MinMemory})
		c := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
		c.until(4)

		published := make(chan error)
		ticks := make([]feed.Tick, 200_000) // 5 MB
		for i := range ticks {
			ticks[i] = feed.Quote{Bid: 1, BidSize: 1, Ask: 2, AskSize: 2}.Tick(w.ids[0], noon+int64(i))
		}
		go func() { published <- w.pub.Publish(t.Context(), ticks) }()
		c.until(30_000)
		for range 10 {
			require.NoError(t, c.step()) // what there is, and heartbeats
		}
		assert.NotEmpty(t, w.pub.Stats().Disk)
		late := w.join(codec.Hello{})
		late.snapshot()
		assert.LessOrEqual(t, late.next, w.pub.Stats().Committed)
		late.nc.Close()

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.ErrorIs(t, w.pub.Publish(ctx, ticks[:100_000]), context.DeadlineExceeded)
		synctest.Wait()
		room.Store(100 << 20)
		begun := time.Now()
		require.NoError(t, <-published)
		assert.LessOrEqual(t, time.Since(begun), time.Second)
		require.NoError(t, w.pub.Flush(t.Context()))
		assert.Empty(t, w.pub.Stats().Disk)
		head := w.pub.Stats().Head
		c.until(head)
		c.consecutive(1, head)
		c.nc.Close()
	})
}

// With SyncInterval the journal is synced within a second, and at once if much was appended, so that rotating to the
// next file has little to sync.
func TestMuchIsSyncedSooner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var synced atomic.Int64
		fs := &memfs.FS{Fault: func(op memfs.Op) (int, error) {
			if op.Kind == memfs.Sync {
				synced.Add(1)
			}
			return 0, nil
		}}
		w := start(t, publisher.Config{Seed: 1, Journal: "j", FS: fs, Sync: journal.SyncInterval})
		ticks := make([]feed.Tick, 10_000)
		for i := range ticks {
			ticks[i] = feed.Quote{Bid: int64(i), BidSize: 1, Ask: int64(i) + 1, AskSize: 1}.Tick(w.ids[0], noon)
		}
		publish := func(n int) { // of 260 kB each, in no time
			for range n {
				require.NoError(t, w.pub.Publish(t.Context(), ticks))
				require.NoError(t, w.pub.Flush(t.Context()))
				synctest.Wait()
			}
		}
		before := synced.Load()
		publish(60)
		assert.Equal(t, before, synced.Load(), "syncs of 15.6 MB within a second")
		publish(60)
		assert.Equal(t, before+1, synced.Load(), "syncs of twice as much")
		time.Sleep(time.Second + time.Millisecond)
		assert.Equal(t, before+2, synced.Load(), "syncs once a second is over")
	})
}

// When the journal fails for good nothing more is acknowledged, and the next start begins a child session after the
// last safe number (PROMISES.md, 5).
func TestJournalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		fs := &memfs.FS{Fault: func(op memfs.Op) (int, error) {
			if op.Kind == memfs.Sync && broken.Load() {
				return 0, errors.New("the disk is broken")
			}
			return 0, nil
		}}
		cfg := publisher.Config{Seed: 1, Journal: "j", FS: fs, Sync: journal.SyncAlways}
		w := start(t, cfg)
		w.quotes(10)
		broken.Store(true)
		tick := feed.Trade{Price: 1, Size: 1}.Tick(w.ids[0], noon)
		_ = w.pub.Publish(t.Context(), []feed.Tick{tick})
		assert.ErrorIs(t, w.pub.Flush(t.Context()), journal.ErrFailed)
		assert.ErrorIs(t, w.pub.Publish(t.Context(), []feed.Tick{tick}), journal.ErrFailed)
		assert.ErrorIs(t, w.pub.Failed(), journal.ErrFailed)
		assert.Equal(t, uint64(14), w.pub.Stats().Committed)
		w.cancel()
		<-w.serve
		assert.ErrorIs(t, w.pub.Close(t.Context()), journal.ErrFailed)
		w.pub = nil

		cfg.FS = fs.Killed()
		w.open(cfg)
		assert.Len(t, w.pub.Lineage(), 2)
		w.quotes(1)
	})
}
