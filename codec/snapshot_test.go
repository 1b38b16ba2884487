package codec

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"

	"tickfeed/feed"
	"tickfeed/feed/sim"
)

// marketSnapshot returns the snapshot of a simulated market of n instruments, all of which have
// traded, and its state.
func marketSnapshot(tb testing.TB, n int) (raw []byte, s *feed.State) {
	tb.Helper()
	market, err := sim.New(sim.Config{Seed: 1, Instruments: n, Continuous: true})
	require.NoError(tb, err)
	s = feed.NewState()
	batch := make([]feed.Tick, 4096)
	for range 30*n/len(batch) + 1 {
		k, err := market.Next(tb.Context(), batch)
		require.NoError(tb, err)
		_, err = s.ApplyAll(batch[:k])
		require.NoError(tb, err)
	}
	raw, err = AppendSnapshot(nil, &SnapshotBegin{Seq: 1}, s.Entries(nil), 99)
	require.NoError(tb, err)
	return raw, s
}

// parts returns the snapshot parts of raw.
func parts(tb testing.TB, raw []byte) (out [][]byte) {
	tb.Helper()
	for r := NewReader(bytes.NewReader(raw), 0); ; {
		t, message, err := r.Next()
		if err == io.EOF {
			return out
		}
		require.NoError(tb, err)
		if t == TypeSnapshotPart {
			out = append(out, bytes.Clone(message))
		}
	}
}

// Fold gives the same state as applying the part's ticks, and the state shares no memory: the bytes may be
// used again, and so may the memory that the ticks pointed to.
func TestFold(t *testing.T) {
	was := feed.NewState()
	foldMarket(t, was, 60_000)
	odd := feed.Tick{Kind: feed.KindDefinition, Instrument: 4000, Extra: &feed.Extra{Definition: &feed.Definition{Symbol: "Ü", Venue: "€", Currency: "€"}}}
	require.NoError(t, was.Apply(&odd))
	raw, err := AppendSnapshot(nil, &SnapshotBegin{Seq: 60_001}, was.Entries(nil), 99)
	require.NoError(t, err)
	is := feed.NewState()
	for _, raw := range parts(t, raw) {
		part, err := ParsePart(raw, 99)
		require.NoError(t, err)
		require.NoError(t, part.Fold(is))
		clear(raw)
	}
	assert.Empty(t, was.Diff(is))

	raw, again := marketSnapshot(t, 200)
	part, err := ParsePart(parts(t, raw)[0], 99)
	require.NoError(t, err)
	assert.LessOrEqual(t, allocated(16<<10, func() { err = part.Fold(again) }), uint64(16<<10), "what a state knows costs little")
	require.NoError(t, err)

	first := feed.Tick{Kind: feed.KindDefinition, Extra: &feed.Extra{Definition: &feed.Definition{Symbol: "A"}}}
	quote := feed.Quote{Bid: 1, Ask: 2}.Tick(0, noon)
	for name, bad := range map[string]struct {
		body []byte
		want string
	}{
		"a tick that does not apply": {AppendTick(AppendTick(nil, &first, noon), &feed.Tick{Kind: feed.KindClear, Instrument: 1, Side: feed.SideBoth}, noon), "not defined"},
		"an entry cut short":         {AppendTick(AppendTick(nil, &first, noon), &quote, noon)[:40], "malformed"},
	} {
		s := feed.NewState()
		assert.ErrorContains(t, (&SnapshotPart{Base: noon, Body: bad.body}).Fold(s), bad.want, name)
		assert.Equal(t, 1, s.Len(), "%s: what comes before it is folded", name)
	}
}

// The memory that ticks point to belongs to them: it does not change while the rest of the body, or another body, is read, and
// the bytes are reused. A single definition is allocated alone; of
// many, each takes a fraction of an allocation.
func TestDecodedTicksKeepTheirOwn(t *testing.T) {
	var body []byte
	var want []feed.Tick
	for id := range feed.InstrumentID(100) {
		d := feed.Definition{Symbol: fmt.Sprint("S", id), Venue: []string{"XNAS", "XNYS", "", "USD"}[id%4], Currency: []string{"USD", "EUR"}[id/7%2], Lot: int64(id)}
		if id%9 == 0 {
			d.Symbol += "ü" // read the general way
		}
		m := feed.Summary{TradingDay: 20260106, Open: int64(id), High: feed.NoPrice, Low: -1, Last: 1 << 40, Trades: 1, LastID: uint64(id) << 56}
		for _, x := range []*feed.Extra{{Definition: &d}, {Summary: &m}} {
			kind := feed.KindDefinition
			if x.Summary != nil {
				kind = feed.KindSummary
			}
			tick := feed.Tick{Kind: kind, Flags: feed.FlagSnapshot, Instrument: id, EventTime: noon, Extra: x}
			body = AppendTick(body, &tick, noon)
			want = append(want, tick)
		}
	}
	var got []feed.Tick
	batch := make([]feed.Tick, 7)
	bytes := bytes.Clone(body)
	for b := PartBody(&SnapshotPart{Base: noon, Body: bytes}); ; {
		n, err := b.Decode(batch)
		require.NoError(t, err)
		if n == 0 {
			assert.LessOrEqual(t, b.kept.texts.Cap(), 2*textRoom*maxKept, "what is full is left")
			break
		}
		got = append(got, batch[:n]...)
	}
	clear(bytes)
	require.Len(t, got, len(want))
	for i := range want {
		require.True(t, want[i].Equal(&got[i]), "%+v\n%+v", want[i].Extra, got[i].Extra)
	}

	room := make([]feed.Tick, len(want))
	decode := func(body []byte) func() {
		return func() {
			b := PartBody(&SnapshotPart{Base: noon, Body: body})
			if _, err := b.Decode(room); err != nil {
				panic(err)
			}
		}
	}
	assert.LessOrEqual(t, testing.AllocsPerRun(10, decode(body)), float64(len(want))/2)
	lone := AppendTick(nil, &want[1*2], noon)
	assert.LessOrEqual(t, allocated(512, decode(lone)), uint64(512))
}

// decodeCompact gives the same result for an entry as the general path, or leaves it to that path.
func compareCompact(t *testing.T, snapshot bool, entry []byte) {
	t.Helper()
	quick := Body{rest: entry, base: noon, snapshot: snapshot}
	var got, want feed.Tick
	size := quick.decodeCompact(&got)
	if size == 0 {
		return
	}
	c := cursor{p: entry}
	elements := c.entryLen()
	c.tick(&want, elements, c.uint("code"), noon)
	if c.err != nil || c.at != size || !got.Equal(&want) {
		t.Fatalf("% x: %d bytes, %+v\n%d bytes, %+v, %v", entry, size, got, c.at, want, c.err)
	}
}

// decodeCompact reads entries whatever the width of their integers. The general path reads those with
// a value that is out of bounds, of another type, or cut short.
func TestCompactEntries(t *testing.T) {
	values := []any{
		0, 1, 3, 127, 128, 255, 256, 65535, 65536, 1 << 20, 1<<20 - 1, 1<<32 - 1, 1 << 32, int64(math.MaxInt64), uint64(math.MaxUint64),
		-1, -18, -19, -32, -33, -128, -129, -32768, -32769, math.MinInt32, math.MinInt32 - 1, int64(math.MinInt64), 18, 19, 99991231, 99991232,
		nil, true, "", "A", "XNAS", "ü", "a\tb", "\x7f", strings.Repeat("x", 31), strings.Repeat("x", 32), strings.Repeat("x", 64), strings.Repeat("x", 65), []any{1}, 1.5,
	}
	usual := [][]any{
		{uint8(feed.KindDefinition << 1), 7, 0, "AAPL", "XNAS", -2, 0, "USD", 1, 100},
		{uint8(feed.KindLevel<<1 | 1), 7, -5, 1, 100, 3},
		{uint8(feed.KindStatus << 1), 7, 0, 2, 20261122},
		{uint8(feed.KindSummary << 1), 7, 5, 20261122, 100, nil, 98, 102, 3, 1, -77, 9000, 12, 4711},
	}
	quick := 0
	for _, elements := range usual {
		for field := range elements {
			for _, v := range values {
				entry := slices.Clone(elements)
				entry[field] = v
				for _, wide := range []bool{false, true} {
					var out bytes.Buffer
					enc := msgpack.NewEncoder(&out)
					enc.UseCompactInts(!wide)
					require.NoError(t, enc.Encode(entry))
					raw := out.Bytes()
					for _, snapshot := range []bool{false, true} {
						compareCompact(t, snapshot, append(bytes.Clone(raw), 0x92, 0x02))
						for n := range raw {
							compareCompact(t, snapshot, raw[:n])
						}
						compareCompact(t, snapshot, raw)
						if b := (Body{rest: raw, base: noon, snapshot: snapshot}); b.decodeCompact(new(feed.Tick)) == len(raw) {
							quick++
						}
					}
				}
			}
		}
	}
	assert.Greater(t, quick, 700, "entries that are read the quick way, to their last byte")
}

// BenchmarkSnapshot measures writing a snapshot of 10,000 instruments, reading it to ticks, and reading it to
// a state.
func BenchmarkSnapshot(b *testing.B) {
	raw, s := marketSnapshot(b, 10_000)
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			if _, err := AppendSnapshot(nil, &SnapshotBegin{Seq: 1}, s.Entries(nil), 99); err != nil {
				b.Fatal(err)
			}
		}
	})
	all := parts(b, raw)
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		batch := make([]feed.Tick, 256)
		entries := 0
		for b.Loop() {
			for _, raw := range all {
				part, err := ParsePart(raw, 99)
				if err != nil {
					b.Fatal(err)
				}
				for body := PartBody(&part); ; {
					n, err := body.Decode(batch)
					if err != nil {
						b.Fatal(err)
					}
					if n == 0 {
						break
					}
					entries += n
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(entries), "ns/entry")
	})
	b.Run("fold", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			is := feed.NewState()
			for _, raw := range all {
				part, err := ParsePart(raw, 99)
				if err != nil {
					b.Fatal(err)
				}
				if err := part.Fold(is); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
