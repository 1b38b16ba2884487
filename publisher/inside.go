// This file has no code. It says how the types of this package work together, for readers of the source: which goroutine
// may touch what, and in which order locks are acquired.
//
// # The path of a tick
//
//	Publish ──> sequencer ──> memory log ──> journal ──> commit ──> cursor ──> connection
//	                             (1 MiB segments)                   one per subscriber
//
// A tick is encoded once, directly into the memory log. A subscriber is a cursor into the log (line); a subscriber that
// falls out of memory reads the journal.
//
// A few pumps serve many connections, with writes that do not block. The first pump serves all connections that have a
// filter: it scans the log once for every connection at the same position, and encodes each distinct filter once.
//
// # Goroutines
//
// Each goroutine touches only the state that it owns, and receives everything else from its neighbour:
//
//	goroutine         owns                                   is woken by
//	caller            sequencer (under mu): number, encode   -
//	flusher           journal, commit (slot flushing)        the sequencer: kick
//	housekeeper       sync, last and next file, retention    a timer; the flusher: syncNow
//	login watch       -: it leaves permissions in mailboxes  a timer (only with Config.Authorize or TLS)
//	pass (up to 4)    a state, folded from a stretch         started by states.request
//	pump (a few)      a round of caught-up connections       the flusher: add
//	caller of Serve   the listener                           a client that connects
//	login (1 each)    entrant: the connection before login   bytes from the client
//	reader (1 each)   receiver                               bytes from the client
//	writer (1 each)   the turn: sender, line, lagLimit       the mailbox: callWriter
//	tally timer       -: it ends a period, and logs          a timer, started by the first line of a period
//
// The caller of Publish flushes itself if the publisher was idle. The flusher, a pump and the writer take the turn of a
// connection, and only its holder advances the line and writes to the socket; the flusher and the pumps never wait for
// it. A reader runs from the login to the end of a connection, a writer only while the connection is behind or cannot
// take more at once. The goroutine of a login that presented a wrong token stays until its answer is due
// (guesses.delayAnswer). Serve waits for the goroutines of its connections, and Close for the others; Close ends the
// periods of the tallies, so that no timer is left.
//
// # Locks
//
// Locks and slots are acquired in this order, outermost first; a lock of one line is never held while another of that
// line is acquired:
//
//	flusher.flushing                       the slot of the goroutine that flushes
//	conn.turn                              only tried, except by the writer
//	sequencer.mu, joins.mu                 sequencer.mu is never held while anything blocks
//	states.mu, snapshot.making, parking.mu
//	server.work                            slots; taken with snapshot.making held, or alone
//	memlog.mu, snapshots.mu
//	roster.mu
//	Lobby.mu, mailbox.mu, secureConn.mu, pump.mu, segment.cloning, tally.mu, guesses.mu
//
// The journal has an order of its own (retaining, the slots syncing, indexing and reading, then mu), and never calls the
// publisher while it holds one of them. Only its mu may be acquired while a lock of the publisher is held; calls that wait for
// the disk are made with flushing or a turn held, or with nothing.
//
// # Decisions
//
// These are decided without a clock, a log or a socket, by functions that take values and return values: where a line
// starts (codec/start), whether a client is alive (liveness.Monitor), whether it is too slow (lagLimit), when it may change
// its filter (changeRate).

package publisher
