// Package subscriber receives a tickfeed stream: it connects, detects gaps, reconnects, resumes, and takes a snapshot only
// if it must.
//
//	s, err := subscriber.New(subscriber.Config{Addrs: []string{"localhost:8425"}, Start: subscriber.Beginning})
//	if err != nil {
//		return err
//	}
//	for t, err := range s.Ticks(ctx) {
//		if err != nil {
//			return err
//		}
//		if t.Kind == feed.KindQuote {
//			fmt.Println(t.Seq, t.Symbol, t.Price(t.Quote().Bid), t.Price(t.Quote().Ask))
//		}
//	}
//
// [Subscriber.Run] is the fast way: it gives batches, the state, snapshots, changes and reports to a function or a [Handler].
//
// Each tick is delivered at most once and in order. The ledger accounts for every number of the session in exactly one way:
// delivered, not asked, withheld, lost or disowned. Each recovery yields one report. Run never goes quiet: it retries for as
// long as Config allows and then returns an error.
//
// Ticks allocate no memory, snapshots do. In a program with a small heap a large snapshot triggers garbage collections; a
// higher GOGC avoids them, and the state is complete sooner.
package subscriber
