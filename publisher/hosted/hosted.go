// Package hosted runs a publisher in this process, over a journal in memory, so that a lab can kill it, stop it, freeze it,
// fill its disk, and start it again over its journal, a copy of it or none. It works in a testing/synctest bubble.
package hosted

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tickfeed/codec/lab"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/journal/memfs"
)

// A Config says how a publisher is started each time.
type Config struct {
	// Publisher is the publisher's; Journal and FS are ignored. A Seed gives each life a seed of its own.
	Publisher publisher.Config
	// InMemory leaves out the journal: a life knows nothing of the one before.
	InMemory bool
	// Listen listens for a life, numbered from 1.
	Listen func(life uint64) (net.Listener, error)
	// Dial connects to an address of Listen.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Began is called for each life before it accepts connections, for example to define instruments. It may be nil.
	Began func(ctx context.Context, pub *publisher.Publisher) error
}

// A Publisher is a publisher that can be ended and started again. It is a lab.Publisher; those methods are called one at a time.
// The others are safe for concurrent use, unless they say something else.
type Publisher struct {
	cfg Config

	mu     sync.Mutex
	now    *life
	lives  uint64
	frozen bool
	ready  chan struct{} // closed while now is up and not frozen
	fs     *memfs.FS     // of the next life
	copied *memfs.FS
}

// A life is a publisher from one start to its end.
type life struct {
	pub  *publisher.Publisher
	addr string
	disk *disk
	over atomic.Bool // ended, or about to
	stop func() error
}

// A disk makes the operations of a memfs.FS fail.
type disk struct {
	full atomic.Bool
	dead atomic.Bool
}

func (d *disk) fault(op memfs.Op) (int, error) {
	switch {
	case d.dead.Load():
		return 0, syscall.EIO
	case d.full.Load() && op.Kind == memfs.Write:
		return op.Size / 3, syscall.ENOSPC
	}
	return 0, nil
}

// closeTime bounds how long the end of a publisher takes.
const closeTime = 10 * time.Second

// New starts a publisher over an empty journal. The caller must call Close.
func New(ctx context.Context, cfg Config) (*Publisher, error) {
	p := &Publisher{cfg: cfg, fs: new(memfs.FS), ready: make(chan struct{})}
	return p, p.Start(ctx, lab.SameJournal)
}

// Start implements lab.Publisher.
func (p *Publisher) Start(ctx context.Context, over lab.Journal) error {
	p.mu.Lock()
	p.lives++
	n := p.lives
	switch over {
	case lab.CopiedJournal:
		if p.copied == nil {
			p.mu.Unlock()
			return errors.New("there is no copy of the journal")
		}
		p.fs = p.copied.Killed()
	case lab.NoJournal:
		p.fs = new(memfs.FS)
	}
	fs := p.fs
	p.mu.Unlock()
	d := new(disk)
	fs.Fault = d.fault
	cfg := p.cfg.Publisher
	if cfg.Journal, cfg.FS = "journal", fs; p.cfg.InMemory {
		cfg.Journal, cfg.FS = "", nil
	}
	if cfg.Seed != 0 {
		cfg.Seed = cfg.Seed<<16 + n
	}
	pub, err := publisher.New(cfg)
	if err != nil {
		return err
	}
	end := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), closeTime)
		defer cancel()
		return pub.Close(ctx)
	}
	if p.cfg.Began != nil {
		if err := p.cfg.Began(ctx, pub); err != nil {
			return errors.Join(err, end())
		}
	}
	ln, err := p.cfg.Listen(n)
	if err != nil {
		return errors.Join(err, end())
	}
	serving, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = pub.Serve(serving, ln)
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = &life{pub: pub, addr: ln.Addr().String(), disk: d, stop: func() error {
		cancel()
		<-served
		return end()
	}}
	p.readyLocked()
	return nil
}

// readyLocked closes ready if the publisher is up and not frozen, and makes another one if it is not.
func (p *Publisher) readyLocked() {
	select {
	case <-p.ready:
		p.ready = make(chan struct{})
	default:
	}
	if p.now != nil && !p.frozen {
		close(p.ready)
	}
}

// leave takes the present life away. It returns nil if there is none.
func (p *Publisher) leave() *life {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.now
	if x != nil {
		x.over.Store(true)
		p.now = nil
		p.readyLocked()
	}
	return x
}

// Stop implements lab.Publisher.
func (p *Publisher) Stop() error {
	x := p.leave()
	if x == nil {
		return nil
	}
	if err := x.stop(); err != nil && !errors.Is(err, publisher.ErrClosed) {
		return err
	}
	p.setFS(p.fs.Killed())
	return nil
}

// Kill implements lab.Publisher.
func (p *Publisher) Kill() error {
	x := p.leave()
	if x == nil {
		return nil
	}
	left := p.fs.Killed()
	x.disk.dead.Store(true) // it writes nothing any more
	_ = x.stop()
	p.setFS(left)
	return nil
}

func (p *Publisher) setFS(fs *memfs.FS) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fs = fs
}

// Can implements lab.Publisher: every fault can happen here.
func (p *Publisher) Can(lab.Fault) error { return nil }

// Copy implements lab.Publisher.
func (p *Publisher) Copy() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.copied = p.fs.Killed()
	return nil
}

// Freeze implements lab.Publisher: Publish waits.
func (p *Publisher) Freeze() error { return p.freeze(true) }

// Thaw implements lab.Publisher.
func (p *Publisher) Thaw() error { return p.freeze(false) }

func (p *Publisher) freeze(frozen bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = frozen
	p.readyLocked()
	return nil
}

// Fill implements lab.Publisher.
func (p *Publisher) Fill() error { return p.fill(true) }

// Empty implements lab.Publisher.
func (p *Publisher) Empty() error { return p.fill(false) }

func (p *Publisher) fill(full bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now != nil {
		p.now.disk.full.Store(full)
	}
	return nil
}

// Dial connects to the publisher.
func (p *Publisher) Dial(ctx context.Context) (net.Conn, error) {
	p.mu.Lock()
	x := p.now
	p.mu.Unlock()
	if x == nil {
		return nil, errors.New("the publisher is not running")
	}
	return p.cfg.Dial(ctx, x.addr)
}

// Wait waits until the publisher is up and not frozen, and returns it. It may be ended at any time.
func (p *Publisher) Wait(ctx context.Context) (*publisher.Publisher, error) {
	x, err := p.wait(ctx)
	if err != nil {
		return nil, err
	}
	return x.pub, nil
}

func (p *Publisher) wait(ctx context.Context) (*life, error) {
	for {
		p.mu.Lock()
		x, ready, frozen := p.now, p.ready, p.frozen
		p.mu.Unlock()
		if x != nil && !frozen {
			return x, nil
		}
		select {
		case <-ready:
		case <-ctx.Done():
			return nil, fmt.Errorf("the publisher does not come back: %w", context.Cause(ctx))
		}
	}
}

// Do calls f with the publisher, and again if it was ended meanwhile and f failed.
func (p *Publisher) Do(ctx context.Context, f func(pub *publisher.Publisher) error) error {
	for {
		x, err := p.wait(ctx)
		if err != nil {
			return err
		}
		if err := f(x.pub); err == nil || !x.over.Load() {
			return err
		}
	}
}

// Publish publishes ticks of instruments that are defined, and waits until they may be sent. If the publisher is ended
// meanwhile, the next one publishes what has not survived. Only one goroutine may be in Publish.
func (p *Publisher) Publish(ctx context.Context, ticks []feed.Tick) error {
	for len(ticks) > 0 {
		x, err := p.wait(ctx)
		if err != nil {
			return err
		}
		session, from := x.pub.Lineage().Current().ID, x.pub.Stats().Head
		if err = x.pub.Publish(ctx, ticks); err == nil {
			err = x.pub.Flush(ctx)
		}
		if !x.over.Load() {
			return err
		}
		if x, err = p.wait(ctx); err != nil {
			return err
		}
		for len(ticks) > 0 {
			if owner, _, ok := x.pub.Lineage().Owner(from); !ok || owner.ID != session {
				break
			}
			ticks, from = ticks[1:], from+1
		}
	}
	return nil
}

// Close ends the publisher in order.
func (p *Publisher) Close() error { return p.Stop() }
