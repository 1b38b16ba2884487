package feed_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"tickfeed/feed"
)

// A definition stays within the bounds of its fields; the error names the field.
func TestDefinitionValidate(t *testing.T) {
	long := strings.Repeat("é", feed.MaxText/2) // 64 bytes
	for _, c := range []struct {
		name string
		d    feed.Definition
		want string // "" if valid
	}{
		{"least", feed.Definition{Symbol: "A"}, ""},
		{"most", feed.Definition{Symbol: long, Venue: long, Currency: long, PriceExponent: -18, SizeExponent: 18, TickSize: 1, Lot: 1}, ""},
		{"a blank within", feed.Definition{Symbol: "BRK B", Venue: "X"}, ""},
		{"no symbol", feed.Definition{Venue: "XNAS"}, "definition: Symbol is empty"},
		{"long symbol", feed.Definition{Symbol: long + "x"}, "Symbol: "},
		{"long venue", feed.Definition{Symbol: "A", Venue: long + "x"}, `definition of "A": Venue: `},
		{"long currency", feed.Definition{Symbol: "A", Currency: long + "x"}, "is 65 bytes, at most 64"},
		{"escape sequence", feed.Definition{Symbol: "A\x1b[2J"}, `Symbol: "A\x1b[2J" has a control character at byte 1`},
		{"line break", feed.Definition{Symbol: "A", Venue: "\n"}, "has a control character at byte 0"},
		{"text that turns around", feed.Definition{Symbol: "A\u202eB"}, "has a control character at byte 1"},
		{"not UTF-8", feed.Definition{Symbol: "A\xff"}, "is not UTF-8"},
		{"price exponent", feed.Definition{Symbol: "A", PriceExponent: -19}, `definition of "A": PriceExponent must be from -18 to 18, got -19`},
		{"size exponent", feed.Definition{Symbol: "A", SizeExponent: 19}, `definition of "A": SizeExponent must be from -18 to 18, got 19`},
		{"tick size", feed.Definition{Symbol: "A", TickSize: -1}, "TickSize and Lot must not be negative"},
		{"lot", feed.Definition{Symbol: "A", Lot: -1}, "TickSize and Lot must not be negative"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.d.Validate()
			if c.want == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, c.want)
			}
		})
	}
}

// A name has the venue only if there is one.
func TestDefinitionName(t *testing.T) {
	assert.Equal(t, "AAPL", (&feed.Definition{Symbol: "AAPL"}).Name())
	assert.Equal(t, "AAPL@XNAS", (&feed.Definition{Symbol: "AAPL", Venue: "XNAS"}).Name())
}
