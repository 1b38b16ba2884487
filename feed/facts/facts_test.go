package facts

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

func TestHistogramBinsHoldTheirValues(t *testing.T) {
	for _, v := range []uint64{0, 1, 7, 15, 16, 17, 31, 32, 33, 1000, 1 << 40, math.MaxUint64} {
		i := binOf(v)
		assert.LessOrEqual(t, binFrom(i), float64(v), v)
		assert.Greater(t, binFrom(i+1), float64(v)*(1-1e-15), v)
	}
	var h histogram
	for v := range uint64(10_000) {
		h.add(v)
	}
	for _, q := range []float64{0.01, 0.5, 0.99} {
		assert.InEpsilon(t, q*10_000, h.quantile(q), 0.02)
	}
	var pareto histogram
	r := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		pareto.add(uint64(1000 * math.Pow(r.Float64(), -1/1.5)))
	}
	assert.InEpsilon(t, 1.5, pareto.tailIndex(0.05), 0.05)
}

func TestMomentsOfKnownDistributions(t *testing.T) {
	var normal, laplace moments
	r := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		normal.add(5 + r.NormFloat64())
		laplace.add(r.ExpFloat64() - r.ExpFloat64())
	}
	assert.InDelta(t, 0, normal.kurtosis(), 0.05)
	assert.InDelta(t, 3, laplace.kurtosis(), 0.3)
	assert.InEpsilon(t, 1, normal.variance(), 0.02)
}

func TestAutocorrelationOfAKnownProcess(t *testing.T) {
	a := newAutocorrelation(1, 2, 10)
	r := rand.New(rand.NewPCG(1, 2))
	x := 0.0
	for range 100_000 {
		x = 0.8*x + r.NormFloat64()
		a.add(x)
	}
	for _, lag := range a.lags {
		assert.InDelta(t, math.Pow(0.8, float64(lag)), a.at(lag), 0.02, "lag %d", lag)
	}
	b := newAutocorrelation(1)
	for range 100 {
		b.add(1)
		b.cut()
	}
	assert.True(t, math.IsNaN(b.at(1)), "nothing precedes the first value after a cut")
}

func TestCountsOfClusteredEventsVary(t *testing.T) {
	c := counts{window: 10}
	for i := range int64(100) { // ten events in every other window
		c.add(i/10*20 + i%10)
	}
	c.flush()
	assert.InDelta(t, (100.0/2-25)/5, c.fano(200), 1e-9)
	assert.Equal(t, 10.0, c.greatest)
}

// market feeds a Meter with quotes and trades of one instrument.
type market struct {
	*Meter
	at int64
}

func newMarket(d feed.Definition) *market {
	m := &market{New(0), 1e18}
	m.Add([]feed.Tick{{Kind: feed.KindDefinition, Extra: &feed.Extra{Definition: &d}}})
	return m
}

func (m *market) quote(mid, bidSize, askSize int64) {
	m.Add([]feed.Tick{feed.Quote{Bid: mid - 1, BidSize: bidSize, Ask: mid + 1, AskSize: askSize}.Tick(0, m.at)})
}

func (m *market) trade(mid int64, side feed.Side) {
	price := mid + 1
	if side == feed.SideSell {
		price = mid - 1
	}
	m.Add([]feed.Tick{feed.Trade{Price: price, Size: 100, Side: side}.Tick(0, m.at)})
}

// Independent normal returns and independent signs are no market: the Meter must see it.
func TestNoiseIsNoMarket(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	m := newMarket(feed.Definition{Symbol: "N", PriceExponent: -2})
	mid := int64(1e6)
	for range 20_000 {
		m.at += 1e9
		mid += int64(math.Round(3 * r.NormFloat64()))
		m.quote(mid, 1+r.Int64N(9), 1+r.Int64N(9))
		m.trade(mid, feed.SideBuy+feed.Side(r.IntN(2)))
	}
	in := m.Report().Instruments[0]
	for _, id := range []string{"1a", "1b", "2", "4a", "7a", "7b", "8", "9a", "10a", "11a", "11b", "12"} {
		for i := range Rows {
			if row := &Rows[i]; row.ID == id {
				holds, ok := in.Holds(row)
				assert.True(t, ok && !holds, "row %s: %v", id, in.Values[id])
			}
		}
	}
	assert.InDelta(t, 0, in.Values["1a"], 0.2)
	assert.InDelta(t, 0, in.Values["7a"], 0.03)
	assert.InDelta(t, 1, in.Values["5"], 0.2)
	assert.InDelta(t, 0.5, in.Values["8"], 0.03)
	assert.Equal(t, uint64(40_000), in.Events)
}

// The load of the whole feed counts the ticks of all instruments, measured or not, but no nights.
func TestWholeFeedCountsAllInstruments(t *testing.T) {
	m := New(0)
	var ticks []feed.Tick
	for day := range int64(2) {
		for s := range int64(1000) {
			n := int64(1)
			if s%10 == 5 {
				n = 21
			}
			for k := range n {
				at := 1e18 + day*86400e9 + s*1e9 + k
				ticks = append(ticks, feed.Quote{Bid: 1, Ask: 2}.Tick(feed.InstrumentID(k%3), at))
			}
		}
	}
	status := feed.StatusTick(0, 1e18+5e9, feed.StatusTrading, 0)
	halt := feed.StatusTick(0, 1e18+6e9, feed.StatusHalted, 0)
	halt.Extra = &feed.Extra{Reason: "news"}
	snapshot := feed.Quote{Bid: 1, Ask: 2}.Tick(0, 1e18+5e9)
	snapshot.Flags = feed.FlagSnapshot
	m.Add([]feed.Tick{status, halt, snapshot})
	for range 2 * mostStops {
		m.Add([]feed.Tick{feed.StatusTick(0, 1e18+7e9, feed.StatusAuction, 0)})
	}
	m.Add(ticks)
	report := m.Report()
	stops := report.Instruments[0].Stops
	require.Len(t, stops, mostStops)
	assert.Equal(t, []Stop{{1e18 + 6e9, feed.StatusHalted, "news"}, {1e18 + 7e9, feed.StatusAuction, ""}}, stops[:2])
	w := report.Whole
	assert.Equal(t, "6,000 quotes", w.Kinds())
	assert.Equal(t, uint64(2*(900+100*21)), w.Ticks)
	assert.InDelta(t, 2000, w.Seconds, 3)
	assert.InDelta(t, 3, w.Rate, 0.01)
	assert.Equal(t, []uint64{21, 21}, []uint64{w.BusiestSecond, w.BusiestTenth})
	assert.InDelta(t, 7, w.Peak(), 0.02)
	assert.InDelta(t, (0.9+0.1*21*21-9)/3, w.FanoSecond, 0.1)
	assert.InDelta(t, (0.9+0.1*21*21)/10/0.3-0.3, w.FanoTenth, 0.1)

	assert.Zero(t, New(0).Report().Whole.Ticks)
	assert.Zero(t, New(0).Report().Whole.Peak())
}

// In a market whose queues always predict the next move, whose trades each move the mid price by half a spread for good, and whose
// signs come in pairs, these facts are measured.
func TestImbalanceAndImpact(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	m := newMarket(feed.Definition{Symbol: "N", PriceExponent: -2})
	mid := int64(1e6)
	for range 2000 {
		up := r.IntN(2) == 0
		side, step, bid, ask := feed.SideBuy, int64(1), int64(9), int64(1)
		if !up {
			side, step, bid, ask = feed.SideSell, -1, 1, 9
		}
		m.at += 1e9
		m.quote(mid, bid, ask)
		m.trade(mid, side)
		m.trade(mid, side)
		mid += step
	}
	in := m.Report().Instruments[0]
	assert.InDelta(t, 1, in.Values["8"], 1e-9)
	assert.InDelta(t, 0.5, in.Values["7a"], 0.05)
	assert.InDelta(t, 0.5, in.Impact[1].Y, 0.05, "after two trades, in spreads of 2")
}

// A finer definition of the same instrument leaves prices as they were.
func TestFinerDefinition(t *testing.T) {
	m := newMarket(feed.Definition{Symbol: "N", PriceExponent: -2})
	finer := feed.Definition{Symbol: "N", PriceExponent: -3}
	for i := range int64(400) {
		m.at += 1e9
		if i == 200 {
			m.Add([]feed.Tick{{Kind: feed.KindDefinition, Extra: &feed.Extra{Definition: &finer}}})
		}
		if i < 200 {
			m.quote(1e6, 1, 1)
			m.trade(1e6, feed.SideBuy)
		} else {
			m.quote(1e7, 1, 1)
			m.trade(1e7+9, feed.SideBuy)
		}
	}
	in := m.Report().Instruments[0]
	for _, p := range in.Path {
		assert.Equal(t, 10_000.0, p.Y)
	}
	assert.Zero(t, m.instruments[0].changes.all.sq)
}

func TestBookFollowsLevels(t *testing.T) {
	var b book
	for i := range int64(5) {
		b.add(feed.Level{Side: feed.SideBuy, Price: 100 - i, Size: 10 + i})
		b.add(feed.Level{Side: feed.SideSell, Price: 101 + i, Size: 20 + i})
	}
	b.endEvent()
	assert.Zero(t, b.arrived, "the book was there before the recording")
	assert.Equal(t, []bookLevel{{100, 10}, {99, 11}, {98, 12}, {97, 13}, {96, 14}}, b.sides[0])
	assert.Equal(t, []bookLevel{{101, 20}, {102, 21}, {103, 22}, {104, 23}, {105, 24}}, b.sides[1])
	b.sample()
	assert.Equal(t, 15.0, b.profile[0].mean())
	assert.Equal(t, 19.0, b.profile[4].mean())

	b.traded(feed.Trade{Side: feed.SideBuy, Size: 5})
	b.add(feed.Level{Side: feed.SideSell, Price: 101, Size: 15})
	b.endEvent()
	assert.Zero(t, b.cancels, "the trade took it")
	b.add(feed.Level{Side: feed.SideSell, Price: 103})
	b.endEvent()
	assert.Equal(t, 1.0, b.cancels)
	assert.Len(t, b.sides[1], 4)
	b.clear(feed.SideSell)
	assert.Empty(t, b.sides[1])
	assert.Len(t, b.sides[0], 5)
}

// A feed of the three best levels of a side: what an event pushes out of them is no cancel, and what it lets in is no new order.
func TestBookWindow(t *testing.T) {
	for _, side := range []feed.Side{feed.SideBuy, feed.SideSell} {
		away := int64(1) // direction of worse prices
		if side == feed.SideBuy {
			away = -1
		}
		level := func(n, size int64) feed.Level { return feed.Level{Side: side, Price: 100 + n*away, Size: size} }
		for _, c := range []struct {
			name    string
			levels  []feed.Level
			arrived [4]float64 // by level; the last is of all beyond
			cancels float64
		}{
			{"an order inside pushes the last level out", []feed.Level{level(1, 5), level(6, 0)}, [4]float64{1, 0, 0, 0}, 0},
			{"the same, the other way round", []feed.Level{level(6, 0), level(1, 5)}, [4]float64{1, 0, 0, 0}, 0},
			{"a cancel of the best level lets one in", []feed.Level{level(2, 0), level(8, 7)}, [4]float64{}, 1},
			{"a cancel of the last level lets one in", []feed.Level{level(6, 0), level(8, 7)}, [4]float64{}, 1},
			{"a level inside the window", []feed.Level{level(5, 3), level(6, 0)}, [4]float64{0, 0, 1, 0}, 0},
			{"a level that grows", []feed.Level{level(6, 11)}, [4]float64{0, 0, 1, 0}, 0},
			{"a level that shrinks", []feed.Level{level(6, 9)}, [4]float64{}, 1},
			{"the book gets shorter", []feed.Level{level(6, 0)}, [4]float64{}, 1},
		} {
			t.Run(side.String()+", "+c.name, func(t *testing.T) {
				var b book
				for _, l := range []feed.Level{level(2, 10), level(4, 10), level(6, 10)} {
					b.add(l)
				}
				b.endEvent()
				for _, l := range c.levels {
					b.add(l)
				}
				b.endEvent()
				assert.Equal(t, c.arrived, [4]float64{b.arrived[0], b.arrived[1], b.arrived[2], b.far})
				assert.Equal(t, c.cancels, b.cancels)
			})
		}
	}
}

// A range without one of its bounds is written with the other only.
func TestRangesAsText(t *testing.T) {
	for want, r := range map[string]Range{
		"±0.1": {-0.1, 0.1}, "≥ 0": {0, inf}, "≤ 1": {-inf, 1}, "2.5 to 4.5": {2.5, 4.5}, "-0.4 to -0.03": {-0.4, -0.03},
	} {
		assert.Equal(t, want, r.String())
	}
}

func TestAddAllocatesNothing(t *testing.T) {
	m := newMarket(feed.Definition{Symbol: "N"})
	step := func() {
		m.at += 5e8
		m.quote(1e6, 1, 2)
		m.trade(1e6, feed.SideBuy)
	}
	for range 2000 {
		step()
	}
	ticks := []feed.Tick{feed.Quote{Bid: 1, Ask: 2}.Tick(0, m.at), feed.Trade{Price: 1, Size: 1, Side: feed.SideBuy}.Tick(0, m.at)}
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		ticks[0].EventTime += 5e8
		ticks[1].EventTime += 5e8
		m.Add(ticks)
	}))
}

// Where most events have the time of the one before, row 10b has no value: nothing can be divided by a median of 0. Instruments of
// one symbol are distinguished by their venues.
func TestNoMedianTimeAndTitles(t *testing.T) {
	in := newInstrument()
	for i := range 3 * leastEvents {
		in.event(int64(i/3) * second)
	}
	assert.True(t, math.IsNaN(in.value("10b")))
	for i := range 9 * leastEvents {
		in.event(int64(i+leastEvents) * second)
	}
	assert.InDelta(t, 1, in.value("10b"), 0.2)
	r := &Report{Instruments: []Instrument{{Definition: feed.Definition{Symbol: "X", Venue: "N"}}, {Definition: feed.Definition{Symbol: "X", Venue: "P"}}, {Definition: feed.Definition{Symbol: "Y", Venue: "P"}}}}
	assert.Equal(t, []string{"X@N", "X@P", "Y"}, []string{r.Title(0), r.Title(1), r.Title(2)})
}
