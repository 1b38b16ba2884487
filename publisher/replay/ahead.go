package replay

import (
	"errors"
	"sync"
	"sync/atomic"

	"tickfeed/feed"
)

// An ahead is a reel of one tape. Ticks are decoded by a goroutine of its own, a few units ahead, which runs from
// read to the end, an error, rewind, goTo or stop, or until packets are wanted as they are: these stay where the
// reader has them.
type ahead struct {
	t      *tape
	after  place // where the tape can go on after the unit that read returned last
	told   bool  // that is known
	raw    atomic.Bool
	opened *tape // packets of a unit, to be read as ticks
	inside bool  // there are some

	full, free chan *unit // aheadUnits slots each
	quit       chan struct{}
	reading    sync.WaitGroup
	on         bool
}

// aheadUnits is how many units there are beside the player's own.
const aheadUnits = 3

func newAhead(t *tape) *ahead {
	return &ahead{t: t, opened: &tape{rec: t.rec, filter: t.filter, log: t.log, tally: t.tally}}
}

// read implements reel.
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
			a.after, a.told = u.after, u.told
			return u.err
		}
	}
	err := a.t.read(u, raw)
	a.after, a.told = a.t.here()
	return err
}

// errHere is that the goroutine has left the tape to the caller of read.
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
					u.err = a.t.read(u, false)
				}
				u.after, u.told = a.t.here()
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

// rewind implements reel.
func (a *ahead) rewind() error {
	a.stop()
	return a.t.rewind()
}

// goTo implements reel.
func (a *ahead) goTo(p any, state *feed.State) error {
	a.stop()
	return a.t.goTo(p.(place), definitionsOf(state))
}

// place implements reel.
func (a *ahead) place() any {
	if a.inside {
		at, _ := a.opened.here()
		return at
	}
	if a.told {
		return a.after
	}
	return nil
}
