package sim

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/script"
)

// a profile that sets every field.
func fullProfile() *Profile {
	spread := func(from, by float64) []float64 {
		out := make([]float64, len(Percents))
		for i := range out {
			out[i] = from + by*float64(i)
		}
		return out
	}
	return &Profile{
		Source: `a "day"`, Start: time.Date(2012, 6, 21, 13, 30, 0, 0, time.UTC), DayLength: 30 * time.Minute, Rate: 50,
		Shape: []float64{2, 1, 1.5}, Volatility: []float64{3, 1}, Together: 0.1,
		Clusters: [3]Cluster{{0.4, 250 * time.Microsecond}, {0.2, 9 * time.Millisecond}, {0.125, 1500 * time.Millisecond}},
		Instruments: []Habits{
			{
				Entry: Entry{
					Definition: feed.Definition{Symbol: "AMZN", Venue: "NASDAQ", PriceExponent: -4, Currency: "USD", TickSize: 100, Lot: 100},
					Kind:       "stock", Price: 2_238_200, Spread: 13.5, Volatility: 0.01, Beta: 0.9, Activity: 2, Sector: "retail",
				},
				Spreads: spread(1, 0.5), Queues: spread(1, 20), Trades: spread(1, 7), Correlation: -0.1, Lean: 1.25, Orders: 0.2, Follow: 0.4, Fills: 1.5,
				Memory: Memory{1.4, 80, 0.03125, 2 * time.Second}, Foresight: [2]float64{0.25, 0.125}, Impact: 0.2, Deep: 0.5, Depth: []float64{1, 2, 1.5},
			},
			{
				Entry: Entry{
					Definition: feed.Definition{Symbol: "BTC", Venue: "X", PriceExponent: -2, SizeExponent: -6, Currency: "EUR", TickSize: 1, Lot: 1},
					Kind:       "crypto", Price: 5_000_000, Spread: 1, Volatility: 0.02, Activity: 1,
				},
				Queues: spread(1000, 1e6),
			},
		},
	}
}

// A profile that is written reads as the same profile.
func TestProfileRoundTrip(t *testing.T) {
	want := fullProfile()
	text := want.AppendYAML(nil)
	got, err := ParseProfile("p.yaml", text)
	require.NoError(t, err)
	assert.Equal(t, want, got)
	assert.Contains(t, string(text), "queues: [0.001, 1.001, 2.001")
	assert.Contains(t, string(text), "{causes: 0.4, within: 250us}")
	ticks := func(p *Profile) []feed.Tick {
		m, err := New(Config{Seed: 3, Profile: p, Depth: 3})
		require.NoError(t, err)
		out := make([]feed.Tick, 5000)
		_, err = m.Next(context.Background(), out)
		require.NoError(t, err)
		return out
	}
	assert.Equal(t, ticks(want), ticks(got))
}

// A mistake in a profile is reported with its place.
func TestProfileErrors(t *testing.T) {
	good := string(fullProfile().AppendYAML(nil))
	line := func(text string) int {
		at := strings.Index(good, text)
		require.GreaterOrEqual(t, at, 0, text)
		return 1 + strings.Count(good[:at], "\n")
	}
	for _, c := range []struct {
		old, new string
		want     string // after the line
	}{
		{"rate: 50", "rate: fast", `:7: field "rate": want a number, got "fast"`},
		{"rate: 50", "rate: 0", `:7: field "rate": want a number from 0.001 to 1e+09, got 0`},
		{"rate: 50", "speed: 50", `:1: there is no field "speed"; the fields are source, start, day_length, rate, shape, volatility_shape, together, clusters, instruments`},
		{"start: 2012-06-21T13:30:00Z", "start: noon", `:8: field "start": want a time such as 2026-01-05T14:30:00Z, got "noon"`},
		{"day_length: 30m0s", "day_length: 30s", `:13: field "day_length": want a duration from 1m0s to 23h59m58s, got 30s`},
		{"shape: [2, 1, 1.5]", "shape: [2, x]", `:12: field "shape": want numbers, got "x"`},
		{"shape: [2, 1, 1.5]", "shape: [2, 0]", `:8: field "shape": want a number from 0.001 to 1000, got 0`},
		{"together: 0.1", "together: 1", `:11: field "together": want a number from 0 to 0.98, got 1`},
		{"  - {causes: 0.4, within: 250us}", "  - {causes: 0.4, within: 250}", `:27: field "within": want a duration such as 6h30m or 200us, got "250"`},
		{"  - {causes: 0.4, within: 250us}", "  - {causes: 0.4, during: 1ms}", `:19: there is no field "during"; the fields are causes, within`},
		{"    price: 223.8200", "    price: 223.8250", `:12: field "price": 223.8250 is not a multiple of the tick size 0.0100`},
		{"    kind: stock", "    sort: stock", `:5: there is no field "sort"; the fields are symbol, venue, kind, currency, price, tick_size, lot, spread, volatility, beta, activity, sector, hours, negative, spreads, queues, trades, correlation, lean, orders, follow, fills, memory, foresight, impact, deep, depth`},
		{"    spreads: [1, 1.5", "    spreads: [2, 1.5", `:14: field "spreads": want values that do not fall, got 1.5 after 2`},
		{"    spreads: [1, 1.5", "    spreads: [1.5", `:14: field "spreads": want the quantiles at 27 percentages, from 0 to 100, got 26`},
		{"    queues: [1, 21", "    queues: [1.5, 21", `:14: field "queues": 1.5 has more decimals than the lot`},
		{"    orders: 0.2", "    orders: 2", `:13: field "orders": want a number from 0 to 1, got 2`},
		{"    fills: 1.5", "    fills: 0.5", `:12: field "fills": want a number from 1 to 8, got 0.5`},
		{"    memory: {exponent: 1.4, longest: 80, strays: 0.03125, patience: 2s}\n", "", `:16: field "foresight": it is for a memory, which is not there`},
		{"    foresight: [0.25, 0.125]", "    foresight: [0.25]", `:16: field "foresight": want 2 numbers, got 1`},
		{"    depth: [1, 2, 1.5]", "    depth: 1", `:12: field "depth": want a list, such as [1, 2, 3]`},
		{`  - symbol: "BTC"`, "  - symbol: \"AMZN\"\n    venue: \"NASDAQ\"", ""},
	} {
		n := line(c.old)
		text := strings.Replace(good, c.old, c.new, 1)
		_, err := ParseProfile("p.yaml", []byte(text))
		if c.want == "" {
			assert.ErrorContains(t, err, "it is there twice")
			continue
		}
		assert.EqualError(t, err, fmt.Sprintf("p.yaml:%d%s", n, c.want), c.new)
	}
	same := strings.Replace(strings.Replace(good, `"BTC"`, `"AMZN"`, 1), `"X"`, `"NASDAQ"`, 1)
	_, err := ParseProfile("p.yaml", []byte(same))
	assert.ErrorContains(t, err, fmt.Sprintf(`p.yaml:%d:5: field "symbol": AMZN@NASDAQ is already there, in line %d`, line(`symbol: "BTC"`), line(`symbol: "AMZN"`)))
	for text, want := range map[string]string{
		"":                        "p.yaml:1:1: want a profile, as tickfeed sim fit writes it: rate: 100, clusters: and so on",
		"symbol,price\nAAPL,1\n":  "p.yaml:1:1: want a profile, as tickfeed sim fit writes it: rate: 100, clusters: and so on",
		"rate: 1\n":               `p.yaml:1:1: field "instruments": there is none`,
		"rate: 1\n\tx: 2\n":       "p.yaml:2:1: indent with blanks, not with tabs",
		"clusters: [{causes: 1}]": `p.yaml:1:11: field "clusters": want 3, got 1`,
	} {
		_, err := ParseProfile("p.yaml", []byte(text))
		assert.EqualError(t, err, want, text)
	}
}

// New refuses a profile out of bounds, and one beside a universe.
func TestProfileOutOfBounds(t *testing.T) {
	p := fullProfile()
	p.Clusters[2].Causes = 0.5
	_, err := New(Config{Profile: p})
	assert.EqualError(t, err, "sim: Profile: clusters: want at most 0.98 events that an event causes in all clusters, got 1.1")
	p = fullProfile()
	p.Instruments[1].Impact = -1
	_, err = New(Config{Profile: p})
	assert.EqualError(t, err, "sim: Profile: instrument 2, BTC: impact: want a number from 0 to 10, got -1")
	p = fullProfile()
	_, err = New(Config{Profile: p, Universe: DefaultUniverse(3)})
	assert.EqualError(t, err, "sim: Profile and Universe both say which instruments there are; set one")
	_, err = New(Config{Profile: p, Instruments: 3})
	assert.EqualError(t, err, "sim: Instruments must be at most 2, the number in the profile, got 3")
}

// A market with a profile has the rate, the day and the distributions of the profile, and its ticks do not depend on the sizes of
// batches.
func TestMarketWithProfile(t *testing.T) {
	p := fullProfile()
	m, err := New(Config{Seed: 1, Profile: p, Days: 4})
	require.NoError(t, err)
	other, err := New(Config{Seed: 1, Profile: p, Days: 4})
	require.NoError(t, err)
	all := drain(t, m, 1024)
	require.Equal(t, all, drain(t, other, 7))
	var events, trades, together, early, followed float64
	after, traded := false, false
	var dealt []int64
	last := int64(0)
	books := map[feed.InstrumentID]feed.Quote{}
	for i := range all {
		tick := &all[i]
		switch tick.Kind {
		case feed.KindTrade:
			tr, q := tick.Trade(), books[tick.Instrument]
			price := q.Ask
			if tr.Side == feed.SideSell {
				price = q.Bid
			}
			require.Equal(t, price, tr.Price, "tick %d trades at the quote", i)
			if tick.Instrument == 0 {
				dealt = append(dealt, tr.Size)
				if i == 0 || all[i-1].Kind != feed.KindTrade || all[i-1].Flags&feed.FlagMore == 0 {
					trades++
					traded = true
				}
			}
		case feed.KindQuote:
			q := tick.Quote()
			require.Less(t, q.Bid, q.Ask)
			most := p.Instruments[tick.Instrument].Queues[len(Percents)-1]
			require.LessOrEqual(t, float64(max(q.BidSize, q.AskSize)), most, "tick %d", i)
			books[tick.Instrument] = q
		}
		if tick.Kind == feed.KindQuote && tick.Instrument == 0 {
			if after && traded {
				followed++
			}
			after, traded = traded, false
		}
		if tick.Flags&feed.FlagMore == 0 && tick.Kind == feed.KindQuote {
			if events++; tick.EventTime == last {
				together++
			}
			last = tick.EventTime
			if at := time.Unix(0, tick.EventTime).UTC(); at.Sub(time.Date(at.Year(), at.Month(), at.Day(), 13, 30, 0, 0, time.UTC)) < 10*time.Minute {
				early++
			}
		}
	}
	assert.Equal(t, p.Start.UnixNano()-preOpen, all[0].EventTime)
	assert.InEpsilon(t, 4*30*60*50, events, 0.05)
	assert.InEpsilon(t, 2/4.5, early/events, 0.05)
	assert.InDelta(t, p.Together, together/events, 0.01)
	assert.InEpsilon(t, p.Instruments[0].Orders*events*2/3, trades, 0.05)
	assert.InEpsilon(t, p.Instruments[0].Follow, followed/trades, 0.05)
	low := 0
	for _, size := range dealt {
		if size <= 85 { // the median
			low++
		}
	}
	assert.InDelta(t, 0.5, float64(low)/float64(len(dealt)), 0.03)
}

func drain(t *testing.T, m *Market, size int) (all []feed.Tick) {
	t.Helper()
	batch := make([]feed.Tick, size)
	for {
		n, err := m.Next(context.Background(), batch)
		all = append(all, batch[:n]...)
		if err == io.EOF {
			return all
		}
		require.NoError(t, err)
	}
}

// A scenario, levels and a rate in ticks work with a profile, and no tick allocates.
func TestScenarioWithProfile(t *testing.T) {
	s, err := script.Parse("s", []byte("at 13:40: halt AMZN for 5m\nat 13:50: calm\n"), Language)
	require.NoError(t, err)
	m, err := New(Config{Seed: 1, Profile: fullProfile(), Days: 1, Depth: 5, Rate: 200, Scenario: s})
	require.NoError(t, err)
	all := drain(t, m, 1024)
	assert.InEpsilon(t, 200*30*60, len(all), 0.1)
	from, to := time.Date(2012, 6, 21, 13, 40, 0, 0, time.UTC).UnixNano(), time.Date(2012, 6, 21, 13, 45, 0, 0, time.UTC).UnixNano()
	for i := range all {
		if tick := &all[i]; tick.Instrument == 0 && tick.EventTime > from && tick.EventTime < to && tick.Kind != feed.KindClear {
			require.Failf(t, "a tick in a halt", "%+v", tick)
		}
	}
	m, err = New(Config{Profile: fullProfile(), Depth: 5})
	require.NoError(t, err)
	batch := make([]feed.Tick, 5000)
	assert.Zero(t, testing.AllocsPerRun(3, func() { _, _ = m.Next(context.Background(), batch) }))
}

// Half of the parent orders end in a pause as long as the patience; without a pause, their sides last.
func TestMemoryLastsByTheTime(t *testing.T) {
	m := Memory{Exponent: 0.1, Longest: 1000, Patience: time.Second}
	for pause, want := range map[float64]float64{0: 0.98, 1: 0.48, 9: 0.1} {
		pauses := make([]float64, 20_000)
		for i := range pauses {
			pauses[i] = pause
		}
		sides := m.Sides(pauses)
		same := 0
		for i := 1; i < len(sides); i++ {
			same += int(sides[i]) * int(sides[i-1])
		}
		assert.InDelta(t, want, float64(same)/float64(len(sides)), 0.03, "pauses of %v s", pause)
	}
}

// A price that foresees the sides of orders moves by their surprise only: it goes no further after the first order.
func TestForesightEndsTheResponse(t *testing.T) {
	m := Memory{Exponent: 1.2, Longest: 50}
	pauses := make([]float64, 20_000)
	sides := m.Sides(pauses)
	blind, all := m.Response([2]float64{}, sides, pauses, 1, 20)
	assert.InDelta(t, 1, blind[0], 1e-9)
	assert.Greater(t, blind[1], 3.0)
	assert.Greater(t, all, 5.0)
	wise, some := m.Response([2]float64{0.6, 0.2}, sides, pauses, 1, 20)
	assert.Less(t, wise[1], 2*wise[0])
	assert.Less(t, some, 2.0)
}

// Events are together with an event, not with the beginning of an epoch, at which a quiet market draws anew.
func TestTogetherIsWithAnEvent(t *testing.T) {
	p := fullProfile()
	p.Rate, p.Together, p.Shape = 2, 0.5, nil
	m, err := New(Config{Seed: 1, Profile: p, Days: 1})
	require.NoError(t, err)
	last, together, events := int64(0), 0.0, 0.0
	for _, tick := range drain(t, m, 1024) {
		if tick.Kind != feed.KindQuote {
			continue
		}
		require.NotZero(t, (tick.EventTime-p.Start.UnixNano())%int64(250*time.Millisecond))
		if events++; tick.EventTime == last {
			together++
		}
		last = tick.EventTime
	}
	assert.InDelta(t, 0.5, together/events, 0.03)
}
