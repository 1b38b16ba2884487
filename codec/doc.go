// Package codec implements the wire format of a tickfeed stream: its messages, their encoding and their bounds. PROTOCOL.md
// in this directory is the specification; the messages in testdata are its examples.
//
//	hello ──>                                                            client to server
//	<── welcome │ snapshot │ packet packet … │ heartbeat │ packet …      server to client
//	pulse ──> … pulse ──> …
//
//	packet   [5, checksum, first seq, count, publish time, base event time, body]
//	body     tick tick tick …   each a msgpack array; its place determines its number
//
//	for r := codec.NewReader(conn, 0); ; {
//		typ, raw, err := r.Next()
//		switch {
//		case err != nil:
//			return err
//		case typ == codec.TypePacket && codec.VerifyPacket(raw, seed):
//			h, body, err := codec.ParsePacket(raw)
//			ticks := codec.PacketBody(&h, body)
//			n, err := ticks.Decode(batch) // until n is 0
//		}
//	}
//
// A [Reader] splits a stream or a recording into messages. [Decode] and [Append] read and write control messages. Packets and
// snapshot parts have a fixed layout: [ParsePacket] and [PacketBody] read them, [AppendTick] and [SealPacket] write them, without
// allocating. The build tag purego disables the assembly that does some of that on amd64.
//
// Bytes from a peer or a file are scanned before they are decoded: a length or count is refused if it exceeds the bound of
// its message. No input makes this package panic, and the package allocates at most a small multiple of the input's size. It
// does not log and does not use sockets.
package codec
