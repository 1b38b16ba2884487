// Package publisher numbers ticks, keeps them in one append-only log, in memory and on disk,
// and serves that log to subscribers over persistent connections.
//
//	Publish ──> sequencer ──> memory log ──> journal ──> commit ──> cursor ──> connection
//	                             (1 MiB segments)                   one per subscriber
//
// A tick is encoded once, where it stays. A subscriber is a cursor: one that falls out of
// memory reads the journal, and none can make the publisher or another subscriber wait or
// grow. Nothing is sent before it is in the journal. Every start over a journal begins a
// child session, which subscribers of the one before simply follow.
//
// While the journal takes nothing, on a full disk, without a file descriptor, or in a directory that is read-only,
// publishing waits, subscribers are served and hear heartbeats, and everything goes on by itself; the log
// says so once when that begins and once when it ends. The files are looked after once a second: if the directory or
// the current file was removed or moved away, the journal goes on in a new file, and what the missing files held can be
// had from memory only, and not at all after a restart (see package journal). There are never more connections than the process has
// file descriptors for, less those that the journal needs.
//
// Many connections are served by a few pumps, which write without blocking. One of them has all whose lines are
// filtered: one pass over the log makes what all that stand at the same place are told, once for equal filters.
//
// Goroutines: one flusher, a pump for each core and, with a journal, one housekeeper for each
// publisher, from New to Close; a reader for each connection, and a writer for each that is
// behind or cannot take more at once, within Serve.
package publisher
