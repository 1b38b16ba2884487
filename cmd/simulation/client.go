package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/subscriber"
)

// A client is a simulated application with a subscriber and a witness. It may be killed and restarted.
type client struct {
	w       *world
	name    string
	cfg     subscriber.Config
	changes bool // its filter changes
	rand    *rand.Rand

	sub     *subscriber.Subscriber
	witness *Witness
	cancel  context.CancelFunc
	done    chan struct{}
	err     error // of Run, after done

	nap        atomic.Int64 // how long the handler takes, ns
	state      atomic.Pointer[feed.State]
	connState  atomic.Int64 // the last subscriber.ConnState
	ended      atomic.Uint64
	undefined  atomic.Bool // a tick came whose definition is in the damaged part of the journal
	delivered  uint64      // by subscribers that were killed; so are the next two
	reconnects uint64
}

// newClient returns client i. Clients subscribe in several ways, in turn.
func (w *world) newClient(i int) *client {
	c := &client{w: w, name: fmt.Sprintf("client%d", i), rand: w.chance(100 + uint64(i))}
	c.cfg = subscriber.Config{
		Addrs: w.addrs, Client: c.name, Dial: w.net.From(c.name).Dial, Now: w.now, Seed: c.rand.Uint64(),
		// Intervals differ so that no two timers ring at the same instant.
		Heartbeat:  w.heartbeat + time.Duration(i)*1_000_037,
		MaxBackoff: 3 * time.Second,
		BatchSize:  1 + c.rand.IntN(300),
		Start:      codec.Start{Kind: codec.StartBeginning},
	}
	switch i % 7 {
	case 1:
		c.cfg.Start = codec.Start{Kind: codec.StartKind(c.rand.IntN(2))} // snapshot or live
	case 2:
		c.cfg.Filter = []string{"A*", "B01"}
	case 3:
		c.cfg.Slow, c.cfg.MaxLag = codec.SlowLatest, 300*time.Millisecond
		if c.rand.IntN(3) == 0 {
			c.cfg.Filter = []string{"B*"}
		}
	case 4:
		if w.plan.Dir != "" {
			c.cfg.PositionFile = fmt.Sprintf("%s/%s-%d", w.plan.Dir, c.name, w.plan.Seed)
		}
	case 5:
		c.cfg.Filter, c.changes = []string{"C0?"}, true
	case 6:
		c.cfg.Slow, c.cfg.MaxLag = codec.SlowDisconnect, 300*time.Millisecond
		c.cfg.Start = codec.Start{Kind: codec.StartSeq, Value: 1}
	}
	return c
}

func (c *client) start() error {
	s, err := subscriber.New(c.cfg)
	if err != nil {
		return err
	}
	c.sub, c.witness = s, c.w.audit.Witness(c.name, s)
	if c.changes || len(c.cfg.Filter) > 0 {
		c.witness.Merged = mergedWithin
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel, c.done = cancel, make(chan struct{})
	go func() {
		defer close(c.done)
		c.err = s.Run(ctx, c.handle)
		if ctx.Err() == nil {
			c.w.fail(fmt.Errorf("%s: Run returned: %w", c.name, c.err))
		}
	}()
	return nil
}

func (c *client) handle(b *subscriber.Batch) error {
	if err := c.witness.Take(c.sub, b); err != nil {
		c.w.fail(err)
		return err
	}
	if b.Change != nil {
		c.change(b.Change)
	} else if d := c.nap.Load(); d > 0 {
		c.w.happen(ClientNap)
		time.Sleep(time.Duration(d))
	}
	if c.w.finishing.Load() {
		c.state.Store(b.State.Clone())
	}
	return nil
}

func (c *client) change(b *subscriber.Change) {
	c.connState.Store(int64(b.State))
	if len(b.Lost) > 0 && b.Reason == codec.GoneExpired {
		c.w.happen(Expired)
	}
	if len(b.Withheld) > 0 {
		c.w.happen(Withheld)
	}
	var refused *subscriber.RefusedError
	if errors.As(b.Err, &refused) && refused.Code == codec.CodeSlow {
		c.w.happen(TooSlow)
	}
	if errors.As(b.Err, new(*feed.UndefinedError)) {
		c.undefined.Store(true)
	}
	if b.End {
		c.ended.Store(b.Final)
	}
	if c.w.plan.Log != nil {
		what := fmt.Sprintf("%s: %v next %d", c.name, b.State, c.sub.Position().Next)
		for _, ns := range []struct {
			name string
			n    []subscriber.Numbers
		}{{"withheld", b.Withheld}, {"lost", b.Lost}, {"disowned", b.Disowned}} {
			if len(ns.n) > 0 {
				what += fmt.Sprintf(" %s %v", ns.name, ns.n)
			}
		}
		if b.Err != nil {
			what += ": " + b.Err.Error()
		}
		c.w.log("%s", what)
	}
}

// stop ends the subscriber and judges it.
func (c *client) stop() error {
	c.cancel()
	<-c.done
	c.delivered += c.witness.Delivered
	c.reconnects += uint64(c.sub.Status().Reconnects)
	if !c.changes && len(c.cfg.Filter) > 0 && !c.w.damaged.Load() { // the symbols of damaged numbers are not known
		c.witness.Wants = func(symbol string) bool { return matches(c.cfg.Filter, symbol) }
	}
	return c.witness.Judge(c.sub)
}

// kill ends the subscriber as if its process had been killed, and starts another with the position file as it
// was at that time.
func (c *client) kill() error {
	file := c.cfg.PositionFile
	saved, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := c.stop(); err != nil {
		return err
	}
	was := c.sub.Position()
	if saved == nil {
		err = os.Remove(file)
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	} else {
		err = os.WriteFile(file, saved, 0o600)
	}
	if err != nil {
		return err
	}
	c.w.happen(ClientKill)
	c.reconnects++ // the next welcome is the new process's first
	if err := c.start(); err != nil {
		return err
	}
	if held := c.sub.Position(); held.Lineage.Current() == was.Lineage.Current() && held.Next > was.Next {
		return fmt.Errorf("%s: started again at %d, the application had numbers up to %d", c.name, held.Next, was.Next)
	}
	return nil
}

// well returns an error unless the client has everything up to head, and reports so.
func (c *client) well(head uint64) error {
	s := c.sub.Status()
	switch {
	case s.Next != head:
		return fmt.Errorf("%s: next is %d, want %d (%v, %s)", c.name, s.Next, head, s.State, c.sub.Position().Lineage.Current().ID)
	case s.Mode != c.w.mode:
		return fmt.Errorf("%s: the mode is %v, want %v", c.name, s.Mode, c.w.mode)
	case s.Head != head || s.LagTicks != 0:
		return fmt.Errorf("%s: the head is %d and the lag %d, want %d and 0", c.name, s.Head, s.LagTicks, head)
	case s.State != subscriber.Live && s.State != subscriber.Ended:
		return fmt.Errorf("%s: is %v at %d", c.name, s.State, s.Next)
	}
	return nil
}
