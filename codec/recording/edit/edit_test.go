package edit_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/text"
	"tickfeed/feed"
)

const noon = 1_700_000_000_000_000_000

// A memory is a file in memory.
type memory struct{ bytes.Buffer }

func (*memory) Sync() error  { return nil }
func (*memory) Close() error { return nil }

// fromText returns the recording of a text without its first line.
func fromText(t testing.TB, lines string) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, text.Read(&b, strings.NewReader("tickfeed-text 1\n"+lines)))
	return b.Bytes()
}

func reader(t testing.TB, file []byte) *recording.Reader {
	t.Helper()
	r, err := recording.NewReader(bytes.NewReader(file), int64(len(file)))
	require.NoError(t, err)
	return r
}

func rootHeader(next uint64) codec.FileHeader {
	return codec.FileHeader{Lineage: feed.Lineage{{ID: 0xb1, First: 1}}, Next: next, Source: "a test", Created: noon}
}

func definition(id feed.InstrumentID, at int64) feed.Tick {
	return feed.Tick{Kind: feed.KindDefinition, Instrument: id, EventTime: at, Extra: &feed.Extra{
		Definition: &feed.Definition{Symbol: fmt.Sprintf("S%d", id), Currency: "USD"},
	}}
}

func quote(id feed.InstrumentID, at int64) feed.Tick {
	return feed.Quote{Bid: 100, BidSize: 1, Ask: 101, AskSize: 2}.Tick(id, at)
}
