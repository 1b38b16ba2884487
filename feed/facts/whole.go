package facts

import (
	"strings"

	"tickfeed/feed"
	"tickfeed/feed/nouns"
)

// A Whole is the load that a feed is: the ticks of all instruments together, those that are not measured too. There are no
// ranges for it, because it depends on the instruments of the feed.
type Whole struct {
	Ticks   uint64  // of the kinds below
	Seconds float64 // from the first tick to the last, without times of an hour or more that have none
	Rate    float64 // ticks a second
	// BusiestSecond and BusiestTenth are the most ticks in a second and in a tenth of one.
	BusiestSecond, BusiestTenth uint64
	// FanoSecond and FanoTenth are the variance of the counts in these windows over their mean: 1 if ticks come independently,
	// more if they come in bursts. They are 0 for less than leastSeconds.
	FanoSecond, FanoTenth  float64
	Quotes, Trades, Levels uint64
}

// Kinds says of which kinds the ticks are: two feeds can be compared only if both have levels, or neither has.
func (w *Whole) Kinds() string {
	var parts []string
	for _, k := range []struct {
		n    uint64
		noun string
	}{{w.Quotes, "quote"}, {w.Trades, "trade"}, {w.Levels, "level"}} {
		if k.n > 0 {
			parts = append(parts, nouns.Count(k.n, k.noun))
		}
	}
	return strings.Join(parts, ", ")
}

// Peak returns the busiest second as a multiple of the mean one.
func (w *Whole) Peak() float64 { return float64(w.BusiestSecond) / max(w.Rate, 1e-9) }

// A load counts the ticks of a feed by their event times, quotes, trades and levels.
type load struct {
	ticks      uint64
	kinds      [feed.MaxKind + 1]uint64
	first, now int64 // event times
	gaps       int64 // ns without a tick, in times of maxGap or more
	second     counts
	tenth      counts
}

func (l *load) add(t *feed.Tick) {
	if t.Flags&feed.FlagSnapshot != 0 || t.EventTime <= 0 {
		return
	}
	switch t.Kind {
	case feed.KindQuote, feed.KindTrade, feed.KindLevel:
	default:
		return
	}
	at := max(l.now, t.EventTime) // windows pass in order, even if a venue's clock is behind the others'
	switch {
	case l.ticks == 0:
		l.first, l.second.window, l.tenth.window = at, second, second/10
	case at-l.now >= int64(maxGap):
		l.gaps += at - l.now
	}
	l.ticks++
	l.kinds[t.Kind]++
	l.now = at
	l.second.add(at)
	l.tenth.add(at)
}

func (l *load) report() Whole {
	l.second.flush()
	l.tenth.flush()
	ns := max(float64(l.now-l.first-l.gaps), 1e9)
	w := Whole{
		Ticks: l.ticks, Seconds: ns / 1e9, Rate: float64(l.ticks) / (ns / 1e9),
		BusiestSecond: uint64(l.second.greatest), BusiestTenth: uint64(l.tenth.greatest),
		Quotes: l.kinds[feed.KindQuote], Trades: l.kinds[feed.KindTrade], Levels: l.kinds[feed.KindLevel],
	}
	if l.ticks > 0 && w.Seconds >= leastSeconds {
		w.FanoSecond, w.FanoTenth = l.second.fano(ns), l.tenth.fano(ns)
	}
	return w
}
