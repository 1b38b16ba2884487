package sim

import (
	"math"
	"math/bits"

	"tickfeed/feed"
)

// An instrument is the changing state of one instrument. Prices are in its own ticks. Its size is 128 bytes,
// two cache lines, because reading it is most of the cost of an event in a large market.
type instrument struct {
	// fair is the price that the quote follows.
	fair          float64
	ret, variance float64 // of the climate, as far as the price knows them
	// heat is the instrument's own variance as a multiple of the usual one: a GARCH(1,1) process with mean 1,
	// in event time.
	heat     float32
	overshot float32 // part of the fair price, in ticks, that will be taken back: see overreaction

	// The published quote; bid < ask once quoted.
	bid, ask, bidSize, askSize int64

	tickSize int64
	tradeID  int64 // last trade id used
	lowest   int64 // least bid, in ticks
	// marketScale and ownScale are the moves of one day, in ticks, and spread is the usual spread.
	marketScale, ownScale, spread float32
	perEvent                      float32  // share of one event in the day's variance
	push                          float32  // ticks by which an order moves the price: see impact
	expected                      [2]int16 // the side of the next order as two kinds of other traders expect it, in units of 1/certain
	lot                           int32
	dust                          uint32 // mask of the random units added to sizes that have decimals
	parentLeft                    uint16 // orders that the parent order at hand still has
	sector                        uint16 // index in climate.sectors; 0 for none
	sizes                         sizeClass
	quoted                        bool    // there is a quote, and neither a halt nor a night since
	special                       special // why events of the instrument are not ordinary ones; 0 if they are
	side                          int8    // of the parent order at hand: +1 or -1
}

// special is a set of reasons why events of an instrument are not ordinary ones.
type special uint8

const (
	halted     special = 1 << iota // no quotes and no trades
	closed                         // outside its hours, or delisted: no quotes and no trades
	quiet                          // no events, and no status that says so
	locked                         // the bid is the ask, or above it, and nothing trades
	limited                        // trades stay within a band
	scaled                         // sizes are larger or smaller than usual
	remembered                     // its trades may be busted
)

const (
	heatGain   = 0.03
	heatReturn = 0.003
	maxHeat    = 25

	// eventTime is the part of an instrument's own variance that comes with its events; the rest comes with
	// time. Volatility follows activity (Clark 1973; Ané, Geman 2000), which gives returns over a second their
	// fat tails.
	eventTime = 0.65
	// marketLag is the time, in seconds, in which an instrument's price learns of the market's move. Returns over a
	// second are less correlated for it (Epps 1979).
	marketLag = 1.4
	// overreaction is the part by which the price answers the instrument's own news too strongly at first; it is
	// taken back within marketLag (Hasbrouck 1993: transitory parts of prices).
	overreaction = 0.42

	// Orders: one event in eleven is an order that trades, with 1.5 fills on average.
	tradeShare     = 93  // of 1024 events
	deepTradeShare = 62  // of 1024 events, if the book behind the best levels is published: more events are seen
	moreFills      = 128 // of 256 fills are followed by another in the same event
	maxFills       = 8

	// Orders are children of parent orders, whose lengths have a Pareto distribution: that is why signs have a
	// long memory (Lillo, Mike, Farmer, arXiv cond-mat/0412708). A child keeps the parent's side in all but
	// strays of 256 cases.
	parentExponent = 1.3
	maxParent      = 150
	strays         = 20

	// spreadPerTrade is the usual spread in standard deviations of the price from one order to the next:
	// spreads and volatility per trade are proportional (Wyart et al., arXiv physics/0603084).
	spreadPerTrade = 2.0
	// impact is the move, in spreads, that an order causes whose side is no more expected than the other. The
	// other traders expect a side by averages of the past ones, a fast and a slow one, and as their liquidity
	// answers the order that they expect, only the surprise moves the price (Bouchaud et al., arXiv
	// cond-mat/0307332): the price is no more predictable than the market's, although the orders are. The
	// weights are fitted to the memory of the parent orders: the impact rises for some ten orders, and stays.
	impact        = 0.24
	fastForesight = 0.40
	slowForesight = 0.33
	certain       = 1 << 14

	// A quote moves if it is more than slack spreads from its target; the sizes tell before where it will go.
	slack = 0.25
	// shy is how far, in spreads, a side that moves away goes beyond its target at most: liquidity is taken away in
	// a hurry and comes back slowly, so that the price answers the news at once and more than it must.
	shy = 0.6
	// flickers of 256 quotes that would only change a size step away by a part of the spread instead.
	flickers = 24

	reopeningRush = 24 // events' worth of excitement at the end of a halt
)

func newInstrument(l *listing) instrument {
	in := instrument{
		fair: l.price, heat: 1, spread: float32(l.spread), side: 1,
		tickSize: l.definition.TickSize, lot: int32(l.definition.Lot), lowest: 1, sizes: l.sizes,
	}
	if l.signed {
		in.lowest = -int64(in.highest())
	}
	if l.sizes == coins {
		in.dust = 1<<17 - 1
	}
	return in
}

// startDay sets the scale of the day's moves, and what follows from it, for a day that is part of the climate's, with
// the given mean numbers of events and orders of the instrument.
func (in *instrument) startDay(l *listing, events, orders, part float64) {
	in.ret, in.variance, in.overshot = 0, 0, 0
	in.special &^= halted
	market, own := in.moves(l)
	move := math.Sqrt(float64(market*market) + float64(own*own))
	perOrder := move / math.Sqrt(max(orders, 1))
	most := move / 4
	if !l.signed {
		most = min(most, in.fair*mostSpread)
	}
	in.spread = float32(min(max(l.spread, min(spreadPerTrade*perOrder, most)), in.widest()))
	in.push = float32(impact * spreadPerTrade * perOrder)
	in.perEvent = float32(part / events)
	in.setScale(l, 1)
}

// moves returns the moves of a usual day, in ticks: with the market, and the instrument's own.
func (in *instrument) moves(l *listing) (market, own float64) {
	if l.signed {
		return 0, l.own
	}
	return marketMove * l.beta * in.fair, l.own * in.fair
}

// setScale makes the day's moves of instrument id k times as large as usual.
func (m *Market) setScale(id uint32, k float64) {
	if m.habits != nil {
		m.habits[id].setScale(&m.instruments[id], &m.listings[id], k)
		return
	}
	m.instruments[id].setScale(&m.listings[id], k)
}

// setScale makes the day's moves k times as large as usual. The part of the variance that comes from the orders is not
// in the instrument's own.
func (in *instrument) setScale(l *listing, k float64) {
	market, own := in.moves(l)
	orders := float64(flowPart * (float64(market*market) + float64(own*own)))
	in.marketScale = float32(market * k)
	in.ownScale = float32(math.Sqrt(max(float64(own*own)-orders, 0.1*own*own)) * k)
}

// flowPart is the part of the day's variance that comes from the surprises of the order flow.
const flowPart = 1.2 * impact * impact * spreadPerTrade * spreadPerTrade

// mostSpread bounds the spread that follows from the volatility, as a share of the price.
const mostSpread = 0.002

// A scaling is how far the price moves in a day, how wide the usual spread is, and what one order moves, in ticks; and the share of
// one event in the day's variance.
type scaling struct{ market, own, spread, push, perEvent float64 }

// scales returns the scales at present.
func (in *instrument) scales() scaling {
	return scaling{float64(in.marketScale), float64(in.ownScale), float64(in.spread), float64(in.push), float64(in.perEvent)}
}

func (in *instrument) setScales(s scaling) {
	most := in.highest()
	in.marketScale, in.ownScale, in.spread = float32(min(s.market, most)), float32(min(s.own, most)), float32(min(s.spread, in.widest()))
	in.push, in.perEvent = float32(min(s.push, most)), float32(s.perEvent)
}

// shift multiplies the price by 1 + by. Of an instrument whose price may be negative, 1 % is the volatility of a day.
func (in *instrument) shift(l *listing, by float64) {
	if l.signed {
		in.fair = in.bounded(in.fair + float64(by*100*l.own))
		return
	}
	in.fair = in.bounded(in.fair * (1 + by))
}

// overnight moves the price by half a day's move, and slightly back towards the price at which it was first
// listed, so that it stays plausible for any number of days. market and own are standard normal.
func (in *instrument) overnight(l *listing, market, own float64) {
	if l.signed {
		in.fair = in.bounded(in.fair + float64(0.5*l.own*own) - float64(0.05*(in.fair-l.price)))
		return
	}
	back := float64(0.005 * (l.price - in.fair) / max(l.price, in.fair))
	in.fair *= exp(float64(0.5*(float64(marketMove*l.beta*market)+float64(l.own*own))) + back)
	in.fair = in.bounded(in.fair)
}

// reopen ends a halt with a new price and raised volatility. normal is standard normal.
func (in *instrument) reopen(normal float64) {
	in.special &^= halted
	in.fair = in.bounded(in.fair + float64(2*float64(in.ownScale)*normal))
	in.heat = max(in.heat, 8)
}

// bounded returns fair, or the lowest price that leaves room for a quote, or the highest.
func (in *instrument) bounded(fair float64) float64 {
	return min(max(fair, float64(in.lowest)+float64(in.spread)), in.highest())
}

// highest returns the highest fair price, in ticks. Twice as much, the highest ask, is exact as a float64, and the levels
// above it still fit 64 bits in units of the price.
func (in *instrument) highest() float64 {
	return float64(2 * maxTicksOf(in.tickSize))
}

// widest returns the widest usual spread, in ticks.
func (in *instrument) widest() float64 { return in.highest() / 8 }

// maxTicksOf returns the highest price at which an instrument of a tick size, at most maxStep, can be listed, in ticks.
func maxTicksOf(tickSize int64) int64 {
	return 1 << min(50, 56-bits.Len64(uint64(tickSize)))
}

// move updates the fair price for the time since the instrument's last event. pace is the variance that an event
// brings, as a multiple of the day's mean, and lag is marketLag as a share of the day's variance.
func (in *instrument) move(ret, variance, pace, lag, normal float64) {
	passed, heat := max(variance-in.variance, 0), float64(in.heat)
	forgotten := passed / (passed + lag)
	learnt := forgotten * (ret - in.ret)
	own := float64(in.ownScale) * math.Sqrt(float64(heat*(float64((1-eventTime)*passed)+float64(eventTime*pace*float64(in.perEvent))))) * normal
	back := float64(forgotten * float64(in.overshot))
	in.fair = in.bounded(in.fair + float64(float64(in.marketScale)*learnt) + float64((1+overreaction)*own) - back)
	in.overshot += float32(float64(overreaction*own) - back)
	in.ret += learnt
	in.variance = variance
	heat += float64(heatReturn*(1-heat)) + float64(heatGain*heat*(float64(normal*normal)-1))
	in.heat = float32(min(heat, maxHeat))
}

// target returns the quote that fits the fair price if spreads are wide times the usual.
func (in *instrument) target(wide float64) (bid, ask int64) {
	half := float64(float64(in.spread) * wide * (0.25 + float64(0.25*float64(in.heat))))
	bid = max(int64(math.Floor(in.fair-half+0.5)), in.lowest)
	ask = max(int64(math.Floor(min(in.fair+half, 2*in.highest())+0.5)), bid+1)
	return bid, ask
}

// edge returns how far the fair price is from the middle of the quote: -1 at the bid, +1 at the ask. Where the bid has moved to
// the ask, and the ask not yet, it is 0 or infinite.
func (in *instrument) edge() float64 {
	off := float64(2*in.fair) - float64(in.bid+in.ask)
	if off == 0 {
		return 0 // 0/0 is not a number
	}
	return off / float64(in.ask-in.bid)
}

// flow is how the sides of orders follow one another.
type flow struct {
	parents    *[1024]uint16 // quantiles of the number of orders of a parent order beyond its first
	strays     uint64        // of 256 orders, those that leave the side of their parent order
	fast, slow float64       // weights of the two averages of past sides, over certain
}

// usualFlow is the flow of a market without a Profile.
var usualFlow = flow{&parents, strays, fastForesight / certain, slowForesight / certain}

// order returns the side of the next order, +1 or -1, chosen by the bits of r, and moves the fair price by its
// surprise. A new parent order more likely buys if the fair price is nearer to the ask or beyond it.
func (in *instrument) order(r uint64, pace float64, f *flow) int8 {
	if in.parentLeft == 0 {
		in.parentLeft = f.parents[r>>20&1023]
		in.side = 1
		if uniform(r<<20) > 0.5+float64(0.5*in.edge()) {
			in.side = -1
		}
	} else {
		in.parentLeft--
	}
	side := in.side
	if r>>8&255 < f.strays {
		side = -side
	}
	surprise := float64(side) - float64(f.fast*float64(in.expected[0])) - float64(f.slow*float64(in.expected[1]))
	in.fair = in.bounded(in.fair + float64(float64(in.push)*math.Sqrt(float64(in.heat)*pace)*surprise))
	in.expect(side)
	return side
}

// expect adds the side of an order to the averages, the fast and the slow one.
func (in *instrument) expect(side int8) {
	in.expected[0] += int16((int32(side)*certain - int32(in.expected[0])) * 26 / 64)
	in.expected[1] += int16((int32(side)*certain - int32(in.expected[1])) * 3 / 64)
}

// parents are those of the usual flow.
var parents = parentsOf(parentExponent, maxParent)

// parentsOf returns quantiles of the number of orders of a parent order beyond its first.
func parentsOf(exponent, longest float64) (t [1024]uint16) {
	for i := range t {
		u := (float64(i) + 0.5) / float64(len(t))
		t[i] = uint16(min(exp(-math.Log(u)/exponent), longest)) - 1
	}
	return t
}

// displayed returns a size for a quote on side, +1 for the bid and -1 for the ask, chosen by the bits of r. The
// side towards which the price is going is the larger one: its orders wait, and those of the other side have been
// taken or taken away (Gould, Bonart, arXiv 1512.03492).
func (in *instrument) displayed(r uint64, side float64) int64 {
	return in.size(r, leans[int(min(max(float64(side*in.edge())+1, 0), 2)*(float64(len(leans)-1)/2))])
}

// size returns a size of the book, chosen by the bits of r, times a factor.
func (in *instrument) size(r uint64, factor float64) int64 {
	lots := int64(float64(float64(displayedLots[in.sizes][r&1023])*factor) + 0.5)
	return max(lots, 1)*int64(in.lot) + int64(uint32(r>>8)&in.dust)
}

// leans are the factors of sizes by the edge, from -1 to +1.
var leans = func() (t [33]float64) {
	for i := range t {
		t[i] = exp(lean*(float64(i)/float64(len(t)/2)-1)) / leanMean
	}
	return t
}()

const (
	lean     = 1.7
	leanMean = 1.25 // mean of the factors, about: most edges are small
)

// another returns a new size for a quote. If the price is unchanged, the size differs from old.
func (in *instrument) another(old int64, samePrice bool, r uint64, side float64) int64 {
	size := in.displayed(r, side)
	if samePrice && size == old {
		size += int64(in.lot)
	}
	return size
}

// dealt returns the size of a trade, chosen by the bits of r. Many sizes of shares are whole lots.
func (in *instrument) dealt(r uint64) int64 {
	size := int64(dealtSizes[in.sizes][r&1023]) + int64(uint32(r>>10)&in.dust)
	if half := int64(in.lot / 2); in.sizes == shares && size >= half && r>>48&255 < roundLots {
		return max((size+half)/int64(in.lot), 1) * int64(in.lot)
	}
	return size
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

// The size tables, indexed by ten random bits: quantiles of a log-normal distribution whose upper tail is that of
// a Pareto distribution, in whole units.
var (
	displayedLots = sizeTables([sizeClasses]sizes{
		shares: {median: 4, sigma: 0.9}, contracts: {median: 12, sigma: 0.9}, coins: {median: 6e7, sigma: 1.3},
	})
	dealtSizes = sizeTables([sizeClasses]sizes{
		shares: {median: 60, sigma: 1.0}, contracts: {median: 1.8, sigma: 1.0}, coins: {median: 1.2e6, sigma: 1.6},
	})
)

// sizes is a distribution of sizes. Beyond its quantile tailFrom it has the tail index tailExponent: sizes of
// trades have one of about 1.5 (Gopikrishnan et al., arXiv cond-mat/0008113).
type sizes struct{ median, sigma float64 }

const (
	roundLots    = 85 // of 256 sizes of shares that are not much less than a lot
	tailFrom     = 0.9
	tailExponent = 1.5
)

type sizeTable [sizeClasses][1024]uint32

func sizeTables(of [sizeClasses]sizes) *sizeTable {
	var t sizeTable
	for class, d := range of {
		quantile := func(q float64) float64 { return d.median * exp(d.sigma*math.Sqrt2*math.Erfinv(2*q-1)) }
		for i := range t[class] {
			q := (float64(i) + 0.5) / float64(len(t[class]))
			size := quantile(min(q, tailFrom))
			if q > tailFrom {
				size *= exp(math.Log((1-tailFrom)/(1-q)) / tailExponent)
			}
			t[class][i] = uint32(min(max(1, size+0.5), math.MaxUint32))
		}
	}
	return &t
}
