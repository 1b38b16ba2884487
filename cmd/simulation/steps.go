package simulation

import (
	"context"
	"strings"
	"time"

	"tickfeed/codec/netsim"
	"tickfeed/publisher/journal"
	"tickfeed/publisher/journal/memfs"
)

// A step is something that the driver does to the world, with its relative frequency.
type step struct {
	weight int
	name   string
	do     func(*world)
}

// steps are all steps of the driver. A step that makes no sense in this world, or at the moment, does nothing.
var steps = []step{
	{70, "reset all", func(w *world) {
		for _, l := range w.net.Links() {
			l.Reset()
		}
	}},
	{30, "reset", func(w *world) { w.link(func(l *netsim.Link) { l.Reset() }) }},
	{8, "cut", func(w *world) { w.half(func(d *netsim.Direction) { d.ResetAfter(w.rand.IntN(3000)) }) }},
	{6, "truncate", func(w *world) { w.half(func(d *netsim.Direction) { d.EndAfter(w.rand.IntN(3000)) }) }},
	{4, "half-open", func(w *world) {
		w.link(func(l *netsim.Link) {
			switch w.rand.IntN(3) {
			case 0:
				l.BlackHole()
			case 1:
				l.Up.BlackHole()
			default:
				l.Down.BlackHole()
			}
		})
	}},
	{5, "stall", func(w *world) {
		w.link(func(l *netsim.Link) {
			d := time.Duration(w.rand.Int64N(int64(5 * w.heartbeat)))
			if w.rand.IntN(2) == 0 {
				l.Stall(d)
			} else {
				l.Down.Stall(d)
			}
		})
	}},
	{5, "slow", func(w *world) {
		w.link(func(l *netsim.Link) {
			l.Down.SetConditions(netsim.Conditions{Bandwidth: 500 + w.rand.Int64N(20_000), Buffer: 8 << 10})
			w.burst.Store(500 + w.rand.Int64N(1500))
		})
	}},
	{6, "middleboxes", func(w *world) { w.unruly.Store(w.rand.Int64N(100_000)) }},
	{3, "no middleboxes", func(w *world) { w.unruly.Store(0) }},
	{3, "refuse dials", func(w *world) { w.dials(netsim.Refuse, time.Second) }},
	{2, "hang dials", func(w *world) { w.dials(netsim.Hang, 8*time.Second) }},
	{4, "partition", (*world).partition},
	{6, "kill", func(w *world) {
		w.end(Kill, func(fs *memfs.FS) *memfs.FS { return fs.Killed() })
	}},
	{2, "stop", (*world).stop},
	{3, "power cut", (*world).powerCut},
	{1, "power cut after a file has ended", func(w *world) {
		if w.memory || w.gentle || w.sync != journal.SyncInterval || w.node.Load() == nil {
			return
		}
		w.burst.Store(6000) // more than a segment of the memory, and so of a file
		for range 4 + w.rand.IntN(8) {
			time.Sleep(300 * time.Millisecond)
			w.tend()
		}
		w.powerCut()
	}},
	{1, "lose the journal", func(w *world) {
		if w.harmed() {
			w.end(JournalLost, func(*memfs.FS) *memfs.FS { return &memfs.FS{} })
		}
	}},
	{2, "go back to an old copy", func(w *world) {
		n := w.node.Load()
		if w.memory || w.gentle || n == nil {
			return
		}
		if copied := w.copied; copied != nil && w.harmed() {
			w.copied = nil
			w.end(OldCopy, func(*memfs.FS) *memfs.FS { return copied })
			return
		}
		w.copied = n.fs.Killed()
	}},
	{1, "lose the last file of the journal", func(w *world) {
		if w.harmed() {
			w.end(SegmentLost, withoutLastFile)
		}
	}},
	{1, "lose the tail of the journal", func(w *world) {
		if w.harmed() {
			w.end(TailLost, func(fs *memfs.FS) *memfs.FS { return withoutTail(fs, w.rand.IntN(5000)) })
		}
	}},
	{2, "fill the disk", func(w *world) { w.diskFor(diskFull, 3*time.Second) }},
	{1, "fail the disk", func(w *world) { w.diskFor(diskFails, 3*time.Second) }},
	{2, "hang the disk", func(w *world) {
		d := time.Duration(w.rand.Int64N(int64(2 * time.Second)))
		w.hung.Store(int64(time.Since(w.began) + d))
		w.diskFor(diskHangs, 2*time.Second)
	}},
	{2, "leave the disk unread", func(w *world) { w.diskFor(diskUnread, time.Second) }},
	{2, "take all descriptors", func(w *world) { w.diskFor(diskCrowded, 3*time.Second) }},
	{1, "remove the journal", func(w *world) {
		if w.harmed() {
			w.taken, w.damage = true, true
			w.damaged.Store(true)
			fs := w.node.Load().fs
			if names := journalFiles(fs); len(names) > 0 {
				fs.Unlink(names[len(names)-1])
				fs.Unlink("journal/LOCK")
				w.past, w.removed = nil, names[len(names)-1] // a power cut before the publisher notices loses what the file held, synced or not
				w.happen(JournalRemoved)
			}
		}
	}},
	{5, "kill a client", func(w *world) {
		c := w.client()
		if c.cfg.PositionFile == "" {
			c = w.clients[min(4, len(w.clients)-1)]
		}
		if c.cfg.PositionFile != "" {
			if err := c.kill(); err != nil {
				w.fail(err)
			}
		}
	}},
	{4, "let an application take its time", func(w *world) {
		c := w.client()
		c.nap.Store(1 + w.rand.Int64N(int64(20*time.Millisecond)))
		w.net.After(time.Duration(w.rand.Int64N(int64(5*time.Second))), func() { c.nap.Store(0) })
	}},
	{4, "step the wall clock", func(w *world) {
		if w.steady {
			return
		}
		w.offset.Add(w.rand.Int64N(int64(4*time.Hour)) - int64(2*time.Hour))
		w.stepped.Store(true)
	}},
	{4, "change a filter", func(w *world) {
		for _, c := range w.clients {
			if c.changes {
				w.refilter(c)
			}
		}
		if w.rand.IntN(2) == 0 && w.plain.want.Load() != nil {
			w.plain.wants(w.patterns())
		}
	}},
	{4, "flood", func(w *world) {
		if w.floods == 0 || w.node.Load() == nil || w.paused.Load() {
			return
		}
		w.floods--
		// Some clients stop reading for a while, but for less than three intervals, after which they would be
		// disconnected.
		for _, l := range w.net.Links() {
			if w.rand.IntN(2) == 0 {
				l.Down.Stall(w.heartbeat * 3 / 2)
			}
		}
		w.flood.Store(true)
		time.Sleep(w.heartbeat * 2)
	}},
	{3, "burst", func(w *world) { w.burst.Store(w.rand.Int64N(3000)) }},
}

var weights = func() (sum int) {
	for _, s := range steps {
		sum += s.weight
	}
	return sum
}()

// step performs one step, chosen by weight.
func (w *world) step() {
	at := w.rand.IntN(weights)
	for _, s := range steps {
		if at -= s.weight; at < 0 {
			w.log("step: %s", s.name)
			s.do(w)
			return
		}
	}
}

// link calls f with one of the connections, if there are any.
func (w *world) link(f func(*netsim.Link)) {
	if links := w.net.Links(); len(links) > 0 {
		f(links[w.rand.IntN(len(links))])
	}
}

// half calls f with one direction of one connection: mostly the publisher's, which carries more.
func (w *world) half(f func(*netsim.Direction)) {
	w.link(func(l *netsim.Link) {
		if w.rand.IntN(4) == 0 {
			f(l.Up)
		} else {
			f(l.Down)
		}
	})
}

func (w *world) client() *client { return w.clients[w.rand.IntN(len(w.clients))] }

func (w *world) dials(mode netsim.DialMode, most time.Duration) {
	w.net.Dials(netsim.Any, mode)
	for _, l := range w.net.Links() {
		if w.rand.IntN(2) == 0 {
			l.Reset()
		}
	}
	w.net.After(time.Duration(w.rand.Int64N(int64(most))), func() { w.net.Dials(netsim.Any, netsim.Answer) })
}

// partition isolates a client, or all, from the publisher for a while, both ways or one way.
func (w *world) partition() {
	a, b := w.client().name, w.addrs[w.rand.IntN(len(w.addrs))]
	if w.rand.IntN(4) == 0 {
		a = netsim.Any
	}
	switch w.rand.IntN(3) {
	case 0:
		w.net.Partition(a, b)
	case 1:
		w.net.Block(a, b)
	default:
		w.net.Block(b, a)
	}
	w.net.After(time.Duration(w.rand.Int64N(int64(5*w.heartbeat))), func() { w.net.Heal(a, b) })
}

// harmed reports whether the journal may be harmed in this world, and records that it is.
func (w *world) harmed() bool {
	if w.memory || w.gentle || w.node.Load() == nil {
		return false
	}
	w.harm(true)
	return true
}

// harm records that numbers may be lost or disowned from now on.
func (w *world) harm(really bool) {
	if really && w.node.Load() != nil {
		w.mayLose.Store(true)
		w.mayDisown.Store(true)
	}
}

// end crashes the publisher if it is up. Without a journal nothing is left.
func (w *world) end(how Fault, leave func(*memfs.FS) *memfs.FS) {
	if w.node.Load() != nil {
		w.crash(how, leave)
	}
}

// powerCut ends a life with a power cut, which loses unsynced data in part.
func (w *world) powerCut() {
	n := w.node.Load()
	if w.memory || w.gentle && w.sync != journal.SyncAlways || n == nil {
		return
	}
	w.harm(w.sync != journal.SyncAlways)
	w.cutting(n)
	w.end(PowerCut, func(fs *memfs.FS) *memfs.FS { return fs.PowerCut(w.rand, w.rand.Float64()) })
}

// stop ends a life in order.
func (w *world) stop() {
	n := w.node.Load()
	if n == nil {
		return
	}
	full := w.disk.Load() != diskWell
	n.cancel()
	for _, served := range n.serve {
		<-served
	}
	w.safe = n.pub.Stats().Committed
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := n.pub.Close(ctx); err != nil && !full && n.pub.Failed() == nil {
		w.log("close: %v", err)
	}
	w.fs = w.newFS(n.fs.Killed())
	w.down(Stop, n)
}

// diskFor makes the disk do what for a while.
func (w *world) diskFor(what int32, most time.Duration) {
	if w.memory {
		return
	}
	w.disk.Store(what)
	w.net.After(time.Duration(w.rand.Int64N(int64(most))), func() { w.disk.Store(diskWell) })
}

// patterns returns patterns that match some instruments; it may return none.
func (w *world) patterns() (some []string) {
	for _, p := range []string{"A*", "B*", "C0?", "A00", "B01", "*2"} {
		if w.rand.IntN(3) == 0 {
			some = append(some, p)
		}
	}
	return some
}

// refilter changes the filter of c.
func (w *world) refilter(c *client) {
	patterns := w.patterns()
	if err := c.sub.SetFilter(patterns); err != nil {
		w.fail(err)
	}
	c.cfg.Filter = patterns
	w.happen(FilterChange)
}

// withoutLastFile returns the disk without the last file of the journal.
func withoutLastFile(fs *memfs.FS) *memfs.FS {
	left := fs.Killed()
	if names := journalFiles(left); len(names) > 0 {
		_ = left.Remove(names[len(names)-1])
	}
	return left.Killed()
}

// withoutTail returns the disk without the last n bytes of the journal.
func withoutTail(fs *memfs.FS, n int) *memfs.FS {
	left := fs.Killed()
	if names := journalFiles(left); len(names) > 0 {
		last := names[len(names)-1]
		data := left.Bytes(last)
		left.Put(last, data[:max(0, len(data)-n)])
	}
	return left
}

// journalFiles returns the recordings of a journal, oldest first.
func journalFiles(fs *memfs.FS) []string {
	var names []string
	for _, name := range fs.All() {
		if strings.HasSuffix(name, ".tick") {
			names = append(names, name)
		}
	}
	return names
}
