package sim

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"tickfeed/feed"
)

// A measure is the mean of something in the ticks of an instrument between two times after the opening.
type measure func(j *stageJudge, symbol string, from, to time.Duration) float64

// assertEffect asserts that an event with a length ends after it, that one without goes on until calm, and that both are for
// their instruments alone: each measure of every other instrument changes by the factor against that of the rest, and against
// the same market without the event. The tolerance is of the logarithm.
func assertEffect(t *testing.T, event string, by string, factor, tolerance float64, measures ...measure) {
	t.Helper()
	t.Parallel()
	market := func(text string) *stageJudge {
		c := hour(t, text)
		c.Rate, c.Depth = 100, 3
		return play(t, c)
	}
	var names [2][]string
	for i, symbol := range DefaultUniverse(20).Symbols() {
		names[i%2] = append(names[i%2], symbol)
	}
	event += " " + strings.Join(names[0], ",") + " " + by
	with, without := market("at 10m: "+event+" for 10m\nat 30m: "+event+"\nat 45m: calm"), market("at 10m: calm")
	for _, part := range []struct {
		name     string
		from, to time.Duration
		factor   float64
	}{
		{"while it lasts", 10, 20, factor},
		{"after its length", 21, 30, 1},
		{"until calm", 30, 45, factor},
		{"after calm", 46, 60, 1},
	} {
		for i, of := range measures {
			change := func(symbols []string) (sum float64) {
				for _, s := range symbols {
					from, to := part.from*time.Minute, part.to*time.Minute
					sum += math.Log(of(with, s, from, to)/of(without, s, from, to)) / float64(len(symbols))
				}
				return sum
			}
			got := change(names[0]) - change(names[1])
			t.Logf("%s: %.3f", part.name, math.Exp(got))
			assert.InDelta(t, math.Log(part.factor), got, tolerance, "measure %d %s: %.3f, want %v", i, part.name, math.Exp(got), part.factor)
		}
	}
}

// meanOf returns the mean of what the ticks of a kind are worth.
func meanOf(kind feed.Kind, value func(*feed.Tick) int64) measure {
	return func(j *stageJudge, symbol string, from, to time.Duration) float64 {
		sum, n := 0.0, 0.0
		ticks := j.of(symbol, kind)
		for i := range ticks {
			if at := j.after(ticks[i]); at >= from && at < to {
				sum += float64(value(&ticks[i]))
				n++
			}
		}
		return sum / n
	}
}

// The event spread multiplies the spread while it lasts.
func TestSpreadEvent(t *testing.T) {
	assertEffect(t, "spread", "x4", 4, 0.35, meanOf(feed.KindQuote, func(k *feed.Tick) int64 { return k.Quote().Ask - k.Quote().Bid }))
}

// The event depth divides the sizes of quotes and levels while it lasts.
func TestDepthEvent(t *testing.T) {
	assertEffect(t, "depth", "/10", 0.1, 0.3,
		meanOf(feed.KindQuote, func(k *feed.Tick) int64 { return k.Quote().BidSize + k.Quote().AskSize }),
		meanOf(feed.KindLevel, func(k *feed.Tick) int64 { return k.Level().Size }))
}

// The volatility is measured by moves within 10 s. A part of them is what trades push the price by, which does not change.
func TestVolatilityEvent(t *testing.T) {
	assertEffect(t, "volatility", "x5", 3.5, 0.5, func(j *stageJudge, symbol string, from, to time.Duration) float64 {
		sum, n := 0.0, 0.0
		for at := from + time.Second; at+10*time.Second < to; at += 10 * time.Second {
			sum += math.Pow(math.Log(j.mid(symbol, at+10*time.Second)/j.mid(symbol, at)), 2)
			n++
		}
		return math.Sqrt(sum / n)
	})
}
