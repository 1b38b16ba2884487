package publisher

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"tickfeed/codec/recording"
	"tickfeed/feed"
)

// What is to be sent of the journal stays what it is, whoever reads the journal meanwhile: also where a line has to read again from
// the midst of what was read for it, because something else comes there.
func TestChunkOfTheJournalStays(t *testing.T) {
	ctx := context.Background()
	p, err := New(Config{Seed: 1, Memory: MinMemory, Journal: filepath.Join(t.TempDir(), "j")})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close(ctx)) }()
	id, err := p.Define(ctx, feed.Definition{Symbol: "A"})
	require.NoError(t, err)
	publish := func(n int) {
		ticks := make([]feed.Tick, n)
		for i := range ticks {
			ticks[i] = feed.Quote{Bid: int64(p.next) + int64(i), BidSize: 1, Ask: 1 << 20, AskSize: 2}.Tick(id, int64(i))
		}
		require.NoError(t, p.Publish(ctx, ticks))
	}
	publish(3000)
	require.NoError(t, p.Skip(ctx, 5, recording.SkipWithheld, nil))
	publish(int(10 * MinMemory / 28))
	require.NoError(t, p.Flush(ctx))

	l := &line{p: p}
	l.in(p.session)
	l.begin(1)
	defer l.stop()
	var buf []byte
	holes := 0
	for !l.inMem {
		c, err := l.advance(buf)
		require.NoError(t, err)
		was := bytes.Clone(c.data)
		for range 2 { // buffers that were given back are taken again
			other := p.journal.Cursor(p.log.tail() - 100)
			defer other.Close()
			_, err = other.Next()
			require.NoError(t, err)
		}
		require.True(t, bytes.Equal(was, c.data), "packets before %d", c.next)
		if !c.gone.Empty() {
			holes++
		}
		c.mem.release()
	}
	require.Equal(t, 1, holes)
}
