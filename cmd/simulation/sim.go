package simulation

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tickfeed/cmd/audit"
	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
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
	removed string        // the file that was, until the publisher has begun another one
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
	patient, cancel := context.WithTimeout(n.ctx, time.Minute)
	defer cancel()
	if err := n.pub.WaitConfirmed(patient); err != nil && w.failure() == nil && !w.damage {
		w.fail(fmt.Errorf("all have everything, but waiting for their confirmation failed: %w", err))
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

// A flood is floodSends times floodTicks ticks of about 100 bytes: more than the memory and the clients'
// buffers hold.
const (
	floodSends = 24
	floodTicks = 800
)

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
