package book_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files/internal/book"
)

// A book agrees with a plain map of prices after every change, near the best price and far
// from it.
func TestBookAgreesWithAMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var b book.Book
	naive := map[feed.Side]map[int64]int64{feed.SideBuy: {}, feed.SideSell: {}}
	for range 20_000 {
		side := feed.SideBuy + feed.Side(rng.IntN(2))
		price, delta := rng.Int64N(60)-30, rng.Int64N(21)-10
		switch rng.IntN(200) {
		case 0:
			any := len(naive[side]) > 0
			clear(naive[side])
			assert.Equal(t, any, b.Clear(side))
		case 1, 2:
			b.Set(side, price, delta)
			naive[side][price] = delta
		default:
			naive[side][price] += delta
			require.Equal(t, max(naive[side][price], 0), b.Add(side, price, delta))
		}
		if naive[side][price] <= 0 {
			delete(naive[side], price)
		}
		require.Equal(t, naive[side][price], b.Size(side, price))
		want := feed.Quote{Bid: feed.NoPrice, Ask: feed.NoPrice}
		for p, size := range naive[feed.SideBuy] {
			if p > want.Bid {
				want.Bid, want.BidSize = p, size
			}
		}
		for p, size := range naive[feed.SideSell] {
			if p < want.Ask || want.Ask == feed.NoPrice {
				want.Ask, want.AskSize = p, size
			}
		}
		require.Equal(t, want, b.Best())
	}
}

// Beyond MaxLevels the worst price is dropped, and the order of the others is kept.
func TestMostLevels(t *testing.T) {
	var b book.Book
	for p := range int64(book.MaxLevels) {
		b.Set(feed.SideBuy, 2*p, 1)
	}
	b.Set(feed.SideBuy, -1, 1) // worse than all others
	b.Set(feed.SideBuy, 101, 1)
	assert.Zero(t, b.Size(feed.SideBuy, -1))
	assert.Zero(t, b.Size(feed.SideBuy, 0))
	assert.EqualValues(t, 1, b.Size(feed.SideBuy, 101))
	n, last := 0, int64(1<<62)
	for p := range b.Levels(feed.SideBuy) {
		require.Less(t, p, last)
		n, last = n+1, p
	}
	assert.Equal(t, book.MaxLevels, n)
}

// A quote is appended only if the best has changed; an empty book does not begin with a quote.
func TestQuoteOnlyWhenTheBestChanges(t *testing.T) {
	b := book.Book{ID: 3}
	assert.Empty(t, b.Quote(nil, 1))
	out := b.Change(nil, 2, feed.SideBuy, 100, 5)
	out = b.Quote(out, 2)
	out = b.Quote(out, 3)
	out = b.Change(out, 4, feed.SideBuy, 99, 7)
	out = b.Quote(out, 4)
	b.Clear(feed.SideBoth)
	out = b.Quote(out, 5)
	none := feed.Quote{Bid: feed.NoPrice, Ask: feed.NoPrice}
	assert.Equal(t, []feed.Tick{
		feed.Level{Side: feed.SideBuy, Price: 100, Size: 5}.Tick(3, 2),
		feed.Quote{Bid: 100, BidSize: 5, Ask: feed.NoPrice}.Tick(3, 2),
		feed.Level{Side: feed.SideBuy, Price: 99, Size: 7}.Tick(3, 4),
		none.Tick(3, 5),
	}, out)
}

// Orders agrees with a Go map under adds, changes and deletes, with references that collide and with reference
// 0.
func TestOrdersAgreeWithAMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var o book.Orders
	naive := make(map[uint64]book.Order)
	for range 200_000 {
		ref := rng.Uint64N(3000) << rng.IntN(3)
		order, live := naive[ref]
		got := o.Get(ref)
		if !live {
			require.Nil(t, got)
			order = book.Order{Price: rng.Int64(), Size: uint32(ref), Side: feed.SideBuy}
			require.NoError(t, o.Add(ref, order))
			naive[ref] = order
			continue
		}
		require.Equal(t, order, *got)
		if rng.IntN(3) == 0 {
			got.Size++
			order.Size++
			naive[ref] = order
			continue
		}
		o.Delete(ref)
		o.Delete(ref)
		delete(naive, ref)
		require.Equal(t, len(naive), o.Len())
	}
	o.Clear()
	assert.Zero(t, o.Len())
	assert.Nil(t, o.Get(5))
}

func BenchmarkOrders(b *testing.B) {
	var o book.Orders
	const live = 1 << 20
	ref := uint64(1)
	for ; ref <= live; ref++ {
		_ = o.Add(ref, book.Order{Size: 1})
	}
	for b.Loop() {
		_ = o.Add(ref, book.Order{Size: 1})
		o.Delete(ref - live)
		ref++
	}
}
