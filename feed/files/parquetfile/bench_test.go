package parquetfile

import (
	"io"
	"testing"

	"tickfeed/feed"
)

// BenchmarkWrite writes rows of a market: six quotes to a trade.
func BenchmarkWrite(b *testing.B) {
	const instruments = 100
	defs := make([]*feed.Definition, instruments)
	for i := range defs {
		defs[i] = &feed.Definition{Symbol: "S" + string(rune('A'+i%26)) + string(rune('A'+i/26)), Venue: "SIM", PriceExponent: -2}
	}
	ticks := make([]feed.Tick, 1<<16)
	chance := uint64(1)
	for i := range ticks {
		chance = chance*6364136223846793005 + 1442695040888963407
		id, at := feed.InstrumentID(chance>>33%instruments), int64(1_767_623_400_000_000_000)+int64(i)*1700
		price := int64(18_000 + chance>>40%100)
		if i%7 == 6 {
			ticks[i] = feed.Trade{Price: price, Size: int64(chance >> 50 % 500), ID: uint64(i), Side: feed.SideBuy}.Tick(id, at)
		} else {
			ticks[i] = feed.Quote{Bid: price, BidSize: 100, Ask: price + 2, AskSize: int64(chance >> 55)}.Tick(id, at)
		}
	}
	var s Survey
	for i := range ticks {
		s.Add(&ticks[i], defs[ticks[i].Instrument])
	}
	w, err := New(io.Discard, []feed.Kind{feed.KindQuote, feed.KindTrade}, &s)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		t := &ticks[n%len(ticks)]
		t.Seq = uint64(n + 1)
		if err := w.Write(7, t.EventTime+100, t, defs[t.Instrument]); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ticks/s")
}
