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

// A Publisher numbers ticks, appends them to the log, and serves the log to subscribers. All
// its methods may be called by many goroutines at once, but for Close.
type Publisher struct {
	cfg     Config
	journal *journal.Journal // nil: memory only
	lineage feed.Lineage
	session feed.Session
	seed    uint32
	log     *memlog

	// The sequencer: the one place where numbers are given. Its lock is held while ticks are
	// encoded, never while anything blocks. Who looks at what is below takes it by lock.
	mu       sync.Mutex
	held     []feed.Tick // published, in order, and not yet appended to the open packet: see holdLocked
	state    *feed.State // as of next
	next     uint64      // number of the next tick
	seg      *segment    // being filled
	off      int         // where the next entry goes in seg.buf
	open     int         // where the open packet begins; -1 if none is open
	first    uint64      // number of the open packet's first tick
	base     int64       // base event time of the open packet
	lastTime int64       // publish time of the last sealed packet
	event    int64       // event time of the last tick that had one
	ended    bool
	recorded bool          // Republish or Relay was called
	relayed  []feed.Tick   // of Relay, to be used again
	room     chan struct{} // closed and replaced when the flusher has made progress
	pieces   []piece       // sealed, not yet journalled; in order
	spare    []piece       // for the flusher to give back

	active   atomic.Bool   // somebody flushes and will look again
	flushing chan struct{} // 1 slot, taken by the goroutine that flushes
	lastDone atomic.Int64  // when the last flush ended, in monotonic ns since started
	started  time.Time
	kick     chan struct{} // 1 slot: wakes the flusher
	syncNow  chan struct{} // 1 slot: wakes the housekeeper
	fatal    atomic.Pointer[fatalError]
	holed    atomic.Bool // the log has packets that withhold numbers, or say that they are gone

	disk    atomic.Pointer[string] // why the disk does not take ticks; nil if it does
	trouble string                 // what has to happen until the disk takes ticks, as logged; with the slot of flushing
	starved atomic.Bool            // a subscriber waits for a file descriptor to read the journal with
	closing chan struct{}
	done    sync.WaitGroup // goroutines of the publisher itself

	serving server
}

type fatalError struct{ err error }

// A piece is sealed packets of one segment.
type piece struct {
	seg      *segment
	from, to int
	next     uint64
	time     int64
	tried    bool // the journal may have some of it already: it must be offered again as it is
}

// A Config says how a publisher works. Zero values are the defaults.
type Config struct {
	// Journal is the directory of the log on disk; empty for none: then only what is in memory
	// can be had again.
	Journal     string
	FS          journal.FS // nil for the operating system's
	Sync        journal.Sync
	SegmentSize int64         // of a journal file, in bytes; 0 for what journal.Config says
	RetainBytes int64         // the journal's size, about; 0 for no bound
	RetainAge   time.Duration // of what the journal keeps; 0 for no bound
	Memory      int64         // of the log in memory, in bytes; 0 for DefaultMemory, at least MinMemory

	Heartbeat        time.Duration // longest silence on a connection; 0 for DefaultHeartbeat
	Mode             codec.Mode
	MaxConnections   int           // 0 for DefaultConnections; fewer if the process may not have as many file descriptors, which is logged if it was asked for
	MaxHandshakes    int           // connections that have not logged in; beyond, the oldest goes. 0 for DefaultHandshakes
	HandshakeTimeout time.Duration // 0 for DefaultHandshakeTimeout
	// WaitFor is how many subscribers publishing waits for, without a journal, before it drops numbers from a full memory.
	// Once that many have come, it waits until WaitFor of those that are connected, or all of them if they are fewer, were
	// sent what it is about to drop. 0 for none.
	WaitFor    int
	MaxLag     time.Duration // bound of the slow-consumer policies where a client names none; 0 for DefaultMaxLag
	RetryAfter time.Duration // at shutdown clients are asked to wait up to this long, each another time
	Token      codec.Token   // what clients must present; empty for nothing
	Server     string        // name and version told to clients; empty for "tickfeed"
	Source     string        // what is published, for a person

	// A replay keeps the numbers of what was recorded. Origin is the session that was recorded,
	// First the number that the session begins with (0 for 1), and State that as of there, which
	// becomes the publisher's (nil for an empty one). A journal must be empty if First is not 0.
	Origin feed.SessionID
	First  uint64
	State  *feed.State

	Now    func() int64        // wall clock in ns since the Unix epoch; nil for the system's
	Sleep  func(time.Duration) // for pauses below a millisecond; nil for the system's, which virtual time knows nothing of
	Seed   uint64              // of all chance but session ids; 0 for a random one
	Logger zerolog.Logger

	fitted bool // Fit was called
}

// Defaults and bounds of a Config, and the named bounds of everything that could grow.
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
	packetTarget  = 16 << 10 // a packet is sealed when its body is longer
	handOver      = 50 * time.Microsecond
	diskRetry     = 100 * time.Millisecond
	houseInterval = time.Second
	waitPoll      = 20 * time.Millisecond // how often publishing that waits for subscribers looks for them
	waitSay       = 10 * time.Second      // how often it says that it waits
	maxUnsynced   = 16 << 20              // bytes after which a journal is synced before a second is over
)

// ErrEnded is returned for ticks after End, ErrClosed by a publisher that was closed.
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

// New makes a publisher and begins its session: a child of what the journal holds, or a
// root. The error wraps journal.ErrLocked if another publisher has the journal, and ErrDescriptors if
// there are too few file descriptors. Close it.
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
		started:  time.Now(),
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

// Lineage is the session that this publisher writes, last, and those it came through.
func (p *Publisher) Lineage() feed.Lineage { return p.lineage }

// Recovered is what the journal held when the publisher started; nil without a journal.
func (p *Publisher) Recovered() *journal.Recovered {
	if p.journal == nil {
		return nil
	}
	return p.journal.Recovered()
}

// Define makes known what an instrument is and returns its id: the one it has, or a new one.
// A definition tick is published if the instrument is new or was something else before.
// Errors are those of Publish.
func (p *Publisher) Define(ctx context.Context, d feed.Definition) (feed.InstrumentID, error) {
	id, _, err := p.define(ctx, d, 0)
	return id, err
}

// define is Define with the event time of the definition, 0 for that of the last tick. It returns also whether a tick was
// published.
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

// Publish numbers ticks and appends them to the log, in order and without a gap; Seq is
// not looked at. The ticks stay the caller's, but for what Extra points to. Subscribers get
// them as soon as they are in the journal.
//
// It waits where the log in memory is full of ticks that the journal did not take yet, as on
// a full disk, until ctx ends. An error says how many ticks of the call were published; those
// are good. It is ctx.Err(), ErrEnded, ErrClosed, an error about a tick that is not valid or
// of an instrument that was not defined, or final: the journal failed.
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

// lock takes p.mu, and appends what was held.
func (p *Publisher) lock() {
	p.mu.Lock()
	p.settleLocked()
}

// Of the ticks that are held.
const (
	mostHeld   = 64
	heldAtOnce = 8 // of calls of Publish with more ticks, none are
)

// holdLocked takes the first of ticks to be appended later, with others: those that are sure to be accepted, and to
// fit into the open packet. To append many ticks at once costs a third for each of what one alone costs, and the
// most natural call of Publish has one. They have no numbers until settleLocked gives them.
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

// settleLocked appends the ticks that are held.
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

// appendLocked encodes ticks into the open packet, sealing packets and opening segments as
// they fill. It gives p.mu up while it waits for room.
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

// appendFixedLocked appends as many of the first ticks as are common and have room in the open
// packet; the rest, and all errors, are appendTickLocked's. It is what makes a tick cost 15 ns
// instead of 21 where many are published at once.
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

// fullLocked is where the buffer of the open packet ends.
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
		p.base == 0 && t.EventTime != 0 { // offsets from no time at all would all be wide
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

// waitForRoomLocked waits, without the lock, until the flusher has made progress. Others may
// have opened a segment meanwhile; the packet that they opened is sealed.
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

// awaitsSubscribers reports whether memory is full of numbers that Config.WaitFor wants to be sent first.
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

// waitForSubscribersLocked waits, without the lock, until the subscribers have come that Config.WaitFor wants.
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

// usable reports why nothing can be published any more.
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

// sealLocked closes the open packet, if there is one with ticks, for the flusher to take.
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

// appendedSome gets what was appended flushed: by this goroutine if the publisher was at
// rest, which is quickest, else by the flusher, which then has more to send at once.
func (p *Publisher) appendedSome() {
	if p.active.Load() || !p.active.CompareAndSwap(false, true) {
		return
	}
	if time.Since(p.started).Nanoseconds()-p.lastDone.Load() < int64(handOver) {
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
		p.kickFlusher() // it waits for room, or says that the journal failed
		return
	}
	p.rest()
}

// rest ends the activity of a flush, unless there is more to do.
func (p *Publisher) rest() {
	p.lastDone.Store(time.Since(p.started).Nanoseconds())
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

// flusher flushes whenever it is kicked, and waits for room on a full disk.
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

// flush journals and commits all that is appended. The caller has the slot of p.flushing. On an error
// what was not committed stays to be flushed again.
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

// goHome lets the journal go on in a new file if the one that is written was removed, or is not where the
// journal's path says any more: the numbers go on, and are nobody else's.
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
	p.cfg.Logger.Warn().Str("journal", p.cfg.Journal).Uint64("next", next).
		Msg("journal: goes on in a new file; what the missing files held can be had from memory only, and not at all after a restart")
	return nil
}

// mergePiecesLocked joins neighbours of one segment, so that they stay as few as segments.
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

// flushPiece journals and commits one piece. A file of the journal ends where a segment of
// the memory begins, because there the state is at hand that the next file begins with, or nearly.
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
			if p.journal.Unsynced() > maxUnsynced {
				select {
				case p.syncNow <- struct{}{}:
				default:
				}
			}
		}
	}
	p.log.commit(x.seg, x.to, x.next, x.time)
	return nil
}

// diskState logs once when the disk stops taking ticks, again when it does so for another reason, and once when it takes them
// again. The caller has the slot of p.flushing.
func (p *Publisher) diskState(err error) {
	switch {
	case err == nil && p.disk.Load() != nil:
		p.disk.Store(nil)
		p.trouble = ""
		p.cfg.Logger.Info().Msg("journal: the disk takes ticks again")
	case errors.Is(err, journal.ErrFull):
		s := err.Error()
		p.disk.Store(&s)
		what, until := diskTrouble(err)
		if until == p.trouble {
			return
		}
		p.trouble = until
		p.cfg.Logger.Warn().Err(err).Msgf("journal: %s, publishing waits; subscribers are still served, and it goes on once %s", what, until)
	}
}

// diskTrouble returns what keeps the journal from being written, and what has to happen until it can be.
func diskTrouble(err error) (what, until string) {
	switch {
	case recording.IsFull(err):
		return "disk full", "there is room"
	case journal.OutOfDescriptors(err):
		return "no file descriptors left", "there are some"
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		return "no file can be made or written", "the publisher may write there"
	case errors.Is(err, os.ErrNotExist):
		return "no file can be made or written", "the directory can be made"
	}
	return "no file can be made or written", "the file that is in the place of the directory, or of a file in it, is removed or moved away"
}

// starves reports whether err says that there is no file descriptor to read the journal with, for now. It says so once
// when that begins, and once when the journal could be read again.
func (p *Publisher) starves(err error) bool {
	switch {
	case errors.Is(err, journal.ErrFull):
		if p.starved.CompareAndSwap(false, true) {
			p.cfg.Logger.Warn().Err(err).Msg("journal: no file descriptors left to read it, subscribers that need it wait")
		}
		return true
	case err == nil && p.starved.CompareAndSwap(true, false):
		p.cfg.Logger.Info().Msg("journal: it can be read again")
	}
	return false
}

// fail is the end: the journal cannot be written. Nothing more is acknowledged.
func (p *Publisher) fail(err error) {
	if !p.fatal.CompareAndSwap(nil, &fatalError{fmt.Errorf("publisher: %w", err)}) {
		return
	}
	p.cfg.Logger.Error().Err(err).Msg("journal failed: nothing more is published; start again for a child session")
	p.mu.Lock()
	close(p.room)
	p.room = make(chan struct{})
	p.mu.Unlock()
}

// Failed is the reason why the publisher cannot publish any more; nil if it can.
func (p *Publisher) Failed() error {
	if f := p.fatal.Load(); f != nil {
		return f.err
	}
	return nil
}

// housekeeper syncs, checks that the files are still there, and retains, each once a second, and syncs when much is appended: the end of a
// file waits for what is not synced of it, and nothing is sent meanwhile.
func (p *Publisher) housekeeper() {
	tick := time.NewTicker(houseInterval)
	defer tick.Stop()
	var unwell condition // of the directory
	for {
		retain := false
		select {
		case <-tick.C:
			retain = true
		case <-p.syncNow:
			if p.journal.Unsynced() <= maxUnsynced {
				continue
			}
		case <-p.closing:
			return
		}
		if p.cfg.Sync == journal.SyncInterval {
			if err := p.journal.Sync(); err != nil {
				p.fail(err)
			}
		}
		if !retain {
			continue
		}
		err := p.journal.Check()
		switch {
		case unwell.begins(err != nil):
			p.cfg.Logger.Warn().Err(err).Msg("journal: the directory is not as it was left")
		case unwell.ends(err == nil):
			p.cfg.Logger.Info().Msg("journal: the directory is well again")
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

// A condition is a state that is reported when it begins and when it ends. Its zero value has not begun.
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

// Flush waits until all that was published before the call is in the journal, as safely as
// Sync says, and may be sent. It returns ctx.Err(), ErrClosed, or why the journal failed.
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

// End declares the session over: no tick can be published any more, and subscribers are told
// so once they have all. The publisher goes on serving. Errors are those of Flush.
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

// hangTime is how long after the end of its context Close waits for a disk that does not answer.
const hangTime = 3 * time.Second

// errHangs reports that the disk does not answer.
var errHangs = errors.New("the disk does not answer")

// Close flushes, closes the journal and frees everything. It is for after the last Serve has
// returned, or when a disk that hangs keeps it from that; ctx bounds how long it waits for a full disk, and a disk that does
// not answer is waited for a few seconds longer: what waits for it is left behind then. The error says what may not be
// safe; the publisher is closed all the same.
func (p *Publisher) Close(ctx context.Context) error {
	err := p.usable()
	if err == nil {
		err = p.Flush(ctx)
		if next, _ := p.log.end(); err != nil && next < p.appended() {
			why := ""
			if d := p.disk.Load(); d != nil {
				why = ": " + *d
			}
			err = fmt.Errorf("publisher: the last %d ticks, from number %d on, did not get into the journal, and nobody was sent them%s: %w",
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
	if err == nil || p.Failed() == nil { // else err says the same
		err = errors.Join(err, closeErr)
	}
	return err
}

// appended is the number of the next tick.
func (p *Publisher) appended() uint64 {
	p.lock()
	defer p.mu.Unlock()
	return p.next
}

// catalog returns all instruments that were ever defined: more than those of any number that was given before.
func (p *Publisher) catalog() feed.Catalog {
	p.lock()
	defer p.mu.Unlock()
	return p.state.Catalog()
}

// tail is the oldest number that can be had. Of a journal of more sessions than a lineage
// names, the oldest cannot be told to anybody.
func (p *Publisher) tail() uint64 {
	tail := p.log.tail()
	if p.journal != nil {
		tail = min(tail, p.journal.Tail())
	}
	return max(tail, p.lineage[0].First)
}

// seqAt is the number of the first packet with a publish time of at least time.
func (p *Publisher) seqAt(time int64) uint64 {
	seq, ok := p.log.seqAt(time)
	if ok || p.journal == nil {
		return seq
	}
	return max(min(seq, p.journal.SeqAt(time)), p.lineage[0].First)
}

// Stats is how a publisher does.
type Stats struct {
	Session    feed.SessionID
	Head       uint64 // next number
	Committed  uint64 // next number that may be sent
	Tail       uint64 // oldest number that can be had
	LastEvent  int64  // greatest event time published
	Journal    int64  // bytes on disk
	Disk       string // why the disk does not take ticks; empty if it does
	Ended      bool
	Joined     uint64 // subscribers that have logged in since the publisher began
	Handshakes int    // connections that have not logged in
	Conns      []ConnStats
	// Missing is how many connections were lost before their clients had everything, if those have not come back; the last
	// of them was lost at Missed. Absent are the last of these connections, as they were then, at most 64.
	Missing int
	Missed  time.Time
	Absent  []ConnStats
}

// Stats is a snapshot of how the publisher does.
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

// chance is a random source of a connection's own, drawn from the seed.
func (p *Publisher) chance(n uint64) *mathrand.Rand {
	return mathrand.New(mathrand.NewPCG(p.cfg.Seed, n))
}
