package netsim

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// A Link is one connection as a script sees it: both directions, and the faults that can be injected. The
// methods of a Link and its Directions may be called at any time; after the connection has ended they do
// nothing.
type Link struct {
	Up   *Direction // from the dialler to the listener
	Down *Direction // from the listener to the dialler

	net               *Network
	number            uint64
	from, to          string
	dialler, accepted *Conn

	mu    sync.Mutex // guards both directions and both ends; never held while waiting
	isCut bool       // the link was reset: both ends fail
}

// Number returns the number of the connection; a network numbers its connections from 1.
func (l *Link) Number() uint64 { return l.number }

// Names returns the name of the dialler and the address of the listener.
func (l *Link) Names() (from, to string) { return l.from, l.to }

// Reset fails both ends now with ECONNRESET. Unread bytes are lost.
func (l *Link) Reset() { l.reset("reset", func(s *Stats) { s.Resets++ }) }

// BlackHole calls [Direction.BlackHole] for both directions: each side is gone for the other, without an error.
func (l *Link) BlackHole() {
	l.Up.BlackHole()
	l.Down.BlackHole()
}

// Stall calls [Direction.Stall] for both directions.
func (l *Link) Stall(d time.Duration) {
	l.Up.Stall(d)
	l.Down.Stall(d)
}

// A Middlebox sits in one direction of a connection and may drop, repeat, reorder or change the bytes that
// pass. It sees all bytes in order, but not in the pieces that were written or will be read: a middlebox that
// needs whole messages must keep incomplete ones.
//
// Pass appends to dst the bytes to send on and returns the result. Pass must not keep p. The writer calls it
// holding no lock, one call at a time; Pass must not wait. When the writer closes, Pass is called once more
// with an empty p, to release the bytes that it kept. The bytes that Pass adds may exceed the buffer's bound.
type Middlebox interface {
	Pass(dst, p []byte) []byte
}

// Conditions describe one direction of a connection.
type Conditions struct {
	// Latency is how long a byte travels. Jitter adds a random time up to its value to each write; order is
	// kept.
	Latency, Jitter time.Duration
	// Bandwidth is in bytes per second; zero means no limit. Bytes arrive in packets of up to 1460 bytes.
	Bandwidth int64
	// Buffer bounds the bytes written and not yet read, including bytes in transit. Zero means 256 KiB.
	Buffer int
}

const (
	defaultBuffer = 256 << 10
	packetSize    = 1460
)

func (c Conditions) validate() {
	if c.Latency < 0 || c.Jitter < 0 || c.Bandwidth < 0 || c.Buffer < 0 {
		panic(fmt.Sprintf("netsim: Conditions must not be negative, got %+v", c))
	}
}

// A Direction is one half of a connection: a bounded queue of bytes with instants of arrival.
type Direction struct {
	link           *Link
	name           string // "up" or "down"
	writer, reader *Conn
	reverse        *Direction
	script         *rand.Rand

	// Link.mu guards the fields below. Offsets count the bytes of this direction from its start.
	chance           *rand.Rand
	box              Middlebox
	boxed            []byte // output of box; reused
	passing          bool   // box.Pass is running
	writing          bool   // a Write is running
	readable         wakeup // wakes readers
	writable         wakeup // wakes writers
	want             int    // free space that the waiting Write needs before it is woken
	readBy, writeBy  time.Duration
	conditions       Conditions
	queue            ring
	wrote, read      uint64
	arrived          uint64   // offset of the end of the bytes known to have arrived
	packets          []packet // the packets after arrived; packets[:landed] have arrived
	landed           int
	sentAt, latestAt time.Duration // when the last byte left, and when it arrives
	finished         bool          // the writer has ended its side
	fin              bool          // the end is in transit
	finAt            time.Duration

	blackHole        bool
	swallowing       bool // BlackHoles counts it already
	stalledTo        time.Duration
	stallCounted     bool
	blocked          bool
	blockCounted     bool
	cutAt            uint64
	cutEnds          bool // end of file instead of a reset
	cutSet, cutEnded bool
	flips            []flip
}

// A packet is the bytes up to offset end, and the instant at which they arrive.
type packet struct {
	end uint64
	at  time.Duration
}

type flip struct {
	offset uint64
	mask   byte
}

func newLink(n *Network, number uint64, from, to string) *Link {
	l := &Link{net: n, number: number, from: from, to: to}
	local, remote := Addr(fmt.Sprintf("%s:%d", from, number)), Addr(to)
	l.dialler = &Conn{link: l, local: local, remote: remote}
	l.accepted = &Conn{link: l, local: remote, remote: local}
	l.Up = newDirection(l, "up", l.dialler, l.accepted)
	l.Down = newDirection(l, "down", l.accepted, l.dialler)
	l.Up.reverse, l.Down.reverse = l.Down, l.Up
	l.dialler.in, l.dialler.out = l.Down, l.Up
	l.accepted.in, l.accepted.out = l.Up, l.Down
	return l
}

func newDirection(l *Link, name string, writer, reader *Conn) *Direction {
	d := &Direction{
		link: l, name: name, writer: writer, reader: reader,
		readBy: never, writeBy: never,
	}
	stream := l.number << 2
	if name == "down" {
		stream |= 2
	}
	d.chance = rand.New(rand.NewPCG(l.net.seed, stream))
	d.script = rand.New(rand.NewPCG(l.net.seed, stream|1))
	d.setConditionsLocked(l.net.cfg.Conditions)
	d.readable.init(&l.mu, l.net.clock)
	d.writable.init(&l.mu, l.net.clock)
	return d
}

// Rand returns a random source for scripts and middleboxes. It depends on the network's seed, the connection's
// number and the direction, and the network does not draw from it. It is not safe for concurrent use.
func (d *Direction) Rand() *rand.Rand { return d.script }

// Buffered returns the number of bytes written and not yet read.
func (d *Direction) Buffered() int {
	d.link.mu.Lock()
	defer d.link.mu.Unlock()
	return d.queue.size
}

// SetConditions changes the conditions for subsequent writes. It panics if one is negative.
func (d *Direction) SetConditions(c Conditions) {
	c.validate()
	d.link.mu.Lock()
	defer d.link.mu.Unlock()
	d.setConditionsLocked(c)
	d.writable.wake()
}

func (d *Direction) setConditionsLocked(c Conditions) {
	if c.Buffer == 0 {
		c.Buffer = defaultBuffer
	}
	d.conditions = c
}

// SetMiddlebox puts box into the direction; nil removes it. Only a middlebox set in [Network.OnConnect] sees a
// stream from its first byte.
func (d *Direction) SetMiddlebox(box Middlebox) {
	d.link.mu.Lock()
	defer d.link.mu.Unlock()
	d.box = box
}

// ResetAfter resets the connection as soon as the reader has taken n more bytes, at once if n is not positive.
// The reader gets exactly these bytes. ResetAfter replaces an earlier ResetAfter or EndAfter.
func (d *Direction) ResetAfter(n int) { d.setCut(n, false) }

// EndAfter ends the direction with io.EOF after the reader has taken n more bytes, as if the writer had died in
// the middle. Bytes that the writer sends afterwards vanish. EndAfter replaces an earlier ResetAfter or
// EndAfter.
func (d *Direction) EndAfter(n int) { d.setCut(n, true) }

func (d *Direction) setCut(n int, ends bool) {
	l := d.link
	l.mu.Lock()
	d.cutSet, d.cutEnds, d.cutAt = true, ends, d.read+uint64(max(n, 0))
	d.cutLocked()
	over := l.isCut
	l.mu.Unlock()
	if over {
		l.net.forget(l)
	}
}

// cutLocked carries out ResetAfter or EndAfter if the reader has reached the offset.
func (d *Direction) cutLocked() {
	l := d.link
	if !d.cutSet || d.read < d.cutAt || l.isCut || l.overLocked() {
		return
	}
	d.cutSet = false
	if !d.cutEnds {
		l.resetLocked(d.name, "cut", func(s *Stats) { s.Cuts++ })
		return
	}
	if d.cutEnded {
		return
	}
	d.cutEnded = true
	l.net.note(func(s *Stats) { s.Truncated++ })
	l.net.trace(l.number, d.name, "truncate", 0)
	d.discardLocked()
	d.readable.wake()
}

// BlackHole swallows everything written from now on, including a close. The writer gets no error and never
// waits.
func (d *Direction) BlackHole() {
	d.link.mu.Lock()
	defer d.link.mu.Unlock()
	d.blackHole = true
	d.writable.wake()
}

// Stall withholds bytes and an end from the reader for the given duration, then releases everything at once.
// The writer fills the buffer and waits. If stalls overlap, the one that ends last counts.
func (d *Direction) Stall(duration time.Duration) {
	d.link.mu.Lock()
	defer d.link.mu.Unlock()
	if now := d.link.net.clock.now(); now >= d.stalledTo {
		d.stallCounted = false
	}
	d.stalledTo = max(d.stalledTo, d.link.net.clock.now()+duration)
	d.readable.wake()
}

// FlipAfter flips one bit, chosen by the seed, of the byte that the reader takes after n more bytes.
func (d *Direction) FlipAfter(n int) {
	d.link.mu.Lock()
	defer d.link.mu.Unlock()
	d.flips = append(d.flips, flip{d.read + uint64(max(n, 0)), 1 << d.chance.IntN(8)})
}

func (d *Direction) setBlocked(blocked bool) {
	d.link.mu.Lock()
	defer d.link.mu.Unlock()
	if d.blocked == blocked {
		return
	}
	d.blocked, d.blockCounted = blocked, false
	d.readable.wake()
	d.writable.wake()
}

// heldLocked reports whether a stall or a partition keeps everything from the reader.
func (d *Direction) heldLocked(now time.Duration) bool {
	return d.blocked || now < d.stalledTo
}

// noteHeldLocked counts the partition or stall that holds back a reader with something to read.
func (d *Direction) noteHeldLocked(now time.Duration) {
	n := d.link.net
	if d.blocked && !d.blockCounted {
		d.blockCounted = true
		n.note(func(s *Stats) { s.Partitions++ })
		n.trace(d.link.number, d.name, "partition", d.queue.size)
	}
	if now < d.stalledTo && !d.stallCounted {
		d.stallCounted = true
		n.note(func(s *Stats) { s.Stalls++ })
		n.trace(d.link.number, d.name, "stall", d.queue.size)
	}
}

// landLocked advances arrived past the packets that have arrived.
func (d *Direction) landLocked(now time.Duration) {
	for d.landed < len(d.packets) && d.packets[d.landed].at <= now {
		d.arrived = d.packets[d.landed].end
		d.landed++
	}
	if d.landed == len(d.packets) {
		d.packets, d.landed = d.packets[:0], 0
	} else if d.landed > 64 && d.landed > len(d.packets)/2 {
		d.packets = d.packets[:copy(d.packets, d.packets[d.landed:])]
		d.landed = 0
	}
}

// availableLocked returns how many bytes the reader may take, whether the stream has ended, and when to look
// again.
func (d *Direction) availableLocked(now time.Duration) (n int, end bool, again time.Duration) {
	if d.cutEnded {
		return 0, true, never
	}
	d.landLocked(now)
	n = int(d.arrived - d.read)
	end = n == 0 && d.queue.size == 0 && d.fin && now >= d.finAt
	if d.heldLocked(now) {
		if n > 0 || end {
			d.noteHeldLocked(now)
		}
		if d.blocked {
			return 0, false, never
		}
		return 0, false, d.stalledTo
	}
	again = never
	if d.landed < len(d.packets) {
		again = d.packets[d.landed].at
	} else if d.fin && now < d.finAt {
		again = d.finAt
	}
	if d.cutSet {
		n = min(n, int(d.cutAt-d.read))
	}
	return n, end, again
}

// takeLocked reads len(p) bytes for the reader.
func (d *Direction) takeLocked(p []byte) {
	d.queue.read(p)
	before := d.read
	d.read += uint64(len(p))
	d.link.net.trace(d.link.number, d.name, "read", len(p))
	kept := d.flips[:0]
	for _, f := range d.flips {
		if f.offset >= d.read {
			kept = append(kept, f)
			continue
		}
		p[f.offset-before] ^= f.mask
		d.link.net.note(func(s *Stats) { s.Flips++ })
		d.link.net.trace(d.link.number, d.name, "flip", int(f.mask))
	}
	d.flips = kept
	if free := d.conditions.Buffer - d.queue.size; free >= d.want {
		d.writable.wake()
	}
	d.cutLocked()
}

// sendLocked sends p, which fits the buffer. It releases the lock while the middlebox runs.
func (d *Direction) sendLocked(p []byte) {
	if d.box != nil {
		d.passLocked(p)
		p = d.boxed
	}
	if len(p) == 0 || d.link.isCut || d.cutEnded || d.reader.closed {
		return
	}
	n := d.link.net
	if d.blackHole {
		d.swallowLocked(len(p))
		return
	}
	n.trace(d.link.number, d.name, "write", len(p))
	d.queue.write(p)
	d.departLocked(len(p))
	d.readable.wake()
}

func (d *Direction) passLocked(p []byte) {
	box, dst := d.box, d.boxed[:0]
	d.passing = true
	d.link.mu.Unlock()
	dst = box.Pass(dst, p)
	d.link.mu.Lock()
	d.passing, d.boxed = false, dst
	d.writable.wake()
}

func (d *Direction) swallowLocked(bytes int) {
	first := !d.swallowing
	d.swallowing = true
	d.link.net.note(func(s *Stats) {
		s.Swallowed += uint64(bytes)
		if first {
			s.BlackHoles++
		}
	})
	d.link.net.trace(d.link.number, d.name, "swallow", bytes)
}

// departLocked computes when the last n queued bytes arrive.
func (d *Direction) departLocked(n int) {
	c := &d.conditions
	if c.Latency == 0 && c.Jitter == 0 && c.Bandwidth == 0 && len(d.packets) == 0 {
		d.wrote += uint64(n)
		d.arrived = d.wrote
		return
	}
	now := d.link.net.clock.now()
	delay := d.delayLocked()
	start := max(now, d.sentAt)
	sent := start
	for n > 0 {
		size := n
		if c.Bandwidth > 0 {
			size = min(n, packetSize)
			sent += time.Duration(float64(size) / float64(c.Bandwidth) * float64(time.Second))
		}
		n -= size
		d.wrote += uint64(size)
		d.latestAt = max(d.latestAt, sent+delay)
		if last := len(d.packets) - 1; last >= d.landed && d.packets[last].at == d.latestAt {
			d.packets[last].end = d.wrote
		} else {
			d.packets = append(d.packets, packet{d.wrote, d.latestAt})
		}
	}
	d.sentAt = sent
	d.link.net.note(func(s *Stats) {
		if delay > 0 {
			s.Delayed++
		}
		if sent > now {
			s.Slowed++
		}
	})
}

func (d *Direction) delayLocked() time.Duration {
	delay := d.conditions.Latency
	if j := d.conditions.Jitter; j > 0 {
		delay += time.Duration(d.chance.Int64N(int64(j) + 1))
	}
	return delay
}

// finishLocked ends the writer's side. It releases the lock while the middlebox runs.
func (d *Direction) finishLocked() {
	d.finished = true
	for d.passing {
		d.writable.wait(never)
	}
	if d.box != nil {
		d.sendLocked(nil)
	}
	if d.link.isCut || d.cutEnded || d.reader.closed {
		return
	}
	if d.blackHole {
		d.swallowLocked(0)
		return
	}
	d.fin = true
	d.finAt = max(d.latestAt, max(d.sentAt, d.link.net.clock.now())+d.delayLocked())
	d.readable.wake()
}

// discardLocked drops the unread bytes.
func (d *Direction) discardLocked() {
	d.queue = ring{}
	d.packets, d.landed = nil, 0
	d.read, d.arrived = d.wrote, d.wrote
	d.writable.wake()
}

// reset fails both ends unless the connection has ended.
func (l *Link) reset(what string, count func(*Stats)) {
	l.mu.Lock()
	if !l.isCut && !l.overLocked() {
		l.resetLocked("", what, count)
	}
	l.mu.Unlock()
	l.net.forget(l)
}

func (l *Link) resetLocked(dir, what string, count func(*Stats)) {
	l.isCut = true
	if count != nil {
		l.net.note(count)
	}
	l.net.trace(l.number, dir, what, l.Up.queue.size+l.Down.queue.size)
	l.releaseLocked()
}

func (l *Link) overLocked() bool { return l.dialler.closed && l.accepted.closed }

// releaseLocked wakes all waiters and frees the buffers and alarms of a connection that has ended.
func (l *Link) releaseLocked() {
	for _, d := range [...]*Direction{l.Up, l.Down} {
		d.discardLocked()
		d.readable.wake()
		d.readable.cancel()
		d.writable.cancel()
	}
}
