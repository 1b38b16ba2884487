package feed_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/decimal"
)

// A definition turns integers of the feed into decimals and back, exactly.
func ExampleDefinition_Price() {
	apple := feed.Definition{Symbol: "AAPL", Venue: "XNAS", PriceExponent: -2}
	fmt.Println(apple.Price(27090), apple.Size(300))
	bid, err := apple.ParsePrice("270.96")
	fmt.Println(bid, err)
	_, err = apple.ParsePrice("270.965")
	fmt.Println(err)
	// Output:
	// 270.9 300
	// 27096 <nil>
	// price "270.965" of AAPL@XNAS: the number has more decimals than its unit
}

// Prices and sizes are exact in both directions at every exponent, and errors name the text and the instrument.
func TestDefinitionPrices(t *testing.T) {
	for _, exponent := range []int8{feed.MinExponent, -9, -2, 0, 3, feed.MaxExponent} {
		d := feed.Definition{Symbol: "X", PriceExponent: exponent, SizeExponent: exponent}
		for _, v := range []int64{0, 1, 9, 10, 12345, feed.MaxSize} {
			back, err := d.ParsePrice(d.Price(v))
			require.NoError(t, err)
			assert.Equal(t, v, back)
			back, err = d.ParsePrice(d.Price(-v))
			require.NoError(t, err)
			assert.Equal(t, -v, back)
			back, err = d.ParseSize(d.Size(v))
			require.NoError(t, err)
			assert.Equal(t, v, back)
		}
	}
	d := feed.Definition{Symbol: "X", PriceExponent: -2}
	assert.Equal(t, "-", d.Price(feed.NoPrice))
	_, err := d.ParsePrice("-")
	assert.ErrorIs(t, err, decimal.ErrSyntax)
	_, err = d.ParsePrice("1e30")
	assert.ErrorIs(t, err, decimal.ErrOverflow)
	_, err = d.ParseSize("0.5")
	assert.ErrorIs(t, err, decimal.ErrInexact)
	_, err = d.ParseSize("-1")
	assert.ErrorIs(t, err, decimal.ErrOverflow)
	assert.EqualError(t, err, `size "-1" of X: decimal number out of range`)
}

// The methods of a nil definition are those of an empty one.
func TestNilDefinition(t *testing.T) {
	for _, d := range []*feed.Definition{nil, {}} {
		assert.Equal(t, []string{"", "27090", "-", "300"}, []string{d.Name(), d.Price(27090), d.Price(feed.NoPrice), d.Size(300)})
		price, err := d.ParsePrice("27090")
		require.NoError(t, err)
		size, err := d.ParseSize("300")
		require.NoError(t, err)
		assert.Equal(t, []int64{27090, 300}, []int64{price, size})
		_, err = d.ParsePrice("270.9")
		assert.EqualError(t, err, `price "270.9" of : the number has more decimals than its unit`)
		assert.EqualError(t, d.Validate(), "definition: Symbol is empty")
	}
}
