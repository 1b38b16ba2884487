package codec

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// requireVector skips a test that compares vectors with what does without them.
func requireVector(t testing.TB) {
	if !hasVector {
		t.Skip("this processor, or this build, has no vectors: what stands in for them is tested elsewhere")
	}
}

// oddTicks are quotes and trades with values at and beyond the bounds of each pattern.
func oddTicks(r *rand.Rand, n int) []feed.Tick {
	pick := func(vs ...int64) int64 { return vs[r.IntN(len(vs))] }
	value := func() int64 {
		return pick(0, 1, 100, 1<<15, 1<<16-1, 1<<16, 1<<31, 1<<32-1, 1<<32, 1<<55, math.MaxInt64, -1, -100, -1<<40, feed.NoPrice, feed.NoPrice+1)
	}
	ticks := variedTicks(n)
	for i := range ticks {
		t := &ticks[i]
		for range r.IntN(3) {
			switch r.IntN(7) {
			case 0, 1:
				t.Values[r.IntN(4)] = value()
			case 2:
				t.EventTime = noon + pick(-1<<31, -1<<31-1, 1<<31-1, 1<<31, -1, math.MinInt64, math.MaxInt64)
			case 3:
				t.Instrument = feed.InstrumentID(pick(0, 1<<16-1, 1<<16, feed.MaxInstruments-1, feed.MaxInstruments, math.MaxUint32))
			case 4:
				t.Side = feed.Side(r.IntN(5))
			case 5:
				t.Flags, t.Status = feed.Flags(pick(0, 1, 1, 2, 3, 255)), feed.Status(r.IntN(3))
			case 6:
				t.Kind = feed.KindTrade
				t.Values[3] = oddConditions(r)
			}
		}
		if r.IntN(20) == 0 {
			t.Extra = &feed.Extra{}
		}
	}
	return ticks
}

// oddConditions are some that are good, and some that are nearly so.
func oddConditions(r *rand.Rand) int64 {
	c := uint64(0)
	for i := range r.IntN(9) {
		c |= uint64([]byte{0, 1, ' ' - 1, ' ', ' ' + 1, 'A', 'Z', '~', '~' + 1, 0xff}[r.IntN(10)]) << (56 - 8*i)
	}
	return int64(c)
}

// With vectors ticks are written as without them, and read as without them: also where bytes are wrong, and wherever
// the body ends.
func TestVectorsChangeNothing(t *testing.T) {
	requireVector(t)
	r := rand.New(rand.NewPCG(5, 6))
	byVector, alone := 0, 0
	for range 20_000 {
		ticks := oddTicks(r, 1+r.IntN(40))
		dst := make([]byte, 3, 3+MaxEntry+r.IntN(len(ticks)*wideTrade))
		want, wantN, wantLatest := appendScalar(dst, ticks, noon, noon+5)
		got, n, latest := AppendFixed(dst[:3:cap(dst)], ticks, noon, noon+5)
		require.Equal(t, wantN, n)
		require.Equal(t, want, got)
		require.Equal(t, wantLatest, latest)

		body := want[3:]
		for range r.IntN(3) * r.IntN(2) * min(len(body), 1) {
			body[r.IntN(len(body))] ^= 1 << r.IntN(8)
		}
		body = body[:len(body)-r.IntN(2)*r.IntN(len(body)+1)]
		expected, batch := make([]feed.Tick, len(ticks)), make([]feed.Tick, len(ticks))
		for i := range batch {
			batch[i] = feed.Tick{Seq: 1, Instrument: 9, Flags: 3, Side: 3, Status: 3, Values: [4]int64{-1, -1, -1, -1}}
			if r.IntN(30) == 0 {
				batch[i].Extra = &feed.Extra{}
			}
		}
		wantN, wantSize := decodeScalar(body, expected, noon, 41)
		n, size := decodeFixed(body[:len(body):len(body)], batch, noon, 41)
		require.Equal(t, wantN, n)
		require.Equal(t, wantSize, size)
		require.Equal(t, expected[:n], batch[:n])

		if n > 0 {
			clear(batch)
			k, _ := decodeVector(body, batch, noon, 41, vectorDecoding)
			require.Equal(t, expected[:k], batch[:k])
			byVector, alone = byVector+k, alone+n-k
		}
	}
	assert.Greater(t, byVector, alone)
}

// The vector code encodes and decodes ticks of each of the four patterns. (It leaves the last entry of a body to the scalar code if
// the entry ends a page.)
func TestVectorsDoAll(t *testing.T) {
	requireVector(t)
	for name, tick := range map[string]feed.Tick{
		"narrow quote": feed.Quote{Bid: 1<<32 - 1, BidSize: 1<<16 - 1, Ask: 1, AskSize: 2}.Tick(1<<16-1, noon-1),
		"narrow trade": feed.Trade{Price: 100, Size: 1<<32 - 1, ID: 1<<32 - 1, Side: feed.SideSell, Conditions: conditions("@ TI")}.Tick(7, noon+1),
		"wide quote":   feed.Quote{Bid: -3, BidSize: math.MaxInt64, Ask: math.MaxInt64, AskSize: 0}.Tick(feed.MaxInstruments-1, noon-1<<40),
		"wide trade":   feed.Trade{Price: 1 << 40, Size: 1 << 62, ID: math.MaxUint64, Side: feed.SideBuy, Conditions: conditions("ABCDEFGH")}.Tick(7, noon),
	} {
		t.Run(name, func(t *testing.T) {
			ticks := make([]feed.Tick, 20)
			for i := range ticks {
				ticks[i] = tick
				ticks[i].Seq = 41 + uint64(i)
			}
			dst := make([]byte, len(ticks)*wideTrade+vectorRoom)
			n, size, _ := encodeVector(dst, ticks, noon, 0, vectorEncoding)
			require.Equal(t, len(ticks), n)
			batch := make([]feed.Tick, len(ticks))
			n, read := decodeVector(dst, batch, noon, 41, vectorDecoding)
			require.Equal(t, len(ticks), n)
			require.Equal(t, size, read)
			require.Equal(t, ticks, batch)

			batch[3].Extra = &feed.Extra{}
			n, _ = decodeVector(dst, batch, noon, 41, vectorDecoding)
			assert.Equal(t, 3, n, "to clear a pointer is not for vectors: the garbage collector has to see it")

			n, size, latest := encodeVector(dst[:vectorRoom-1], ticks, noon, 3, vectorEncoding)
			assert.Zero(t, n+size, "there is no room")
			assert.EqualValues(t, 3, latest)
			n, size, _ = encodeVector(dst, nil, noon, 3, vectorEncoding)
			assert.Zero(t, n+size)
			n, size = decodeVector(nil, batch, noon, 1, vectorDecoding)
			assert.Zero(t, n+size)
			n, size = decodeVector(dst, nil, noon, 1, vectorDecoding)
			assert.Zero(t, n+size)
		})
	}
}
