// Package texttest makes recordings of their text form, for tests.
package texttest

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"tickfeed/codec/recording"
	"tickfeed/codec/recording/text"
)

// A Memory is a recording.File in memory.
type Memory struct{ bytes.Buffer }

// Sync returns nil.
func (*Memory) Sync() error { return nil }

// Close returns nil.
func (*Memory) Close() error { return nil }

// Recording returns the recording of a text without its first line.
func Recording(t testing.TB, lines string) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, text.Read(&b, strings.NewReader("tickfeed-text 1\n"+lines)))
	return b.Bytes()
}

// Reader returns a reader of a recording.
func Reader(t testing.TB, file []byte) *recording.Reader {
	t.Helper()
	r, err := recording.NewReader(bytes.NewReader(file), int64(len(file)))
	require.NoError(t, err)
	return r
}

// TwoSessions is a recording, without its first line and not closed, with numbers that are not asked for, withheld and gone, and with
// a second, filtered session.
const TwoSessions = `session lineage=a1:1 source="a test"
packet 2026-03-02T14:30:00Z
  define #0 symbol=AAPL venue=XNAS price=-2
  define #1 symbol=MSFT price=-2
  quote +5 AAPL 187.25 300 187.26 500
  trade AAPL 187.26 100 buy
  quote AAPL - 0 187.26 500
packet 2026-03-02T14:30:01Z
  skip 10
  quote MSFT 400 1 401 1
packet 2026-03-02T14:30:01.5Z
  withheld 100
packet 2026-03-02T14:30:01.5Z
  gone 50 expired
session lineage=a1:1,a2:170 filter=A* next=170
snapshot
part 2026-03-02T14:30:00Z
  define #0 symbol=AAPL venue=XNAS price=-2
  quote AAPL 187 1 188 1
end
packet 2026-03-02T14:30:09Z
  quote AAPL 187.25 300 187.26 500
  quote AAPL 187.25 300 187.26 500
  quote #9 187 300 188 500
`
