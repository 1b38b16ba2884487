package parquetfile

import (
	"fmt"
	"math/bits"

	"tickfeed/feed"
)

// A Survey determines which types hold all prices and sizes of the ticks passed to Add, and whether
// any event has several ticks. The zero Survey is ready to use.
type Survey struct {
	prices, sizes extents
	more          bool
}

// extents holds the greatest magnitudes by exponent.
type extents [feed.MaxExponent - feed.MinExponent + 1]extent

type extent struct {
	used bool
	most uint64
}

func (x *extents) see(exponent int8, v int64) {
	if v == feed.NoPrice {
		return
	}
	e := &x[int(exponent)-feed.MinExponent]
	e.used = true
	e.most = max(e.most, uint64(max(v, -v)))
}

// Add adds a tick of an instrument with the definition d, which may be nil, to the survey.
func (s *Survey) Add(t *feed.Tick, d *feed.Definition) {
	if d == nil {
		d = &none
	}
	s.more = s.more || t.Flags&feed.FlagMore != 0
	price, size := d.PriceExponent, d.SizeExponent
	switch t.Kind {
	case feed.KindQuote:
		s.prices.see(price, t.Values[0])
		s.sizes.see(size, t.Values[1])
		s.prices.see(price, t.Values[2])
		s.sizes.see(size, t.Values[3])
	case feed.KindTrade, feed.KindCancel, feed.KindLevel:
		s.prices.see(price, t.Values[0])
		s.sizes.see(size, t.Values[1])
	case feed.KindAuction:
		a := t.Auction()
		s.prices.see(price, a.Price)
		s.sizes.see(size, a.Size)
		s.sizes.see(size, a.Imbalance)
	case feed.KindCorrection:
		c := t.Correction()
		s.prices.see(price, c.Trade.Price)
		s.sizes.see(size, c.Trade.Size)
		s.prices.see(price, c.OldPrice)
		s.sizes.see(size, c.OldSize)
	case feed.KindDefinition:
		s.prices.see(price, d.TickSize)
		s.sizes.see(size, d.Lot)
	}
}

// none is the definition of an instrument without a definition.
var none feed.Definition

// A form is how a price or size is stored.
type form uint8

const (
	formInteger form = iota // int64
	formShort               // decimal(18, 9) in an int64
	formLong                // decimal(38, 18) in 16 bytes
)

const (
	shortScale, shortPrecision = 9, 18
	longScale, longPrecision   = 18, 38
)

// form returns the narrowest form that holds all values. formInteger is considered only if integers is true.
func (x *extents) form(integers bool) (form, error) {
	holds := [...]bool{formInteger: integers, formShort: true, formLong: true}
	for i, e := range x {
		if !e.used {
			continue
		}
		exponent := i + feed.MinExponent
		holds[formInteger] = holds[formInteger] && exponent == 0
		holds[formShort] = holds[formShort] && fits(e.most, shortScale+exponent, shortPrecision)
		holds[formLong] = fits(e.most, longScale+exponent, longPrecision)
		if !holds[formInteger] && !holds[formShort] && !holds[formLong] {
			return 0, fmt.Errorf("%d × 10^%d does not fit in decimal(%d, %d)", e.most, exponent, longPrecision, longScale)
		}
		holds[formLong] = true
	}
	for f, ok := range holds {
		if ok {
			return form(f), nil
		}
	}
	return formLong, nil
}

// fits reports whether v × 10^shift is an integer of at most the given number of digits.
func fits(v uint64, shift, digits int) bool {
	if v == 0 {
		return true
	}
	if shift < 0 {
		return false
	}
	hi, lo, ok := scale(v, shift)
	if !ok {
		return false
	}
	limitHi, limitLo, _ := scale(1, digits)
	return hi < limitHi || hi == limitHi && lo < limitLo
}

// scale returns v × 10^shift in 128 bits; shift must not be negative. ok is false if the result does not fit.
func scale(v uint64, shift int) (hi, lo uint64, ok bool) {
	lo = v
	for shift > 0 {
		step := min(shift, len(powers)-1)
		carry, low := bits.Mul64(lo, powers[step])
		over, high := bits.Mul64(hi, powers[step])
		high, c := bits.Add64(high, carry, 0)
		if over+c > 0 {
			return 0, 0, false
		}
		hi, lo = high, low
		shift -= step
	}
	return hi, lo, true
}

// powers holds the powers of ten that fit in 64 bits.
var powers = func() (p [20]uint64) {
	p[0] = 1
	for i := 1; i < len(p); i++ {
		p[i] = 10 * p[i-1]
	}
	return p
}()
