package lab

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A Publisher is a publisher that a lab ends, suspends and starts again. The lab calls one method at a time, and Start only
// after Kill or Stop. An error of a method ends the lab.
type Publisher interface {
	// Can returns an error, which says why, if f, a fault of the publisher, cannot happen here.
	Can(f Fault) error
	// Kill ends the publisher as kill -9 does: what it has not handed to the operating system is gone.
	Kill() error
	// Stop ends the publisher in order: it sends what it has published, and says goodbye.
	Stop() error
	// Start starts the publisher, and returns once it accepts connections.
	Start(ctx context.Context, over Journal) error
	// Copy keeps a copy of the journal, and forgets the one before.
	Copy() error
	// Freeze suspends the publisher until Thaw.
	Freeze() error
	Thaw() error
	// Fill leaves no room on the disk of the journal until Empty.
	Fill() error
	Empty() error
}

// A Journal is what a publisher starts over.
type Journal string

// The journals, as Fault.How of Restart.
const (
	SameJournal   Journal = "journal"
	CopiedJournal Journal = "copy"
	NoJournal     Journal = "none"
)

func (f Fault) overCopy() bool { return f.Verb == Restart && Journal(f.How) == CopiedJournal }

// act lets rule i happen to the publisher; e says which client triggered it. When it returns, no byte that the publisher
// sends after a kill, and nothing at all while it is frozen, reaches a client. The channel is closed when the publisher accepts
// connections again, or is frozen, or its disk is full.
func (l *Lab) act(i int, e Event) <-chan struct{} {
	done := make(chan struct{})
	r := l.rules.rule(i)
	if r == nil {
		close(done)
		return done
	}
	f := r.Fault
	l.mu.Lock()
	var cut []*link
	cannot := ""
	switch {
	case l.Publisher == nil:
		cannot = "the lab runs no publisher"
	case f.overCopy() && !l.copied:
		cannot = "there is no copy of the journal yet"
	}
	if cannot != "" {
		l.mu.Unlock()
		l.say(Event{What: fmt.Sprintf("%q: %s", r.Text, cannot)})
		close(done)
		return done
	}
	switch f.Verb {
	case CopyJournal:
		l.copied = true
	case Kill:
		for k := range l.links {
			cut = append(cut, k)
		}
		l.down++
	case Stop, Restart:
		l.down++
	case Freeze:
		l.frozen = time.Now().Add(f.For)
	}
	before, after := l.turn, make(chan struct{})
	l.turn = after
	l.mu.Unlock()
	for _, k := range cut {
		k.reset()
	}
	l.rules.happened(i)
	e.Line, e.Fault = r.Line, r.Text
	l.say(e)
	do := func(ctx context.Context) {
		begun := sync.OnceFunc(func() { close(done) })
		defer close(after)
		defer begun()
		if before != nil {
			select {
			case <-before:
			case <-ctx.Done():
				return
			}
		}
		if err := l.change(ctx, f, begun); err != nil {
			l.fail(fmt.Errorf("the publisher, after %q: %w", r.Text, err))
		}
	}
	l.mu.Lock()
	running := l.spawn != nil
	if running {
		l.spawn(do)
	}
	l.mu.Unlock()
	if !running {
		do(context.Background())
	}
	return done
}

// change does f to the publisher. It calls begun when something begins that lasts.
func (l *Lab) change(ctx context.Context, f Fault, begun func()) error {
	p := l.Publisher
	switch f.Verb {
	case CopyJournal:
		return p.Copy()
	case Freeze:
		if err := p.Freeze(); err != nil {
			return err
		}
		begun()
		pause(ctx, f.For)
		return p.Thaw()
	case FillDisk:
		if err := p.Fill(); err != nil {
			return err
		}
		begun()
		pause(ctx, f.For)
		return p.Empty()
	}
	end, over := p.Stop, SameJournal
	switch f.Verb {
	case Kill:
		end = p.Kill
	case Stop:
	case Restart:
		over = Journal(f.How)
	default:
		panic(unmade(f.Verb))
	}
	if err := end(); err != nil {
		return err
	}
	pause(ctx, f.For)
	if ctx.Err() != nil {
		return nil
	}
	if err := p.Start(ctx, over); err != nil && ctx.Err() == nil {
		return err
	}
	l.mu.Lock()
	l.down--
	l.mu.Unlock()
	l.say(Event{What: "the publisher accepts connections again"})
	return nil
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// fail ends all calls of Serve.
func (l *Lab) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, end := range l.ends {
		end(err)
	}
}
