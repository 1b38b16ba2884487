package simulation

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"syscall"
	"time"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/journal"
	"tickfeed/publisher/journal/memfs"
)

// A node is one life of the publisher.
type node struct {
	pub    *publisher.Publisher
	fs     *memfs.FS
	ctx    context.Context // ends with this life
	cancel context.CancelFunc
	serve  []chan error
	lns    []interface{ Close() error }

	// Fields of the market's goroutine, and of the driver's after that.
	session feed.SessionID
	lineage feed.Lineage
	head    uint64      // next number
	truth   *feed.State // as of head
}

// start begins a life of the publisher. If the disk does not allow that, tend tries again later.
func (w *world) start() {
	w.lives++
	cfg := publisher.Config{
		Memory: publisher.MinMemory, Heartbeat: w.heartbeat, Now: w.now, Sleep: time.Sleep, Seed: w.plan.Seed<<16 + w.lives, Sync: w.sync,
		RetryAfter: time.Second, Mode: w.mode,
	}
	if !w.memory {
		cfg.Journal, cfg.FS, cfg.SegmentSize = "journal", w.fs, 64<<10
	}
	if w.retain {
		cfg.SegmentSize, cfg.RetainBytes = 16<<10, 48<<10
	}
	pub, err := publisher.New(cfg)
	if err != nil {
		w.log("the publisher cannot start: %v", err)
		if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EIO) && !errors.Is(err, journal.ErrFull) && !journal.OutOfDescriptors(err) {
			w.fail(fmt.Errorf("start: %w", err))
		}
		w.fs = w.newFS(w.fs.Killed())
		w.upAt = time.Now().Add(time.Second)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := &node{pub: pub, fs: w.fs, ctx: ctx, cancel: cancel, truth: feed.NewState()}
	n.session, n.lineage, n.head = pub.Lineage().Current().ID, slices.Clone(pub.Lineage()), pub.Stats().Head
	if r := pub.Recovered(); r != nil {
		if r.State != nil {
			n.truth = r.State.Clone()
		}
		if len(r.Damage) > 0 {
			w.damage = true
			w.damaged.Store(true)
			for _, d := range r.Damage {
				if !w.mayLose.Load() && !d.Range.Empty() && d.Range.From < w.safe {
					w.fail(fmt.Errorf("after a %v %v is damaged, numbers up to %d had been sent or acknowledged", w.died, d.Range, w.safe))
				}
			}
			w.mayLose.Store(true) // a message that was being written at the power cut
			w.log("damage: %v", r.Damage)
		}
	}
	w.log("publisher %d: lineage %v, next %d", w.lives, pub.Lineage(), n.head)
	w.born(n)
	for _, addr := range w.addrs {
		ln, err := w.net.Listen(addr)
		if err != nil {
			w.fail(err)
			continue
		}
		served := make(chan error, 1)
		n.lns, n.serve = append(n.lns, ln), append(n.serve, served)
		go func() { served <- pub.Serve(ctx, &tapped{ln, w, n}) }()
	}
	w.survived(n)
	w.taken, w.removed, w.past = false, "", nil
	w.node.Store(n)
}

// born checks the beginning of a new life against the end of the last one.
func (w *world) born(n *node) {
	if w.seen[n.session] {
		w.fail(fmt.Errorf("session %v was there before", n.session))
	}
	w.seen[n.session] = true
	if w.lives == 1 {
		return
	}
	w.happen(w.died)
	switch lost := n.head < w.safe; {
	case !lost || w.memory:
	case w.taken:
		w.mayDisown.Store(true)
	case w.died == Kill, w.died == Stop, w.died == DiskError, w.died == PowerCut && w.sync == journal.SyncAlways:
		w.fail(fmt.Errorf("after a %v the publisher goes on at %d, it had sent or acknowledged numbers up to %d", w.died, n.head, w.safe))
	default:
		w.mayDisown.Store(true)
	}
}

// crash ends a life without a goodbye. leave returns the disk that is left.
func (w *world) crash(how Fault, leave func(*memfs.FS) *memfs.FS) {
	n := w.node.Load()
	for _, ln := range n.lns {
		ln.Close()
	}
	for _, l := range w.net.Links() {
		l.Reset()
	}
	w.safe = n.pub.Stats().Committed
	w.fs = w.newFS(leave(n.fs))
	w.down(how, n)
	w.busy.Go(func() { w.abandon(n) })
}

// down records that the publisher is down.
func (w *world) down(how Fault, n *node) {
	w.node.Store(nil)
	w.died = how
	w.upAt = time.Now().Add(time.Duration(w.rand.Int64N(int64(2 * time.Second))))
	if w.rand.IntN(2) == 0 {
		w.upAt = time.Now()
	}
	w.log("publisher down at %d: %v", w.safe, how)
}

// abandon releases the resources of a life that has ended.
func (w *world) abandon(n *node) {
	n.cancel()
	for _, served := range n.serve {
		<-served
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = n.pub.Close(ctx) // its disk is dead, or stop has ended it in order
}

// newFS makes fs fail as w.disk demands.
func (w *world) newFS(fs *memfs.FS) *memfs.FS {
	fs.Fault = func(op memfs.Op) (int, error) {
		w.fileBegins(op)
		does := w.disk.Load()
		if does != diskWell {
			w.ill.Store(int64(time.Since(w.began)))
		}
		switch {
		case does == diskFull && op.Kind == memfs.Write:
			w.happen(DiskFull)
			return op.Size / 3, syscall.ENOSPC
		case does == diskFails && op.Kind == memfs.Write:
			w.disk.Store(diskWell)
			return 0, syscall.EIO
		case does == diskUnread && !op.Kind.Changes() && op.Index%2 == 0:
			w.happen(ReadError)
			return 0, syscall.EIO
		case does == diskCrowded && takesDescriptor(op.Kind):
			w.happen(NoDescriptors)
			return 0, syscall.EMFILE
		}
		return 0, nil
	}
	fs.Delay = func(memfs.Op) time.Duration {
		if w.disk.Load() != diskHangs {
			return 0
		}
		w.happen(DiskHang)
		w.ill.Store(w.hung.Load())
		return time.Duration(w.hung.Load()) - time.Since(w.began)
	}
	return fs
}

func takesDescriptor(k memfs.Kind) bool {
	switch k {
	case memfs.Create, memfs.Open, memfs.Lock, memfs.Truncate, memfs.SyncDir, memfs.Reserve, memfs.Prepare:
		return true
	}
	return false
}

// A moment is the number sent or acknowledged up to at some time.
type moment struct {
	at        time.Duration
	committed uint64
	files     int // number of journal files
}

// remember records the current moment, unless the publisher writes to a file that was removed, which it notices within a second.
func (w *world) remember(n *node) {
	files := journalFiles(n.fs)
	if w.removed != "" && (len(files) == 0 || files[len(files)-1] <= w.removed) {
		return
	}
	w.removed = ""
	w.past = append(w.past, moment{time.Since(w.began), n.pub.Stats().Committed, len(files)})
}

// syncedWithin bounds the age of unsynced data under sync 1s: a second, plus the time until the housekeeper
// looks.
const syncedWithin = 1100 * time.Millisecond

// cutting records, before a power cut, what must survive it under sync 1s: everything that existed a second
// ago, unless the disk was ill meanwhile.
func (w *world) cutting(n *node) {
	w.least, w.holes = 0, feed.RangeSet{}
	if w.memory || w.sync != journal.SyncInterval {
		return
	}
	now := time.Since(w.began)
	for _, m := range w.past {
		if now-m.at >= syncedWithin && time.Duration(w.ill.Load()) < m.at-syncedWithin {
			w.least = m.committed
		}
	}
	if len(w.past) > 0 && w.least > 0 {
		w.holes = w.lacking(n.fs)
		if len(journalFiles(n.fs)) > w.past[0].files {
			w.happen(RotatedCut)
		}
	}
}

// lacking returns the numbers that a journal on fs lacks in its middle.
func (w *world) lacking(fs *memfs.FS) (holes feed.RangeSet) {
	j, err := journal.Open(journal.Config{Dir: "journal", FS: fs.Killed()})
	if err != nil {
		w.fail(err)
		return holes
	}
	defer j.Close()
	c := j.Cursor(1)
	defer c.Close()
	for {
		chunk, err := c.Next()
		if err != nil {
			return holes
		}
		if chunk.Reason == codec.GoneDamaged && !chunk.Gone.Empty() {
			holes.Add(chunk.Gone)
		}
	}
}

// survived checks, after a power cut under sync 1s, that everything required has survived.
func (w *world) survived(n *node) {
	if w.least == 0 {
		return
	}
	if n.head < w.least {
		w.fail(fmt.Errorf("after a power cut under sync 1s the publisher goes on at %d, numbers up to %d were older than %v", n.head, w.least, syncedWithin))
	}
	after := w.lacking(n.fs)
	for _, r := range after.Ranges() {
		for seq := r.From; seq < min(r.To, w.least); seq++ {
			if !w.holes.Contains(seq) {
				w.fail(fmt.Errorf("after a power cut under sync 1s %d is missing, numbers up to %d were older than %v", seq, w.least, syncedWithin))
				return
			}
		}
	}
	w.least = 0
}

// fileBegins records that a journal file begins.
func (w *world) fileBegins(op memfs.Op) {
	if op.Kind != memfs.Create && op.Kind != memfs.Link || !strings.HasSuffix(op.Name, ".tick") {
		return
	}
	w.files.Add(1)
	if w.disk.Load() == diskFull {
		w.see(FileOnFullDisk)
	}
}

// publish is the market's goroutine.
func (w *world) publish() {
	defer close(w.closed)
	r := w.market.rand
	for !w.ending.Load() {
		time.Sleep(time.Duration(float64(20*time.Microsecond)*math.Exp(r.Float64()*math.Log(40_000))) + time.Duration(r.IntN(1000)))
		n := w.node.Load()
		if n == nil || w.paused.Load() {
			continue
		}
		if n.truth.Len() >= opening && w.flood.Swap(false) {
			for range floodSends {
				w.send(n, w.market.bulky(n.truth, floodTicks))
			}
		}
		switch {
		case n.truth.Len() < opening:
			w.send(n, w.market.definitions(n.truth, opening-n.truth.Len()))
		case r.IntN(200) == 0:
			w.send(n, w.market.definitions(n.truth, 1))
		default:
			k := 1 + r.IntN(8)
			if r.IntN(10) == 0 {
				k = r.IntN(200)
			}
			if b := w.burst.Swap(0); b > 0 {
				k = int(b)
			}
			w.send(n, w.market.ticks(n.truth, k))
		}
	}
}

// send passes ticks, which are all definitions or none, to the auditor and then publishes them.
func (w *world) send(n *node, ticks []feed.Tick) {
	if err := w.audit.Publish(n.session, n.head, ticks, n.truth); err != nil {
		w.fail(err)
	}
	if w.steady {
		w.audit.Since(n.session, feed.Range{From: n.head, To: n.head + uint64(len(ticks))}, w.now())
	}
	err := n.pub.Publish(n.ctx, ticks)
	var partly *publisher.PublishError
	k := len(ticks)
	if errors.As(err, &partly) {
		k = partly.Published
		w.audit.Forget(n.session, feed.Range{From: n.head + uint64(k), To: n.head + uint64(len(ticks))})
		if n.ctx.Err() == nil && n.pub.Failed() == nil {
			w.fail(fmt.Errorf("publish: %w", err))
		}
	}
	for i := range ticks[:k] {
		if err := n.truth.Apply(&ticks[i]); err != nil {
			w.fail(fmt.Errorf("the market made a tick that does not apply: %w", err))
		}
	}
	n.head += uint64(k)
	w.mu.Lock()
	w.published += uint64(k)
	w.mu.Unlock()
}
