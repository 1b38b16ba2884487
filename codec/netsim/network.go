// Package netsim is an in-memory network for tests. It provides a net.Listener and net.Conns that behave like
// TCP between processes: bytes are buffered up to a bound, a writer waits if its peer does not read, a close is
// an end of file after the last byte, a reset is an error on both sides. On request it also does what real
// networks do: it refuses and hangs dials, cuts connections inside a message, swallows bytes, stalls, slows,
// delays, partitions and flips bits. It counts each fault when the fault takes effect.
//
// It is made for testing/synctest, where hours pass in milliseconds, and works in real time as well:
//
//	synctest.Test(t, func(t *testing.T) {
//		network := netsim.New(1, netsim.Config{})
//		ln, _ := network.Listen("pub:1")
//		go serve(ln)
//		conn, _ := network.Dial(ctx, "pub:1")
//		network.Links()[0].Down.ResetAfter(100) // the client reads 100 more bytes, then both sides fail
//		...
//
// The network has no goroutines of its own. The goroutines that read and write move the bytes, and one timer
// for the whole network moves time.
//
// # Reproducible runs
//
// Everything left to chance comes from the seed. Events due at one instant happen in the order in which they
// were asked for. Two runs with the same seed have the same trace if the code under test permits it: set
// GOMAXPROCS=1, do not use -race (which shuffles the scheduler), and avoid selects that may find several
// channels ready. Timers of a synctest bubble that are due at the same instant run in random order, so
// goroutines that use time.Timer should not share their instants; use [Network.After] for the steps of a script
// that must not race.
package netsim

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// A Network connects diallers with listeners by name. Names are any strings. Several goroutines may call any of
// its methods at once, also while connections are in use. Under testing/synctest it must be made inside the
// bubble.
type Network struct {
	seed  uint64
	cfg   Config
	clock *clock

	mu        sync.Mutex // acquired before Link.mu; never held while waiting
	listeners map[string]*listener
	modes     map[string]DialMode
	blocks    []route          // one-way partitions, in the order they were made
	links     map[uint64]*Link // links with at least one open end
	connected uint64           // connections made so far
	onConnect func(*Link)
	dials     []*wakeup // waiting dials, in order of arrival

	notes sync.Mutex // guards stats and calls of cfg.Trace; acquired last
	stats Stats
}

// Config configures a Network. The zero Config is a fast, faultless network.
type Config struct {
	// Conditions hold for both directions of every new connection. A dial takes two latencies.
	Conditions Conditions
	// Backlog bounds the connections of one listener that are not yet accepted; a dial beyond it waits. Zero means 1024.
	Backlog int
	// Trace, if not nil, is called with every event, one at a time. It must return at once and must not use the network.
	Trace func(Event)
}

// A DialMode says how dials end.
type DialMode uint8

const (
	Answer DialMode = iota // dials connect
	Refuse                 // dials fail with ECONNREFUSED
	Hang                   // dials wait until their context ends or the mode changes
)

// Any stands for every name in [Network.Dials], [Network.Partition], [Network.Block] and [Network.Heal].
const Any = "*"

type route struct{ from, to string }

func (r route) covers(from, to string) bool {
	return (r.from == Any || r.from == from) && (r.to == Any || r.to == to)
}

// New returns a network without listeners. It panics if a value of cfg is negative.
func New(seed uint64, cfg Config) *Network {
	cfg.Conditions.validate()
	if cfg.Backlog < 0 {
		panic(fmt.Sprintf("netsim: Backlog must not be negative, got %d", cfg.Backlog))
	}
	if cfg.Backlog == 0 {
		cfg.Backlog = 1024
	}
	return &Network{
		seed:      seed,
		cfg:       cfg,
		clock:     newClock(),
		listeners: make(map[string]*listener),
		modes:     make(map[string]DialMode),
		links:     make(map[uint64]*Link),
	}
}

// Listen takes addr until the listener is closed. If addr is taken, the error is a *net.OpError with
// EADDRINUSE.
func (n *Network) Listen(addr string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[addr] != nil {
		return nil, &net.OpError{Op: "listen", Net: netName, Addr: Addr(addr), Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	ln := &listener{net: n, addr: addr}
	ln.accepting.init(&n.mu, n.clock)
	n.listeners[addr] = ln
	return ln, nil
}

// Dial connects to the listener at addr, under the name "client". It does not wait for Accept. Errors are
// *net.OpErrors: ECONNREFUSED if addr has no listener or the dial is refused, otherwise the error of ctx.
func (n *Network) Dial(ctx context.Context, addr string) (net.Conn, error) {
	return n.dial(ctx, "client", addr)
}

// DialContext is Dial with the signature that most clients expect of a dialler. It ignores the network's name.
func (n *Network) DialContext(ctx context.Context, _, addr string) (net.Conn, error) {
	return n.Dial(ctx, addr)
}

// From returns a dialler that dials under name, the name that Partition and Block use. The listener's side sees
// it as remote address "name:number", with the number of the connection.
func (n *Network) From(name string) *Dialer { return &Dialer{net: n, name: name} }

// A Dialer dials under a name of its own.
type Dialer struct {
	net  *Network
	name string
}

// Dial is [Network.Dial] under the dialler's name.
func (d *Dialer) Dial(ctx context.Context, addr string) (net.Conn, error) {
	return d.net.dial(ctx, d.name, addr)
}

// DialContext is [Network.DialContext] under the dialler's name.
func (d *Dialer) DialContext(ctx context.Context, _, addr string) (net.Conn, error) {
	return d.Dial(ctx, addr)
}

// OnConnect sets f to be called with every new connection before either side has it: the place to install
// faults and middleboxes. The dialling goroutine calls f, holding no lock. OnConnect replaces an earlier f; nil
// removes it.
func (n *Network) OnConnect(f func(*Link)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.onConnect = f
}

// Links returns the connections that were not reset and have at least one open end, oldest first.
func (n *Network) Links() []*Link {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.linksLocked()
}

func (n *Network) linksLocked() []*Link {
	links := make([]*Link, 0, len(n.links))
	for _, l := range n.links {
		links = append(links, l)
	}
	slices.SortFunc(links, func(a, b *Link) int {
		if a.number < b.number {
			return -1
		}
		return 1
	})
	return links
}

// Dials sets the mode of dials of addr, those that hang now included. A mode set for addr takes precedence over
// one set for [Any]; Answer removes addr's own mode.
func (n *Network) Dials(addr string, mode DialMode) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if mode == Answer {
		delete(n.modes, addr)
	} else {
		n.modes[addr] = mode
	}
	n.wakeDialsLocked()
}

// Partition stops everything between a and b, both ways, until Heal: bytes and closes are held back, a writer
// fills its buffer and waits, dials hang. Names are those of listeners and of [Network.From]. Nothing is lost:
// as TCP would resend it, held bytes arrive after Heal.
func (n *Network) Partition(a, b string) {
	n.block(route{a, b}, route{b, a})
}

// Block holds back the bytes that from sends to to. Dials between the two hang in both directions.
func (n *Network) Block(from, to string) {
	n.block(route{from, to})
}

func (n *Network) block(routes ...route) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.blocks = append(n.blocks, routes...)
	n.routesChangedLocked()
}

// Heal ends every Partition and Block between a and b, in either order. [Any] matches every name, so Heal(Any,
// Any) heals everything.
func (n *Network) Heal(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.blocks = slices.DeleteFunc(n.blocks, func(r route) bool {
		return route{a, b}.covers(r.from, r.to) || route{b, a}.covers(r.from, r.to)
	})
	n.routesChangedLocked()
}

func (n *Network) routesChangedLocked() {
	for _, l := range n.linksLocked() {
		l.Up.setBlocked(n.blockedLocked(l.from, l.to))
		l.Down.setBlocked(n.blockedLocked(l.to, l.from))
	}
	n.wakeDialsLocked()
}

func (n *Network) blockedLocked(from, to string) bool {
	return slices.ContainsFunc(n.blocks, func(r route) bool { return r.covers(from, to) })
}

// After calls f once d has passed. Calls due at the same instant are made one after another in the order in
// which they were asked for, in sequence with everything else the network does at that instant. f must not
// block; it may use the network.
func (n *Network) After(d time.Duration, f func()) {
	n.clock.set(&alarm{index: -1, ring: f}, n.clock.now()+d)
}

// Stats returns the current counters.
func (n *Network) Stats() Stats {
	n.notes.Lock()
	defer n.notes.Unlock()
	return n.stats
}

func (n *Network) dial(ctx context.Context, from, addr string) (net.Conn, error) {
	n.mu.Lock()
	var (
		w       wakeup
		waiting bool
		hung    bool // by a fault
		ready   = n.clock.now() + 2*n.cfg.Conditions.Latency
	)
	defer func() {
		if waiting {
			n.dials = slices.DeleteFunc(n.dials, func(d *wakeup) bool { return d == &w })
			w.cancel()
		}
		n.mu.Unlock()
	}()
	for {
		now := n.clock.now()
		deadline, err := never, ctx.Err()
		if t, ok := ctx.Deadline(); ok && err == nil {
			if deadline = n.clock.at(t); deadline <= now {
				err = context.DeadlineExceeded
			}
		}
		if err != nil {
			if hung {
				n.note(func(s *Stats) { s.HungDials++ })
				n.trace(0, "", "dial hung", 0)
			}
			return nil, &net.OpError{Op: "dial", Net: netName, Addr: Addr(addr), Err: err}
		}

		mode := n.modeLocked(addr)
		ln := n.listeners[addr]
		switch {
		case n.blockedLocked(from, addr) || n.blockedLocked(addr, from), mode == Hang:
			hung = true
		case now < ready:
			deadline = min(deadline, ready)
		case mode == Refuse:
			n.note(func(s *Stats) { s.RefusedDials++ })
			return nil, n.refused(addr)
		case ln == nil:
			return nil, n.refused(addr)
		case len(ln.queue)+ln.coming < n.cfg.Backlog:
			return n.connectLocked(from, ln)
		}

		if !waiting {
			waiting = true
			w.init(&n.mu, n.clock)
			n.dials = append(n.dials, &w)
			stop := context.AfterFunc(ctx, w.wakeUnlocked)
			defer stop()
		}
		w.wait(deadline)
	}
}

func (n *Network) modeLocked(addr string) DialMode {
	if mode, ok := n.modes[addr]; ok {
		return mode
	}
	return n.modes[Any]
}

func (n *Network) refused(addr string) error {
	n.trace(0, "", "dial refused", 0)
	return &net.OpError{Op: "dial", Net: netName, Addr: Addr(addr), Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
}

// connectLocked makes the connection and queues it for Accept. It releases the lock while it calls onConnect.
func (n *Network) connectLocked(from string, ln *listener) (net.Conn, error) {
	n.connected++
	l := newLink(n, n.connected, from, ln.addr)
	l.Up.blocked = n.blockedLocked(from, ln.addr)
	l.Down.blocked = n.blockedLocked(ln.addr, from)
	n.links[l.number] = l
	if f := n.onConnect; f != nil {
		ln.coming++
		n.mu.Unlock()
		f(l)
		n.mu.Lock()
		ln.coming--
	}
	if ln.closed {
		delete(n.links, l.number)
		return nil, n.refused(ln.addr)
	}
	n.note(func(s *Stats) { s.Connections++ })
	n.trace(l.number, "", "connect", 0)
	ln.queue = append(ln.queue, l)
	ln.accepting.wake()
	return l.dialler, nil
}

func (n *Network) wakeDialsLocked() {
	for _, w := range n.dials {
		w.wake()
	}
}

// forget removes a connection that has ended.
func (n *Network) forget(l *Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.links, l.number)
}

// A listener is one address in use. Network.mu guards its fields.
type listener struct {
	net       *Network
	addr      string
	closed    bool
	queue     []*Link // connected, not accepted
	coming    int     // places in the backlog kept for connections in OnConnect
	accepting wakeup
}

// Accept returns the next connection, in the order in which they were made, and waits for it. After Close the
// error is net.ErrClosed.
func (ln *listener) Accept() (net.Conn, error) {
	n := ln.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for !ln.closed {
		if len(ln.queue) > 0 {
			l := ln.queue[0]
			ln.queue = slices.Delete(ln.queue, 0, 1)
			n.wakeDialsLocked()
			return l.accepted, nil
		}
		ln.accepting.wait(never)
	}
	return nil, &net.OpError{Op: "accept", Net: netName, Addr: Addr(ln.addr), Err: net.ErrClosed}
}

// Close frees the address and resets the connections that were not accepted.
func (ln *listener) Close() error {
	n := ln.net
	n.mu.Lock()
	if ln.closed {
		n.mu.Unlock()
		return &net.OpError{Op: "close", Net: netName, Addr: Addr(ln.addr), Err: net.ErrClosed}
	}
	ln.closed = true
	delete(n.listeners, ln.addr)
	queue := ln.queue
	ln.queue = nil
	ln.accepting.wake()
	n.wakeDialsLocked()
	n.mu.Unlock()
	for _, l := range queue {
		l.reset("reset", nil)
	}
	return nil
}

func (ln *listener) Addr() net.Addr { return Addr(ln.addr) }

// An Addr is the name of a listener, or a dialler's name with the number of its connection.
type Addr string

const netName = "netsim"

// Network returns "netsim".
func (Addr) Network() string { return netName }

func (a Addr) String() string { return string(a) }
