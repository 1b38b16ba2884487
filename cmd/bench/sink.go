package bench

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"tickfeed/codec"
	"tickfeed/codec/usage"
	"tickfeed/feed"
	"tickfeed/subscriber"
)

// A sink is the child process that subscribes, any number of times. Each subscriber decodes, checks and folds
// every tick, and keeps its ledger, as subscriber.Run always does.
type sink struct {
	profiler

	ctx     context.Context // of the subscribers
	stop    context.CancelFunc
	running sync.WaitGroup
	subs    []*reader
	failed  chan error // the first error of a subscriber that ended by itself
	cpu     time.Duration
	release chan struct{} // closed when stalled applications may continue
}

// A reader is one subscriber and its measurements.
type reader struct {
	sub       *subscriber.Subscriber
	delivered atomic.Uint64
	noticed   atomic.Int64  // how many outages have begun that the subscriber knows of
	live      chan struct{} // closed when the subscriber is live for the first time
	isLive    bool

	mu        sync.Mutex
	latencies *hdrhistogram.Histogram // nil if not requested
	recovered []recovery
	heard     recovery // the recovery in progress
	awaiting  bool     // waiting for the first tick after a connection was lost
	_         [64]byte // keeps the counters of two subscribers in different cache lines
}

func (s *sink) ops() map[string]op {
	return map[string]op{
		"subscribe": handle(s.subscribe), "unsubscribe": handle(s.unsubscribe), "kernel": handle(kernel), "begin": handle(s.begin),
		"collect": handle(s.collect), "await": handle(s.await), "recovery": handle(s.recovery), "recoveries": handle(s.recoveries), "notice": handle(s.notice), "lost": handle(s.lost),
		"catchup": handle(s.catchUp), "snapshot": handle(s.snapshot), "snapshotsize": handle(s.snapshotSize), "profile": handle(s.profile),
	}
}

type subscribeArgs struct {
	Addr    string
	TLS     bool
	Acks    string // address for acknowledgements; empty for none
	N       int
	Filters [][]string // of each subscriber; nil for everything
	Latency bool       // record the time from each tick's event time to its arrival
	Stalled bool       // the application of each subscriber takes one batch of ticks and then stalls
}

// joinTime bounds the time until all subscribers are live.
const joinTime = 60 * time.Second

// subscribe adds subscribers, and waits until all of them are live.
func (s *sink) subscribe(ctx context.Context, a subscribeArgs) (nothing, error) {
	if s.ctx == nil {
		s.ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
		s.failed = make(chan error, 1)
		s.release = make(chan struct{})
	}
	var added []*reader
	for i := range a.N {
		cfg := subscriber.Config{Addrs: []string{a.Addr}, Client: "tickfeed bench"}
		if a.TLS {
			cfg.TLS = &tls.Config{InsecureSkipVerify: true} // the time of a handshake is not measured
		}
		if a.Filters != nil {
			cfg.Filter = a.Filters[i]
		}
		if a.Stalled {
			cfg.Dial = dialNarrow
		}
		sub, err := subscriber.New(cfg)
		if err != nil {
			return nothing{}, err
		}
		r := &reader{sub: sub, live: make(chan struct{})}
		if a.Latency {
			r.latencies = newHistogram()
		}
		handle := r.handle
		if a.Stalled {
			handle = s.stall(r)
		}
		s.running.Go(func() {
			if err := sub.Run(s.ctx, handle); s.ctx.Err() == nil {
				select {
				case s.failed <- err:
				default:
				}
			}
		})
		added = append(added, r)
	}
	timeout := time.NewTimer(joinTime)
	defer timeout.Stop()
	for i, r := range added {
		select {
		case <-r.live:
		case err := <-s.failed:
			return nothing{}, err
		case <-timeout.C:
			return nothing{}, fmt.Errorf("%d of %d subscribers are not live within %v", a.N-i, a.N, joinTime)
		case <-ctx.Done():
			return nothing{}, context.Cause(ctx)
		}
	}
	s.subs = append(s.subs, added...)
	if a.Acks == "" {
		return nothing{}, nil
	}
	conn, err := net.Dial("tcp", a.Acks)
	if err != nil {
		return nothing{}, err
	}
	s.running.Go(func() { s.acknowledge(conn, added) })
	return nothing{}, nil
}

// narrow is the receive buffer of a stalled subscriber in bytes, so small that the publisher notices soon.
const narrow = 4 << 10

func dialNarrow(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	_ = conn.(*net.TCPConn).SetReadBuffer(narrow)
	return conn, nil
}

// handle is the application of a subscriber.
func (r *reader) handle(b *subscriber.Batch) error {
	switch {
	case b.Change != nil:
		r.change(b.Change)
	case b.Snapshot:
	default:
		r.delivered.Add(uint64(len(b.Ticks)))
		if r.latencies != nil || r.awaiting {
			r.look(b)
		}
	}
	return nil
}

// look measures the ticks of a batch, which arrived together.
func (r *reader) look(b *subscriber.Batch) {
	now := time.Now()
	if r.awaiting {
		r.awaiting, r.heard.First = false, now.UnixNano()
		if r.heard.Live != 0 {
			r.recoveredNow()
		}
	}
	if r.latencies != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		for i := range b.Ticks {
			record(r.latencies, time.Duration(now.UnixNano()-b.Ticks[i].EventTime))
		}
	}
}

// recoveredNow adds the recovery that was heard, which has its first tick and is live.
func (r *reader) recoveredNow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recovered = append(r.recovered, r.heard)
	r.heard = recovery{}
}

func (r *reader) change(c *subscriber.Change) {
	if c.State == subscriber.Live && !r.isLive {
		r.isLive = true
		close(r.live)
	}
	if c.Err != nil && c.State == subscriber.Disconnected {
		if r.heard.Noticed == 0 {
			r.heard.Noticed = time.Now().UnixNano()
			r.noticed.Add(1)
		}
		r.awaiting = true
	}
	if c.Report != nil {
		r.heard.Live, r.heard.Report = time.Now().UnixNano(), *c.Report
		if !r.awaiting { // else it is live before a tick has come, as of a publisher that was frozen
			r.recoveredNow()
		}
	}
}

// stall returns an application for r that stalls at its first batch of ticks.
func (s *sink) stall(r *reader) func(*subscriber.Batch) error {
	return func(b *subscriber.Batch) error {
		if b.Change == nil && !b.Snapshot {
			select {
			case <-s.release:
			case <-s.ctx.Done():
			}
		}
		return r.handle(b)
	}
}

// ackInterval is the interval between acknowledgements.
const ackInterval = time.Millisecond

// acknowledge sends the total number of ticks that subs have received, until the subscribers end.
func (s *sink) acknowledge(conn net.Conn, subs []*reader) {
	defer conn.Close()
	ticker := time.NewTicker(ackInterval)
	defer ticker.Stop()
	told := uint64(0)
	for {
		select {
		case <-ticker.C:
		case <-s.ctx.Done():
			return
		}
		if n := total(subs); n != told {
			told = n
			var b [8]byte
			binary.LittleEndian.PutUint64(b[:], n)
			if _, err := conn.Write(b[:]); err != nil {
				return
			}
		}
	}
}

func total(subs []*reader) (n uint64) {
	for _, r := range subs {
		n += r.delivered.Load()
	}
	return n
}

// unsubscribe ends all subscribers, and returns how many ticks were reported to them as lost, withheld or
// disowned. It returns an error if a subscriber ended by itself, or if its ledger disagrees with its
// application.
func (s *sink) unsubscribe(context.Context, nothing) (missing uint64, err error) {
	if s.ctx == nil {
		return 0, nil
	}
	select {
	case err = <-s.failed:
	default:
	}
	s.stop()
	s.running.Wait()
	for i, r := range s.subs {
		t := r.sub.Ledger().Totals()
		missing += t.Lost + t.Withheld + t.Disowned
		if had := r.delivered.Load(); t.Delivered != had {
			err = errors.Join(err, fmt.Errorf("%w: subscriber %d received %d ticks, its ledger says %d", ErrAccount, i, had, t.Delivered))
			break
		}
	}
	s.subs, s.ctx = nil, nil
	return missing, err
}

// begin begins a measurement.
func (s *sink) begin(context.Context, nothing) (nothing, error) {
	for _, r := range s.subs {
		if r.latencies != nil {
			r.mu.Lock()
			r.latencies.Reset()
			r.mu.Unlock()
		}
	}
	s.cpu = usage.CPU()
	return nothing{}, nil
}

type collectResult struct {
	Delivered uint64        // by all subscribers since they joined
	CPU       time.Duration // since begin
	Latency   latency       // since begin, of all subscribers
}

// collect ends a measurement.
func (s *sink) collect(context.Context, nothing) (r collectResult, err error) {
	r.CPU = usage.CPU() - s.cpu
	r.Delivered = total(s.subs)
	all := newHistogram()
	for _, x := range s.subs {
		if x.latencies != nil {
			x.mu.Lock()
			all.Merge(x.latencies)
			x.mu.Unlock()
		}
	}
	r.Latency = latencyOf(all)
	return r, nil
}

// await waits until the subscribers have received the given number of ticks in total since they joined.
func (s *sink) await(ctx context.Context, delivered uint64) (nothing, error) {
	poll := time.NewTicker(ackInterval)
	defer poll.Stop()
	last, at := uint64(0), time.Now()
	for {
		n := total(s.subs)
		if n >= delivered {
			return nothing{}, nil
		}
		if n != last {
			last, at = n, time.Now()
		}
		if time.Since(at) > ackTimeout {
			return nothing{}, fmt.Errorf("%w: %d of %d ticks are missing and nothing has come for %v", ErrAccount, delivered-n, delivered, ackTimeout)
		}
		select {
		case <-poll.C:
		case err := <-s.failed:
			return nothing{}, err
		case <-ctx.Done():
			return nothing{}, context.Cause(ctx)
		}
	}
}

// A recovery is one recovery of a subscriber; its times are by the wall clock, in ns since the Unix epoch.
type recovery struct {
	Noticed int64 // when the connection was found to be lost
	First   int64 // when the first tick after it arrived
	Live    int64
	Report  subscriber.Report
}

// recoveries returns how often the first subscriber has recovered.
func (s *sink) recoveries(context.Context, nothing) (int, error) { return s.subs[0].recoveries(), nil }

func (r *reader) recoveries() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.recovered)
}

// notice waits until the first subscriber has noticed n outages.
func (s *sink) notice(ctx context.Context, n int64) (nothing, error) {
	late := func() error { return fmt.Errorf("the subscriber has not noticed the outage within %v", ackTimeout) }
	return nothing{}, s.until(ctx, late, func() bool { return s.subs[0].noticed.Load() >= n })
}

// until waits until is returns true. It returns the error of late if that takes longer than ackTimeout.
func (s *sink) until(ctx context.Context, late func() error, is func() bool) error {
	poll := time.NewTicker(ackInterval)
	defer poll.Stop()
	timeout := time.NewTimer(ackTimeout)
	defer timeout.Stop()
	for !is() {
		select {
		case <-poll.C:
		case err := <-s.failed:
			return err
		case <-timeout.C:
			return late()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// recovery waits until the first subscriber has recovered n times and returns the n-th.
func (s *sink) recovery(ctx context.Context, n int) (recovery, error) {
	x := s.subs[0]
	late := func() error { return fmt.Errorf("no recovery within %v", ackTimeout) }
	if err := s.until(ctx, late, func() bool { return x.recoveries() >= n }); err != nil {
		return recovery{}, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.recovered[n-1], nil
}

// lost waits until the first subscriber has accounted for the given number of ticks, and returns how many of
// them are lost, withheld or disowned.
func (s *sink) lost(ctx context.Context, ticks uint64) (uint64, error) {
	var t feed.Totals
	missing := func() uint64 { return t.Lost + t.Withheld + t.Disowned }
	late := func() error {
		return fmt.Errorf("%w: of %d ticks %d were delivered and %d were reported lost", ErrAccount, ticks, t.Delivered, missing())
	}
	err := s.until(ctx, late, func() bool {
		t = s.subs[0].sub.Ledger().Totals()
		return t.Delivered+missing() >= ticks
	})
	return missing(), err
}

type catchUpArgs struct {
	Addr  string
	Count uint64 // number of ticks to receive, from number From
	From  uint64
}

type catchUpResult struct {
	Elapsed time.Duration // from before the dial until the application had all ticks
	CPU     time.Duration
}

// errEnough ends a subscriber that has received enough.
var errEnough = errors.New("enough")

// catchUp runs a subscriber that joins late and wants everything.
func (s *sink) catchUp(ctx context.Context, a catchUpArgs) (r catchUpResult, err error) {
	sub, err := subscriber.New(subscriber.Config{
		Addrs: []string{a.Addr}, Client: "tickfeed bench", Start: codec.Start{Kind: codec.StartSeq, Value: a.From},
	})
	if err != nil {
		return r, err
	}
	ctx, cancel := context.WithTimeout(ctx, ackTimeout+time.Duration(a.Count)*time.Microsecond)
	defer cancel()
	had := uint64(0)
	cpu, began := usage.CPU(), time.Now()
	err = sub.Run(ctx, func(b *subscriber.Batch) error {
		if b.Change == nil && !b.Snapshot {
			if had += uint64(len(b.Ticks)); had >= a.Count {
				return errEnough
			}
		}
		return nil
	})
	r.Elapsed, r.CPU = time.Since(began), usage.CPU()-cpu
	if !errors.Is(err, errEnough) {
		return r, err
	}
	if had != a.Count {
		return r, fmt.Errorf("%w: received %d ticks, want %d", ErrAccount, had, a.Count)
	}
	return r, nil
}

type snapshotArgs struct {
	Addr        string
	Instruments int
}

// snapshot runs a subscriber that joins late and wants the state. It returns the time from before the dial
// until the state was complete.
func (s *sink) snapshot(ctx context.Context, a snapshotArgs) (d time.Duration, err error) {
	sub, err := subscriber.New(subscriber.Config{Addrs: []string{a.Addr}, Client: "tickfeed bench"})
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	began := time.Now()
	known := 0
	err = sub.Run(ctx, func(b *subscriber.Batch) error {
		if b.State != nil && b.Snapshot {
			d = time.Since(began) // the state is replaced before the handler gets its first entry
			known = b.State.Len()
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		return 0, err
	}
	if known != a.Instruments {
		return 0, fmt.Errorf("%w: the snapshot had %d instruments, want %d", ErrAccount, known, a.Instruments)
	}
	return d, nil
}

// snapshotSize returns the number of bytes received from the publisher until the state is complete.
func (s *sink) snapshotSize(ctx context.Context, addr string) (n int64, err error) {
	var conn *counted
	sub, err := subscriber.New(subscriber.Config{
		Addrs: []string{addr}, Client: "tickfeed bench",
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
			conn = &counted{Conn: c}
			return conn, err
		},
	})
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	err = sub.Run(ctx, func(b *subscriber.Batch) error {
		if b.Snapshot {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		return 0, err
	}
	return conn.read, nil
}

// A counted connection counts the bytes read from it.
type counted struct {
	net.Conn
	read int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read += int64(n)
	return n, err
}
