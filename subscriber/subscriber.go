package subscriber

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A Subscriber receives one feed. Run, or Ticks, is its whole life on the network; all other methods may be called by any
// goroutine at any time, also from within the handler.
type Subscriber struct {
	cfg     Config
	running atomic.Bool
	wanted  atomic.Pointer[codec.Filter]
	woken   atomic.Bool // the reading loop has to look at wanted

	mu     sync.Mutex // guards what follows; never held while anything blocks
	ledger *feed.Ledger
	status Status
	held   codec.Position
	conn   net.Conn // present connection, to wake its reader

	// Of the goroutine in Run alone, but for line.ledger and line.position, which change under mu.
	line     *line
	retry    *retry
	position *positionFile
	out      Batch
}

// A Config says what to subscribe to and how. The zero Config lacks only Addrs.
type Config struct {
	// Addrs are the publishers, host:port (port 8425 if left out) or unix:PATH, tried in order, round robin. At least one.
	Addrs []string
	// Filter is the instruments wanted, as patterns SYMBOL or SYMBOL@VENUE with * and ?; empty for all.
	Filter []string
	// Start is where to begin where no position is held: at first, by a snapshot as of now.
	Start codec.Start
	// Until ends the subscription: Run returns nil once every number below it is accounted for, and no tick from it on is handed
	// over. 0 for no end.
	Until uint64
	// Ack asks the publisher to accept a sign of life as soon as ticks were handed over, and not only each interval, so that it
	// knows at once what was received. At most one is sent each millisecond.
	Ack bool
	// Slow is what becomes of the subscription if it does not keep up; MaxLag is the bound of that in publish time, 0 for the
	// publisher's.
	Slow   codec.SlowPolicy
	MaxLag time.Duration
	// Heartbeat is the interval wanted; 0 for the publisher's choice.
	Heartbeat time.Duration
	Token     codec.Token // credentials; never logged
	Client    string      // name and version of the application, for the publisher's log
	// PositionFile keeps the position across processes: New reads it, and Run writes it after the handler had the ticks, at
	// most every 100 ms, and when it returns. It is replaced as a whole, durably. While Run is under way no other subscriber
	// can use the file: a lock beside it, PositionFile.lock, is held. Empty for none.
	PositionFile string
	// SyncOutput makes durable what the handler did with the ticks. Run calls it before it writes PositionFile, so that a
	// position never survives a power cut that its ticks did not survive. An error ends Run as one of the handler does, and
	// the position is not written any more. Nil if the handler leaves nothing to be done.
	SyncOutput func() error
	// MaxAttempts is how many attempts in a row may fail before Run returns a *GiveUpError; 0 for no bound.
	MaxAttempts int
	// MaxBackoff bounds the wait between attempts; 0 means 30 s.
	MaxBackoff time.Duration
	// Dial connects; ctx has a deadline. Nil means TCP, or a unix socket.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Now is the wall clock, for the lag; nil means time.Now. Timers do not depend on it.
	Now func() int64
	// Seed of the backoff's random source; 0 for a random one.
	Seed uint64
	// BatchSize is the most ticks that the handler is given at once, 1 to 65536; 0 means whole packets, as soon as there are
	// 256 ticks.
	BatchSize int
	// Recorder keeps the bytes; nil for none. With one, BatchSize must be 0: a batch is a packet.
	Recorder Recorder
	Logger   zerolog.Logger // one event per change of state
}

// Bounds of a connection.
const (
	dialTimeout      = 5 * time.Second
	handshakeTimeout = 5 * time.Second        // from the hello to the welcome
	goodbyeTimeout   = 250 * time.Millisecond // for our goodbye to be written
	defaultBackoff   = 30 * time.Second
	defaultBatch     = 256
	maxBatch         = 65536
)

// New checks cfg and reads the position, if there is one. A position file that cannot be read is an error that says what to
// do about it.
func New(cfg Config) (*Subscriber, error) {
	filter, err := cfg.validate()
	if err != nil {
		return nil, fmt.Errorf("subscriber: %w", err)
	}
	s := &Subscriber{cfg: cfg, position: &positionFile{output: cfg.SyncOutput, disk: osDisk{}}}
	s.wanted.Store(&filter)
	if err := s.position.open(cfg.PositionFile); err != nil {
		return nil, fmt.Errorf("subscriber: %w", err)
	}
	held := s.position.saved
	s.held = held
	s.line = newLine(held, s.cfg.BatchSize)
	s.line.handed = filter
	if cfg.Until != 0 {
		s.line.until = cfg.Until
	}
	s.ledger = &s.line.ledger
	s.status.Next = held.Next
	if cfg.Seed == 0 {
		s.cfg.Seed = rand.Uint64()
	}
	s.retry = newRetry(s.cfg.Addrs, s.cfg.MaxBackoff, rand.New(rand.NewPCG(s.cfg.Seed, 0)))
	return s, nil
}

// validate names the first field that is out of bounds, and fills in defaults.
func (c *Config) validate() (codec.Filter, error) {
	if len(c.Addrs) == 0 {
		return nil, errors.New("no address in Addrs, want at least one")
	}
	for _, a := range c.Addrs {
		if a == "" {
			return nil, errors.New("an empty address in Addrs")
		}
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{{"MaxLag", c.MaxLag}, {"Heartbeat", c.Heartbeat}, {"MaxBackoff", c.MaxBackoff}} {
		if d.d < 0 || d.d > codec.MaxDuration {
			return nil, fmt.Errorf("%s must be in [0, %v], got %v", d.name, codec.MaxDuration, d.d)
		}
	}
	if c.Until > codec.MaxSeq {
		return nil, fmt.Errorf("Config.Until must be at most %d, got %d", codec.MaxSeq, c.Until)
	}
	if c.MaxAttempts < 0 {
		return nil, fmt.Errorf("MaxAttempts must not be negative, got %d", c.MaxAttempts)
	}
	if c.BatchSize < 0 || c.BatchSize > maxBatch {
		return nil, fmt.Errorf("BatchSize must be in [0, %d], got %d", maxBatch, c.BatchSize)
	}
	if err := c.checkRecorded(); err != nil {
		return nil, err
	}
	if c.MaxBackoff == 0 {
		c.MaxBackoff = defaultBackoff
	}
	if c.Client == "" {
		c.Client = "tickfeed"
	}
	if c.Dial == nil {
		c.Dial = dial
	}
	if c.Now == nil {
		c.Now = func() int64 { return time.Now().UnixNano() }
	}
	if _, err := codec.Append(nil, c.hello(nil, codec.Position{}, false)); err != nil {
		return nil, err
	}
	return c.checkFilter(c.Filter)
}

// checkFilter is the canonical filter, which must fit in a subscribe.
func (c *Config) checkFilter(patterns []string) (codec.Filter, error) {
	f, err := codec.NewFilter(patterns)
	if err != nil {
		return nil, err
	}
	if _, err := codec.Append(nil, &codec.Subscribe{Request: 1, Filter: f}); err != nil {
		return nil, fmt.Errorf("%d patterns do not fit: %w; use fewer, or wildcards", len(f), err)
	}
	return f, nil
}

// appendHello makes a hello that fits its bound. Of a long lineage the oldest sessions are left out, as the least likely to be
// needed; where the filter is too long all instruments are asked for.
func (c *Config) appendHello(f codec.Filter, held codec.Position, hasState func(codec.Filter) bool) (*codec.Hello, []byte, error) {
	h := c.hello(f, held, hasState(f))
	raw, err := codec.Append(nil, h)
	for err != nil && len(h.Position.Lineage) > leastLineage {
		h.Position.Lineage = h.Position.Lineage[1:]
		raw, err = codec.Append(nil, h)
	}
	if err != nil {
		h = c.hello(nil, h.Position, hasState(nil))
		raw, err = codec.Append(nil, h)
	}
	return h, raw, err
}

// leastLineage is how many sessions of a long lineage a hello names rather than a filter.
const leastLineage = 8

func (c *Config) hello(f codec.Filter, held codec.Position, hasState bool) *codec.Hello {
	var features []string
	if c.Ack {
		features = []string{codec.FeatureAck}
	}
	return &codec.Hello{
		MinVersion: codec.Version, MaxVersion: codec.Version, Client: c.Client, Token: c.Token, Filter: f,
		Start: c.Start, Slow: c.Slow, MaxLag: c.MaxLag, Heartbeat: c.Heartbeat, HasState: hasState, Position: held,
		Until: c.Until, Features: features,
	}
}

// Run connects, and hands handle what comes, one batch at a time, until ctx ends, handle returns an error, the publisher
// refuses for good, MaxAttempts is reached, or the numbers below Config.Until are accounted for. It waits for all that it started. After a return it may be called again, and
// goes on at the position.
//
// Ticks are handed over at most once and in order. If handle returns an error its batch counts as not received: the position
// stays before it. Handle may take its time: the publisher hears from us meanwhile.
//
// The error is nil at Config.Until, that of handle or Config.SyncOutput as it is, context.Cause(ctx), a *RefusedError, a *GiveUpError, ErrRunning,
// or wraps ErrPositionLocked; joined with the position file's, if it could not be written at the end.
func (s *Subscriber) Run(ctx context.Context, handle func(*Batch) error) error {
	if !s.running.CompareAndSwap(false, true) {
		return ErrRunning
	}
	defer s.running.Store(false)
	unlock, err := s.position.lock()
	if err != nil {
		return fmt.Errorf("subscriber: %w", err)
	}
	defer unlock()
	r := &runner{Subscriber: s, handle: handle, log: s.cfg.Logger}
	err = r.run(ctx)
	saveErr := s.position.save(s.line.position)
	if output, ok := saveErr.(*outputError); ok {
		saveErr = output.err
		if errors.Is(err, saveErr) {
			return err // it ended Run
		}
	}
	if saveErr != nil {
		err = errors.Join(err, saveErr)
	}
	return err
}

// Ledger is a copy of the account of every number so far.
func (s *Subscriber) Ledger() *feed.Ledger {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger.Clone()
}

// Position is how far the application has received. It has no lineage before the first welcome.
func (s *Subscriber) Position() codec.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// SetFilter replaces the filter, on the living connection and for those to come. It does not wait for the publisher's
// answer: a Change with Filtered reports the first number that the new filter applies to, unless nothing changes or another
// call of SetFilter comes first, and a snapshot of the instruments that were added follows. The patterns must fit in 64 KiB.
func (s *Subscriber) SetFilter(patterns []string) error {
	f, err := s.cfg.checkFilter(patterns)
	if err != nil {
		return fmt.Errorf("subscriber: %w", err)
	}
	s.wanted.Store(&f)
	s.woken.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.conn.SetReadDeadline(past)
	}
	return nil
}

// A Status is how things stand.
type Status struct {
	State   ConnState      `json:"state"`
	Addr    string         `json:"addr"`
	Session feed.SessionID `json:"session"`
	Mode    codec.Mode     `json:"mode"`
	Next    uint64         `json:"next"` // the position
	Head    uint64         `json:"head"` // next number of the session, as far as known
	// LagTicks is how many numbers are known to be published and not handed over. LagTime is how long ago, by the wall
	// clocks of both sides, the last tick handed over was published; 0 if there is no lag in ticks.
	LagTicks  uint64        `json:"lag_ticks"`
	LagTime   time.Duration `json:"lag_ns"`
	RoundTrip time.Duration `json:"round_trip_ns"` // from the last hello to its welcome
	// Granted is what of the filter the publisher grants; nil for all of it.
	Granted []string `json:"granted,omitempty"`
	// Reconnects counts welcomes after the first.
	Reconnects int    `json:"reconnects"`
	Unknown    uint64 `json:"unknown"` // ticks of kinds that this version does not know
	// Undefined is ticks of instruments that nothing defines, because the definition is gone with a
	// damaged part of the publisher's journal. They are handed over, and are not in the state.
	Undefined uint64 `json:"undefined"`

	welcomes      int
	publish, echo int64
}

// Status tells how things stand.
func (s *Subscriber) Status() Status {
	s.mu.Lock()
	st := s.status
	s.mu.Unlock()
	if st.Head > st.Next {
		st.LagTicks = st.Head - st.Next
		if st.publish != 0 {
			st.LagTime = max(0, time.Duration(s.cfg.Now()-st.publish))
		}
	}
	return st
}

// noteLocked copies what others may see of the line.
func (s *Subscriber) noteLocked() {
	l := s.line
	s.held = l.position
	s.status.Next, s.status.Head = l.position.Next, max(l.head, l.position.Next)
	s.status.Session, s.status.Mode = l.c.session, l.c.mode
	s.status.Unknown, s.status.Undefined, s.status.publish = l.unknown, l.undefined, l.publish
	s.status.echo = l.c.echo
	if s.status.Granted = nil; l.c.granted != nil {
		s.status.Granted = *l.c.granted
	}
}
