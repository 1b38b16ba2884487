package facts

import (
	"math"

	"tickfeed/feed"
)

// Sizes and times of the rings and tables of an instrument, all of which are bounded.
const (
	second       = int64(1e9)
	mids         = 512 // ring of mid prices, one a second
	maxHorizon   = 300 // seconds
	opening      = 300 // seconds of a day, whose wide quotes would hide what the signature plot shows
	marks        = 256 // ring of trades, for the impact
	shapeBins    = 288 // of shapeWidth each: one day
	shapeWidth   = 300 // seconds
	pathPoints   = 512 // of the price path; its interval doubles when they are used up
	profileDepth = 10  // levels of a side in the depth profile
	imbalances   = 20  // bins of the queue imbalance
)

var (
	horizons  = [...]int{1, 2, 5, 10, 30, 60, 120, maxHorizon} // seconds
	impactAt  = [...]int{1, 2, 3, 5, 10, 20, 50, 100, 200}     // trades
	signLags  = []int{1, 2, 3, 5, 10, 20, 50, 100}
	returnLag = []int{1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 25, 30}
)

// An instrument accumulates the measurements of one instrument. Prices are in units of 10^-headroom of those of its first
// definition, because a later one may be finer; the mid price is twice as fine, so that it is a whole number.
type instrument struct {
	def            feed.Definition
	unit, sizeUnit int8 // exponents of prices and sizes here
	price          scale
	size           scale
	partner        *instrument // correlated with; nil if there is none

	kinds       [feed.MaxKind + 1]uint64
	events      uint64
	inEvent     bool
	first, last int64 // times of events
	gaps        histogram
	gap         moments // seconds
	windows     [3]counts
	live        int64 // seconds with a quote

	stops []Stop

	quote  feed.Quote
	quoted bool
	mid    int64
	// Sampled once a second.
	run      int // seconds since the quote began
	samples  [mids]int64
	returns  [len(horizons)]moments // overlapping, without the opening
	r1, r60  moments
	r10      histogram
	acf10    autocorrelation
	abs10    autocorrelation
	acf60    autocorrelation
	still    float64 // returns over a second that are 0
	fresh    [2]bool // lastR1 and lastR60 are of this second
	lastR1   float64
	lastR60  float64
	pair     [2]comoments // with the partner, at 1 s and 60 s
	dist     [returnBins]float64
	wide     comoments // log spread and log volatility, 5 minutes
	spread5  float64
	sq5      float64
	n5       float64
	shapeSq  [shapeBins]float64 // squared returns over 10 s by time of day
	shapeN   [shapeBins]float64 // events
	shapeS   [shapeBins]float64 // seconds
	dayBegan int64              // second of the day's first sample
	path     path

	spread    moments // of quotes, in price units
	spreads   histogram
	balance   [imbalances]float64
	lean      [2]float64 // imbalanced quotes since the mid last moved: to the bid, to the ask
	followed  float64
	predicted float64

	trades    int
	signs     autocorrelation
	changes   autocorrelation
	lastPrice int64
	priced    bool // there is a lastPrice
	sizes     histogram
	volume    float64
	rounds    float64
	ring      [marks]mark
	impact    [len(impactAt)]moments

	book book
}

// A mark is a trade: its side, and the mid price before it.
type mark struct {
	sign float64
	mid  int64
}

// returnBins are the bins of the distribution of returns over 10 s, in tenths of a standard deviation so far, from -5 to +5.
const returnBins = 100

func newInstrument() *instrument {
	in := &instrument{
		price: scale{1, 1}, size: scale{1, 1},
		acf10: newAutocorrelation(returnLag...), abs10: newAutocorrelation(returnLag...), acf60: newAutocorrelation(1),
		signs: newAutocorrelation(signLags...), changes: newAutocorrelation(1),
	}
	for i, w := range [...]int64{second / 10, second, 10 * second} {
		in.windows[i].window = w
	}
	return in
}

// add measures one tick.
func (in *instrument) add(t *feed.Tick) {
	switch t.Kind {
	case feed.KindDefinition:
		in.define(*t.Definition())
		return
	case feed.KindStatus:
		if t.Status != feed.StatusTrading && t.Status != feed.StatusUnknown {
			in.silence()
		}
		if (t.Status == feed.StatusHalted || t.Status == feed.StatusAuction) && t.EventTime > 0 && len(in.stops) < mostStops {
			stop := Stop{At: t.EventTime, Status: t.Status}
			if t.Extra != nil {
				stop.Reason = t.Extra.Reason
			}
			in.stops = append(in.stops, stop)
		}
		if t.TradingDay() != 0 {
			in.dayBegan = 0
		}
		return
	case feed.KindClear:
		in.book.clear(t.Side)
	case feed.KindQuote, feed.KindTrade, feed.KindLevel:
	default:
		return
	}
	in.kinds[t.Kind]++
	if !in.inEvent {
		in.event(t.EventTime)
	}
	in.inEvent = t.Flags&feed.FlagMore != 0
	switch t.Kind {
	case feed.KindQuote:
		q := t.Quote()
		if q.Bid == feed.NoPrice || q.Ask == feed.NoPrice || q.Bid > q.Ask {
			break // one-sided or crossed: the mid price stays
		}
		q.Bid, q.Ask = in.price.of(q.Bid), in.price.of(q.Ask)
		in.addQuote(q)
	case feed.KindTrade:
		in.addTrade(t.Trade())
	case feed.KindLevel:
		in.book.add(t.Level())
	}
	if !in.inEvent {
		in.book.endEvent()
	}
}

// A scale converts prices or sizes from the units of the definition in force.
type scale struct{ times, by int64 }

func newScale(from, to int8) scale {
	s := scale{1, 1}
	for ; from > to && s.times < 1e15; from-- {
		s.times *= 10
	}
	for ; from < to && s.by < 1e15; from++ {
		s.by *= 10
	}
	return s
}

func (s scale) of(v int64) int64 { return v * s.times / s.by }

// headroom is the number of decimals that prices, and sizes that have decimals, may need beyond those of the first definition.
const headroom = 4

func (in *instrument) define(d feed.Definition) {
	if in.def.Symbol == "" {
		in.unit, in.sizeUnit = max(d.PriceExponent, -100)-headroom, d.SizeExponent
		if d.SizeExponent < 0 {
			in.sizeUnit = max(d.SizeExponent, -100) - headroom
		}
	}
	if d.PriceExponent != in.def.PriceExponent {
		in.book.clear(feed.SideBoth) // its prices and sizes are in the old units
	}
	in.def, in.price, in.size = d, newScale(d.PriceExponent, in.unit), newScale(d.SizeExponent, in.sizeUnit)
}

// event counts the beginning of an event.
func (in *instrument) event(at int64) {
	if in.events++; in.events == 1 {
		in.first = at
	} else if gap := at - in.last; gap >= 0 && gap < int64(maxGap) {
		in.gaps.add(uint64(gap))
		in.gap.add(float64(gap) / 1e9)
	}
	in.last = max(in.last, at)
	for i := range in.windows {
		in.windows[i].add(at)
	}
	if in.dayBegan != 0 {
		if b := (at/second - in.dayBegan) / shapeWidth; b >= 0 && b < shapeBins {
			in.shapeN[b]++
		}
	}
}

// silence ends the quote: returns do not reach across it.
func (in *instrument) silence() {
	in.quoted, in.run, in.n5, in.spread5, in.sq5 = false, 0, 0, 0, 0
	in.lean = [2]float64{}
	in.acf10.cut()
	in.abs10.cut()
	in.acf60.cut()
	in.signs.cut()
	in.changes.cut()
	in.trades, in.priced = 0, false
}

func (in *instrument) addQuote(q feed.Quote) {
	mid := q.Bid + q.Ask
	if in.quoted && mid != in.mid {
		up, down := in.lean[0], in.lean[1]
		in.predicted += up + down
		if mid < in.mid {
			up, down = down, up
		}
		in.followed += up
		in.lean = [2]float64{}
	}
	in.quote, in.quoted, in.mid = q, true, mid
	in.spread.add(float64(q.Ask - q.Bid))
	in.spreads.add(uint64(q.Ask - q.Bid))
	if total := q.BidSize + q.AskSize; q.BidSize > 0 && q.AskSize > 0 && total > 0 {
		lean := float64(q.BidSize-q.AskSize) / float64(total)
		in.balance[min(int((lean+1)/2*imbalances), imbalances-1)]++
		switch {
		case lean > 0.5:
			in.lean[0]++
		case lean < -0.5:
			in.lean[1]++
		}
	}
}

func (in *instrument) addTrade(tr feed.Trade) {
	if tr.Size > 0 {
		in.sizes.add(uint64(in.size.of(tr.Size)))
		in.volume += float64(tr.Size)
		if tr.Size%in.lot() == 0 {
			in.rounds++
		}
		in.book.traded(tr)
	}
	if tr.Side != feed.SideBuy && tr.Side != feed.SideSell {
		return
	}
	sign := 1.0
	if tr.Side == feed.SideSell {
		sign = -1
	}
	price := in.price.of(tr.Price)
	if in.priced {
		in.changes.add(float64(price - in.lastPrice))
	}
	in.lastPrice, in.priced = price, true
	in.signs.add(sign)
	if !in.quoted {
		return
	}
	in.ring[in.trades%marks] = mark{sign, in.mid}
	for i, l := range impactAt {
		if l > in.trades {
			break
		}
		m := &in.ring[(in.trades-l)%marks]
		in.impact[i].add(m.sign * float64(in.mid-m.mid) / 2)
	}
	in.trades++
}

// lot returns the round lot: 100 where the definition states none and sizes are whole.
func (in *instrument) lot() int64 {
	if in.def.Lot > 1 {
		return in.def.Lot
	}
	return 100
}

// sample is called once a second of event time, number n since the Unix epoch.
func (in *instrument) sample(n int64) {
	in.fresh = [2]bool{}
	if !in.quoted {
		return
	}
	in.live++
	if in.dayBegan == 0 {
		in.dayBegan = n
	}
	bin := (n - in.dayBegan) / shapeWidth
	inDay := bin >= 0 && bin < shapeBins
	if inDay {
		in.shapeS[bin]++
	}
	in.path.add(n, float64(in.mid)/2)
	in.samples[in.run%mids] = in.mid
	back := func(seconds int) float64 {
		return float64(in.mid-in.samples[(in.run-seconds)%mids]) / 2
	}
	for i, h := range horizons {
		if h > in.run || n-in.dayBegan < int64(opening+h) {
			break
		}
		in.returns[i].add(back(h))
	}
	if in.run >= 1 {
		r := back(1)
		in.r1.add(r)
		if r == 0 {
			in.still++
		}
		in.lastR1, in.fresh[0] = r, true
	}
	if in.run >= 60 {
		in.lastR60, in.fresh[1] = back(60), true
		if n%60 == 0 {
			in.r60.add(in.lastR60)
			in.acf60.add(in.lastR60)
		}
	}
	if n%10 == 0 && in.run >= 10 {
		r := back(10)
		in.r10.add(uint64(math.Abs(2 * r)))
		in.acf10.add(r)
		in.abs10.add(math.Abs(r))
		if sd := math.Sqrt(in.acf10.all.variance()); sd > 0 {
			in.dist[min(max(int(math.Floor(r/sd*10))+returnBins/2, 0), returnBins-1)]++
		}
		in.sq5 += r * r
		if inDay {
			in.shapeSq[bin] += r * r
		}
	}
	in.spread5 += float64(in.quote.Ask - in.quote.Bid)
	in.n5++
	if n%300 == 0 {
		if in.n5 >= 250 && in.sq5 > 0 && in.spread5 > 0 {
			in.wide.add(math.Log(in.spread5/in.n5), math.Log(in.sq5)/2)
		}
		in.spread5, in.sq5, in.n5 = 0, 0, 0
	}
	in.run++
	in.book.sample()
}

// correlate adds the returns of this second and of the partner's.
func (in *instrument) correlate() {
	o := in.partner
	if o == nil {
		return
	}
	if in.fresh[0] && o.fresh[0] {
		in.pair[0].add(in.lastR1, o.lastR1)
	}
	if in.fresh[1] && o.fresh[1] {
		in.pair[1].add(in.lastR60, o.lastR60)
	}
}

// A path is a series of prices over time with at most pathPoints points.
type path struct {
	points []Point
	step   int64 // seconds between points
	next   int64
}

func (p *path) add(n int64, price float64) {
	if p.step == 0 {
		p.step = 1
	}
	if n < p.next {
		return
	}
	if len(p.points) == pathPoints {
		for i := range pathPoints / 2 {
			p.points[i] = p.points[2*i]
		}
		p.points = p.points[:pathPoints/2]
		p.step *= 2
	}
	p.points = append(p.points, Point{float64(n), price})
	p.next = n + p.step
}
