package decimal_test

import (
	"math"
	"math/big"
	"strings"
	"testing"
	"tickfeed/feed/decimal"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A price is parsed exactly or not at all.
func TestParseIsExact(t *testing.T) {
	for _, c := range []struct {
		text     string
		exponent int8
		want     int64
	}{
		{"157.8", -4, 1578000},
		{"157.8", -1, 1578},
		{"-0.25", -2, -25},
		{"+0.25", -2, 25},
		{".5", -1, 5},
		{"5.", 0, 5},
		{"0", 0, 0},
		{"-0", -4, 0},
		{"0.000", 3, 0},
		{"0e999999999", 0, 0},
		{"1e-7", -7, 1},
		{"1E+3", 0, 1000},
		{"1E+3", 3, 1},
		{"12.50e1", 0, 125},
		{"157.80000000000000000000000000", -1, 1578},
		{"0000000000000000000000000157.8", -1, 1578},
		{"1000000000000000000000e-20", -1, 100},
		{"0.00000000000000000000000001e26", 0, 1},
		{"9223372036854775807", 0, math.MaxInt64},
		{"-9223372036854775807", 0, -math.MaxInt64},
		{"922337203685477.5807", -4, math.MaxInt64},
		{"9223372036.854775807", -9, math.MaxInt64},
	} {
		got, err := decimal.Parse(c.text, c.exponent)
		require.NoError(t, err, c.text)
		assert.Equal(t, c.want, got, c.text)

		got, err = decimal.Parse([]byte(c.text), c.exponent)
		require.NoError(t, err, c.text)
		assert.Equal(t, c.want, got, "as bytes: %s", c.text)
	}
}

// An inexact, overflowing or malformed number gets the error for its reason.
func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		text     string
		exponent int8
		want     error
	}{
		{"157.85", -1, decimal.ErrInexact},
		{"1.5", 0, decimal.ErrInexact},
		{"15", 1, decimal.ErrInexact},
		{"1e-999999", 0, decimal.ErrInexact},
		{"0.00000000000000000000000000000001", -18, decimal.ErrInexact},
		{"9223372036854775808", 0, decimal.ErrOverflow},
		{"-9223372036854775808", 0, decimal.ErrOverflow},
		{"922337203685477.5808", -4, decimal.ErrOverflow},
		{"1844674407370955161600000", 0, decimal.ErrOverflow},
		{"18446744073709551616", 0, decimal.ErrOverflow},
		{"1e19", 0, decimal.ErrOverflow},
		{"1", -19, decimal.ErrOverflow},
		{"10000000000000000000000001", 0, decimal.ErrOverflow},
		{"1e1000000", 0, decimal.ErrOverflow},
		{"", 0, decimal.ErrSyntax},
		{"-", 0, decimal.ErrSyntax},
		{".", 0, decimal.ErrSyntax},
		{"+.", 0, decimal.ErrSyntax},
		{"e5", 0, decimal.ErrSyntax},
		{"1e", 0, decimal.ErrSyntax},
		{"1e+", 0, decimal.ErrSyntax},
		{"1e5x", 0, decimal.ErrSyntax},
		{"1.2.3", 0, decimal.ErrSyntax},
		{"12x.5", -4, decimal.ErrSyntax},
		{" 1", 0, decimal.ErrSyntax},
		{"1,5", -1, decimal.ErrSyntax},
		{"NaN", 0, decimal.ErrSyntax},
		{"--1", 0, decimal.ErrSyntax},
		{"99999999999999999999999x", 0, decimal.ErrSyntax},
	} {
		_, err := decimal.Parse(c.text, c.exponent)
		assert.Equal(t, c.want, err, "%q at %d", c.text, c.exponent)
	}
}

// Scan returns how many decimals a number needs, whatever zeros it is written with.
func TestScanReduces(t *testing.T) {
	for _, c := range []struct {
		text     string
		mantissa int64
		exponent int
	}{
		{"157.8", 1578, -1},
		{"157.8000", 1578, -1},
		{"1500", 15, 2},
		{"-0.0010", -1, -3},
		{"1e-7", 1, -7},
		{"10e-7", 1, -6},
		{"0.000", 0, 0},
		{"1" + strings.Repeat("0", 300), 1, 300},
		{"0." + strings.Repeat("0", 300) + "1", 1, -301},
	} {
		m, e, err := decimal.Scan(c.text)
		require.NoError(t, err, c.text)
		assert.Equal(t, c.mantissa, m, c.text)
		assert.Equal(t, c.exponent, e, c.text)
	}
}

// Prices are printed with every digit and no superfluous zeros.
func TestAppendIsShortestPlainText(t *testing.T) {
	for _, c := range []struct {
		v        int64
		exponent int8
		want     string
	}{
		{1578, -1, "157.8"},
		{157800, -3, "157.8"},
		{1578000, -4, "157.8"},
		{2, 3, "2000"},
		{-25, -2, "-0.25"},
		{5, -1, "0.5"},
		{100, -2, "1"},
		{0, -18, "0"},
		{0, 18, "0"},
		{1, -18, "0.000000000000000001"},
		{math.MaxInt64, -18, "9.223372036854775807"},
		{math.MaxInt64, -19, "0.9223372036854775807"},
		{math.MaxInt64, -20, "0.09223372036854775807"},
		{math.MinInt64, 0, "-9223372036854775808"},
		{math.MinInt64, -4, "-922337203685477.5808"},
		{7, -128, "0." + strings.Repeat("0", 127) + "7"},
	} {
		got := decimal.Append([]byte("price "), c.v, c.exponent)
		assert.Equal(t, "price "+c.want, string(got), "%d, %d", c.v, c.exponent)
	}
}

func TestNothingAllocates(t *testing.T) {
	text, buf := []byte("157.8"), make([]byte, 0, 64)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		v, err := decimal.Parse(text, -4)
		if err != nil {
			t.Error(err)
		}
		if _, err = decimal.Parse(text, 0); err != decimal.ErrInexact {
			t.Error(err)
		}
		buf = decimal.Append(buf[:0], v, -4)
	}))
}

// Parse agrees with exact rational arithmetic, and Append gives the text back.
func FuzzDecimal(f *testing.F) {
	for _, s := range []string{
		"157.8", "-0.25", "1e-7", "1E+3", "0", ".5", "5.", "9223372036854775807", "9223372036854775808",
		"0.0000000000000000000001", "18446744073709551616", "1e19", "-", "12x.5", "157.80000000000000000000000",
	} {
		f.Add(s, int8(-4))
	}
	f.Fuzz(func(t *testing.T, s string, exponent int8) {
		v, err := decimal.Parse(s, exponent)
		if err == decimal.ErrSyntax {
			return
		}
		m, e, scanErr := decimal.Scan(s)
		if scanErr == nil && m%10 == 0 && (m != 0 || e != 0) {
			t.Fatalf("Scan(%q) = %d, %d: not reduced", s, m, e)
		}
		if i := strings.IndexAny(s, "eE"); len(s) > 200 || i >= 0 && len(s)-i > 5 {
			return // too large to check by rationals
		}
		x, ok := new(big.Rat).SetString(s)
		if !ok {
			t.Fatalf("%q is taken for a number", s)
		}
		want := new(big.Rat).Mul(x, power(-int(exponent)))
		switch {
		case err == nil:
			if want.Cmp(new(big.Rat).SetInt64(v)) != 0 {
				t.Fatalf("Parse(%q, %d) = %d, want %v", s, exponent, v, want)
			}
			text := decimal.Append(nil, v, exponent)
			if back, err := decimal.Parse(text, exponent); err != nil || back != v {
				t.Fatalf("%d, %d prints as %s and reads back as %d, %v", v, exponent, text, back, err)
			}
		case err == decimal.ErrInexact:
			if want.IsInt() {
				t.Fatalf("Parse(%q, %d) is inexact, want %v", s, exponent, want)
			}
		default:
			if want.IsInt() && want.Num().IsInt64() && want.Num().Int64() != math.MinInt64 {
				t.Fatalf("Parse(%q, %d): %v, want %v", s, exponent, err, want)
			}
		}
	})
}

func power(e int) *big.Rat {
	p := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(e, -e))), nil)
	if e < 0 {
		return new(big.Rat).SetFrac(big.NewInt(1), p)
	}
	return new(big.Rat).SetInt(p)
}

func BenchmarkParse(b *testing.B) {
	text := []byte("157.8125")
	for b.Loop() {
		if _, err := decimal.Parse(text, -4); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	var buf [32]byte
	for b.Loop() {
		decimal.Append(buf[:0], 1578125, -4)
	}
}

// A number that is shifted is exact, or is none.
func TestShiftIsExact(t *testing.T) {
	for _, c := range []struct {
		v       int64
		n       int
		product int64
		ok      bool
	}{
		{0, 200, 0, true}, {7, 0, 7, true}, {-7, 2, -700, true}, {700, -2, 7, true}, {9, 18, 9e18, true}, {-9, 18, -9e18, true},
		{10, 18, 0, false}, {7, 19, 0, false}, {7, -19, 0, false}, {705, -1, 0, false},
	} {
		product, ok := decimal.Shift(c.v, c.n)
		assert.Equal(t, c.ok, ok, "%d × 10^%d", c.v, c.n)
		if ok {
			assert.Equal(t, c.product, product, "%d × 10^%d", c.v, c.n)
		}
	}
}
