package textfile

import (
	"bytes"
	"fmt"
	"math"
	"strconv"

	"tickfeed/feed"
	"tickfeed/feed/decimal"
)

// An extent is the range of the numbers of an instrument.
type extent struct {
	price, size int64 // the greatest magnitudes seen
	volume      int64 // the sum of the sizes of trades
}

// numbers parses the prices and sizes of r exactly, and makes the exponents of def finer if
// they need more decimals.
func (d *desk) numbers(r *row, kind feed.Kind, def *feed.Definition) *LineError {
	before := *def
	if kind == feed.KindDefinition {
		if bad := describe(r, def); bad != nil {
			return bad
		}
		before = *def
	}
	s := &shapes[kind]
	if d.hasDepth(r, kind) {
		if bad := d.deepNumbers(r, def); bad != nil {
			return bad
		}
	}
	price, size := def.PriceExponent, def.SizeExponent
	var bad *LineError
	if def.PriceExponent, bad = d.exact(r, s.prices, def.PriceExponent); bad != nil {
		return bad
	}
	if def.SizeExponent, bad = d.exact(r, s.sizes, def.SizeExponent); bad != nil {
		return bad
	}
	if d.hasDepth(r, kind) && (def.PriceExponent != price || def.SizeExponent != size) {
		if bad := d.deepNumbers(r, def); bad != nil { // again, with the decimals of the best level
			return bad
		}
	}
	for _, f := range s.sizes {
		if d.values[f] < 0 {
			return r.bad(f, "is negative", nil)
		}
	}
	if kind == feed.KindDefinition {
		return d.steps(r, def)
	}
	if *def == before {
		return nil
	}
	var ok, fits bool
	def.TickSize, ok = finer(def.TickSize, before.PriceExponent, def.PriceExponent)
	def.Lot, fits = finer(def.Lot, before.SizeExponent, def.SizeExponent)
	if !ok || !fits {
		return &LineError{Reason: "the line needs so many decimals that the tick size or lot of its instrument does not fit 64 bits"}
	}
	return nil
}

// finer converts v from units of exponent from to units of the finer exponent to. It returns false if the result does not fit
// 64 bits.
func finer(v int64, from, to int8) (int64, bool) {
	for ; from > to && v != 0; from-- {
		if v > math.MaxInt64/10 {
			return 0, false
		}
		v *= 10
	}
	return v, true
}

// exact parses fields as multiples of 10^exponent, or of a finer unit if one of them needs
// it, and returns the exponent used. Empty fields are 0.
func (d *desk) exact(r *row, fields []field, exponent int8) (int8, *LineError) {
	for {
		next, rounded := exponent, int64(0)
		for _, f := range fields {
			d.values[f] = 0
			if !r.has(f) {
				continue
			}
			scale, cell := scaleOf(r, f), r.cell(f)
			v, err := decimal.Parse(cell, exponent-scale)
			if err == nil {
				d.values[f] = v
				continue
			}
			if m, e, ok := denoise(cell); ok && err == decimal.ErrInexact && !r.isOwn() && e+int(scale) >= feed.MinExponent {
				if v, ok := finer(m, int8(e)+scale, exponent); ok && e+int(scale) >= int(exponent) {
					d.values[f] = v
					rounded++
				} else {
					next = min(next, int8(e)+scale)
				}
				continue
			}
			need, bad := decimals(r, f, exponent, scale, err)
			if bad != nil {
				return 0, bad
			}
			next = min(next, need)
		}
		if next == exponent {
			d.rounded += rounded
			return exponent, nil
		}
		exponent = next
	}
}

// denoise removes the rounding error of a program that adds numbers as floats:
// 0.30000000000000004 becomes 0.3. The result is m × 10^e. ok is false if b has no such error: b
// must be the text of a float, either the shortest text or the one of 17 digits, must have 16 or 17 digits,
// and must have at most 12 digits after it is rounded to 15.
func denoise(b []byte) (m int64, e int, ok bool) {
	if len(b) < 16 {
		return 0, 0, false
	}
	m, e, err := decimal.Scan(b)
	size := m
	if size < 0 {
		size = -size
	}
	if err != nil || size < 1e15 || size >= 1e17 {
		return 0, 0, false
	}
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil || !isText64(f, -1, m, e) && !isText64(f, 16, m, e) {
		return 0, 0, false
	}
	var buf [32]byte
	unit := int64(10) // unit of the fifteenth digit
	if size >= 1e16 {
		unit = 100
	}
	size = (size + unit/2) / unit
	if e += len(strconv.AppendInt(buf[:0], unit, 10)) - 1; size%1000 != 0 {
		return 0, 0, false
	}
	for size%10 == 0 {
		size /= 10
		e++
	}
	if m < 0 {
		size = -size
	}
	return size, e, true
}

// isText64 reports whether the text of f, with precision digits after the first one (-1 for the shortest
// text), is m × 10^e.
func isText64(f float64, precision int, m int64, e int) bool {
	var buf [32]byte
	m2, e2, err := decimal.Scan(strconv.AppendFloat(buf[:0], f, 'e', precision, 64))
	return err == nil && m2 == m && e2 == e
}

// reach returns the extent of an instrument after the row r, whose numbers are parsed.
// If the row needs so many decimals that an earlier number would no longer fit, this row is bad, rather
// than every row after it.
func (d *desk) reach(inst *instrument, r *row, kind feed.Kind, def *feed.Definition) (e extent, bad *LineError) {
	s := &shapes[kind]
	if inst != nil {
		var prices, sizes, volume bool
		e.price, prices = finer(inst.extent.price, inst.def.PriceExponent, def.PriceExponent)
		e.size, sizes = finer(inst.extent.size, inst.def.SizeExponent, def.SizeExponent)
		e.volume, volume = finer(inst.extent.volume, inst.def.SizeExponent, def.SizeExponent)
		d.forgot = !volume
		if !prices {
			return e, tooFine(r, s.prices, inst.def.PriceExponent, "prices")
		}
		if !sizes {
			return e, tooFine(r, s.sizes, inst.def.SizeExponent, "sizes")
		}
	}
	if kind == feed.KindDefinition {
		return e, nil
	}
	e.cover(r, d, s.prices, s.sizes)
	if d.hasDepth(r, kind) {
		e.cover(r, d, deepPrices[:2*len(r.deep)], deepSizes[:2*len(r.deep)])
	}
	if v := d.values[fieldSize]; (kind == feed.KindTrade || kind == shapeBoth) && v <= math.MaxInt64-e.volume {
		e.volume += v
	}
	return e, nil
}

// cover extends e to the numbers in prices and sizes.
func (e *extent) cover(r *row, d *desk, prices, sizes []field) {
	for _, f := range prices {
		if r.has(f) {
			e.price = max(e.price, d.values[f], -d.values[f])
		}
	}
	for _, f := range sizes {
		e.size = max(e.size, d.values[f])
	}
}

// tooFine returns the error for the first of fields that needs a finer exponent.
func tooFine(r *row, fields []field, exponent int8, what string) *LineError {
	reason := "needs so many decimals that the " + what + " of its instrument before it do not fit 64 bits"
	for _, f := range fields {
		if _, err := decimal.Parse(r.cell(f), exponent-scaleOf(r, f)); r.has(f) && err != nil {
			return r.bad(f, reason, err)
		}
	}
	return &LineError{Reason: "the line " + reason}
}

// decimals returns the exponent that f, in units of 10^scale, needs if parsing it with exponent failed with err.
func decimals(r *row, f field, exponent, scale int8, err error) (int8, *LineError) {
	switch err {
	case decimal.ErrInexact:
		if _, e, _ := decimal.Scan(r.cell(f)); e+int(scale) >= feed.MinExponent {
			return int8(e) + scale, nil
		}
		return 0, r.bad(f, fmt.Sprintf("needs more than %d decimals", -feed.MinExponent), err)
	case decimal.ErrOverflow:
		return 0, r.bad(f, fmt.Sprintf("does not fit 64 bits in units of 10^%d, which its instrument has or the line needs", exponent), err)
	}
	if bytes.IndexByte(r.cell(f), ',') >= 0 {
		return 0, r.bad(f, "is not a decimal number: decimals are read with a point, thousands without a separator", err)
	}
	return 0, r.bad(f, "is not a decimal number", err)
}
