package sim

import (
	"context"
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
	at       time.Duration // of the last tick, since the opening
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
		return s.Rules[0], x.m.Do(s.Rules[0])
	}
	r, err := script.ParseVerb("line", text, Language)
	require.NoError(x.t, err)
	return r, x.m.Do(r)
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
		_, err = x.state.ApplyAll(batch[:n])
		require.NoError(x.t, err)
		x.at = time.Duration(batch[n-1].EventTime - x.m.open)
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
	assert.Equal(t, "this does not happen, because too much goes on already; calm ends it", x.happened[len(x.happened)-1].Note)
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
	assert.False(t, x.m.Trigger("storm"))
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
