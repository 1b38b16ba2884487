package sim

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/script"
	"tickfeed/feed/script/scripttest"
)

func parsed(t testing.TB, text string) *script.Script {
	t.Helper()
	s, err := script.Parse("x", []byte(text), Language)
	require.NoError(t, err)
	return s
}

// hour is a market of twenty instruments for an hour.
func hour(t testing.TB, text string) Config {
	return Config{Instruments: 20, Rate: 50, DayLength: time.Hour, Days: 1, Scenario: parsed(t, text)}.withDefaults()
}

func TestEveryExampleIsARule(t *testing.T) {
	for v, f := range Verbs {
		s := parsed(t, f.Example)
		require.Len(t, s.Rules, 1)
		assert.Equal(t, verb(v), s.Rules[0].Does.(*action).verb, f.Example)
		assert.NotEmpty(t, f.Does)
		assert.True(t, strings.HasPrefix(f.Usage, f.Word))
	}
	whens := []script.When{script.AtClock, script.AtTime, script.EveryTime, script.ByHand}
	require.Len(t, Triggers, len(whens))
	for i, f := range Triggers {
		assert.Equal(t, whens[i], parsed(t, f.Example).Rules[0].Trigger.When, f.Example)
		assert.NotContains(t, f.Does, "lab", "a market has none")
	}
}

// A mistake in a scenario is reported with its place and what to write instead.
func TestScenarioErrors(t *testing.T) {
	for _, test := range []struct{ script, want string }{
		{"at 10:00: halt", "x:1:15: halt must be followed by instruments, such as AAPL or *"},
		{"at 10:00: hlat AAPL", `x:1:11: there is no event "hlat"; did you mean "halt"? --list shows all`},
		{"at 10:00: halt AAPL for", "x:1:24: for must be followed by a duration"},
		{"at 10:00: halt AAPL reason", "reason must be followed by a text"},
		{"at 10:00: halt AAPL for 1m for 2m", "x:1:28: for is there twice"},
		{"at 10:00: halt AAPL by 2", `x:1:21: "by" is too much: halt PATTERNS`},
		{"at 10:00: halt AAPL,,MSFT", `"AAPL,,MSFT" are no patterns`},
		{"at 10:00: auction AAPL for 1m", `x:1:19: "AAPL" must be open or close or intraday`},
		{"at 10:00: auction open AAPL", "an auction needs its length"},
		{"at 10:00: crash * -100% in 1m", "x:1:19: crash must be followed by a percentage"},
		{"at 10:00: crash * -5%", "a crash needs its length"},
		{"at 10:00: news AAPL up", "news needs a jump"},
		{"at 10:00: news AAPL jump 1% correlate 2", "correlate must be followed by a number from -1 to 1"},
		{"at 10:00: spread * 3", "x:1:20: spread must be followed by a factor such as x3"},
		{"at 10:00: rate", "rate must be followed by a factor"},
		{"at 10:00: rate burst x3", "a burst needs its length"},
		{"at 10:00: rate burst x3 for 1ms every 10ms", "every must be followed by at least 100ms, got 10ms"},
		{"at 10:00: rate ramp x1 for 5s", "the first of two factors must be followed by a factor"},
		{"at 10:00: rate ramp x1 x2", "a ramp needs its length"},
		{"at 10:00: rate square x1 x2", "square needs the length of both"},
		{"at 10:00: split AAPL 4", "split must be followed by a ratio"},
		{"at 10:00: bust AAPL 4", `bust must be followed by "last N"`},
		{"at 10:00: listing", "listing must be followed by a symbol"},
		{"at 10:00: listing X", "price: it is missing"},
		{"at 10:00: listing X price -3", "price: it must be positive: only a universe has"},
		{"at 10:00: listing X price 1.005", "price: 1.005 is not a multiple"},
		{"at 10:00: luld AAPL", "\"AAPL\" must be on or off"},
		{"at 10:00: luld on AAPL band 60%", "band must be followed by a percentage"},
		{"at 10:00: calm AAPL", `"AAPL" is too much: calm`},
		{"at seq 5: calm", "an event of the market happens at a time of the market"},
		{"for probe at 5s: calm", "an event of the market happens for all clients"},
	} {
		_, err := script.Parse("x", []byte(test.script), Language)
		require.Error(t, err, test.script)
		assert.Contains(t, err.Error(), test.want)
	}
	for _, test := range []struct{ script, want string }{
		{"at 5s: calm\nat 5s: halt NOPE,NO*", "x:2:8: no instrument of the market matches NOPE,NO*"},
		{"at 9:00: calm", "x:1:10: this is not within the market's day, which is 1h0m0s long from 09:30:00 EST"},
		{"at 2h: calm", "x:1:8: this is not within the market's day, which is 1h0m0s long from 09:30:00 EST"},
		{"at 5s: listing AAPL price 1", "x:1:8: there is an instrument AAPL@SIM already"},
	} {
		_, err := New(hour(t, test.script))
		require.EqualError(t, err, test.want)
		scripttest.RequireEach[*script.Error](t, err)
	}
	_, err := New(hour(t, "at 5s: listing NEW price 1.00\nat 10s: halt NEW"))
	assert.NoError(t, err, "a pattern may match an instrument that comes")
}

func TestGlobMatchesWildcards(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{{"", "", true}, {"*", "", true}, {"A", "A", true}, {"A", "AB", false}, {"A*", "AB", true}, {"?B", "AB", true}, {"?", "", false},
		{"*B*D", "ABCD", true}, {"*B*D", "ABCDE", false}, {"a*b*c", "aXbXbXc", true}, {strings.Repeat("*a", 30), strings.Repeat("a", 29) + "b", false}} {
		assert.Equal(t, test.want, glob(test.pattern, test.text), "%q %q", test.pattern, test.text)
	}
}

// The same seed and script give the same ticks, in batches of any size; another script gives others.
func TestScenarioIsRepeatable(t *testing.T) {
	text, _ := ScenarioText("news")
	c := Config{Seed: 3, Instruments: 20, Rate: 200, Scenario: parsed(t, string(text))}
	same := func(a, b feed.Tick) bool { return a.Equal(&b) }
	want := take(t, c, 60_000, 256)
	assert.True(t, slices.EqualFunc(want, take(t, c, 60_000, 7, 1000, 2), same))
	c.Scenario = parsed(t, "at 1s: calm")
	assert.False(t, slices.EqualFunc(want, take(t, c, 60_000, 256), same))
}

func TestHaltEndsOrIsReplaced(t *testing.T) {
	t.Parallel()
	for _, depth := range []int{0, 3} {
		c := hour(t, `at 09:40: halt TSLA for 10m reason "news pending"`+"\nat 20m: halt TSLA reason T1 # replaced, and without end\nat 30m: resume TSLA\nat 40m: halt TSLA for 5m auction 1m\nat 55m: halt A* for 1h")
		c.Depth = depth
		j := play(t, c)
		var got []string
		for _, k := range j.of("TSLA", feed.KindStatus) {
			end := ""
			if k.StatusEnd() != 0 {
				end = fmt.Sprint(" until ", time.Duration(k.StatusEnd()-c.Start.UnixNano()))
			}
			got = append(got, fmt.Sprintf("%v %v %s%s", j.after(k), k.Status, k.StatusReason(), end))
		}
		assert.Equal(t, []string{"-1s pre-open ", "0s trading ", "10m0s halted news pending until 20m0s", "20m0s trading ", "20m0s halted T1", "30m0s trading ",
			"40m0s halted  until 45m0s", "45m0s auction reopening auction until 46m0s", "46m0s trading ", "1h0m0s closed "}, got)
		assert.NotEmpty(t, j.of("TSLA", feed.KindAuction))
		statuses := j.of("AAPL", feed.KindStatus)
		assert.Equal(t, feed.StatusClosed, statuses[len(statuses)-1].Status, "a halt beyond the close")
	}
}

func TestAuctionsReplaceTheOpening(t *testing.T) {
	t.Parallel()
	for _, depth := range []int{0, 3} {
		c := hour(t, "at 0s: auction open A* for 2m\nat 30m: auction intraday MSFT for 1m\nat 58m: auction close AAPL for 2m\nat 55m: auction close NVDA for 2m")
		c.Depth, c.Days, c.Rate = depth, 2, 20
		j := play(t, c)
		ticks := j.of("AAPL", feed.KindStatus, feed.KindAuction, feed.KindTrade, feed.KindQuote)
		assert.Equal(t, feed.StatusAuction, ticks[1].Status, "the opening auction comes instead of the opening")
		indices := 0
		for ticks[2+indices].Kind == feed.KindAuction {
			indices++
		}
		assert.Equal(t, 120, indices, "one each second")
		last, trade := ticks[1+indices], ticks[2+indices]
		assert.Equal(t, feed.KindTrade, trade.Kind)
		assert.Equal(t, 2*time.Minute, j.after(trade))
		assert.Equal(t, last.Auction().Price, trade.Trade().Price, "the uncross is at the last indicative price")
		assert.Equal(t, last.Auction().Size, trade.Trade().Size)
		assert.Equal(t, "O", trade.Trade().Conditions.String())
		assert.Equal(t, feed.AuctionOpening, last.Auction().Kind)
		assert.Equal(t, feed.StatusTrading, ticks[3+indices].Status)
		assert.Equal(t, feed.KindQuote, ticks[4+indices].Kind)
		for _, symbol := range []string{"AAPL", "NVDA"} {
			closings := 0
			for _, k := range j.of(symbol, feed.KindStatus) {
				if k.Status == feed.StatusClosed {
					closings++
				}
			}
			assert.Equal(t, 2, closings, "closed once each day: %s", symbol)
		}
	}
}

func TestLULDKeepsTradesWithinTheBands(t *testing.T) {
	t.Parallel()
	pauses := 0
	for seed := range uint64(3) {
		c := hour(t, "at 1m: luld on *\nat 17m: crash TSLA -15% in 1m\nat 20m: crash NVDA 12% in 30s rebound 100% in 1m\nat 30m: crash AAPL -9% in 10s rebound 100% in 2s")
		c.Seed, c.Depth = seed, int(seed)
		j := play(t, c)
		for _, symbol := range []string{"TSLA", "NVDA", "AAPL"} {
			for _, k := range j.of(symbol, feed.KindStatus) {
				if k.StatusReason() == "LULD pause" {
					pauses++
					assert.Equal(t, 5*time.Minute, time.Duration(k.StatusEnd()-k.EventTime))
					assert.Equal(t, feed.StatusHalted, k.Status)
				}
			}
		}
		limits := j.of("TSLA", feed.KindStatus)
		i := slices.IndexFunc(limits, func(k feed.Tick) bool { return k.StatusReason() == "limit down" })
		require.Positive(t, i)
		assert.Equal(t, 15*time.Second, time.Duration(limits[i].StatusEnd()-limits[i].EventTime))
	}
	assert.GreaterOrEqual(t, pauses, 3)
	none := play(t, hour(t, "at 0s: luld on *\nat 1m: luld off *\nat 17m: crash TSLA -15% in 1m"))
	for _, k := range none.of("TSLA", feed.KindStatus) {
		if none.after(k) >= time.Minute {
			assert.Empty(t, k.StatusReason())
		}
	}
}

func TestACrashReturnsToWhereTheScriptSays(t *testing.T) {
	t.Parallel()
	j := play(t, hour(t, "at 20m: crash * -20% in 3m rebound 60% in 2m spread x8 depth /10"))
	for _, symbol := range []string{"AAPL", "MSFT", "ESH6", "BTC-USD"} {
		before := j.mid(symbol, 20*time.Minute)
		assert.InDelta(t, 0.80, j.mid(symbol, 23*time.Minute+time.Second)/before, 0.02, symbol)
		assert.InDelta(t, 1-0.2*0.4, j.mid(symbol, 25*time.Minute+time.Second)/before, 0.02, symbol)
	}
	spread, size := func(from, to time.Duration) (spread, size float64) {
		n := 0.0
		for _, k := range j.of("AAPL", feed.KindQuote) {
			if at := j.after(k); at >= from && at < to {
				spread += float64(k.Quote().Ask - k.Quote().Bid)
				size += float64(k.Quote().BidSize)
				n++
			}
		}
		return spread / n, size / n
	}, 0.0
	calmSpread, calmSize := spread(15*time.Minute, 20*time.Minute)
	wideSpread, thinSize := spread(21*time.Minute, 25*time.Minute)
	after, full := spread(26*time.Minute, 30*time.Minute)
	_ = size
	assert.Greater(t, wideSpread, 4*calmSpread)
	assert.Less(t, thinSize, calmSize/5)
	assert.Less(t, after, 2.5*calmSpread)
	assert.Greater(t, full, calmSize/2)
}

func TestNewsJumpsAndFades(t *testing.T) {
	t.Parallel()
	j := play(t, hour(t, "at 20m: news AAPL jump -4% vol x10 halflife 2m correlate 0.5"))
	at := 20*time.Minute + time.Millisecond
	assert.InDelta(t, 0.96, j.mid("AAPL", at)/j.mid("AAPL", at-2*time.Millisecond), 0.004)
	assert.InDelta(t, 1-0.02*1.0, j.mid("MSFT", at+20*time.Second)/j.mid("MSFT", at-2*time.Millisecond), 0.006, "half of it, with a beta of 1")
	moves := func(from, to time.Duration) (sum float64) {
		for at := from; at < to; at += 5 * time.Second {
			sum += math.Pow(math.Log(j.mid("AAPL", at+5*time.Second)/j.mid("AAPL", at)), 2)
		}
		return sum
	}
	assert.Greater(t, moves(20*time.Minute+time.Second, 22*time.Minute), 8*moves(15*time.Minute, 17*time.Minute))
	assert.Less(t, moves(45*time.Minute, 47*time.Minute), moves(20*time.Minute+time.Second, 22*time.Minute)/5)
}

func TestRatesFollowRules(t *testing.T) {
	t.Parallel()
	c := hour(t, `
at 10m: rate x3 for 5m
at 20m: rate burst x10 for 5s every 30s
at 25m: calm
at 30m: rate square x0.5 x2 every 2m for 4m
at 40m: rate ramp x1 x5 in 4m
at 45m: calm
at 50m: rate constant for 2m
at 55m: rate poisson x2 for 5m`)
	c.Rate = 100
	j := play(t, c)
	seconds := make([]float64, 3600)
	var gaps []float64
	last := time.Duration(0)
	for _, k := range j.ticks {
		at := j.after(k)
		if k.Kind != feed.KindQuote && k.Kind != feed.KindTrade || at >= time.Hour {
			continue
		}
		seconds[int(at/time.Second)]++
		if k.Flags&feed.FlagMore == 0 {
			if at > 50*time.Minute+time.Second && at < 52*time.Minute {
				gaps = append(gaps, float64(at-last))
			}
			last = at
		}
	}
	mean := func(from, to int) float64 {
		sum, _ := moments(seconds[from:to])
		return sum
	}
	assert.InEpsilon(t, 100, mean(0, 600), 0.1)
	assert.InEpsilon(t, 300, mean(610, 890), 0.1)
	assert.InEpsilon(t, 100, mean(920, 1190), 0.15)
	assert.InEpsilon(t, 1000, mean(1260, 1265), 0.35, "a burst")
	assert.Less(t, mean(1272, 1288), 200.0, "between two bursts")
	assert.InEpsilon(t, 50, mean(1805, 1855), 0.2, "square: low")
	assert.InEpsilon(t, 200, mean(1865, 1915), 0.2, "square: high")
	assert.InEpsilon(t, 300, mean(2490, 2550), 0.15, "half of a ramp")
	assert.InEpsilon(t, 500, mean(2660, 2695), 0.15, "a ramp stays at its end")
	assert.InEpsilon(t, 100, mean(2720, 2990), 0.15, "calm")
	average, variance := moments(gaps)
	assert.Less(t, math.Sqrt(variance)/average, 0.35, "constant: even gaps")
	average, variance = moments(seconds[3310:3590])
	assert.InEpsilon(t, 200, average, 0.1)
	assert.Less(t, variance/average, 3.0, "poisson: no clusters")
}

func TestQuietActivityAndVolatility(t *testing.T) {
	t.Parallel()
	c := hour(t, "at 10m: quiet AAPL for 10m\nat 30m: activity NVDA x10 for 10m\nat 45m: quiet *\nat 50m: calm")
	j := play(t, c)
	between := func(symbol string, from, to time.Duration) (n int) {
		for _, k := range j.of(symbol, feed.KindQuote, feed.KindTrade) {
			if at := j.after(k); at >= from && at < to {
				n++
			}
		}
		return n
	}
	assert.Zero(t, between("AAPL", 10*time.Minute+1, 20*time.Minute))
	assert.NotZero(t, between("AAPL", 20*time.Minute, 25*time.Minute))
	assert.NotZero(t, between("MSFT", 10*time.Minute, 20*time.Minute))
	assert.Greater(t, between("NVDA", 30*time.Minute, 40*time.Minute), 5*between("NVDA", 20*time.Minute, 30*time.Minute))
	assert.Zero(t, between("MSFT", 45*time.Minute+1, 50*time.Minute))
	assert.NotZero(t, between("MSFT", 50*time.Minute, 55*time.Minute))
}

func TestListingDelistingAndSplit(t *testing.T) {
	t.Parallel()
	for _, depth := range []int{0, 2} {
		c := hour(t, "at 10m: listing NEWCO price 25.00\nat 20m: halt NEWCO for 1m\nat 30m: delisting NEWCO,MSFT\nat 40m: split NVDA 10:1")
		c.Depth, c.Days = depth, 2
		j := play(t, c)
		ticks := j.of("NEWCO", feed.KindDefinition, feed.KindStatus, feed.KindQuote, feed.KindTrade)
		assert.Equal(t, feed.KindDefinition, ticks[0].Kind)
		assert.Equal(t, int32(20260105), ticks[1].TradingDay())
		assert.Equal(t, 10*time.Minute, j.after(ticks[0]))
		assert.Greater(t, len(ticks), 20)
		last := ticks[len(ticks)-1]
		assert.Equal(t, feed.StatusClosed, last.Status)
		assert.Equal(t, "delisted", last.StatusReason())
		assert.Equal(t, 30*time.Minute, j.after(last), "for good")
		msft := j.of("MSFT", feed.KindStatus, feed.KindQuote)
		assert.Equal(t, 30*time.Minute, j.after(msft[len(msft)-1]))
		at := 40 * time.Minute
		assert.InDelta(t, 0.1, j.mid("NVDA", at+time.Second)/j.mid("NVDA", at), 0.002)
		id, _ := j.state.Lookup("NVDA", venue)
		in, _ := j.state.Instrument(id)
		assert.Less(t, in.Summary.High, int64(25_00), "the day has begun anew, without prices of before")
	}
}

func TestBustsNameTradesThatWere(t *testing.T) {
	t.Parallel()
	c := hour(t, "at 10m: bust AAPL last 5\nat 10m: bust AAPL last 3 correct 1%\nat 11m: bust AAPL last 1")
	j := play(t, c)
	trades := map[uint64]feed.Trade{}
	var busted []feed.Tick
	for _, k := range j.of("AAPL", feed.KindTrade, feed.KindCancel, feed.KindCorrection) {
		switch k.Kind {
		case feed.KindTrade:
			trades[k.Trade().ID] = k.Trade()
		case feed.KindCancel:
			was, ok := trades[k.Cancel().ID]
			require.True(t, ok, "each trade is cancelled once")
			assert.Equal(t, feed.Cancel{Price: was.Price, Size: was.Size, ID: was.ID}, k.Cancel())
			delete(trades, was.ID)
			busted = append(busted, k)
		case feed.KindCorrection:
			x := k.Correction()
			was, ok := trades[x.Trade.ID]
			require.True(t, ok)
			assert.Equal(t, was.Price, x.OldPrice)
			assert.InDelta(t, 1.01, float64(x.Trade.Price)/float64(was.Price), 0.001)
			busted = append(busted, k)
		}
	}
	assert.Len(t, busted, 9)
}

// Quotes are locked or crossed for as long as the event says, and then no more.
func TestLockedAndCrossed(t *testing.T) {
	t.Parallel()
	for _, depth := range []int{0, 3} {
		c := hour(t, "at 10m: lock AAPL for 1m\nat 20m: cross AAPL by 3 for 1m")
		c.Depth = depth
		j := play(t, c)
		counts := map[int64]int{}
		for _, k := range j.of("AAPL", feed.KindQuote) {
			switch at := j.after(k); {
			case at >= 10*time.Minute && at < 11*time.Minute:
				assert.Equal(t, k.Quote().Bid, k.Quote().Ask)
				counts[0]++
			case at >= 20*time.Minute && at < 21*time.Minute:
				assert.Equal(t, k.Quote().Bid, k.Quote().Ask+3)
				counts[3]++
			default:
				assert.Less(t, k.Quote().Bid, k.Quote().Ask)
			}
		}
		assert.Greater(t, counts[0], 10)
		assert.Greater(t, counts[3], 10)
	}
}

// A scenario in a market with a calendar: times of day are those of New York, and effects go on through midnight.
func TestScenarioWithACalendar(t *testing.T) {
	t.Parallel()
	u, err := ParseUniverse("world.csv", []byte(worldCSV))
	require.NoError(t, err)
	c := Config{Universe: u, Rate: 1, Days: 3, Scenario: parsed(t, "at 10:00: halt AAPL for 10m reason x\nat 1m: luld on *\nat 20h: spread BTC-USD x20 for 10h\nat 1h: listing NEW price 10.00\nevery 5h: bust BTC-USD last 2")}
	j := play(t, c)
	halts := 0
	for _, k := range j.ticks {
		if k.Kind == feed.KindStatus && k.StatusReason() == "x" {
			halts++
			assert.Equal(t, "15:00", time.Unix(0, k.EventTime).UTC().Format("15:04"))
		}
	}
	assert.Equal(t, 3, halts)
}

// Events are reported, and the event of a command happens within a quarter of a second of the market.
func TestCommandsHappenSoon(t *testing.T) {
	var happened []Event
	m, err := New(Config{Instruments: 5, Rate: 20, Days: 1, Commands: true, Happens: func(e Event) { happened = append(happened, e) }})
	require.NoError(t, err)
	batch := make([]feed.Tick, 256)
	state := feed.NewState()
	next := func() (at int64) {
		n, err := m.Next(context.Background(), batch)
		require.NoError(t, err)
		_, err = state.ApplyAll(batch[:n])
		require.NoError(t, err)
		return m.Reached()
	}
	var at int64
	for range 500 {
		at = next()
	}
	for _, text := range []string{`halt MSFT for 10m reason "by hand"`, "halt MSFT for 1m", "calm"} {
		r, err := script.ParseVerb("line", text, Language)
		require.NoError(t, err)
		_, err = m.Do(r)
		require.NoError(t, err)
	}
	late, err := script.Parse("late", []byte("at 1ms: calm\nat 09:30: calm\nat 6h: calm"), Language)
	require.NoError(t, err)
	_, err = m.Do(late.Rules[0])
	assert.ErrorContains(t, err, "its time is over, and it happens once: the market is ")
	_, err = m.Do(late.Rules[1])
	assert.ErrorContains(t, err, "its time is over, and this is the last day: the market is ")
	_, err = m.Do(late.Rules[2])
	require.NoError(t, err)
	for range 10 {
		next()
	}
	id, _ := state.Lookup("MSFT", venue)
	in, _ := state.Instrument(id)
	assert.Equal(t, feed.StatusHalted, in.Status)
	assert.Equal(t, "by hand", in.StatusReason)
	assert.Less(t, time.Duration(in.StatusTime-at), 600*time.Millisecond)
	require.Len(t, happened, 4)
	assert.Equal(t, "calm", happened[0].Rule.Text, "events of the market come before those of instruments")
	assert.False(t, happened[0].Nothing || happened[0].Late)
	assert.Equal(t, 1, happened[1].Instruments)
	assert.Equal(t, "it was halted already; the later end counts", happened[3].Note)
	assert.Equal(t, "MSFT", happened[3].Symbol)
}

// Each scenario that ships runs, keeps the rules, and does what it says.
func TestShippedScenarios(t *testing.T) {
	assert.Equal(t, []string{"burst", "flash-crash", "luld", "news", "open", "quiet-night"}, Scenarios())
	for _, name := range Scenarios() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, ok := ScenarioText(name)
			require.True(t, ok)
			assert.True(t, strings.HasPrefix(string(text), "# "+name+": "))
			assert.Contains(t, string(text), "# Tests: ")
			j := play(t, Config{Instruments: 40, Rate: 50, DayLength: 20 * time.Minute, Days: 1, Scenario: parsed(t, string(text))}.withDefaults())
			reasons := map[string]int{}
			kinds := map[feed.Kind]int{}
			for _, k := range j.ticks {
				kinds[k.Kind]++
				if k.Kind == feed.KindStatus {
					reasons[k.StatusReason()]++
				}
			}
			switch name {
			case "open":
				assert.Equal(t, 40, reasons["opening auction"])
				assert.Greater(t, kinds[feed.KindAuction], 40*50)
				assert.Zero(t, reasons["closing auction"], "it is on demand")
			case "burst":
				assertBursts(t, j)
			case "flash-crash":
				for _, symbol := range []string{"AAPL", "MSFT", "SPY"} {
					before := j.mid(symbol, 30*time.Second)
					assert.InDelta(t, 0.92, j.mid(symbol, 2*time.Minute+31*time.Second)/before, 0.04, symbol) // a day's volatility is in 20 minutes
					assert.InDelta(t, 0.98, j.mid(symbol, 5*time.Minute+31*time.Second)/before, 0.04, symbol)
				}
			case "luld":
				assert.Positive(t, reasons["limit down"])
				assert.Positive(t, reasons["LULD pause"])
				assert.Positive(t, reasons["reopening auction"])
				assert.Equal(t, 1, reasons["news pending"])
			case "news":
				assert.InDelta(t, 0.96, j.mid("AAPL", 30*time.Second+time.Millisecond)/j.mid("AAPL", 30*time.Second), 0.01)
				assert.Equal(t, 5, kinds[feed.KindCancel])
				assert.Equal(t, 3, kinds[feed.KindCorrection])
			case "quiet-night":
				assert.Less(t, kinds[feed.KindQuote]+kinds[feed.KindTrade], 50*60*7)
				assert.Equal(t, 1, reasons["split 10:1"])
				assert.Equal(t, 1, reasons["delisted"])
			}
		})
	}
}

func FuzzScenario(f *testing.F) {
	for _, v := range Verbs {
		f.Add(v.Example)
	}
	f.Add("at 10:00: halts TSLA\nat 25:00: halt TSLA\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := script.Parse("x", []byte(text), Language)
		if err != nil {
			scripttest.RequireEach[*script.Error](t, err)
			return
		}
		if len(s.Rules) > 5 {
			return
		}
		for _, r := range s.Rules {
			r.Trigger = script.Trigger{When: script.AtTime, After: time.Second}
		}
		m, err := New(Config{Instruments: 20, Rate: 20, DayLength: time.Minute, Days: 1, Depth: 2, Scenario: s})
		if err != nil {
			scripttest.RequireEach[*script.Error](t, err)
			return
		}
		state := feed.NewState()
		batch := make([]feed.Tick, 256)
		for range 100 {
			n, err := m.Next(context.Background(), batch)
			_, failed := state.ApplyAll(batch[:n])
			require.NoError(t, failed)
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
		}
	})
}
