// Package feed is the vocabulary of a market-data feed: ticks and the instruments they price, half-open ranges
// of sequence numbers, sessions and their lineage, the state that ticks fold into, the ledger that accounts for
// every number, and the Source that supplies a publisher.
//
//	state := feed.NewState()
//	for i := range ticks {
//		if err := state.Apply(&ticks[i]); err != nil {
//			return err
//		}
//	}
//	if id, ok := state.Lookup("AAPL", "XNAS"); ok {
//		in, _ := state.Instrument(id)
//		fmt.Println(in.Definition.Price(in.Quote.Bid), in.Definition.Price(in.Quote.Ask))
//	}
//
// It holds values and the arithmetic on them. It does no I/O, reads no clock, starts no
// goroutine and imports the standard library only. Nothing here is safe for concurrent use
// unless its comment says so.
//
// Times are nanoseconds since the Unix epoch, UTC. Prices and sizes are integers in the
// instrument's own exponents (see [Definition]); they are never floats.
package feed
