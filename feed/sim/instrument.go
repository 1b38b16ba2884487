package sim

import (
	"math"

	"tickfeed/feed"
)

// An instrument is the changing state of one instrument. Prices are in its own ticks. Its size is 128 bytes,
// two cache lines, because reading it is most of the cost of an event in a large market.
type instrument struct {
	// fair is the price that the quote follows at the next event.
	fair float64
	// heat is the instrument's own variance as a multiple of the usual one: a GARCH(1,1) process with mean 1,
	// in event time.
	heat float64
	// marketScale and ownScale are the moves of one day, in ticks.
	marketScale, ownScale float64
	spread                float64 // usual spread, in ticks
	ret, variance         float64 // of the climate, when the price last moved

	// The published quote; bid < ask once quoted.
	bid, ask, bidSize, askSize int64

	tickSize int64
	tradeID  int64 // last trade id used
	lowest   int64 // least bid, in ticks
	lot      int32
	dust     uint32 // mask of the random units added to sizes that have decimals
	sizes    sizeClass
	quoted   bool    // there is a quote, and neither a halt nor a night since
	special  special // why events of the instrument are not ordinary ones; 0 if they are
	lastSide int8    // +1 bought, -1 sold, 0 no trade yet
	sector   uint16  // index in climate.sectors; 0 for none
}

// special is a set of reasons why events of an instrument are not ordinary ones.
type special uint8

const (
	halted special = 1 << iota // no quotes and no trades
	closed                     // outside its hours: no quotes and no trades
)

const (
	heatGain   = 0.03
	heatReturn = 0.003
	maxHeat    = 25

	tradeShare = 147 // of 1024 events
	moreFills  = 45  // of 256 fills are followed by another in the same event
	maxFills   = 4

	reopeningRush = 24 // events' worth of excitement at the end of a halt
)

func newInstrument(l *listing) instrument {
	in := instrument{
		fair: l.price, heat: 1, spread: l.spread,
		tickSize: l.definition.TickSize, lot: int32(l.definition.Lot), lowest: 1, sizes: l.sizes,
	}
	if l.signed {
		in.lowest = -1 << 60
	}
	if l.sizes == coins {
		in.dust = 1<<17 - 1
	}
	return in
}

// startDay sets the scale of the day's moves.
func (in *instrument) startDay(l *listing) {
	in.ret, in.variance = 0, 0
	in.special &^= halted
	in.setScale(l, 1)
}

// setScale makes the day's moves k times as large as usual.
func (in *instrument) setScale(l *listing, k float64) {
	in.marketScale, in.ownScale = 0, l.own*k
	if !l.signed {
		in.marketScale, in.ownScale = marketMove*l.beta*in.fair*k, l.own*in.fair*k
	}
}

// overnight moves the price by half a day's move, and slightly back towards the price at which it was first
// listed, so that it stays plausible for any number of days. market and own are standard normal.
func (in *instrument) overnight(l *listing, market, own float64) {
	if l.signed {
		in.fair += float64(0.5*l.own*own) - float64(0.05*(in.fair-l.price))
		return
	}
	back := float64(0.005 * (l.price - in.fair) / max(l.price, in.fair))
	in.fair *= exp(float64(0.5*(float64(marketMove*l.beta*market)+float64(l.own*own))) + back)
	in.fair = max(in.fair, float64(in.lowest)+in.spread)
}

// reopen ends a halt with a new price and raised volatility. normal is standard normal.
func (in *instrument) reopen(normal float64) {
	in.special &^= halted
	in.fair = max(in.fair+float64(2*in.ownScale*normal), float64(in.lowest)+in.spread)
	in.heat = max(in.heat, 8)
}

// move updates the fair price for the time since the instrument's last event.
func (in *instrument) move(ret, variance, normal float64) {
	own := float64(in.ownScale*math.Sqrt(in.heat*max(variance-in.variance, 0))) * normal
	in.fair += float64(in.marketScale*(ret-in.ret)) + float64(own)
	in.ret, in.variance = ret, variance
	in.heat += float64(heatReturn*(1-in.heat)) + float64(heatGain*in.heat*(float64(normal*normal)-1))
	in.heat = min(in.heat, maxHeat)
	in.fair = max(in.fair, float64(in.lowest)+in.spread)
}

// target returns the quote that fits the fair price if spreads are wide times the usual.
func (in *instrument) target(wide float64) (bid, ask int64) {
	half := float64(in.spread * wide * (0.25 + float64(0.25*in.heat)))
	bid = max(int64(math.Floor(in.fair-half+0.5)), in.lowest)
	ask = max(int64(math.Floor(in.fair+half+0.5)), bid+1)
	return bid, ask
}

// buys reports whether the next trade lifts the offer, for r uniform in [0, 1). A purchase is more likely if
// the fair price is nearer to the ask or beyond it, and after another purchase.
func (in *instrument) buys(r float64) bool {
	edge := (in.fair - float64(0.5*float64(in.bid+in.ask))) / float64(in.ask-in.bid)
	return r < 0.5+float64(0.5*edge)+float64(0.15*float64(in.lastSide))
}

// displayed returns a size for a quote, chosen by the bits of r.
func (in *instrument) displayed(r uint64) int64 {
	return displayedLots[in.sizes][r&255]*int64(in.lot) + int64(uint32(r>>8)&in.dust)
}

// another returns a new size for a quote. If the price is unchanged, the size differs from old.
func (in *instrument) another(old int64, samePrice bool, r uint64) int64 {
	size := in.displayed(r)
	if samePrice && size == old {
		size += int64(in.lot)
	}
	return size
}

// dealt returns the size of a trade, chosen by the bits of r.
func (in *instrument) dealt(r uint64) int64 {
	return dealtSizes[in.sizes][r&255] + int64(uint32(r>>8)&in.dust)
}

// putQuote makes t the published quote. It sets each field in place, which is faster than assigning a whole
// tick.
func (in *instrument) putQuote(t *feed.Tick, id feed.InstrumentID, at int64) {
	t.Seq, t.EventTime, t.Instrument = 0, at, id
	t.Kind, t.Flags, t.Side, t.Status = feed.KindQuote, 0, feed.SideNone, feed.StatusUnknown
	t.Values[0], t.Values[1] = in.bid*in.tickSize, in.bidSize
	t.Values[2], t.Values[3] = in.ask*in.tickSize, in.askSize
	t.Extra = nil
}

// conditions returns the conditions of a fill of an order with several fills, or of an odd lot.
func conditions(sweep, odd bool) feed.Conditions {
	switch {
	case sweep && odd:
		return 'F'<<56 | 'I'<<48
	case sweep:
		return 'F' << 56
	case odd:
		return 'I' << 56
	}
	return 0
}

// The size tables, indexed by eight random bits: quantiles of a log-normal distribution, rounded to typical
// sizes.
var (
	displayedLots = sizeTables([sizeClasses]lognormal{
		shares: {median: 2.5, sigma: 0.9}, contracts: {median: 12, sigma: 0.9}, coins: {median: 6e7, sigma: 1.3},
	}, wholeSize)
	dealtSizes = sizeTables([sizeClasses]lognormal{
		shares: {median: 70, sigma: 1.15}, contracts: {median: 1.8, sigma: 1.0}, coins: {median: 1.2e6, sigma: 1.6},
	}, roundedSize)
)

// roundedSize rounds half of the dealt share sizes of 50 and more to whole lots.
func roundedSize(class sizeClass, i int, size float64) int64 {
	if class == shares && size >= 50 && i%2 == 0 {
		return max(100, int64(size/100+0.5)*100)
	}
	return wholeSize(class, i, size)
}

func wholeSize(_ sizeClass, _ int, size float64) int64 { return max(1, int64(size+0.5)) }

type lognormal struct{ median, sigma float64 }

type sizeTable [sizeClasses][256]int64

func sizeTables(of [sizeClasses]lognormal, round func(sizeClass, int, float64) int64) *sizeTable {
	var t sizeTable
	for class, d := range of {
		for i := range t[class] {
			z := math.Sqrt2 * math.Erfinv((float64(i)+0.5)/128-1)
			t[class][i] = round(sizeClass(class), i, d.median*exp(d.sigma*z))
		}
	}
	return &t
}
