package feed

import (
	"fmt"
	"strings"
	"tickfeed/feed/decimal"
	"unicode"
	"unicode/utf8"
)

// A Definition describes an instrument. An instrument is one symbol at one venue; its id stays the same when it
// is defined again. The methods of a nil Definition, that of an instrument whose definition is not known, are those of an empty
// one: it has no name, and its prices and sizes are integers.
type Definition struct {
	Symbol string // at most MaxText bytes, not empty
	Venue  string // where it trades; empty if that does not matter
	// A price p of this instrument means p × 10^PriceExponent units of Currency; a size s
	// means s × 10^SizeExponent shares, contracts or coins.
	PriceExponent int8
	SizeExponent  int8
	Currency      string // ISO 4217 code if there is one; may be empty
	TickSize      int64  // least price step, in price units; 0 if not known
	Lot           int64  // size of a round lot, in size units; 0 if not known
}

// MaxText bounds symbols, venues, currencies and textual trade ids, in bytes.
const MaxText = 64

// MinExponent and MaxExponent bound the exponents of a definition.
const (
	MinExponent = -18
	MaxExponent = 18
)

// Validate returns an error that names the first field out of bounds.
func (d *Definition) Validate() error {
	d = d.orEmpty()
	if d.Symbol == "" {
		return fmt.Errorf("definition: Symbol is empty")
	}
	if !plain(d.Symbol) || !plain(d.Venue) || !plain(d.Currency) {
		for _, f := range []struct{ name, text string }{
			{"Symbol", d.Symbol}, {"Venue", d.Venue}, {"Currency", d.Currency},
		} {
			if err := ValidateText(f.text); err != nil {
				return fmt.Errorf("definition of %.64q: %s: %w", d.Symbol, f.name, err)
			}
		}
	}
	if d.PriceExponent < MinExponent || d.PriceExponent > MaxExponent {
		return fmt.Errorf("definition of %q: PriceExponent must be from %d to %d, got %d",
			d.Symbol, MinExponent, MaxExponent, d.PriceExponent)
	}
	if d.SizeExponent < MinExponent || d.SizeExponent > MaxExponent {
		return fmt.Errorf("definition of %q: SizeExponent must be from %d to %d, got %d",
			d.Symbol, MinExponent, MaxExponent, d.SizeExponent)
	}
	if d.TickSize < 0 || d.Lot < 0 {
		return fmt.Errorf("definition of %q: TickSize and Lot must not be negative", d.Symbol)
	}
	return nil
}

// ValidateText returns an error if s cannot be a symbol, venue, currency or trade id: it is longer than
// MaxText, not UTF-8, or has control characters.
func ValidateText(s string) error {
	if len(s) > MaxText {
		return fmt.Errorf("%.64q… is %d bytes, at most %d", s, len(s), MaxText)
	}
	if plain(s) {
		return nil
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%q is not UTF-8", s)
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) }); i >= 0 {
		return fmt.Errorf("%q has a control character at byte %d", s, i)
	}
	return nil
}

// plain reports whether s is at most MaxText bytes of printable ASCII, as nearly every text is.
func plain(s string) bool {
	odd := len(s) > MaxText
	for i := range len(s) {
		odd = odd || s[i]-' ' > '~'-' '
	}
	return !odd
}

// orEmpty returns d, or an empty definition if d is nil.
func (d *Definition) orEmpty() *Definition {
	if d == nil {
		return &Definition{}
	}
	return d
}

// Name returns SYMBOL@VENUE, or SYMBOL if there is no venue.
func (d *Definition) Name() string {
	d = d.orEmpty()
	if d.Venue == "" {
		return d.Symbol
	}
	return d.Symbol + "@" + d.Venue
}

// Price returns price v of the instrument as an exact decimal, 27090 at exponent -2 as "270.9"; "-" for [NoPrice].
func (d *Definition) Price(v int64) string {
	if v == NoPrice {
		return "-"
	}
	return string(decimal.Append(nil, v, d.orEmpty().PriceExponent))
}

// Size returns size v of the instrument as an exact decimal.
func (d *Definition) Size(v int64) string {
	return string(decimal.Append(nil, v, d.orEmpty().SizeExponent))
}

// ParsePrice returns the price that s states, exactly, in units of 10^PriceExponent; the reverse of Price. The error wraps
// [decimal.ErrSyntax], [decimal.ErrInexact] if the instrument has fewer decimals than s, or [decimal.ErrOverflow].
func (d *Definition) ParsePrice(s string) (int64, error) {
	v, err := decimal.Parse(s, d.orEmpty().PriceExponent)
	if err != nil {
		return 0, fmt.Errorf("price %.64q of %s: %w", s, d.Name(), err)
	}
	return v, nil
}

// ParseSize returns the size that s states, exactly, in units of 10^SizeExponent. The errors are those of ParsePrice; a size
// below 0 is a decimal.ErrOverflow.
func (d *Definition) ParseSize(s string) (int64, error) {
	v, err := decimal.Parse(s, d.orEmpty().SizeExponent)
	if err == nil && v < 0 {
		err = decimal.ErrOverflow
	}
	if err != nil {
		return 0, fmt.Errorf("size %.64q of %s: %w", s, d.Name(), err)
	}
	return v, nil
}
