//go:build !amd64 || purego

package codec

import "tickfeed/feed"

// hasVector is false for other processors, and with the build tag purego; see vector_amd64.go.
const hasVector = false

type vectorPattern struct{}

var vectorDecoding, vectorEncoding *[4]vectorPattern

func decodeVector([]byte, []feed.Tick, int64, uint64, *[4]vectorPattern) (n, size int) {
	panic("codec: internal error: no vectors")
}

func encodeVector([]byte, []feed.Tick, int64, int64, *[4]vectorPattern) (n, size int, latest int64) {
	panic("codec: internal error: no vectors")
}
