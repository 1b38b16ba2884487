// Package publisher sends a feed of market-data ticks to any number of subscribers over TCP. It numbers the ticks without
// gaps, keeps them in memory and, if asked to, on disk, and sends each subscriber every tick from wherever it wants to start.
//
//	ctx, stop := context.WithCancel(context.Background())
//	ln, err := net.Listen("tcp", ":8425") // before New, which counts the open file descriptors
//	pub, err := publisher.New(publisher.Config{Journal: "journal"}) // the zero Config keeps ticks in memory only
//	served := make(chan error, 1)
//	go func() { served <- pub.Serve(ctx, ln) }()
//	aapl, err := pub.Define(ctx, feed.Definition{Symbol: "AAPL", PriceExponent: -2})
//	quote := feed.Quote{Bid: 27090, BidSize: 40, Ask: 27096, AskSize: 80} // 270.90 and 270.96
//	err = pub.Publish(ctx, []feed.Tick{quote.Tick(aapl, time.Now().UnixNano())})
//	stop() // cancels ctx: subscribers are sent the rest and a goodbye
//	<-served
//	err = pub.Close(context.Background())
//
// [Publisher.Feed] publishes all ticks of a [feed.Source], and package replay publishes recordings. Package subscriber is the
// other end; codec/PROTOCOL.md describes what passes between them.
//
// With a journal, no tick is sent before it is in the journal. A subscriber cannot make another subscriber wait, nor the
// publisher unless Config.WaitFor is set, nor take memory without bound: a subscriber that falls out of memory reads the journal,
// and its slow-consumer policy decides what happens if it stays behind. Every start with a journal begins a child session, which
// subscribers of the previous session follow. [Config] says what happens if the journal cannot be written, and who may connect. PROMISES.md
// lists all promises, each with its tests; inside.go shows the goroutines and the order in which locks are acquired.
package publisher
