package sim

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"

	"tickfeed/feed"
)

func TestUniverseGrowsWithoutChange(t *testing.T) {
	large := universe(10_000)
	assert.Equal(t, universe(1000), large[:1000], "a larger universe begins with the smaller one")
	seen := map[string]bool{}
	futures := 0
	for i := range large {
		d := &large[i].definition
		assert.NoError(t, d.Validate())
		assert.False(t, seen[d.Symbol], d.Symbol)
		seen[d.Symbol] = true
		if len(d.Symbol) >= 2 && d.Symbol[:2] == "ES" && d.TickSize == 25 {
			futures++
		}
		assert.Equal(t, "USD", d.Currency)
		assert.Positive(t, d.TickSize)
		assert.Positive(t, d.Lot)
		assert.Equal(t, math.Round(large[i].price), large[i].price, "%s opens on the grid", d.Symbol)
	}
	assert.Equal(t, 3, futures, "ES* are there")
	assert.Contains(t, seen, "AAPL")
}

func TestTickersAreAllDifferent(t *testing.T) {
	const short = 26 * 21 * 21 * 21
	seen := make(map[string]bool, short)
	for n := range uint64(short) {
		seen[ticker(n)] = true
	}
	assert.Len(t, seen, short)
	assert.Len(t, ticker(short-1), 4)
	assert.Len(t, ticker(short), 5)
}

func TestAliasTableKeepsTheWeights(t *testing.T) {
	const n, draws = 50, 200_000
	bits := rand.NewPCG(1, 2)
	a := arrivals{rng: rand.New(bits), bits: bits, byActivity: aliasTable(activities(universe(n)))}
	var counts [n]float64
	for range draws {
		counts[a.pick()]++
	}
	sum := 0.0
	for i := range n {
		sum += activity(i)
	}
	for i := range n {
		want := activity(i) / sum * draws
		assert.InDelta(t, want, counts[i], 5*math.Sqrt(want), "instrument %d", i)
	}
}

func TestSpreadsOfAllInstrumentsWidenInAVolatileMood(t *testing.T) {
	const day = 1000 * unitsPerSecond
	spread := func(mood float64) float64 {
		c := climate{rng: rand.New(rand.NewPCG(1, 1)), mood: mood}
		c.step(day/2, 1, day)
		return c.spread
	}
	assert.InEpsilon(t, math.E, spread(0.5)/spread(-0.5), 0.01)
}

// The branching ratio is the share of events caused by others.
func TestBranchingRatio(t *testing.T) {
	bits := rand.NewPCG(3, 4)
	a := arrivals{rng: rand.New(bits), bits: bits, byActivity: aliasTable(activities(universe(1000))), kernels: usualKernels, background: 100}
	events := 0
	const seconds = 500
	for {
		if _, ok := a.next(seconds * unitsPerSecond); !ok {
			break
		}
		events++
	}
	assert.Equal(t, int64(seconds*unitsPerSecond), a.now)
	assert.InEpsilon(t, 100/(1-branching), float64(events)/seconds, 0.03)
}

func TestDayShapeIsTheSlopeOfDayDone(t *testing.T) {
	assert.InDelta(t, 0, dayDone(0), 1e-12)
	assert.InDelta(t, 1, dayDone(1), 1e-12)
	const h = 1e-5
	for s := 0.01; s < 1; s += 0.01 {
		assert.InDelta(t, dayShape(s), (dayDone(s+h)-dayDone(s-h))/(2*h), 1e-3, "at %v", s)
	}
}

func TestExpAgreesWithTheLibrary(t *testing.T) {
	for x := -600.0; x < 600; x += 0.37 {
		assert.InEpsilon(t, math.Exp(x), exp(x), 1e-12, "exp(%v)", x)
	}
	assert.Zero(t, exp(-1e9))
	for x := 0.0; x < 0.1; x += 0.0003 {
		assert.InEpsilon(t, math.Exp(-x), fade(x), 1e-9, "fade(%v)", x)
	}
}

func TestInstrumentIsTwoCacheLines(t *testing.T) {
	assert.Equal(t, uintptr(128), unsafe.Sizeof(instrument{}))
	assert.Equal(t, uintptr(64), unsafe.Sizeof(feed.Tick{}), "ticks are copied into batches whole")
}
