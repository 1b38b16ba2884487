package recording

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
)

// built is what is read back of a built recording.
type built struct {
	ticks   []feed.Tick
	packets []codec.Packet
	sizes   []int // of the bodies
	skips   []string
	closed  bool
}

func readBuilt(t testing.TB, b []byte) built {
	t.Helper()
	var got built
	r := open(t, b)
	for {
		item, err := r.Next()
		if err == io.EOF {
			got.closed = r.Closed()
			return got
		}
		require.NoError(t, err)
		require.NotContains(t, []Kind{KindDamage, KindTorn}, item.Kind)
		for _, p := range Packets(item.Data) {
			h, body, err := codec.ParsePacket(p)
			require.NoError(t, err)
			got.packets = append(got.packets, h)
			got.sizes = append(got.sizes, len(body))
			d := codec.PacketBody(&h, body)
			batch := make([]feed.Tick, 100)
			for {
				n, err := d.Decode(batch)
				require.NoError(t, err)
				if n == 0 {
					break
				}
				got.ticks = append(got.ticks, batch[:n]...)
			}
			gone, reason := d.Gone()
			switch {
			case gone > 0:
				got.skips = append(got.skips, fmt.Sprintf("%d %v", gone, reason))
			case d.Withheld() > 0:
				got.skips = append(got.skips, fmt.Sprintf("%d withheld", d.Withheld()))
			case d.NotAsked() > 0:
				got.skips = append(got.skips, fmt.Sprintf("%d not asked", d.NotAsked()))
			}
		}
	}
}

func rootHeader(next uint64) codec.FileHeader {
	return codec.FileHeader{Lineage: feed.Lineage{{ID: 0xb1, First: 1}}, Next: next, Source: "a test", Created: noon}
}

func definition(id feed.InstrumentID, at int64) feed.Tick {
	return feed.Tick{Kind: feed.KindDefinition, Instrument: id, EventTime: at, Extra: &feed.Extra{
		Definition: &feed.Definition{Symbol: fmt.Sprintf("S%d", id), Currency: "USD"},
	}}
}

func quote(id feed.InstrumentID, at int64) feed.Tick {
	return feed.Quote{Bid: 100, BidSize: 1, Ask: 101, AskSize: 2}.Tick(id, at)
}

// Appended ticks are read back under consecutive numbers. A packet is published at the greatest event time up
// to its end, holds at most PacketTicks ticks, and none that happened more than PacketSpan after its first.
func TestBuilderPacksByEventTime(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var want []feed.Tick
	at := int64(noon)
	for i := range 20_000 {
		switch rng.IntN(100) {
		case 0:
			at += 3_000_000_000 // a quiet period
		case 1:
			at -= 5_000_000 // a slow clock
		default:
			at += rng.Int64N(2000)
		}
		tick := quote(feed.InstrumentID(i%40), at)
		if i < 40 {
			tick = definition(feed.InstrumentID(i), at)
		}
		if i%97 == 0 {
			tick.EventTime = 0
		}
		want = append(want, tick)
	}
	var f memory
	b, err := NewBuilder(&f, rootHeader(1), nil)
	require.NoError(t, err)
	for rest := want; len(rest) > 0; {
		n := min(len(rest), 1+rng.IntN(500))
		require.NoError(t, b.Append(rest[:n]))
		rest = rest[n:]
	}
	require.Equal(t, uint64(len(want)+1), b.Next())
	require.NoError(t, b.Close())

	got := readBuilt(t, f.Bytes())
	assert.True(t, got.closed)
	require.Len(t, got.ticks, len(want))
	for i := range want {
		want[i].Seq = uint64(i + 1)
		require.Truef(t, want[i].Equal(&got.ticks[i]), "tick %d: %+v, want %+v", i, got.ticks[i], want[i])
	}
	assert.Greater(t, len(got.packets), 150, "a packet at least for each quiet time")
	greatest := int64(0)
	for i, h := range got.packets {
		in := want[h.First-1:][:h.Count]
		require.LessOrEqual(t, len(in), PacketTicks)
		require.LessOrEqual(t, got.sizes[i], PacketBytes+codec.MaxEntry)
		for _, tick := range in {
			greatest = max(greatest, tick.EventTime)
			require.LessOrEqual(t, tick.EventTime, h.Base+PacketSpan)
		}
		require.Equal(t, greatest, h.PublishTime, "packet %d", i)
	}
	st := b.Stats()
	assert.Equal(t, uint64(40), st.Instruments)
	assert.Equal(t, uint64(40), st.Kinds[feed.KindDefinition])
	assert.Equal(t, uint64(len(want)-40), st.Kinds[feed.KindQuote])
	assert.Equal(t, greatest, st.Last)
	assert.NotZero(t, st.Backward)
	assert.GreaterOrEqual(t, st.Back, int64(4_000_000))
}

// A packet ends at its bounds: at PacketTicks ticks, and before a tick that happened one nanosecond too late.
func TestBuilderBounds(t *testing.T) {
	for _, c := range []struct {
		name  string
		times []int64 // of ticks after one at 1
		n     int
		want  []uint64 // numbers of each packet
	}{
		{"one packet", []int64{2, 3}, 0, []uint64{3}},
		{"at the span", []int64{1 + PacketSpan}, 0, []uint64{2}},
		{"beyond the span", []int64{2 + PacketSpan}, 0, []uint64{1, 1}},
		{"back in time", []int64{-5, 1 + PacketSpan}, 0, []uint64{3}},
		{"as many as fit", nil, PacketTicks - 1, []uint64{PacketTicks}},
		{"one more", nil, PacketTicks, []uint64{PacketTicks, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ticks := []feed.Tick{feed.ClearTick(0, 1, feed.SideBoth)} // small enough for PacketTicks
			for _, at := range c.times {
				ticks = append(ticks, feed.ClearTick(0, at, feed.SideBoth))
			}
			for range c.n {
				ticks = append(ticks, feed.ClearTick(0, 1, feed.SideBoth))
			}
			var f memory
			b, err := NewBuilder(&f, rootHeader(1), nil)
			require.NoError(t, err)
			require.NoError(t, b.Append(ticks))
			require.NoError(t, b.Close())
			var counts []uint64
			for _, h := range readBuilt(t, f.Bytes()).packets {
				counts = append(counts, h.Count)
			}
			assert.Equal(t, c.want, counts)
		})
	}
}

// AppendAt keeps the given publish times, which never decrease; ticks of one time share packets.
func TestBuilderStatedTimes(t *testing.T) {
	var f memory
	b, err := NewBuilder(&f, rootHeader(1), nil)
	require.NoError(t, err)
	for _, at := range []int64{50, 50, 40, 60} {
		require.NoError(t, b.AppendAt(at, []feed.Tick{quote(0, 7), quote(0, 7_000_000)}))
	}
	require.NoError(t, b.Append([]feed.Tick{quote(0, 55), quote(0, 70)}))
	require.NoError(t, b.Close())
	got := readBuilt(t, f.Bytes())
	var told [][2]int64
	for _, h := range got.packets {
		told = append(told, [2]int64{int64(h.Count), h.PublishTime})
	}
	assert.Equal(t, [][2]int64{{6, 50}, {2, 60}, {2, 70}}, told)
}

// Numbers without ticks are recorded, each kind in its form (PROTOCOL.md, "Body entries").
func TestBuilderSkips(t *testing.T) {
	state := feed.NewState()
	define := definition(0, 3)
	require.NoError(t, state.Apply(&define))
	var f memory
	b, err := NewBuilder(&f, rootHeader(11), state)
	require.NoError(t, err)
	require.NoError(t, b.AppendAt(5, nil))
	require.NoError(t, b.Skip(3, SkipNotAsked))
	require.NoError(t, b.Skip(4, SkipNotAsked))
	require.NoError(t, b.Append([]feed.Tick{quote(0, 9)}))
	require.NoError(t, b.Skip(2, SkipNotAsked))
	require.NoError(t, b.Skip(0, SkipExpired))
	require.NoError(t, b.Skip(6, SkipWithheld))
	require.NoError(t, b.Restate(state))
	require.NoError(t, b.Skip(7, SkipExpired))
	require.NoError(t, b.Skip(8, SkipDamaged))
	require.NoError(t, b.Append([]feed.Tick{quote(0, 10)}))
	require.NoError(t, b.Skip(1, SkipNotAsked))
	require.Error(t, b.Skip(codec.MaxSpan+1, SkipNotAsked))
	require.Error(t, b.Skip(1, SkipDamaged+1))
	assert.Equal(t, uint64(11+3+4+1+2+6+7+8+1+1), b.Next())
	assert.Equal(t, uint64(31), b.Stats().Skipped)
	require.NoError(t, b.Close())
	got := readBuilt(t, f.Bytes())
	assert.Equal(t, []string{"7 not asked", "2 not asked", "6 withheld", "7 expired", "8 damaged", "1 not asked"}, got.skips)
	require.Len(t, got.ticks, 2)
	assert.Equal(t, uint64(18), got.ticks[0].Seq)
	assert.Equal(t, uint64(42), got.ticks[1].Seq)
	next := uint64(11)
	for _, h := range got.packets {
		require.Equal(t, next, h.First)
		next += h.Count
	}
	assert.True(t, got.closed)
}

// Ticks that are not events are refused, and nothing of them is in the file.
func TestBuilderRefuses(t *testing.T) {
	for name, tick := range map[string]feed.Tick{
		"a summary":    {Kind: feed.KindSummary, Extra: &feed.Extra{Summary: &feed.Summary{}}},
		"of a state":   {Kind: feed.KindQuote, Flags: feed.FlagSnapshot},
		"unknown kind": {Kind: 99},
		"a bad size":   feed.Trade{Size: -1}.Tick(0, 0),
	} {
		t.Run(name, func(t *testing.T) {
			var f memory
			b, err := NewBuilder(&f, rootHeader(1), nil)
			require.NoError(t, err)
			require.Error(t, b.Append([]feed.Tick{quote(0, 1), tick}))
			require.NoError(t, b.Append([]feed.Tick{quote(0, 2)}))
			require.NoError(t, b.Close())
			assert.Len(t, readBuilt(t, f.Bytes()).ticks, 2)
		})
	}
}

// A file that fails ends the builder: the error is permanent, and the packets written before can be read.
func TestBuilderFailingFile(t *testing.T) {
	f := memory{limit: true, left: 300 << 10}
	b, err := NewBuilder(&f, rootHeader(1), nil)
	require.NoError(t, err)
	for range 100_000 {
		if err = b.Append([]feed.Tick{quote(0, 1)}); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, errNoRoom)
	require.ErrorIs(t, b.Append([]feed.Tick{quote(0, 1)}), errNoRoom)
	require.ErrorIs(t, b.Skip(1, SkipNotAsked), errNoRoom)
	require.ErrorIs(t, b.Close(), errNoRoom)
	data, _, _ := readAll(t, open(t, f.Bytes()))
	assert.Greater(t, len(data), 200<<10)
}

// Feed records a source up to its end, including the ticks returned with io.EOF.
func TestBuilderFeed(t *testing.T) {
	var f memory
	b, err := NewBuilder(&f, rootHeader(1), nil)
	require.NoError(t, err)
	src := &listSource{ticks: []feed.Tick{definition(0, 1), quote(0, 2), quote(0, 3)}}
	require.NoError(t, b.Feed(t.Context(), src))
	src.ticks, src.err = []feed.Tick{quote(0, 4)}, errNoRoom
	require.ErrorIs(t, b.Feed(t.Context(), src), errNoRoom)
	require.NoError(t, b.Close())
	assert.Len(t, readBuilt(t, f.Bytes()).ticks, 4)
}

// A listSource returns ticks two at a time, the last ones with its error, or io.EOF.
type listSource struct {
	ticks []feed.Tick
	err   error
}

func (s *listSource) Next(_ context.Context, batch []feed.Tick) (int, error) {
	n := copy(batch[:min(2, len(batch))], s.ticks)
	if s.ticks = s.ticks[n:]; len(s.ticks) > 0 {
		return n, nil
	}
	if s.err == nil {
		return n, io.EOF
	}
	return n, s.err
}

func (s *listSource) Close() error { return nil }

// Recognise detects a recording by its front, even if that is damaged, and nothing else.
func TestRecogniseGoesByTheFront(t *testing.T) {
	var f memory
	b, err := NewBuilder(&f, rootHeader(1), nil)
	require.NoError(t, err)
	require.NoError(t, b.Close())
	whole := f.Bytes()
	assert.True(t, Recognise(whole))
	damaged := bytes.Clone(whole)
	damaged[3] ^= 1
	assert.True(t, Recognise(damaged), "by its second header")
	assert.False(t, Recognise(nil))
	assert.False(t, Recognise([]byte("tickfeed")))
}

// Appending allocates nothing per tick.
func TestBuilderAllocations(t *testing.T) {
	b, err := NewBuilder(devNull{}, rootHeader(1), nil)
	require.NoError(t, err)
	batch := make([]feed.Tick, 1000)
	at := int64(noon)
	allocs := testing.AllocsPerRun(200, func() {
		for i := range batch {
			batch[i] = quote(feed.InstrumentID(i%40), at)
			at += 5000
		}
		require.NoError(t, b.Append(batch))
	})
	assert.Less(t, allocs, 5.0, "of 1000 ticks")
}

type devNull struct{}

func (devNull) Write(p []byte) (int, error) { return len(p), nil }
func (devNull) Sync() error                 { return nil }
func (devNull) Close() error                { return nil }

// BenchmarkBuilder packs ticks at 200,000 a second of event time.
func BenchmarkBuilder(b *testing.B) {
	builder, err := NewBuilder(devNull{}, rootHeader(1), nil)
	require.NoError(b, err)
	batch := make([]feed.Tick, 1000)
	b.ReportAllocs()
	b.ResetTimer()
	at := int64(noon)
	for n := 0; n < b.N; n += len(batch) {
		for i := range batch {
			batch[i] = quote(feed.InstrumentID(i%40), at)
			at += 5000
		}
		require.NoError(b, builder.Append(batch))
	}
	b.ReportMetric(float64(builder.Size())/float64(b.N), "bytes/tick")
}
