package sim

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/script/scripttest"
)

// The printed default universe is the default universe: its ticks are the same.
func TestPrintedUniverseGivesTheSameTicks(t *testing.T) {
	for _, print := range []func(*Universe, []byte) []byte{(*Universe).AppendCSV, (*Universe).AppendYAML} {
		text := print(DefaultUniverse(200), nil)
		u, err := ParseUniverse("x", text)
		require.NoError(t, err)
		assert.Equal(t, universe(200), u.listings)
		assert.Equal(t, string(text), string(print(u, nil)))
		c := Config{Seed: 7, Instruments: 200, Depth: 2}
		want := take(t, c, 20_000, 256)
		c.Universe, c.Instruments = u, 0
		assert.True(t, slices.EqualFunc(want, take(t, c, 20_000, 256), func(a, b feed.Tick) bool { return a.Equal(&b) }))
	}
}

const worldCSV = `# three venues, and one that never closes
Symbol, Venue, Kind, Price, Tick Size, Lot, Volatility, Activity, Sector, Hours, Negative
AAPL, XNAS, stock, 271.00, 0.01, 40, 0.012, 3, tech, 09:30-16:00 America/New_York,
VOD, XLON, stock, 72.14, 0.02, 1, 0.01, 1, telecom, 08:00-16:30 Europe/London,
7203, XTKS, stock, 2650, 1, 100, 0.01, 1, , 09:00-15:30 Asia/Tokyo,
ES, XCME, future, 6900.25, 0.25, 1, 0.01, 2, , sun-thu 17:00-16:00 America/Chicago,
POWER, XEEE, future, -12.50, 0.10, 1, 30, 1, , mon-sun 00:00-00:00 Europe/Berlin, yes
BTC-USD, COIN, crypto, 91500.00, 0.01, 0.00000001, 0.03, 2, , 24h,
`

func TestUniverseInCSVAndYAML(t *testing.T) {
	u, err := ParseUniverse("world.csv", []byte(worldCSV))
	require.NoError(t, err)
	require.Equal(t, 6, u.Len())
	assert.Equal(t, feed.Definition{Symbol: "VOD", Venue: "XLON", PriceExponent: -2, Currency: "USD", TickSize: 2, Lot: 1}, u.listings[1].definition)
	assert.Equal(t, 3607.0, u.listings[1].price)
	assert.Equal(t, feed.Definition{Symbol: "7203", Venue: "XTKS", Currency: "USD", TickSize: 1, Lot: 100}, u.listings[2].definition)
	assert.Equal(t, -125.0, u.listings[4].price)
	assert.True(t, u.listings[4].signed)
	assert.Equal(t, int8(-8), u.listings[5].definition.SizeExponent)
	assert.True(t, u.listings[5].hours.roundClock)

	y, err := ParseUniverse("world.yaml", u.AppendYAML(nil))
	require.NoError(t, err)
	for i := range y.listings { // zones are compared by name
		assert.Equal(t, fmt.Sprint(u.listings[i].fields()), fmt.Sprint(y.listings[i].fields()))
	}
	short, err := ParseUniverse("short.yaml", []byte("- {symbol: X, price: 10.00}\n- symbol: Y\n  tick size: 0.5\n  price: 100\n"))
	require.NoError(t, err)
	assert.Equal(t, "X@SIM", short.listings[0].definition.Name())
	assert.Equal(t, int64(100), short.listings[0].definition.Lot)
	assert.Equal(t, 200.0, short.listings[1].price)
}

// A mistake is reported with the file, line, column and field.
func TestUniverseErrors(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", "u:1:1: there is no instrument"},
		{"symbol,price\n", "u:1:1: there is no instrument"},
		{"symbol,cost\nX,1\n", `u:1:8: there is no field "cost"; the fields are symbol, venue,`},
		{"symbol,price,price\nX,1,1\n", `u:1:14: field "price": there are two such columns`},
		{"symbol,price\nX,1.00\nX,2.00\n", `u:3:1: field "symbol": X@SIM is already there, in line 2`},
		{"symbol,price\nX\n", "u:2:1: the line has not as many fields as the header"},
		{"symbol,price\n\"X,1\n", "u:2:"},
		{"symbol,price\nX,\n", `u:2:3: field "price": it is missing`},
		{"price\n1.00\n", `u:2:1: field "symbol": it is missing`},
		{"symbol,price\nX,abc\n", `u:2:3: field "price": want a decimal number such as 271.00, got "abc"`},
		{"symbol,price\nX,1.005\n", `u:2:3: field "price": 1.005 is not a multiple of the tick size 0.01`},
		{"symbol,price,tick_size\nX,1.03,0.05\n", `u:2:3: field "price": 1.03 is not a multiple of the tick size 0.05`},
		{"symbol,price\nX,0.01\n", `u:2:3: field "price": want at least two ticks, 0.02, got 0.01`},
		{"symbol,price,lot\nX,1,0\n", `u:2:5: field "lot": want a decimal number greater than 0, such as 100, got "0"`},
		{"symbol,price,tick_size\nX,1,1e-9\n", `field "tick_size": want a decimal`},
		{"symbol,price,kind\nX,1,bond\n", `u:2:5: field "kind": want stock, future, crypto, got "bond"`},
		{"symbol,price,volatility\nX,1,7\n", `u:2:5: field "volatility": want a number from 0 to 1, got "7"`},
		{"symbol,price,activity\nX,1,NaN\n", `u:2:5: field "activity": want a number from 0 to`},
		{"symbol,price,activity\nX,1,0\n", `u:2:5: field "activity": no instrument has any`},
		{"symbol,price,beta,negative\nX,-1,1,yes\n", `u:2:6: field "beta": want 0 or nothing`},
		{"symbol,price\nX,-1\n", `u:2:3: field "price": a negative price takes negative: yes`},
		{"symbol,price,negative\nX,1,perhaps\n", `u:2:5: field "negative": want yes or no, got "perhaps"`},
		{"symbol,price,hours\nX,1,9-5\n", `u:2:5: field "hours": "9-5" are no hours; want "24h"`},
		{"symbol,price,hours\nX,1,09:00-25:00 UTC\n", `"09:00-25:00" are no times of day`},
		{"symbol,price,hours\nX,1,09:00-10:00 Mars/Base\n", `there is no time zone "Mars/Base"`},
		{"symbol,price,hours\nX,1,mon-xyz 09:00-10:00 UTC\n", `"mon-xyz" are no days`},
		{"symbol,price\n" + strings.Repeat("X", 65) + ",1\n", `u:2:1: field "symbol":`},
		{"instruments:\n  - symbol: X\n    price: [1]\n", `u:3:12: field "price": want one value, such as price: 271.00`},
		{"- symbol: X\n  pirce: 1\n", `u:2:3: there is no field "pirce"; did you mean "price"?`},
		{"- symbol: X\n  cost: 1\n", `u:2:3: there is no field "cost"`},
		{"- symbol: X\n  symbol: Y\n", `u:2:`},
		{"- just text\n", "u:1:3: want an instrument"},
		{"things:\n  - symbol: X\n", "u:1:1: want \"instruments:\", and below it a list"},
		{"instruments: 3\n", "u:1:14: want a list of instruments"},
		{strings.Repeat("x", 1<<20), `u:1:1: there is no field "` + strings.Repeat("x", 200) + `…"; the fields are symbol`},
		{"symbol,price\nX," + strings.Repeat("1", 1<<20) + "\n", `got "` + strings.Repeat("1", 200) + `…"`},
		{"- symbol: X\n - y: [\n", "u:2:1: want an item that begins with"},
	} {
		_, err := ParseUniverse("u", []byte(test.text))
		require.Error(t, err, test.text)
		assert.Contains(t, err.Error(), test.want)
		assert.True(t, errors.As(err, new(*UniverseError)), "%T", err)
	}
}

func FuzzParseUniverse(f *testing.F) {
	f.Add([]byte(worldCSV))
	f.Add(DefaultUniverse(3).AppendYAML(nil))
	f.Fuzz(func(t *testing.T, text []byte) {
		u, err := ParseUniverse("x", text)
		if err != nil {
			scripttest.RequireEach[*UniverseError](t, err)
			return
		}
		again, err := ParseUniverse("x", u.AppendCSV(nil))
		require.NoError(t, err)
		require.Equal(t, u.AppendCSV(nil), again.AppendCSV(nil))
	})
}

func TestHoursAreLocalTimes(t *testing.T) {
	at := func(text string) time.Time {
		v, err := time.Parse(time.RFC3339, text)
		require.NoError(t, err)
		return v
	}
	for _, test := range []struct{ hours, after, from, to string }{
		{"09:30-16:00 America/New_York", "2026-01-05T14:29:59Z", "2026-01-05T14:30:00Z", "2026-01-05T21:00:00Z"},
		{"09:30-16:00 America/New_York", "2026-01-05T20:59:59Z", "2026-01-05T14:30:00Z", "2026-01-05T21:00:00Z"},
		{"09:30-16:00 America/New_York", "2026-01-09T21:00:00Z", "2026-01-12T14:30:00Z", "2026-01-12T21:00:00Z"},
		{"09:30-16:00 America/New_York", "2026-03-06T21:00:00Z", "2026-03-09T13:30:00Z", "2026-03-09T20:00:00Z"}, // daylight saving begins
		{"sun-thu 17:00-16:00 America/Chicago", "2026-01-09T22:00:00Z", "2026-01-11T23:00:00Z", "2026-01-12T22:00:00Z"},
		{"sun-thu 17:00-16:00 America/Chicago", "2026-01-06T10:00:00Z", "2026-01-05T23:00:00Z", "2026-01-06T22:00:00Z"},
		{"sat 10:00-11:00 UTC", "2026-01-05T00:00:00Z", "2026-01-10T10:00:00Z", "2026-01-10T11:00:00Z"},
		{"24h", "2026-01-10T12:00:00Z", "2026-01-10T00:00:00Z", "2026-01-11T00:00:00Z"},
		{"24h Asia/Tokyo", "2026-01-10T12:00:00Z", "2026-01-09T15:00:00Z", "2026-01-10T15:00:00Z"},
	} {
		h, err := parseHours(test.hours)
		require.NoError(t, err)
		from, to := h.next(at(test.after))
		assert.Equal(t, []string{test.from, test.to}, []string{from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339)}, "%s after %s", test.hours, test.after)
	}
}

// Each instrument trades in its own hours only, and in all of them; the rules of every market hold.
func TestEachInstrumentHasItsOwnHours(t *testing.T) {
	u, err := ParseUniverse("world.csv", []byte(worldCSV))
	require.NoError(t, err)
	for shape, depth := range map[Shape]int{Flat: 0, UShaped: 3} {
		t.Run(shape.String(), func(t *testing.T) {
			t.Parallel()
			c := Config{Universe: u, Rate: 0.5, Depth: depth, Shape: shape, Days: 7, Start: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)}
			j := newJudge(t, depth)
			events := make([]map[string]int, u.Len()) // by day and hour, UTC
			each(t, c, func(k *feed.Tick) {
				j.visit(k)
				if k.Kind == feed.KindQuote || k.Kind == feed.KindTrade {
					if events[k.Instrument] == nil {
						events[k.Instrument] = map[string]int{}
					}
					events[k.Instrument][time.Unix(0, k.EventTime).UTC().Format("Mon 15")]++
				}
			})
			assert.Len(t, events[0], 5*7, "AAPL: Monday to Friday, 14:30 to 21:00")
			assert.NotContains(t, events[0], "Mon 21")
			assert.Len(t, events[1], 5*9, "VOD: 8:00 to 16:30")
			assert.Len(t, events[2], 5*7, "7203: 0:00 to 6:30")
			assert.NotContains(t, events[3], "Mon 22", "ES: an hour's rest")
			assert.Contains(t, events[3], "Mon 23")
			assert.NotContains(t, events[3], "Sat 12")
			assert.Contains(t, events[3], "Sun 23")
			assert.Len(t, events[5], 7*24, "BTC-USD: round the clock")
		})
	}
}

// A market that is continuous leaves out the time when nothing trades.
func TestContinuousCalendarLeavesNightsOut(t *testing.T) {
	u, err := ParseUniverse("u", []byte("symbol,price,hours\nX,10,09:30-16:00 America/New_York\n"))
	require.NoError(t, err)
	last, days := int64(0), 0
	each(t, Config{Universe: u, Rate: 0.2, Days: 8, Continuous: true}, func(k *feed.Tick) {
		if k.TradingDay() != 0 && k.Kind == feed.KindStatus {
			days++
		}
		if last != 0 {
			require.Less(t, k.EventTime-last, int64(5*time.Minute))
		}
		last = k.EventTime
	})
	assert.Equal(t, 7, days, "Monday to Friday, Monday, and the pre-open of Tuesday")
}

// Instruments of a sector move together beyond the market.
func TestSectorsMoveTogether(t *testing.T) {
	u, err := ParseUniverse("u", []byte("symbol,price,sector,volatility,activity\nA,100,x,0.005,1\nB,100,x,0.005,1\nC,100,y,0.005,1\nD,100,,0.005,1\n"))
	require.NoError(t, err)
	const minutes = 390
	var mids [4][minutes]float64
	c := Config{Universe: u, Rate: 8, Days: 1}.withDefaults()
	each(t, c, func(k *feed.Tick) {
		if k.Kind == feed.KindQuote {
			mids[k.Instrument][min((k.EventTime-c.Start.UnixNano())/60e9, minutes-1)] = float64(k.Quote().Bid + k.Quote().Ask)
		}
	})
	returns := func(id int) (r []float64) {
		for i := 2; i < minutes; i++ {
			if mids[id][i] == 0 {
				mids[id][i] = mids[id][i-1]
			}
			r = append(r, math.Log(mids[id][i]/mids[id][i-1]))
		}
		return r
	}
	same, other := correlation(returns(0), returns(1)), correlation(returns(0), returns(2))
	assert.Greater(t, same, other+0.1)
	assert.Greater(t, other, 0.2)
}

// All mistakes in a universe and in a profile are reported in one run.
func TestAllMistakesOfAFileAreReported(t *testing.T) {
	profile := func(text string) error { _, err := ParseProfile("f", []byte(text)); return err }
	universe := func(text string) error { _, err := ParseUniverse("f", []byte(text)); return err }
	good := string(fullProfile().AppendYAML(nil))
	change := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(good) }
	for _, test := range []struct {
		parse func(text string) error
		text  string
		want  []string
	}{
		{universe, "symbol,price,kind,beta\n,x,bond,11\nA,1\nB,1,stock,1\nB,2,stock,y\n", []string{
			`f:3:1: the line has not as many fields`, `f:2:1: field "symbol": it is missing`, `f:2:4: field "kind"`, `f:2:2: field "price"`, `f:2:9: field "beta"`, `f:5:11: field "beta"`}},
		{universe, "symbol,cost,sybol\nA,x\n", []string{`no field "cost"`, `no field "sybol"`}},
		{universe, "- symbol: A\n  prise: 1\n  kid: stock\n- nothing\n- symbol: B\n  price: x\n", []string{`f:2:3: there is no field "prise"`, `f:3:3: there is no field "kid"`, `f:4:3: want an instrument`, `f:6:10: field "price"`}},
		{profile, change("rate: 50", "rate: fast", "together: 0.1", "together: 1", "kind: stock", "kind: bond", "orders: 0.2", "orders: x", "within: 250us", "during: 1ms"), []string{
			`field "rate": want a number, got "fast"`, `no field "during"`, `field "kind"`, `field "orders": want a number, got "x"`, `field "together": want a number from`}},
		{profile, change("rate: 50", "rate: 0", "orders: 0.2", "orders: 7", "fills: 1.5", "fills: 0.5", "exponent: 1.4", "exponent: x"), []string{
			`field "exponent": want a number, got "x"`, `field "fills"`, `field "orders": want a number from 0 to 1, got 7`, `field "rate"`}},
	} {
		err := test.parse(test.text)
		require.Error(t, err, test.text)
		scripttest.RequireEach[*UniverseError](t, err)
		lines := strings.Split(err.Error(), "\n")
		require.Len(t, lines, len(test.want), err.Error())
		for i, want := range test.want {
			assert.Contains(t, lines[i], want)
		}
	}
	for _, text := range []string{"symbol,price\n" + strings.Repeat("A\n", 1000), "symbol,price\n" + strings.Repeat(",x\n", 1000), strings.Repeat("- x: 1\n", 1000)} {
		lines := strings.Split(universe(text).Error(), "\n")
		if assert.Len(t, lines, maxErrors+1) {
			assert.Regexp(t, `^f:\d+:\d+: there are more mistakes from here on$`, lines[maxErrors])
		}
	}
}

// All instruments that are wrong are reported, at most 20, and where there are more.
func TestErrorsOfAllInstruments(t *testing.T) {
	_, err := ParseUniverse("u.csv", []byte("symbol,price\nA,x\nB,1\nC,y\nB,2\n"))
	require.Error(t, err)
	lines := strings.Split(err.Error(), "\n")
	require.Len(t, lines, 3)
	for i, place := range []string{"u.csv:2:3:", "u.csv:4:3:", "u.csv:5:1:"} {
		assert.True(t, strings.HasPrefix(lines[i], place), lines[i])
	}
	_, err = ParseUniverse("u.csv", []byte("symbol,price\n"+strings.Repeat("A,x\n", 100)))
	require.Error(t, err)
	assert.Equal(t, maxErrors+1, strings.Count(err.Error(), "\n")+1)
}
