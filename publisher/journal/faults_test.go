package journal_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/effort"
	"tickfeed/feed"
	"tickfeed/publisher/journal"
	"tickfeed/publisher/journal/memfs"
)

var (
	crashStates = flag.Int("journal.crashes", 0, "how many disks, as power cuts leave them, to judge; 0 for 6,000, or 300,000 with -full")
	crashSeed   = flag.Uint64("journal.seed", 1, "where the random numbers of power cuts begin")
)

// judge opens what a crash left, twice, and reports what is wrong: with the recovery, with
// what is read, or with the two not being the same. The journal must reach least; beyond that,
// numbers may be gone only where gone allows it.
func judge(w *world, fs *memfs.FS, least uint64, gone bool) error {
	cfg := journal.Config{Dir: "j", FS: fs, SegmentSize: 4 << 10}
	var first *journal.Recovered
	for range 2 {
		j, err := journal.Open(cfg)
		if err != nil {
			return err
		}
		rec := j.Recovered()
		got, err := w.audit(j, j.Tail())
		if err == nil {
			err = judgeRecovered(w, j, got)
		}
		if cerr := j.Close(); err == nil {
			err = cerr
		}
		switch {
		case err != nil:
			return err
		case rec.Next < least:
			return fmt.Errorf("recovered up to %d, at least %d was safe", rec.Next, least)
		}
		for _, r := range got.gone.Ranges() {
			if r.From < least && w.hole.Intersect(r) != r || !gone {
				return fmt.Errorf("gone %v, safe up to %d", r, least)
			}
		}
		if first == nil {
			first = rec
			continue
		}
		if rec.Next != first.Next || !slices.Equal(rec.Lineage, first.Lineage) || rec.LastTime != first.LastTime ||
			rec.State.Diff(first.State) != "" || rec.Torn != 0 {
			return fmt.Errorf("recovered twice: %+v, then %+v", first, rec)
		}
	}
	return nil
}

// judgeRecovered compares the state with that of the ticks, if none is missing.
func judgeRecovered(w *world, j *journal.Journal, got told) error {
	rec := j.Recovered()
	if rec.Next == 1 || !got.gone.Empty() {
		return nil
	}
	s := w.states[place{rec.Lineage.Current().ID, rec.Next}]
	if s == nil {
		return fmt.Errorf("recovered at %d of %v, where no packet ends", rec.Next, rec.Lineage.Current().ID)
	}
	if d := rec.State.Diff(s); d != "" {
		return errors.New(d)
	}
	return nil
}

// life runs a publisher on fs until an operation fails for good: it opens the journal, appends, syncs after each
// packet or after w.syncEvery packets, rotates, settles, prepares, and waits where the disk is full, at most a few times. After
// ErrFailed it goes on in a child session. It reports whether it lived to its end, and any break of what an error
// promises.
func life(w *world, fs *memfs.FS, packets int) (lived bool, problem error) {
	cfg := journal.Config{Dir: "j", FS: fs, SegmentSize: 4 << 10, Sync: journal.SyncAlways, RetainBytes: 30 << 10}
	if w.rotates {
		cfg.Sync, cfg.SegmentSize = journal.SyncInterval, journal.MinSegmentSize
	}
	j, err := journal.Open(cfg)
	if err != nil {
		return false, nil
	}
	if err := w.restart(j.Recovered()); err != nil {
		return false, err
	}
	begun := false
	do := func(f func() error) bool {
		for tries := 0; ; tries++ {
			err := f()
			switch {
			case err == nil:
				return true
			case errors.Is(err, journal.ErrFull) && tries < 3:
				continue
			case errors.Is(err, journal.ErrFailed) && tries < 3 && begun:
				from := j.Synced()
				if from > j.Next() || from < w.synced {
					problem = fmt.Errorf("synced up to %d of %d, and before up to %d", from, j.Next(), w.synced)
					return false
				}
				w.fork(from)
				for again := 0; again < 3; again++ {
					if err = j.Begin(w.lineage, codec.ModeLive, w.state); err == nil {
						w.synced = w.next
						return false
					}
				}
				return false
			default:
				return false
			}
		}
	}
	if !do(func() error { return j.Begin(w.lineage, codec.ModeLive, w.state) }) {
		return false, problem
	}
	begun = true
	w.synced = w.next // also what the life before appended last
	settle := -1      // the packet after which the file that ended is settled; -1 if none is to be
	forked := func() bool { return problem == nil && !j.Full() && j.Next() == w.next && j.Synced() == w.next }
	for i := range packets {
		if j.Full() {
			if !do(func() error { return j.Rotate(w.state) }) {
				if forked() {
					continue
				}
				return false, problem
			}
			settle = i
			if w.rotates {
				settle = i + 2
			}
		}
		if settle >= 0 && i >= settle {
			settle = -1
			if !do(j.Settle) {
				if forked() {
					continue
				}
				return false, problem
			}
		}
		j.Prepare()
		_ = j.Retain(w.time)
		p, to := w.packet(1+int(w.next%25)), w.next
		ok := do(func() error {
			if j.Next() < to {
				if err := j.Append(p, to, w.time-10); err != nil {
					return err
				}
				w.acked = to
			}
			if (i+1)%max(w.syncEvery, 1) != 0 {
				return nil
			}
			if err := j.Sync(); err != nil {
				return err
			}
			w.synced = to
			if bytes, since := j.Unsynced(); bytes != 0 || !since.IsZero() || j.Synced() != to {
				problem = fmt.Errorf("after Sync %d bytes are unsynced, since %v; synced up to %d of %d", bytes, since, j.Synced(), to)
			}
			return nil
		})
		if problem != nil || !ok && w.next == to { // not in a child session
			return false, problem
		}
	}
	if w.rotates {
		fs.Kill()
		return true, nil
	}
	return j.Close() == nil, nil
}

// Each operation fails, once or for good, in each way. At the next start the synced ticks are there, every number is read
// once, with the bytes it was given, and missing numbers are reported (PROMISES.md, 4, 5).
func TestEveryOperationFails(t *testing.T) {
	t.Run("synced always", func(t *testing.T) { everyOperationFails(t, false) })
	t.Run("rotating, synced from time to time", func(t *testing.T) { everyOperationFails(t, true) })
}

func everyOperationFails(t *testing.T, rotates bool) {
	newWorld := func() *world {
		w := newWorld()
		if w.rotates = rotates; rotates {
			w.syncEvery = 3
		}
		return w
	}
	script := func(fs *memfs.FS, w *world) error {
		for range 3 {
			if _, err := life(w, fs, 40); err != nil {
				return err
			}
			if rotates {
				fs.Kill() // what is not synced remains so
				continue
			}
			fault := fs.Fault
			*fs = *fs.Killed()
			fs.Fault = fault
		}
		return nil
	}
	all := &memfs.FS{}
	require.NoError(t, script(all, newWorld()))
	count := func() int { // operations of one script
		n := 0
		fs := &memfs.FS{Fault: func(memfs.Op) (int, error) { n++; return 0, nil }}
		require.NoError(t, script(fs, newWorld()))
		return n
	}()
	require.Greater(t, count, 300)
	var mu sync.Mutex
	happened := map[string]int{}
	for _, kind := range []struct {
		name  string
		err   error
		short bool
		only  memfs.Kind
	}{
		{"EIO", syscall.EIO, false, ""},
		{"ENOSPC", syscall.ENOSPC, false, ""},
		{"short write", syscall.ENOSPC, true, memfs.Write},
		{"short write and EIO", syscall.EIO, true, memfs.Write},
		{"fsync EIO", syscall.EIO, false, memfs.Sync},
		{"close EIO", syscall.EIO, false, memfs.Close},
	} {
		for _, forever := range []bool{false, true} {
			parallel(t, nil, count, func(_ *memfs.FS, k int) error {
				fs := &memfs.FS{}
				n, hits := 0, 0
				fs.Fault = func(op memfs.Op) (int, error) {
					n++
					if n-1 < k || n-1 > k && !forever || kind.only != "" && op.Kind != kind.only {
						return 0, nil
					}
					hits++
					if kind.short {
						return op.Size * (k % 4) / 4, kind.err
					}
					return 0, kind.err
				}
				w := newWorld()
				if err := script(fs, w); err != nil {
					return fmt.Errorf("%s, forever %v: %w", kind.name, forever, err)
				}
				mu.Lock()
				happened[kind.name] += hits
				mu.Unlock()
				fs.Fault = nil
				if err := judge(w, fs.Killed(), w.acked, false); err != nil {
					return fmt.Errorf("%s, forever %v: %w", kind.name, forever, err)
				}
				// Bytes that the kernel lost are missed only without its cache.
				if err := judge(w, fs.PowerCut(rand.New(rand.NewPCG(uint64(k), 1)), 0), w.synced, true); err != nil {
					return fmt.Errorf("%s, forever %v, power cut: %w", kind.name, forever, err)
				}
				return nil
			})
		}
	}
	for name, n := range happened {
		assert.Positive(t, n, name)
	}
	assert.Len(t, happened, 6)
}

// After a power cut at any operation, with any part of the unsynced bytes on the disk, the ticks that were acknowledged after a
// sync are there, no number is read twice or with different bytes, missing numbers are reported, and recovering again changes
// nothing (PROMISES.md, 3).
func TestPowerCuts(t *testing.T) {
	t.Run("synced always", func(t *testing.T) { powerCuts(t, false) })
	t.Run("rotating, synced from time to time", func(t *testing.T) { powerCuts(t, true) })
}

func powerCuts(t *testing.T, rotates bool) {
	const packets = 12
	count := func() int { // operations that change something
		n := 0
		fs := &memfs.FS{Fault: func(op memfs.Op) (int, error) {
			if op.Kind.Changes() {
				n++
			}
			return 0, nil
		}}
		w := newWorld()
		w.syncEvery, w.rotates = 3, rotates
		for range 2 {
			_, err := life(w, fs, packets)
			require.NoError(t, err)
		}
		return n
	}()
	disks := *crashStates
	if disks == 0 {
		disks = effort.Of(t, 300_000, 6_000)
		if rotates { // such lives leave few disks that differ
			disks = effort.Of(t, 20_000, 2_000)
		}
	}
	budget := effort.Within(time.Minute)
	var group sync.WaitGroup
	var cuts, states atomic.Int64
	workers := runtime.GOMAXPROCS(0)
	problems := make([]error, workers)
	for worker := range workers {
		group.Go(func() {
			seen := map[uint64]bool{} // what disks held
			quota := disks / workers
			for i := uint64(worker); len(seen) <= quota && problems[worker] == nil; i += uint64(workers) {
				if *crashStates == 0 && budget.Spent() {
					break
				}
				seed, k := *crashSeed+i, int((*crashSeed+i)%uint64(count))
				if err := powerCut(seed, k, packets, rotates, seen); err != nil {
					problems[worker] = fmt.Errorf("-journal.seed=%d -journal.crashes=1: operation %d: %w", seed, k, err)
				}
				cuts.Add(1)
			}
			states.Add(int64(len(seen)))
		})
	}
	group.Wait()
	assert.NoError(t, errors.Join(problems...))
	budget.Log(t, int(states.Load()), disks)
	t.Logf("%d power cuts at %d operations left %d different disks", cuts.Load(), count, states.Load())
}

// disksPerCut bounds how many disks one power cut leaves; it leaves no more after maxRepeats in a
// row that were seen.
const (
	disksPerCut = 192
	maxRepeats  = 6
)

// powerCut lets the power fail at operation k of two lives, and judges what the disk may hold
// then, unless it was seen. With the last of it there is another life, which is judged too.
func powerCut(seed uint64, k, packets int, rotates bool, seen map[uint64]bool) error {
	r := rand.New(rand.NewPCG(seed, 2))
	n := 0
	fs := &memfs.FS{}
	fs.Fault = func(op memfs.Op) (int, error) {
		if op.Kind.Changes() {
			n++
		}
		if n <= k {
			return 0, nil
		}
		if n == k+1 && op.Kind == memfs.Write {
			return r.IntN(op.Size + 1), memfs.ErrLostPower
		}
		return 0, memfs.ErrLostPower
	}
	w := newWorld()
	w.syncEvery, w.rotates = 3, rotates
	for range 2 {
		if _, err := life(w, fs, packets); err != nil {
			return err
		}
	}
	fs.Fault = nil
	var disk *memfs.FS
	for i, repeats := 0, 0; i < disksPerCut && repeats < maxRepeats; i++ {
		keep := 0.5
		if i < 4 {
			keep = float64(i % 2)
		}
		disk = fs.PowerCut(r, keep)
		id := disk.Hash()
		if seen[id] {
			repeats++
			continue
		}
		seen[id], repeats = true, 0
		if err := judge(w, disk, w.synced, true); err != nil {
			return fmt.Errorf("disk %d: %w", i, err)
		}
	}
	before := w.synced
	if _, err := life(w, disk, 5); err != nil {
		return err
	}
	if before < w.lineage.Current().First {
		w.hole = feed.Range{From: before, To: w.lineage.Current().First}
	}
	return judge(w, disk, w.synced, true)
}

// The disk is full at any byte of a packet, of a mark or of a file's beginning; then there is
// room again: appending goes on at the byte where it stopped, and the files are as if it had
// never been full (PROMISES.md, 6).
func TestFullAtEveryByte(t *testing.T) {
	run := func(room int64) (files string, full int) {
		w := newWorld()
		fs := &memfs.FS{}
		j := w.start(t, journal.Config{Dir: "j", FS: fs, SegmentSize: 4 << 10, Now: func() int64 { return 7 }})
		defer j.Close()
		for !j.Full() {
			w.append(t, j, 20)
		}
		until := func(f func() error) {
			for {
				err := f()
				if err == nil {
					return
				}
				require.ErrorIs(t, err, journal.ErrFull)
				require.ErrorIs(t, err, syscall.ENOSPC)
				_, aerr := w.audit(j, 1) // still serving what is there
				require.NoError(t, aerr)
				full++
				*fs.Room = room
				if full > 3 {
					fs.Room = nil
				}
			}
		}
		if room >= 0 {
			fs.Room = &room
			room := room
			fs.Room = &room
		}
		until(func() error { return j.Rotate(w.state) })
		for range 2 {
			p := w.packet(10)
			until(func() error { return j.Append(p, w.next, w.time-10) })
		}
		fs.Room = nil
		_, err := w.audit(j, 1)
		require.NoError(t, err)
		require.NoError(t, j.Close())
		var b bytes.Buffer
		for _, name := range fs.All() {
			fmt.Fprintf(&b, "%s\n", name)
			if !strings.HasPrefix(name, "j/00000000000000000001-") { // whose index is not written where there is no room
				b.Write(fs.Bytes(name))
			}
		}
		return b.String(), full
	}
	want, _ := run(-1)
	hit := 0
	stride := stride(t)
	for room := int64(0); room < 2000; room += int64(stride) {
		got, full := run(room)
		require.Equal(t, want, got, "room for %d bytes", room)
		if full > 0 {
			hit++
		}
	}
	require.Greater(t, hit, 500/stride)
}

// example is a journal of three files, closed in order or killed.
func example(t *testing.T, closed bool) (*world, *memfs.FS) {
	t.Helper()
	w, fs := newWorld(), &memfs.FS{}
	cfg := journal.Config{Dir: "j", FS: fs, SegmentSize: 2 << 10, Now: func() int64 { return 7 }}
	j := w.start(t, cfg)
	for range 8 {
		w.append(t, j, 15)
	}
	require.NoError(t, j.Close())
	j = w.start(t, cfg)
	for range 2 {
		w.append(t, j, 15)
	}
	require.Len(t, fs.All(), 3)
	if closed {
		require.NoError(t, j.Close())
	}
	return w, fs.Killed()
}

// stride thins out tests that go through every bit, byte or operation.
func stride(t *testing.T) int { return effort.Stride(t, 17) }

// parallel calls do for each i in [0, n), or with the stride for some of them, with a copy of fs, if that is not nil, for each
// goroutine. It stops after a minute, but with -full.
func parallel(t *testing.T, fs *memfs.FS, n int, do func(fs *memfs.FS, i int) error) {
	t.Helper()
	var group sync.WaitGroup
	workers, stride, budget := runtime.GOMAXPROCS(0), stride(t), effort.Within(time.Minute)
	errs := make([]error, workers)
	var done atomic.Int64
	for worker := range workers {
		var own *memfs.FS
		if fs != nil {
			own = fs.Killed()
		}
		group.Go(func() {
			for i := worker * stride; i < n && errs[worker] == nil && !budget.Spent(); i += workers * stride {
				done.Add(1)
				if err := do(own, i); err != nil {
					errs[worker] = fmt.Errorf("%d: %w", i, err)
				}
			}
		})
	}
	group.Wait()
	require.NoError(t, errors.Join(errs...))
	budget.Log(t, int(done.Load()), (n+stride-1)/stride)
}

// One flipped bit of a journal costs at most the packet that it hits, the range is reported, and everything after it is read.
// Every bit of three files is tried (PROMISES.md, 7).
func TestEveryFlippedBit(t *testing.T) {
	for _, closed := range []bool{true, false} {
		w, fs := example(t, closed)
		end := w.next
		for _, name := range fs.All() {
			parallel(t, fs, 8*len(fs.Bytes(name)), func(fs *memfs.FS, i int) error {
				b := fs.Bytes(name)
				flipped := slices.Clone(b)
				flipped[i/8] ^= 1 << (i % 8)
				fs.Put(name, flipped)
				defer fs.Put(name, b)
				j, err := journal.Open(journal.Config{Dir: "j", FS: fs, SegmentSize: 4 << 10})
				if err != nil {
					return err
				}
				defer j.Close()
				got, err := w.audit(j, 1)
				if err != nil {
					return err
				}
				if err := judgeRecovered(w, j, got); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				if at := uint64(1 + 15*7); got.gone.Empty() {
					s, err := j.StateAt(at)
					if err != nil {
						return err
					}
					if d := s.Diff(w.states[place{1, at}]); d != "" {
						return fmt.Errorf("%s: as of %d: %s", name, at, d)
					}
				}
				if n := got.gone.Len(); n != 0 && n != 15 {
					return fmt.Errorf("%s: gone %v", name, got.gone)
				}
				if j.Next() != end && (closed || j.Next() != end-15 || !got.gone.Empty() || j.Recovered().Torn == 0) {
					return fmt.Errorf("%s: ends at %d, gone %v", name, j.Next(), got.gone)
				}
				for _, n := range fs.All() {
					if strings.HasSuffix(n, journal.TornSuffix) {
						if err := fs.Remove(n); err != nil {
							return err
						}
					}
				}
				return nil
			})
		}
	}
}

// A last file that was cut anywhere is recovered up to its last whole packet; what was cut off
// is kept; and the publisher goes on there, again and again (PROMISES.md, 7, 8).
func TestEveryCut(t *testing.T) {
	for _, closed := range []bool{true, false} {
		w, fs := example(t, closed)
		name := fs.All()[2]
		whole := fs.Bytes(name)
		parallel(t, fs, len(whole), func(fs *memfs.FS, i int) error {
			disk := fs.Killed()
			disk.Put(name, slices.Clone(whole[:i]))
			w := w.clone()
			w.synced = 1
			if err := judge(w, disk.Killed(), 1, false); err != nil {
				return err
			}
			j, err := journal.Open(journal.Config{Dir: "j", FS: disk, SegmentSize: 4 << 10})
			if err != nil {
				return err
			}
			torn := j.Recovered().Torn
			if side := disk.Bytes(name + journal.TornSuffix); torn > 0 && int64(len(side)) != torn {
				return fmt.Errorf("%d bytes cut, %d kept", torn, len(side))
			}
			if err := j.Close(); err != nil {
				return err
			}
			if lived, err := life(w, disk, 3); !lived || err != nil {
				return fmt.Errorf("lived %v: %v", lived, err)
			}
			return judge(w, disk, w.acked, false)
		})
	}
}

// clone is a world that goes on on its own; what was made so far is shared.
func (w *world) clone() *world {
	c := *w
	c.made, c.states = map[place][]byte{}, map[place]*feed.State{}
	for k, v := range w.made {
		c.made[k] = v
	}
	for k, v := range w.states {
		c.states[k] = v
	}
	c.ids += 1000
	return &c
}
