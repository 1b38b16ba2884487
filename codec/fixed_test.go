package codec

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/sim"
)

// validConditions agrees with feed.Conditions.Valid for four characters.
func TestValidConditions(t *testing.T) {
	bytes := []byte{0, 1, ' ' - 1, ' ', ' ' + 1, 'A', '~', '~' + 1, 0x80, 0x80 + ' ', 0xff}
	for _, a := range bytes {
		for _, b := range bytes {
			for _, c := range bytes {
				for _, d := range bytes {
					v := uint32(a)<<24 | uint32(b)<<16 | uint32(c)<<8 | uint32(d)
					assert.Equal(t, feed.Conditions(uint64(v)<<32).Valid(), validConditions(v), "%08x", v)
				}
			}
		}
	}
}

// A good tick is decoded whatever the batch held before, in each pattern and at each place: before
// another tick, and as the last of its body, where a reader must not read further.
func TestDecodeFixedAtTheEnd(t *testing.T) {
	quote := feed.Quote{Bid: 100, BidSize: 1, Ask: 101, AskSize: 2}.Tick(7, noon)
	trade := feed.Trade{Price: 100, Size: 3, ID: 9, Side: feed.SideSell, Conditions: feed.Conditions('F') << 56}.Tick(7, noon-5)
	trade.Flags = feed.FlagMore
	wide := feed.Quote{Bid: 1 << 40, BidSize: 1, Ask: 1<<40 + 1, AskSize: 2}.Tick(7, noon)
	kinds := []feed.Tick{quote, trade, wide}
	for i, first := range kinds {
		for j, last := range kinds {
			t.Run(fmt.Sprintf("%d then %d", i, j), func(t *testing.T) {
				first.Seq, last.Seq = 41, 42
				body := AppendTick(AppendTick(nil, &first, noon), &last, noon)
				batch := []feed.Tick{
					{Side: feed.SideBoth, Status: 3, Values: [4]int64{-1, -1, -1, -1}, Extra: &feed.Extra{}},
					{Side: feed.SideBoth, Status: 3, Values: [4]int64{-1, -1, -1, -1}, Extra: &feed.Extra{}},
				}
				n, size := decodeFixed(body[:len(body):len(body)], batch, noon, 41)
				require.Equal(t, 2, n)
				assert.Equal(t, len(body), size)
				assert.Equal(t, []feed.Tick{first, last}, batch)
				for cut := range body {
					n, size := decodeFixed(body[:cut:cut], batch, noon, 41)
					assert.LessOrEqual(t, size, cut)
					assert.Less(t, n, 2)
				}
			})
		}
	}
}

// BenchmarkDecodeMarket decodes ticks of the simulated market, a hundred to a packet: so many that the branch predictor
// cannot memorise which ones are trades, as it does in BenchmarkDecodeTicks.
func BenchmarkDecodeMarket(b *testing.B) {
	market, err := sim.New(sim.Config{Seed: 1})
	require.NoError(b, err)
	batch := make([]feed.Tick, 4096)
	_, err = market.Next(b.Context(), batch) // definitions, and what opens the day
	require.NoError(b, err)
	batch = batch[:100]
	headers, bodies := make([]Packet, 1000), make([][]byte, 1000)
	for i := range headers {
		n, err := market.Next(b.Context(), batch)
		require.NoError(b, err)
		headers[i] = Packet{First: 1, Count: uint64(n), Base: batch[0].EventTime}
		for j := range batch[:n] {
			bodies[i] = AppendTick(bodies[i], &batch[j], batch[0].EventTime)
		}
	}
	ticks, total := make([]feed.Tick, 256), 0
	b.ReportAllocs()
	for i := 0; b.Loop(); i = (i + 1) % len(headers) {
		p := PacketBody(&headers[i], bodies[i])
		n, err := p.Decode(ticks)
		if err != nil {
			b.Fatal(err)
		}
		total += n
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(total), "ns/tick")
}

// BenchmarkAppendMarket encodes the ticks of BenchmarkDecodeMarket.
func BenchmarkAppendMarket(b *testing.B) {
	market, err := sim.New(sim.Config{Seed: 1})
	require.NoError(b, err)
	ticks := make([]feed.Tick, 1<<15)
	_, err = market.Next(b.Context(), ticks[:4096])
	require.NoError(b, err)
	for n := 0; n < len(ticks); {
		k, err := market.Next(b.Context(), ticks[n:])
		require.NoError(b, err)
		n += k
	}
	dst, total := make([]byte, 0, 100*wideTrade+MaxEntry), 0
	b.ReportAllocs()
	for n := 0; b.Loop(); n = (n + 100) % (len(ticks) - 100) {
		_, k, _ := AppendFixed(dst, ticks[n:n+100], ticks[n].EventTime, 0)
		total += max(k, 1)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(total), "ns/tick")
}

// BenchmarkScan finds the ends of the entries of a packet with narrow and wide quotes and trades, in each of the ways that
// decode nothing.
func BenchmarkScan(b *testing.B) {
	ticks := variedTicks(1000)
	var body []byte
	var entries [][]byte
	for i := range ticks {
		if i%7 == 0 {
			ticks[i].Values[1] += 1 << 40
		}
		at := len(body)
		body = AppendTick(body, &ticks[i], noon)
		entries = append(entries, body[at:])
	}
	dst := make([]byte, 0, 2*len(body)+MaxEntry)
	for name, scan := range map[string]func(){
		"ScanFixed": func() {
			var ids [256]feed.InstrumentID
			var sizes [256]uint8
			for p := body; len(p) > 0; {
				for _, size := range sizes[:ScanFixed(p, ids[:], sizes[:])] {
					p = p[size:]
				}
			}
		},
		"EntryAt": func() {
			for p := body; len(p) > 0; {
				e, _ := EntryAt(p)
				p = p[e.Size:]
			}
		},
		"AppendRebased": func() {
			dst := dst
			for i, entry := range entries {
				var ok bool
				if dst, ok = AppendRebased(dst, 5, entry, 1000); !ok {
					b.Fatal(i)
				}
			}
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				scan()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(ticks)), "ns/tick")
		})
	}
}

// compareVectors compares vectors with what does without them.
func compareVectors(t *testing.T, p []byte) {
	var want, got [40]feed.Tick
	n, size := decodeScalar(p, want[:], noon, 1)
	if k, s := decodeFixed(p, got[:], noon, 1); k != n || s != size || !slices.Equal(want[:n], got[:n]) {
		t.Fatalf("% x: %d ticks in %d bytes, want %d in %d\n%+v\n%+v", p, k, s, n, size, got[:k], want[:n])
	}
}

// variedTicks looks like a market: many instruments, sizes and prices of different lengths.
func variedTicks(n int) []feed.Tick {
	r := rand.New(rand.NewPCG(1, 2))
	ticks := make([]feed.Tick, n)
	at := noon
	for i := range ticks {
		at += r.Int64N(20_000)
		id := feed.InstrumentID(r.IntN(1000))
		price := int64(10_000) << (uint(id) % 10)
		if r.IntN(8) == 0 {
			ticks[i] = feed.Trade{Price: price + r.Int64N(100), Size: 1 + r.Int64N(1000), ID: uint64(i), Side: feed.Side(1 + r.IntN(2))}.Tick(id, at)
			continue
		}
		bid := price + r.Int64N(100)
		ticks[i] = feed.Quote{Bid: bid, BidSize: 1 + r.Int64N(400), Ask: bid + 1 + r.Int64N(3), AskSize: 1 + r.Int64N(400)}.Tick(id, at)
	}
	return ticks
}

func BenchmarkAppendTick(b *testing.B) {
	ticks := variedTicks(100)
	dst := make([]byte, 0, MaxBody)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%100 == 0 {
			dst = dst[:0]
		}
		dst = AppendTick(dst, &ticks[i%100], noon)
	}
}

func BenchmarkAppendFixed(b *testing.B) {
	ticks := variedTicks(100)
	dst := make([]byte, 0, MaxBody)
	b.ReportAllocs()
	for b.Loop() {
		if _, n, _ := AppendFixed(dst, ticks, noon, 0); n != len(ticks) {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/tick")
}

func BenchmarkDecodeTicks(b *testing.B) {
	ticks := variedTicks(100)
	var body []byte
	for i := range ticks {
		body = AppendTick(body, &ticks[i], noon)
	}
	h := Packet{First: 1, Count: 100, Base: noon}
	batch := make([]feed.Tick, 256)
	b.ReportAllocs()
	for b.Loop() {
		p := PacketBody(&h, body)
		if n, err := p.Decode(batch); n != 100 || err != nil {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/tick")
}

// AppendFixed writes what AppendTick writes, of ticks that ValidateTick passes, and stops at the first other.
func TestAppendFixed(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	pick := func(vs ...int64) int64 { return vs[r.IntN(len(vs))] }
	stopped := 0
	for range 20_000 {
		ticks := variedTicks(1 + r.IntN(8))
		odd := r.IntN(len(ticks))
		o := &ticks[odd]
		switch r.IntN(8) {
		case 0:
			o.Values[r.IntN(4)] = pick(-1, 0, 1<<16-1, 1<<16, 1<<32-1, 1<<32, math.MinInt64, math.MaxInt64)
		case 1:
			o.EventTime = noon + pick(-1<<31, -1<<31-1, 1<<31-1, 1<<31, math.MinInt64, math.MaxInt64)
		case 2:
			o.Instrument = feed.InstrumentID(pick(0, 1<<16-1, 1<<16, feed.MaxInstruments-1, feed.MaxInstruments))
		case 3:
			o.Side = feed.Side(r.IntN(6))
		case 4:
			o.Kind = feed.Kind(r.IntN(14))
		case 5:
			o.Extra = &feed.Extra{TradeRef: "T"}
		case 6:
			o.Flags = feed.Flags(r.IntN(256))
		case 7:
			o.Kind, o.Values[3] = feed.KindTrade, int64(r.Uint64())&^0xffffffff
		}
		dst := make([]byte, 5, 5+8*MaxEntry)
		got, n, latest := AppendFixed(dst, ticks, noon, noon+5)
		want, late := dst, noon+5
		for i := range ticks[:n] {
			require.NoError(t, ValidateTick(&ticks[i]), "%+v", ticks[i])
			want = AppendTick(want, &ticks[i], noon)
			late = max(late, ticks[i].EventTime)
		}
		require.Equal(t, want, got)
		require.Equal(t, late, latest)
		require.Equal(t, n == len(ticks), IsFixed(o), "%+v", *o)
		if n == len(ticks) {
			continue
		}
		stopped++
		require.Equal(t, odd, n, "a common tick is not what it stops at")
		if ValidateTick(o) == nil && (o.Kind != feed.KindQuote || o.Side == 0) {
			size := len(AppendTick(nil, o, noon))
			require.False(t, o.Kind == feed.KindQuote && (size == narrowQuote || size == wideQuote) || o.Kind == feed.KindTrade && o.Extra == nil && (size == narrowTrade || size == wideTrade), "%+v", *o)
		}
	}
	require.Greater(t, stopped, 5000)

	full := make([]byte, 0, MaxEntry+narrowTrade)
	_, n, _ := AppendFixed(full, variedTicks(100), noon, 0)
	require.Equal(t, 2, n, "ticks where there is room for an entry of any size before each")
}

// A tick that is encoded with another base event time, after a skip, is the same tick. Nothing is appended if its time does not
// fit that base.
func TestAppendRebased(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	ticks := variedTicks(2000)
	for _, tick := range exampleTicks() {
		ticks = append(ticks, tick)
	}
	refused := 0
	for i := range ticks {
		tick := &ticks[i]
		if i%10 == 0 && (tick.Kind == feed.KindQuote || tick.Kind == feed.KindTrade) {
			tick.Values[0] = 1 << 40 // a wide pattern
		}
		delta := []int64{0, 1, -1, 1000, -1 << 20, 1<<31 - 1, -1 << 31, 1 << 33, -1 << 40}[r.IntN(9)]
		skip := []uint64{0, 1, 0xff, 0xffff, 0x10000, 1 << 40}[r.IntN(6)]
		dst := make([]byte, 5, 5+r.IntN(2*MaxEntry))
		entry := AppendTick(nil, tick, noon)
		got, ok := AppendRebased(dst, skip, entry, delta)
		if !ok {
			refused++
			require.Equal(t, dst, got)
			require.Less(t, len(entry), wideQuote, "only the narrow patterns have too few bits")
			require.NotEqual(t, int64(int32(tick.EventTime-noon+delta)), tick.EventTime-noon+delta)
			continue
		}
		require.Equal(t, dst, got[:5])
		body := PacketBody(&Packet{First: 41, Count: skip + 1, Base: noon - delta}, got[5:])
		var batch [2]feed.Tick
		n, err := body.Decode(batch[:])
		require.NoError(t, err, "%+v after a skip of %d, by %d: %x", *tick, skip, delta, got[5:])
		require.Equal(t, 1, n)
		want := *tick
		want.Seq = 41 + skip
		require.Equal(t, want, batch[0])
		require.Equal(t, skip, body.NotAsked())
	}
	require.Greater(t, refused, 100)
}

// ScanFixed reports of each tick in a fixed-width pattern what EntryAt reports, and ends at the first other entry.
func TestScanFixed(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var (
		ids   [7]feed.InstrumentID
		sizes [7]uint8
	)
	fixed, other := 0, 0
	for range 500 {
		var body []byte
		for _, tick := range variedTicks(1 + r.IntN(20)) {
			switch r.IntN(12) {
			case 0:
				tick.Values[1] = 1 << 40
			case 1:
				tick.Instrument = 1<<20 - 1
			case 2:
				tick = feed.Level{Side: feed.SideBuy, Price: -5, Size: 3}.Tick(tick.Instrument, noon)
			case 3:
				body = AppendSkip(body, 1+r.Uint64N(1000))
			}
			body = AppendTick(body, &tick, noon)
		}
		for len(body) > 0 {
			n := ScanFixed(body, ids[:], sizes[:])
			fixed += n
			for i := range n {
				e, err := EntryAt(body)
				require.NoError(t, err)
				require.Equal(t, Entry{Size: int(sizes[i]), Covers: 1, Tick: true, Kind: e.Kind, Instrument: ids[i]}, e)
				body = body[e.Size:]
			}
			if n == len(ids) || len(body) == 0 {
				continue
			}
			e, err := EntryAt(body)
			require.NoError(t, err)
			require.NotContains(t, []int{narrowQuote, narrowTrade, wideQuote, wideTrade}, e.Size, "%x", body[:e.Size])
			body = body[e.Size:]
			other++
		}
	}
	require.Greater(t, fixed, 1000)
	require.Greater(t, other, 100)
}
