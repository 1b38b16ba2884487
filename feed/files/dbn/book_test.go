package dbn_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files/dbn"
	"tickfeed/feed/recorded"
)

// Orders make levels and, at the end of each event, quotes: add, modify, partial cancel, a
// trade that takes an order away, a clear.
func TestBookOfOrders(t *testing.T) {
	const last = 128
	var b builder
	b.order(noon, 'A', 'B', last, 1, 100, 5)
	b.order(noon+1, 'A', 'A', last, 2, 102, 3)
	b.order(noon+2, 'A', 'B', last, 3, 100, 2)
	b.order(noon+3, 'C', 'B', last, 1, 100, 4) // partial: 1 of 5 left
	b.order(noon+4, 'M', 'A', last, 2, 101, 9)
	b.order(noon+4, 'M', 'A', last, 2, 101, 8)
	b.order(noon+5, 'T', 'B', 0, 0, 101, 9) // the book changes with the cancel only
	b.order(noon+5, 'F', 'A', 0, 2, 101, 9)
	b.order(noon+5, 'C', 'A', last, 2, 101, 9)
	b.order(noon+6, 'C', 'A', last, 77, 101, 9) // unknown
	b.order(noon+7, 'R', 'N', last, 0, 0, 0)
	ticks, _, stats := read(t, dbn.Config{}, b.file(t))
	assert.EqualValues(t, 1, stats.Unknown)
	var got []string
	for _, tick := range ticks[1:] {
		switch q := tick.Quote(); tick.Kind {
		case feed.KindQuote:
			got = append(got, strings.Join([]string{"quote", num(q.Bid), num(q.BidSize), num(q.Ask), num(q.AskSize)}, " "))
		case feed.KindClear:
			got = append(got, "clear "+tick.Side.String())
		default:
			got = append(got, strings.Join([]string{tick.Kind.String(), tick.Side.String(), num(q.Bid), num(q.BidSize)}, " "))
		}
	}
	assert.Equal(t, []string{
		"level buy 100 5", "quote 100 5 - 0",
		"level sell 102 3", "quote 100 5 102 3",
		"level buy 100 7", "quote 100 7 102 3",
		"level buy 100 3", "quote 100 3 102 3",
		"level sell 102 0", "level sell 101 9", "quote 100 3 101 9",
		"level sell 101 8", "quote 100 3 101 8",
		"trade buy 101 9",
		"level sell 101 0", "quote 100 3 - 0",
		"clear both", "quote - 0 - 0",
	}, got)
}

// A trade with DBN's number for an undefined price is left out.
func TestUndefinedPrice(t *testing.T) {
	var b builder
	b.trade(noon, 1<<63-1, 5).trade(noon+1, 1<<63-2, 6)
	ticks, _, _ := read(t, dbn.Config{}, b.file(t))
	var prices []int64
	for _, tick := range recorded.Only(ticks, feed.KindTrade) {
		prices = append(prices, tick.Trade().Price)
	}
	assert.Equal(t, []int64{1<<63 - 2}, prices)
}

// A top-of-book order (F_TOB) is its whole side; without a price it leaves the side empty.
func TestTopOfBookOrders(t *testing.T) {
	const tob = 128 | 64
	var b builder
	b.order(noon, 'A', 'B', tob, 0, 100, 5).order(noon+1, 'A', 'B', tob, 0, 99, 7).order(noon+2, 'A', 'B', tob, 0, 1<<63-1, 0)
	ticks, _, _ := read(t, dbn.Config{}, b.file(t))
	var bids []int64
	for _, q := range recorded.Only(ticks, feed.KindQuote) {
		bids = append(bids, q.Quote().Bid)
	}
	assert.Equal(t, []int64{100, 99, feed.NoPrice}, bids)
	assert.Len(t, recorded.Only(ticks, feed.KindClear), 2)
}

// A venue that marks no record as the last of its event gets its quote when the time has
// changed, and at the end of the file.
func TestEventsWithoutAMark(t *testing.T) {
	var b builder
	b.order(noon, 'A', 'B', 0, 1, 100, 5).order(noon, 'A', 'A', 0, 2, 101, 5).order(noon+1, 'C', 'A', 0, 2, 101, 5)
	ticks, _, _ := read(t, dbn.Config{}, b.file(t))
	quotes := recorded.Only(ticks, feed.KindQuote)
	require.Len(t, quotes, 2)
	assert.Equal(t, feed.Quote{Bid: 100, BidSize: 5, Ask: 101, AskSize: 5}, quotes[0].Quote())
	assert.EqualValues(t, noon, quotes[0].EventTime)
	assert.Equal(t, feed.Quote{Bid: 100, BidSize: 5, Ask: feed.NoPrice}, quotes[1].Quote())
}
