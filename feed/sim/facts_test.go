package sim_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/effort"
	"tickfeed/feed"
	"tickfeed/feed/facts"
	"tickfeed/feed/files"
	"tickfeed/feed/recorded"
	"tickfeed/feed/sim"
)

// examine measures the five busiest stocks of a market.
func examine(t testing.TB, c sim.Config) *facts.Report {
	t.Helper()
	m, err := sim.New(c)
	require.NoError(t, err)
	return measure(t, m, facts.New(0, 1, 3, 4, 5)) // AAPL, MSFT, NVDA, AMZN, GOOG
}

func measure(t testing.TB, src feed.Source, e *facts.Meter) *facts.Report {
	t.Helper()
	for batch := make([]feed.Tick, 1024); ; {
		n, err := src.Next(context.Background(), batch)
		e.Add(batch[:n])
		if err == io.EOF {
			return e.Report()
		}
		require.NoError(t, err)
	}
}

// judge asserts that the medians of the rows that match, by the number in their ids, lie in their ranges.
func judge(t *testing.T, r *facts.Report, match func(number string) bool) {
	t.Helper()
	var text strings.Builder
	for i := range facts.Rows {
		row := &facts.Rows[i]
		median, n := r.Median(row.ID)
		if !match(strings.TrimRight(row.ID, "abcd")) {
			continue
		}
		fmt.Fprintf(&text, "\n%-4s %-42s %14s  %8.3f ", row.ID, row.Name, row.Range, median)
		for k := range r.Instruments {
			if v, ok := r.Instruments[k].Values[row.ID]; ok {
				fmt.Fprintf(&text, " %8.3f", v)
			} else {
				fmt.Fprintf(&text, " %8s", "-")
			}
		}
		switch {
		case n == 0:
			t.Errorf("row %s, %s, has no value", row.ID, row.Name)
		case !row.Range.Holds(median):
			t.Errorf("row %s, %s, is %.3f; the range is %v", row.ID, row.Name, median, row.Range)
		}
	}
	t.Logf("%-62s  %8s  %s%s", "", "median", "AAPL, MSFT, NVDA, AMZN, GOOG", text.String())
}

func rows(numbers ...string) func(string) bool {
	return func(number string) bool { return slices.Contains(numbers, number) }
}

func except(numbers ...string) func(string) bool {
	return func(number string) bool { return !slices.Contains(numbers, number) }
}

// The market is within the ranges of real days, whether it is quiet or busy. Quiet days are many, because one holds few
// trades: the impact after 200 trades of a single day is noise. An hour of the busy market suffices for the rows that judge its
// orders and the times of its events.
func TestMarketIsWithinTheRanges(t *testing.T) {
	t.Parallel()
	const days = 10 // with more of them, the busiest second of a U-shaped day is beyond its range
	quiet := sim.Config{Instruments: 50, Rate: 20, Days: days}
	busy := sim.Config{Instruments: 1000, Rate: 1000, Days: 1}
	shaped := func(c sim.Config) sim.Config { c.Shape = sim.UShaped; return c }
	// Levels are not published here (18). The events of a flat day have no shape (13), and busy instruments have too many for
	// the rows of quiet ones (11, 17).
	for _, c := range []struct {
		name string
		sim.Config
		rows func(string) bool
		full bool
	}{
		{"quiet, U-shaped", shaped(quiet), except("18"), false},
		{"quiet, flat", quiet, except("13", "18"), true},
		{"busy, U-shaped", shaped(busy), except("11", "17", "18"), true},
		{"busy, flat", busy, except("11", "13", "17", "18"), true},
		{"busy, an hour", sim.Config{Instruments: 1000, Rate: 1000, Days: 1, DayLength: time.Hour}, rows("6", "7", "8", "10", "12", "15"), false},
	} {
		if c.full && !effort.Full() {
			continue
		}
		for seed := range effort.Of(t, 3, 1) {
			t.Run(fmt.Sprintf("%s, seed %d", c.name, seed+1), func(t *testing.T) {
				t.Parallel()
				c.Seed = uint64(seed) + 1
				judge(t, examine(t, c.Config), c.rows)
			})
		}
	}
}

func TestBooksAreWithinTheRanges(t *testing.T) {
	for seed := range effort.Of(t, 3, 1) {
		for name, c := range map[string]sim.Config{
			"quiet": {Instruments: 50, Rate: 100, Days: 1, DayLength: 2 * time.Hour, Depth: 10},
			"busy":  {Instruments: 1000, Rate: 5000, Days: 1, DayLength: 10 * time.Minute, Depth: 10},
		} {
			t.Run(fmt.Sprintf("%s, seed %d", name, seed+1), func(t *testing.T) {
				t.Parallel()
				c.Seed = uint64(seed) + 1
				judge(t, examine(t, c), rows("18"))
			})
		}
	}
}

// Row 19 is measured, not judged: distances of the simulated market to real days, and of these to one another.
func TestDistanceToRealDays(t *testing.T) {
	t.Parallel()
	src, err := files.Open(recorded.Paths(t, recorded.AMZN, recorded.GOOG), nil, files.Config{})
	require.NoError(t, err)
	defer src.Close()
	days := measure(t, src, facts.New(0, 1)).Instruments
	apart := facts.Distance(&days[0], &days[1])
	t.Logf("%s to %s: %.3f %+v", days[0].Definition.Symbol, days[1].Definition.Symbol, apart.Mean(), apart)
	simulated := &examine(t, sim.Config{Seed: 1, Instruments: 50, Rate: 20, Days: 1}).Instruments[0]
	for i := range days {
		d := facts.Distance(simulated, &days[i])
		t.Logf("the simulated market to %s: %.3f, %.2f times that; %+v", days[i].Definition.Symbol, d.Mean(), d.Mean()/apart.Mean(), d)
		assert.Positive(t, d.Mean())
		assert.Less(t, d.Mean(), 1.0)
	}
}
