// Package publisher numbers ticks, appends them to a log in memory and on disk, and serves the log to subscribers over
// persistent connections.
//
//	Publish ──> sequencer ──> memory log ──> journal ──> commit ──> cursor ──> connection
//	                             (1 MiB segments)                   one per subscriber
//
// A tick is encoded once, directly into the memory log. A subscriber is a cursor into the log: a subscriber that falls
// out of memory reads the journal, and no subscriber can make the publisher (unless Config.WaitFor is set) or another
// subscriber wait, or use more memory. No tick is sent before it is in the journal. Every start with a journal begins a
// child session, which subscribers of the previous session follow.
//
// If the journal cannot be written, because the disk is full, no file descriptor is left or the directory is read-only,
// publishing waits while subscribers are served and sent heartbeats, and resumes by itself. The start and the end of
// such a period are each logged once. With journal.SyncInterval, publishing waits in the same way while something has not
// been synced for 2 seconds, or 256 MiB have not been, so that a power cut never costs more. The files are checked once
// a second: if the directory or the current file was removed or moved away, the journal continues in a new file. The
// ticks of the missing files are then served from memory only, and not at all after a restart (see package journal). The
// number of connections never exceeds the file descriptors of the process less those that the journal needs.
//
// A few pumps serve many connections, with writes that do not block. The first pump serves all connections that have a
// filter: it scans the log once for every connection at the same position, and encodes each distinct filter once.
//
// # Inside
//
// Each goroutine touches what it owns, and takes the rest from its neighbour:
//
//	goroutine       owns                                   is woken by
//	caller          sequencer (under mu): number, encode   -
//	flusher         journal, commit (slot flushing)        the sequencer: kick
//	housekeeper     sync, settling of files, retention     a timer; the flusher: syncNow
//	pump (a few)    a round of caught-up connections       the flusher: add
//	reader (1 each) receiver                               bytes from the client
//	writer (1 each) the turn: sender, line, consumer       the mailbox: call
//
// The caller of Publish flushes itself if the publisher was idle. The flusher, a pump and the writer take the turn of a
// connection, and only its holder advances the line and writes to the socket; the flusher and the pumps never wait for
// it. A reader runs from the login to the end of a connection, a writer only while the connection is behind or cannot
// take more at once. Serve waits for the goroutines of its connections, and Close for the others.
//
// Locks are taken in this order, outermost first; a lock of one line is never held while another of that line is taken:
//
//	flusher.flushing                       the slot of the goroutine that flushes
//	conn.turn                              only tried, except by the writer
//	sequencer.mu, server.joining           mu never while anything blocks
//	states.mu, snapshot.making, server.parking
//	memlog.mu, snapshots.mu
//	server.mu, mailbox.mu, pump.mu, segment.cloning, tally.mu, guesses.mu
//
// What is decided without a clock, a log or a socket: where a line starts (codec/start), whether a client is alive
// (codec.Liveness), whether it is too slow (consumer), when it may change its filter (changeRate).
package publisher
