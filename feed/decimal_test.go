package feed_test

import (
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// A price is parsed exactly or not at all.
func TestParseDecimalIsExact(t *testing.T) {
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
		got, err := feed.ParseDecimal(c.text, c.exponent)
		require.NoError(t, err, c.text)
		assert.Equal(t, c.want, got, c.text)

		got, err = feed.ParseDecimal([]byte(c.text), c.exponent)
		require.NoError(t, err, c.text)
		assert.Equal(t, c.want, got, "as bytes: %s", c.text)
	}
}

// An inexact, overflowing or malformed number gets the error for its reason.
func TestParseDecimalErrors(t *testing.T) {
	for _, c := range []struct {
		text     string
		exponent int8
		want     error
	}{
		{"157.85", -1, feed.ErrDecimalInexact},
		{"1.5", 0, feed.ErrDecimalInexact},
		{"15", 1, feed.ErrDecimalInexact},
		{"1e-999999", 0, feed.ErrDecimalInexact},
		{"0.00000000000000000000000000000001", -18, feed.ErrDecimalInexact},
		{"9223372036854775808", 0, feed.ErrDecimalOverflow},
		{"-9223372036854775808", 0, feed.ErrDecimalOverflow},
		{"922337203685477.5808", -4, feed.ErrDecimalOverflow},
		{"1844674407370955161600000", 0, feed.ErrDecimalOverflow},
		{"18446744073709551616", 0, feed.ErrDecimalOverflow},
		{"1e19", 0, feed.ErrDecimalOverflow},
		{"1", -19, feed.ErrDecimalOverflow},
		{"10000000000000000000000001", 0, feed.ErrDecimalOverflow},
		{"1e1000000", 0, feed.ErrDecimalOverflow},
		{"", 0, feed.ErrDecimalSyntax},
		{"-", 0, feed.ErrDecimalSyntax},
		{".", 0, feed.ErrDecimalSyntax},
		{"+.", 0, feed.ErrDecimalSyntax},
		{"e5", 0, feed.ErrDecimalSyntax},
		{"1e", 0, feed.ErrDecimalSyntax},
		{"1e+", 0, feed.ErrDecimalSyntax},
		{"1e5x", 0, feed.ErrDecimalSyntax},
		{"1.2.3", 0, feed.ErrDecimalSyntax},
		{"12x.5", -4, feed.ErrDecimalSyntax},
		{" 1", 0, feed.ErrDecimalSyntax},
		{"1,5", -1, feed.ErrDecimalSyntax},
		{"NaN", 0, feed.ErrDecimalSyntax},
		{"--1", 0, feed.ErrDecimalSyntax},
		{"99999999999999999999999x", 0, feed.ErrDecimalSyntax},
	} {
		_, err := feed.ParseDecimal(c.text, c.exponent)
		assert.Equal(t, c.want, err, "%q at %d", c.text, c.exponent)
	}
}

// ScanDecimal returns how many decimals a number needs, whatever zeros it is written with.
func TestScanDecimalReduces(t *testing.T) {
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
		m, e, err := feed.ScanDecimal(c.text)
		require.NoError(t, err, c.text)
		assert.Equal(t, c.mantissa, m, c.text)
		assert.Equal(t, c.exponent, e, c.text)
	}
}

// Prices are printed with every digit and no superfluous zeros.
func TestAppendDecimalIsShortestPlainText(t *testing.T) {
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
		got := feed.AppendDecimal([]byte("price "), c.v, c.exponent)
		assert.Equal(t, "price "+c.want, string(got), "%d, %d", c.v, c.exponent)
	}
}

func TestDecimalsDoNotAllocate(t *testing.T) {
	text, buf := []byte("157.8"), make([]byte, 0, 64)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		v, err := feed.ParseDecimal(text, -4)
		if err != nil {
			t.Error(err)
		}
		if _, err = feed.ParseDecimal(text, 0); err != feed.ErrDecimalInexact {
			t.Error(err)
		}
		buf = feed.AppendDecimal(buf[:0], v, -4)
	}))
}

// ParseDecimal agrees with exact rational arithmetic, and AppendDecimal gives the text back.
func FuzzDecimal(f *testing.F) {
	for _, s := range []string{
		"157.8", "-0.25", "1e-7", "1E+3", "0", ".5", "5.", "9223372036854775807", "9223372036854775808",
		"0.0000000000000000000001", "18446744073709551616", "1e19", "-", "12x.5", "157.80000000000000000000000",
	} {
		f.Add(s, int8(-4))
	}
	f.Fuzz(func(t *testing.T, s string, exponent int8) {
		v, err := feed.ParseDecimal(s, exponent)
		if err == feed.ErrDecimalSyntax {
			return
		}
		m, e, scanErr := feed.ScanDecimal(s)
		if scanErr == nil && m%10 == 0 && (m != 0 || e != 0) {
			t.Fatalf("ScanDecimal(%q) = %d, %d: not reduced", s, m, e)
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
				t.Fatalf("ParseDecimal(%q, %d) = %d, want %v", s, exponent, v, want)
			}
			text := feed.AppendDecimal(nil, v, exponent)
			if back, err := feed.ParseDecimal(text, exponent); err != nil || back != v {
				t.Fatalf("%d, %d prints as %s and reads back as %d, %v", v, exponent, text, back, err)
			}
		case err == feed.ErrDecimalInexact:
			if want.IsInt() {
				t.Fatalf("ParseDecimal(%q, %d) is inexact, want %v", s, exponent, want)
			}
		default:
			if want.IsInt() && want.Num().IsInt64() && want.Num().Int64() != math.MinInt64 {
				t.Fatalf("ParseDecimal(%q, %d): %v, want %v", s, exponent, err, want)
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

func BenchmarkParseDecimal(b *testing.B) {
	text := []byte("157.8125")
	for b.Loop() {
		if _, err := feed.ParseDecimal(text, -4); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendDecimal(b *testing.B) {
	var buf [32]byte
	for b.Loop() {
		feed.AppendDecimal(buf[:0], 1578125, -4)
	}
}
