package publisher

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/publisher/journal"
)

// A Publisher numbers ticks, appends them to the log, and serves the log to subscribers. Its methods are safe for
// concurrent use, except Close.
type Publisher struct {
	cfg     Config
	journal *journal.Journal // nil: memory only
	lineage feed.Lineage
	session feed.Session
	seed    uint32
	log     *memlog

	// The sequencer is the one place where ticks are numbered. mu is held while ticks are encoded, never while
	// anything blocks. Acquire it with lock, not mu.Lock, before reading the fields below: lock first appends held
	// ticks.
	mu       sync.Mutex
	held     []feed.Tick // published, in order, not yet appended to the open packet: see holdLocked
	state    *feed.State // state as of next
	next     uint64      // number of the next tick
	seg      *segment    // the segment being filled
	off      int         // offset of the next entry in seg.buf
	open     int         // offset of the open packet in seg.buf; -1 if none is open
	first    uint64      // number of the first tick of the open packet
	base     int64       // base event time of the open packet
	lastTime int64       // publish time of the last sealed packet
	event    int64       // event time of the last tick that had an event time
	ended    bool
	recorded bool          // Republish or Relay was called
	relayed  []feed.Tick   // buffer of Relay, reused by each call
	room     chan struct{} // closed and replaced whenever the flusher makes progress
	pieces   []piece       // sealed, not yet in the journal; in order
	spare    []piece       // empty slice that flush swaps with pieces

	active   atomic.Bool   // a goroutine is flushing, and looks for more before it stops
	flushing chan struct{} // 1 slot, held by the goroutine that flushes
	lastDone atomic.Int64  // when the last flush ended, in ns, on clock
	clock    clock
	kick     chan struct{} // 1 slot: wakes the flusher
	syncNow  chan struct{} // 1 slot: wakes the housekeeper
	fatal    atomic.Pointer[fatalError]
	holed    atomic.Bool // the log has packets that withhold numbers, or report them gone

	disk    atomic.Pointer[string] // why the journal cannot be written; nil if it can
	trouble string                 // the condition for writing to resume, as last logged; protected by the slot of flushing
	starved atomic.Bool            // a subscriber waits for a file descriptor to read the journal
	closing chan struct{}
	done    sync.WaitGroup // goroutines that New started

	serving server
}

// A clock counts the time since a publisher started.
type clock struct{ started time.Time }

func (c *clock) now() time.Duration { return time.Since(c.started) }

type fatalError struct{ err error }

// A piece is a run of sealed packets of one segment.
type piece struct {
	seg      *segment
	from, to int
	next     uint64
	time     int64
	tried    bool // the journal may already hold part of the piece: it must be appended again unchanged
}

// A Config configures a Publisher. The zero value of each field selects its default.
type Config struct {
	// Journal is the directory of the log on disk. If it is empty, only ticks still in memory can be replayed.
	Journal     string
	FS          journal.FS // nil for the file system of the operating system
	Sync        journal.Sync
	SegmentSize int64         // of a journal file, in bytes; 0 for the default of journal.Config
	RetainBytes int64         // approximate size of the journal; 0 for no bound
	RetainAge   time.Duration // age at which the journal removes ticks; 0 for no bound
	Memory      int64         // size of the log in memory, in bytes, at least MinMemory; 0 for DefaultMemory

	Heartbeat        time.Duration // longest silence on a connection; 0 for DefaultHeartbeat
	Mode             codec.Mode
	MaxConnections   int           // 0 for DefaultConnections; lowered if the process has too few file descriptors, with a warning if it was set: see Fit
	MaxHandshakes    int           // connections that have not logged in; above it, the oldest is closed. 0 for DefaultHandshakes
	HandshakeTimeout time.Duration // 0 for DefaultHandshakeTimeout
	// WaitFor makes publishing without a journal wait for subscribers before it drops numbers from a full memory:
	// first until WaitFor subscribers have connected since the start, then until the numbers were sent to WaitFor of
	// the connected subscribers, or to all of them if they are fewer. 0 disables waiting.
	WaitFor    int
	MaxLag     time.Duration // lag limit of the slow-consumer policies for clients that set none; 0 for DefaultMaxLag
	RetryAfter time.Duration // upper bound of the random delay that each client is asked to wait before it reconnects after a shutdown
	Token      codec.Token   // token that clients must present; empty to accept all clients
	Server     string        // name and version sent to clients; empty for "tickfeed"
	Source     string        // description of the data for people, recorded in the journal

	// A replay keeps the recorded numbers. Origin is the session that was recorded, First the number that the session
	// begins with (0 for 1), and State the state as of First (nil for an empty one), which the publisher takes over.
	// If First is not 0, the journal must be empty.
	Origin feed.SessionID
	First  uint64
	State  *feed.State

	Now    func() int64        // wall clock in ns since the Unix epoch; nil for the system's
	Sleep  func(time.Duration) // for pauses below a millisecond; nil for the system call, which testing/synctest cannot fake
	Seed   uint64              // of all random choices except session ids; 0 for a random seed
	Logger zerolog.Logger

	fitted bool // Fit was called
}

// Defaults and bounds of a Config, and the bounds of everything that can grow.
const (
	DefaultMemory           = 64 << 20
	MinMemory               = 1 << 20
	DefaultHeartbeat        = time.Second
	MinHeartbeat            = 10 * time.Millisecond
	MaxHeartbeat            = time.Minute
	DefaultConnections      = 20_000
	DefaultHandshakes       = 1024
	DefaultHandshakeTimeout = 5 * time.Second
	DefaultMaxLag           = 5 * time.Second

	segmentSize   = 1 << 20
	minSegments   = 8
	packetTarget  = 16 << 10 // body size in bytes above which a packet is sealed
	handOver      = 50 * time.Microsecond
	diskRetry     = 100 * time.Millisecond
	houseInterval = time.Second
	waitPoll      = 20 * time.Millisecond // how often publishing that waits for subscribers checks for them
	waitSay       = 10 * time.Second      // how often it logs that it waits
	maxUnsynced   = 16 << 20              // bytes after which the journal is synced ahead of the next second
)

// ErrEnded is returned for ticks published after End, and ErrClosed by a closed publisher.
var (
	ErrEnded  = errors.New("publisher: the session has ended")
	ErrClosed = errors.New("publisher: closed")
)

func (c *Config) fill() error {
	for _, d := range []struct {
		name     string
		v        *time.Duration
		def      time.Duration
		min, max time.Duration
	}{
		{"Heartbeat", &c.Heartbeat, DefaultHeartbeat, MinHeartbeat, MaxHeartbeat},
		{"HandshakeTimeout", &c.HandshakeTimeout, DefaultHandshakeTimeout, time.Millisecond, time.Hour},
		{"MaxLag", &c.MaxLag, DefaultMaxLag, time.Millisecond, codec.MaxDuration},
		{"RetryAfter", &c.RetryAfter, 0, 0, time.Hour},
	} {
		if *d.v == 0 {
			*d.v = d.def
		}
		if *d.v < d.min || *d.v > d.max {
			return fmt.Errorf("publisher: %s must be from %v to %v, got %v", d.name, d.min, d.max, *d.v)
		}
	}
	if c.Memory == 0 {
		c.Memory = DefaultMemory
	}
	if c.Memory < MinMemory {
		return fmt.Errorf("publisher: Memory must be at least %d bytes, got %d", MinMemory, c.Memory)
	}
	for _, n := range []struct {
		name string
		v    int
	}{{"MaxConnections", c.MaxConnections}, {"MaxHandshakes", c.MaxHandshakes}} {
		if n.v < 0 {
			return fmt.Errorf("publisher: %s must be positive, got %d", n.name, n.v)
		}
	}
	if c.WaitFor < 0 {
		return fmt.Errorf("publisher: WaitFor must not be negative, got %d", c.WaitFor)
	}
	if len(c.Token) > codec.MaxToken {
		return fmt.Errorf("publisher: Token has %d bytes, at most %d", len(c.Token), codec.MaxToken)
	}
	if c.First > codec.MaxSeq {
		return fmt.Errorf("publisher: First must be at most %d, got %d", uint64(codec.MaxSeq), c.First)
	}
	if c.Server == "" {
		c.Server = "tickfeed"
	}
	if c.Now == nil {
		c.Now = func() int64 { return time.Now().UnixNano() }
	}
	if c.Sleep == nil {
		c.Sleep = sleep
	}
	if c.Seed == 0 {
		c.Seed = randomID()
	}
	if err := c.Fit(1); err != nil {
		return err
	}
	c.MaxConnections, c.MaxHandshakes = cmp.Or(c.MaxConnections, DefaultConnections), cmp.Or(c.MaxHandshakes, DefaultHandshakes)
	return nil
}

// New returns a publisher and begins its session: a child of the session in the journal, or a root session if there
// is none. The error wraps journal.ErrLocked if another publisher uses the journal, and ErrDescriptors if there are
// too few file descriptors. The caller must call Close.
func New(cfg Config) (*Publisher, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	p := &Publisher{
		cfg:      cfg,
		state:    feed.NewState(),
		next:     1,
		open:     -1,
		room:     make(chan struct{}),
		kick:     make(chan struct{}, 1),
		held:     make([]feed.Tick, 0, mostHeld),
		syncNow:  make(chan struct{}, 1),
		flushing: make(chan struct{}, 1),
		closing:  make(chan struct{}),
		clock:    clock{time.Now()},
	}
	id := feed.SessionID(randomID())
	if cfg.First > 0 {
		p.next = cfg.First
	}
	if cfg.State != nil {
		p.state = cfg.State
		p.cfg.State = nil
	}
	p.lineage = feed.Lineage{{ID: id, First: p.next}}
	if cfg.Journal != "" {
		j, err := journal.Open(journal.Config{
			Dir: cfg.Journal, FS: cfg.FS, SegmentSize: cfg.SegmentSize, Sync: cfg.Sync, Now: cfg.Now,
			RetainBytes: cfg.RetainBytes, RetainAge: cfg.RetainAge, Source: cfg.Source,
			Origin: cfg.Origin,
		})
		if err != nil {
			return nil, err
		}
		p.journal = j
		if r := j.Recovered(); len(r.Lineage) > 0 {
			if cfg.First > 0 {
				return nil, errors.Join(fmt.Errorf("publisher: a session cannot begin at %d in journal %s, which is not empty", cfg.First, cfg.Journal), j.Close())
			}
			p.lineage = r.Lineage.Child(id, r.Next)
			p.next, p.lastTime, p.event = r.Next, r.LastTime, r.LastEvent
			if p.lastTime == 0 { // nothing is left of what was published: what is gone has the time of what will follow it, at most
				p.lastTime = cfg.Now()
			}
			p.state = r.State
		}
		if err := j.Begin(p.lineage, cfg.Mode, p.state.Clone()); err != nil {
			return nil, errors.Join(err, j.Close())
		}
	}
	p.session = p.lineage.Current()
	p.seed = codec.LineSeed(p.session.ID, nil)
	size := int(min(segmentSize, cfg.Memory/minSegments))
	p.log = newMemlog(size, int(cfg.Memory/int64(size)), p.next, p.lastTime, p.state.Clone())
	p.seg = p.log.newest()
	p.serving.init(cfg)
	p.serving.states.p = p
	p.serving.tallies.init(&p.cfg.Logger)
	p.done.Go(p.flusher)
	for i := range p.serving.pumps {
		p.done.Go(func() { p.serving.pumps[i].run(p.closing, p.cfg.Sleep) })
	}
	if p.journal != nil {
		p.done.Go(p.housekeeper)
	}
	return p, nil
}

func randomID() uint64 {
	var b [8]byte
	for {
		_, _ = rand.Read(b[:]) // never fails
		if v := binary.BigEndian.Uint64(b[:]); v != 0 {
			return v
		}
	}
}

// Lineage returns the sessions that this publisher continues, oldest first; its own session is the last.
func (p *Publisher) Lineage() feed.Lineage { return p.lineage }

// Recovered returns what the journal held when the publisher started; nil without a journal.
func (p *Publisher) Recovered() *journal.Recovered {
	if p.journal == nil {
		return nil
	}
	return p.journal.Recovered()
}

// Define registers an instrument and returns its id, which is new unless an instrument with the same symbol and venue
// exists. It publishes a definition tick if the instrument is new or its definition has changed. It returns the
// errors of Publish.
func (p *Publisher) Define(ctx context.Context, d feed.Definition) (feed.InstrumentID, error) {
	id, _, err := p.define(ctx, d, 0)
	return id, err
}

// define is Define with an event time for the definition tick; 0 selects the event time of the last tick. It also
// reports whether a tick was published.
func (p *Publisher) define(ctx context.Context, d feed.Definition, eventTime int64) (_ feed.InstrumentID, published bool, _ error) {
	if err := d.Validate(); err != nil {
		return 0, false, fmt.Errorf("publisher: %w", err)
	}
	p.lock()
	id, known := p.state.Lookup(d.Symbol, d.Venue)
	if known {
		if old, _ := p.state.Definition(id); *old == d {
			p.mu.Unlock()
			return id, false, nil
		}
	} else if id = feed.InstrumentID(p.state.Len()); id >= feed.MaxInstruments {
		p.mu.Unlock()
		return 0, false, fmt.Errorf("publisher: %s would be instrument %d, at most %d", d.Name(), id, feed.MaxInstruments)
	}
	if eventTime == 0 {
		eventTime = p.event
	}
	def := d
	t := feed.Tick{Kind: feed.KindDefinition, Instrument: id, EventTime: eventTime, Extra: &feed.Extra{Definition: &def}}
	err := p.appendLocked(ctx, []feed.Tick{t})
	p.mu.Unlock()
	p.appendedSome()
	return id, err == nil, err
}

// Publish numbers ticks and appends them to the log, in order and without a gap; it ignores their Seq. The caller may
// reuse ticks, but not the values that Extra points to. Subscribers are sent the ticks once they are in the journal.
//
// Publish waits while the memory log is full of ticks that the journal has not taken, for example on a full disk,
// until ctx ends. A *PublishError says how many ticks of the call were published; those stay published. It wraps
// ctx.Err(), ErrEnded, ErrClosed, an error about an invalid tick or an undefined instrument, or the error of a failed
// journal, which is final.
func (p *Publisher) Publish(ctx context.Context, ticks []feed.Tick) error {
	p.mu.Lock()
	n := 0
	if len(ticks) < heldAtOnce {
		n = p.holdLocked(ticks)
	}
	var err error
	if n < len(ticks) {
		p.settleLocked()
		err = p.appendLocked(ctx, ticks[n:])
	}
	p.mu.Unlock()
	p.appendedSome()
	if partial, ok := err.(*PublishError); ok {
		partial.Published += n
	}
	return err
}

// lock acquires p.mu and appends the held ticks.
func (p *Publisher) lock() {
	p.mu.Lock()
	p.settleLocked()
}

// Bounds of the held ticks.
const (
	mostHeld   = 64 // ticks that are held at most
	heldAtOnce = 8  // calls of Publish with this many ticks or more append them directly
)

// holdLocked holds the first of ticks, to append them later together with others. It stops at the first tick that may
// be refused, or may not fit into the open packet, and returns how many it holds. A tick appended with many others
// costs a third of a tick appended alone, and the typical call of Publish has one. Held ticks are numbered by
// settleLocked.
func (p *Publisher) holdLocked(ticks []feed.Tick) (n int) {
	if p.ended || p.open < 0 || p.base == 0 {
		return 0
	}
	for n = range ticks {
		t := &ticks[n]
		if len(p.held) == mostHeld {
			p.settleLocked()
		}
		at := len(p.held)
		if !p.state.Defined(t.Instrument) || !codec.IsFixed(t) || p.off+at*codec.MaxFixed+codec.MaxEntry > p.fullLocked() {
			return n
		}
		p.held = p.held[:at+1]
		p.held[at] = *t
	}
	return len(ticks)
}

// settleLocked appends the held ticks.
func (p *Publisher) settleLocked() {
	if len(p.held) == 0 {
		return
	}
	if n := p.appendFixedLocked(p.held); n < len(p.held) {
		panic(fmt.Sprintf("publisher: internal error: of %d ticks that were held, %d were appended", len(p.held), n))
	}
	p.held = p.held[:0]
}

// A PublishError reports that only the first Published ticks of a call were published.
type PublishError struct {
	Published int
	Err       error
}

func (e *PublishError) Error() string {
	return fmt.Sprintf("publish, after %d ticks of the call: %v", e.Published, e.Err)
}

func (e *PublishError) Unwrap() error { return e.Err }

// appendLocked encodes ticks into the open packet, sealing packets and opening segments as they fill. It releases
// p.mu while it waits for room.
func (p *Publisher) appendLocked(ctx context.Context, ticks []feed.Tick) error {
	for i := 0; i < len(ticks); {
		if n := p.appendFixedLocked(ticks[i:]); n > 0 {
			i += n
			continue
		}
		if err := p.appendTickLocked(ctx, &ticks[i]); err != nil {
			return &PublishError{Published: i, Err: err}
		}
		i++
	}
	return nil
}

// appendFixedLocked appends the leading ticks that have the common fixed layout and fit into the open packet, and
// returns how many. It is the fast path of appendLocked; appendTickLocked handles the other ticks and all errors.
func (p *Publisher) appendFixedLocked(ticks []feed.Tick) int {
	if p.ended || p.open < 0 || p.base == 0 {
		return 0
	}
	full := p.fullLocked()
	if p.off >= full {
		return 0
	}
	dst := p.seg.buf[:p.off:full]
	body, n, latest := codec.AppendFixed(dst, ticks, p.base, p.event)
	applied, err := p.state.ApplyAll(ticks[:n])
	if err != nil {
		body, _, latest = codec.AppendFixed(dst, ticks[:applied], p.base, p.event)
	}
	p.off, p.event = len(body), latest
	p.next += uint64(applied)
	return applied
}

// fullLocked returns the offset at which the buffer of the open packet ends.
func (p *Publisher) fullLocked() int {
	return min(p.open+codec.PacketHeader+packetTarget+codec.MaxEntry, len(p.seg.buf))
}

func (p *Publisher) appendTickLocked(ctx context.Context, t *feed.Tick) error {
	if p.ended {
		return ErrEnded
	}
	if err := codec.ValidateTick(t); err != nil {
		return err
	}
	if t.Kind == feed.KindSummary {
		return fmt.Errorf("a summary cannot be published: it stands in snapshots only")
	}
	if id := t.Instrument; t.Kind == feed.KindDefinition && p.cfg.Mode != codec.ModeReplay && int(id) > p.state.Len() {
		return fmt.Errorf("definition of instrument %d: ids are given in order, and the next one is %d", id, p.state.Len())
	}
	if p.open < 0 || p.off-p.open > codec.PacketHeader+packetTarget || p.off+codec.MaxEntry > len(p.seg.buf) ||
		p.base == 0 && t.EventTime != 0 { // offsets from base 0 would all be wide
		if err := p.openPacketLocked(ctx); err != nil {
			return err
		}
		p.base = t.EventTime
	}
	if err := p.state.Apply(t); err != nil && !(p.recorded && isUndefined(err)) {
		return err
	}
	p.off = len(codec.AppendTick(p.seg.buf[:p.off], t, p.base))
	if t.EventTime > p.event {
		p.event = t.EventTime
	}
	p.next++
	return nil
}

// openPacketLocked seals the open packet and opens the next one.
func (p *Publisher) openPacketLocked(ctx context.Context) error {
	if err := p.roomLocked(ctx, codec.PacketHeader+codec.MaxEntry); err != nil {
		return err
	}
	p.open, p.first = p.off, p.next
	p.off += codec.PacketHeader
	return nil
}

// roomLocked seals the open packet and makes room for size bytes of the next one.
func (p *Publisher) roomLocked(ctx context.Context, size int) error {
	p.sealLocked()
	for p.off+size > len(p.seg.buf) {
		if err := p.usable(); err != nil {
			return err
		}
		var state *feed.State
		if p.awaitsSubscribers() {
			if err := p.waitForSubscribersLocked(ctx); err != nil {
				return err
			}
			continue
		}
		if p.log.stateDue(p.next, p.state.Len()) {
			state = p.state.Clone()
		}
		if s, ok := p.log.extend(p.next, state); ok {
			p.seg, p.off = s, 0
			break
		}
		if err := p.waitForRoomLocked(ctx); err != nil {
			return err
		}
	}
	return p.usable()
}

// waitForRoomLocked releases the lock and waits until the flusher has made progress. Another goroutine may have
// opened a packet meanwhile, also in a new segment; that packet is sealed.
func (p *Publisher) waitForRoomLocked(ctx context.Context) error {
	room := p.room
	p.mu.Unlock()
	p.kickFlusher()
	select {
	case <-room:
	case <-p.closing:
	case <-ctx.Done():
	}
	p.lock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if p.ended {
		return ErrEnded
	}
	p.sealLocked()
	return nil
}

// awaitsSubscribers reports whether memory is full of numbers that must first be sent to subscribers: see
// Config.WaitFor.
func (p *Publisher) awaitsSubscribers() bool {
	if p.cfg.WaitFor == 0 || p.journal != nil {
		return false
	}
	full, ok := p.log.mayDrop(func(next uint64) bool {
		sent, connected, joined := p.serving.sentTo(next)
		return joined >= uint64(p.cfg.WaitFor) && sent >= min(p.cfg.WaitFor, connected)
	})
	return full && !ok
}

// waitForSubscribersLocked releases the lock and waits until awaitsSubscribers returns false.
func (p *Publisher) waitForSubscribersLocked(ctx context.Context) error {
	p.mu.Unlock()
	defer p.lock()
	p.kickFlusher()
	poll := time.NewTicker(waitPoll)
	defer poll.Stop()
	said := time.Now().Add(-waitSay)
	for p.awaitsSubscribers() {
		if _, _, joined := p.serving.sentTo(0); joined < uint64(p.cfg.WaitFor) && time.Since(said) >= waitSay {
			said = time.Now()
			p.cfg.Logger.Warn().Int("wait_for", p.cfg.WaitFor).Uint64("connected", joined).
				Msg("memory is full: publishing waits for subscribers before it drops the first number")
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-p.closing:
			return ErrClosed
		}
	}
	return nil
}

// usable returns why nothing can be published any more, or nil.
func (p *Publisher) usable() error {
	if f := p.fatal.Load(); f != nil {
		return f.err
	}
	select {
	case <-p.closing:
		return ErrClosed
	default:
		return nil
	}
}

// sealLocked seals the open packet for the flusher, or discards it if it has no ticks.
func (p *Publisher) sealLocked() {
	if p.open < 0 {
		return
	}
	if p.next == p.first { // the tick that opened it was refused
		p.off, p.open = p.open, -1
		return
	}
	p.lastTime = max(p.lastTime, p.cfg.Now())
	codec.SealPacket(p.seg.buf[p.open:p.off], &codec.Packet{
		First: p.first, Count: p.next - p.first, PublishTime: p.lastTime, Base: p.base,
	}, p.seed)
	if n := len(p.pieces); n > 0 && p.pieces[n-1].seg == p.seg && !p.pieces[n-1].tried {
		l := &p.pieces[n-1]
		l.to, l.next, l.time = p.off, p.next, p.lastTime
	} else {
		p.pieces = append(p.pieces, piece{seg: p.seg, from: p.open, to: p.off, next: p.next, time: p.lastTime})
	}
	p.open = -1
}

// appendedSome gets appended ticks flushed: by this goroutine if the publisher was idle, which is fastest, otherwise
// by the flusher, which then sends more at once.
func (p *Publisher) appendedSome() {
	if p.active.Load() || !p.active.CompareAndSwap(false, true) {
		return
	}
	if p.clock.now()-time.Duration(p.lastDone.Load()) < handOver {
		p.kickFlusher()
		return
	}
	select {
	case p.flushing <- struct{}{}:
	default:
		p.kickFlusher()
		return
	}
	err := p.flush()
	<-p.flushing
	if err != nil {
		p.kickFlusher() // the flusher waits for room, or reports that the journal failed
		return
	}
	p.rest()
}

// rest marks the publisher as idle after a flush, and kicks the flusher if there is more to flush.
func (p *Publisher) rest() {
	p.lastDone.Store(int64(p.clock.now()))
	p.active.Store(false)
	p.mu.Lock()
	more := p.open >= 0 || len(p.pieces) > 0
	p.mu.Unlock()
	if more && p.active.CompareAndSwap(false, true) {
		p.kickFlusher()
	}
}

func (p *Publisher) kickFlusher() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// flusher flushes whenever it is kicked, and retries while the journal cannot be written.
func (p *Publisher) flusher() {
	retry := time.NewTimer(time.Hour)
	retry.Stop()
	for {
		select {
		case <-p.kick:
		case <-retry.C:
		case <-p.closing:
			return
		}
		p.flushing <- struct{}{}
		err := p.flush()
		<-p.flushing
		switch {
		case err == nil:
			p.rest()
		case errors.Is(err, journal.ErrFull):
			retry.Reset(diskRetry)
		default:
			p.fail(err)
			return
		}
	}
}

// flush writes all appended ticks to the journal and commits them. The caller must hold the slot of p.flushing. After
// an error the uncommitted pieces are kept for the next flush.
func (p *Publisher) flush() error {
	for {
		if err := p.goHome(); err != nil {
			p.diskState(err)
			return err
		}
		p.lock()
		p.sealLocked()
		pieces := p.pieces
		p.pieces = p.spare[:0]
		p.mu.Unlock()
		if len(pieces) == 0 {
			p.mu.Lock()
			p.spare = pieces
			p.mu.Unlock()
			p.diskState(nil)
			return nil
		}
		for i := range pieces {
			if err := p.flushPiece(&pieces[i]); err != nil {
				pieces[i].tried = true
				p.mu.Lock()
				p.pieces = append(append([]piece(nil), pieces[i:]...), p.pieces...)
				p.mergePiecesLocked()
				p.mu.Unlock()
				p.diskState(err)
				return err
			}
		}
		p.diskState(nil)
		p.mu.Lock()
		p.spare = pieces
		if p.room != nil {
			close(p.room)
			p.room = make(chan struct{})
		}
		p.mu.Unlock()
		p.serving.wake()
	}
}

// goHome continues the journal in a new file if the current file was removed, or is no longer at its path in the
// journal directory. The numbering continues: no other publisher has used these numbers.
func (p *Publisher) goHome() error {
	if p.journal == nil || !p.journal.Missing() {
		return nil
	}
	next, _ := p.log.end()
	state, ok := p.log.stateAt(next)
	if !ok {
		panic(fmt.Sprintf("publisher: internal error: the state as of %d, the end of the log, is not in memory", next))
	}
	if err := p.journal.Rotate(state); err != nil {
		return err
	}
	p.wakeHousekeeper()
	p.cfg.Logger.Warn().Str("journal", p.cfg.Journal).Uint64("next", next).
		Msg("journal: continues in a new file; the ticks of the missing files are served from memory only, and not at all after a restart")
	return nil
}

// mergePiecesLocked joins neighbouring pieces of one segment, so that there are about as few pieces as segments.
func (p *Publisher) mergePiecesLocked() {
	out := p.pieces[:0]
	for _, x := range p.pieces {
		if n := len(out); n > 0 && out[n-1].seg == x.seg && !out[n-1].tried {
			out[n-1].to, out[n-1].next, out[n-1].time = x.to, x.next, x.time
			continue
		}
		out = append(out, x)
	}
	p.pieces = out
}

// flushPiece writes one piece to the journal and commits it. A new journal file begins only at the start of a memory
// segment, where the state that the file begins with is at hand or quickly computed.
func (p *Publisher) flushPiece(x *piece) error {
	if p.journal != nil {
		if x.from == 0 && (x.seg.restated || p.journal.Full()) {
			state, ok := p.log.stateAt(x.seg.first)
			if !ok {
				panic(fmt.Sprintf("publisher: internal error: the state as of %d is to be written, and is not in memory", x.seg.first))
			}
			if err := p.journal.Rotate(state); err != nil {
				return err
			}
			p.wakeHousekeeper()
		}
		if err := p.journal.Append(x.seg.buf[x.from:x.to], x.next, x.time); err != nil {
			return err
		}
		switch p.cfg.Sync {
		case journal.SyncAlways:
			if err := p.journal.Sync(); err != nil {
				return err
			}
		case journal.SyncInterval:
			if unsynced, _ := p.journal.Unsynced(); unsynced > maxUnsynced {
				p.wakeHousekeeper()
			}
		}
	}
	p.log.commit(x.seg, x.to, x.next, x.time)
	return nil
}

func (p *Publisher) wakeHousekeeper() {
	select {
	case p.syncNow <- struct{}{}:
	default:
	}
}

// diskState logs once when the journal can no longer be written, again when the reason changes, and once when it can
// be written again. The caller must hold the slot of p.flushing.
func (p *Publisher) diskState(err error) {
	switch {
	case err == nil && p.disk.Load() != nil:
		p.disk.Store(nil)
		p.trouble = ""
		p.cfg.Logger.Info().Msg("journal: can be written again")
	case errors.Is(err, journal.ErrFull):
		s := err.Error()
		p.disk.Store(&s)
		what, until := diskTrouble(err)
		if until == p.trouble {
			return
		}
		p.trouble = until
		p.cfg.Logger.Warn().Err(err).Msgf("journal: %s, publishing waits; subscribers are still served, and publishing resumes once %s", what, until)
	}
}

// diskTrouble returns why the journal cannot be written, and the condition under which it can be written again.
func diskTrouble(err error) (what, until string) {
	switch {
	case recording.IsFull(err):
		return "disk full", "there is room"
	case journal.OutOfDescriptors(err):
		return "no file descriptors left", "there are some"
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		return "files cannot be created or written", "the publisher has write permission"
	case errors.Is(err, os.ErrNotExist):
		return "files cannot be created or written", "the directory can be created"
	}
	return "files cannot be created or written", "the file in the place of the directory, or of a file in it, is removed or moved away"
}

// starves reports whether err means that no file descriptor is left to read the journal. It logs once when the
// shortage begins, and once when the journal can be read again.
func (p *Publisher) starves(err error) bool {
	switch {
	case errors.Is(err, journal.ErrFull):
		if p.starved.CompareAndSwap(false, true) {
			p.cfg.Logger.Warn().Err(err).Msg("journal: no file descriptors left to read it, subscribers that need it wait")
		}
		return true
	case err == nil && p.starved.CompareAndSwap(true, false):
		p.cfg.Logger.Info().Msg("journal: can be read again")
	}
	return false
}

// fail records that the journal failed for good. Nothing is published from then on.
func (p *Publisher) fail(err error) {
	if !p.fatal.CompareAndSwap(nil, &fatalError{fmt.Errorf("publisher: %w", err)}) {
		return
	}
	p.cfg.Logger.Error().Err(err).Msg("journal failed: nothing more is published; restart to begin a child session")
	p.mu.Lock()
	close(p.room)
	p.room = make(chan struct{})
	p.mu.Unlock()
}

// Failed returns the error that stopped the publisher from publishing for good, or nil.
func (p *Publisher) Failed() error {
	if f := p.fatal.Load(); f != nil {
		return f.err
	}
	return nil
}

// housekeeper syncs the journal, checks that its files are still there and applies retention, once a second. It also
// syncs when much is unsynced, and settles each journal file as soon as the flusher has rotated to the next one.
func (p *Publisher) housekeeper() {
	tick := time.NewTicker(houseInterval)
	defer tick.Stop()
	var unwell condition // the directory is not as it was left
	for {
		retain := false
		select {
		case <-tick.C:
			retain = true
		case <-p.syncNow:
		case <-p.closing:
			return
		}
		err := p.journal.Settle()
		unsynced, _ := p.journal.Unsynced()
		if err == nil && p.cfg.Sync == journal.SyncInterval && (retain || unsynced > maxUnsynced) {
			err = p.journal.Sync()
		}
		if err != nil && !errors.Is(err, journal.ErrFull) {
			p.fail(err)
		}
		if !retain {
			continue
		}
		err = p.journal.Check()
		switch {
		case unwell.begins(err != nil):
			p.cfg.Logger.Warn().Err(err).Msg("journal: the directory is not as it was left")
		case unwell.ends(err == nil):
			p.cfg.Logger.Info().Msg("journal: the directory is intact again")
		}
		if p.journal.Missing() {
			p.active.Store(true)
			p.kickFlusher()
		}
		if p.cfg.RetainBytes > 0 || p.cfg.RetainAge > 0 {
			if err := p.journal.Retain(p.cfg.Now()); err != nil {
				p.cfg.Logger.Warn().Err(err).Msg("journal: cannot remove old files")
			}
		}
	}
}

// A condition is a state that is logged when it begins and when it ends. The zero condition has not begun.
type condition struct{ on bool }

func (c *condition) begins(now bool) bool {
	begins := now && !c.on
	c.on = c.on || now
	return begins
}

func (c *condition) ends(now bool) bool {
	ends := now && c.on
	c.on = c.on && !now
	return ends
}

// Flush waits until everything published before the call is in the journal, synced as Config.Sync demands, and may be
// sent. It returns ctx.Err(), ErrClosed, or the error of a failed journal.
func (p *Publisher) Flush(ctx context.Context) error {
	for {
		p.lock()
		room, want := p.room, p.next
		p.sealLocked()
		p.mu.Unlock()
		if next, _ := p.log.end(); next >= want {
			return nil
		}
		if err := p.usable(); err != nil {
			return err
		}
		p.active.Store(true)
		p.kickFlusher()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		case <-p.closing:
			return ErrClosed
		}
	}
}

// End ends the session: no more ticks can be published, and each subscriber is sent the end once it has all ticks. The
// publisher continues to serve subscribers. It returns the errors of Flush.
func (p *Publisher) End(ctx context.Context) error {
	p.lock()
	p.ended = true
	final := p.next
	p.mu.Unlock()
	if err := p.Flush(ctx); err != nil {
		return err
	}
	p.serving.final.Store(final)
	p.serving.wakeAll()
	return nil
}

// hangTime is how long Close waits, after its context has ended, for a disk that does not respond.
const hangTime = 3 * time.Second

// errHangs reports that the disk does not respond.
var errHangs = errors.New("the disk does not answer")

// Close flushes, closes the journal and releases all resources. Call it after the last Serve has returned, or if a
// hanging disk keeps Serve from returning. ctx bounds how long Close waits for a full disk. Close waits a few seconds
// longer for a disk that does not respond, then returns and leaves behind the goroutines that wait for the disk. The
// error says which ticks may not be safe; the publisher is closed in any case.
func (p *Publisher) Close(ctx context.Context) error {
	err := p.usable()
	if err == nil {
		err = p.Flush(ctx)
		if next, _ := p.log.end(); err != nil && next < p.appended() {
			why := ""
			if d := p.disk.Load(); d != nil {
				why = ": " + *d
			}
			err = fmt.Errorf("publisher: the last %d ticks, from number %d on, were neither written to the journal nor sent%s: %w",
				p.appended()-next, next, why, err)
		}
	}
	select {
	case <-p.closing:
		return ErrClosed
	default:
		close(p.closing)
	}
	closed := make(chan error, 1)
	go func() {
		p.done.Wait()
		p.serving.tallies.end()
		if p.journal == nil {
			closed <- nil
			return
		}
		closed <- p.journal.Close()
	}()
	var closeErr error
	select {
	case closeErr = <-closed:
	case <-ctx.Done():
		hangs := time.NewTimer(hangTime)
		defer hangs.Stop()
		select {
		case closeErr = <-closed:
		case <-hangs.C:
			return errors.Join(err, fmt.Errorf("publisher: journal %s was not closed: %w", p.cfg.Journal, errHangs))
		}
	}
	if err == nil || p.Failed() == nil { // otherwise err already reports it
		err = errors.Join(err, closeErr)
	}
	return err
}

// appended returns the number of the next tick.
func (p *Publisher) appended() uint64 {
	p.lock()
	defer p.mu.Unlock()
	return p.next
}

// catalog returns all instruments defined so far. It may include definitions newer than any number read before the
// call.
func (p *Publisher) catalog() feed.Catalog {
	p.lock()
	defer p.mu.Unlock()
	return p.state.Catalog()
}

// tail returns the oldest number that can be served. If the journal holds more sessions than a lineage can list, the
// numbers of the oldest sessions are not served.
func (p *Publisher) tail() uint64 {
	tail := p.log.tail()
	if p.journal != nil {
		tail = min(tail, p.journal.Tail())
	}
	return max(tail, p.lineage[0].First)
}

// seqAt returns the number of the first packet with a publish time of at least time.
func (p *Publisher) seqAt(time int64) uint64 {
	seq, ok := p.log.seqAt(time)
	if ok || p.journal == nil {
		return seq
	}
	return max(min(seq, p.journal.SeqAt(time)), p.lineage[0].First)
}

// Stats describes the state of a publisher.
type Stats struct {
	Session    feed.SessionID
	Head       uint64 // next number
	Committed  uint64 // next number that may be sent
	Tail       uint64 // oldest number that can be served
	LastEvent  int64  // greatest event time published
	Journal    int64  // bytes on disk
	Disk       string // why the journal cannot be written; empty if it can
	Ended      bool
	Joined     uint64 // subscribers that have logged in since the publisher began
	Handshakes int    // connections that have not logged in
	Conns      []ConnStats
	// Missing is how many clients lost their connection before they had everything, and have not come back. Missed is
	// when the last of these connections was lost. Absent holds the last of these connections, as they were then, at
	// most 64.
	Missing int
	Missed  time.Time
	Absent  []ConnStats
}

// Stats returns the current state of the publisher.
func (p *Publisher) Stats() Stats {
	p.lock()
	s := Stats{Session: p.session.ID, Head: p.next, LastEvent: p.event, Ended: p.ended}
	p.mu.Unlock()
	s.Committed, _ = p.log.end()
	s.Tail = p.tail()
	if p.journal != nil {
		s.Journal = p.journal.Bytes()
	}
	if d := p.disk.Load(); d != nil {
		s.Disk = *d
	}
	s.Conns, s.Handshakes, s.Joined = p.serving.stats()
	s.Missing, s.Missed, s.Absent = p.serving.lost()
	return s
}

// chance returns the random source of connection n, derived from the seed.
func (p *Publisher) chance(n uint64) *mathrand.Rand {
	return mathrand.New(mathrand.NewPCG(p.cfg.Seed, n))
}
