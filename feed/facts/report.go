package facts

import (
	"math"
	"slices"

	"tickfeed/feed"
)

// A Report is what a Meter has measured so far.
type Report struct {
	Whole       Whole
	Instruments []Instrument
}

// An Instrument is the report of one instrument.
type Instrument struct {
	Definition             feed.Definition
	Events                 uint64
	Quotes, Trades, Levels uint64
	First, Last            int64   // event times
	Rate                   float64 // events a second
	// Values has the value of each of Rows by its id, except of rows that do not apply and of rows for which the recording is
	// too short.
	Values map[string]float64
	// Pictures.
	Path       []Point // seconds since the Unix epoch, and mid price
	Returns    []Point // over 10 s in standard deviations, and density
	ACFReturns []Point // lag in steps of 10 s
	ACFAbs     []Point // absolute returns
	ACFSigns   []Point // lag in trades
	Gaps       []Point // time between events in ns, share of events in each octave
	Shape      []Point // seconds since the opening, and events a second
	Volatility []Point // seconds since the opening, and standard deviation of 10 s returns in price units
	Signature  []Point // horizon in seconds, and variance per second as a multiple of that at 300 s
	Impact     []Point // trades, and impact in spreads
	Sizes      []Point // trade size, share of trades in each octave
	Spreads    []Point // spread in price units, share
	Imbalance  []Point // -1 to 1, share of quotes
	Profile    []Point // level, and mean size

	Stops []Stop // the first mostStops times at which trading stopped

	SizeUnit int8 // exponent of the X of Sizes

	dists [4][]float64 // spread, imbalance, times, volume: as Distance compares them
}

// A Stop is a status at which an instrument does not trade continuously: a halt or an auction.
type Stop struct {
	At     int64 // event time
	Status feed.Status
	Reason string
}

// mostStops bounds the stops of an instrument.
const mostStops = 100

// A Point is one point of a picture.
type Point struct{ X, Y float64 }

// Pictures returns the pictures by their names.
func (in *Instrument) Pictures() map[string][]Point {
	return map[string][]Point{
		"path": in.Path, "returns": in.Returns, "acf_returns": in.ACFReturns, "acf_absolute_returns": in.ACFAbs, "acf_signs": in.ACFSigns,
		"gaps": in.Gaps, "events": in.Shape, "volatility": in.Volatility, "signature": in.Signature, "impact": in.Impact,
		"sizes": in.Sizes, "spreads": in.Spreads, "imbalance": in.Imbalance, "profile": in.Profile,
	}
}

// Title returns the symbol of instrument i, with its venue if another instrument has the symbol too.
func (r *Report) Title(i int) string {
	d := &r.Instruments[i].Definition
	for k := range r.Instruments {
		if o := &r.Instruments[k].Definition; k != i && o.Symbol == d.Symbol {
			return d.Name()
		}
	}
	return d.Symbol
}

// Holds reports whether the value of a row lies in its range; ok is false if the instrument has no value.
func (in *Instrument) Holds(r *Row) (holds, ok bool) {
	v, ok := in.Values[r.ID]
	return ok && r.Range.Holds(v), ok
}

// Report returns what was measured. It must be called once, after the last tick.
func (e *Meter) Report() *Report {
	r := &Report{Whole: e.whole.report()}
	for _, in := range e.instruments {
		r.Instruments = append(r.Instruments, in.report())
	}
	return r
}

func (in *instrument) report() Instrument {
	out := Instrument{
		Definition: in.def, Stops: in.stops, Events: in.events, First: in.first, Last: in.last,
		Quotes: in.kinds[feed.KindQuote], Trades: in.kinds[feed.KindTrade], Levels: in.kinds[feed.KindLevel],
		Values: make(map[string]float64),
	}
	span := in.span()
	out.Rate = float64(in.events) / span
	for i := range in.windows {
		in.windows[i].flush()
	}
	apply := map[Only]bool{
		All: true, Quiet: out.Rate >= QuietFrom && out.Rate <= QuietTo, Equities: in.def.SizeExponent == 0 && !in.contracts(),
		Depth: in.book.used && in.book.profile[1].n > 0,
	}
	for i := range Rows {
		row := &Rows[i]
		if !apply[row.Only] {
			continue
		}
		if v := in.value(row.ID); !math.IsNaN(v) && !math.IsInf(v, 0) {
			out.Values[row.ID] = v
		}
	}
	in.draw(&out)
	in.distributions(&out)
	return out
}

// contracts reports whether sizes are contracts, most likely.
func (in *instrument) contracts() bool {
	return in.def.Lot == 1 && in.sizes.count > 0 && in.sizes.quantile(0.5) < 10
}

// span returns the seconds in which events were counted, at least 1.
func (in *instrument) span() float64 {
	if in.live > 1 {
		return float64(in.live)
	}
	return max(float64(in.last-in.first)/1e9, 1)
}

// Least numbers of values from which a statistic is taken.
const (
	leastReturns = 100
	leastTrades  = 300
	leastEvents  = 1000
	leastSeconds = 600
)

// when returns v if enough, and otherwise NaN.
func when(enough bool, v float64) float64 {
	if enough {
		return v
	}
	return math.NaN()
}

// value returns the value of a row, or NaN if too little was measured.
func (in *instrument) value(id string) float64 {
	ns := in.span() * 1e9
	switch id {
	case "1a":
		return when(in.r1.n >= leastSeconds, in.r1.kurtosis())
	case "1b":
		return when(in.r60.n >= leastReturns, in.r60.kurtosis())
	case "1c":
		return in.value("1b") / in.value("1a")
	case "2":
		return when(in.r10.count >= 2*leastReturns, in.r10.tailIndex(0.05))
	case "3a":
		return when(in.acf10.all.n >= leastReturns, in.acf10.at(1))
	case "3b":
		return in.acf60.at(1)
	case "4a":
		return when(in.abs10.all.n >= leastReturns, in.abs10.at(1))
	case "4b":
		return in.abs10.at(6)
	case "4c":
		return in.abs10.at(30)
	case "5":
		return when(in.returns[len(horizons)-1].n >= 12*maxHorizon, in.perSecond(0)/in.perSecond(len(horizons)-1))
	case "6":
		return when(in.changes.all.n >= leastTrades, in.changes.at(1))
	case "7a":
		return in.sign(1)
	case "7b":
		return in.sign(5)
	case "7c":
		return in.sign(10)
	case "7d":
		return in.sign(50)
	case "8":
		return when(in.predicted >= leastTrades, in.followed/in.predicted)
	case "9a":
		return in.response(50)
	case "9b":
		return in.response(1) / in.response(10)
	case "9c":
		return in.response(10) / in.response(50)
	case "9d":
		return in.response(200) / in.response(50)
	case "10a":
		return when(in.gap.n >= leastEvents, math.Sqrt(in.gap.variance())/in.gap.mean())
	case "10b":
		half := in.gaps.quantile(0.5) // no time where most events have the time of the one before
		return when(in.gap.n >= leastEvents && half >= 1, in.gaps.quantile(0.99)/half)
	case "11a":
		return when(in.live >= leastSeconds, in.windows[0].fano(ns))
	case "11b":
		return when(in.live >= leastSeconds, in.windows[1].fano(ns))
	case "12":
		return when(in.live >= leastSeconds, in.windows[1].greatest/(in.windows[1].sum/in.span()))
	case "13a":
		return in.halfHour(&in.shapeN, true)
	case "13b":
		return in.halfHour(&in.shapeN, false)
	case "14":
		return when(in.wide.n >= 24, in.wide.correlation())
	case "15a":
		return when(in.sizes.count >= leastTrades, in.sizes.quantile(0.99)/in.sizes.quantile(0.5))
	case "15b":
		return when(in.sizes.count >= leastTrades, in.sizes.tailIndex(0.05))
	case "15c":
		return when(in.sizes.count >= leastTrades, in.rounds/float64(in.sizes.count))
	case "16":
		slow := in.pair[1].correlation()
		return when(in.pair[1].n >= 12*maxHorizon && slow > 0.1, in.pair[0].correlation()/slow)
	case "17":
		return when(in.r1.n >= leastSeconds, in.still/in.r1.n)
	case "18a":
		return in.deepest() / in.book.profile[0].mean()
	case "18b":
		return in.book.profile[in.levels()-1].mean() / in.deepest()
	case "18c":
		return in.book.cancels / in.book.executions
	case "18d":
		sum := in.book.far
		for _, n := range in.book.arrived {
			sum += n
		}
		return (in.book.arrived[0] + in.book.arrived[1] + in.book.arrived[2]) / sum
	}
	panic("facts: internal error: no row " + id)
}

// perSecond returns the variance of returns over the i-th horizon for each second of it.
func (in *instrument) perSecond(i int) float64 {
	return in.returns[i].variance() / float64(horizons[i])
}

func (in *instrument) sign(lag int) float64 {
	return when(in.signs.all.n >= leastTrades, in.signs.at(lag))
}

// response returns the impact after l trades in spreads.
func (in *instrument) response(l int) float64 {
	for i, at := range impactAt {
		if at == l {
			return when(in.impact[i].n >= 2*leastTrades, in.impact[i].mean()/in.spread.mean())
		}
	}
	return math.NaN()
}

// halfHour returns the mean of the first or last half hour of the day over that of the middle third.
func (in *instrument) halfHour(of *[shapeBins]float64, first bool) float64 {
	end := 0
	for i, s := range in.shapeS {
		if s > 0 {
			end = i + 1
		}
	}
	if end < 2*3600/shapeWidth {
		return math.NaN()
	}
	const half = 1800 / shapeWidth
	mean := func(from, to int) float64 {
		sum, s := 0.0, 0.0
		for i := from; i < to; i++ {
			sum += of[i]
			s += in.shapeS[i]
		}
		return sum / s
	}
	midday := mean(end/3, end-end/3)
	if first {
		return mean(0, half) / midday
	}
	return mean(end-half, end) / midday
}

// levels returns the number of levels in the depth profile.
func (in *instrument) levels() int {
	n := profileDepth
	for n > 1 && in.book.profile[n-1].n < in.book.profile[0].n/2 {
		n--
	}
	return n
}

// deepest returns the greatest mean queue of levels 2 to 4.
func (in *instrument) deepest() float64 {
	most := 0.0
	for i := 1; i < min(4, in.levels()); i++ {
		most = max(most, in.book.profile[i].mean())
	}
	return most
}

// Median returns the median of a row's values over the instruments that have one, and their number.
func (r *Report) Median(id string) (v float64, n int) {
	var all []float64
	for i := range r.Instruments {
		if v, ok := r.Instruments[i].Values[id]; ok {
			all = append(all, v)
		}
	}
	if len(all) == 0 {
		return math.NaN(), 0
	}
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2, len(all)
}
