package replay

import (
	"sync"

	"tickfeed/feed"
)

// An ahead is a reel of one tape that is read by a goroutine of its own, a few units ahead: at the
// greatest speed decoding takes a third of the time. It runs from read to the end, an error,
// rewind, goTo or stop.
type ahead struct {
	t     *tape
	after place // where the tape can go on after the unit that read returned last
	told  bool  // that is known

	full, free chan *unit // aheadUnits slots each
	quit       chan struct{}
	reading    sync.WaitGroup
	on         bool
}

// aheadUnits is how many units there are beside the player's own.
const aheadUnits = 3

// read implements reel.
func (a *ahead) read(u *unit) error {
	if !a.on {
		a.start()
	}
	got := <-a.full
	*u, *got = *got, *u
	a.after, a.told = u.after, u.told
	if u.err != nil {
		a.stop()
		return u.err
	}
	a.free <- got
	return nil
}

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
				err := a.t.read(u)
				u.err = err
				u.after, u.told = a.t.here()
				a.full <- u // has room
				if err != nil {
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
	if a.told {
		return a.after
	}
	return nil
}
