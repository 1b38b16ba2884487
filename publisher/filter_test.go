package publisher

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/feed/sim"
)

// A filter passes the right ticks whether a line is filtered alone or with others at the same position: all the ticks
// wanted, in packets that follow each other, merged from at most mergeTime.
func TestFilteringAloneAndTogether(t *testing.T) {
	together, shared, spilled := 0, 0, 0
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			now := int64(1_795_357_800_000_000_000)
			p, err := New(Config{Memory: 4 * MinMemory, Seed: 1, Now: func() int64 { return now }})
			require.NoError(t, err)
			defer func() { require.NoError(t, p.Close(context.Background())) }()

			var (
				truth     []feed.Tick // by seq - 1; definitions have no values
				published []int64     // publish times
				names     []string
				event     = now
			)
			publish := func(ticks ...feed.Tick) {
				require.NoError(t, p.Publish(context.Background(), ticks))
				truth = append(truth, ticks...)
			}
			define := func() {
				symbol := fmt.Sprintf("%c%d", 'A'+rune(rng.IntN(5)), len(names))
				id, err := p.Define(context.Background(), feed.Definition{Symbol: symbol})
				require.NoError(t, err)
				names = append(names, symbol)
				truth = append(truth, feed.Tick{Kind: feed.KindDefinition, Instrument: id})
			}
			lines := make([]*line, 8)
			told := make([][]feed.Tick, len(lines))
			at := make([]uint64, len(lines))
			var buf []byte
			hear := func(i int, data []byte) {
				l := lines[i]
				for ; len(data) > 0; data = data[codec.PacketSize(data):] {
					h := codec.PacketAt(data)
					require.True(t, codec.VerifyPacket(data[:codec.PacketSize(data)], l.seed))
					require.Equal(t, at[i], h.First)
					at[i] = h.First + h.Count
					body := codec.PacketBody(&h, data[codec.PacketHeader:codec.PacketSize(data)])
					batch := make([]feed.Tick, 64)
					for {
						n, err := body.Decode(batch)
						require.NoError(t, err)
						if n == 0 {
							break
						}
						for _, tick := range batch[:n] {
							late := h.PublishTime - published[tick.Seq-1]
							require.True(t, late >= 0 && late <= int64(mergeTime), "tick %d is told as published %v late", tick.Seq, time.Duration(late))
						}
						told[i] = append(told[i], batch[:n]...)
					}
				}
				require.Equal(t, at[i], l.next)
			}
			alone := func(i int) {
				l := lines[i]
				for end, _ := p.log.head(); l.read < end; {
					ch, err := l.advance(buf)
					require.NoError(t, err)
					hear(i, ch.data)
				}
			}
			// joined reads some of the odd lines. If it reads only a part of them, the others stand elsewhere.
			joined := func(some func(i int) bool) {
				for end, _ := p.log.head(); ; {
					var (
						f       = &filtering{equal: map[uint32]int{}}
						to      = end
						members []int
						outs    []int
					)
					for i := 1; i < len(lines); i += 2 {
						l := lines[i]
						if !some(i) || l.read == end || len(members) > 0 && l.at != lines[members[0]].at {
							continue
						}
						if len(members) == 0 && rng.IntN(2) == 0 {
							to = l.read + 1 + rng.Uint64N(end-l.read)
						}
						out, ok := f.add(l, to-l.read)
						require.True(t, ok)
						if out < len(outs) {
							shared++
						}
						members, outs = append(members, i), append(outs, out)
					}
					if len(members) == 0 {
						return
					}
					f.pass(p.log, lines[members[0]].at, to, 1000, func(out int) bool {
						for j, i := range members {
							if outs[j] == out {
								hear(i, f.outs[out].dst)
							}
						}
						spilled++
						return rng.IntN(4) > 0
					})
					for j, i := range members {
						hear(i, f.outs[outs[j]].dst)
					}
					f.reset()
					if len(members) > 1 {
						together++
					}
				}
			}
			everybody := func(int) bool { return true }
			for range 20 {
				define()
			}
			require.NoError(t, p.Flush(context.Background()))
			published = append(published, make([]int64, len(truth))...)
			from := uint64(len(truth) + 1)
			for i := range lines {
				filter := codec.Filter{fmt.Sprintf("%c*", 'A'+rune(i/2)), names[rng.IntN(len(names))]}
				switch i / 2 {
				case 2:
					filter = codec.Filter{names[3], names[7]}
				case 3:
					filter = lines[2].filter
				}
				if i%2 == 1 {
					filter = lines[i-1].filter
				}
				lines[i] = &line{p: p, filter: filter, wanted: newWanted(filter, nil, p.seq.state)}
				lines[i].setSession(p.session)
				lines[i].seek(from)
				at[i] = from
			}
			for range 150 {
				switch rng.IntN(8) {
				case 0:
					define()
				case 1:
					event += rng.Int64N(5e9) - 1e9
				case 2:
					now += rng.Int64N(3e6)
				}
				for range rng.IntN(200) {
					event += rng.Int64N(1000)
					id := feed.InstrumentID(rng.IntN(len(names)))
					tick := feed.Quote{Bid: rng.Int64N(1000), BidSize: 1, Ask: 2000, AskSize: rng.Int64N(70_000)}.Tick(id, event)
					if rng.IntN(10) == 0 {
						tick = feed.Level{Side: feed.SideBuy, Price: -rng.Int64N(10), Size: 3}.Tick(id, event)
					}
					publish(tick)
				}
				require.NoError(t, p.Flush(context.Background()))
				for len(published) < len(truth) {
					published = append(published, now)
				}
				switch i := rng.IntN(2 * len(lines)); {
				case i < len(lines) && i%2 == 0:
					alone(i)
				case i < len(lines):
					joined(func(j int) bool { return i == 1 || i == j })
				}
			}
			joined(everybody)
			for i, l := range lines {
				if i%2 == 0 {
					alone(i)
				}
				var want []feed.Tick
				for j, tick := range truth[from-1:] {
					if l.wanted.filter.Match(&feed.Definition{Symbol: names[tick.Instrument]}) {
						tick.Seq = from + uint64(j)
						want = append(want, tick)
					}
				}
				require.Len(t, told[i], len(want))
				for j, got := range told[i] {
					if got.Kind == feed.KindDefinition {
						got.Extra, got.EventTime = nil, 0
					}
					require.Equal(t, want[j], got)
				}
				require.Equal(t, told[i&^1], told[i], "the same together and alone")
			}
		})
	}
	require.Positive(t, together)
	require.Positive(t, shared)
	require.Positive(t, spilled)
}

// BenchmarkFilter measures the cost of a published tick in a pass over packets of the given number of ticks of the
// simulated market, for subscribers that want 10 of 1000 instruments each: for a hundred that share the market, and
// for the first alone, which wants the most active instruments and is therefore the first to fall behind.
func BenchmarkFilter(b *testing.B) {
	for _, every := range []int{100, 10_000} {
		for _, subscribers := range []int{100, 1} {
			b.Run(fmt.Sprintf("every=%d/subscribers=%d", every, subscribers), func(b *testing.B) {
				const instruments, symbols = 1000, 10
				p, err := New(Config{Seed: 1})
				require.NoError(b, err)
				defer func() { _ = p.Close(context.Background()) }()
				market, err := sim.New(sim.Config{Seed: 1, Instruments: instruments, Continuous: true})
				require.NoError(b, err)
				ticks := make([]feed.Tick, 1<<16)
				for p.seq.state.Len() < instruments {
					n, err := market.Next(b.Context(), ticks[:every])
					require.NoError(b, err)
					require.NoError(b, p.Publish(b.Context(), ticks[:n]))
				}
				require.NoError(b, p.Flush(b.Context()))
				for room := ticks; len(room) > 0; {
					n, err := market.Next(b.Context(), room)
					require.NoError(b, err)
					room = room[n:]
				}
				var lines []*line
				for i := range subscribers {
					var filter codec.Filter
					for j := range symbols {
						d, ok := p.seq.state.Definition(feed.InstrumentID(i*symbols + j))
						require.True(b, ok)
						filter = append(filter, d.Symbol)
					}
					l := &line{p: p, filter: filter, wanted: newWanted(filter, nil, p.seq.state)}
					l.setSession(p.session)
					l.seek(p.seq.next)
					lines = append(lines, l)
				}
				f := &filtering{equal: make(map[uint32]int)}
				b.ReportAllocs()
				b.ResetTimer()
				b.StopTimer()
				at := 0
				for n := 0; n < b.N; n += every {
					if at+every > len(ticks) {
						at = 0
					}
					require.NoError(b, p.Publish(b.Context(), ticks[at:at+every]))
					at += every
					require.NoError(b, p.Flush(b.Context()))
					b.StartTimer()
					for end, _ := p.log.head(); lines[0].read < end; {
						for _, l := range lines {
							f.add(l, end-l.read)
						}
						f.pass(p.log, lines[0].at, end, spillAt, func(int) bool { return true })
						f.reset()
					}
					b.StopTimer()
				}
			})
		}
	}
}
