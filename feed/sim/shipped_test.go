package sim

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// assertBursts asserts what the scenario burst says of its rates. A burst is within its five seconds, and the market has the
// mean rate of each part.
func assertBursts(t *testing.T, j *stageJudge) {
	t.Helper()
	seconds := make([]float64, 20*60)
	for _, k := range j.ticks {
		if at := int(j.after(k) / time.Second); at >= 0 && at < len(seconds) && (k.Kind == feed.KindQuote || k.Kind == feed.KindTrade) {
			seconds[at]++
		}
	}
	mean := func(from, to int) float64 {
		average, _ := moments(seconds[from:to])
		return average
	}
	const rate = 50
	assert.InEpsilon(t, rate, mean(0, 10), 0.2, "before")
	assert.InEpsilon(t, (20*5+25)/30.0*rate, mean(10, 130), 0.2, "four bursts, each with its 25 seconds")
	for burst := 10; burst < 130; burst += 30 {
		assert.Greater(t, mean(burst, burst+5), 12.0*rate, burst)
		assert.Less(t, mean(burst+5, burst+30), 3.0*rate, burst)
	}
	assert.InEpsilon(t, (0.2+5)/2*rate, mean(130, 250), 0.25, "square")
	for wave := 130; wave < 250; wave += 20 {
		assert.Greater(t, mean(wave+10, wave+20), 4*mean(wave, wave+10), wave)
	}
	average, variance := moments(seconds[272:309])
	assert.InEpsilon(t, 3*rate, average, 0.1)
	assert.Less(t, variance/average, 0.5, "constant")
	average, variance = moments(seconds[312:369])
	assert.InEpsilon(t, 3*rate, average, 0.1)
	assert.Less(t, variance/average, 2.0, "poisson: no clusters")
	assert.InEpsilon(t, rate, mean(400, 1190), 0.1, "and then as before")
}

// The closing auction of the scenario open is on demand, and ends the day of each instrument with a trade at its last price.
func TestOpenClosesOnDemand(t *testing.T) {
	t.Parallel()
	text, _ := ScenarioText("open")
	c := Config{Instruments: 5, Rate: 50, DayLength: 20 * time.Minute, Days: 1, Commands: true, Scenario: parsed(t, string(text))}.withDefaults()
	m, err := New(c)
	require.NoError(t, err)
	byID := make([][]feed.Tick, 5)
	const asked = 15 * time.Minute
	called := false
	for batch := make([]feed.Tick, 256); ; {
		n, err := m.Next(context.Background(), batch)
		for _, k := range batch[:n] {
			after := time.Duration(k.EventTime - c.Start.UnixNano())
			if after >= asked && !called {
				called = true
				outcome, err := m.Trigger("close")
				require.NoError(t, err)
				require.NotNil(t, outcome)
			}
			if after >= asked {
				byID[k.Instrument] = append(byID[k.Instrument], k)
			}
		}
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
	}
	for id, ticks := range byID {
		for len(ticks) > 0 && ticks[0].Kind != feed.KindStatus {
			ticks = ticks[1:]
		}
		require.Greater(t, len(ticks), 60, id)
		begin, last := ticks[0], ticks[len(ticks)-3:]
		assert.Equal(t, feed.StatusAuction, begin.Status)
		assert.Equal(t, "closing auction", begin.StatusReason())
		assert.Equal(t, time.Minute, time.Duration(begin.StatusEnd()-begin.EventTime))
		assert.WithinDuration(t, c.Start.Add(asked), time.Unix(0, begin.EventTime), time.Second)
		for _, k := range ticks[1 : len(ticks)-2] {
			require.Equal(t, feed.KindAuction, k.Kind, "nothing but indicative prices until the uncross")
			require.Equal(t, feed.AuctionClosing, k.Auction().Kind)
		}
		require.Equal(t, []feed.Kind{feed.KindAuction, feed.KindTrade, feed.KindStatus}, []feed.Kind{last[0].Kind, last[1].Kind, last[2].Kind})
		assert.Equal(t, last[0].Auction().Price, last[1].Trade().Price)
		assert.Equal(t, begin.StatusEnd(), last[1].EventTime)
		assert.Equal(t, "6", last[1].Trade().Conditions.String())
		assert.Equal(t, feed.StatusClosed, last[2].Status)
	}
}
