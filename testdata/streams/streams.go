// Package streams holds the golden streams: bytes as a publisher would send them, and the lines that a right client
// prints (codec/CLIENT.md, "Streams to test with").
package streams

import "embed"

// FS holds the files NAME.msgpack and NAME.ndjson, and index.txt.
//
//go:embed *.msgpack *.ndjson index.txt
var FS embed.FS
