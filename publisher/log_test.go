package publisher

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
)

// filledLog returns a log of packets of one tick each, and the place of each packet. Packets are committed one by
// one, except every tenth, which is committed with the packet before it.
func filledLog(tb testing.TB, segments int) (*memlog, []place) {
	const size = 1 << 20
	l := newMemlog(size, segments, 1, 0, feed.NewState())
	var places []place
	t := feed.Quote{Bid: 100, BidSize: 1, Ask: 101, AskSize: 1}.Tick(1, 0)
	body := codec.AppendTick(nil, &t, 0)
	seq, s := uint64(1), l.newest()
	for at := 0; ; {
		packet := codec.AppendPacket(s.buf[at:at], &codec.Packet{First: seq, Count: 1}, body, 7)
		places = append(places, place{uint64(len(l.segments) - 1), at})
		at += len(packet)
		seq++
		full := at+len(packet) > size
		if seq%10 != 0 || full {
			l.commit(s, at, seq, 0)
		}
		if full && len(l.segments) == segments {
			return l, places
		}
		if full {
			var ok bool
			s, ok = l.extend(seq, nil)
			require.True(tb, ok)
			at = 0
		}
	}
}

// find returns where the packet of a number begins, where the next packet will begin for the next number, and false
// for higher numbers.
func TestFindReturnsThePacketsPlace(t *testing.T) {
	l, places := filledLog(t, 2)
	for i, want := range places {
		at, ok := l.find(uint64(i + 1))
		if !ok || at != want {
			require.Equal(t, want, at, "seq %d", i+1)
			require.True(t, ok)
		}
	}
	next, _ := l.head()
	require.EqualValues(t, len(places)+1, next)
	at, ok := l.find(next)
	require.True(t, ok)
	require.Equal(t, place{1, l.newest().committed}, at)
	_, ok = l.find(next + 1)
	require.False(t, ok)
}

// BenchmarkFind measures finding the place of a client that resumes, in a log of packets of one tick.
func BenchmarkFind(b *testing.B) {
	l, places := filledLog(b, 2)
	for i := range b.N {
		if _, ok := l.find(uint64(i*7919%len(places) + 1)); !ok {
			b.Fatal("not found")
		}
	}
}

// The state as of any number can be computed, from memory and from the journal, even if several segments share one
// state, as in a market of many instruments. Memory always begins with a segment that has a state.
func TestStatesOfAnyNumber(t *testing.T) {
	const instruments, size = 8000, 1 << 20
	p, err := New(Config{Seed: 1, Memory: 32 * size, Journal: filepath.Join(t.TempDir(), "j"), SegmentSize: size})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close(context.Background())) }()
	for i := range instruments {
		_, err := p.Define(t.Context(), feed.Definition{Symbol: fmt.Sprint("S", i)})
		require.NoError(t, err)
	}
	want := map[uint64]*feed.State{}
	ticks := make([]feed.Tick, 997)
	r := rand.New(rand.NewPCG(1, 2))
	for n := 0; p.log.base < 13; n++ {
		for i := range ticks {
			ticks[i] = feed.Quote{Bid: r.Int64N(1000), BidSize: 1, Ask: 2000, AskSize: 2}.Tick(feed.InstrumentID(r.IntN(instruments)), int64(n))
		}
		require.NoError(t, p.Publish(t.Context(), ticks))
		if n%50 == 0 {
			state, next := p.State()
			want[next] = state
		}
	}
	require.NoError(t, p.Flush(t.Context()))

	stated, longest, since := 0, 0, 0
	for i, s := range p.log.segments {
		if since++; s.state != nil {
			stated, since = stated+1, 0
		}
		require.True(t, i > 0 || s.state != nil)
		longest = max(longest, since)
	}
	require.GreaterOrEqual(t, stated, 7)
	require.Equal(t, 3, longest, "an eighth of the log at most")
	tail, inMemory := p.log.tail(), 0
	for seq, state := range want {
		got, err := p.stateAt(seq)
		require.NoError(t, err)
		require.Empty(t, got.Diff(state), "as of %d, memory begins at %d", seq, tail)
		if seq >= tail {
			inMemory++
		}
	}
	require.Greater(t, inMemory, 10)
	require.Greater(t, len(want)-inMemory, 5)
}
