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
// such a period are each logged once. The files are checked once a second: if the directory or the current file was
// removed or moved away, the journal continues in a new file. The ticks of the missing files are then served from
// memory only, and not at all after a restart (see package journal). The number of connections never exceeds the file
// descriptors of the process less those that the journal needs.
//
// A few pumps serve many connections, with writes that do not block. The first pump serves all connections that have a
// filter: it scans the log once for every connection at the same position, and encodes each distinct filter once.
//
// Goroutines: a Publisher runs one flusher, one pump per core and, with a journal, one housekeeper from New to Close.
// Serve runs one reader per connection, and one writer per connection that is behind or cannot take more at once.
package publisher
