package feed

import "context"

// A Source yields the ticks that a publisher publishes. Only one goroutine may use it.
type Source interface {
	// Next fills batch from its start and returns how many ticks it holds now: at least
	// one unless err is not nil, and never so many that it had to wait for the last ones.
	// Ticks come in the order they are to be published, with EventTime set and Seq 0.
	//
	// Instrument ids are the source's own, dense from 0; each is defined by a definition
	// tick before it is used. Extra of the ticks stays the caller's to keep; it is never
	// written again.
	//
	// err is io.EOF at the end of the source and repeats, as does any other error; it may
	// come with n > 0, those ticks are good. Cancelling ctx makes a Next that waits for
	// input return ctx.Err().
	Next(ctx context.Context, batch []Tick) (n int, err error)
	// Close frees what the source holds. It may be called while no Next is under way, more
	// than once.
	Close() error
}
