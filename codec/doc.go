// Package codec is the wire form of a tickfeed stream: its messages, their bytes and their
// bounds. PROTOCOL.md beside this file is the norm; the messages of testdata are its examples.
//
//	hello ──>                                                            client to server
//	<── welcome │ snapshot │ packet packet … │ heartbeat │ packet …      server to client
//	pulse ──> … pulse ──> …
//
//	packet   [5, checksum, first seq, count, publish time, base event time, body]
//	body     tick tick tick …   each a msgpack array, its number known by its place
//
// A [Reader] cuts a stream, or a recording, into messages. [Decode] and [Append] read and
// write control messages. Packets and snapshot parts have a fixed layout: [ParsePacket] and
// [PacketBody] read them, [AppendTick] and [SealPacket] write them, without allocating.
//
// On amd64 with AVX-512, ticks of fixed width and checksums are the work of an assembler, which does
// exactly what the Go code does that all others have; the build tag purego leaves it out.
//
// Bytes from a peer or a file are scanned before anything decodes them: no length and no
// count is believed that the message's bound does not leave room for. No bytes make this
// package panic, and what it allocates for them is at most a small multiple of their number.
// It does not log and knows no sockets.
package codec
