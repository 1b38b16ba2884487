package codec

import (
	"fmt"
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
