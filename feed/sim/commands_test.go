package sim

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/script"
)

// A commanded is a market that takes commands, with its reports.
type commanded struct {
	t        testing.TB
	m        *Market
	state    *feed.State
	happened []Event
	outcome  <-chan Outcome // of the last rule
	at       time.Duration  // that the market has reached, since the opening
	ticks    int
}

func command(t testing.TB, c Config) *commanded {
	x := &commanded{t: t, state: feed.NewState()}
	c.Commands, c.Happens = true, func(e Event) { x.happened = append(x.happened, e) }
	var err error
	x.m, err = New(c)
	require.NoError(t, err)
	return x
}

// do parses a rule, or an event without a trigger, and gives it to the market.
func (x *commanded) do(text string) (*script.Rule, error) {
	if s, err := script.Parse("line", []byte(text), Language); err == nil {
		x.outcome, err = x.m.Do(s.Rules[0])
		return s.Rules[0], err
	}
	r, err := script.ParseVerb("line", text, Language)
	require.NoError(x.t, err)
	x.outcome, err = x.m.Do(r)
	return r, err
}

func (x *commanded) must(text string) *script.Rule {
	r, err := x.do(text)
	require.NoError(x.t, err)
	return r
}

// until plays the market to a time after the opening.
func (x *commanded) until(at time.Duration) {
	batch := make([]feed.Tick, 64)
	for x.at < at {
		n, err := x.m.Next(context.Background(), batch)
		require.NoError(x.t, err)
		x.ticks += n
		_, err = x.state.ApplyAll(batch[:n])
		require.NoError(x.t, err)
		x.at = time.Duration(x.m.Reached() - x.m.open)
	}
}

func (x *commanded) status(symbol string) feed.Status {
	id, ok := x.state.Lookup(symbol, venue)
	require.True(x.t, ok, symbol)
	in, _ := x.state.Instrument(id)
	return in.Status
}

// Commands costs nothing until the first one comes: the ticks are those of a market without.
func TestAMarketThatIsToldNothingIsTheSame(t *testing.T) {
	t.Parallel()
	c := Config{Instruments: 300, Rate: 1000, DayLength: 5 * time.Minute, Days: 2, Depth: 2}
	plain := take(t, c, 100_000, 256)
	c.Commands = true
	m, err := New(c)
	require.NoError(t, err)
	told := make([]feed.Tick, 0, len(plain))
	for len(told) < len(plain) {
		n, err := m.Next(context.Background(), told[len(told):min(len(told)+256, len(plain))])
		require.NoError(t, err)
		told = told[:len(told)+n]
	}
	assert.Equal(t, hash(plain), hash(told))
}

// A rule that can never do anything is refused, with the reason.
func TestDoRefusesWhatCanDoNothing(t *testing.T) {
	t.Parallel()
	x := command(t, Config{Instruments: 5, Rate: 20, Days: 1})
	for text, want := range map[string]string{
		"halt NOPE":                  "no instrument of the market matches NOPE",
		"halt APPL for 1m":           `no instrument of the market matches APPL; did you mean "AAPL"?`,
		"listing AAPL price 10":      "there is an instrument AAPL@SIM already",
		"at 7h: halt AAPL":           "this is not within the market's day, which is 6h30m0s long from 09:30:00",
		"on storm: delisting XX,Y?Y": "no instrument of the market matches XX,Y?Y",
	} {
		_, err := x.do(text)
		assert.ErrorContains(t, err, want, text)
	}
	x.must("listing NEWCO price 25.00")
	x.must("halt NEWCO for 1m")
	x.until(time.Second)
	_, err := x.do("listing NEWCO price 25.00")
	assert.ErrorContains(t, err, "there is an instrument NEWCO@SIM already")
	x.must("delisting NEWCO")
	x.until(2 * time.Second)
	_, err = x.do("listing OTHER price 25.00")
	require.NoError(t, err)
	_, err = x.do("resume NEWC?,X")
	assert.ErrorContains(t, err, "no instrument")
}

func TestRulesAreBounded(t *testing.T) {
	t.Parallel()
	x := command(t, Config{Instruments: 5, Rate: 20, Days: 1})
	for range MostRules {
		x.must("on storm: calm")
	}
	x.until(time.Second)
	_, err := x.do("on storm: calm")
	assert.EqualError(t, err, "there are 1000 rules already, which is the limit; remove some")
	for range MostRules {
		x.must("spread AAPL x1.01 for 10m")
	}
	_, err = x.do("calm")
	assert.EqualError(t, err, "1000 events wait for the market already, which is the limit; wait a moment")
	x.until(2 * time.Second)
	x.must("spread AAPL x1.01 for 10m")
	x.until(3 * time.Second)
	assert.Len(t, x.m.stage.effects, mostEffects)
	assert.Equal(t, "too much goes on already; calm ends it", x.happened[len(x.happened)-1].Note)
	x.must("calm")
	x.until(4 * time.Second)
	assert.Empty(t, x.m.stage.effects)
}

// A rule that is removed happens no more, and what it multiplies ends.
func TestRemoveEndsARule(t *testing.T) {
	t.Parallel()
	x := command(t, Config{Instruments: 5, Rate: 20, Days: 1})
	every := x.must("every 10s: halt AAPL for 1s")
	wide := x.must("spread * x4")
	named := x.must("on storm: calm")
	x.until(time.Second)
	assert.True(t, x.m.InForce(wide))
	assert.False(t, x.m.InForce(every))
	assert.True(t, x.m.Remove(wide))
	assert.True(t, x.m.Remove(named))
	triggered, err := x.m.Trigger("storm")
	require.NoError(t, err)
	assert.Nil(t, triggered)
	x.until(15 * time.Second)
	assert.False(t, x.m.InForce(wide))
	assert.False(t, x.m.Remove(wide), "it is over")
	assert.Empty(t, x.m.stage.effects)
	happened := len(x.happened)
	assert.True(t, x.m.Remove(every))
	assert.False(t, x.m.Remove(every))
	x.until(35 * time.Second)
	assert.Len(t, x.happened, happened)
}

// A halt at random that is going on when the first command comes ends as it would have; there are no others.
func TestTheFirstCommandKeepsAHaltThatGoesOn(t *testing.T) {
	t.Parallel()
	for seed := uint64(1); ; seed++ {
		require.Less(t, seed, uint64(20))
		x := command(t, Config{Instruments: 300, Rate: 50, Seed: seed, DayLength: time.Hour, Days: 1})
		if len(x.m.controls) == 0 {
			continue
		}
		halt, end := x.m.controls[0], x.m.controls[1]
		if halt.id != end.id {
			continue
		}
		symbol := x.m.listings[halt.id].definition.Symbol
		x.until(time.Duration(halt.at>>unitShift) + time.Second)
		require.Equal(t, feed.StatusHalted, x.status(symbol))
		x.must("calm")
		x.until(time.Duration(end.at>>unitShift) - time.Second)
		assert.Equal(t, feed.StatusHalted, x.status(symbol))
		x.until(time.Duration(end.at>>unitShift) + time.Second)
		assert.Equal(t, feed.StatusTrading, x.status(symbol))
		return
	}
}

// While nothing trades, a command happens within half a second of the market of the time at which it is given, whatever the
// events have made of the market, and the market goes on from there.
func TestCommandsHappenWhileNothingTrades(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		instruments   int
		before, after string
		trades        string // what trades then
	}{
		{3, "halt *", "resume *", "AAPL"},
		{1, "halt AAPL", "resume AAPL", "AAPL"},
		{3, "quiet * for 10m", "calm", "AAPL"},
		{3, "rate /10000", "rate x1", "AAPL"},
		{3, "halt *", "listing NEWCO price 25.00", "NEWCO"},
		{3, "halt *", "auction intraday AAPL for 2s", "AAPL"},
	} {
		t.Run(c.before+", "+c.after, func(t *testing.T) {
			t.Parallel()
			x := command(t, Config{Instruments: c.instruments, Rate: 100, Days: 1})
			x.until(time.Second)
			x.must(c.before)
			x.until(3 * time.Second)
			asked := x.at
			assert.Less(t, asked, 4*time.Second, "the market went on without waiting")
			rule := x.must(c.after)
			before := x.ticks
			x.until(asked + 10*time.Second)
			assert.Less(t, x.at, asked+11*time.Second)
			last := x.happened[len(x.happened)-1]
			require.Same(t, rule, last.Rule)
			for _, e := range x.happened {
				if e.Rule == rule && e.Note == "" {
					assert.InDelta(t, asked.Seconds(), time.Duration(e.Time-x.m.open).Seconds(), 0.5)
				}
			}
			assert.Equal(t, feed.StatusTrading, x.status(c.trades))
			assert.Greater(t, x.ticks-before, 10)
		})
	}
}

// The same seed and events give the same ticks with and without Commands, and in batches of any size: publish gives those of sim.
func TestCommandsDoNotChangeAScenario(t *testing.T) {
	t.Parallel()
	for _, speed := range []float64{1, 60, 2340} { // of publish, which divides its rate by it
		for _, text := range []string{"at 1s: rate x1.5 for 5m", "at 1s: halt AAPL for 1s\nat 1m: halt *", "at 1s: halt * for 2s\nat 2s: rate constant", "at 1s: bust AAPL last 5", "at 1s: quiet * for 2s"} {
			c := Config{Instruments: 3, Rate: 10_000 / speed, DayLength: 10 * time.Minute, Days: 1, Depth: 2, Scenario: parsed(t, text)}
			const most = 20_000
			want := day(t, c, most, recordedBatch)
			c.Commands = true
			for _, batch := range []int{7, 256} {
				assert.Equal(t, want, day(t, c, most, batch), "%s at %v, batches of %d", text, speed, batch)
			}
		}
	}
}

// recordedBatch is the size of the batches of sim.
const recordedBatch = 1000

// day returns the hash and the number of the ticks of a market, at most most.
func day(t *testing.T, c Config, most, batch int) (got [2]any) {
	m, err := New(c)
	require.NoError(t, err)
	var ticks []feed.Tick
	room := make([]feed.Tick, batch)
	for len(ticks) < most {
		n, err := m.Next(t.Context(), room)
		ticks = append(ticks, room[:n]...)
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			break
		}
	}
	ticks = ticks[:min(len(ticks), most)]
	return [2]any{hash(ticks), len(ticks)}
}

// A market that has ended refuses all rules.
func TestDoRefusesAllAfterTheEnd(t *testing.T) {
	t.Parallel()
	x := command(t, Config{Instruments: 2, Rate: 1, DayLength: time.Minute, Days: 1})
	batch := make([]feed.Tick, 256)
	var err error
	for err == nil {
		_, err = x.m.Next(t.Context(), batch)
	}
	require.ErrorIs(t, err, io.EOF)
	for _, text := range []string{"halt AAPL", "on storm: calm", "every 10s: calm"} {
		_, err := x.do(text)
		assert.ErrorContains(t, err, "the market has ended, so nothing happens in it any more", text)
	}
}

// All rules of a scenario that can never do anything are reported, at most maxErrors.
func TestErrorsOfAllRules(t *testing.T) {
	wrong := func(rules int) []string {
		_, err := New(Config{Instruments: 3, Rate: 10, Scenario: parsed(t, strings.Repeat("at 10:00: halt NOPE\nat 10:00: calm\n", rules))})
		require.Error(t, err)
		return strings.Split(err.Error(), "\n")
	}
	assert.Len(t, wrong(3), 3)
	assert.NotContains(t, wrong(maxErrors)[maxErrors-1], "more mistakes")
	lines := wrong(100)
	require.Len(t, lines, maxErrors+1)
	assert.Contains(t, lines[maxErrors], ":41:11: there are more mistakes from here on")
}
