package sim

import (
	"math"
	"math/rand/v2"
)

// climate is shared by all instruments: the volatility of the market, and the market's own moves. It changes in
// steps, once per epoch, and is linear within an epoch. The volatility follows the U-shaped day whatever the
// Shape of the ticks.
//
// Arithmetic in this package separates products from sums by conversions, and uses its own exp: fused
// multiply-add and the library's assembly differ between machines, but the ticks must not.
type climate struct {
	rng *rand.Rand
	// mood is the logarithm of the market's volatility, less its mean: an Ornstein-Uhlenbeck process with
	// standard deviation moodSwing that reverts to the mean within 1/moodsPerDay of a day.
	mood float64

	spread float64 // current factor of the usual spreads
	pace   float64 // current variance per unit of time, as a multiple of the day's mean

	// The market's return and the day's variance so far, at from (in units since the opening), and their growth
	// per unit since then. Over a whole day the mean variance is 1, and so is the variance of the return.
	from                           int64
	ret0, retSlope, var0, varSlope float64

	// sectors are the returns of the sectors beyond that of the market; the first is none.
	sectors []sector
	// flat leaves out the shape of the day, if each instrument has hours of its own.
	flat bool
	// shape is the variance by equal parts of the day, as multiples of the mean, in a market with a Profile; nil otherwise.
	shape steps
}

// A sector is the return, at climate.from and per unit since then, that the instruments of a sector share.
type sector struct {
	name      string
	ret, rise float64
}

// sectorMove is the standard deviation of a sector's own return, as a multiple of the market's.
const sectorMove = 0.7

func newClimate(rng *rand.Rand, listings []listing) climate {
	c := climate{rng: rng, sectors: make([]sector, 1)}
	for i := range listings {
		if name := listings[i].sector; c.sectorOf(name) == 0 && name != "" {
			c.sectors = append(c.sectors, sector{name: name})
		}
	}
	return c
}

// sectorOf returns the index of the sector called name, or 0 if there is none.
func (c *climate) sectorOf(name string) uint16 {
	for i := range c.sectors {
		if c.sectors[i].name == name {
			return uint16(i)
		}
	}
	return 0
}

// sector returns the return of sector i since the opening, beyond that of the market.
func (c *climate) sector(i uint16, now int64) float64 {
	s := &c.sectors[i]
	return s.ret + float64(s.rise*float64(now-c.from))
}

const (
	moodSwing   = 0.46
	moodsPerDay = 60
)

// open begins a day.
func (c *climate) open() {
	c.from, c.ret0, c.retSlope, c.var0, c.varSlope = 0, 0, 0, 0, 0
	for i := range c.sectors {
		c.sectors[i].ret, c.sectors[i].rise = 0, 0
	}
}

// step begins the epoch at now, which is epoch units long; dayUnits is the length of the day.
func (c *climate) step(now, epoch, dayUnits int64) {
	for i := range c.sectors {
		c.sectors[i].ret = c.sector(uint16(i), now)
	}
	c.ret0, c.var0 = c.at(now)
	c.from = now
	share := float64(epoch) / float64(dayUnits)
	done := float64(now) / float64(dayUnits)

	keep := exp(-share * moodsPerDay)
	c.mood = float64(c.mood*keep) + float64(moodSwing*math.Sqrt(1-float64(keep*keep))*c.rng.NormFloat64())
	variance := exp(float64(2*c.mood) - 2*moodSwing*moodSwing)
	c.spread, c.pace = math.Sqrt(variance), variance
	if c.shape != nil {
		c.pace *= c.shape.at(done)
	} else if !c.flat {
		c.spread *= 1 + float64(1.5*exp(-done/0.02))
		c.pace *= dayShape(done)
	}
	grown := c.pace * share
	c.varSlope = grown / float64(epoch)
	c.retSlope = math.Sqrt(grown) * c.rng.NormFloat64() / float64(epoch)
	for i := 1; i < len(c.sectors); i++ {
		c.sectors[i].rise = sectorMove * math.Sqrt(grown) * c.rng.NormFloat64() / float64(epoch)
	}
}

// at returns the market's return and variance since the opening.
func (c *climate) at(now int64) (ret, variance float64) {
	d := float64(now - c.from)
	return c.ret0 + float64(c.retSlope*d), c.var0 + float64(c.varSlope*d)
}

// swing returns the market's mood in standard deviations.
func (c *climate) swing() float32 { return float32(c.mood / moodSwing) }

// slopes is the shape of a day above shapeFloor: a steep and a slow slope at either end.
var slopes = [...]struct{ height, width float64 }{{2.2, 0.04}, {0.9, 0.2}, {1.6, 0.05}, {0.7, 0.2}}

const (
	openSlopes = 2 // the first openSlopes slopes rise to the opening, the others to the close
	shapeFloor = 0.35
)

// dayShape returns the tick rate after part s of a day, as a multiple of the day's mean. It is U-shaped:
// highest at the opening, lowest past noon.
func dayShape(s float64) float64 {
	sum := shapeFloor
	for i, e := range slopes {
		if i < openSlopes {
			sum += float64(e.height * exp(-s/e.width))
		} else {
			sum += float64(e.height * exp((s-1)/e.width))
		}
	}
	return sum / shapeTotal
}

// dayDone returns the integral of dayShape from 0 to s: 1 at the end of the day.
func dayDone(s float64) float64 { return shapeSum(s) / shapeTotal }

var shapeTotal = shapeSum(1)

func shapeSum(s float64) float64 {
	sum := float64(shapeFloor * s)
	for i, e := range slopes {
		if i < openSlopes {
			sum += float64(e.height * e.width * (1 - exp(-s/e.width)))
		} else {
			sum += float64(e.height * e.width * (exp((s-1)/e.width) - exp(-1/e.width)))
		}
	}
	return sum
}

// fade returns exp(-x) for x ≥ 0, accurate to nine digits.
func fade(x float64) float64 {
	if x < 0.01 {
		return fadeSlightly(x)
	}
	if x > 600 {
		return 0
	}
	// exp(-x) is 2 to the power of -n, times an entry of the table, times the exp of a rest below 1/256.
	steps := float64(x * (fadeSteps / math.Ln2))
	n := int64(steps)
	rest := float64(float64(steps-float64(n)) * (math.Ln2 / fadeSteps))
	power := math.Float64frombits(uint64(1023-n/fadeSteps) << 52)
	return float64(power*fades[n%fadeSteps]) * fadeSlightly(rest)
}

// fadeSlightly is fade for x < 0.01.
func fadeSlightly(x float64) float64 { return 1 - float64(x*(1-float64(x*(0.5-float64(x*(1.0/6)))))) }

const fadeSteps = 256

// fades are the powers of 2 with exponents from 0 down to -1, in fadeSteps steps.
var fades = func() (t [fadeSteps]float64) {
	for i := range t {
		t[i] = exp(-float64(i) * math.Ln2 / fadeSteps)
	}
	return t
}()

// exp returns e to the power x, rounded alike on every machine.
func exp(x float64) float64 {
	if x < -700 {
		return 0
	}
	k := math.Floor(float64(x*math.Log2E) + 0.5)
	r := x - float64(k*math.Ln2)
	p := 1.0
	for i := 14; i > 0; i-- {
		p = 1 + float64(r*p)/float64(i)
	}
	return math.Ldexp(p, int(k))
}
