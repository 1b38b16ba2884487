package publisher_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/logto/logtest"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/journal/memfs"
)

// retained starts a publisher whose retention has removed the oldest files of its journal, and returns the publisher
// and its head. Depending on memory, the journal or the memory log has the oldest number.
func retained(t *testing.T, memory, retain int64) (w *world, head uint64) {
	t.Helper()
	w = start(t, publisher.Config{
		Seed: 1, Journal: "j", FS: &memfs.FS{}, Memory: memory, SegmentSize: 64 << 10, RetainBytes: retain,
	})
	for range 20 {
		w.quotes(5000)
	}
	time.Sleep(2 * time.Second) // retention runs once a second
	synctest.Wait()
	require.Greater(t, w.pub.Stats().Tail, uint64(1000), "retention has removed nothing")
	return w, 100_004
}

// A line from the beginning first reports what retention removed, then has what memory or the journal still holds,
// whichever reaches further back: the beginning of a journal is the oldest number that the publisher was meant to
// keep.
func TestBeginningAfterRetention(t *testing.T) {
	for name, c := range map[string]struct{ memory, retain int64 }{
		"the journal has the oldest number": {publisher.MinMemory, 2 << 20},
		"memory has the oldest number":      {2 << 20, 400 << 10},
	} {
		for _, from := range []codec.Start{fromBeginning, {Kind: codec.StartTime, Value: 1}, {Kind: codec.StartSeq, Value: 1}} {
			for _, filter := range []codec.Filter{nil, {"A*"}} {
				t.Run(fmt.Sprintf("%s, start %d, filter %v", name, from.Kind, filter), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w, head := retained(t, c.memory, c.retain)
						tail := w.pub.Stats().Tail
						s := w.join(codec.Hello{Start: from, Filter: filter})
						assert.Equal(t, uint64(1), s.welcome.Start)
						assert.Equal(t, tail, s.welcome.Tail)
						s.until(head)
						assert.Equal(t, []string{fmt.Sprintf("gone [1, %d) expired", tail), fmt.Sprintf("snapshot %d scope 0", tail)}, s.events)
						if filter == nil {
							s.consecutive(tail, head)
						} else {
							assert.Equal(t, head-tail, uint64(len(s.ticks))+s.skipped)
						}
					})
				})
			}
		}
	}
}

// For any starting number below the oldest one, exactly the numbers that neither the journal nor memory has are
// reported as gone.
func TestGoneEndsWhereMemoryBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, head := retained(t, 2<<20, 400<<10)
		tail := w.pub.Stats().Tail
		for _, from := range []uint64{1, tail - 2, tail - 1, tail, tail + 1} {
			s := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartSeq, Value: from}})
			s.until(head)
			s.consecutive(max(from, tail), head)
			gone := s.gone.Len()
			assert.Equal(t, max(from, tail)-from, gone, "from %d", from)
		}
	})
}

// A line from the beginning of a publisher without a journal begins at the oldest number in memory. The welcome shows
// the subscriber what it does not get.
func TestBeginningOfMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1, Memory: publisher.MinMemory})
		for range 20 {
			w.quotes(5000)
		}
		tail := w.pub.Stats().Tail
		require.Greater(t, tail, uint64(1))
		for _, from := range []codec.Start{fromBeginning, {Kind: codec.StartTime, Value: 1}} {
			s := w.join(codec.Hello{Start: from})
			assert.Equal(t, tail, s.welcome.Start)
			assert.Equal(t, tail, s.welcome.Tail)
			s.until(100_004)
			s.consecutive(tail, 100_004)
		}
	})
}

// A client whose position is in a session unknown to this publisher does not lose the numbers that the publisher
// holds: if memory has the first number the line begins there, otherwise where the hello asks for (PROTOCOL.md,
// "Where a line starts", reason 3).
func TestNoCommonSession(t *testing.T) {
	held := codec.Position{Lineage: feed.Lineage{{ID: 99, First: 1}}, Next: 52}
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1, Memory: publisher.MinMemory})
		w.quotes(48)
		for _, from := range []codec.Start{{}, fromBeginning, {Kind: codec.StartLive}, {Kind: codec.StartSeq, Value: 40}, {Kind: codec.StartSeq, Value: 4000}} {
			s := w.join(codec.Hello{Start: from, HasState: true, Position: held})
			assert.Equal(t, codec.StartedBySnapshot, s.welcome.Reason)
			s.until(52)
			s.consecutive(1, 52)
			assert.Empty(t, s.events)
		}
		for range 20 {
			w.quotes(5000)
		}
		head := uint64(100_052)
		tail := w.pub.Stats().Tail
		for _, c := range []struct {
			from codec.Start
			want uint64
		}{
			{codec.Start{}, head}, {fromBeginning, tail}, {codec.Start{Kind: codec.StartLive}, head},
			{codec.Start{Kind: codec.StartSeq, Value: 100_000_000}, head},
		} {
			s := w.join(codec.Hello{Start: c.from, HasState: true, Position: held})
			assert.Equal(t, codec.StartedBySnapshot, s.welcome.Reason)
			assert.Equal(t, c.want, s.welcome.Start, "start %+v", c.from)
			s.snapshot()
			assert.Equal(t, []string{fmt.Sprintf("snapshot %d scope 0", c.want)}, s.events)
			s.until(head)
			s.consecutive(c.want, head)
		}
		// The number is within a packet: the position is the start of the packet.
		s := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartSeq, Value: head - 77}, HasState: true, Position: held})
		assert.LessOrEqual(t, s.welcome.Start, head-77)
		s.until(head)
		s.consecutive(s.welcome.Start, head)
	})
}

// publishInBackground publishes 100,000 quotes, more than the memory of w holds.
func publishInBackground(w *world) (published chan struct{}) {
	published = make(chan struct{})
	go func() {
		defer close(published)
		for range 20 {
			w.quotes(5000)
		}
	}()
	return published
}

// Without a journal, publishing waits for Config.WaitFor subscribers before it drops the first number. It resumes
// when they leave.
func TestPublishingWaitsForSubscribers(t *testing.T) {
	for _, want := range []int{1, 2} {
		t.Run(fmt.Sprint(want), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := start(t, publisher.Config{Seed: 1, Memory: publisher.MinMemory, WaitFor: want})
				published := publishInBackground(w)
				time.Sleep(time.Hour)
				stopped := w.pub.Stats()
				assert.Equal(t, uint64(1), stopped.Tail)
				assert.Less(t, stopped.Head, uint64(100_004))
				for i := range want {
					require.Equal(t, stopped.Head, w.pub.Stats().Head, "%d of %d subscribers", i, want)
					s := w.join(codec.Hello{Start: fromBeginning})
					s.until(10_000)
					s.consecutive(1, s.next)
					s.send(&codec.Goodbye{Code: codec.CodeDone})
				}
				<-published
				assert.Greater(t, w.pub.Stats().Tail, uint64(1))
			})
		})
	}
}

// A subscriber that is slower than the source loses nothing while publishing waits for it.
func TestPublishingWaitsForASlowSubscriber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, net: netsim.New(1, netsim.Config{Conditions: netsim.Conditions{Buffer: 16 << 10}})}
		w.open(publisher.Config{Seed: 1, Memory: publisher.MinMemory, WaitFor: 1})
		t.Cleanup(w.stop)
		published := publishInBackground(w)
		time.Sleep(time.Second)
		s := w.join(codec.Hello{Start: fromBeginning})
		time.Sleep(2 * time.Second) // it has connected, and reads nothing
		assert.Equal(t, uint64(1), w.pub.Stats().Tail)
		for next := uint64(5000); next <= 100_000; next += 5000 {
			s.until(next)
			s.send(&codec.Pulse{Next: s.next})
			time.Sleep(100 * time.Millisecond)
		}
		s.until(100_004)
		s.consecutive(1, 100_004)
		assert.Empty(t, s.events)
		<-published
		assert.Greater(t, w.pub.Stats().Tail, uint64(1))
	})
}

// Publishing that waits for subscribers ends when its context ends or the publisher is closed.
func TestPublishingStopsWaitingForSubscribers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, err := publisher.New(publisher.Config{Seed: 1, Memory: publisher.MinMemory, WaitFor: 1})
		require.NoError(t, err)
		id, err := pub.Define(t.Context(), feed.Definition{Symbol: "A"})
		require.NoError(t, err)
		fill := func(ctx context.Context) error {
			ticks := make([]feed.Tick, 1000)
			for i := range ticks {
				ticks[i] = feed.Quote{Bid: 1, Ask: 2}.Tick(id, int64(i+1))
			}
			for {
				if err := pub.Publish(ctx, ticks); err != nil {
					return err
				}
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, fill(ctx), context.DeadlineExceeded)
		done := make(chan error)
		go func() { done <- fill(t.Context()) }()
		synctest.Wait()
		require.NoError(t, pub.Close(t.Context()))
		require.ErrorIs(t, <-done, publisher.ErrClosed)
	})
}

// Files that are missing at the beginning of a journal have expired if the journal has a retention; otherwise they
// are damage.
func TestFilesMissingAtTheBeginning(t *testing.T) {
	for _, retain := range []int64{0, 1 << 40} {
		t.Run(fmt.Sprint(retain), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs := &memfs.FS{}
				cfg := publisher.Config{Seed: 1, Journal: "j", FS: fs, Memory: publisher.MinMemory, SegmentSize: 64 << 10, RetainBytes: retain}
				w := start(t, cfg)
				for range 10 {
					w.quotes(5000)
				}
				w.stop()
				names, err := fs.Names("j")
				require.NoError(t, err)
				slices.Sort(names)
				require.NoError(t, fs.Remove("j/"+names[slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, ".tick") })]))
				w.open(cfg)
				tail := w.pub.Stats().Tail
				require.Greater(t, tail, uint64(1000))
				s := w.join(codec.Hello{Start: fromBeginning})
				s.until(50_004)
				want := "damaged"
				if retain > 0 {
					want = "expired"
				}
				assert.Equal(t, fmt.Sprintf("gone [1, %d) %s", tail, want), s.events[0])
			})
		})
	}
}

// Numbers that are gone have a time at which the publisher's clock was, also if nothing is left of what was published and nothing
// new was: a publish time of 0 would be one that no clock has shown.
func TestGoneOfAnEmptyJournalHasATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := publisher.Config{Journal: t.TempDir(), Sleep: time.Sleep}
		w := start(t, cfg)
		w.quotes(100)
		w.stop()
		w.silent = true
		w.open(cfg)
		w.stop()
		files, err := filepath.Glob(filepath.Join(cfg.Journal, "*.tick"))
		require.NoError(t, err)
		require.Len(t, files, 2)
		slices.Sort(files)
		require.NoError(t, os.Remove(files[0]))
		began := time.Now().UnixNano()
		w.open(cfg)
		s := w.join(codec.Hello{Start: fromBeginning})
		s.until(104)
		assert.Equal(t, "gone [1, 104) damaged", s.events[0])
		assert.GreaterOrEqual(t, s.publish, began)
	})
}

// A wall clock that is set a month ahead removes nothing for its age until an hour has passed, and both jumps are in the log. While the
// clock is before the last publish time, the log says so.
func TestClockSetWrongDoesNotEmptyTheJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wrong atomic.Int64
		log := new(logtest.Buffer)
		w := start(t, publisher.Config{
			Seed: 1, Journal: "j", FS: &memfs.FS{}, Memory: publisher.MinMemory, SegmentSize: 64 << 10, RetainAge: 24 * time.Hour, Logger: zerolog.New(log),
			Now: func() int64 { return time.Now().UnixNano() + wrong.Load() },
		})
		set := func(by time.Duration) {
			wrong.Store(int64(by))
			w.quotes(5000)
			time.Sleep(5 * time.Second)
		}
		for range 20 {
			w.quotes(5000)
		}
		time.Sleep(2 * time.Second)
		set(30 * 24 * time.Hour)
		assert.Equal(t, uint64(1), w.pub.Stats().Tail)
		set(0)
		assert.Equal(t, uint64(1), w.pub.Stats().Tail)
		assert.Len(t, log.Events("the wall clock has jumped"), 2)
		assert.Len(t, log.Events("the wall clock is before the last publish time"), 1)
		set(31 * 24 * time.Hour)
		assert.Len(t, log.Events("the wall clock has passed the last publish time"), 1)
		time.Sleep(time.Hour)
		assert.Greater(t, w.pub.Stats().Tail, uint64(50_000), "the clock is believed")
	})
}
