package edit_test

import (
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/recording"
	"tickfeed/codec/recording/edit"
	"tickfeed/codec/recording/text/texttest"
	"tickfeed/feed"
)

// sourced is the ticks of a source, and the state that they fold into.
func sourced(t *testing.T, src feed.Source, batch int) ([]feed.Tick, *feed.State) {
	t.Helper()
	defer src.Close()
	state := feed.NewState()
	var all []feed.Tick
	buf := make([]feed.Tick, batch)
	for {
		n, err := src.Next(t.Context(), buf)
		for i := range buf[:n] {
			require.NoError(t, state.Apply(&buf[i]))
			require.Zero(t, buf[i].Seq)
			require.Zero(t, buf[i].Flags&feed.FlagSnapshot)
		}
		all = append(all, buf[:n]...)
		if err == io.EOF {
			_, again := src.Next(t.Context(), buf)
			require.Equal(t, io.EOF, again)
			return all, state
		}
		require.NoError(t, err)
		require.NotZero(t, n)
	}
}

// build returns a recording that begins at next with state.
func build(t testing.TB, next uint64, state *feed.State, with func(*recording.Builder)) []byte {
	t.Helper()
	var f texttest.Memory
	b, err := recording.NewBuilder(&f, rootHeader(next), state)
	require.NoError(t, err)
	with(b)
	require.NoError(t, b.Close())
	return f.Bytes()
}

func named(id feed.InstrumentID, symbol string, exponent int8) feed.Tick {
	return feed.Tick{Kind: feed.KindDefinition, Instrument: id, EventTime: 1, Extra: &feed.Extra{
		Definition: &feed.Definition{Symbol: symbol, PriceExponent: exponent},
	}}
}

func level(id feed.InstrumentID, side feed.Side, price, size int64) feed.Tick {
	return feed.Level{Side: side, Price: price, Size: size}.Tick(id, 2)
}

// The ticks of a recording are returned unchanged, in batches of any size.
func TestSourceYieldsTicks(t *testing.T) {
	want := []feed.Tick{definition(0, 1), definition(1, 1), quote(1, 2), quote(0, 3), quote(0, 2_000_000)}
	file := build(t, 1, nil, func(b *recording.Builder) { require.NoError(t, b.Append(want)) })
	for _, batch := range []int{1, 2, 100} {
		src := edit.NewSource(texttest.Reader(t, file))
		got, _ := sourced(t, src, batch)
		require.Len(t, got, len(want))
		for i := range want {
			assert.Truef(t, want[i].Equal(&got[i]), "tick %d: %+v", i, got[i])
		}
		assert.Equal(t, edit.SourceStats{Ticks: 5}, src.Stats())
	}
}

// Several recordings are returned one after another; an instrument is identified by its name, whatever its id,
// and a later recording may change its exponents.
func TestSourceJoinsInstruments(t *testing.T) {
	a := build(t, 1, nil, func(b *recording.Builder) {
		require.NoError(t, b.Append([]feed.Tick{named(0, "A", -2), named(1, "B", 0), quote(0, 2), quote(1, 2)}))
	})
	b := build(t, 1, nil, func(b *recording.Builder) {
		require.NoError(t, b.Append([]feed.Tick{named(0, "B", -1), named(7, "C", 0), quote(7, 3), quote(0, 3)}))
	})
	got, state := sourced(t, edit.NewSource(texttest.Reader(t, a), texttest.Reader(t, b)), 3)
	require.Len(t, got, 8)
	var ids []feed.InstrumentID
	for _, tick := range got {
		ids = append(ids, tick.Instrument)
	}
	assert.Equal(t, []feed.InstrumentID{0, 1, 0, 1, 1, 2, 2, 1}, ids)
	in, _ := state.Instrument(1)
	assert.Equal(t, int8(-1), in.Definition.PriceExponent)
}

// If a recording does not begin at 1, and after gone numbers, ticks restate the state: they fold into the state
// that the recording contains.
func TestSourceTellsState(t *testing.T) {
	state := feed.NewState()
	for _, tick := range []feed.Tick{
		named(3, "A", 0), feed.StatusTick(3, 2, feed.StatusTrading, 0), quote(3, 2),
		level(3, feed.SideBuy, 100, 5), level(3, feed.SideSell, 101, 6),
	} {
		require.NoError(t, state.Apply(&tick))
	}
	later := state.Clone()
	for _, tick := range []feed.Tick{named(4, "B", 0), level(3, feed.SideBuy, 100, 0), level(3, feed.SideBuy, 99, 1), quote(4, 9)} {
		require.NoError(t, later.Apply(&tick))
	}
	file := build(t, 20, state, func(b *recording.Builder) {
		require.NoError(t, b.Append([]feed.Tick{level(3, feed.SideSell, 102, 1), quote(9, 5)}))
		require.NoError(t, b.Skip(50, recording.SkipExpired))
		require.NoError(t, b.Restate(later))
		require.NoError(t, b.Append([]feed.Tick{quote(4, 10)}))
		require.NoError(t, b.Skip(5, recording.SkipNotAsked))
		require.NoError(t, b.Skip(6, recording.SkipWithheld))
	})
	src := edit.NewSource(texttest.Reader(t, file))
	_, got := sourced(t, src, 2)
	st := src.Stats()
	assert.Equal(t, edit.SourceStats{Ticks: st.Ticks, Lost: 50, Expired: 50, Dropped: 1, LeftOut: 11, Withheld: 6, Snapshots: 2}, st)
	a, _ := got.Instrument(0)
	want, _ := later.Instrument(3)
	assert.Equal(t, want.Bids, a.Bids)
	assert.Equal(t, want.Asks, a.Asks)
	assert.Equal(t, feed.StatusTrading, a.Status)
	assert.Equal(t, want.Quote, a.Quote)
	bb, _ := got.Instrument(1)
	assert.Equal(t, int64(10), bb.QuoteTime)
}

// Damage costs the packets that it hits, and is counted.
func TestSourcePassesOverDamage(t *testing.T) {
	file := build(t, 1, nil, func(b *recording.Builder) {
		require.NoError(t, b.Append([]feed.Tick{definition(0, 1)}))
		for at := range int64(5) {
			require.NoError(t, b.AppendAt(10+at, []feed.Tick{quote(0, 1), quote(0, 2)}))
		}
	})
	r := texttest.Reader(t, file)
	item, err := r.Next()
	for item.Kind != recording.KindPackets {
		require.NoError(t, err)
		item, err = r.Next()
	}
	at := item.Offset
	for _, p := range recording.Packets(item.Data) {
		at += int64(len(p))
		break
	}
	file[at+60] ^= 1 // in the packet after the definition
	src := edit.NewSource(texttest.Reader(t, file))
	got, _ := sourced(t, src, 10)
	assert.Len(t, got, 9)
	st := src.Stats()
	assert.Equal(t, uint64(2), st.Lost)
	assert.Equal(t, uint64(1), st.Damages)
}

// A source that is cancelled returns the error and continues later; a closed source has ended.
func TestSourceEnds(t *testing.T) {
	file := build(t, 1, nil, func(b *recording.Builder) { require.NoError(t, b.Append([]feed.Tick{definition(0, 1)})) })
	src := edit.NewSource(texttest.Reader(t, file))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := src.Next(ctx, make([]feed.Tick, 1))
	require.ErrorIs(t, err, context.Canceled)
	n, err := src.Next(t.Context(), make([]feed.Tick, 1))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.NoError(t, src.Close())
	require.NoError(t, src.Close())
	_, err = src.Next(t.Context(), make([]feed.Tick, 1))
	require.Error(t, err)
}
