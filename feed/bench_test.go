package feed_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"tickfeed/feed"
)

// market returns a state of n instruments with dense ids from 0, and a ring of ticks for it: a share of trades,
// the rest quotes.
func market(n int, trades float64) (*feed.State, []feed.Tick) {
	rng := rand.New(rand.NewPCG(1, 2))
	s := feed.NewState()
	for id := range feed.InstrumentID(n) {
		mustApply(s, feed.Tick{
			Kind: feed.KindDefinition, Instrument: id,
			Extra: &feed.Extra{Definition: &feed.Definition{Symbol: fmt.Sprintf("S%d", id), PriceExponent: -2}},
		})
		mustApply(s, feed.Quote{Bid: 100, BidSize: 1, Ask: 101, AskSize: 1}.Tick(id, 1))
		mustApply(s, feed.Trade{Price: 100, Size: 1}.Tick(id, 1))
	}
	ticks := make([]feed.Tick, 4096)
	for i := range ticks {
		id, p := feed.InstrumentID(rng.IntN(n)), 100+rng.Int64N(10)
		if rng.Float64() < trades {
			ticks[i] = feed.Trade{Price: p, Size: 100, ID: uint64(i), Side: feed.SideBuy}.Tick(id, int64(i))
		} else {
			ticks[i] = feed.Quote{Bid: p, BidSize: 1, Ask: p + 1, AskSize: 2}.Tick(id, int64(i))
		}
	}
	return s, ticks
}

func mustApply(s *feed.State, t feed.Tick) {
	if err := s.Apply(&t); err != nil {
		panic(err)
	}
}

func BenchmarkStateApply(b *testing.B) {
	for _, c := range []struct {
		name   string
		trades float64
	}{{"quotes", 0}, {"trades", 1}, {"one trade in eight", 1. / 8}} {
		b.Run(c.name, func(b *testing.B) {
			s, ticks := market(1000, c.trades)
			applyAll(b, s, ticks)
		})
	}
	b.Run("levels", func(b *testing.B) {
		s, ticks := market(1000, 0)
		rng := rand.New(rand.NewPCG(3, 4))
		for i := range ticks {
			side := feed.SideBuy + feed.Side(rng.IntN(2))
			ticks[i] = feed.Level{Side: side, Price: rng.Int64N(20), Size: rng.Int64N(4)}.Tick(ticks[i].Instrument, 1)
		}
		applyAll(b, s, ticks)
	})
}

// applyAll applies ticks repeatedly in batches of 256, as a subscriber receives them.
func applyAll(b *testing.B, s *feed.State, ticks []feed.Tick) {
	for i := range ticks {
		mustApply(s, ticks[i])
	}
	b.ReportAllocs()
	n := 0
	for i := 0; b.Loop(); i += 256 {
		batch := ticks[i%len(ticks):][:256]
		if _, err := s.ApplyAll(batch); err != nil {
			b.Fatal(err)
		}
		n += len(batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/tick")
}

func BenchmarkStateClone(b *testing.B) {
	s, _ := market(10_000, 0)
	b.ReportAllocs()
	for b.Loop() {
		s.Clone()
	}
}

func BenchmarkStateEntries(b *testing.B) {
	s, _ := market(10_000, 0)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		for t := range s.Entries(nil) {
			n += int(t.Kind)
		}
	}
}

func BenchmarkLedgerDeliver(b *testing.B) {
	b.Run("full line", func(b *testing.B) {
		var l feed.Ledger
		b.ReportAllocs()
		for seq := uint64(1); b.Loop(); seq += 100 {
			if l.Deliver(1, feed.Range{From: seq, To: seq + 100}) != 0 {
				b.Fatal("delivered twice")
			}
		}
	})
	b.Run("filtered line", func(b *testing.B) {
		var l feed.Ledger
		b.ReportAllocs()
		for seq := uint64(1); b.Loop(); seq += 100 {
			if l.DeliverFiltered(1, feed.Range{From: seq, To: seq + 100}, 7) != 0 {
				b.Fatal("delivered twice")
			}
		}
	})
}

// BenchmarkStateSnapshot folds the entries of a snapshot of 10,000 instruments into a new state.
func BenchmarkStateSnapshot(b *testing.B) {
	var entries []feed.Tick
	for id := range feed.InstrumentID(10_000) {
		entries = append(entries,
			defineAs(id, feed.Definition{Symbol: fmt.Sprintf("S%d", id), Venue: "XNAS", PriceExponent: -2, Currency: "USD", TickSize: 1, Lot: 100}),
			feed.StatusTick(id, 1, feed.StatusTrading, 20261122),
			feed.Tick{Kind: feed.KindSummary, Instrument: id, Extra: &feed.Extra{Summary: &feed.Summary{
				TradingDay: 20261122, Open: 100, High: 102, Low: 99, Last: 101, LastSize: 5, Volume: 105, Trades: 3,
			}}},
			feed.Quote{Bid: 100, BidSize: 1, Ask: 101, AskSize: 1}.Tick(id, 1))
	}
	b.ReportAllocs()
	for b.Loop() {
		s := feed.NewState()
		if _, err := s.ApplyAll(entries); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(entries)), "ns/entry")
}
