package codec

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/sim"
)

const noon = int64(1_767_700_800_000_000_000) // base event time of the examples

func fti() feed.Conditions {
	c, err := feed.ParseConditions("FTI")
	if err != nil {
		panic(err)
	}
	return c
}

// exampleTicks returns one or more ticks of every kind, chosen to cover both patterns and the
// general path of quotes and trades.
func exampleTicks() map[string]feed.Tick {
	more := func(t feed.Tick) feed.Tick { t.Flags |= feed.FlagMore; return t }
	ref := feed.Trade{Price: 100, Size: 3, Side: feed.SideBuy}.Tick(7, noon)
	ref.Extra = &feed.Extra{TradeRef: "a-1"}
	return map[string]feed.Tick{
		"narrow quote": feed.Quote{Bid: 1_500_100, BidSize: 3, Ask: 1_500_200, AskSize: 4}.Tick(7, noon+5),
		"narrow quote at its greatest values": feed.Quote{Bid: math.MaxUint32, BidSize: math.MaxUint16, Ask: math.MaxUint32, AskSize: math.MaxUint16}.
			Tick(math.MaxUint16, noon+math.MaxInt32),
		"narrow quote before the base":      feed.Quote{Bid: 1, Ask: 2}.Tick(0, noon+math.MinInt32),
		"quote, bid just too great":         feed.Quote{Bid: math.MaxUint32 + 1, BidSize: 1, Ask: 2, AskSize: 1}.Tick(7, noon),
		"quote, size just too great":        feed.Quote{Bid: 1, BidSize: math.MaxUint16 + 1, Ask: 2, AskSize: 1}.Tick(7, noon),
		"quote, time just too late":         feed.Quote{Bid: 1, BidSize: 1, Ask: 2, AskSize: 1}.Tick(7, noon+math.MaxInt32+1),
		"quote, instrument just too great":  feed.Quote{Bid: 1, BidSize: 1, Ask: 2, AskSize: 1}.Tick(math.MaxUint16+1, noon),
		"quote, negative prices":            feed.Quote{Bid: -200, BidSize: 1, Ask: -100, AskSize: 1}.Tick(7, noon),
		"quote without a bid":               feed.Quote{Bid: feed.NoPrice, Ask: 2, AskSize: 1}.Tick(7, noon),
		"quote without an ask":              feed.Quote{Bid: 2, BidSize: 9, Ask: feed.NoPrice}.Tick(7, noon),
		"quote without a time":              feed.Quote{Bid: 1, BidSize: 1, Ask: 2, AskSize: 1}.Tick(7, 0),
		"quote with more to come":           more(feed.Quote{Bid: 1, BidSize: 1, Ask: 2, AskSize: 1}.Tick(7, noon)),
		"wide quote at its greatest values": more(feed.Quote{Bid: math.MaxInt64, BidSize: math.MaxInt64, Ask: math.MaxInt64, AskSize: math.MaxInt64}.Tick(feed.MaxInstruments-1, noon)),
		"narrow trade":                      feed.Trade{Price: 1_500_200, Size: 100, ID: 42, Conditions: fti(), Side: feed.SideBuy}.Tick(7, noon+9),
		"narrow trade at its greatest values": feed.Trade{Price: math.MaxUint32, Size: math.MaxUint32, ID: math.MaxUint32, Conditions: 0x7e7e7e7e << 32, Side: feed.SideSell}.
			Tick(math.MaxUint16, noon+math.MaxInt32),
		"trade, id just too great":          feed.Trade{Price: 1, Size: 1, ID: math.MaxUint32 + 1}.Tick(7, noon),
		"trade, five conditions":            feed.Trade{Price: 1, Size: 1, Conditions: 0x4142434445 << 24}.Tick(7, noon),
		"wide trade at its greatest values": more(feed.Trade{Price: math.MaxInt64, Size: math.MaxInt64, ID: math.MaxUint64, Conditions: 0x4142434445464748, Side: feed.SideSell}.Tick(feed.MaxInstruments-1, noon)),
		"trade at a negative price":         feed.Trade{Price: -3763, Size: 2}.Tick(7, noon),
		"trade named by text":               ref,
		"definition": {Kind: feed.KindDefinition, Instrument: 7, EventTime: noon, Extra: &feed.Extra{Definition: &feed.Definition{
			Symbol: "AAPL", Venue: "XNAS", PriceExponent: -4, Currency: "USD", TickSize: 100, Lot: 100,
		}}},
		"correction":                      feed.Correction{OldPrice: 10, OldSize: 5, Trade: feed.Trade{Price: 11, Size: 6, ID: 42, Conditions: fti()}}.Tick(7, noon, ""),
		"correction by text":              more(feed.Correction{OldPrice: feed.NoPrice, Trade: feed.Trade{Price: 11, Size: 6}}.Tick(7, noon, "a-1")),
		"cancel":                          feed.Cancel{Price: 10, Size: 5, ID: math.MaxUint64}.Tick(7, noon, ""),
		"cancel by text":                  feed.Cancel{Price: -10, Size: 5}.Tick(7, noon, "a-1"),
		"level":                           feed.Level{Side: feed.SideSell, Price: -5, Size: 1 << 40}.Tick(7, noon),
		"level removed":                   more(feed.Level{Side: feed.SideBuy, Price: 5}.Tick(7, noon)),
		"clear":                           feed.ClearTick(7, noon, feed.SideBoth),
		"status":                          feed.StatusTick(7, noon, feed.StatusHalted, 0),
		"status of a new day":             feed.StatusTick(7, noon, feed.StatusPreOpen, 20260106),
		"status with a reason":            feed.StatusTick(7, noon, feed.StatusHalted, 0).Because("LUDP", 0),
		"status with an end":              more(feed.StatusTick(7, noon, feed.StatusHalted, 20260106).Because("", noon+300e9)),
		"status with a reason and an end": feed.StatusTick(7, noon+3, feed.StatusHalted, 0).Because("news: ü", noon-9),
		"auction":                         feed.Auction{Kind: feed.AuctionClosing, Price: 18725, Size: 70_000, Side: feed.SideSell, Imbalance: 1200, Time: noon + 540e9}.Tick(7, noon),
		"auction without a price":         more(feed.Auction{Kind: feed.AuctionOpening, Price: feed.NoPrice}.Tick(feed.MaxInstruments-1, noon+1)),
		"auction of a later version":      feed.Auction{Kind: 255, Price: -3, Size: math.MaxInt64, Side: feed.SideBuy, Imbalance: math.MaxInt64, Time: noon - 1}.Tick(7, noon),
	}
}

func exampleSummaries() map[string]feed.Tick {
	day := feed.Summary{
		TradingDay: 20260106, Open: 10, High: feed.NoPrice, Low: -9, Last: 12, LastSize: 3,
		LastSide: feed.SideBuy, LastTime: noon - 77, Volume: 1 << 50, Trades: 3,
	}
	summary := func(id uint64, ref string) feed.Tick {
		m := day
		m.LastID, m.LastRef = id, ref
		return feed.Tick{Kind: feed.KindSummary, Instrument: 7, EventTime: noon, Extra: &feed.Extra{Summary: &m}}
	}
	return map[string]feed.Tick{
		"summary":                             summary(0, ""),
		"summary, last trade named by number": summary(math.MaxUint64, ""),
		"summary, last trade named by text":   summary(0, "a-1"),
		"summary, last trade named by both":   summary(42, "b-2 ü"),
	}
}

// entryBody returns a Body of body, which holds only tick, and changes tick to the expected result of decoding.
func entryBody(tick *feed.Tick, base int64, body []byte) Body {
	if tick.Kind == feed.KindSummary {
		tick.Seq, tick.Flags = 0, tick.Flags|feed.FlagSnapshot
		return PartBody(&SnapshotPart{Base: base, Body: body})
	}
	tick.Seq = 41
	return PacketBody(&Packet{First: 41, Count: 1, Base: base}, body)
}

// decodeOne decodes a body of one tick with the given number.
func decodeOne(t *testing.T, body []byte, seq uint64) feed.Tick {
	t.Helper()
	b := PacketBody(&Packet{First: seq, Count: 1, Base: noon}, body)
	var batch [2]feed.Tick
	batch[0] = feed.Tick{Status: 9, Side: 9, Flags: 0xff, Extra: &feed.Extra{TradeRef: "left over"}}
	n, err := b.Decode(batch[:])
	require.NoError(t, err)
	require.Equal(t, 1, n)
	end, err := b.Decode(batch[1:])
	require.NoError(t, err)
	require.Zero(t, end)
	return batch[0]
}

// Every tick is decoded to the tick that was encoded, whatever path writes and reads it (PROTOCOL.md, "Body
// entries").
func TestTickRoundTrip(t *testing.T) {
	for name, tick := range exampleTicks() {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, ValidateTick(&tick))
			body := AppendTick(nil, &tick, noon)
			tick.Seq = 41
			got := decodeOne(t, body, 41)
			assert.True(t, got.Equal(&tick), "%+v\n%+v\n% x", tick, got, body)
			e, err := EntryAt(body)
			require.NoError(t, err)
			assert.Equal(t, Entry{Size: len(body), Covers: 1, Tick: true, Kind: tick.Kind, Instrument: tick.Instrument}, e)
			assert.LessOrEqual(t, len(body), MaxEntry)
		})
	}
}

// The patterns have the lengths that PROTOCOL.md states.
func TestFixedWidths(t *testing.T) {
	ticks := exampleTicks()
	for name, want := range map[string]int{
		"narrow quote": 26, "narrow quote at its greatest values": 26, "narrow quote before the base": 26,
		"quote, bid just too great": 52, "quote, size just too great": 52, "quote, time just too late": 52,
		"quote, instrument just too great": 52, "quote, negative prices": 52, "quote without a time": 52,
		"narrow trade": 31, "narrow trade at its greatest values": 31,
		"trade, id just too great": 53, "trade, five conditions": 53, "trade at a negative price": 53,
	} {
		tick := ticks[name]
		assert.Len(t, AppendTick(nil, &tick, noon), want, name)
	}
}

// A summary is allowed in snapshots only (PROTOCOL.md, "Body entries").
func TestSummaryIsInSnapshotsOnly(t *testing.T) {
	for name, tick := range exampleSummaries() {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, ValidateTick(&tick))
			body := AppendTick(nil, &tick, noon)
			e, err := EntryAt(body)
			require.NoError(t, err)
			assert.Equal(t, Entry{Size: len(body), Covers: 1, Tick: true, Kind: feed.KindSummary, Instrument: 7}, e)
			var got [2]feed.Tick
			p := PacketBody(&Packet{First: 1, Count: 1, Base: noon}, body)
			_, err = p.Decode(got[:])
			assert.ErrorIs(t, err, ErrMalformed)

			b := entryBody(&tick, noon, body)
			n, err := b.Decode(got[:])
			require.NoError(t, err)
			require.Equal(t, 1, n)
			assert.True(t, got[0].Equal(&tick), "%+v\n%+v", tick.Summary(), got[0].Summary())
		})
	}
}

// A summary must have the last trade's id. Its textual id is bounded and graphic, like every
// trade ref. Elements that a later version adds after it are ignored.
func TestSummaryBounds(t *testing.T) {
	for ref, want := range map[string]string{
		strings.Repeat("x", feed.MaxText): "", strings.Repeat("x", feed.MaxText+1): "at most 64", "a\n": "control character", "\xff": "not UTF-8",
	} {
		tick := exampleSummaries()["summary"]
		tick.Extra.Summary.LastRef = ref
		err := ValidateTick(&tick)
		b := PartBody(&SnapshotPart{Base: noon, Body: AppendTick(nil, &tick, noon)})
		_, decoded := b.Decode(make([]feed.Tick, 1))
		if want == "" {
			assert.NoError(t, err)
			assert.NoError(t, decoded)
			continue
		}
		assert.ErrorContains(t, err, want)
		assert.ErrorContains(t, decoded, want)
		assert.ErrorIs(t, decoded, ErrMalformed)
	}

	tick := exampleSummaries()["summary, last trade named by text"]
	body := AppendTick(nil, &tick, noon)
	require.Equal(t, byte(0x9f), body[0])
	later := append([]byte{0xdc, 0, 17}, body[1:]...)
	b := entryBody(&tick, noon, append(later, 0xc0, 0x91, 1))
	var got [1]feed.Tick
	_, err := b.Decode(got[:])
	require.NoError(t, err)
	assert.True(t, got[0].Equal(&tick))

	tick = exampleSummaries()["summary"]
	body = AppendTick(nil, &tick, noon)
	require.Equal(t, []byte{0x9e, 0}, []byte{body[0], body[len(body)-1]})
	body[0]--
	b = PartBody(&SnapshotPart{Base: noon, Body: body[:len(body)-1]})
	_, err = b.Decode(got[:])
	assert.ErrorContains(t, err, "want at least 14")
}

// foldMarket folds n ticks of a simulated market into s: with books, textual trade ids, empty
// sides, corrections, cancels, and instruments that are defined anew.
func foldMarket(t *testing.T, s *feed.State, n int) {
	t.Helper()
	market, err := sim.New(sim.Config{Seed: 7, Instruments: 600, Depth: 20})
	require.NoError(t, err)
	r := rand.New(rand.NewPCG(7, 7))
	batch := make([]feed.Tick, n)
	n, err = market.Next(t.Context(), batch)
	require.NoError(t, err)
	require.Equal(t, len(batch), n)
	fold := func(tick feed.Tick) {
		if err := ValidateTick(&tick); err != nil {
			require.NoError(t, err)
		}
		if err := s.Apply(&tick); err != nil {
			require.NoError(t, err)
		}
	}
	for i, tick := range batch {
		id, after := tick.Instrument, tick.EventTime+1
		switch tick.Kind {
		case feed.KindQuote:
			if r.IntN(8) == 0 {
				tick.Values[0], tick.Values[1] = feed.NoPrice, 0
			}
			fold(tick)
		case feed.KindTrade:
			tr, ref := tick.Trade(), ""
			switch r.IntN(3) {
			case 0:
				ref = fmt.Sprint("T-", i)
				tr.ID = 0
			case 1:
				tr.ID = r.Uint64()
			}
			tick = tr.Tick(id, tick.EventTime)
			if ref != "" {
				tick.Extra = &feed.Extra{TradeRef: ref}
			}
			fold(tick)
			switch r.IntN(8) {
			case 0:
				now := tr
				now.Price, now.Size = -tr.Price, tr.Size+1
				fold(feed.Correction{OldPrice: tr.Price, OldSize: tr.Size, Trade: now}.Tick(id, after, ref))
			case 1:
				fold(feed.Cancel{Price: tr.Price, Size: tr.Size, ID: tr.ID}.Tick(id, after, ref))
			case 2:
				d, _ := s.Definition(id)
				anew := *d
				anew.Lot++
				fold(feed.Tick{Kind: feed.KindDefinition, Instrument: id, EventTime: after, Extra: &feed.Extra{Definition: &anew}})
			}
		default:
			fold(tick)
		}
	}
}

// A snapshot holds the whole state: a client that starts from a snapshot has the same state as one that was connected all
// along, and both apply the next correction to the same trade.
func TestStateSurvivesItsSnapshot(t *testing.T) {
	was := feed.NewState()
	foldMarket(t, was, 60_000)
	raw, err := AppendSnapshot(nil, &SnapshotBegin{Seq: 60_001}, was.Entries(nil), 99)
	require.NoError(t, err)

	is := feed.NewState()
	batch := make([]feed.Tick, 100)
	messages := map[Type]int{}
	for r := NewReader(bytes.NewReader(raw), 0); ; {
		typ, message, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		messages[typ]++
		if typ != TypeSnapshotPart {
			continue
		}
		part, err := ParsePart(message, 99)
		require.NoError(t, err)
		body := PartBody(&part)
		for n := 1; n > 0; {
			n, err = body.Decode(batch)
			require.NoError(t, err)
			for i := range batch[:n] {
				require.NoError(t, is.Apply(&batch[i]))
			}
		}
	}
	require.Equal(t, []int{1, 1}, []int{messages[TypeSnapshotBegin], messages[TypeSnapshotEnd]})
	require.Greater(t, messages[TypeSnapshotPart], 1)
	require.Empty(t, was.Diff(is))

	numbers, texts := 0, 0
	for id := range feed.InstrumentID(was.Len()) {
		in, ok := was.Instrument(id)
		require.True(t, ok)
		m := in.Summary
		if m.Trades == 0 {
			continue
		}
		numbers, texts = numbers+int(min(m.LastID, 1)), texts+min(len(m.LastRef), 1)
		correction := feed.Correction{OldPrice: m.Last + 1, Trade: feed.Trade{Price: m.Last + 2, ID: m.LastID}}.Tick(id, 1, m.LastRef)
		require.NoError(t, was.Apply(&correction))
		require.NoError(t, is.Apply(&correction))
	}
	require.Empty(t, was.Diff(is))
	assert.Greater(t, numbers, 20, "instruments whose last trade a number names")
	assert.Greater(t, texts, 20, "instruments whose last trade a text names")
}

// A textual trade id left on a tick that has no place for it is not written.
func TestStrayTradeRefIsNotWritten(t *testing.T) {
	for name, tick := range exampleTicks() {
		if tick.Extra != nil || tick.Kind == feed.KindTrade || tick.Kind == feed.KindCancel {
			continue
		}
		bare := tick
		tick.Extra = &feed.Extra{TradeRef: "stray"}
		assert.Equal(t, AppendTick(nil, &bare, noon), AppendTick(nil, &tick, noon), name)
	}
}
