package dbn_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files/dbn"
)

var undefined = [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}

// indicative returns an imbalance record with a clearing price of the continuous book, the one of cross orders alone, which
// is not read, and an indicative match price.
func indicative(reference, continuous, match [8]byte) []byte {
	r := imbalanceRecord('C', 'A', reference, [8]byte{}, [4]byte{})
	copy(r[40:], continuous[:]) // cont_book_clr_price
	copy(r[48:], []byte{9, 9})  // auct_interest_clr_price
	copy(r[64:], match[:])      // ind_match_price
	return r
}

// imbalanceRecord is an imbalance record, field by field as in ImbalanceMsg of the dbn crate.
func imbalanceRecord(kind, side byte, reference, auctionTime [8]byte, total [4]byte) []byte {
	r := []byte{28, 0x14, 2, 0, 7, 0, 0, 0}                       // length / 4, rtype, publisher, instrument
	r = append(r, 0x00, 0x10, 0xba, 0x29, 0x68, 0x64, 0xea, 0x18) // ts_event: 0x18ea646829ba1000
	r = append(r, 0x01, 0x10, 0xba, 0x29, 0x68, 0x64, 0xea, 0x18) // ts_recv
	r = append(r, reference[:]...)                                // ref_price
	r = append(r, auctionTime[:]...)                              // auction_time
	for range 6 {
		r = append(r, undefined[:]...) // cont_book_clr_price to lower_collar
	}
	r = append(r, 0x2f, 0xb4, 0x03, 0x00)  // paired_qty: 242,735
	r = append(r, total[:]...)             // total_imbalance_qty
	r = append(r, 0xff, 0xff, 0xff, 0xff)  // market_imbalance_qty
	r = append(r, 0xff, 0xff, 0xff, 0xff)  // unpaired_qty
	r = append(r, kind, side)              // auction_type, side
	return append(r, 0, 0, 0, 'N', 'L', 0) // auction_status to significant_imbalance, padding
}

// An imbalance record is an auction at its indicative match price, or else at the clearing price of the continuous book, or
// else at its reference price.
func TestAuctionsComeFromImbalances(t *testing.T) {
	price := [8]byte{0x00, 0x0f, 0xef, 0xa1, 0x37} // 238.94: 0x37a1ef0f00
	never := [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	due := [8]byte{0x00, 0xda, 0x54, 0x65, 0x68, 0x64, 0xea, 0x18}
	total := [4]byte{0xe0, 0x04} // 1,248
	const at = 0x18ea646829ba1000
	for _, c := range []struct {
		name string
		raw  []byte
		want feed.Auction
	}{
		{"opening, buy", imbalanceRecord('O', 'B', price, never, total), feed.Auction{Kind: feed.AuctionOpening, Price: 238_940_000_000, Side: feed.SideBuy, Imbalance: 1248}},
		{"core opening of NYSE, with a time", imbalanceRecord('M', 'B', price, due, total), feed.Auction{Kind: feed.AuctionOpening, Price: 238_940_000_000, Side: feed.SideBuy, Imbalance: 1248, Time: 0x18ea64686554da00}},
		{"closing, sell", imbalanceRecord('C', 'A', price, never, total), feed.Auction{Kind: feed.AuctionClosing, Price: 238_940_000_000, Side: feed.SideSell, Imbalance: 1248}},
		{"extreme closing imbalance of NYSE", imbalanceRecord('P', 'A', price, never, total), feed.Auction{Kind: feed.AuctionClosing, Price: 238_940_000_000, Side: feed.SideSell, Imbalance: 1248}},
		{"regulatory closing imbalance of NYSE", imbalanceRecord('R', 'A', price, never, total), feed.Auction{Kind: feed.AuctionClosing, Price: 238_940_000_000, Side: feed.SideSell, Imbalance: 1248}},
		{"halt, without a price or a quantity", imbalanceRecord('H', 'N', undefined, never, [4]byte{0xff, 0xff, 0xff, 0xff}), feed.Auction{Kind: feed.AuctionHalt, Price: feed.NoPrice}},
		{"pause for volatility", imbalanceRecord('V', 'N', price, never, [4]byte{}), feed.Auction{Kind: feed.AuctionHalt, Price: 238_940_000_000}},
		{"IPO", imbalanceRecord('I', 'N', price, never, [4]byte{}), feed.Auction{Kind: feed.AuctionIPO, Price: 238_940_000_000}},
		{"a match price", indicative([8]byte{1}, [8]byte{2}, [8]byte{3}), feed.Auction{Kind: feed.AuctionClosing, Price: 3, Side: feed.SideSell}},
		{"a clearing price", indicative([8]byte{1}, [8]byte{2}, undefined), feed.Auction{Kind: feed.AuctionClosing, Price: 2, Side: feed.SideSell}},
		{"neither", indicative([8]byte{1}, undefined, undefined), feed.Auction{Kind: feed.AuctionClosing, Price: 1, Side: feed.SideSell}},
		{"zeros for neither", indicative([8]byte{1}, [8]byte{}, [8]byte{}), feed.Auction{Kind: feed.AuctionClosing, Price: 1, Side: feed.SideSell}},
		{"no price at all", indicative([8]byte{}, [8]byte{}, [8]byte{}), feed.Auction{Kind: feed.AuctionClosing, Price: feed.NoPrice, Side: feed.SideSell}},
		{"another letter", imbalanceRecord('A', 'N', price, [8]byte{7: 0x40}, [4]byte{}), feed.Auction{Price: 238_940_000_000}},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Len(t, c.raw, 112)
			c.want.Size = 242_735
			b := builder(c.raw)
			ticks, _, stats := read(t, dbn.Config{}, b.file(t))
			require.Len(t, ticks, 2)
			assert.Equal(t, "7@XNAS", ticks[0].Definition().Name())
			assert.Equal(t, c.want.Tick(ticks[0].Instrument, at), ticks[1])
			assert.Zero(t, stats.Ignored)
		})
	}
}

// A file whose metadata says schema imbalance is read too.
func TestFileOfImbalances(t *testing.T) {
	b := rolling("7", "8")
	b[8+16] = 12 // imbalance
	b = append(b, imbalanceRecord('O', 'B', [8]byte{1}, [8]byte{}, [4]byte{1})...)
	ticks, _, _ := read(t, dbn.Config{}, b.file(t))
	require.Len(t, ticks, 2)
	assert.Equal(t, feed.Auction{Kind: feed.AuctionOpening, Price: 1, Size: 242_735, Side: feed.SideBuy, Imbalance: 1}, ticks[1].Auction())
}
