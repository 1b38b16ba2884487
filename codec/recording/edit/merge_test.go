package edit_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/edit"
	"tickfeed/codec/recording/place"
	"tickfeed/codec/recording/text/texttest"
	"tickfeed/feed"
)

// imported is a recording of ticks published at their event times.
func imported(t *testing.T, session uint64, ticks ...feed.Tick) *recording.Reader {
	t.Helper()
	var out texttest.Memory
	b, err := recording.NewBuilder(&out, codec.FileHeader{Lineage: feed.Lineage{{ID: feed.SessionID(session), First: 1}}, Next: 1}, nil)
	require.NoError(t, err)
	define := feed.Tick{Kind: feed.KindDefinition, EventTime: ticks[0].EventTime, Extra: &feed.Extra{
		Definition: &feed.Definition{Symbol: "XYZ", Venue: "XNAS", PriceExponent: -2}}}
	require.NoError(t, b.Append(append([]feed.Tick{define}, ticks...)))
	require.NoError(t, b.Close())
	return texttest.Reader(t, out.Bytes())
}

// Imported recordings of trades and of quotes are merged tick by tick by their event times, although a packet
// spans up to a millisecond.
func TestMergeTickForTick(t *testing.T) {
	const start, step, n = 1_700_000_000_000_000_000, 7_000, 3000
	var trades, quotes []feed.Tick
	for i := range int64(n) {
		trades = append(trades, feed.Trade{Price: i, Size: 1}.Tick(0, start+2*i*step))
		quotes = append(quotes, feed.Quote{Bid: i, BidSize: 1, Ask: i + 1, AskSize: 1}.Tick(0, start+(2*i+1)*step))
	}
	var out texttest.Memory
	h := codec.FileHeader{Lineage: feed.Lineage{{ID: 0xb1, First: 1}}, Next: 1}
	st, err := edit.Merge(context.Background(), &out, h, []*recording.Reader{imported(t, 1, trades...), imported(t, 2, quotes...)}, place.PublishClock, nil)
	require.NoError(t, err)
	assert.EqualValues(t, 2*n, st.Ticks-1, "and one definition: the other says the same")

	src := edit.NewSource(texttest.Reader(t, out.Bytes()))
	batch := make([]feed.Tick, 512)
	last, backward, i := int64(0), 0, int64(0)
	for {
		k, err := src.Next(context.Background(), batch)
		for _, tick := range batch[:k] {
			if tick.EventTime < last {
				backward++
			}
			last = max(last, tick.EventTime)
			if tick.Kind == feed.KindTrade {
				assert.Equal(t, i, tick.Trade().Price, "the order of a recording stays")
				i++
			}
		}
		if err != nil {
			break
		}
	}
	assert.Zero(t, backward, "ticks that stand after a later one")
	assert.EqualValues(t, n, i)
	assert.Less(t, out.Len(), 80*2*n, "packets hold many ticks")
}

// Ticks that a recording has after later ones are due with those, and stay after them.
func TestMergeKeepsTheOrderOfEachRecording(t *testing.T) {
	at := func(times ...int64) (ticks []feed.Tick) {
		for _, x := range times {
			ticks = append(ticks, feed.Trade{Price: x, Size: 1}.Tick(0, x))
		}
		return ticks
	}
	var out texttest.Memory
	h := codec.FileHeader{Lineage: feed.Lineage{{ID: 0xb1, First: 1}}, Next: 1}
	_, err := edit.Merge(context.Background(), &out, h, []*recording.Reader{imported(t, 1, at(10, 40, 20, 50)...), imported(t, 2, at(15, 25, 45)...)}, place.PublishClock, nil)
	require.NoError(t, err)
	src := edit.NewSource(texttest.Reader(t, out.Bytes()))
	batch := make([]feed.Tick, 512)
	n, err := src.Next(context.Background(), batch)
	require.NoError(t, err)
	var got []int64
	for _, tick := range batch[:n] {
		if tick.Kind == feed.KindTrade {
			got = append(got, tick.EventTime)
		}
	}
	assert.Equal(t, []int64{10, 15, 25, 40, 20, 45, 50}, got)
}
