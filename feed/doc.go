// Package feed is the vocabulary of a market-data feed: ticks and the instruments they price, half-open ranges
// of sequence numbers, sessions and their lineage, the state that ticks fold into, the ledger that accounts for
// every number, and the Source that supplies a publisher.
//
// It holds values and the arithmetic on them. It does no I/O, reads no clock, starts no
// goroutine and imports the standard library only. Nothing here is safe for concurrent use
// unless its comment says so.
//
// Times are nanoseconds since the Unix epoch, UTC. Prices and sizes are integers in the
// instrument's own exponents (see [Definition]); they are never floats.
package feed
