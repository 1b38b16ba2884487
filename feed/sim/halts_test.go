package sim

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// Halts, auctions and resumptions that meet each other, at 10; the session closes at 20.
func TestDecideWhichHaltHolds(t *testing.T) {
	for _, c := range []struct {
		name string
		is   state
		what request
		end  int64
		ends int64 // of the halt that goes on
		want decision
	}{
		{"halt", trades, toHalt, 15, never, decision{true, 15, ""}},
		{"halt without an end", trades, toHalt, never, never, decision{true, never, ""}},
		{"halt beyond the close", trades, toHalt, 25, never, decision{true, never, "the close comes before the end"}},
		{"halt at the close", trades, toHalt, 20, never, decision{true, 20, ""}},
		{"shorter halt during a halt", isHalted, toHalt, 12, 15, decision{true, 15, "it was halted already; the later end counts"}},
		{"longer halt during a halt", isHalted, toHalt, 18, 15, decision{true, 18, "it was halted already; the later end counts"}},
		{"halt during one without an end", isHalted, toHalt, 18, never, decision{true, never, "it was halted already; the later end counts"}},
		{"halt during a halt, beyond the close", isHalted, toHalt, 25, 15, decision{true, never, "it was halted already; the later end counts; the close comes before the end"}},
		{"halt during an auction", inAuction, toHalt, 15, never, decision{true, 15, "its auction is called off"}},
		{"pause", trades, toPause, 15, never, decision{true, 15, ""}},
		{"pause during a halt", isHalted, toPause, 15, 12, decision{note: "it does not trade, so the limit state causes no pause"}},
		{"pause during an auction", inAuction, toPause, 15, never, decision{note: "it does not trade, so the limit state causes no pause"}},
		{"pause beyond the close", trades, toPause, 25, never, decision{true, never, "the close comes before the end"}},
		{"auction", trades, toAuction, 15, never, decision{true, 15, ""}},
		{"auction beyond the close", trades, toAuction, 25, never, decision{true, 20, "the auction ends at the close, which comes first"}},
		{"auction during a halt", isHalted, toAuction, 12, 15, decision{true, 12, "the auction ends its halt"}},
		{"auction during an auction", inAuction, toAuction, 18, never, decision{true, 18, "its earlier auction is called off"}},
		{"auction at the end of a halt", isHalted, toReopen, 12, 10, decision{true, 12, ""}},
		{"auction at the end of a halt, beyond the close", isHalted, toReopen, 25, 10, decision{true, 20, "the auction ends at the close, which comes first"}},
		{"resume while trading", trades, toResume, never, never, decision{note: "it is neither halted nor in an auction"}},
		{"resume during a halt", isHalted, toResume, never, 15, decision{true, never, ""}},
		{"resume during an auction", inAuction, toResume, never, never, decision{true, never, "its auction is called off"}},
		{"resume after the closing auction", isShut, toResume, never, never, decision{note: "its closing auction has ended its day"}},
		{"halt after the closing auction", isShut, toHalt, 15, never, decision{note: "its closing auction has ended its day"}},
		{"auction after the closing auction", isShut, toAuction, 15, never, decision{note: "its closing auction has ended its day"}},
		{"halt outside the hours", isClosed, toHalt, 15, never, decision{note: "its market is closed"}},
		{"resume of what is delisted", isGone, toResume, never, never, decision{note: "it was delisted"}},
		{"split", trades, toSplit, never, never, decision{true, never, ""}},
		{"split during a halt", isHalted, toSplit, never, 15, decision{note: "it does not trade; split it when it does"}},
	} {
		assert.Equal(t, c.want, decide(c.is, c.what, 10, c.end, c.ends, 20), c.name)
	}
	assert.Equal(t, decision{note: "its market closes now"}, decide(trades, toAuction, 20, 25, never, 20))
	assert.True(t, decide(isHalted, toResume, 20, never, 25, 20).granted, "the halt ends at the close")
}

// What overlaps happens as TestDecideWhichHaltHolds says, and is reported.
func TestOverlapsAreReported(t *testing.T) {
	t.Parallel()
	c := hour(t, `
at 5m: halt AAPL for 10m reason "one" auction 1m
at 7m: halt AAPL for 1m
at 20m: auction intraday MSFT for 5m
at 21m: resume MSFT
at 22m: resume MSFT
at 25m: halt NVDA for 5m
at 26m: auction intraday NVDA for 1m
at 40m: auction close TSLA for 5m
at 46m: halt TSLA,AMZN for 1h`)
	var notes []string
	c.Happens = func(e Event) {
		if e.Note != "" {
			notes = append(notes, e.Symbol+": "+e.Note)
		}
	}
	j := play(t, c)
	assert.Equal(t, []string{
		"AAPL: it was halted already; the later end counts",
		"MSFT: its auction is called off",
		"MSFT: it is neither halted nor in an auction",
		"NVDA: the auction ends its halt",
		"AMZN: the close comes before the end",
		"TSLA: its closing auction has ended its day",
	}, notes)
	during := func(symbol string) (statuses []string) {
		for _, k := range j.of(symbol, feed.KindStatus) {
			if at := j.after(k); at > time.Second && at < time.Hour {
				statuses = append(statuses, at.String()+" "+k.Status.String()+" "+k.StatusReason())
			}
		}
		return statuses
	}
	assert.Equal(t, []string{"5m0s halted one", "7m0s halted one", "15m0s auction reopening auction", "16m0s trading "}, during("AAPL"))
	assert.Equal(t, []string{"20m0s auction intraday auction", "21m0s trading "}, during("MSFT"))
	assert.Equal(t, []string{"25m0s halted ", "26m0s auction intraday auction", "27m0s trading "}, during("NVDA"))
	assert.Equal(t, []string{"40m0s auction closing auction", "45m0s closed "}, during("TSLA"))
	assert.Equal(t, []string{"46m0s halted "}, during("AMZN"))
}

// Instruments with hours of their own: a halt ends with its session, an auction before the close, and midnight changes neither.
func TestOverlapsWithHours(t *testing.T) {
	t.Parallel()
	u, err := ParseUniverse("u", []byte("symbol,price,hours\nDAY,100,09:30-16:00 America/New_York\nLATE,100,09:30-16:00 America/New_York\nALL,100,24h\n"))
	require.NoError(t, err)
	c := Config{Universe: u, Rate: 1, Days: 2, Scenario: parsed(t, `
at 11:00: halt DAY
at 15:59: auction intraday LATE for 10m
at 09:25: auction intraday ALL for 10m`)}.withDefaults()
	j := play(t, c)
	during := func(symbol string) (statuses []string) {
		for _, k := range j.of(symbol, feed.KindStatus) {
			statuses = append(statuses, time.Unix(0, k.EventTime).In(c.Start.Location()).Format("15:04:05 ")+k.Status.String())
		}
		return statuses
	}
	assert.Equal(t, []string{"09:29:59 pre-open", "09:30:00 trading", "11:00:00 halted", "16:00:00 closed", "09:29:59 pre-open"}, during("DAY")[:5])
	late := during("LATE")
	i := slices.Index(late, "15:59:00 auction")
	require.Positive(t, i)
	assert.Equal(t, []string{"15:59:59 trading", "16:00:00 closed"}, late[i+1:i+3])
	all := during("ALL")
	i = slices.Index(all, "09:25:00 auction")
	require.Positive(t, i, "the second day begins in the auction")
	assert.Contains(t, all[i+1:], "09:35:00 trading")
}

// Others go on at their rates when an instrument is quiet, halted, closed for good or new.
func TestOthersKeepTheirRates(t *testing.T) {
	t.Parallel()
	c := hour(t, `
at 10m: quiet AAPL for 10m
at 20m: halt AAPL for 10m
at 30m: listing NEWCO price 25.00
at 40m: delisting NEWCO
at 50m: delisting AAPL`)
	c.Rate = 300
	j := play(t, c)
	id, ok := j.state.Lookup("AAPL", venue)
	require.True(t, ok)
	var others, all [6]float64
	for _, k := range j.ticks {
		if part := int(j.after(k) / (10 * time.Minute)); k.Kind == feed.KindQuote || k.Kind == feed.KindTrade {
			all[part]++
			if k.Instrument != id && int(k.Instrument) < c.Instruments {
				others[part]++
			}
		}
	}
	share := j.m.listings[id].activity / totalActivity(j.m.listings[:c.Instruments])
	for part, n := range others {
		assert.InEpsilon(t, 300*600*(1-share), n, 0.07, "part %d", part)
	}
	for part, want := range []float64{1, 1 - share, 1 - share, 1, 1, 1 - share} {
		if part == 3 { // with NEWCO
			assert.Greater(t, all[3], 1.005*300*600)
			continue
		}
		assert.InEpsilon(t, want*300*600, all[part], 0.03, "part %d", part)
	}
}

// A market that was halted as a whole does not make up for the ticks that it had not.
func TestAHaltOfAllIsNotMadeUpFor(t *testing.T) {
	t.Parallel()
	j := play(t, hour(t, "at 10m: halt * for 20m"))
	var minutes [60]int
	for _, k := range j.ticks {
		if at := j.after(k); at >= 0 && at < time.Hour && (k.Kind == feed.KindQuote || k.Kind == feed.KindTrade) {
			minutes[at/time.Minute]++
		}
	}
	assert.Zero(t, minutes[20])
	for minute := 30; minute < 40; minute++ {
		assert.Less(t, minutes[minute], 2*50*60, "minute %d", minute)
	}
}

// More ticks are not more volatility: rate and activity change the load, and the day stays as it is.
func TestRateAndActivityKeepTheVolatility(t *testing.T) {
	t.Parallel()
	volatility := func(text string) (sum float64) {
		for seed := range uint64(2) {
			c := hour(t, text)
			c.Rate, c.Seed = 20, seed+1
			m, err := New(c)
			require.NoError(t, err)
			out := make([]feed.Tick, len(m.scratch))
			last := make([]float64, c.Instruments)
			for next := int64(0); m.phase != ended; {
				if m.step(out); m.phase != trading || m.arrivals.now < next {
					continue
				}
				next += units(time.Minute)
				for i := range last {
					if price := m.instruments[i].fair; !m.listings[i].signed {
						if last[i] > 0 {
							sum += math.Pow(math.Log(price/last[i])/m.listings[i].own, 2)
						}
						last[i] = price
					}
				}
			}
		}
		return math.Sqrt(sum)
	}
	usual := volatility("at 0s: rate x1")
	assert.InEpsilon(t, usual, volatility("at 0s: rate x10"), 0.15)
	assert.InEpsilon(t, usual, volatility("at 0s: activity * x10"), 0.15)
	assert.Greater(t, volatility("at 0s: volatility * x3"), 2*usual)
}

// News move both sides of all correlated quotes at once: no quote is wide for it.
func TestNewsMoveCorrelatedQuotesAtOnce(t *testing.T) {
	t.Parallel()
	j := play(t, hour(t, "at 20m: news AAPL jump -6% correlate 0.8"))
	for _, symbol := range []string{"AAPL", "MSFT", "NVDA", "AMZN"} {
		quotes := j.of(symbol, feed.KindQuote)
		i := slices.IndexFunc(quotes, func(k feed.Tick) bool { return j.after(k) >= 20*time.Minute })
		assert.Equal(t, 20*time.Minute, j.after(quotes[i]), symbol)
		before, after := quotes[i-1].Quote(), quotes[i].Quote()
		assert.Less(t, after.Ask, before.Bid, "%s: both sides", symbol)
		assert.Less(t, after.Ask-after.Bid, before.Bid/100, "%s: not wide", symbol)
	}
}

// The bands of luld are reported when they begin and when they move, some by name.
func TestBandsAreReported(t *testing.T) {
	t.Parallel()
	c := hour(t, "at 17m: luld on AAPL\nat 18m: luld on *\nat 19m: crash AAPL 4% in 1m")
	c.DayLength = 90 * time.Minute
	var notes []Event
	c.Happens = func(e Event) {
		if e.Bands {
			notes = append(notes, e)
		}
	}
	play(t, c)
	require.Greater(t, len(notes), 2)
	assert.Regexp(t, `^bands: AAPL \d+\.\d\d to \d+\.\d\d$`, notes[0].Note)
	assert.Equal(t, 1, notes[0].Instruments)
	assert.Regexp(t, `^bands: AAPL \d+\.\d\d to \d+\.\d\d, (.* to .*, ){3}.* and \d+ more$`, notes[1].Note)
	moved := slices.IndexFunc(notes[2:], func(e Event) bool {
		after := time.Duration(e.Time - c.Start.UnixNano())
		return after > 19*time.Minute && after < 24*time.Minute
	})
	assert.NotEqual(t, -1, moved, "the bands follow the price")
}
