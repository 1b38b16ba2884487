package publisher_test

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/publisher"
)

// Relay publishes the same ticks as Republish, up to a packet that it cannot relay, of which nothing is published.
func TestRelayPublishesWhatRepublishDoes(t *testing.T) {
	ctx := context.Background()
	def := feed.Tick{Kind: feed.KindDefinition, Extra: &feed.Extra{Definition: &feed.Definition{Symbol: "A"}}}
	quotes := func(b []byte, n int, at int64) []byte {
		for i := range n {
			q := feed.Quote{Bid: int64(i), BidSize: 1, Ask: int64(i) + 1, AskSize: 1}.Tick(0, at+int64(i))
			b = codec.AppendTick(b, &q, at)
		}
		return b
	}
	packet := func(first, count uint64, body []byte) []byte {
		return codec.AppendPacket(nil, &codec.Packet{First: first, Count: count, PublishTime: 1, Base: noon}, body, 77)
	}
	good := append(packet(1000, 50, quotes(nil, 50, noon)),
		packet(1050, 65, quotes(codec.AppendSkip(quotes(nil, 30, noon), 5), 30, noon+30))...)
	lost := feed.Quote{Bid: 1, BidSize: 1, Ask: 2, AskSize: 1}.Tick(9, noon)
	good = append(good, packet(1115, 31, codec.AppendTick(quotes(nil, 30, noon), &lost, noon))...) // its definition was lost

	unknown := feed.Tick{Kind: 100, EventTime: noon}
	for name, bad := range map[string][]byte{
		"does not join":        packet(1147, 1, quotes(nil, 1, noon)),
		"is behind":            packet(1145, 1, quotes(nil, 1, noon)),
		"is malformed":         packet(1146, 3, append(quotes(nil, 2, noon), 0xc1)),
		"covers less":          packet(1146, 3, quotes(nil, 2, noon)),
		"defines":              packet(1146, 3, codec.AppendTick(quotes(nil, 2, noon), &def, noon)),
		"has an unknown kind":  packet(1146, 3, codec.AppendTick(quotes(nil, 2, noon), &unknown, noon)),
		"withholds":            packet(1146, 3, codec.AppendWithheld(nil, 3)),
		"says that it is gone": packet(1146, 3, codec.AppendGone(nil, 3, codec.GoneExpired)),
		"only skips":           packet(1146, 3, codec.AppendSkip(nil, 3)),
	} {
		t.Run(name, func(t *testing.T) {
			begin := func() *publisher.Recorded {
				state := feed.NewState()
				require.NoError(t, state.Apply(&def))
				p, err := publisher.NewRecorded(publisher.Config{Journal: t.TempDir()}, publisher.Origin{First: 1000, State: state})
				require.NoError(t, err)
				t.Cleanup(func() { assert.NoError(t, p.Close(ctx)) })
				return p
			}
			p, other := begin(), begin()
			n, ticks, err := p.Relay(ctx, append(append([]byte(nil), good...), bad...))
			require.NoError(t, err)
			assert.Equal(t, len(good), n)
			assert.Equal(t, 141, ticks)

			for b := good; len(b) > 0; b = b[codec.PacketSize(b):] {
				h := codec.PacketAt(b)
				body := codec.PacketBody(&h, b[codec.PacketHeader:codec.PacketSize(b)])
				all := make([]feed.Tick, 100)
				k, err := body.Decode(all)
				require.NoError(t, err)
				require.NoError(t, other.Republish(ctx, all[:k], h.First+h.Count))
			}
			got, next := p.State()
			want, wantNext := other.State()
			assert.Equal(t, wantNext, next)
			assert.Equal(t, slices.Collect(want.Entries(nil)), slices.Collect(got.Entries(nil)))
			assert.Equal(t, other.Stats().LastEvent, p.Stats().LastEvent)

			tick := feed.Quote{Bid: 7, BidSize: 1, Ask: 8, AskSize: 1}.Tick(0, noon)
			tick.Seq = next
			require.NoError(t, p.Republish(ctx, []feed.Tick{tick}, 0), "publishing continues")
			require.NoError(t, p.End(ctx))
			n, _, err = p.Relay(ctx, packet(next+1, 1, quotes(nil, 1, noon)))
			assert.Zero(t, n)
			assert.ErrorIs(t, err, publisher.ErrEnded)
		})
	}
}

// A session that begins at a given number continues from there, with the given state. Ticks that have numbers keep
// them, or are refused.
func TestRepublishContinuesAtANumber(t *testing.T) {
	ctx := context.Background()
	state := feed.NewState()
	def := feed.Tick{Kind: feed.KindDefinition, Extra: &feed.Extra{Definition: &feed.Definition{Symbol: "A"}}}
	require.NoError(t, state.Apply(&def))
	dir := t.TempDir()
	p, err := publisher.NewRecorded(publisher.Config{Journal: dir}, publisher.Origin{Session: 7, First: 1000, State: state})
	require.NoError(t, err)
	assert.Equal(t, uint64(1000), p.Lineage().Current().First)
	tick := func(seq uint64) feed.Tick {
		q := feed.Quote{Bid: int64(seq), BidSize: 1, Ask: int64(seq) + 1, AskSize: 1}.Tick(0, noon)
		q.Seq = seq
		return q
	}
	require.NoError(t, p.Republish(ctx, []feed.Tick{tick(1000), tick(1001), tick(1005)}, 1010))
	require.NoError(t, p.Skip(ctx, 5, recording.SkipDamaged, nil))
	require.NoError(t, p.Republish(ctx, []feed.Tick{tick(1015)}, 0))
	require.NoError(t, p.Flush(ctx))
	got, next := p.State()
	assert.Equal(t, uint64(1016), next)
	q, _ := got.Instrument(0)
	assert.Equal(t, int64(1015), q.Quote.Bid)

	var partial *publisher.PublishError
	require.ErrorAs(t, p.Republish(ctx, []feed.Tick{tick(1016), tick(1016)}, 0), &partial)
	assert.Equal(t, 1, partial.Published, "a number twice")
	require.ErrorAs(t, p.Republish(ctx, []feed.Tick{tick(3)}, 0), &partial)
	assert.Zero(t, partial.Published)
	unknown := tick(1017)
	unknown.Instrument = 5 // its definition was lost
	require.NoError(t, p.Republish(ctx, []feed.Tick{unknown}, 0))
	unknown.Seq = 0
	require.Error(t, p.Skip(ctx, 0, recording.SkipWithheld, nil))
	require.Error(t, p.Skip(ctx, codec.MaxSpan+1, recording.SkipWithheld, nil))
	require.Error(t, p.Skip(ctx, codec.MaxSpan+1, recording.SkipNotAsked, nil))
	require.NoError(t, p.Skip(ctx, codec.MaxSpan, recording.SkipNotAsked, nil))
	require.NoError(t, p.Close(ctx))

	_, err = publisher.NewRecorded(publisher.Config{Journal: dir}, publisher.Origin{First: 5})
	assert.ErrorContains(t, err, "which is not empty")
}
