package iex_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// auctionMessage is an auction information message, field by field as in the table of IEX TOPS 1.6 and DEEP 1.0.
func auctionMessage(kind, side byte, clearing, reference [8]byte) []byte {
	m := []byte{80, 0} // length of the message
	m = append(m, 'A', kind)
	m = append(m, 0x00, 0x10, 0xba, 0x29, 0x68, 0x64, 0xea, 0x18) // timestamp: 0x18ea646829ba1000
	m = append(m, 'Z', 'I', 'E', 'X', 'T', ' ', ' ', ' ')         // symbol
	m = append(m, 0x70, 0x11, 0x01, 0x00)                         // paired shares: 70,000
	m = append(m, reference[:]...)                                // reference price
	m = append(m, clearing[:]...)                                 // indicative clearing price
	m = append(m, 0xb0, 0x04, 0x00, 0x00)                         // imbalance shares: 1,200
	m = append(m, side, 0)                                        // imbalance side, extension number
	m = append(m, 0x80, 0xa5, 0x32, 0x6a)                         // scheduled auction time: 0x6a32a580 s
	m = append(m, 2, 0, 0, 0, 0, 0, 0, 0)                         // auction book clearing price
	m = append(m, 3, 0, 0, 0, 0, 0, 0, 0)                         // collar reference price
	m = append(m, 4, 0, 0, 0, 0, 0, 0, 0)                         // lower auction collar
	return append(m, 5, 0, 0, 0, 0, 0, 0, 0)                      // upper auction collar
}

// Auction information is an auction at its indicative clearing price, or at its reference price if there is none.
func TestAuctionsComeFromAuctionInformation(t *testing.T) {
	var none [8]byte
	price := [8]byte{0x74, 0x92, 0x1c}    // 187.25
	clearing := [8]byte{0x5c, 0x96, 0x1c} // 187.35
	const at, due = 0x18ea646829ba1000, 0x6a32a580 * 1_000_000_000
	for _, c := range []struct {
		name string
		raw  []byte
		want feed.Auction
	}{
		{"closing, sell", auctionMessage('C', 'S', none, price), feed.Auction{Kind: feed.AuctionClosing, Price: 1_872_500, Side: feed.SideSell}},
		{"opening, buy", auctionMessage('O', 'B', none, price), feed.Auction{Kind: feed.AuctionOpening, Price: 1_872_500, Side: feed.SideBuy}},
		{"IPO, no imbalance", auctionMessage('I', 'N', none, price), feed.Auction{Kind: feed.AuctionIPO, Price: 1_872_500}},
		{"halt", auctionMessage('H', 'B', none, price), feed.Auction{Kind: feed.AuctionHalt, Price: 1_872_500, Side: feed.SideBuy}},
		{"volatility, without a price", auctionMessage('V', 'N', none, none), feed.Auction{Kind: feed.AuctionHalt, Price: feed.NoPrice}},
		{"a clearing price", auctionMessage('C', 'S', clearing, price), feed.Auction{Kind: feed.AuctionClosing, Price: 1_873_500, Side: feed.SideSell}},
		{"a clearing price alone", auctionMessage('C', 'S', clearing, none), feed.Auction{Kind: feed.AuctionClosing, Price: 1_873_500, Side: feed.SideSell}},
		{"a kind of a later version", auctionMessage('?', 'N', none, price), feed.Auction{Price: 1_872_500}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Size, c.want.Imbalance, c.want.Time = 70_000, 1200, due
			ticks, _, stats := read(t, file(t, packet(1, 1, c.raw[2:])))
			require.Len(t, ticks, 2)
			assert.Equal(t, "ZIEXT@IEXG", ticks[0].Definition().Name())
			assert.Equal(t, c.want.Tick(ticks[0].Instrument, at), ticks[1])
			assert.Equal(t, int64(1), stats.Types['A'])
			assert.Zero(t, stats.Ignored)
		})
	}
}

// TOPS and DEEP both send auction information: the first copy counts.
func TestAuctionsOfBothProtocols(t *testing.T) {
	m := auctionMessage('C', 'S', [8]byte{}, [8]byte{0x74, 0x92, 0x1c})[2:]
	tops, deep := packet(1, 1, m), packet(2, 1, m)
	i := len(deep) - 80 - 2 - 40 // of the segment: its header, a length and the message are the last 122 bytes
	binary.LittleEndian.PutUint16(tops[i+2:], 0x8003)
	ticks, _, stats := read(t, file(t, tops, deep))
	assert.Len(t, ticks, 2)
	assert.EqualValues(t, 1, stats.Duplicates)
}
