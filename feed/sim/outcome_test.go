package sim

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/script"
)

// told plays the market until the last command has its outcome, and returns it.
func (x *commanded) told() Outcome {
	batch := make([]feed.Tick, 64)
	for range 1000 {
		select {
		case o, ok := <-x.outcome:
			require.True(x.t, ok, "the market has ended")
			return o
		default:
		}
		n, err := x.m.Next(context.Background(), batch)
		require.NoError(x.t, err)
		_, err = x.state.ApplyAll(batch[:n])
		require.NoError(x.t, err)
		x.at = time.Duration(x.m.Reached() - x.m.open)
	}
	require.Fail(x.t, "there is no outcome")
	return Outcome{}
}

// short is a universe with a stock that trades for an hour, another one an hour later, and one that always trades.
const short = "symbol,price,hours\nAAA,10,09:00-10:00 UTC\nBBB,10,10:00-11:00 UTC\nCCC,10,24h\n"

// hoursBBB is what a report about BBB, which is closed, says of its hours before they begin on the first day.
const (
	hoursBBB  = "; SIM trades mon-fri 10:00-11:00 UTC, next from Mon 2026-01-05 10:00 UTC"
	closedBBB = "its market is closed" + hoursBBB
)

func shortMarket(t *testing.T, days int) *commanded {
	u, err := ParseUniverse("u", []byte(short))
	require.NoError(t, err)
	return command(t, Config{Universe: u, Instruments: 3, Rate: 1, Days: days, Start: time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)})
}

// The outcome of an event says to how many instruments it has happened, and why not to the others.
func TestOutcomeSaysWhatHappened(t *testing.T) {
	t.Parallel()
	x := shortMarket(t, 0)
	x.until(time.Minute)
	for _, test := range []struct {
		text                string
		happened, matching  int
		nothing             bool
		note, remark, first string
	}{
		{text: "halt * for 1m", happened: 2, matching: 3, remark: closedBBB, first: "BBB"},
		{text: "halt BBB", matching: 1, nothing: true, note: closedBBB},
		{text: "halt AAA for 1m", happened: 1, matching: 1, remark: "it was halted already; the later end counts", first: "AAA"},
		{text: "resume AAA", happened: 1, matching: 1},
		{text: "resume AAA", matching: 1, nothing: true, note: "it is neither halted nor in an auction"},
		{text: "auction intraday BBB for 1m", matching: 1, nothing: true, note: closedBBB},
		{text: "split BBB 2:1", matching: 1, nothing: true, note: closedBBB},
		{text: "bust BBB last 1", matching: 1, nothing: true, note: "it has only 0 trades to bust"},
		{text: "spread BBB x4 for 2m", matching: 1, nothing: true, note: "its market is closed until this is over" + hoursBBB},
		{text: "spread BBB x4 for 2h", happened: 1, matching: 1},
		{text: "spread BBB x4", happened: 1, matching: 1},
		{text: "rate x2"},
		{text: "listing NEW price 10"},
	} {
		x.must(test.text)
		o := x.told()
		require.NoError(t, o.Err, test.text)
		require.NotEmpty(t, o.Events, test.text)
		e := o.Events[0]
		assert.Equal(t, test.happened, e.Instruments, test.text)
		assert.Equal(t, test.matching, e.Matching, test.text)
		assert.Equal(t, test.nothing, e.Nothing, test.text)
		assert.Equal(t, !test.nothing, e.Begins(), test.text)
		assert.Equal(t, test.note, e.Note, test.text)
		if test.remark == "" {
			assert.Len(t, o.Events, 1, test.text)
			continue
		}
		require.Len(t, o.Events, 2, test.text)
		assert.Equal(t, []string{test.remark, test.first}, []string{o.Events[1].Note, o.Events[1].Symbol}, test.text)
	}
	x.must("on storm: halt BBB")
	x.must("on storm: halt CCC for 1m")
	assert.Equal(t, Outcome{}, x.told(), "they wait for the trigger")
	var err error
	x.outcome, err = x.m.Trigger("storm")
	require.NoError(t, err)
	assert.Len(t, x.told().Events, 3, "two rules, of which one has a remark")
}

// The outcome of a rule that waits for a time is when it happens, which may be tomorrow, or why it never does.
func TestOutcomeSaysWhen(t *testing.T) {
	t.Parallel()
	plain := func(days int) *commanded {
		return command(t, Config{Instruments: 3, Rate: 1, Days: days, DayLength: 90 * time.Minute})
	}
	two, shut, longer := plain(2), shortMarket(t, 1), shortMarket(t, 2)
	shut.until(3 * time.Hour)
	for _, test := range []struct {
		x          *commanded
		at         time.Duration
		text, when string
		never      string
	}{
		{two, time.Hour, "at 10:31: calm", "10:31:00", ""},
		{two, time.Hour, "at 10:00: calm", "10:00:00 tomorrow", ""},
		{two, time.Hour, "every 25m: calm", "10:45:00", ""},
		{two, time.Hour, "every 80m: calm", "10:50:00", ""},
		{two, 81 * time.Minute, "every 80m: calm", "10:50:00 tomorrow", ""},
		{two, 81 * time.Minute, "every 45m: calm", "10:15:00 tomorrow", ""}, // the close comes first
		{plain(1), 81 * time.Minute, "every 80m: calm", "", "the market ends before this happens"},
		{shut, 0, "every 10m: halt AAA,BBB", "", noneOpens},
		{shut, 0, "halt AAA", "", noneOpens},
		{shut, 0, "on storm: halt AAA", "", noneOpens},
		{shut, 0, "every 10m: halt *", "12:10:00", ""},
		{shut, 0, "at 09:30: calm", "", "its time is over, and this is the last day"},
		{longer, 3 * time.Hour, "at 09:30: halt AAA", "09:30:00 tomorrow", ""},
		{longer, 3 * time.Hour, "every 24h: halt AAA", "09:00:00 tomorrow", ""},
	} {
		if test.at > 0 {
			test.x.until(test.at)
		}
		rule := test.x.must(test.text)
		o := test.x.told()
		if test.never != "" {
			assert.ErrorContains(t, o.Err, test.never, test.text)
			last := test.x.happened[len(test.x.happened)-1]
			assert.True(t, last.Never && last.Rule == rule && last.Note == test.never, test.text)
			assert.NotContains(t, test.x.m.commands.waiting, rule, test.text)
			continue
		}
		require.NoError(t, o.Err, test.text)
		when := o.Next.Format("15:04:05")
		if o.NextDay {
			when += " tomorrow"
		}
		assert.Equal(t, test.when, when, test.text)
		assert.WithinDuration(t, test.x.m.clock(test.x.m.arrivals.now), o.Now, time.Minute, test.text)
	}
}

// The outcome of an event that multiplies says by how much all that overlaps multiplies now, and that there is a limit.
func TestOutcomeSaysTheFactorInAll(t *testing.T) {
	t.Parallel()
	x := shortMarket(t, 0)
	x.until(time.Minute)
	for _, test := range []struct{ text, inAll string }{
		{"activity AAA x10000", ""},
		{"activity AAA x10000 for 1s", "x100,000,000, the limit"},
		{"activity AAA x10000", "x100,000,000, the limit"},
		{"activity AAA,CCC x2", "x2 to x100,000,000, the limit"},
		{"spread CCC x4", ""},
		{"spread CCC x2.5", "x10"},
		{"spread CCC /1000", "/100"},
		{"depth CCC /3", ""},
		{"depth CCC /3", "/9"},
		{"volatility CCC x40", ""},
		{"volatility CCC x50", "x2,000"},
		{"quiet CCC", ""},
		{"activity CCC x3", "x0, quiet"},
		{"rate x10000", ""},
		{"rate x10000", ""}, // it replaces the other
		{"calm", ""},
		{"activity * x7", ""},
		{"activity BBB x2", "x14"}, // which is closed
	} {
		x.must(test.text)
		o := x.told()
		require.NoError(t, o.Err, test.text)
		require.Len(t, o.Events, 1, test.text)
		assert.Equal(t, test.inAll, o.Events[0].InAll, test.text)
	}
}

// A rule for a time at which its instruments do not trade is found when it is read: it is refused if they never trade at its times, and
// reported if some do, or if they do on another day.
func TestRuleForAClosedMarketIsFoundAtOnce(t *testing.T) {
	t.Parallel()
	const aaa, bbb = "SIM trades mon-fri 09:00-10:00 UTC, next from ", "SIM trades mon-fri 10:00-11:00 UTC, next from "
	const monday = "Mon 2026-01-05 "
	for _, test := range []struct {
		text  string
		days  int
		never string
		notes []string
	}{
		{"at 09:30: halt AAA", 2, "", nil},
		{"at 09:00: auction open AAA for 1m", 2, "", nil},
		{"at 10:00: halt AAA", 2, "its market is closed on " + monday + "10:00 UTC; " + aaa + "Tue 2026-01-06 09:00 UTC", nil},
		{"at 04:00: halt AAA,BBB for 1m", 7, "its market is closed on Tue 2026-01-06 04:00 UTC; " + aaa + "Tue 2026-01-06 09:00 UTC; " + bbb + "Tue 2026-01-06 10:00 UTC", nil},
		{"at 30m: resume *", 2, "", []string{"BBB: its market is closed on " + monday + "09:30 UTC; " + bbb + monday + "10:00 UTC"}},
		{"at 12:00: split * 2:1", 2, "", []string{
			"AAA: its market is closed on " + monday + "12:00 UTC; " + aaa + "Tue 2026-01-06 09:00 UTC",
			"BBB: its market is closed on " + monday + "12:00 UTC; " + bbb + "Tue 2026-01-06 10:00 UTC",
		}},
		{"at 09:30: spread BBB x2 for 30m", 2, "its market is closed on " + monday + "09:30 UTC", nil},
		{"at 09:30: spread BBB x2 for 31m", 2, "", nil},
		{"at 09:30: spread BBB x2", 2, "", nil},
		{"at 20h: spread AAA,BBB x2", 1, noneOpens, nil},
		{"at 5h: halt AAA", 2, "its market is closed on " + monday + "14:00 UTC", nil},
		{"at 5h: halt AAA", 0, "", []string{"AAA: its market is closed on " + monday + "14:00 UTC; " + aaa + "Tue 2026-01-06 09:00 UTC"}}, // of a service that starts at any time
		{"at 24h: halt CCC", 1, "the market ends before this happens", nil},
		{"at 12:00: news AAA jump 1%", 2, "", nil},
		{"every 24h: halt AAA for 1m", 0, "", nil},
		{"every 90m: halt AAA", 0, "", nil},
		{"every 90m: quiet BBB for 1m", 0, "", nil},
		{"every 24h: halt BBB", 0, "its market is closed on Tue 2026-01-06 09:00 UTC; " + bbb + "Tue 2026-01-06 10:00 UTC", nil},
		{"on x: halt BBB", 0, "", nil},
	} {
		u, err := ParseUniverse("u", []byte(short))
		require.NoError(t, err)
		s, err := script.Parse("night", []byte(test.text), Language)
		require.NoError(t, err)
		var notes []string
		c := Config{Universe: u, Instruments: 3, Rate: 1, Days: test.days, Start: time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC), Scenario: s,
			Happens: func(e Event) { notes = append(notes, e.Symbol+": "+e.Note) }}
		_, err = New(c)
		x := shortMarket(t, test.days)
		x.must(test.text)
		o := x.told()
		if test.never != "" {
			assert.ErrorContains(t, err, "night:1:", test.text)
			assert.ErrorContains(t, err, test.never, test.text)
			assert.ErrorContains(t, o.Err, test.never, test.text)
			continue
		}
		require.NoError(t, err, test.text)
		require.NoError(t, o.Err, test.text)
		var outcome []string
		for _, e := range o.Events {
			if !e.Begins() {
				outcome = append(outcome, e.Symbol+": "+e.Note)
			}
		}
		assert.Equal(t, test.notes, notes, test.text)
		assert.Equal(t, test.notes, outcome, test.text)
	}
}

// A rule for a time of day on which the first day is a holiday of its instruments happens on the next day.
func TestARuleWaitsForAWorkday(t *testing.T) {
	t.Parallel()
	u, err := ParseUniverse("u", []byte(short))
	require.NoError(t, err)
	x := command(t, Config{Universe: u, Instruments: 3, Rate: 1, Start: time.Date(2026, 1, 9, 12, 0, 0, 0, time.UTC)}) // a Friday
	x.must("at 09:30: halt AAA")
	o := x.told()
	require.NoError(t, o.Err)
	require.Len(t, o.Events, 1)
	assert.Equal(t, "its market is closed on Sat 2026-01-10 09:30 UTC; SIM trades mon-fri 09:00-10:00 UTC, next from Mon 2026-01-12 09:00 UTC", o.Events[0].Note)
}

// The end of a market of many days is no earlier than its beginning.
func TestAMarketOfManyDaysTakesCommands(t *testing.T) {
	t.Parallel()
	x := shortMarket(t, 1000)
	x.must("halt AAA")
	assert.NoError(t, x.told().Err)
}

// A command that comes when the market ends is not left waiting.
func TestTheEndAnswersCommands(t *testing.T) {
	t.Parallel()
	x := command(t, Config{Instruments: 2, Rate: 1, DayLength: time.Minute, Days: 1})
	x.until(59*time.Second + 900*time.Millisecond)
	x.must("on storm: calm")
	batch := make([]feed.Tick, 256)
	var err error
	for err == nil {
		_, err = x.m.Next(t.Context(), batch)
	}
	require.ErrorIs(t, err, io.EOF)
	select {
	case <-x.outcome:
	default:
		require.Fail(t, "the command waits")
	}
}

// A halt of an instrument that trades round the clock is no night, which a continuous market leaves out.
func TestAHaltIsNoNight(t *testing.T) {
	t.Parallel()
	u, err := ParseUniverse("u", []byte("symbol,price,hours\nAAA,10,09:00-10:00 UTC\nCCC,10,24h\n"))
	require.NoError(t, err)
	x := command(t, Config{Universe: u, Instruments: 2, Rate: 1, Continuous: true, Start: time.Date(2026, 1, 5, 20, 0, 0, 0, time.UTC)})
	x.until(time.Minute)
	x.must("halt CCC")
	x.until(2 * time.Minute)
	assert.Equal(t, "20:02", x.m.clock(x.m.arrivals.now).Format("15:04"))
}
