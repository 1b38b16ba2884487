package fit_test

import (
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
	"tickfeed/feed/sim/fit"
)

// A realDay is a recording of one instrument that is cut in two, which stand for two days.
type realDay struct {
	symbol string // and venue
	files  []string
	config files.Config
	cut    time.Time
}

// split gives the ticks of the instrument before the cut to first and those after it to second, as those of instrument 0.
func (c *realDay) split(t *testing.T, first, second func([]feed.Tick)) {
	t.Helper()
	src, err := files.Open(recorded.Paths(t, c.files...), nil, c.config)
	require.NoError(t, err)
	defer src.Close()
	found, id := false, feed.InstrumentID(0)
	read(t, src, func(ticks []feed.Tick) {
		for _, k := range ticks {
			defined := k.Kind == feed.KindDefinition
			if defined && k.Definition().Name() == c.symbol {
				found, id = true, k.Instrument
			}
			if !found || k.Instrument != id {
				continue
			}
			k.Instrument = 0
			if early := k.EventTime < c.cut.UnixNano(); early || defined {
				first([]feed.Tick{k})
			}
			if k.EventTime >= c.cut.UnixNano() || defined {
				second([]feed.Tick{k})
			}
		}
	})
	require.True(t, found, c.symbol)
}

// least is a distance below which two recordings are as good as one: that of two parts of a calm day of a fund.
const least = 0.07

// Row 19 between a real day and its simulation is at most 1.5 times that between the day and the next one. Only Binance's files
// are of two days; others are cut at noon. A recording without quotes, or without trades, is compared with those of a
// simulation that it has.
func TestFitOfOneOfTwoDays(t *testing.T) {
	t.Parallel()
	newYork, err := time.LoadLocation("America/New_York")
	require.NoError(t, err)
	noon := func(year int, month time.Month, day int) time.Time {
		return time.Date(year, month, day, 12, 45, 0, 0, newYork)
	}
	const (
		etf = "taq/ETF_AAA_BBB_trades_2014-09-17.csv.gz"
		xxx = "taq/XXX_quotes_2018-01-02.csv.gz"
		bob = "itch/SIMULATED_ex20101224.TEST_ITCH_50.reframed.gz"
	)
	local := files.Config{Zone: newYork.String()}
	days := []realDay{
		{
			"BTCUSDT@BINANCE", []string{"binance/spot_btcusdt_20240808.gz", "binance/spot_btcusdt_20240809.gz"},
			files.Config{ArrivalTimes: true}, time.Date(2024, 8, 9, 0, 0, 0, 0, time.UTC),
		},
		{"AMZN@NASDAQ", []string{recorded.AMZN}, files.Config{}, noon(2012, 6, 21)},
		{"GOOG@NASDAQ", []string{recorded.GOOG}, files.Config{}, noon(2012, 6, 21)},
		{"AAA", []string{etf}, local, noon(2014, 9, 17)},
		{"BBB", []string{etf}, local, noon(2014, 9, 17)},
		{"ETF", []string{etf}, local, noon(2014, 9, 17)},
		{"XXX@T", []string{xxx}, local, noon(2018, 1, 2)},
		{"BOB@XNAS", []string{bob}, files.Config{}, noon(2010, 12, 24)},
	}
	for _, c := range days[:effort.Of(t, len(days), 1)] {
		t.Run(c.symbol, func(t *testing.T) {
			t.Parallel()
			first, second, simulated, f := facts.New(0), facts.New(0), facts.New(0), fit.New(0)
			c.split(t, func(ticks []feed.Tick) { first.Add(ticks); f.Add(ticks) }, second.Add)
			day, next := &first.Report().Instruments[0], &second.Report().Instruments[0]
			r, err := f.Fit(t.Context(), "test")
			require.NoError(t, err)
			market, err := sim.New(sim.Config{Seed: 7, Profile: r.Profile, Days: 1})
			require.NoError(t, err)
			read(t, market, func(ticks []feed.Tick) {
				for _, k := range ticks {
					if day.Quotes == 0 {
						k.Flags = 0 // the event of a trade has no more ticks
					}
					if (k.Kind != feed.KindQuote || day.Quotes > 0) && (k.Kind != feed.KindTrade || day.Trades > 0) {
						simulated.Add([]feed.Tick{k})
					}
				}
			})
			yardstick := facts.Distance(day, next)
			d := facts.Distance(day, &simulated.Report().Instruments[0])
			t.Logf("two days %.3f %+.2v", yardstick.Mean(), yardstick)
			t.Logf("one day and its simulation %.3f %+.2v, %.2f times that", d.Mean(), d, d.Mean()/yardstick.Mean())
			assert.LessOrEqual(t, d.Mean(), 1.5*max(yardstick.Mean(), least))
		})
	}
}
