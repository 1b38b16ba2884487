// Package decimal reads and writes decimal numbers as integers in units of a power of ten, exactly.
//
//	price, err := decimal.Parse("270.90", -2) // 27090 hundredths
//	if err != nil {
//		return err // decimal.ErrInexact for "270.905"
//	}
//	text := decimal.Append(nil, price, -2)    // 270.9
//	m, e, err := decimal.Scan("270.90")       // 2709 and -1: the number needs one decimal
//
// Nothing here rounds, goes through a float, or allocates.
package decimal

import (
	"errors"
	"math"
	"math/bits"
	"strconv"
)

// These errors say why a text is not a price or size. [Parse] and [Scan] return them unwrapped,
// so that callers can compare them with ==.
var (
	ErrSyntax   = errors.New("not a decimal number")
	ErrInexact  = errors.New("the number has more decimals than its unit")
	ErrOverflow = errors.New("decimal number out of range")
)

// pow10 holds the powers of ten that fit 64 bits.
var pow10 = [20]uint64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9,
	1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
}

// Parse returns the v for which v × 10^exponent is exactly the number in s; it never rounds and never
// goes through a float. s is an optional sign, digits with at most one point, and an optional power of ten:
// 157.8, -0.25, .5, 1e-7, 1E+3. Parse does not allocate.
//
// The error is ErrSyntax, ErrInexact if v would have to be a fraction, or
// ErrOverflow if v is beyond ±math.MaxInt64 (feed.NoPrice is never the result).
func Parse[S string | []byte](s S, exponent int8) (int64, error) {
	// This fast path takes at most 19 digits without a power of ten: nearly every number.
	i := 0
	if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		i = 1
	}
	if len(s)-i > 19 || len(s) == i {
		return parseAny(s, exponent)
	}
	negative := s[0] == '-'
	m, point := uint64(0), -1
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c-'0' <= 9:
			m = m*10 + uint64(c-'0')
		case c == '.' && point < 0:
			point = i
		default:
			return parseAny(s, exponent)
		}
	}
	shift := -int(exponent)
	if point >= 0 {
		shift -= len(s) - 1 - point
	}
	if uint(shift) >= uint(len(pow10)) || m == 0 {
		return parseAny(s, exponent)
	}
	hi, lo := bits.Mul64(m, pow10[shift])
	if hi != 0 || lo > math.MaxInt64 {
		return 0, ErrOverflow
	}
	if negative {
		return -int64(lo), nil
	}
	return int64(lo), nil
}

func parseAny[S string | []byte](s S, exponent int8) (int64, error) {
	m, e, err := Scan(s)
	if err != nil || m == 0 {
		return 0, err
	}
	shift := e - int(exponent)
	if shift < 0 {
		return 0, ErrInexact // m is not divisible by ten
	}
	if shift >= len(pow10) {
		return 0, ErrOverflow
	}
	hi, lo := bits.Mul64(magnitude(m), pow10[shift])
	if hi != 0 || lo > math.MaxInt64 {
		return 0, ErrOverflow
	}
	if m < 0 {
		return -int64(lo), nil
	}
	return int64(lo), nil
}

// maxPower bounds the power of ten that a text may state.
const maxPower = 999_999

// Scan reads s as mantissa × 10^exponent with the greatest possible exponent: the mantissa does not end
// in 0, and 0 has exponent 0. "157.80" is 1578 and -1, and -exponent is the number of decimals that the number
// needs. Any number of zeros may precede or follow the significant digits. Scan does not allocate.
//
// The error is ErrSyntax, or ErrOverflow if the mantissa is beyond
// ±math.MaxInt64 or the power of ten that s states beyond ±999,999.
func Scan[S string | []byte](s S) (mantissa int64, exponent int, err error) {
	i := 0
	if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		i = 1
	}
	var (
		m        uint64
		zeros    int // after the last digit in m
		digits   int
		decimals int
		point    bool
		overflow bool
	)
	for ; i < len(s) && s[i]|0x20 != 'e'; i++ {
		c := s[i]
		if c == '.' && !point {
			point = true
			continue
		}
		if c-'0' > 9 {
			return 0, 0, ErrSyntax
		}
		digits++
		if point {
			decimals++
		}
		if c == '0' {
			zeros++
			continue
		}
		if m == 0 {
			zeros = 0
		}
		if zeros+1 >= len(pow10) {
			overflow = true
			continue
		}
		hi, lo := bits.Mul64(m, pow10[zeros+1])
		m = lo + uint64(c-'0')
		overflow = overflow || hi != 0 || lo > math.MaxInt64 || m > math.MaxInt64
		zeros = 0
	}
	if digits == 0 {
		return 0, 0, ErrSyntax
	}
	if i < len(s) {
		exponent, err = scanPower(s[i+1:])
		if err == ErrSyntax {
			return 0, 0, err
		}
	}
	switch {
	case overflow:
		return 0, 0, ErrOverflow
	case m == 0:
		return 0, 0, nil
	case err != nil:
		return 0, 0, err
	}
	mantissa = int64(m)
	if s[0] == '-' {
		mantissa = -mantissa
	}
	return mantissa, exponent - decimals + zeros, nil
}

// scanPower parses the part of a number after the e.
func scanPower[S string | []byte](s S) (int, error) {
	i := 0
	if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		i = 1
	}
	if i == len(s) {
		return 0, ErrSyntax
	}
	power := 0
	for ; i < len(s); i++ {
		if s[i]-'0' > 9 {
			return 0, ErrSyntax
		}
		power = min(power*10+int(s[i]-'0'), maxPower+1)
	}
	if power > maxPower {
		return 0, ErrOverflow
	}
	if s[0] == '-' {
		power = -power
	}
	return power, nil
}

// Append appends v × 10^exponent to dst as plain text: every digit, no power of ten, no zeros at the end
// of the decimals, and no point without decimals. 1578 with exponent -1 gives 157.8, and so does 157800 with
// -3; 2 with 3 gives 2000, and -25 with -2 gives -0.25. feed.NoPrice is a number like any other here. Parse
// with the same exponent returns v.
func Append(dst []byte, v int64, exponent int8) []byte {
	u := magnitude(v)
	if v < 0 {
		dst = append(dst, '-')
	}
	if u == 0 {
		return append(dst, '0')
	}
	for ; exponent < 0 && u%10 == 0; exponent++ {
		u /= 10
	}
	if exponent >= 0 {
		dst = strconv.AppendUint(dst, u, 10)
		for ; exponent > 0; exponent-- {
			dst = append(dst, '0')
		}
		return dst
	}
	decimals := -int(exponent)
	whole := uint64(0)
	if decimals < len(pow10) {
		whole, u = u/pow10[decimals], u%pow10[decimals]
	}
	dst = strconv.AppendUint(dst, whole, 10)
	dst = append(dst, '.')
	for range decimals {
		dst = append(dst, '0')
	}
	for i := len(dst) - 1; u > 0; i-- {
		dst[i] = byte('0' + u%10)
		u /= 10
	}
	return dst
}

func magnitude(v int64) uint64 {
	if v < 0 {
		return -uint64(v)
	}
	return uint64(v)
}

// Shift returns v × 10^n. ok is false if the product is not an integer of 64 bits.
func Shift(v int64, n int) (product int64, ok bool) {
	const greatest = 18 // greatest exponent of a power of ten that fits an int64
	switch {
	case v == 0 || n == 0:
		return v, true
	case n > greatest || n < -greatest:
		return 0, false
	case n < 0:
		p := int64(pow10[-n])
		return v / p, v%p == 0
	}
	p := int64(pow10[n])
	product = v * p
	return product, product/p == v
}
