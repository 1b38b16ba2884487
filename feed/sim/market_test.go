package sim

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

var update = flag.Bool("update", false, "write the golden files anew")

// aDay is a whole trading day that a test can look at in a fraction of a second.
func aDay() Config {
	return Config{Instruments: 200, Rate: 50, DayLength: time.Hour, Days: 1}
}

// each calls visit with every tick of a market that ends, read in batches of one size.
func each(t testing.TB, c Config, visit func(*feed.Tick)) {
	t.Helper()
	m, err := New(c)
	require.NoError(t, err)
	batch := make([]feed.Tick, 256)
	for {
		n, err := m.Next(context.Background(), batch)
		for i := range batch[:n] {
			visit(&batch[i])
		}
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		require.NotZero(t, n)
	}
	n, err := m.Next(context.Background(), batch)
	require.Zero(t, n)
	require.Equal(t, io.EOF, err, "the end repeats")
	require.NoError(t, m.Close())
}

// take returns the first n ticks of a market, read in batches of the given sizes in turn.
func take(t testing.TB, c Config, n int, batches ...int) []feed.Tick {
	t.Helper()
	m, err := New(c)
	require.NoError(t, err)
	ticks := make([]feed.Tick, n)
	for done, i := 0, 0; done < n; i++ {
		to := min(n, done+batches[i%len(batches)])
		got, err := m.Next(context.Background(), ticks[done:to])
		require.NoError(t, err)
		require.Equal(t, to-done, got, "a market without an end fills every batch")
		done = to
	}
	return ticks
}

func hash(ticks []feed.Tick) string {
	h := sha256.New()
	for i := range ticks {
		k := &ticks[i]
		var b [64]byte
		for j, v := range []int64{
			int64(k.Seq), k.EventTime,
			int64(k.Instrument) | int64(k.Kind)<<32 | int64(k.Flags)<<40 | int64(k.Side)<<48 | int64(k.Status)<<56,
			k.Values[0], k.Values[1], k.Values[2], k.Values[3],
		} {
			binary.LittleEndian.PutUint64(b[8*j:], uint64(v))
		}
		h.Write(b[:])
		if d := k.Definition(); d != nil {
			fmt.Fprintf(h, "%+v", *d)
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}

func TestSameSeedGivesSameTicksInAnyBatches(t *testing.T) {
	const n = 100_000
	for _, c := range []Config{{Seed: 7}, {Seed: 7, Instruments: 3, Rate: 5, Depth: 3}} {
		t.Run(fmt.Sprintf("%d instruments, depth %d", c.Instruments, c.Depth), func(t *testing.T) {
			want := take(t, c, n, 256)
			same := func(a, b feed.Tick) bool { return a.Equal(&b) }
			assert.True(t, slices.EqualFunc(want, take(t, c, n, 256), same), "run again")
			assert.True(t, slices.EqualFunc(want, take(t, c, n, 1), same), "batches of 1")
			assert.True(t, slices.EqualFunc(want, take(t, c, n, 7, 1000, 2, 33), same), "mixed batches")
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
			assert.True(t, slices.EqualFunc(want, take(t, c, n, n), same), "one batch, one processor")
			c.Seed++
			assert.False(t, slices.EqualFunc(want, take(t, c, n, 256), same), "another seed")
		})
	}
}

// The golden files make a change of the market visible in review. The hash covers enough ticks to also detect a
// machine that computes differently, such as GOARCH=386, or GOAMD64=v3, which has fused multiply-add.
func TestGoldenMarketIsUnchanged(t *testing.T) {
	for name, c := range map[string]Config{
		"seed1.txt":        {Seed: 1, Instruments: 3, Rate: 50},
		"seed1-depth2.txt": {Seed: 1, Instruments: 2, Rate: 50, Depth: 2},
	} {
		t.Run(name, func(t *testing.T) {
			var text strings.Builder
			for _, k := range take(t, c, 40, 256) {
				text.WriteString(describe(&k))
			}
			c.Instruments = 100
			fmt.Fprintf(&text, "hash of 200,000 ticks of 100 instruments: %s\n", hash(take(t, c, 200_000, 1000)))
			path := filepath.Join("testdata", name)
			if *update {
				require.NoError(t, os.WriteFile(path, []byte(text.String()), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, string(want), text.String(), "if the market is meant to change: go test ./feed/sim -update")
		})
	}
}

func describe(k *feed.Tick) string {
	at := time.Unix(0, k.EventTime).UTC().Format("2006-01-02 15:04:05.000000000")
	more := ""
	if k.Flags&feed.FlagMore != 0 {
		more = " ..."
	}
	what := ""
	switch k.Kind {
	case feed.KindDefinition:
		what = fmt.Sprintf("%+v", *k.Definition())
	case feed.KindQuote:
		what = fmt.Sprintf("%+v", k.Quote())
	case feed.KindTrade:
		what = fmt.Sprintf("%+v", k.Trade())
	case feed.KindLevel:
		what = fmt.Sprintf("%+v", k.Level())
	case feed.KindStatus:
		what = fmt.Sprintf("%v day %d", k.Status, k.TradingDay())
	case feed.KindClear:
		what = k.Side.String()
	}
	return fmt.Sprintf("%s %d %v %s%s\n", at, k.Instrument, k.Kind, what, more)
}

func TestEveryTickKeepsTheRules(t *testing.T) {
	for name, c := range map[string]Config{
		"a day":              aDay(),
		"three days":         {Instruments: 40, Rate: 20, DayLength: 10 * time.Minute, Days: 3},
		"with levels":        {Instruments: 40, Rate: 50, DayLength: 20 * time.Minute, Days: 2, Depth: 5},
		"with one level":     {Instruments: 40, Rate: 50, DayLength: 10 * time.Minute, Days: 1, Depth: 1},
		"as deep as it gets": {Instruments: 5, Rate: 50, DayLength: 5 * time.Minute, Days: 1, Depth: MaxDepth},
		"one instrument":     {Instruments: 1, Rate: 50, DayLength: 10 * time.Minute, Days: 2},
		"10,000 instruments": {Instruments: 10_000, Rate: 500, DayLength: time.Minute, Days: 2},
		"one tick a second":  {Rate: 1, Days: 1, DayLength: time.Hour},
		"fast":               {Rate: 3000, Days: 1, DayLength: time.Minute},
		"continuous":         {Instruments: 10, Rate: 5, DayLength: 5 * time.Minute, Continuous: true, Days: 10},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJudge(t, c.Depth)
			each(t, c, j.visit)
			c = c.withDefaults()
			assert.Len(t, j.seen, c.Instruments)
			assert.Nil(t, j.more, "the last event is complete")
			for id, in := range j.seen {
				assert.Equal(t, feed.StatusClosed, in.status, id)
			}
		})
	}
}

// A price at its lowest stays valid, whatever trades and levels take.
func TestPricesNeverReachZero(t *testing.T) {
	m, err := New(Config{Instruments: 7, Rate: 500, DayLength: 10 * time.Minute, Days: 1, Depth: 3})
	require.NoError(t, err)
	for i := range m.instruments {
		if l := &m.listings[i]; !l.signed {
			m.instruments[i].fair, l.price = 2, 2
		}
	}
	j := newJudge(t, 3)
	batch := make([]feed.Tick, 1000)
	lowest := int64(math.MaxInt64)
	for err == nil {
		var n int
		n, err = m.Next(context.Background(), batch)
		for i := range batch[:n] {
			j.visit(&batch[i])
			if k := &batch[i]; k.Kind == feed.KindQuote && k.Instrument == 0 {
				lowest = min(lowest, k.Quote().Bid)
			}
		}
	}
	assert.Equal(t, int64(1), lowest, "it did come down to the last tick")
}

func TestMeanRateOfADayIsTheRateAskedFor(t *testing.T) {
	for _, c := range []Config{
		{Rate: 10, Days: 1},
		{Rate: 1, Days: 1, Instruments: 10},
		{Rate: 10, Days: 1, Shape: UShaped},
		{Rate: 10, Days: 1, Depth: 5},
		{Rate: 100, Days: 1, DayLength: 10 * time.Minute, Instruments: 10},
	} {
		t.Run(fmt.Sprintf("%v per second, depth %d, %v", c.Rate, c.Depth, c.Shape), func(t *testing.T) {
			for c.Seed = range 2 {
				ticks := 0.0
				each(t, c, func(k *feed.Tick) {
					if k.Kind != feed.KindDefinition && k.Kind != feed.KindStatus {
						ticks++
					}
				})
				assert.InEpsilon(t, c.Rate, ticks/c.withDefaults().DayLength.Seconds(), 0.03, "seed %d", c.Seed)
			}
		})
	}
}

// A minute is any minute, not only those that begin with second 0: it is moved by a second at a time.
func TestEveryMinuteHasTheTicksThatTheRateAndTheShapeGiveIt(t *testing.T) {
	for _, c := range []Config{
		{Rate: 10},
		{Rate: 10, Seed: 5, Instruments: 20},
		{Rate: 100, DayLength: 2 * time.Hour},
		{Rate: 100, Depth: 5, DayLength: 2 * time.Hour},
		{Rate: 1000, DayLength: 30 * time.Minute},
		{Rate: 5000, DayLength: 5 * time.Minute},
		{Rate: 20_000, DayLength: 2 * time.Minute, Instruments: 5000},
	} {
		for _, c.Shape = range []Shape{Flat, UShaped} {
			t.Run(fmt.Sprintf("%v per second, depth %d, %v", c.Rate, c.Depth, c.Shape), func(t *testing.T) {
				c.Days = 1
				c := c.withDefaults()
				length := int(c.DayLength / time.Second)
				until := make([]float64, length+1) // ticks before each second
				each(t, c, func(k *feed.Tick) {
					if at := k.EventTime - c.Start.UnixNano(); at >= 0 && k.Kind != feed.KindStatus {
						until[min(int(at/1e9), length-1)+1]++
					}
				})
				for i := range length {
					until[i+1] += until[i]
				}
				least, most := math.Inf(1), 0.0
				planned := func(second int) float64 {
					return c.Rate * float64(length) * c.Shape.done(float64(second)/float64(length))
				}
				for from := range length - 60 {
					r := (until[from+60] - until[from]) / (planned(from+60) - planned(from))
					least, most = min(least, r), max(most, r)
				}
				assert.Greater(t, least, 0.9, "the quietest minute, as a share of its ticks")
				assert.Less(t, most, 1.1, "the busiest minute, as a share of its ticks")
			})
		}
	}
}

// Keeping the rate of the minutes preserves the bursts: independent events of 1.2 ticks on average would have a
// variance only slightly above their mean.
func TestSecondsDifferThoughMinutesDoNot(t *testing.T) {
	for _, rate := range []float64{20, 1000} {
		c := Config{Rate: rate, DayLength: time.Hour, Days: 1}.withDefaults()
		for _, window := range []time.Duration{time.Second / 10, time.Second} {
			counts := make([]float64, c.DayLength/window)
			each(t, c, func(k *feed.Tick) {
				if k.Kind == feed.KindQuote || k.Kind == feed.KindTrade {
					counts[min(int((k.EventTime-c.Start.UnixNano())/int64(window)), len(counts)-1)]++
				}
			})
			mean, variance := moments(counts)
			assert.Greater(t, variance/mean, map[time.Duration]float64{time.Second / 10: 3, time.Second: 5}[window],
				"variance over mean, in windows of %v at %v ticks a second", window, rate)
		}
	}
}

func TestShapeHasAName(t *testing.T) {
	for _, shape := range []Shape{Flat, UShaped} {
		got, err := ParseShape(shape.String())
		require.NoError(t, err)
		assert.Equal(t, shape, got)
	}
	_, err := ParseShape("w")
	assert.EqualError(t, err, `the shape of a day is flat or u, got "w"`)
}

func TestDayIsUShaped(t *testing.T) {
	var parts [26]float64 // quarter hours
	c := Config{Rate: 15, Days: 1, Shape: UShaped}.withDefaults()
	each(t, c, func(k *feed.Tick) {
		if k.Kind == feed.KindQuote {
			parts[(k.EventTime-c.Start.UnixNano())*int64(len(parts))/int64(c.DayLength)]++
		}
	})
	lunch := (parts[12] + parts[13] + parts[14] + parts[15]) / 4
	assert.Greater(t, parts[0], 3*lunch, "the opening burst: %v", parts)
	assert.Greater(t, parts[25], 2*lunch, "the closing burst: %v", parts)
}

// If arrivals are independent, the number of an instrument's events in a window has a variance equal to its
// mean; self-excitation makes it several times the mean.
func TestEventsCluster(t *testing.T) {
	c := Config{Rate: 50, Instruments: 50, DayLength: 2 * time.Hour, Days: 1}.withDefaults()
	counts := make([]float64, int(c.DayLength/time.Second))
	each(t, c, func(k *feed.Tick) {
		if k.Instrument == 0 && k.Kind == feed.KindQuote {
			counts[min(int((k.EventTime-c.Start.UnixNano())/1e9), len(counts)-1)]++
		}
	})
	// Within five minutes the day and the market's mood hardly change.
	var ratios float64
	const span = 300
	parts := len(counts) / span
	for p := range parts {
		mean, variance := moments(counts[p*span : (p+1)*span])
		ratios += variance / mean / float64(parts)
	}
	assert.Greater(t, ratios, 4.0, "variance over mean")
	assert.Less(t, ratios, 40.0, "variance over mean")
}

func moments(x []float64) (mean, variance float64) {
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		variance += (v - mean) * (v - mean) / float64(len(x))
	}
	return mean, variance
}

// Instruments are correlated by their betas.
func TestInstrumentsMoveTogether(t *testing.T) {
	c := Config{Rate: 15, Instruments: 50, Days: 1}.withDefaults()
	const minutes = 390
	mids := map[feed.InstrumentID]*[minutes]float64{}
	each(t, c, func(k *feed.Tick) {
		if k.Kind != feed.KindQuote {
			return
		}
		m := mids[k.Instrument]
		if m == nil {
			m = new([minutes]float64)
			mids[k.Instrument] = m
		}
		m[min((k.EventTime-c.Start.UnixNano())/60e9, minutes-1)] = float64(k.Quote().Bid + k.Quote().Ask)
	})
	returns := func(id feed.InstrumentID) []float64 {
		m := mids[id]
		var r []float64
		for i := 1; i < minutes; i++ {
			if m[i] == 0 {
				m[i] = m[i-1]
			}
			if i > 30 { // every instrument has a price by then
				r = append(r, m[i]/m[i-1]-1)
			}
		}
		return r
	}
	assert.Equal(t, "MSFT", wellKnown[1].definition.Symbol)
	assert.Equal(t, "GCG6", wellKnown[18].definition.Symbol)
	assert.Greater(t, correlation(returns(0), returns(1)), 0.25, "AAPL and MSFT")
	assert.Greater(t, correlation(returns(1), returns(2)), 0.25, "MSFT and ESH6")
	assert.Less(t, math.Abs(correlation(returns(0), returns(18))), 0.15, "AAPL and gold, which has no beta")
}

func correlation(x, y []float64) float64 {
	mx, vx := moments(x)
	my, vy := moments(y)
	sum := 0.0
	for i := range x {
		sum += (x[i] - mx) * (y[i] - my) / float64(len(x))
	}
	return sum / math.Sqrt(vx*vy)
}

func TestSpreadWidensWithVolatility(t *testing.T) {
	c := Config{Rate: 20, Instruments: 10, Days: 1}.withDefaults()
	const id = 9 // META, a few cents wide
	type window struct{ moves, spread float64 }
	windows := map[int64]*window{}
	var last float64
	each(t, c, func(k *feed.Tick) {
		since := k.EventTime - c.Start.UnixNano()
		if k.Instrument != id || k.Kind != feed.KindQuote || since < int64(30*time.Minute) {
			return // the opening is wide by itself
		}
		q := k.Quote()
		w := windows[since/60e9]
		if w == nil {
			w = new(window)
			windows[since/60e9] = w
		} else {
			w.moves += math.Pow(float64(q.Bid+q.Ask)-last, 2)
			w.spread = 0.95*w.spread + 0.05*float64(q.Ask-q.Bid)
		}
		if w.spread == 0 {
			w.spread = float64(q.Ask - q.Bid)
		}
		last = float64(q.Bid + q.Ask)
	})
	var moves, spreads []float64
	for _, w := range windows {
		moves, spreads = append(moves, w.moves), append(spreads, w.spread)
	}
	assert.Greater(t, correlation(moves, spreads), 0.3)
}

func TestAFewInstrumentsAreVeryActive(t *testing.T) {
	counts := make([]float64, 1000)
	total := 0.0
	each(t, Config{Rate: 10, Days: 1}, func(k *feed.Tick) {
		if k.Kind == feed.KindQuote {
			counts[k.Instrument]++
			total++
		}
	})
	top, bottom := 0.0, 0.0
	for i := range 10 {
		top += counts[i] / total
	}
	for i := 500; i < 1000; i++ {
		bottom += counts[i] / total
	}
	assert.InDelta(t, 0.31, top, 0.05, "share of the first 10 of 1000")
	assert.InDelta(t, 0.106, bottom, 0.03, "share of the last 500")
}

func TestHaltsOccurAndEnd(t *testing.T) {
	type halt struct{ from, to int64 }
	var halts []halt
	open := map[feed.InstrumentID]int64{}
	days := 3
	each(t, Config{Rate: 0.2, Days: days}, func(k *feed.Tick) {
		if k.Kind == feed.KindStatus && k.Status == feed.StatusHalted {
			open[k.Instrument] = k.EventTime
		}
		if from, ok := open[k.Instrument]; ok && k.Kind == feed.KindStatus && k.Status == feed.StatusTrading {
			halts = append(halts, halt{from, k.EventTime})
			delete(open, k.Instrument)
		}
	})
	assert.Empty(t, open, "every halt ends before the close")
	assert.InDelta(t, 2.4*float64(days), len(halts), 4)
	for _, h := range halts {
		assert.InDelta(t, 7.5, time.Duration(h.to-h.from).Minutes(), 2.8, "minutes")
	}
}

func TestMostTicksAreQuotes(t *testing.T) {
	kinds := map[feed.Kind]float64{}
	sides := map[feed.Side]float64{}
	each(t, aDay(), func(k *feed.Tick) {
		kinds[k.Kind]++
		if k.Kind == feed.KindTrade {
			sides[k.Side]++
		}
	})
	trades := kinds[feed.KindTrade] / (kinds[feed.KindTrade] + kinds[feed.KindQuote])
	assert.InDelta(t, 0.15, trades, 0.04)
	assert.InDelta(t, 0.5, sides[feed.SideBuy]/kinds[feed.KindTrade], 0.1)
}

// openings are the times at which the first instrument opens, and the trading days.
func openings(t *testing.T, c Config) (at []string, days []int32) {
	c.Instruments, c.Rate = 1, 0.01
	each(t, c, func(k *feed.Tick) {
		if k.Kind == feed.KindStatus && k.Status == feed.StatusPreOpen {
			days = append(days, k.TradingDay())
			at = append(at, time.Unix(0, k.EventTime).Add(time.Second).UTC().Format("Mon 2006-01-02 15:04:05"))
		}
	})
	return at, days
}

func TestCalendarHasNoWeekends(t *testing.T) {
	at, days := openings(t, Config{Days: 6})
	assert.Equal(t, []int32{20260105, 20260106, 20260107, 20260108, 20260109, 20260112}, days, "no weekends")
	assert.Equal(t, "Mon 2026-01-05 14:30:00", at[0])
	assert.Equal(t, "Mon 2026-01-12 14:30:00", at[5])

	saturday := time.Date(2026, 3, 7, 3, 4, 5, 0, time.UTC)
	at, days = openings(t, Config{Start: saturday, DayLength: time.Minute, Days: 2})
	assert.Equal(t, []int32{20260307, 20260309}, days, "the first day is as asked for, the next is a Monday")
	assert.Equal(t, []string{"Sat 2026-03-07 03:04:05", "Mon 2026-03-09 03:04:05"}, at)

	at, days = openings(t, Config{Start: saturday, DayLength: 10 * time.Minute, Days: 3, Continuous: true})
	assert.Equal(t, []int32{20260307, 20260308, 20260309}, days, "continuous: dated one by one")
	assert.Equal(t, []string{"Sat 2026-03-07 03:04:05", "Sat 2026-03-07 03:14:07", "Sat 2026-03-07 03:24:09"}, at)
}

func TestDaysFollowTheLocationOfStart(t *testing.T) {
	newYork, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Skip("no time zone data here:", err)
	}
	friday := time.Date(2026, 3, 6, 9, 30, 0, 0, newYork)
	at, _ := openings(t, Config{Start: friday, DayLength: time.Minute, Days: 2})
	assert.Equal(t, []string{"Fri 2026-03-06 14:30:00", "Mon 2026-03-09 13:30:00"}, at)
}

func TestEndsWhereTimesEnd(t *testing.T) {
	m, err := New(Config{Instruments: 1, DayLength: time.Minute})
	require.NoError(t, err)
	m.open = time.Date(2261, 12, 30, 14, 30, 0, 0, time.UTC).UnixNano()
	m.startDay()
	assert.NotEqual(t, ended, m.phase)
	m.startDay()
	assert.Equal(t, ended, m.phase)
	n, err := m.Next(context.Background(), make([]feed.Tick, 1))
	assert.Zero(t, n)
	assert.Equal(t, io.EOF, err)
}

func TestConfigNamesWhatIsOutOfBounds(t *testing.T) {
	for field, cs := range map[string][]Config{
		"Instruments must": {{Instruments: -1}, {Instruments: feed.MaxInstruments + 1}},
		"Rate must":        {{Rate: -1}, {Rate: MinRate / 2}, {Rate: MaxRate * 2}, {Rate: math.NaN()}, {Rate: math.Inf(1)}},
		"Start must":       {{Start: time.Unix(0, 0)}, {Start: time.Date(2201, 1, 1, 0, 0, 0, 0, time.UTC)}},
		"DayLength must":   {{DayLength: -1}, {DayLength: MinDayLength - 1}, {DayLength: MaxDayLength + 1}},
		"Days must":        {{Days: -1}},
		"Shape must":       {{Shape: UShaped + 1}},
		"Depth must":       {{Depth: -1}, {Depth: MaxDepth + 1}},
		"Instruments × Depth must": {
			{Instruments: feed.MaxInstruments, Depth: 5},
		},
	} {
		for _, c := range cs {
			_, err := New(c)
			assert.ErrorContains(t, err, "sim: "+field)
		}
	}
	for _, c := range []Config{
		{Rate: MinRate}, {Rate: MaxRate}, {DayLength: MinDayLength}, {DayLength: MaxDayLength}, {Instruments: 5, Depth: MaxDepth},
	} {
		ticks := take(t, c, 10_000, 100)
		assert.NotZero(t, ticks[9_999].EventTime)
	}
}

func TestNextAllocatesNothing(t *testing.T) {
	for _, depth := range []int{0, 5} {
		m, err := New(Config{Instruments: 50, DayLength: time.Minute, Rate: 50, Depth: depth})
		require.NoError(t, err)
		batch := make([]feed.Tick, 50_000) // many days
		allocs := testing.AllocsPerRun(1, func() {
			n, err := m.Next(context.Background(), batch)
			if n != len(batch) || err != nil {
				t.Fatal(n, err)
			}
		})
		assert.Zero(t, allocs)
		assert.Greater(t, m.day, 5)
	}
}

func BenchmarkNext(b *testing.B) {
	for _, c := range []struct {
		name   string
		config Config
	}{
		{"1000 instruments", Config{}},
		{"10000 instruments", Config{Instruments: 10_000}},
		{"1M ticks per second", Config{Rate: 1e6}},
		{"1 tick per second", Config{Rate: 1}},
		{"depth 5", Config{Depth: 5}},
		{"profile", Config{Profile: fullProfile()}},
	} {
		b.Run(c.name, func(b *testing.B) {
			m, err := New(c.config)
			require.NoError(b, err)
			batch := make([]feed.Tick, 256)
			for m.phase != trading {
				_, err := m.Next(context.Background(), batch)
				require.NoError(b, err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for done := 0; done < b.N; {
				n, err := m.Next(context.Background(), batch[:min(len(batch), b.N-done)])
				if err != nil {
					b.Fatal(err)
				}
				done += n
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ticks/s")
		})
	}
}
