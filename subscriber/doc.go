// Package subscriber receives a tickfeed stream: it connects, detects gaps, reconnects, resumes, and takes a snapshot only
// if it must.
//
//	s, err := subscriber.New(subscriber.Config{Addrs: []string{"localhost:8425"}})
//	…
//	err = s.Run(ctx, func(b *subscriber.Batch) error {
//		for i := range b.Ticks { … }
//		return nil
//	})
//
// Each tick is delivered at most once and in order. The ledger accounts for every number of the session in exactly one way:
// delivered, not asked, withheld, lost or disowned. Each recovery yields one report. Run never goes quiet: it retries for as
// long as Config allows and then returns an error.
//
// Ticks allocate no memory, snapshots do. In a program with a small heap a large snapshot triggers garbage collections; a
// higher GOGC avoids them, and the state is complete sooner.
//
// A line decides what each message means (line.go; welcome.go decides where it begins, control.go reads control messages),
// codec.Liveness when a peer is dead, and retry when to connect again; none of them does I/O or reads a clock.
// Subscriber.Run owns the socket and the position file.
package subscriber
