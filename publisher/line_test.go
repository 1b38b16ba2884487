package publisher

import (
	"bytes"
	"context"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/publisher/journal/memfs"
)

// A chunk read from the journal does not change while it is sent, even if other lines read the journal, or the line
// has to read part of its buffer again because something else is sent first.
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
			ticks[i] = feed.Quote{Bid: int64(p.seq.next) + int64(i), BidSize: 1, Ask: 1 << 20, AskSize: 2}.Tick(id, int64(i))
		}
		require.NoError(t, p.Publish(ctx, ticks))
	}
	publish(3000)
	require.NoError(t, (&Recorded{p}).Skip(ctx, 5, recording.SkipWithheld, nil))
	publish(int(10 * MinMemory / 28))
	require.NoError(t, p.Flush(ctx))

	l := &line{p: p}
	l.setSession(p.session)
	l.seek(1)
	defer l.closeCursor()
	var buf []byte
	holes := 0
	for !l.inMem {
		c, err := l.advance(buf)
		require.NoError(t, err)
		was := bytes.Clone(c.data)
		for range 2 { // released buffers are used again
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

// A packet for numbers that are not sent has the publish time of the packet that follows. While that cannot be read,
// no such packet is made, and the line does not move.
func TestTimeOfWhatIsNotSent(t *testing.T) {
	ctx := context.Background()
	var out atomic.Bool
	fs := &memfs.FS{Fault: func(op memfs.Op) (int, error) {
		if op.Kind == memfs.Open && out.Load() {
			return 0, syscall.EMFILE
		}
		return 0, nil
	}}
	var now atomic.Int64
	p, err := New(Config{Seed: 1, Memory: MinMemory, Journal: "j", FS: fs, Now: func() int64 { return now.Add(1) }})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close(ctx)) }()
	id, err := p.Define(ctx, feed.Definition{Symbol: "A"})
	require.NoError(t, err)
	for p.log.tail() == 1 {
		ticks := make([]feed.Tick, 1000)
		for i := range ticks {
			ticks[i] = feed.Quote{Bid: 1, BidSize: 1, Ask: 2, AskSize: 2}.Tick(id, int64(i))
		}
		require.NoError(t, p.Publish(ctx, ticks))
		require.NoError(t, p.Flush(ctx))
	}

	out.Store(true)
	l := &line{p: p, wanted: newWanted(codec.Filter{"B"}, nil, p.seq.catalog()), next: 2, read: 50}
	assert.Empty(t, l.skip(nil))
	_, err = l.withhold(50, nil)
	assert.ErrorIs(t, err, syscall.EMFILE)
	_, err = l.lost(feed.Range{From: 2, To: 50}, codec.GoneExpired, nil)
	assert.ErrorIs(t, err, syscall.EMFILE)
	assert.Equal(t, []uint64{2, 50}, []uint64{l.next, l.read})

	out.Store(false)
	follows, ok, err := l.packetFrom(50)
	require.NoError(t, err)
	require.True(t, ok)
	_, last := p.log.head()
	require.Less(t, follows.PublishTime, last)
	h := codec.PacketAt(l.skip(nil))
	assert.Equal(t, feed.Range{From: 2, To: 50}, h.Range())
	assert.Equal(t, follows.PublishTime, h.PublishTime)
}
