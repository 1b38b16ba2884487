package publisher_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/publisher"
)

// A session that begins at a number gives numbers from there, under the state as of there; what is
// given numbers keeps them, or is refused.
func TestRepublish(t *testing.T) {
	ctx := context.Background()
	state := feed.NewState()
	def := feed.Tick{Kind: feed.KindDefinition, Extra: &feed.Extra{Definition: &feed.Definition{Symbol: "A"}}}
	require.NoError(t, state.Apply(&def))
	dir := t.TempDir()
	p, err := publisher.New(publisher.Config{Journal: dir, First: 1000, State: state, Origin: 7, Mode: codec.ModeReplay})
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

	_, err = publisher.New(publisher.Config{Journal: dir, First: 5})
	assert.ErrorContains(t, err, "which is not empty")
}
