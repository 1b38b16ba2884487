package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// A listed instrument has the hours of its venue: it trades at once where that is open, round the clock too, and otherwise when it
// opens, which is reported.
func TestListingHasTheHoursOfItsVenue(t *testing.T) {
	t.Parallel()
	u, err := ParseUniverse("u", []byte("symbol,venue,price,hours\nCCC,COIN,10,24h\nAAA,XA,10,09:00-10:00 UTC\nBBB,XB,10,10:00-11:00 UTC\n"))
	require.NoError(t, err)
	x := command(t, Config{Universe: u, Instruments: 3, Rate: 5, Days: 1, Start: time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)})
	x.until(time.Minute)
	for _, test := range []struct {
		name   string
		status feed.Status
		note   string
	}{
		{"NEW", feed.StatusTrading, ""}, {"ETH@COIN", feed.StatusTrading, ""}, {"A@XA", feed.StatusTrading, ""},
		{"B@XB", feed.StatusPreOpen, "it trades when its market opens; XB trades mon-fri 10:00-11:00 UTC, next from Mon 2026-01-05 10:00 UTC"},
	} {
		x.must("listing " + test.name + " price 25.00")
		note := ""
		for _, e := range x.told().Events {
			note += e.Note
		}
		assert.Equal(t, test.note, note, test.name)
		id := feed.InstrumentID(len(x.m.listings) - 1)
		in, _ := x.state.Instrument(id)
		assert.Equal(t, test.status, in.Status, test.name)
	}
	x.until(119 * time.Minute)
	var statuses []feed.Status
	for id := range len(x.m.listings) {
		in, _ := x.state.Instrument(feed.InstrumentID(id))
		statuses = append(statuses, in.Status)
	}
	const on, off = feed.StatusTrading, feed.StatusClosed
	assert.Equal(t, []feed.Status{on, off, on, on, on, off, on}, statuses, "at 10:59")
}

// A closing auction that ends when its market closes has nothing to remark.
func TestClosingAuctionEndsAtTheClose(t *testing.T) {
	t.Parallel()
	x := shortMarket(t, 1)
	x.must("at 09:58: auction close AAA for 2m")
	x.until(61 * time.Minute)
	require.Len(t, x.happened, 1)
	assert.Empty(t, x.happened[0].Note)
	assert.Equal(t, feed.StatusClosed, x.status("AAA"))
	x = shortMarket(t, 1)
	x.must("at 09:59: auction close AAA for 2m")
	x.until(61 * time.Minute)
	require.Len(t, x.happened, 2)
}
