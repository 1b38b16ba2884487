package sim

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// Rules that drive prices, spreads or sizes up without end neither stop the market nor wrap its values.
func TestExtremeRulesKeepValuesWithin64Bits(t *testing.T) {
	for _, rules := range []string{
		"every 1s: news * jump 1000%",
		"every 1s: news * jump 1000% vol x10000",
		"every 1s: news * jump 1000%\nevery 3s: auction open UP for 1s",
		"every 1s: news * jump 1000%\nevery 2s: bust * last 16 correct 1000%",
		"every 1s: news * jump 1000%\nevery 5s: cross * by 1000 for 1s",
		"every 1s: news * jump 1000%\nat 1s: luld on UP limit 1s pause 1s auction 1s",
		"every 1s: split * 1:1000",
		"every 1s: split * 1:1000\nevery 1s: news * jump 1000%",
		"every 1s: volatility * x10000",
		"every 1s: spread * x10000",
		"every 1s: depth * x10000",
		"at 1s: activity UP /10000\nat 2s: activity UP /10000\nat 3s: activity UP /10000",
		"every 5s: crash * 1000% in 2s spread x10000 depth x10000 vol x10000",
	} {
		t.Run(strings.ReplaceAll(rules, "\n", ", "), func(t *testing.T) {
			t.Parallel()
			u, err := ParseUniverse("x", []byte("symbol,price,tick_size,lot,volatility,spread,negative\nUP,10,0.01,100,1,1,\nBIG,100000000000000,2000000000,2000000000,1,1000,\nSIGNED,-10,0.01,1,1000000000,1,yes\n"))
			require.NoError(t, err)
			j := play(t, Config{Universe: u, Rate: 100, Depth: 3, DayLength: 90 * time.Second, Days: 2, Scenario: parsed(t, rules)}.withDefaults())
			for _, k := range j.ticks {
				in := &j.m.instruments[k.Instrument]
				if k.Kind != feed.KindQuote || in.lowest != 1 {
					continue
				}
				q := k.Quote()
				require.Positive(t, q.Bid, describe(&k))
				require.LessOrEqual(t, float64(q.Ask/in.tickSize), 4*in.highest(), describe(&k))
			}
		})
	}
}

// A split that would make the price too high is reported, and not made.
func TestSplitThatWouldBeTooHighIsReported(t *testing.T) {
	c := hour(t, "every 10s: split AAPL 1:1000")
	c.DayLength = time.Minute + time.Second
	var notes []string
	c.Happens = func(e Event) {
		if e.Note != "" {
			notes = append(notes, e.Note)
		}
	}
	play(t, c)
	note := "it is not split: its price would be too high for 64 bits"
	assert.Equal(t, []string{note, note, note}, notes, "three splits fit")
}
