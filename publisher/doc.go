// Package publisher sends a feed of market-data ticks to any number of subscribers over TCP. It numbers the ticks without
// gaps, keeps them in memory and, if asked to, on disk, and sends each subscriber every tick from wherever it wants to start.
//
//	pub, err := publisher.New(publisher.Config{Journal: "journal"}) // the zero Config keeps ticks in memory only
//	ln, err := net.Listen("tcp", ":8425")
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
// other end; codec/PROTOCOL.md says what passes between them.
//
// No tick is sent before it is in the journal. A subscriber can make neither another subscriber nor (unless Config.WaitFor is
// set) the publisher wait or use more memory: a subscriber that falls out of memory reads the journal, and its slow-consumer
// policy says what happens if it stays behind. Every start with a journal begins a child session, which subscribers of the
// previous session follow. PROMISES.md lists all promises, each with its tests.
//
// Config.Authorize says who may connect, and what each user may see; package users makes one of a file. A living line follows when
// that changes.
//
// With Config.TLS the connections are encrypted, and clients can be made to show a certificate; package certs makes such a
// configuration of files that are renewed while in use.
//
// If the journal cannot be written, because the disk is full, no file descriptor is left or the directory is read-only,
// publishing waits while subscribers are served and sent heartbeats, and resumes by itself. The start and the end of such a
// period are each logged once. With journal.SyncInterval, publishing waits in the same way while something has not been
// synced for 2 seconds, or 256 MiB have not been, so that a power cut never costs more.
//
// The journal's files are checked once a second: if the directory or the current file was removed or moved away, the journal
// continues in a new file. The ticks of the missing files are then served from memory only, and not at all after a restart
// (see package journal). The number of connections never exceeds the file descriptors of the process less those that the
// journal needs.
package publisher
