package fit_test

import (
	"context"
	"io"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/facts"
	"tickfeed/feed/files"
	"tickfeed/feed/recorded"
	"tickfeed/feed/sim"
	"tickfeed/feed/sim/fit"
)

// read gives all ticks of a source to adds.
func read(t testing.TB, src feed.Source, adds ...func([]feed.Tick)) {
	t.Helper()
	for batch := make([]feed.Tick, 1024); ; {
		n, err := src.Next(context.Background(), batch)
		for _, add := range adds {
			add(batch[:n])
		}
		if err == io.EOF {
			return
		}
		require.NoError(t, err)
	}
}

// profile is a market with habits that are far from the usual ones.
func profile() *sim.Profile {
	quantiles := func(least, middle, most float64) []float64 {
		out := make([]float64, len(sim.Percents))
		for i := range out {
			switch {
			case i < 5:
				out[i] = least
			case i < len(out)-5:
				out[i] = middle
			default:
				out[i] = most
			}
		}
		return out
	}
	p := &sim.Profile{
		Start: time.Date(2020, 3, 4, 8, 0, 0, 0, time.UTC), DayLength: 30 * time.Minute, Rate: 20,
		Shape: []float64{2, 1}, Together: 0.2,
		Clusters: [3]sim.Cluster{{Causes: 0.3, Within: time.Millisecond}, {Causes: 0.2, Within: 100 * time.Millisecond}, {Causes: 0.1, Within: time.Second}},
	}
	for i, symbol := range []string{"LEFT", "RIGHT"} {
		p.Instruments = append(p.Instruments, sim.Habits{
			Entry: sim.Entry{
				Definition: feed.Definition{Symbol: symbol, Venue: "V", PriceExponent: -3, Currency: "EUR", TickSize: 5, Lot: 10},
				Price:      50_000, Spread: 8, Volatility: 0.004, Beta: 0.4, Activity: float64(2 - i),
			},
			Spreads: quantiles(2, 8, 20), Queues: quantiles(10, 40, 900), Trades: quantiles(1, 25, 300),
			Orders: 0.3, Fills: 2, Memory: sim.Memory{Exponent: 1.2, Longest: 50}, Foresight: [2]float64{0.3, 0.2},
			Impact: 0.1,
		})
	}
	return p
}

// A fit of a simulated recording recovers what it was simulated with.
func TestFitRecoversProfile(t *testing.T) {
	t.Parallel()
	want := profile()
	market, err := sim.New(sim.Config{Profile: want, Days: 1})
	require.NoError(t, err)
	f := fit.New(1, 0) // the order of the ids does not matter
	read(t, market, f.Add)
	r, err := f.Fit(t.Context(), "test")
	require.NoError(t, err)
	got := r.Profile
	assert.Equal(t, want.Start, got.Start)
	assert.Equal(t, want.DayLength, got.DayLength)
	assert.InEpsilon(t, want.Rate, got.Rate, 0.05)
	assert.InDelta(t, want.Together, got.Together, 0.02)
	require.Len(t, got.Shape, 6)
	assert.InEpsilon(t, 2, sum(got.Shape[:3])/sum(got.Shape[3:]), 0.15)
	require.Len(t, got.Instruments, 2)
	for i := range got.Instruments {
		h, known := &got.Instruments[i], &want.Instruments[i]
		assert.Equal(t, known.Definition, h.Definition)
		assert.Equal(t, known.Price/1000, h.Price/1000)
		assert.InEpsilon(t, 3-float64(i+1), h.Activity/got.Instruments[1].Activity, 0.1)
		assert.InEpsilon(t, known.Orders, h.Orders, 0.05)
		assert.InEpsilon(t, known.Fills, h.Fills, 0.1)
		assert.InDelta(t, 25, h.Trades[12], 0, "the median")
		assert.Equal(t, []float64{1, 300}, []float64{h.Trades[0], h.Trades[len(h.Trades)-1]})
		assert.InDelta(t, 40, h.Queues[12], 4)
		assert.InDelta(t, known.Spread, h.Spread, 1)
		assert.Empty(t, h.Depth)
		assert.Equal(t, []string{"depth"}, r.Usual[i])
		d := r.Distances[i]
		assert.Less(t, d.Mean(), 0.3, "%+v", d)
		assert.Less(t, d.Volume, 0.15)
	}
	// The prices of both together move as they did.
	all := func(h *sim.Habits) float64 {
		return h.Volatility*h.Volatility + h.Beta*h.Beta*sim.MarketMove*sim.MarketMove
	}
	assert.InEpsilon(t, all(&want.Instruments[0]), all(&got.Instruments[0]), 0.7)
	text := got.AppendYAML(nil)
	again, err := sim.ParseProfile("p.yaml", text)
	require.NoError(t, err)
	assert.Equal(t, string(text), string(again.AppendYAML(nil)))
}

func sum(values []float64) (s float64) {
	for _, v := range values {
		s += v
	}
	return s
}

// Habits for which a recording has no data keep their usual values, and the result lists them.
func TestFitNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	p := profile()
	p.DayLength, p.Shape = 10*time.Minute, nil
	for name, c := range map[string]struct {
		keep  []feed.Kind
		usual []string
	}{
		"quotes": {[]feed.Kind{feed.KindQuote}, []string{"the share of orders", "sizes of trades", "the memory of sides", "impact"}},
		"trades": {[]feed.Kind{feed.KindTrade}, []string{"spreads", "sizes of quotes", "impact"}},
	} {
		market, err := sim.New(sim.Config{Profile: p, Days: 1})
		require.NoError(t, err)
		f := fit.New(0)
		read(t, market, func(ticks []feed.Tick) {
			for _, tick := range ticks {
				if tick.Flags = 0; tick.Kind == feed.KindDefinition || slices.Contains(c.keep, tick.Kind) {
					f.Add([]feed.Tick{tick})
				}
			}
		})
		r, err := f.Fit(t.Context(), "test")
		require.NoError(t, err, name)
		for _, text := range append(c.usual, "the shape of the day (the recording is short)", "depth") {
			assert.Contains(t, r.Usual[0], text, name)
		}
		assert.Len(t, r.Usual[0], len(c.usual)+2, "%s: %q", name, r.Usual[0])
	}
	market, err := sim.New(sim.Config{Profile: p, Days: 1})
	require.NoError(t, err)
	f := fit.New(0)
	read(t, market, f.Add)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = f.Fit(ctx, "test")
	require.ErrorIs(t, err, context.Canceled)
	f = fit.New(0)
	_, err = f.Fit(t.Context(), "test")
	assert.EqualError(t, err, "no instrument has 100 quotes or trades with event times, the least from which a profile can be made")
}

// Row 19 between a real day of a stock and its simulation is at most 1.5 times that between two stocks on that day, and the
// simulation is within the ranges of package facts where the real days are, or nearly: it has noise of its own. See
// TestFitOfOneOfTwoDays for days of one instrument.
func TestFitOfRealDays(t *testing.T) {
	t.Parallel()
	src, err := files.Open(recorded.Paths(t, recorded.AMZN, recorded.GOOG), nil, files.Config{})
	require.NoError(t, err)
	defer src.Close()
	m, f := facts.New(0, 1), fit.New(0, 1)
	read(t, src, m.Add, f.Add)
	real := m.Report()
	yardstick := facts.Distance(&real.Instruments[0], &real.Instruments[1]).Mean()
	r, err := f.Fit(t.Context(), "test")
	require.NoError(t, err)
	market, err := sim.New(sim.Config{Seed: 7, Profile: r.Profile, Days: 5})
	require.NoError(t, err)
	m = facts.New(0, 1)
	read(t, market, m.Add)
	simulated := m.Report()
	for i := range simulated.Instruments {
		in := &simulated.Instruments[i]
		k := slices.IndexFunc(real.Instruments, func(x facts.Instrument) bool { return x.Definition.Symbol == in.Definition.Symbol })
		d := facts.Distance(in, &real.Instruments[k])
		t.Logf("%s: %.3f, %.2f times that between the two; %+v", in.Definition.Symbol, d.Mean(), d.Mean()/yardstick, d)
		assert.LessOrEqual(t, d.Mean(), 1.5*yardstick)
	}
	for i := range facts.Rows {
		row := &facts.Rows[i]
		median, n := simulated.Median(row.ID)
		if n == 0 || row.Range.Holds(median) {
			continue
		}
		t.Logf("row %s, %s, is %.3f; the range is %v", row.ID, row.Name, median, row.Range)
		nearly := facts.Range{Low: row.Range.Low - 0.1*math.Abs(row.Range.Low) - 0.02, High: 1.1*row.Range.High + 0.02}
		assert.True(t, nearly.Holds(median), "row %s", row.ID)
	}
}
