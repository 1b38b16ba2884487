package feed

import "context"

// A Source supplies the ticks that a publisher publishes. Only one goroutine may use it.
type Source interface {
	// Next fills batch from its start and returns how many ticks it holds: at least one unless err is not nil.
	// It does not wait for input to fill the batch once it has a tick. Ticks come in the order in which they
	// are to be published, with EventTime set and Seq 0.
	//
	// Instrument ids are the source's own, dense from 0; a definition tick defines each before it is used. The
	// caller may keep what Extra points to; it is never written again.
	//
	// err is io.EOF at the end of the source. It repeats, like any other error, and may come with n > 0 valid
	// ticks. If Next waits for input and ctx is cancelled, it returns ctx.Err().
	Next(ctx context.Context, batch []Tick) (n int, err error)
	// Close releases the source's resources. It may be called more than once, but not during Next.
	Close() error
}
