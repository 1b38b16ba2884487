package journal

import (
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A feeder makes packets that join, and folds what it made.
type feeder struct {
	lineage feed.Lineage
	next    uint64
	time    int64
	state   *feed.State
	states  map[uint64]*feed.State // as of each packet's end
	times   map[uint64]int64       // by first number
}

func newFeeder(id feed.SessionID) *feeder {
	return &feeder{
		lineage: feed.Lineage{{ID: id, First: 1}}, next: 1, time: 1000, state: feed.NewState(),
		states: map[uint64]*feed.State{1: feed.NewState()}, times: map[uint64]int64{},
	}
}

// child continues after a restart.
func (g *feeder) child(id feed.SessionID, next uint64) {
	g.lineage = g.lineage.Child(id, next)
	g.next = next
	g.state = g.states[next].Clone()
}

// packet is the next packet of n ticks. The first of all ticks are definitions.
func (g *feeder) packet(n int) []byte {
	var body []byte
	h := codec.Packet{First: g.next, Count: uint64(n), PublishTime: g.time, Base: g.time}
	g.times[h.First] = g.time
	for range n {
		var t feed.Tick
		switch {
		case g.next <= 4:
			t = feed.Tick{Kind: feed.KindDefinition, Instrument: feed.InstrumentID(g.next - 1), Extra: &feed.Extra{
				Definition: &feed.Definition{Symbol: string(rune('A' + g.next - 1)), PriceExponent: -2},
			}}
		case g.next%5 == 0:
			t = feed.Trade{Price: int64(100 + g.next), Size: int64(g.next), ID: g.next}.Tick(feed.InstrumentID(g.next%4), g.time)
		default:
			t = feed.Quote{Bid: int64(g.next), Ask: int64(g.next + 1), BidSize: 1, AskSize: 2}.Tick(feed.InstrumentID(g.next%4), g.time)
		}
		t.Seq = g.next
		if err := g.state.Apply(&t); err != nil {
			panic(err)
		}
		body = codec.AppendTick(body, &t, h.Base)
		g.next++
	}
	g.states[g.next] = g.state.Clone()
	g.time += 10
	return codec.AppendPacket(nil, &h, body, codec.LineSeed(g.lineage.Current().ID, nil))
}

func (g *feeder) append(t *testing.T, j *Journal, n int) []byte {
	t.Helper()
	p := g.packet(n)
	require.NoError(t, j.Append(p, g.next, g.time-10))
	return p
}

func drain(t *testing.T, c *Cursor) (data []byte, gone []feed.Range) {
	t.Helper()
	for {
		chunk, err := c.Next()
		if err == io.EOF {
			return data, gone
		}
		require.NoError(t, err)
		if !chunk.Gone.Empty() {
			gone = append(gone, chunk.Gone)
		}
		data = append(data, chunk.Data...)
	}
}

// What was appended is read, over files and sessions, and a restart continues after it.
func TestAppendRestartRead(t *testing.T) {
	dir := t.TempDir()
	g := newFeeder(0xa1)
	var want []byte
	for session := range 3 {
		j, err := Open(Config{Dir: dir, SegmentSize: 8 << 10})
		require.NoError(t, err)
		rec := j.Recovered()
		require.Equal(t, g.next, rec.Next)
		require.Equal(t, "", rec.State.Diff(g.state))
		if session > 0 {
			require.Equal(t, g.lineage, rec.Lineage)
			g.child(feed.SessionID(0xa1+session), rec.Next)
		}
		require.NoError(t, j.Begin(g.lineage, codec.ModeLive, g.state))
		for range 40 {
			if j.Full() {
				require.NoError(t, j.Rotate(g.state))
			}
			want = append(want, g.append(t, j, 20)...)
		}
		c := j.Cursor(1)
		got, gone := drain(t, c)
		assert.Empty(t, gone)
		require.Equal(t, len(want), len(got))
		require.Equal(t, want, got)
		require.NoError(t, c.Close())
		require.NoError(t, j.Close())
	}
}
