// Package recording is the file form of the stream (PROTOCOL.md, "Recordings"): what a publisher
// keeps as its journal, and what a recorder writes.
//
//	header header [snapshot] packets … header packets … [header header [snapshot] packets …] [index … trailer]
//	└ a session begins ────┘           └ a mark now and then  └ another session ─────┘        └ closed in order
//
// A [Writer] appends; it never goes back. A [Reader] reads any bytes at all: it verifies
// every checksum, reports what is missing or damaged with its range of sequence numbers, and
// goes on after it. The index is only for speed.
//
// Headers and index messages carry a checksum as their last element: a uint32 in its
// five-byte form, the CRC-32C of all bytes of the message before those five. Snapshot begin
// and end have none: all that they say is known from what is around them, and checked.
package recording
