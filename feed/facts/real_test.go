package facts_test

import (
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/facts"
	"tickfeed/feed/files"
	"tickfeed/feed/recorded"
)

// examine measures the first instruments of files.
func examine(t testing.TB, instruments int, names ...string) *facts.Report {
	t.Helper()
	src, err := files.Open(recorded.Paths(t, names...), nil, files.Config{ArrivalTimes: true})
	require.NoError(t, err)
	defer src.Close()
	var ids []feed.InstrumentID
	for id := range instruments {
		ids = append(ids, feed.InstrumentID(id))
	}
	e := facts.New(ids...)
	for batch := make([]feed.Tick, 1024); ; {
		n, err := src.Next(context.Background(), batch)
		e.Add(batch[:n])
		if err == io.EOF {
			return e.Report()
		}
		require.NoError(t, err)
	}
}

// An independent program measured the values that are expected here.
func TestRealDays(t *testing.T) {
	r := examine(t, 2, recorded.AMZN, recorded.GOOG)
	bySymbol := map[string]facts.Instrument{}
	for _, in := range r.Instruments {
		bySymbol[in.Definition.Symbol] = in
	}
	for symbol, want := range map[string]map[string]float64{
		"AMZN": {
			"1a": 33, "1b": 3.4, "2": 3.2, "3a": 0.05, "3b": 0.05, "4a": 0.15, "4b": 0.07, "4c": 0.02, "6": -0.07,
			"7a": 0.72, "7b": 0.34, "7c": 0.18, "7d": 0.07, "8": 0.61, "9a": 0.39, "10a": 3.2, "10b": 3000, "11a": 10, "11b": 16, "12": 100,
			"13a": 1.2, "13b": 1.9, "14": 0.5, "15a": 6, "15b": 2.8, "15c": 0.38, "16": 0.3, "17": 0.70,
		},
		"GOOG": {
			"1a": 91, "1b": 2.6, "2": 3.0, "3a": -0.07, "3b": -0.15, "4a": 0.21, "4b": 0.07, "4c": 0.06, "6": -0.08,
			"7a": 0.74, "7b": 0.36, "7c": 0.18, "7d": 0.01, "8": 0.59, "9a": 0.24, "10a": 3.0, "10b": 5000, "11a": 11, "11b": 20, "12": 92,
			"13a": 2.1, "13b": 2.8, "14": 0.64, "15a": 5, "15b": 1.6, "15c": 0.32, "16": 0.3, "17": 0.74,
		},
	} {
		in := bySymbol[symbol]
		for id, v := range want {
			assert.InDelta(t, v, in.Values[id], 0.1*max(v, -v)+0.02, "row %s of %s", id, symbol)
		}
		for i := range facts.Rows {
			row := &facts.Rows[i]
			if _, ok := in.Holds(row); !ok {
				assert.Equal(t, facts.Depth, row.Only, "row %s of %s has no value", row.ID, symbol)
			}
		}
		assertOutside(t, &in, symbol, nil)
	}
}

// Minutes of coins hold in all rows for which they suffice, except those that are named: a spread of one tick of a cent is
// hundredths of what the price moves within 50 trades (9), sizes are not of whole shares (15a), and a wall of orders stands at
// the best price while the venue sends the changes of a thousand levels every 100 ms (10, 18a, 18d).
func TestRealCoins(t *testing.T) {
	for _, c := range []struct {
		file    string
		want    map[string]float64
		outside []string
	}{
		{
			"binance/spot_btcusdt_20240808.gz",
			map[string]float64{"6": -0.06, "7a": 0.78, "7b": 0.67, "7c": 0.60, "7d": 0.31, "8": 0.80},
			[]string{"9a", "10a", "10b", "15a", "18a", "18d"},
		},
		{
			"binance/spot_btcusdt_20240809.gz", // a rebound of 0.2 % within minutes turns the bounce around (6)
			map[string]float64{"7a": 0.79, "7b": 0.65, "7c": 0.54, "7d": 0.16, "8": 0.85},
			[]string{"6", "9a", "10b", "15a"},
		},
		{
			"binance/usdm_btcusdt_20240808.gz",
			map[string]float64{"6": -0.09, "7a": 0.79, "7b": 0.65, "7c": 0.58, "7d": 0.33, "8": 0.76},
			[]string{"9a", "9d", "15a", "18a", "18d"},
		},
	} {
		in := &examine(t, 1, c.file).Instruments[0]
		for id, v := range c.want {
			assert.InDelta(t, v, in.Values[id], 0.02, "row %s of %s", id, c.file)
		}
		assertOutside(t, in, c.file, c.outside)
		if in.Levels > 0 {
			assert.Contains(t, in.Values, "18c", c.file)
		}
	}
}

// assertOutside asserts that the values of in lie in the ranges, except those of some rows.
func assertOutside(t *testing.T, in *facts.Instrument, name string, outside []string) {
	t.Helper()
	var got []string
	for i := range facts.Rows {
		row := &facts.Rows[i]
		if holds, ok := in.Holds(row); ok && !holds {
			got = append(got, row.ID)
			t.Logf("row %s, %s, of %s is %.3f; the range is %v", row.ID, row.Name, name, in.Values[row.ID], row.Range)
		}
	}
	assert.Equal(t, outside, got, name)
}

// No whole day with depth is at hand. Ten levels of AAPL are, for fifty seconds after the opening, whose book is still thin in
// its first levels (18a, 18b) and has less cancels than later (18c), and two seconds of all orders for ES futures, which begin
// with the orders that stand (18d). An independent program measured the values of AAPL.
func TestRealDepth(t *testing.T) {
	for _, c := range []struct {
		file    string
		want    map[string]float64
		outside []string
	}{
		{
			"lobster/AAPL_2012-06-21_34200000_57600000_message_10.first999.csv.gz",
			map[string]float64{"18a": 0.989, "18b": 1.896, "18c": 2.321, "18d": 0.809},
			[]string{"18a", "18b", "18c"},
		},
		{"dbn/sessions/orderbooks_mbo_2024-05-08T00-00-00_2024-05-08T00-00-02.dbn.zst", nil, []string{"18d"}},
	} {
		in := &examine(t, 1, c.file).Instruments[0]
		for _, id := range []string{"18a", "18b", "18c", "18d"} {
			require.Contains(t, in.Values, id, c.file)
		}
		for id, v := range c.want {
			assert.InDelta(t, v, in.Values[id], 0.01, "row %s of %s", id, c.file)
		}
		assertOutside(t, in, c.file, c.outside)
	}
}

// Two real stocks of the same day are the yardstick of row 19.
func TestDistanceOfRealDays(t *testing.T) {
	r := examine(t, 2, recorded.AMZN, recorded.GOOG)
	a, b := &r.Instruments[0], &r.Instruments[1]
	assert.Equal(t, facts.Distances{}, facts.Distance(a, a))
	d := facts.Distance(a, b)
	t.Logf("%+v, mean %.3f", d, d.Mean())
	assert.InDelta(t, 0.26, d.Mean(), 0.03)
}
