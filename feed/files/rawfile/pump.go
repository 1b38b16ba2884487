package rawfile

import (
	"context"
	"errors"

	"tickfeed/feed"
)

// ErrNotYet is what the more function of Pump.Next returns if it would have to wait for input.
var ErrNotYet = errors.New("nothing to read yet")

// A Pump is the loop of a source that reads its input piece by piece: it passes the ticks of a piece on in batches of any size.
type Pump struct {
	// Pending are ticks that Next has not returned yet: those of the last piece.
	Pending []feed.Tick
	err     error // once set, Next repeats it
}

// Next implements [feed.Source]. It calls more for the next piece, which replaces Pending, until the batch is full. more may
// wait for input only if wait is true, that is, if there is nothing to return; otherwise it returns ErrNotYet. Any other error
// ends the source, and Next returns it once it has returned the ticks before it, except that of ctx.
func (p *Pump) Next(ctx context.Context, batch []feed.Tick, more func(wait bool) error) (n int, err error) {
	if p.err != nil {
		return 0, p.err
	}
	if err := ctx.Err(); err != nil || len(batch) == 0 {
		return 0, err
	}
	for {
		k := copy(batch[n:], p.Pending)
		p.Pending = p.Pending[k:]
		if n += k; n == len(batch) {
			return n, nil
		}
		switch err := more(n == 0); {
		case err == nil:
			continue
		case err == ErrNotYet && n > 0:
			return n, nil
		case err == ctx.Err():
			return n, err
		default:
			p.err = err
		}
		if n == 0 {
			return 0, p.err
		}
		return n, nil
	}
}

// End makes err the error that Next returns from now on, unless the source has ended already.
func (p *Pump) End(err error) {
	if p.err == nil {
		p.err = err
	}
}
