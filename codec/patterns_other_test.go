//go:build !amd64 || purego

package codec

import "tickfeed/feed"

const vectorTables = false

func decodeByVectorTable(int, []byte, int64, uint64) (t feed.Tick, ok bool) { return t, false }

func encodeByVectorTable(int, *feed.Tick, int64) (entry []byte, ok bool) { return nil, false }
