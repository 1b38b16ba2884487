package simulation

import (
	"fmt"
	"math/rand/v2"

	"tickfeed/feed"
)

// A market makes ticks of all kinds. No two are equal, because each contains a serial number.
type market struct {
	rand   *rand.Rand
	serial int64
	time   int64 // event time of the last tick
}

// listed is the greatest number of instruments; the first opening of them are defined at the start.
const (
	listed  = 24
	opening = 9
)

func symbol(i int) string { return fmt.Sprintf("%c%02d", 'A'+i%3, i/3) }

// definitions returns definition ticks for n instruments that state does not know, or for one that it knows if
// it knows all.
func (m *market) definitions(state *feed.State, n int) []feed.Tick {
	var ticks []feed.Tick
	next := feed.InstrumentID(state.Len())
	for i := 0; i < listed && len(ticks) < n; i++ {
		d := feed.Definition{Symbol: symbol(i), Venue: "X", PriceExponent: -2, Currency: "USD", TickSize: 1, Lot: m.next()}
		if _, known := state.Lookup(d.Symbol, d.Venue); known {
			continue
		}
		ticks = append(ticks, m.definition(next, &d))
		next++
	}
	if len(ticks) == 0 {
		d := feed.Definition{Symbol: symbol(m.rand.IntN(listed)), Venue: "X", PriceExponent: -2, Currency: "EUR", Lot: m.next()}
		id, _ := state.Lookup(d.Symbol, d.Venue)
		ticks = append(ticks, m.definition(id, &d))
	}
	return ticks
}

func (m *market) definition(id feed.InstrumentID, d *feed.Definition) feed.Tick {
	return feed.Tick{Kind: feed.KindDefinition, Instrument: id, EventTime: m.clock(), Extra: &feed.Extra{Definition: d}}
}

// ticks returns n ticks of the instruments that state knows.
func (m *market) ticks(state *feed.State, n int) []feed.Tick {
	ids := defined(state)
	ticks := make([]feed.Tick, n)
	for i := range ticks {
		ticks[i] = m.tick(ids[m.rand.IntN(len(ids))])
	}
	return ticks
}

// defined returns the ids of the instruments that state knows. A damaged journal may have lost some.
func defined(state *feed.State) []feed.InstrumentID {
	var ids []feed.InstrumentID
	for t := range state.Definitions(nil) {
		ids = append(ids, t.Instrument)
	}
	return ids
}

// closing returns one quote of each instrument.
func (m *market) closing(state *feed.State) []feed.Tick {
	var ticks []feed.Tick
	for _, id := range defined(state) {
		ticks = append(ticks, m.quote(id))
	}
	return ticks
}

func (m *market) tick(id feed.InstrumentID) feed.Tick {
	price := m.rand.Int64N(100_000) - 100
	side := feed.SideBuy + feed.Side(m.rand.IntN(2))
	trade := feed.Trade{Price: price, Size: m.next(), ID: uint64(m.serial), Side: side}
	var t feed.Tick
	switch m.rand.IntN(16) {
	case 0, 1, 2:
		t = trade.Tick(id, m.clock())
	case 3:
		t = feed.Level{Side: side, Price: price % 64, Size: trade.Size}.Tick(id, m.clock())
	case 4:
		t = feed.Correction{OldPrice: price, OldSize: trade.Size / 2, Trade: trade}.Tick(id, m.clock(), "")
	case 5:
		t = feed.Cancel{Price: price, Size: trade.Size, ID: trade.ID}.Tick(id, m.clock(), fmt.Sprintf("ref-%d", m.serial))
	case 6:
		t = feed.StatusTick(id, m.clock(), feed.Status(1+m.rand.IntN(5)), int32(20000101+m.serial%10000))
	case 7:
		t = feed.ClearTick(id, m.clock(), feed.SideBuy+feed.Side(m.rand.IntN(3)))
	default:
		t = m.quote(id)
	}
	if m.rand.IntN(8) == 0 {
		t.Flags |= feed.FlagMore
	}
	return t
}

// bulky returns n ticks of about 100 bytes each.
func (m *market) bulky(state *feed.State, n int) []feed.Tick {
	ids := defined(state)
	ticks := make([]feed.Tick, n)
	for i := range ticks {
		void := feed.Cancel{Price: m.rand.Int64N(100_000), Size: m.next(), ID: uint64(m.serial)}
		ticks[i] = void.Tick(ids[m.rand.IntN(len(ids))], m.clock(), fmt.Sprintf("%064d", m.serial))
	}
	return ticks
}

func (m *market) quote(id feed.InstrumentID) feed.Tick {
	bid := m.rand.Int64N(100_000)
	q := feed.Quote{Bid: bid, BidSize: m.next(), Ask: bid + 1 + m.rand.Int64N(5), AskSize: 1 + m.rand.Int64N(1<<20)}
	if m.rand.IntN(50) == 0 {
		q.Ask, q.AskSize = feed.NoPrice, 0
	}
	return q.Tick(id, m.clock())
}

func (m *market) next() int64 {
	m.serial++
	return m.serial
}

// clock returns the event time: the market's own clock, which advances with each tick.
func (m *market) clock() int64 {
	m.time += 1 + m.rand.Int64N(2_000_000)
	return m.time
}
