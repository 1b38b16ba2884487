package itch_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files/itch"
)

// noii is a net order imbalance indicator, field by field as in the table of Nasdaq TotalView-ITCH 5.0.
func noii(direction, cross byte, near, reference [4]byte) []byte {
	m := []byte{0, 50} // length of the message, of BinaryFILE
	m = append(m, 'I')
	m = append(m, 0, 1)                                   // stock locate
	m = append(m, 0, 0)                                   // tracking number
	m = append(m, 0x33, 0xd7, 0x58, 0xc0, 0x90, 0x00)     // timestamp: 15:50
	m = append(m, 0, 0, 0, 0, 0, 1, 0x11, 0x70)           // paired shares: 70,000
	m = append(m, 0, 0, 0, 0, 0, 0, 0x04, 0xb0)           // imbalance shares: 1,200
	m = append(m, direction)                              // imbalance direction
	m = append(m, 'X', 'Y', 'Z', ' ', ' ', ' ', ' ', ' ') // stock
	m = append(m, 0, 0, 0, 1)                             // far price
	m = append(m, near[:]...)                             // near price
	m = append(m, reference[:]...)                        // current reference price
	return append(m, cross, 'L')                          // cross type, price variation indicator
}

// A net order imbalance indicator is an auction at its near price, or at its reference price while there is none.
func TestAuctionsComeFromImbalances(t *testing.T) {
	var none [4]byte
	price := [4]byte{0x00, 0x1c, 0x92, 0x74} // 187.25
	near := [4]byte{0x00, 0x1c, 0x96, 0x5c}  // 187.35
	for _, c := range []struct {
		name string
		raw  []byte
		want feed.Auction
	}{
		{"closing, sell", noii('S', 'C', none, price), feed.Auction{Kind: feed.AuctionClosing, Price: 1_872_500, Size: 70_000, Side: feed.SideSell, Imbalance: 1200}},
		{"opening, buy", noii('B', 'O', none, price), feed.Auction{Kind: feed.AuctionOpening, Price: 1_872_500, Size: 70_000, Side: feed.SideBuy, Imbalance: 1200}},
		{"halt or IPO, no imbalance", noii('N', 'H', none, price), feed.Auction{Kind: feed.AuctionHalt, Price: 1_872_500, Size: 70_000, Imbalance: 1200}},
		{"too few orders for a price", noii('O', 'C', none, none), feed.Auction{Kind: feed.AuctionClosing, Price: feed.NoPrice, Size: 70_000, Imbalance: 1200}},
		{"extended trading close", noii('S', 'A', none, price), feed.Auction{Price: 1_872_500, Size: 70_000, Side: feed.SideSell, Imbalance: 1200}},
		{"the last minutes, with a near price", noii('S', 'C', near, price), feed.Auction{Kind: feed.AuctionClosing, Price: 1_873_500, Size: 70_000, Side: feed.SideSell, Imbalance: 1200}},
		{"a near price alone", noii('S', 'C', near, none), feed.Auction{Kind: feed.AuctionClosing, Price: 1_873_500, Size: 70_000, Side: feed.SideSell, Imbalance: 1200}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ticks, state, stats := read(t, itch.Config{}, writer(c.raw).file(t, "01302020.itch"))
			require.Len(t, ticks, 2)
			assert.Equal(t, "XYZ@XNAS", ticks[0].Definition().Name())
			assert.Equal(t, c.want.Tick(ticks[0].Instrument, midnight(t, 2020, 1, 30)+57_000e9), ticks[1])
			assert.Equal(t, int64(1), stats.Types['I'])
			assert.Zero(t, stats.Ignored)
			in, _ := state.Instrument(0)
			assert.Equal(t, feed.StatusUnknown, in.Status, "an auction changes no state")
		})
	}
}

// Sizes that a tick cannot hold are damage.
func TestAuctionsOfTooManyShares(t *testing.T) {
	for _, at := range []int{2 + 11, 2 + 19} {
		raw := noii('S', 'C', [4]byte{}, [4]byte{0, 0, 0, 1})
		raw[at] = 0x80
		ticks, _, stats := read(t, itch.Config{SkipBad: 1}, writer(raw).file(t, "01302020.itch"))
		assert.Empty(t, ticks)
		assert.EqualValues(t, 1, stats.Skipped)
	}
}
