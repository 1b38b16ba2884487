package subscriber

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A Subscriber receives one feed. It uses the network only during Run or Ticks. All other methods may be called by any
// goroutine at any time, including from the handler.
type Subscriber struct {
	cfg     Config
	running atomic.Bool
	wanted  atomic.Pointer[codec.Filter]
	woken   atomic.Bool // the reading loop must look at wanted

	mu     sync.Mutex // guards ledger, status, held and conn; never held during blocking operations
	ledger *feed.Ledger
	status Status
	held   codec.Position
	conn   net.Conn // the current connection, to wake its reader

	// Only the goroutine in Run uses the fields below. It changes line.ledger and line.position under mu.
	line     *line
	retry    *retry
	position *positionFile
	out      Batch
}

// A Config configures a Subscriber. Only Addrs is required.
type Config struct {
	// Addrs are the addresses of the publishers: host:port (the default port is 8425) or unix:PATH. They are tried in order,
	// round robin. At least one is required.
	Addrs []string
	// Filter selects instruments by the patterns SYMBOL or SYMBOL@VENUE with * and ?. If it is empty, all are selected.
	Filter []string
	// Start is where to begin if there is no position. The zero Start is a snapshot as of now.
	Start codec.Start
	// Until ends the subscription: Run returns nil once every number below Until is accounted for, and delivers no tick from
	// Until on. 0 means no end.
	Until uint64
	// Ack asks the publisher to accept a sign of life as soon as ticks are delivered, in addition to one per interval, so that
	// the publisher knows the position at once. At most one is sent per millisecond.
	Ack bool
	// Slow is the policy that the publisher applies if the subscriber does not keep up. MaxLag is its limit in publish time;
	// 0 means the publisher's default.
	Slow   codec.SlowPolicy
	MaxLag time.Duration
	// Heartbeat is the requested interval; 0 means the publisher's choice.
	Heartbeat time.Duration
	Token     codec.Token // credentials; never logged
	Client    string      // name and version of the application, for the publisher's log
	// PositionFile keeps the position across processes. New reads it; Run replaces it, atomically and durably, at most every
	// 100 ms after the handler has returned, and before Run itself returns. During Run a lock on the file PositionFile.lock
	// keeps other subscribers from using it. If PositionFile is empty, the position is not saved.
	PositionFile string
	// SyncOutput makes the output of the handler durable. Run calls it before it writes PositionFile, so that after a power cut
	// the saved position never covers ticks whose output was lost. An error ends Run, as an error of the handler does, and the
	// position is no longer written. It may be nil.
	SyncOutput func() error
	// MaxAttempts is the number of attempts in a row that may fail before Run returns a *GiveUpError; 0 means no limit.
	MaxAttempts int
	// MaxBackoff bounds the wait between attempts; 0 means 30 s.
	MaxBackoff time.Duration
	// Dial connects to addr; ctx has a deadline. If Dial is nil, TCP or a Unix socket is used.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// TLS makes the connections that Dial returns TLS; nil means plain connections. If its ServerName is empty, the publisher's
	// certificate must be for the host in the address (localhost for a Unix socket). If MinVersion is 0, only TLS 1.3 is spoken.
	// Package certs makes one of files that may be replaced.
	TLS *tls.Config
	// Now returns the wall clock time in nanoseconds since the Unix epoch, for Status.LagTime. Nil means time.Now. Timers do
	// not depend on it.
	Now func() int64
	// Seed is the seed of the random source for the backoff; 0 means a random seed.
	Seed uint64
	// BatchSize is the maximum number of ticks in a batch, 1 to 65536; 0 means that batches hold whole packets and are
	// delivered from 256 ticks on.
	BatchSize int
	// Recorder, if not nil, records the packets. BatchSize must then be 0: each batch is one packet.
	Recorder Recorder
	// Logger logs one event per change of state; the zero Logger is silent. Package logto makes one of a slog.Handler.
	Logger zerolog.Logger
}

// Bounds of a connection.
const (
	dialTimeout      = 5 * time.Second
	handshakeTimeout = 5 * time.Second        // from the hello to the welcome
	goodbyeTimeout   = 250 * time.Millisecond // to write the goodbye
	defaultBackoff   = 30 * time.Second
	defaultBatch     = 256
	maxBatch         = 65536
)

// New checks cfg and reads the position file, if there is one. If the file cannot be read, the error suggests what to do.
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
	s.line.scope.handed.Filter = filter
	if cfg.Until != 0 {
		s.line.until = cfg.Until
	}
	s.ledger = &s.line.ledger
	s.status.Next = held.Next
	if cfg.Seed == 0 {
		s.cfg.Seed = rand.Uint64()
	}
	s.retry = newRetry(s.cfg.Addrs, s.cfg.MaxBackoff, rand.New(rand.NewPCG(s.cfg.Seed, 0)))
	if s.cfg.TLS != nil {
		s.retry.jitter = firstJitter
	}
	return s, nil
}

// validate returns an error that names the first field that is out of bounds. It fills in defaults and returns the filter.
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
			return nil, fmt.Errorf("%s must be from 0 to %v, got %v", d.name, codec.MaxDuration, d.d)
		}
	}
	if c.Until > codec.MaxSeq {
		return nil, fmt.Errorf("Config.Until must be at most %d, got %d", codec.MaxSeq, c.Until)
	}
	if c.MaxAttempts < 0 {
		return nil, fmt.Errorf("MaxAttempts must not be negative, got %d", c.MaxAttempts)
	}
	if c.BatchSize < 0 || c.BatchSize > maxBatch {
		return nil, fmt.Errorf("BatchSize must be from 0 to %d, got %d", maxBatch, c.BatchSize)
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
	c.TLS = completeTLS(c.TLS)
	if c.Now == nil {
		c.Now = func() int64 { return time.Now().UnixNano() }
	}
	if _, err := codec.Append(nil, c.hello(nil, codec.Position{}, false)); err != nil {
		return nil, err
	}
	return c.checkFilter(c.Filter)
}

// checkFilter returns the canonical filter, which must fit in a subscribe message.
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

// appendHello makes a hello that fits its bound. It leaves out the oldest sessions of a long lineage, which are the least
// likely to be needed; if the filter is too long, the hello asks for all instruments.
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

// leastLineage is the number of sessions that a long lineage is cut to at most; after that the filter is left out instead.
const leastLineage = 8

func (c *Config) hello(f codec.Filter, held codec.Position, hasState bool) *codec.Hello {
	features := []string{codec.FeatureNarrow}
	if c.Ack {
		features = []string{codec.FeatureAck, codec.FeatureNarrow}
	}
	return &codec.Hello{
		MinVersion: codec.Version, MaxVersion: codec.Version, Client: c.Client, Token: c.Token, Filter: f,
		Start: c.Start, Slow: c.Slow, MaxLag: c.MaxLag, Heartbeat: c.Heartbeat, HasState: hasState, Position: held,
		Until: c.Until, Features: features,
	}
}

// Run connects and calls handle with one batch at a time, until ctx ends, handle returns an error, the publisher refuses for
// good, MaxAttempts is reached, or all numbers below Config.Until are accounted for. It returns after the goroutines that it
// started have ended. Run may be called again, and then continues at the position.
//
// Handler.Handle is a handle that calls a function of its own for each kind of batch.
//
// Ticks are delivered at most once and in order. If handle returns an error, its batch counts as not received, and the
// position stays before it. A slow handle does not keep Run from sending signs of life.
//
// Run returns nil at Config.Until. Otherwise it returns the error of handle or Config.SyncOutput unchanged,
// context.Cause(ctx), a *RefusedError, a *GiveUpError, ErrRunning, or an error that wraps ErrPositionLocked. If the position
// file cannot be written at the end, that error is joined to it.
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

// Ledger returns a copy of the ledger, which accounts for every number so far.
func (s *Subscriber) Ledger() *feed.Ledger {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger.Clone()
}

// Totals returns the totals of the ledger, which is cheaper than Ledger.
func (s *Subscriber) Totals() feed.Totals {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger.Totals()
}

// Position returns how far the application has received. It has no lineage before the first welcome.
func (s *Subscriber) Position() codec.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// SetFilter replaces the filter of the current connection and of later ones. It does not wait for the publisher's answer: a
// Change with Filtered reports the first number that the new filter applies to, unless nothing changes or another call of
// SetFilter comes first. A snapshot of the added instruments follows. The patterns must fit in 64 KiB.
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

// Filter returns the filter that was asked for last.
func (s *Subscriber) Filter() []string { return slices.Clone(*s.wanted.Load()) }

// A Status is the state of a subscriber at one moment.
type Status struct {
	State   ConnState      `json:"state"`
	Addr    string         `json:"addr"`
	Session feed.SessionID `json:"session"`
	Mode    codec.Mode     `json:"mode"`
	Next    uint64         `json:"next"` // the position
	Head    uint64         `json:"head"` // the next number of the session, as far as known
	// LagTicks is the count of numbers that are known to be published and have not been delivered. LagTime is how long ago,
	// by the wall clocks of both sides, the last delivered tick was published; 0 if LagTicks is 0.
	LagTicks  uint64        `json:"lag_ticks"`
	LagTime   time.Duration `json:"lag_ns"`
	RoundTrip time.Duration `json:"round_trip_ns"` // from the last hello to its welcome
	// Granted is the part of the filter that the publisher grants; nil if it grants all of it.
	Granted []string `json:"granted,omitempty"`
	// Limits says what the line lacks, because the publisher does not permit it, in the words of the publisher; empty for nothing.
	Limits string `json:"limits,omitempty"`
	// Reconnects counts welcomes after the first.
	Reconnects int    `json:"reconnects"`
	Unknown    uint64 `json:"unknown"` // ticks of kinds that this version does not know
	// Undefined counts ticks of instruments without a definition, which the publisher lost with a damaged part of its
	// journal. They are delivered, but are not in the state.
	Undefined uint64 `json:"undefined"`

	welcomes      int
	publish, echo int64
}

// Status returns the current status.
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

// noteLocked copies the position and the status from the line. The caller must hold mu.
func (s *Subscriber) noteLocked() {
	l := s.line
	s.held = l.position
	s.status.Next, s.status.Head = l.position.Next, max(l.head, l.position.Next)
	s.status.Session, s.status.Mode = l.c.from.session, l.c.from.mode
	s.status.Unknown, s.status.Undefined, s.status.publish = l.unknown, l.undefined, l.out.publish
	s.status.echo = l.c.echo
	s.status.Limits = l.scope.limits
	if s.status.Granted = nil; l.c.terms.granted != nil {
		s.status.Granted = *l.c.terms.granted
	}
}
