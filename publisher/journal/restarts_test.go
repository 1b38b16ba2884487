package journal_test

import (
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/publisher/journal"
	"tickfeed/publisher/journal/memfs"
)

// A journal of 10,000 sessions, each with a tick and a file that names the newest 65, knows all of them, and can be read from
// number 1 to its end.
func TestTenThousandRestarts(t *testing.T) {
	const restarts = 10_000
	w := newWorld()
	cfg := journal.Config{Dir: "j", FS: &memfs.FS{}}
	j := w.start(t, cfg)
	w.append(t, j, 5)
	require.NoError(t, j.Close())
	lineage, next := w.lineage, w.next
	quote := feed.Quote{Bid: 1, Ask: 2}.Tick(0, 5)
	for i := range restarts {
		id := feed.SessionID(1000 + i)
		lineage = lineage.Child(id, next)
		h := codec.FileHeader{Lineage: lineage.Newest(), Seed: codec.LineSeed(id, nil), Next: next}
		f, err := cfg.FS.Create(fmt.Sprintf("j/%020d-%016x.tick", next, uint64(id)))
		require.NoError(t, err)
		file, err := recording.NewWriter(f, h, w.state)
		require.NoError(t, err)
		packet := codec.AppendPacket(nil, &codec.Packet{First: next, Count: 1}, codec.AppendTick(nil, &quote, 0), h.Seed)
		require.NoError(t, file.Append(packet, next+1, 0))
		require.NoError(t, file.Close())
		next++
	}
	j, err := journal.Open(cfg)
	require.NoError(t, err)
	require.Equal(t, lineage, j.Recovered().Lineage)
	require.Empty(t, j.Recovered().Damage)
	require.Equal(t, next, j.Next())
	c, at := j.Cursor(1), uint64(1)
	for {
		chunk, err := c.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		require.Equal(t, at, chunk.Range.From)
		at = chunk.Range.To
	}
	require.Equal(t, next, at)
	require.NoError(t, c.Close())
	require.NoError(t, j.Close())
}
