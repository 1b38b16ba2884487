package main

import (
	"context"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tickfeed/cmd/audit"
	"tickfeed/codec"
	"tickfeed/codec/lab"
	"tickfeed/feed"
	"tickfeed/feed/nouns"
	"tickfeed/subscriber"
)

// A party is one subscriber of the demo.
type party struct {
	name  string
	who   int
	rule  rule
	delay time.Duration // time that the subscriber takes per tick
	lab   *lab.Lab      // through which it reaches the publisher
	sub   *subscriber.Subscriber
	order order
	names []bool // by instrument: whether the filter of the demo wants it

	mu      sync.Mutex
	reports []subscriber.Report
	ended   chan struct{} // closed at the end of the source
	final   uint64
}

func (d *demo) startParty(ctx context.Context, x *party) (err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if x.lab, err = d.newLab(); err != nil {
		ln.Close()
		return err
	}
	d.group.Go(func() { _ = x.lab.Serve(ctx, narrowListener{ln}) })
	cfg := subscriber.Config{
		Addrs: []string{ln.Addr().String()}, Start: codec.Start{Kind: codec.StartBeginning}, Client: "demo " + x.name,
		MaxBackoff: demoMaxBackoff, Seed: d.o.seed + uint64(x.who) + 1, Logger: zerolog.Nop(),
	}
	switch x.rule {
	case filtered:
		cfg.Filter = d.o.symbols
	case skipping:
		cfg.Slow = codec.SlowLatest
		cfg.Dial = dialNarrow
	}
	if x.sub, err = subscriber.New(cfg); err != nil {
		return err
	}
	d.group.Go(func() {
		defer func() {
			if v := recover(); v != nil {
				d.crash(fmt.Errorf("%s: panic: %v\n%s", x.name, v, debug.Stack()))
			}
		}()
		if err := x.sub.Run(ctx, func(b *subscriber.Batch) error { return d.receive(ctx, x, b) }); ctx.Err() == nil {
			d.crash(fmt.Errorf("%s: %w", x.name, err))
		}
	})
	return nil
}

// narrow is the size of the socket buffers of a demo's connections. It is small, so that the publisher soon notices a slow
// reader.
const narrow = 32 << 10

func narrowed(nc net.Conn) net.Conn {
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(narrow)
		_ = tcp.SetWriteBuffer(narrow)
	}
	return nc
}

// dialNarrow connects with small buffers.
func dialNarrow(ctx context.Context, addr string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return narrowed(nc), nil
}

// A narrowListener accepts connections with small buffers.
type narrowListener struct{ net.Listener }

func (l narrowListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return narrowed(nc), nil
}

// receive is the handler of subscriber x: it reports the ticks to the auditor.
func (d *demo) receive(ctx context.Context, x *party, b *subscriber.Batch) error {
	if b.Change != nil {
		d.change(x, b.Change)
		return nil
	}
	wanted := x.know(b.Ticks, d.o.symbols)
	if b.Snapshot {
		return nil
	}
	x.order.check(b.Session, b.Ticks)
	done := 0
	for published, ticks := range b.ByPublishTime() {
		var wants []bool
		if wanted != nil {
			wants = wanted[done : done+len(ticks)]
		}
		d.books.ticks(x.who, x.name, b.Session, published, x.rule == filtered, ticks, wants)
		done += len(ticks)
	}
	if x.delay > 0 && !d.hurry.Load() {
		wait := time.NewTimer(x.delay * time.Duration(len(b.Ticks)))
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
	}
	return nil
}

// know returns whether the demo's filter wants each tick, if x is the full subscriber, which sees every definition;
// otherwise nil.
func (x *party) know(ticks []feed.Tick, patterns []string) []bool {
	if x.rule != everything {
		return nil
	}
	wanted := make([]bool, len(ticks))
	for i := range ticks {
		t := &ticks[i]
		for int(t.Instrument) >= len(x.names) {
			x.names = append(x.names, false)
		}
		if def := t.Definition(); def != nil {
			x.names[t.Instrument] = codec.Filter(patterns).Match(def)
		}
		wanted[i] = x.names[t.Instrument]
	}
	return wanted
}

func (d *demo) change(x *party, c *subscriber.Change) {
	for _, told := range []struct {
		numbers []subscriber.Numbers
		outcome audit.Outcome
	}{{c.Withheld, audit.Withheld}, {c.Lost, audit.Lost}, {c.Disowned, audit.Disowned}} {
		for _, n := range told.numbers {
			d.books.reported(x.who, x.name, n.Session, n.Range, told.outcome)
			d.say(outcomeColours[told.outcome], "  %s: %s %v", x.name, nouns.Count(n.Range.Len(), "tick"), told.outcome)
		}
	}
	if r := c.Report; r != nil {
		cause := string(r.Cause)
		if r.Cause != subscriber.CauseCut && r.Cause != subscriber.CauseSilent {
			cause += ": " + r.Detail
		}
		x.mu.Lock()
		x.reports = append(x.reports, *r)
		x.mu.Unlock()
		d.say(green, "  %s recovered by %s %s after it noticed: %s replayed, %s, cause %s", x.name,
			r.Resume, formatDuration(r.Live), nouns.Count(r.Replayed, "tick"), nouns.Count(r.Attempts, "attempt"), cause)
	}
	if c.End {
		x.mu.Lock()
		if x.final == 0 {
			close(x.ended)
		}
		x.final = c.Final
		x.mu.Unlock()
	}
}
