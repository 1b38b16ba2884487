package replay

import (
	"errors"
	"sync"
	"sync/atomic"

	"tickfeed/feed"
)

// An ahead reads a reel a few units ahead. Ticks are decoded, and merged, by a goroutine of its own, which runs from
// read to the end, an error, rewind, goTo or stop, or until packets are wanted as they are: these stay where the
// reader has them.
type ahead struct {
	r      reel
	after  any // place of r after the unit that read returned last
	raw    atomic.Bool
	opened *tape // packets of a unit, to be read as ticks; nil where the reel has none
	inside bool  // there are some

	full, free chan *unit // aheadUnits slots each
	quit       chan struct{}
	reading    sync.WaitGroup
	on         bool
}

// aheadUnits is how many units there are beside the player's own.
const aheadUnits = 3

func newAhead(t *tape) *ahead {
	return &ahead{r: tapeReel{t}, opened: &tape{rec: t.rec, filter: t.filter, log: t.log, tally: t.tally, clock: t.clock, first: t.first}}
}

// A tapeReel is one tape as a reel.
type tapeReel struct{ *tape }

func (t tapeReel) place() any {
	if at, ok := t.here(); ok {
		return at
	}
	return nil
}

func (t tapeReel) goTo(p any, state *feed.State) error {
	return t.tape.goTo(p.(place), definitionsOf(state))
}

// read fills u with what comes next: what it still has of packets, and else what follows.
func (a *ahead) read(u *unit, raw bool) error {
	if len(u.packets) > 0 {
		a.opened.enter(u)
		a.inside = true
	}
	if a.inside {
		if a.opened.read(u, false) == nil { // it reads no file
			return nil
		}
		a.inside = false
	}
	raw = raw && a.opened != nil
	a.raw.Store(raw)
	if !raw && !a.on {
		a.start()
	}
	if a.on {
		got := <-a.full
		*u, *got = *got, *u
		if u.err == nil {
			a.free <- got
		} else {
			a.stop()
		}
		if u.err != errHere {
			a.after = u.after
			return u.err
		}
	}
	err := a.r.read(u, raw)
	a.after = a.r.place()
	return err
}

// errHere is that the goroutine has left the reel to the caller of read.
var errHere = errors.New("packets are wanted")

func (a *ahead) start() {
	a.full, a.free, a.quit = make(chan *unit, aheadUnits), make(chan *unit, aheadUnits), make(chan struct{})
	for range aheadUnits {
		a.free <- new(unit)
	}
	a.on = true
	a.reading.Go(func() {
		for {
			select {
			case <-a.quit:
				return
			case u := <-a.free:
				u.err = errHere
				if !a.raw.Load() {
					u.err = a.r.read(u, false)
				}
				u.after = a.r.place()
				over := u.err != nil
				a.full <- u // has room
				if over {
					return
				}
			}
		}
	})
}

// stop ends the goroutine; what it has read is lost.
func (a *ahead) stop() {
	if a.on {
		close(a.quit)
		a.reading.Wait()
		a.on = false
	}
	a.inside = false
}

func (a *ahead) rewind() error {
	a.stop()
	return a.r.rewind()
}

func (a *ahead) goTo(p any, state *feed.State) error {
	a.stop()
	return a.r.goTo(p, state)
}

// place is where the reel goes on after what read returned last, nil if that cannot be told.
func (a *ahead) place() any {
	if a.inside {
		at, _ := a.opened.here()
		return at
	}
	return a.after
}
