package bench

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/certs/certstest"
	"tickfeed/codec/nap"
	"tickfeed/codec/usage"
	"tickfeed/feed"
	"tickfeed/feed/sim"
	"tickfeed/publisher"
	"tickfeed/publisher/journal"
)

// A source is the child process that publishes.
type source struct {
	open func(paths []string) (feed.Source, error)
	profiler

	set     *tickSet
	closing sync.Mutex // held by closePublisher
	pub     *publisher.Publisher
	serving sync.WaitGroup
	stop    context.CancelFunc
	acks    *acks
	newest  atomic.Pointer[net.TCPConn] // newest connection of a subscriber
}

func (s *source) ops() map[string]op {
	return map[string]op{
		"load": handle(s.load), "open": handle(s.openPublisher), "close": handle(s.closePublisher),
		"flood": handle(s.flood), "paced": handle(s.paced), "resident": handle(s.resident), "kernel": handle(kernel), "simulate": handle(s.simulate),
		"profile": handle(s.profile), "segments": handle(s.segments), "cut": handle(s.cut),
	}
}

type loadArgs struct {
	Ticks       []string // files; none for the simulated market
	Instruments int      // number of ticks to hold
	Size        int      // ticks to hold
}

func (s *source) load(ctx context.Context, a loadArgs) (setInfo, error) {
	var src feed.Source
	var err error
	skip := 0
	if len(a.Ticks) == 0 {
		skip = 8 * a.Size // skip the opening, when each instrument has a status or two
		src, err = sim.New(sim.Config{Seed: 1, Instruments: a.Instruments, Continuous: true})
	} else {
		src, err = s.open(a.Ticks)
	}
	if err == nil {
		defer src.Close()
		s.set, err = loadTicks(ctx, src, skip, a.Size)
	}
	if err != nil {
		return setInfo{}, fmt.Errorf("%w: %w", ErrTicks, err)
	}
	return s.set.info(), nil
}

type openArgs struct {
	Journal   string // a directory; empty for none
	Sync      journal.Sync
	Retain    int64 // bytes
	Memory    int64
	Heartbeat time.Duration
	Listen    string // address; empty for any port
	TLS       bool
}

type openResult struct {
	Addr string // of the publisher
	Acks string // address for the subscribers' acknowledgements
}

// closeTime bounds the time to close a publisher.
const closeTime = 10 * time.Second

func (s *source) openPublisher(ctx context.Context, a openArgs) (r openResult, err error) {
	var encryption *tls.Config
	if a.TLS {
		encryption = &tls.Config{Certificates: []tls.Certificate{certstest.SelfSigned(certstest.Want{}).TLS}}
	}
	pub, err := publisher.New(publisher.Config{
		TLS: encryption, Journal: a.Journal, Sync: a.Sync, RetainBytes: a.Retain, Memory: a.Memory, Heartbeat: a.Heartbeat,
		Mode: codec.ModeSimulation, Source: "tickfeed bench",
	})
	if err != nil {
		return r, err
	}
	s.pub = pub
	if err := s.set.define(ctx, pub); err != nil {
		return r, err
	}
	ln, err := net.Listen("tcp", cmp.Or(a.Listen, "127.0.0.1:0"))
	if err != nil {
		return r, err
	}
	if s.acks, err = listenAcks(); err != nil {
		ln.Close()
		return r, err
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.serving.Go(func() { _ = pub.Serve(serving, noting{ln, &s.newest}) })
	s.serving.Go(func() { s.acks.serve(serving) })
	return openResult{Addr: ln.Addr().String(), Acks: s.acks.ln.Addr().String()}, pub.Flush(ctx)
}

func (s *source) closePublisher(ctx context.Context, _ nothing) (nothing, error) {
	s.closing.Lock()
	defer s.closing.Unlock()
	if s.pub == nil {
		return nothing{}, nil
	}
	s.stop()
	s.serving.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	err := s.pub.Close(ctx)
	s.pub = nil
	return nothing{}, err
}

// A noting listener records the connection that it accepted last.
type noting struct {
	net.Listener
	newest *atomic.Pointer[net.TCPConn]
}

func (l noting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		l.newest.Store(tcp)
	}
	return c, err
}

// cut resets the newest connection of a subscriber, and returns the time by the wall clock. The subscriber sees
// a reset; there is no proxy between the two that would also have to be dialled again.
func (s *source) cut(context.Context, nothing) (at int64, err error) {
	c := s.newest.Load()
	if err := c.SetLinger(0); err != nil {
		return 0, err
	}
	at = time.Now().UnixNano()
	return at, c.Close()
}

type floodArgs struct {
	Duration time.Duration
	Count    uint64 // number of ticks to publish; 0 for as many as Duration allows
	Batch    int    // ticks per call of Publish
	// Owed is the number of subscribers that get each tick. Wanted, if not nil, is instead the number for each
	// of the source's instruments. Window is how many deliveries may be outstanding: the source waits for its
	// subscribers.
	Owed   int
	Wanted []int
	Window uint64
}

type floodResult struct {
	Ticks      uint64
	Deliveries uint64
	Elapsed    time.Duration // from the first call of Publish until every subscriber had everything
	CPU        time.Duration // in that time
}

// ackTimeout bounds how long deliveries may be due without any arriving.
const ackTimeout = 30 * time.Second

// flood publishes as fast as the subscribers receive.
func (s *source) flood(ctx context.Context, a floodArgs) (r floodResult, err error) {
	var wanted []uint64 // by the publisher's ids
	for i, n := range a.Wanted {
		if id := int(s.set.ids[i]); id >= len(wanted) {
			wanted = append(wanted, make([]uint64, id+1-len(wanted))...)
		}
		wanted[s.set.ids[i]] = uint64(n)
	}
	before := s.acks.had.Load()
	cpu, began := usage.CPU(), time.Now()
	for look := 0; ; look++ {
		if a.Count > 0 && r.Ticks >= a.Count {
			break
		}
		if look&15 == 0 && a.Batch > 1 || look&255 == 0 {
			if ctx.Err() != nil {
				return r, context.Cause(ctx)
			}
			if a.Count == 0 && time.Since(began) >= a.Duration {
				break
			}
		}
		batch := s.set.next(a.Batch)
		if err := s.pub.Publish(ctx, batch); err != nil {
			return r, err
		}
		r.Ticks += uint64(len(batch))
		if wanted == nil {
			r.Deliveries += uint64(a.Owed * len(batch))
		} else {
			for i := range batch {
				r.Deliveries += wanted[batch[i].Instrument]
			}
		}
		if r.Deliveries > a.Window && s.acks.had.Load()-before < r.Deliveries-a.Window {
			if err := s.acks.wait(ctx, before+r.Deliveries-a.Window); err != nil {
				return r, err
			}
		}
	}
	if err := s.pub.Flush(ctx); err != nil {
		return r, err
	}
	if err := s.acks.wait(ctx, before+r.Deliveries); err != nil {
		return r, err
	}
	r.Elapsed, r.CPU = time.Since(began), usage.CPU()-cpu
	if had := s.acks.had.Load() - before; had > r.Deliveries {
		return r, fmt.Errorf("%w: the subscribers received %d ticks, want %d", ErrAccount, had, r.Deliveries)
	}
	return r, nil
}

type pacedArgs struct {
	Rate     float64 // ticks per second, each in its own call
	Duration time.Duration
}

type pacedResult struct {
	Ticks   uint64
	Elapsed time.Duration
	CPU     time.Duration
	Late    time.Duration // median delay from the time of a tick to its call of Publish
}

// paced publishes one tick at a time on an absolute schedule. The event time of a tick is when it was due, by
// the wall clock.
func (s *source) paced(ctx context.Context, a pacedArgs) (r pacedResult, err error) {
	cpu, began := usage.CPU(), time.Now()
	late, err := paced(ctx, a, func(due time.Time) error {
		batch := s.set.next(1)
		batch[0].EventTime = due.UnixNano()
		r.Ticks++
		return s.pub.Publish(ctx, batch)
	})
	r.Elapsed, r.CPU, r.Late = time.Since(began), usage.CPU()-cpu, late
	return r, err
}

// minNap is the shortest sleep: a shorter one costs as much processor time as it lasts, and is as late. Ticks
// that become due during a sleep are late by the same amount on any line.
const minNap = 50 * time.Microsecond

// paced calls f at each point in time of the schedule, or as soon after it as the machine wakes up, and returns
// the median delay.
func paced(ctx context.Context, a pacedArgs, f func(due time.Time) error) (late time.Duration, err error) {
	defer keenTimers()()
	gap := float64(time.Second) / a.Rate
	lateness := newHistogram()
	start := time.Now()
	for i := 0; ; i++ {
		after := time.Duration(float64(i) * gap)
		if after >= a.Duration {
			break
		}
		due := start.Add(after)
		for d := time.Until(due); d > 0; d = time.Until(due) {
			if ctx.Err() != nil {
				return 0, context.Cause(ctx)
			}
			nap.Sleep(max(min(d, 100*time.Millisecond), minNap))
		}
		record(lateness, time.Since(due))
		if err := f(due); err != nil {
			return 0, err
		}
	}
	return time.Duration(lateness.ValueAtQuantile(50)), nil
}

func (s *source) resident(context.Context, nothing) (int64, error) { return resident() }

func kernel(context.Context, nothing) (int64, error) { return kernelMemory() }

type simulateArgs struct {
	Duration    time.Duration
	Instruments int
	Depth       int
}

type simulateResult struct {
	Ticks   uint64
	Elapsed time.Duration
}

// simulate makes ticks without publishing them.
func (s *source) simulate(ctx context.Context, a simulateArgs) (r simulateResult, err error) {
	m, err := sim.New(sim.Config{Seed: 1, Instruments: a.Instruments, Depth: a.Depth, Continuous: true})
	if err != nil {
		return r, err
	}
	batch := make([]feed.Tick, 256)
	for range a.Instruments/len(batch) + 4 { // skip definitions and the opening
		if _, err := m.Next(ctx, batch); err != nil {
			return r, err
		}
	}
	began := time.Now()
	for r.Elapsed < a.Duration && ctx.Err() == nil {
		for range 64 {
			n, err := m.Next(ctx, batch)
			if err != nil {
				return r, err
			}
			r.Ticks += uint64(n)
		}
		r.Elapsed = time.Since(began)
	}
	return r, ctx.Err()
}

// segments returns the journal's files in order, with their total size.
func (s *source) segments(_ context.Context, dir string) (r segments, err error) {
	if r.Paths, err = filepath.Glob(filepath.Join(dir, "*.tick")); err != nil {
		return r, err
	}
	slices.Sort(r.Paths)
	for _, p := range r.Paths {
		info, err := os.Stat(p)
		if err != nil {
			return r, err
		}
		r.Size += info.Size()
	}
	return r, nil
}

type segments struct {
	Paths []string
	Size  int64
}

// An acks receives the total number of ticks that the subscribers' process has received: eight bytes, as often
// as the process likes. It closes the loop, so that the source goes only as fast as its subscribers.
type acks struct {
	ln   net.Listener
	had  atomic.Uint64
	more chan struct{} // signals that had has grown
}

func listenAcks() (*acks, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &acks{ln: ln, more: make(chan struct{}, 1)}, nil
}

// serve accepts connections, one after another, until ctx ends.
func (a *acks) serve(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { a.ln.Close() })
	defer stop()
	for {
		conn, err := a.ln.Accept()
		if err != nil {
			return
		}
		end := context.AfterFunc(ctx, func() { conn.Close() })
		var b [8]byte
		for {
			if _, err := io.ReadFull(conn, b[:]); err != nil {
				break
			}
			a.had.Store(binary.LittleEndian.Uint64(b[:]))
			select {
			case a.more <- struct{}{}:
			default:
			}
		}
		end()
		conn.Close()
	}
}

// wait waits until n deliveries are acknowledged.
func (a *acks) wait(ctx context.Context, n uint64) error {
	if a.had.Load() >= n {
		return nil
	}
	timeout := time.NewTimer(ackTimeout)
	defer timeout.Stop()
	for a.had.Load() < n {
		select {
		case <-a.more:
			timeout.Reset(ackTimeout)
		case <-timeout.C:
			return fmt.Errorf("%w: %d of %d deliveries are missing and nothing has come for %v", ErrAccount, n-a.had.Load(), n, ackTimeout)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// A profiler writes a CPU profile of its process.
type profiler struct{ file *os.File }

// profile begins a profile in the file at path, after ending the one in progress. If path is empty, it only
// ends that one.
func (p *profiler) profile(_ context.Context, path string) (nothing, error) {
	if p.file != nil {
		pprof.StopCPUProfile()
		err := p.file.Close()
		p.file = nil
		if err != nil || path == "" {
			return nothing{}, err
		}
	}
	if path == "" {
		return nothing{}, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nothing{}, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nothing{}, errors.Join(err, f.Close())
	}
	p.file = f
	return nothing{}, nil
}
