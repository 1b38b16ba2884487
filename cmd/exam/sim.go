package exam

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tickfeed/cmd/audit"
	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/journal"
	"tickfeed/publisher/journal/memfs"
)

// A Plan says what to simulate. The same Plan gives the same simulation, as far as the runtime's scheduler
// permits (see package netsim).
type Plan struct {
	Seed    uint64
	Steps   int                // number of faults; 0 for 440
	Clients int                // 0 for 7, one of each kind
	Quiet   time.Duration      // time without a tick, somewhere in between; 0 for 30 minutes
	Dir     string             // for position files; empty for none
	Log     func(string)       // receives a line for each event; nil for none
	Trace   func(netsim.Event) // receives the events of the network; nil for none
}

// An Outcome is the result of a simulation.
type Outcome struct {
	Faults     Faults
	States     States
	Virtual    time.Duration
	Published  uint64
	Delivered  uint64 // to all clients
	Reconnects uint64 // of all clients
	// Trace is a hash of everything that the network did, and when. The order of events at one instant does not
	// count.
	Trace uint64
}

// Simulate runs a publisher, with a journal on a simulated disk or from memory, and its subscribers through
// p.Steps faults. Then the faults stop, and within two minutes every subscriber must be live and have
// everything that the publisher has, with its state; and the auditor must agree with every ledger. Simulate
// must run in a testing/synctest bubble. When it returns, everything that it started has ended.
func Simulate(p Plan) (*Outcome, error) {
	if p.Steps == 0 {
		p.Steps = 440
	}
	if p.Clients == 0 {
		p.Clients = 7
	}
	if p.Quiet == 0 {
		p.Quiet = 30 * time.Minute
	}
	w := newWorld(p)
	err := w.run()
	return w.outcome(), err
}

// leaving bounds how long the close of a connection takes to reach the other side.
const leaving = time.Second

// A world is one simulation. Only the driver, the goroutine of Simulate, injects faults and starts and ends
// publishers and clients. Only the market's goroutine publishes.
type world struct {
	plan  Plan
	audit Auditor
	net   *netsim.Network
	rand  *rand.Rand // of the driver
	began time.Time

	trace   audit.Hasher // of the network's events before instant; used by the network, one event at a time
	instant time.Duration
	at      uint64 // sum of the hashes of the events at instant

	// Traits of this world.
	memory    bool // no journal
	retain    bool
	steady    bool // the wall clock does not jump
	floods    int  // number of times that more may be published at once than the memory holds
	mode      codec.Mode
	gentle    bool // no step harms the journal so that numbers are lost
	sync      journal.Sync
	heartbeat time.Duration
	addrs     []string

	clients []*client
	plain   *plain
	market  market
	closed  chan struct{}  // closed when the market has ended
	busy    sync.WaitGroup // the market, and abandoned publishers
	ending  atomic.Bool    // the market must end
	paused  atomic.Bool    // the market must pause
	burst   atomic.Int64   // number of ticks to publish at once, next
	flood   atomic.Bool    // publish more than the memory holds, next
	files   atomic.Int64   // number of journal files begun
	volumes volumes

	node    atomic.Pointer[node] // nil while the publisher is down
	lives   uint64
	upAt    time.Time     // when to restart the publisher
	fs      *memfs.FS     // the publisher's next disk
	copied  *memfs.FS     // an old copy
	died    Fault         // how the publisher went down
	safe    uint64        // the number up to which the publisher must recover
	damage  bool          // the journal lacks numbers in its middle, which a subscriber may have
	damaged atomic.Bool   // the same, for other goroutines
	taken   bool          // files of the journal were removed in this life
	past    []moment      // of this life, oldest first
	least   uint64        // after a power cut under sync 1s, numbers below least were a second old
	holes   feed.RangeSet // numbers that the journal lacked before the power cut
	seen    map[feed.SessionID]bool

	disk      atomic.Int32 // what the disk does
	hung      atomic.Int64 // when a hanging disk continues, ns since began
	ill       atomic.Int64 // when the disk was last not well, ns since began
	offset    atomic.Int64 // of the wall clock, ns
	stepped   atomic.Bool  // offset was changed, and the clock not read since
	unruly    atomic.Int64 // share of messages that middleboxes damage, in millionths
	finishing atomic.Bool
	mayLose   atomic.Bool // a step may have caused losses
	mayDisown atomic.Bool // a step may have caused disowned numbers

	mu        sync.Mutex // guards the fields below
	faults    Faults
	states    States
	earliest  int64 // least time that the wall clock has shown
	latest    int64
	err       error
	published uint64
}

// States of the disk.
const (
	diskWell int32 = iota
	diskFull
	diskFails   // the next write fails
	diskHangs   // until world.hung
	diskUnread  // every other operation that only reads fails
	diskCrowded // there are no file descriptors left
)

func newWorld(p Plan) *world {
	w := &world{plan: p, began: time.Now(), closed: make(chan struct{}), seen: make(map[feed.SessionID]bool), trace: 1}
	w.audit.Complete = true
	w.rand = w.chance(1)
	r := w.rand
	w.market = market{rand: w.chance(2), time: w.began.UnixNano()}
	w.memory = r.IntN(6) == 0
	w.gentle = r.IntN(3) == 0
	w.retain = !w.memory && !w.gentle && r.IntN(3) == 0
	w.steady = r.IntN(3) == 0
	if w.retain {
		w.floods = 2
	} else if !w.memory {
		w.floods = r.IntN(2)
	}
	w.mode = codec.Mode(r.IntN(2))
	w.sync = journal.Sync(r.IntN(3))
	w.heartbeat = []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second}[r.IntN(4)]
	w.addrs = []string{"pub:1"}
	if r.IntN(3) == 0 {
		w.addrs = append(w.addrs, "pub:2")
	}
	conditions := []netsim.Conditions{
		// Latency is never zero: both sides of a connection would have timers at the same instant.
		{Latency: 13_007}, {Latency: 7_919, Buffer: 16 << 10}, {Latency: time.Millisecond, Jitter: time.Millisecond, Buffer: 32 << 10},
		{Latency: 30*time.Millisecond + 11, Jitter: 20 * time.Millisecond, Buffer: 64 << 10},
	}[r.IntN(4)]
	w.net = netsim.New(p.Seed, netsim.Config{Conditions: conditions, Trace: w.event})
	w.net.OnConnect(w.meddle)
	w.fs = w.newFS(&memfs.FS{})
	w.mayLose.Store(w.memory || w.retain)
	for i := range p.Clients {
		w.clients = append(w.clients, w.newClient(i))
	}
	w.plain = w.newPlain(0)
	return w
}

// chance returns the random source of one actor.
func (w *world) chance(actor uint64) *rand.Rand { return rand.New(rand.NewPCG(w.plan.Seed, actor)) }

func (w *world) run() error {
	w.start()
	for _, c := range w.clients {
		if err := c.start(); err != nil {
			w.fail(err)
		}
	}
	w.plain.start()
	w.busy.Go(w.publish)
	quiet := w.rand.IntN(w.plan.Steps)
	for i := 0; i < w.plan.Steps && w.failure() == nil; i++ {
		w.rest(i == quiet)
		w.tend()
		w.step()
	}
	w.finish()
	for _, c := range w.clients {
		if err := c.stop(); err != nil {
			w.fail(err)
		}
		time.Sleep(leaving) // otherwise it would be a race whether the publisher sees the close before its own end
	}
	if err := w.plain.stop(); err != nil {
		w.fail(err)
	}
	time.Sleep(leaving)
	if n := w.node.Load(); n != nil {
		w.abandon(n)
	}
	w.busy.Wait()
	if err := w.failure(); err != nil {
		return err
	}
	if err := w.audit.Err(); err != nil {
		return err
	}
	return w.judge()
}

// rest lets time pass between two faults.
func (w *world) rest(quiet bool) {
	d := time.Duration(float64(time.Millisecond) * math.Exp(w.rand.Float64()*math.Log(1500)))
	if quiet {
		w.log("quiet for %v", w.plan.Quiet)
		w.paused.Store(true)
		time.Sleep(w.plan.Quiet)
		w.paused.Store(false)
		w.happen(Quiet)
	}
	time.Sleep(d + time.Duration(w.rand.IntN(1000)))
}

// tend restarts the publisher if it is time, and detects if it has failed.
func (w *world) tend() {
	n := w.node.Load()
	if n != nil {
		w.remember(n)
	}
	if n == nil && !time.Now().Before(w.upAt) {
		w.start()
	} else if n != nil && n.pub.Failed() != nil {
		w.crash(DiskError, func(fs *memfs.FS) *memfs.FS { return fs.Killed() })
	}
}

// finish repairs the network and the disk, ends the session, and waits until all is well.
func (w *world) finish() {
	if w.failure() == nil {
		w.log("no more faults")
	}
	w.unruly.Store(0)
	w.net.OnConnect(nil)
	w.net.Heal(netsim.Any, netsim.Any)
	w.net.Dials(netsim.Any, netsim.Answer)
	w.disk.Store(diskWell)
	for _, c := range w.clients {
		c.nap.Store(0)
	}
	for _, l := range w.net.Links() {
		l.Down.SetConditions(netsim.Conditions{})
		l.Up.SetConditions(netsim.Conditions{})
	}
	w.ending.Store(true)
	if w.failure() != nil {
		return
	}
	const bound = 2 * time.Minute
	deadline := time.Now().Add(bound)
	for w.node.Load() == nil || w.node.Load().pub.Failed() != nil {
		w.upAt = time.Now()
		w.tend()
		time.Sleep(10 * time.Millisecond)
		if time.Now().After(deadline) {
			w.fail(fmt.Errorf("the publisher does not come back"))
			return
		}
	}
	n := w.node.Load()
	<-w.closed
	w.finishing.Store(true)
	if n.truth.Len() < opening {
		w.send(n, w.market.definitions(n.truth, opening-n.truth.Len()))
	}
	w.send(n, w.market.closing(n.truth))
	if err := n.pub.End(n.ctx); err != nil {
		w.fail(fmt.Errorf("end: %w", err))
		return
	}
	for {
		var ill error
		for _, c := range w.clients {
			if w.damage && c.undefined.Load() {
				continue // the client lacks definitions of what is left
			}
			if err := c.well(n.head); err != nil && ill == nil {
				ill = err
			} else if f := c.ended.Load(); ill == nil && f != n.head {
				ill = fmt.Errorf("%s: the end is %d, want %d", c.name, f, n.head)
			}
		}
		if err := w.plain.well(n.head); err != nil && ill == nil {
			ill = err
		}
		if ill == nil || w.failure() != nil {
			break
		}
		if time.Now().After(deadline) {
			w.fail(fmt.Errorf("%v after the last fault: %w", bound, ill))
			return
		}
		time.Sleep(50*time.Millisecond + 7)
	}
	drained, cancel := context.WithTimeout(n.ctx, time.Minute)
	defer cancel()
	if err := n.pub.Drained(drained); err != nil && w.failure() == nil && !w.damage {
		w.fail(fmt.Errorf("all have everything, but Drained: %w", err))
	}
}

// judge compares the clients' final states and ledgers with the publisher's.
func (w *world) judge() error {
	truth := w.node.Load().truth
	for _, c := range w.clients {
		if w.damage && c.undefined.Load() {
			continue
		}
		state := c.state.Load()
		switch {
		case state == nil:
			return fmt.Errorf("%s: got nothing at the end", c.name)
		case c.cfg.Start.Kind == codec.StartLive && c.witness.Snapshots == 0:
			// It knows definitions, and the ticks since it joined.
		case w.damage:
			// It may know more than the publisher.
		default:
			want, got := feed.NewState(), feed.NewState()
			asked := func(_ feed.InstrumentID, d *feed.Definition) bool { return matches(c.cfg.Filter, d.Symbol) }
			want.Replace(asked, truth)
			got.Replace(asked, state) // it may still know instruments of an earlier filter
			if diff := got.Diff(want); diff != "" {
				return fmt.Errorf("%s: its state (first) is not the publisher's:\n%s", c.name, diff)
			}
		}
		t := c.sub.Ledger().Totals()
		switch {
		case t.Lost > 0 && !w.mayLose.Load():
			return fmt.Errorf("%s: %d numbers lost for no reason\n%v", c.name, t.Lost, c.sub.Ledger())
		case t.Disowned > 0 && !w.mayDisown.Load():
			return fmt.Errorf("%s: %d numbers disowned for no reason\n%v", c.name, t.Disowned, c.sub.Ledger())
		case t.Withheld > 0 && c.cfg.Slow != codec.SlowLatest:
			return fmt.Errorf("%s: %d numbers withheld for no reason\n%v", c.name, t.Withheld, c.sub.Ledger())
		case len(c.cfg.Filter) == 0 && !c.changes && c.cfg.Start.Kind >= codec.StartBeginning && !w.mayLose.Load() && !w.mayDisown.Load() && t.NotAsked > 0:
			return fmt.Errorf("%s: asked for everything, %d numbers count as not asked\n%v", c.name, t.NotAsked, c.sub.Ledger())
		}
	}
	return nil
}

// matches reports whether symbol matches patterns as a filter, for the filters of the clients.
func matches(patterns []string, symbol string) bool {
	for _, p := range patterns {
		if ok, _ := filepath.Match(p, symbol); ok {
			return true
		}
	}
	return len(patterns) == 0
}

func (w *world) outcome() *Outcome {
	w.trace.Word(w.at)
	o := &Outcome{Virtual: time.Since(w.began), Trace: uint64(w.trace)}
	for _, c := range w.clients {
		o.Delivered += c.delivered
		o.Reconnects += c.reconnects
	}
	o.Delivered += w.plain.delivered
	o.Reconnects += w.plain.reconnects
	w.mu.Lock()
	defer w.mu.Unlock()
	o.Published, o.Faults, o.States = w.published, w.faults, w.states
	s := w.net.Stats()
	for f, n := range map[Fault]uint64{
		Reset: s.Resets, Cut: s.Cuts, Truncation: s.Truncated, BlackHole: s.BlackHoles, Stall: s.Stalls, Slowness: s.Slowed,
		FullBuffer: s.Full, RefusedDial: s.RefusedDials, HungDial: s.HungDials, Partition: s.Partitions,
	} {
		o.Faults[f] += n
	}
	return o
}

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
	w.taken, w.past = false, nil
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
	case memfs.Create, memfs.Open, memfs.Lock, memfs.Truncate, memfs.SyncDir, memfs.Reserve:
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

// remember records the current moment.
func (w *world) remember(n *node) {
	w.past = append(w.past, moment{time.Since(w.began), n.pub.Stats().Committed, len(journalFiles(n.fs))})
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
	if op.Kind != memfs.Create || !strings.HasSuffix(op.Name, ".tick") {
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

// A flood is floodSends times floodTicks ticks of about 100 bytes: more than the memory and the clients'
// buffers hold.
const (
	floodSends = 24
	floodTicks = 800
)

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

// now returns the time of the wall clock, which jumps.
func (w *world) now() int64 {
	if w.stepped.CompareAndSwap(true, false) {
		w.happen(ClockStep)
	}
	now := time.Now().UnixNano() + w.offset.Load()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.earliest == 0 || now < w.earliest {
		w.earliest = now
	}
	w.latest = max(w.latest, now)
	return now
}

// plausible reports whether the wall clock may have shown time t.
func (w *world) plausible(t int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.earliest <= t && t <= w.latest
}

// meddle puts a middlebox into some new connections.
func (w *world) meddle(l *netsim.Link) {
	r := l.Down.Rand()
	if r.IntN(4) == 0 && w.unruly.Load() > 0 {
		l.Down.SetMiddlebox(&middlebox{
			rand: r, happen: w.happen, chance: func() float64 { return float64(w.unruly.Load()) / 1e6 },
		})
	}
}

// event adds an event to the trace. The order of events at one instant does not count, because context cancels
// its children by ranging over a map.
func (w *world) event(e netsim.Event) {
	if e.At != w.instant {
		w.trace.Word(w.at)
		w.instant, w.at = e.At, 0
	}
	h := audit.Hasher(1)
	h.Word(uint64(e.At))
	h.Word(e.Conn)
	h.Text(e.Dir)
	h.Text(e.What)
	h.Word(uint64(e.Bytes))
	w.at += uint64(h)
	if w.plan.Trace != nil {
		w.plan.Trace(e)
	}
}

func (w *world) happen(f Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults[f]++
}

func (w *world) see(s State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.states[s]++
}

// fail records the first failure.
func (w *world) fail(err error) {
	w.log("FAILED: %v", err)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

func (w *world) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *world) log(format string, args ...any) {
	if w.plan.Log != nil {
		w.plan.Log(fmt.Sprintf("%12v ", time.Since(w.began)) + strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}
