package sim

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// A bandJudge computes the bands of an instrument from its published ticks, and knows nothing of the market's own bands: 5 %
// around the mean of the trades of the last five minutes, 10 % in the first 15 and the last 25 minutes of the day.
type bandJudge struct {
	from   time.Duration // when luld began
	day    time.Duration
	trades []publishedTrade
	before float64 // the mean, while there are no trades
}

type publishedTrade struct {
	at    time.Duration
	price float64
}

// mean returns the mean of the trades in the five minutes before the last half minute began: the reference price is looked at
// twice a minute.
func (b *bandJudge) mean(at time.Duration) float64 {
	to := b.from + (at - b.from).Truncate(30*time.Second)
	sum, n := 0.0, 0.0
	for _, k := range b.trades {
		if k.at >= to-5*time.Minute && k.at < to {
			sum += k.price
			n++
		}
	}
	if n > 0 {
		b.before = sum / n
	}
	return b.before
}

// band returns the half width of the band as a part of the reference price.
func (b *bandJudge) band(at time.Duration) float64 {
	at = b.from + (at - b.from).Truncate(30*time.Second)
	if at < 15*time.Minute || b.day-at < 25*time.Minute {
		return 0.1
	}
	return 0.05
}

// restart begins the reference anew at a price.
func (b *bandJudge) restart(at time.Duration, price float64) {
	b.trades = append(b.trades[:0], publishedTrade{at, price})
	b.before = price
}

// A limitState is how far the quote of a limit state is from the mean of the trades.
type limitState struct {
	at     time.Duration
	reason string
	moved  float64 // of the offer at the lower band, or of the bid at the upper one
}

// judgeBands asserts that all trades of an instrument are within its bands, and returns its limit states. The reference price
// follows the mean only if the two differ by 1 %: that is the tolerance.
func judgeBands(t *testing.T, j *stageJudge, symbol string, from time.Duration) (states []limitState) {
	t.Helper()
	const tolerance = 0.0105
	b := &bandJudge{from: from, day: j.m.config.DayLength}
	b.restart(from, j.mid(symbol, from))
	status, reason := feed.StatusTrading, ""
	for _, k := range j.of(symbol, feed.KindStatus, feed.KindQuote, feed.KindTrade) {
		at := j.after(k)
		if at < from {
			continue
		}
		switch k.Kind {
		case feed.KindStatus:
			if status == feed.StatusAuction && k.Status == feed.StatusTrading {
				b.restart(at, b.trades[len(b.trades)-1].price) // the uncross
			}
			status, reason = k.Status, k.StatusReason()
		case feed.KindTrade:
			price := float64(k.Trade().Price)
			if mean, band := b.mean(at), b.band(at)+tolerance; status == feed.StatusTrading {
				require.InDelta(t, 1, price/mean, band, "a trade of %s at %v", symbol, at)
			}
			b.trades = append(b.trades, publishedTrade{at, price})
		case feed.KindQuote:
			side := k.Quote().Ask
			if reason == "limit up" {
				side = k.Quote().Bid
			} else if reason != "limit down" {
				break
			}
			states = append(states, limitState{at, reason, float64(side)/b.mean(at) - 1})
			reason = ""
		}
	}
	for _, s := range states {
		want := b.band(s.at)
		if s.reason == "limit down" {
			want = -want
		}
		assert.InDelta(t, want, s.moved, tolerance, "the band of %s at %v, %s", symbol, s.at, s.reason)
	}
	return states
}

// Bands are 5 % around the mean of the trades of the last five minutes, and twice as wide at both ends of the day.
func TestBandsFollowTheTradesAndTheTimeOfDay(t *testing.T) {
	t.Parallel()
	const from = time.Minute
	j := play(t, hour(t, `
at 1m:  luld  on *
at 5m:  crash TSLA -15% in 20s
at 16m: crash MSFT -10% in 15m # the reference keeps up with it
at 18m: crash AAPL -4%  in 4m
at 22m: crash AAPL -9%  in 10s
at 20m: crash NVDA 9%   in 10s
at 50m: crash AMZN -15% in 20s`))
	first := func(symbol string) string {
		states := judgeBands(t, j, symbol, from)
		if len(states) == 0 {
			return ""
		}
		return fmt.Sprint(states[0].reason, " ", states[0].at.Truncate(time.Minute))
	}
	assert.Equal(t, "limit down 5m0s", first("TSLA"))
	assert.Equal(t, "limit down 22m0s", first("AAPL"))
	assert.Equal(t, "limit up 20m0s", first("NVDA"))
	assert.Equal(t, "limit down 50m0s", first("AMZN"))
	assert.Empty(t, first("MSFT"))
	for _, symbol := range []string{"TSLA", "AMZN"} { // the wide bands are used
		trades := j.of(symbol, feed.KindTrade)
		least := slices.MinFunc(trades, func(a, b feed.Tick) int { return int(a.Trade().Price - b.Trade().Price) })
		states := judgeBands(t, j, symbol, from)
		assert.Less(t, float64(least.Trade().Price)/j.mid(symbol, states[0].at-time.Minute), 0.93, symbol)
	}
}

// A subscriber knows the bands from the statuses alone, and a late one from the state: no trade is outside of them, and they end.
func TestSubscriberKnowsTheBands(t *testing.T) {
	t.Parallel()
	for _, hours := range []string{"", "09:30-11:30 America/New_York"} {
		u, err := ParseUniverse("u", []byte("symbol,price,tick_size,hours\nAAA,50,0.01,"+hours+"\nBBB,200,0.05,"+hours+"\n"))
		require.NoError(t, err)
		c := Config{Universe: u, Instruments: 2, Rate: 20, Days: 2, DayLength: 2 * time.Hour, Seed: 3, Scenario: parsed(t, `
at 09:30: luld on AAA
at 09:40: luld on BBB band 3%
at 09:50: crash * -12% in 2m
at 10:40: halt AAA for 5m auction 1m
at 10:50: halt BBB for 3m
at 10:45: split AAA 2:1
at 11:00: luld on AAA band 2%
at 11:00: crash AAA 8% in 40s
at 11:20: luld off *`)}.withDefaults()
		j := play(t, c)
		for _, symbol := range []string{"AAA", "BBB"} {
			var lower, upper float64
			bands, limits, trades := 0, 0, 0
			status := feed.StatusUnknown
			for _, k := range j.of(symbol, feed.KindStatus, feed.KindTrade) {
				price := float64(k.Values[0]) * 0.01
				switch {
				case k.Kind == feed.KindStatus:
					status = k.Status
					switch reason := k.StatusReason(); {
					case strings.HasPrefix(reason, "LULD bands"):
						_, err := fmt.Sscanf(reason, "LULD bands %f to %f", &lower, &upper)
						require.NoError(t, err, reason)
						require.Equal(t, feed.StatusTrading, status)
						bands++
					case strings.HasPrefix(reason, "limit "):
						limits++
					case status == feed.StatusTrading && upper > 0:
						require.Equal(t, "11:20", time.Unix(0, k.EventTime).In(c.Start.Location()).Format("15:04"), "the bands of %s end", symbol)
						lower, upper = 0, 0
					}
				case status == feed.StatusTrading && upper > 0:
					trades++
					require.True(t, price >= lower-1e-9 && price <= upper+1e-9, "%s at %v: a trade at %.2f, bands %.2f to %.2f", symbol, j.after(k), price, lower, upper)
				}
			}
			t.Logf("%s: %d bands, %d limit states, %d trades", symbol, bands, limits, trades)
			assert.Greater(t, bands, 10)
			assert.Greater(t, limits, 1)
			assert.Greater(t, trades, 1000)
			assert.Zero(t, upper, "luld off is the end")
		}
	}
	u, err := ParseUniverse("u", []byte("symbol,price\nAAA,50\n"))
	require.NoError(t, err)
	x := command(t, Config{Universe: u, Instruments: 1, Rate: 20})
	reason := func() string {
		in, _ := x.state.Instrument(0)
		return in.StatusReason
	}
	x.must("luld on AAA")
	x.until(20 * time.Second)
	assert.Regexp(t, `^LULD bands 4\d\.\d\d to 5\d\.\d\d$`, reason())
	x.must("quiet AAA")
	x.until(21 * time.Second)
	before := x.ticks
	x.must("luld on AAA band 3%")
	x.until(29 * time.Second)
	assert.Equal(t, before, x.ticks, "quiet leaves out a status too")
	x.must("calm")
	x.must("luld off AAA")
	x.until(30 * time.Second)
	assert.Empty(t, reason())
}

// Price bands are twice as wide for 15 minutes after the opening and 25 before the close, and not in a market that never
// closes.
func TestWidthOfBands(t *testing.T) {
	m, err := New(hour(t, "at 0s: luld on *"))
	require.NoError(t, err)
	for at, want := range map[time.Duration]float64{
		0: 2, 15*time.Minute - time.Second: 2, 15 * time.Minute: 1, 35 * time.Minute: 1, 35*time.Minute + time.Second: 2, time.Hour - 1: 2,
	} {
		assert.Equal(t, want, m.widthOf(0, int64(at)<<unitShift), at)
	}
	u, err := ParseUniverse("world.csv", []byte(worldCSV))
	require.NoError(t, err)
	m, err = New(Config{Universe: u, Rate: 1, Days: 1, Scenario: parsed(t, "at 1m: luld on *")})
	require.NoError(t, err)
	coin := slices.IndexFunc(m.listings, func(l listing) bool { return l.definition.Symbol == "BTC-USD" })
	require.GreaterOrEqual(t, coin, 0)
	assert.Equal(t, 1.0, m.widthOf(uint32(coin), 0), "round the clock")
}
