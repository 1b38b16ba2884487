package sim

import (
	"math"
	"math/rand/v2"

	"tickfeed/feed"
)

// A listing describes one instrument before the market first opens.
type listing struct {
	definition feed.Definition
	sizes      sizeClass
	price      float64 // in ticks
	spread     float64 // usual spread in calm times, in ticks
	// beta is the instrument's share in the market's moves, and own the standard deviation of its own moves in
	// one day. They are fractions of the price, except if the price may be negative: then beta is 0 and own is
	// in ticks.
	beta, own float64
	signed    bool    // the price may be negative
	activity  float64 // weight in the events
	sector    string  // "" for none
	hours     hours
}

// A sizeClass selects a distribution of sizes.
type sizeClass uint8

const (
	shares sizeClass = iota
	contracts
	coins
	sizeClasses
)

// MarketMove is the standard deviation of the whole market in one day: a beta of 1.
const MarketMove = 0.009

const marketMove = MarketMove

// universe returns the first n instruments, most active first. They do not depend on a seed, and a larger
// universe begins with the smaller one.
func universe(n int) []listing {
	u := append(make([]listing, 0, max(n, len(wellKnown))), wellKnown[:]...)
	taken := make(map[string]bool, len(wellKnown))
	for i := range u {
		taken[u[i].definition.Symbol] = true
	}
	for name := uint64(0); len(u) < n; name++ {
		if s := ticker(name); !taken[s] {
			u = append(u, madeUpStock(s, len(u)))
		}
	}
	for i := range u {
		u[i].activity = activity(i)
	}
	return u[:n]
}

func activities(listings []listing) []float64 {
	weights := make([]float64, len(listings))
	for i := range listings {
		weights[i] = listings[i].activity
	}
	return weights
}

// wellKnown begins the universe, with prices of about the default date. It has at least one instrument of each
// kind that a program must handle: other tick sizes and exponents, lots, negative prices.
var wellKnown = [...]listing{
	stock("AAPL", 271.00, 1.2, 1.1, 0.011),
	stock("MSFT", 483.00, 2.5, 1.0, 0.010),
	future("ESH6", 6900, 25, -2, 1.0, 1.0, 0.001),
	stock("NVDA", 187.00, 1.0, 1.6, 0.018),
	stock("AMZN", 230.00, 1.3, 1.2, 0.013),
	stock("GOOG", 314.00, 2.0, 1.1, 0.012),
	coin("BTC-USD", 91_500, 80, 0.8, 0.022),
	stock("TSLA", 450.00, 4.0, 1.7, 0.024),
	stock("SPY", 685.00, 1.1, 1.0, 0.001),
	stock("META", 660.00, 6.0, 1.2, 0.015),
	future("CLH6", 57.20, 1, -2, 1.0, 0.3, 0.017),
	stock("QQQ", 615.00, 1.5, 1.2, 0.002),
	future("NQH6", 25_400, 25, -2, 2.0, 1.2, 0.003),
	calendarSpread("ESH6-ESM6", -55.00, 5, -2, 1.0, 6),
	stock("AMD", 215.00, 2.0, 1.7, 0.022),
	coin("ETH-USD", 3150, 10, 1.0, 0.028),
	stock("PLTR", 178.00, 1.8, 1.6, 0.025),
	stock("INTC", 37.00, 1.0, 1.3, 0.020),
	future("GCG6", 4350, 1, -1, 2.0, 0.0, 0.010),
	future("ZNH6", 112.50, 15_625, -6, 1.0, -0.1, 0.002),
	stock("JPM", 325.00, 3.0, 1.0, 0.009),
	stock("BAC", 55.00, 1.0, 1.1, 0.011),
	calendarSpread("CLH6-CLJ6", 0.06, 1, -2, 1.0, 9),
	stock("XOM", 120.00, 1.3, 0.7, 0.011),
	future("6EH6", 1.178, 5, -5, 1.0, 0.1, 0.004),
	stock("WMT", 112.00, 1.2, 0.6, 0.009),
	stock("F", 13.00, 1.0, 1.1, 0.015),
	future("ESM6", 6955, 25, -2, 2.0, 1.0, 0.001),
	coin("SOL-USD", 135, 2, 1.2, 0.035),
	stock("NFLX", 94.00, 1.5, 1.1, 0.016),
	stock("KO", 70.00, 1.0, 0.4, 0.007),
	stock("BA", 218.00, 5.0, 1.1, 0.015),
	future("ESZ6", 7060, 25, -2, 6.0, 1.0, 0.002),
	stock("BRK.A", 750_000, 60_000, 0.7, 0.007),
}

const venue = "SIM"

func stock(symbol string, price, spread, beta, own float64) listing {
	lot := int64(100) // round lots by price, as in Regulation NMS, 17 CFR 242.600(b)(93)
	switch {
	case price > 10_000:
		lot = 1
	case price > 1000:
		lot = 10
	case price > 250:
		lot = 40
	}
	return listing{
		definition: feed.Definition{
			Symbol: symbol, Venue: venue, PriceExponent: -2, Currency: "USD", TickSize: 1, Lot: lot,
		},
		price: math.Round(price * 100), spread: spread, beta: beta, own: own,
	}
}

func future(symbol string, price float64, tick int64, exponent int8, spread, beta, own float64) listing {
	for range -exponent {
		price *= 10
	}
	return listing{
		definition: feed.Definition{
			Symbol: symbol, Venue: venue, PriceExponent: exponent, Currency: "USD", TickSize: tick, Lot: 1,
		},
		sizes: contracts, price: math.Round(price / float64(tick)), spread: spread, beta: beta, own: own,
	}
}

func calendarSpread(symbol string, price float64, tick int64, exponent int8, spread, own float64) listing {
	l := future(symbol, price, tick, exponent, spread, 0, own)
	l.signed = true
	return l
}

func coin(symbol string, price, spread, beta, own float64) listing {
	l := stock(symbol, price, spread, beta, own)
	l.definition.SizeExponent, l.definition.Lot = -8, 1
	l.sizes = coins
	return l
}

// madeUpStock returns an instrument with a made-up symbol. The less active its place in the universe is, the
// wider is its spread.
func madeUpStock(symbol string, place int) listing {
	r := rand.New(rand.NewPCG(uint64(place), 0x756e697665727365))
	price := min(max(exp(3.5+float64(0.9*r.NormFloat64())), 3), 2500)
	beta := max(0.2, 1.0+float64(0.4*r.NormFloat64()))
	own := 0.008 + float64(0.022*float64(r.Float64()*r.Float64()))
	basisPoints := min(0.6+float64(0.25*math.Sqrt(float64(place))), 60)
	l := stock(symbol, price, max(1, float64(price*basisPoints)/100), beta, own)
	if place%16 == 15 {
		l.definition.PriceExponent, l.definition.TickSize = -4, 100
	}
	return l
}

// ticker returns the n-th made-up symbol: four letters, or five once those are used up. All are different. Only
// the first letter may be a vowel, so that no symbol spells a word.
func ticker(n uint64) string {
	const first, others = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "BCDFGHJKLMNPQRSTVWXYZ"
	const short = 26 * 21 * 21 * 21
	length, count := 4, uint64(short)
	if n >= short {
		n -= short
		length, count = 5, short*21
	}
	n = (n*100_003 + 12_345) % count // a permutation: 100,003 is a prime that does not divide count
	var b [5]byte
	for i := length - 1; i > 0; i-- {
		b[i] = others[n%21]
		n /= 21
	}
	b[0] = first[n]
	return string(b[:length])
}
