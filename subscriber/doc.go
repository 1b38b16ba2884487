// Package subscriber receives a tickfeed stream: it connects, detects gaps, reconnects and resumes. It takes a
// snapshot if Config.Start asks for one, or if the publisher cannot send the ticks that follow its position.
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
// delivered, not asked, withheld, lost or disowned; the lost numbers that the publisher no longer had are also counted as
// expired. Each recovery yields one report. Run does not wait in silence for a publisher that has gone: it closes a connection that is silent
// for too long, connects again, and returns an error after Config.MaxAttempts failed attempts in a row, if that is set.
//
// Ticks allocate no memory, snapshots do. In a program with a small heap a large snapshot triggers garbage collections; a
// higher GOGC avoids them, and the state is complete sooner.
package subscriber
