package replay

import (
	"errors"
	"sync"
	"sync/atomic"

	"tickfeed/feed"
)

// An ahead reads a reel a few units ahead of the player. Its goroutine decodes and merges ticks. The goroutine runs
// from a call of read to the end of the reel, an error, rewind, goTo or stop, or until the player asks for packets:
// the reel then stays where it is.
type ahead struct {
	r      reel
	after  any // place of r after the last unit that read returned
	raw    atomic.Bool
	opened *tape // decodes the packets of a unit into ticks; nil if the reel has no packets
	inside bool  // opened has packets left

	full, free chan *unit // aheadUnits slots each
	quit       chan struct{}
	reading    sync.WaitGroup
	on         bool
}

// aheadUnits is how many units there are besides the unit of the player.
const aheadUnits = 3

func newAhead(t *tape) *ahead {
	return &ahead{r: tapeReel{t}, opened: &tape{rec: t.rec, filter: t.filter, log: t.log, tally: t.tally, clock: t.clock, first: t.first}}
}

// A tapeReel makes a tape a reel.
type tapeReel struct{ *tape }

func (t tapeReel) place() any {
	if at, ok := t.here(); ok {
		return at
	}
	return nil
}

func (t tapeReel) goTo(p any, state *feed.State) error {
	return t.tape.goTo(p.(tapePlace), definitionsOf(state))
}

// read fills u with the rest of its packets, decoded, or else with the next unit.
func (a *ahead) read(u *unit, raw bool) error {
	if len(u.packets) > 0 {
		a.opened.enter(u)
		a.inside = true
	}
	if a.inside {
		if a.opened.read(u, false) == nil { // cannot fail otherwise: it reads no file
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

// errHere reports that the goroutine has left the reel to the caller of read.
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
				a.full <- u // never blocks
				if over {
					return
				}
			}
		}
	})
}

// stop ends the goroutine and discards the units that it has read.
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

// place returns where the reel continues after the last unit that read returned, or nil if that place is unknown.
func (a *ahead) place() any {
	if a.inside {
		at, _ := a.opened.here()
		return at
	}
	return a.after
}
