package codec

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"

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
func TestSummary(t *testing.T) {
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

// Skips, withheld and gone numbers cover what they say (PROTOCOL.md, "Body entries").
func TestBodyAccountsForNumbers(t *testing.T) {
	quote := exampleTicks()["narrow quote"]
	q := AppendTick(nil, &quote, noon)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, c := range map[string]struct {
		body                     []byte
		count                    uint64
		seqs                     []uint64
		notAsked, withheld, gone uint64
		fails                    bool
	}{
		"two ticks":                      {body: join(q, q), count: 2, seqs: []uint64{41, 42}},
		"a skip between":                 {body: join(q, AppendSkip(nil, 3), q), count: 5, seqs: []uint64{41, 45}, notAsked: 3},
		"only a skip":                    {body: AppendSkip(nil, 1<<40), count: 1 << 40, notAsked: 1 << 40},
		"withheld":                       {body: AppendWithheld(nil, 9), count: 9, withheld: 9},
		"gone":                           {body: AppendGone(nil, 9, GoneDamaged), count: 9, gone: 9},
		"too few":                        {body: q, count: 2, seqs: []uint64{41}, fails: true},
		"too many":                       {body: join(q, q), count: 1, seqs: []uint64{41}, fails: true},
		"skip beyond the count":          {body: join(q, AppendSkip(nil, 2)), count: 2, seqs: []uint64{41}, fails: true},
		"a skip of nothing":              {body: join(AppendSkip(nil, 0), q), count: 1, fails: true},
		"a skip beyond 63 bits":          {body: AppendSkip(nil, 1<<63), count: 1, fails: true},
		"the most withheld":              {body: appendInt(nil, math.MinInt64), count: 1, fails: true},
		"withheld after a tick":          {body: join(q, AppendWithheld(nil, 1)), count: 2, seqs: []uint64{41}, fails: true},
		"a tick after withheld":          {body: join(AppendWithheld(nil, 1), q), count: 2, fails: true},
		"a tick after gone":              {body: join(AppendGone(nil, 1, GoneExpired), q), count: 2, fails: true},
		"nothing":                        {body: nil, count: 1, fails: true},
		"a map for an entry":             {body: []byte{0x80}, count: 1, fails: true},
		"an array that promises a lot":   {body: []byte{0xdd, 0xff, 0xff, 0xff, 0xff}, count: 1, fails: true},
		"an array of one element":        {body: []byte{0x91, 0x30, 0x30, 0x30}, count: 1, fails: true},
		"an instrument that is negative": {body: []byte{0x97, 4, 0xff, 0, 1, 1, 1, 1}, count: 1, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := PacketBody(&Packet{First: 41, Count: c.count, Base: noon}, c.body)
			var seqs []uint64
			var batch [1]feed.Tick
			var err error
			for n := 1; n > 0 && err == nil; {
				n, err = b.Decode(batch[:])
				if n > 0 {
					seqs = append(seqs, batch[0].Seq)
				}
			}
			assert.Equal(t, c.seqs, seqs)
			if c.fails {
				assert.ErrorIs(t, err, ErrMalformed)
				return
			}
			require.NoError(t, err)
			gone, _ := b.Gone()
			assert.Equal(t, []uint64{c.notAsked, c.withheld, c.gone}, []uint64{b.NotAsked(), b.Withheld(), gone})
			assert.Equal(t, 41+c.count, b.Seq())
		})
	}
}

// A kind that this version does not know covers one number and is passed on without values;
// elements that a later version adds to a known kind are ignored (PROTOCOL.md, "Versions").
func TestBodyGrows(t *testing.T) {
	later := []byte{0x94, 0xcc, 200, 7, 1, 0x92, 0xc0, 0xa1, 'x'}
	got := decodeOne(t, later, 41)
	assert.Equal(t, feed.Tick{Seq: 41, Kind: 100, Instrument: 7, EventTime: noon + 1}, got)

	quote := exampleTicks()["narrow quote"]
	longer := append(AppendTick(nil, &quote, noon), 0x93, 1, 2, 3)
	longer[0] = 0x98
	quote.Seq = 41
	got = decodeOne(t, longer, 41)
	assert.True(t, got.Equal(&quote))
}

// A packet of another line, or with any bit wrong, does not pass (PROTOCOL.md, "Checksum").
func TestPacketChecksum(t *testing.T) {
	quote := exampleTicks()["narrow quote"]
	h := Packet{First: 41, Count: 1, PublishTime: noon + 100, Base: noon}
	seed := LineSeed(0x20261122A, nil)
	p := AppendPacket(nil, &h, AppendTick(nil, &quote, noon), seed)
	require.Equal(t, len(p), PacketSize(p))
	require.True(t, VerifyPacket(p, seed))
	got, body, err := ParsePacket(p)
	require.NoError(t, err)
	assert.Equal(t, h, got)
	assert.Equal(t, feed.Range{From: 41, To: 42}, got.Range())
	assert.Len(t, body, 26)

	assert.False(t, VerifyPacket(p, LineSeed(0x20261122B, nil)), "another session")
	assert.False(t, VerifyPacket(p, LineSeed(0x20261122A, Filter{"AAPL"})), "another line")
	for bit := range 8 * len(p) {
		p[bit/8] ^= 1 << (bit % 8)
		if n := PacketSize(p); n == len(p) {
			assert.False(t, VerifyPacket(p, seed), "bit %d", bit)
		}
		p[bit/8] ^= 1 << (bit % 8)
	}
	assert.Equal(t, crc32.Update(seed, castagnoli, append([]byte{byte(TypePacket)}, p[7:]...)), checksum(seed, TypePacket, p[7:]))
}

// referenceTick writes t with the msgpack library alone, in its compact form.
func referenceTick(t *feed.Tick, base int64) []byte {
	price := func(v int64) any {
		if v == feed.NoPrice {
			return nil
		}
		return v
	}
	v := t.Values
	fields := []any{uint64(t.Kind)<<1 | uint64(t.Flags&1), uint64(t.Instrument), t.EventTime - base}
	switch t.Kind {
	case feed.KindQuote:
		fields = append(fields, price(v[0]), v[1], price(v[2]), v[3])
	case feed.KindTrade:
		fields = append(fields, price(v[0]), v[1], uint64(t.Side), uint64(v[2]), feed.Conditions(v[3]).String())
		if t.TradeRef() != "" {
			fields = append(fields, t.TradeRef())
		}
	case feed.KindDefinition:
		d := t.Definition()
		fields = append(fields, d.Symbol, d.Venue, int64(d.PriceExponent), int64(d.SizeExponent), d.Currency, d.TickSize, d.Lot)
	case feed.KindCorrection:
		c := t.Correction()
		fields = append(fields, price(v[0]), v[1], uint64(t.Side), uint64(v[2]), feed.Conditions(v[3]).String(), price(c.OldPrice), c.OldSize)
		if t.TradeRef() != "" {
			fields = append(fields, t.TradeRef())
		}
	case feed.KindCancel:
		fields = append(fields, price(v[0]), v[1], uint64(v[2]))
		if t.TradeRef() != "" {
			fields = append(fields, t.TradeRef())
		}
	case feed.KindLevel:
		fields = append(fields, uint64(t.Side), v[0], v[1])
	case feed.KindClear:
		fields = append(fields, uint64(t.Side))
	case feed.KindStatus:
		fields = append(fields, uint64(t.Status), v[0])
		if t.StatusReason() != "" || t.StatusEnd() != 0 {
			fields = append(fields, t.StatusReason())
		}
		if t.StatusEnd() != 0 {
			fields = append(fields, t.StatusEnd()-t.EventTime)
		}
	case feed.KindAuction:
		fields = append(fields, uint64(t.Status), price(v[0]), v[1], uint64(t.Side), v[2], nil)
		if v[3] != 0 {
			fields[len(fields)-1] = v[3] - t.EventTime
		}
	case feed.KindSummary:
		m := t.Summary()
		fields = append(fields, int64(m.TradingDay), price(m.Open), price(m.High), price(m.Low), price(m.Last),
			m.LastSize, uint64(m.LastSide), m.LastTime-base, m.Volume, m.Trades, m.LastID)
		if m.LastRef != "" {
			fields = append(fields, m.LastRef)
		}
	}
	var b bytes.Buffer
	enc := msgpack.NewEncoder(&b)
	enc.UseCompactInts(true)
	if err := enc.Encode(fields); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// libraryFields decodes one entry with the msgpack library alone.
func libraryFields(body []byte) ([]any, error) {
	dec := msgpack.NewDecoder(bytes.NewReader(body))
	dec.UseLooseInterfaceDecoding(true)
	return dec.DecodeSlice()
}

// What we encode the library reads as the same values, and what it encodes, in compact
// widths, we read as the same tick.
func TestTickAgainstLibrary(t *testing.T) {
	for name, tick := range exampleTicks() {
		t.Run(name, func(t *testing.T) { compareWithLibrary(t, tick, noon) })
	}
	for name, tick := range exampleSummaries() {
		t.Run(name, func(t *testing.T) { compareWithLibrary(t, tick, noon) })
	}
}

func compareWithLibrary(t *testing.T, tick feed.Tick, base int64) {
	t.Helper()
	reference := referenceTick(&tick, base)
	ours := AppendTick(nil, &tick, base)
	want, err := libraryFields(reference)
	require.NoError(t, err)
	got, err := libraryFields(ours)
	require.NoError(t, err)
	require.Equal(t, normal(want), normal(got))

	b := entryBody(&tick, base, reference)
	var batch [1]feed.Tick
	n, err := b.Decode(batch[:])
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.True(t, batch[0].Equal(&tick), "%+v\n%+v", tick, batch[0])
}

// normal makes the library's values comparable: integers of all types to one, padding cut.
func normal(fields []any) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		if s, ok := f.(string); ok {
			f = string(bytes.TrimRight([]byte(s), "\x00"))
		}
		out[i] = fmt.Sprint(f)
	}
	return out
}

// FuzzTick compares our tick codec with the library's over all values (PROMISES.md, 19).
func FuzzTick(f *testing.F) {
	f.Add(uint8(2), uint8(0), uint32(7), noon, int64(0), int64(1), int64(2), int64(3), int64(4), uint8(1), "")
	f.Add(uint8(3), uint8(1), uint32(7), int64(0), noon, int64(-1), int64(2), int64(3), int64(0x4142<<48), uint8(2), "a-1")
	f.Add(uint8(3), uint8(1), uint32(1<<17), noon, noon, int64(feed.NoPrice), int64(1<<40), int64(-3), int64(0), uint8(0), "")
	f.Add(uint8(9), uint8(0), uint32(7), noon, noon+1, int64(-3), int64(20260106), int64(1<<40), int64(5), uint8(1), "a-1")
	f.Add(uint8(8), uint8(0), uint32(7), noon, noon+1, int64(20260106), noon+5, int64(0), int64(0), uint8(3), "LUDP")
	f.Add(uint8(11), uint8(2), uint32(7), noon, noon+1, int64(-3), int64(1<<40), int64(5), noon+5, uint8(2), "")
	f.Add(uint8(11), uint8(3), uint32(1<<23), noon, noon, int64(feed.NoPrice), int64(0), int64(0), int64(0), uint8(0), "")
	f.Fuzz(func(t *testing.T, kind, flags uint8, id uint32, at, base, a, b, c, d int64, side uint8, ref string) {
		tick := feed.Tick{
			Kind: feed.Kind(kind), Flags: feed.Flags(flags) & feed.FlagMore, Instrument: feed.InstrumentID(id),
			EventTime: at, Side: feed.Side(side), Values: [4]int64{a, b, c, d},
		}
		switch tick.Kind {
		case feed.KindQuote:
			tick.Side = 0
		case feed.KindTrade, feed.KindCancel, feed.KindCorrection:
			if ref != "" || tick.Kind == feed.KindCorrection {
				tick.Extra = &feed.Extra{TradeRef: ref}
			}
			if tick.Kind == feed.KindCorrection {
				tick.Extra.OldPrice, tick.Extra.OldSize = a^b, max(0, c)
			}
			if tick.Kind == feed.KindCancel {
				tick.Side, tick.Values[3] = 0, 0
			}
		case feed.KindLevel:
			tick.Values[2], tick.Values[3] = 0, 0
		case feed.KindClear:
			tick.Values = [4]int64{}
		case feed.KindStatus:
			tick.Status, tick.Side, tick.Values = feed.Status(side), 0, [4]int64{a}
			tick = tick.Because(ref, b)
		case feed.KindAuction:
			tick.Status = feed.Status(flags)
		case feed.KindSummary:
			tick.Side, tick.Values = 0, [4]int64{}
			tick.Extra = &feed.Extra{Summary: &feed.Summary{
				TradingDay: int32(b), Open: a, High: b, Low: c, Last: d, LastSize: b ^ c, LastSide: feed.Side(side),
				LastTime: a ^ d, Volume: c, Trades: d, LastID: uint64(a ^ b), LastRef: ref,
			}}
		default:
			return
		}
		if ValidateTick(&tick) != nil || !isNear(base) {
			return
		}
		compareWithLibrary(t, tick, base)
		body := AppendTick(nil, &tick, base)
		if fixed, n, _ := AppendFixed(make([]byte, 0, MaxEntry), []feed.Tick{tick}, base, 0); n > 0 && !bytes.Equal(body, fixed) {
			t.Fatalf("% x, and fixed % x", body, fixed)
		}
		p := entryBody(&tick, base, body)
		var batch [1]feed.Tick
		n, err := p.Decode(batch[:])
		if err != nil || n != 1 || !batch[0].Equal(&tick) {
			t.Fatalf("%+v\n%+v\n% x: %v", tick, batch[0], body, err)
		}
	})
}

// FuzzBody feeds hostile bodies: no panic, no laxness (what we take as a tick, the library
// takes as an array too, and our own encoding of it decodes to the same), and no more memory
// than twenty times the bytes (PROMISES.md, 18, 19).
func FuzzBody(f *testing.F) {
	for _, ticks := range []map[string]feed.Tick{exampleTicks(), exampleSummaries()} {
		for _, tick := range ticks {
			f.Add(AppendTick(nil, &tick, noon))
		}
	}
	f.Add(AppendGone(nil, 1, GoneExpired))
	f.Add(AppendSkip(nil, 5))
	f.Add([]byte{0xdd, 0xff, 0xff, 0xff, 0xff, 4})
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > MaxBody {
			return
		}
		for _, b := range []Body{
			PacketBody(&Packet{First: 41, Count: 1 << 40, Base: noon}, body), PartBody(&SnapshotPart{Base: noon, Body: body}),
		} {
			bound := maxAllocation(len(body))
			if got := allocated(bound, func() { decodeAll(b) }); got > bound {
				t.Fatalf("%d bytes allocated to decode %d", got, len(body))
			}
			fuzzBody(t, b)
		}
	})
}

// decodeAll decodes b as far as it can be.
func decodeAll(b Body) {
	var batch [16]feed.Tick
	for n := 1; n > 0; {
		var err error
		if n, err = b.Decode(batch[:]); err != nil {
			return
		}
	}
}

func fuzzBody(t *testing.T, b Body) {
	batch := make([]feed.Tick, 4)
	for {
		rest := b.rest
		if len(rest) > 0 {
			compareCompact(t, b.snapshot, rest)
			compareVectors(t, rest)
		}
		n, err := b.Decode(batch[:1])
		if err != nil || n == 0 {
			return
		}
		entry := rest[:len(rest)-len(b.rest)]
		for len(entry) > 0 && entry[0]&0xf0 != 0x90 && entry[0] != 0xdc && entry[0] != 0xdd {
			e, err := EntryAt(entry)
			if err != nil {
				t.Fatalf("skip % x: %v", entry, err)
			}
			entry = entry[e.Size:]
		}
		if e, err := EntryAt(entry); err != nil || e.Size != len(entry) {
			t.Fatalf("EntryAt(% x) = %+v, %v", entry, e, err)
		}
		dec := msgpack.NewDecoder(bytes.NewReader(entry))
		if err := dec.Skip(); err != nil {
			t.Fatalf("laxer than the library: % x: %v", entry, err)
		}
		if _, err := dec.PeekCode(); err == nil {
			t.Fatalf("longer than the library: % x", entry)
		}
		again := batch[0]
		if !again.Kind.Known() {
			continue
		}
		if err := ValidateTick(&again); err != nil {
			t.Fatalf("decoded a tick that cannot be published: %+v: %v", again, err)
		}
		got := PartBody(&SnapshotPart{Base: noon, Body: AppendTick(nil, &again, noon)})
		if !b.snapshot {
			got = PacketBody(&Packet{First: again.Seq, Count: 1, Base: noon}, AppendTick(nil, &again, noon))
		}
		if n, err := got.Decode(batch[1:2]); n != 1 || err != nil || !batch[1].Equal(&again) {
			t.Fatalf("%+v\n%+v: %v", again, batch[1], err)
		}
	}
}

// compareVectors compares vectors with what does without them.
func compareVectors(t *testing.T, p []byte) {
	var want, got [40]feed.Tick
	n, size := decodeScalar(p, want[:], noon, 1)
	if k, s := decodeFixed(p, got[:], noon, 1); k != n || s != size || !slices.Equal(want[:n], got[:n]) {
		t.Fatalf("% x: %d ticks in %d bytes, want %d in %d\n%+v\n%+v", p, k, s, n, size, got[:k], want[:n])
	}
}

// variedTicks looks like a market: many instruments, sizes and prices of different lengths.
func variedTicks(n int) []feed.Tick {
	r := rand.New(rand.NewPCG(1, 2))
	ticks := make([]feed.Tick, n)
	at := noon
	for i := range ticks {
		at += r.Int64N(20_000)
		id := feed.InstrumentID(r.IntN(1000))
		price := int64(10_000) << (uint(id) % 10)
		if r.IntN(8) == 0 {
			ticks[i] = feed.Trade{Price: price + r.Int64N(100), Size: 1 + r.Int64N(1000), ID: uint64(i), Side: feed.Side(1 + r.IntN(2))}.Tick(id, at)
			continue
		}
		bid := price + r.Int64N(100)
		ticks[i] = feed.Quote{Bid: bid, BidSize: 1 + r.Int64N(400), Ask: bid + 1 + r.Int64N(3), AskSize: 1 + r.Int64N(400)}.Tick(id, at)
	}
	return ticks
}

func BenchmarkAppendTick(b *testing.B) {
	ticks := variedTicks(100)
	dst := make([]byte, 0, MaxBody)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%100 == 0 {
			dst = dst[:0]
		}
		dst = AppendTick(dst, &ticks[i%100], noon)
	}
}

func BenchmarkAppendFixed(b *testing.B) {
	ticks := variedTicks(100)
	dst := make([]byte, 0, MaxBody)
	b.ReportAllocs()
	for b.Loop() {
		if _, n, _ := AppendFixed(dst, ticks, noon, 0); n != len(ticks) {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/tick")
}

func BenchmarkDecodeTicks(b *testing.B) {
	ticks := variedTicks(100)
	var body []byte
	for i := range ticks {
		body = AppendTick(body, &ticks[i], noon)
	}
	h := Packet{First: 1, Count: 100, Base: noon}
	batch := make([]feed.Tick, 256)
	b.ReportAllocs()
	for b.Loop() {
		p := PacketBody(&h, body)
		if n, err := p.Decode(batch); n != 100 || err != nil {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/tick")
}

func BenchmarkReferenceTick(b *testing.B) {
	ticks := variedTicks(100)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		referenceTick(&ticks[i%100], noon)
	}
}

// AppendFixed writes what AppendTick writes, of ticks that ValidateTick passes, and stops at the first other.
func TestAppendFixed(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	pick := func(vs ...int64) int64 { return vs[r.IntN(len(vs))] }
	stopped := 0
	for range 20_000 {
		ticks := variedTicks(1 + r.IntN(8))
		odd := r.IntN(len(ticks))
		o := &ticks[odd]
		switch r.IntN(8) {
		case 0:
			o.Values[r.IntN(4)] = pick(-1, 0, 1<<16-1, 1<<16, 1<<32-1, 1<<32, math.MinInt64, math.MaxInt64)
		case 1:
			o.EventTime = noon + pick(-1<<31, -1<<31-1, 1<<31-1, 1<<31, math.MinInt64, math.MaxInt64)
		case 2:
			o.Instrument = feed.InstrumentID(pick(0, 1<<16-1, 1<<16, feed.MaxInstruments-1, feed.MaxInstruments))
		case 3:
			o.Side = feed.Side(r.IntN(6))
		case 4:
			o.Kind = feed.Kind(r.IntN(14))
		case 5:
			o.Extra = &feed.Extra{TradeRef: "T"}
		case 6:
			o.Flags = feed.Flags(r.IntN(256))
		case 7:
			o.Kind, o.Values[3] = feed.KindTrade, int64(r.Uint64())&^0xffffffff
		}
		dst := make([]byte, 5, 5+8*MaxEntry)
		got, n, latest := AppendFixed(dst, ticks, noon, noon+5)
		want, late := dst, noon+5
		for i := range ticks[:n] {
			require.NoError(t, ValidateTick(&ticks[i]), "%+v", ticks[i])
			want = AppendTick(want, &ticks[i], noon)
			late = max(late, ticks[i].EventTime)
		}
		require.Equal(t, want, got)
		require.Equal(t, late, latest)
		require.Equal(t, n == len(ticks), IsFixed(o), "%+v", *o)
		if n == len(ticks) {
			continue
		}
		stopped++
		require.Equal(t, odd, n, "a common tick is not what it stops at")
		if ValidateTick(o) == nil && (o.Kind != feed.KindQuote || o.Side == 0) {
			size := len(AppendTick(nil, o, noon))
			require.False(t, o.Kind == feed.KindQuote && (size == narrowQuote || size == wideQuote) || o.Kind == feed.KindTrade && o.Extra == nil && (size == narrowTrade || size == wideTrade), "%+v", *o)
		}
	}
	require.Greater(t, stopped, 5000)

	full := make([]byte, 0, MaxEntry+narrowTrade)
	_, n, _ := AppendFixed(full, variedTicks(100), noon, 0)
	require.Equal(t, 2, n, "ticks where there is room for an entry of any size before each")
}

// A tick that is told with another base event time, after a skip, is the same tick. Where its time cannot be told so
// nothing is appended.
func TestAppendRebased(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	ticks := variedTicks(2000)
	for _, tick := range exampleTicks() {
		ticks = append(ticks, tick)
	}
	refused := 0
	for i := range ticks {
		tick := &ticks[i]
		if i%10 == 0 && (tick.Kind == feed.KindQuote || tick.Kind == feed.KindTrade) {
			tick.Values[0] = 1 << 40 // a wide pattern
		}
		delta := []int64{0, 1, -1, 1000, -1 << 20, 1<<31 - 1, -1 << 31, 1 << 33, -1 << 40}[r.IntN(9)]
		skip := []uint64{0, 1, 0xff, 0xffff, 0x10000, 1 << 40}[r.IntN(6)]
		dst := make([]byte, 5, 5+r.IntN(2*MaxEntry))
		entry := AppendTick(nil, tick, noon)
		got, ok := AppendRebased(dst, skip, entry, delta)
		if !ok {
			refused++
			require.Equal(t, dst, got)
			require.Less(t, len(entry), wideQuote, "only the narrow patterns have too few bits")
			require.NotEqual(t, int64(int32(tick.EventTime-noon+delta)), tick.EventTime-noon+delta)
			continue
		}
		require.Equal(t, dst, got[:5])
		body := PacketBody(&Packet{First: 41, Count: skip + 1, Base: noon - delta}, got[5:])
		var batch [2]feed.Tick
		n, err := body.Decode(batch[:])
		require.NoError(t, err, "%+v after a skip of %d, by %d: %x", *tick, skip, delta, got[5:])
		require.Equal(t, 1, n)
		want := *tick
		want.Seq = 41 + skip
		require.Equal(t, want, batch[0])
		require.Equal(t, skip, body.NotAsked())
	}
	require.Greater(t, refused, 100)
}

// ScanFixed tells of each tick in a fixed-width pattern what EntryAt tells, and ends at the first other entry.
func TestScanFixed(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var (
		ids   [7]feed.InstrumentID
		sizes [7]uint8
	)
	fixed, other := 0, 0
	for range 500 {
		var body []byte
		for _, tick := range variedTicks(1 + r.IntN(20)) {
			switch r.IntN(12) {
			case 0:
				tick.Values[1] = 1 << 40
			case 1:
				tick.Instrument = 1<<20 - 1
			case 2:
				tick = feed.Level{Side: feed.SideBuy, Price: -5, Size: 3}.Tick(tick.Instrument, noon)
			case 3:
				body = AppendSkip(body, 1+r.Uint64N(1000))
			}
			body = AppendTick(body, &tick, noon)
		}
		for len(body) > 0 {
			n := ScanFixed(body, ids[:], sizes[:])
			fixed += n
			for i := range n {
				e, err := EntryAt(body)
				require.NoError(t, err)
				require.Equal(t, Entry{Size: int(sizes[i]), Covers: 1, Tick: true, Kind: e.Kind, Instrument: ids[i]}, e)
				body = body[e.Size:]
			}
			if n == len(ids) || len(body) == 0 {
				continue
			}
			e, err := EntryAt(body)
			require.NoError(t, err)
			require.NotContains(t, []int{narrowQuote, narrowTrade, wideQuote, wideTrade}, e.Size, "%x", body[:e.Size])
			body = body[e.Size:]
			other++
		}
	}
	require.Greater(t, fixed, 1000)
	require.Greater(t, other, 100)
}

// An event time is the sum of two numbers. One beyond its bound, or beyond 64 bits, is refused in every form, by readers and by
// publishers.
func TestEventTimesDoNotOverflow(t *testing.T) {
	quote := func(at int64) feed.Tick { return feed.Quote{Bid: 1, BidSize: 2, Ask: 3, AskSize: 4}.Tick(7, at) }
	wide := func(at int64) feed.Tick { return feed.Quote{Bid: -1, BidSize: 2, Ask: 3, AskSize: 4}.Tick(7, at) }
	compact := func(at int64) feed.Tick { return feed.ClearTick(7, at, feed.SideBoth) }
	const most, least = 1<<62 - 1, -1 << 62
	for _, test := range []struct {
		base, offset int64
		bad          bool
	}{
		{most - 100, 100, false}, {most - 100, 101, true}, {least + 100, -100, false}, {least + 100, -101, true},
		{0, most, false}, {0, most + 1, true}, {0, least, false}, {0, least - 1, true},
		{maxBase - 1, most - maxBase + 1, false}, {maxBase, most - maxBase, false}, {maxBase - 1, most - maxBase + 2, true}, {-maxBase, maxBase - 1<<62, false},
		{noon, -noon, false}, {noon, 1 << 60, false}, {noon, most - noon, false}, {noon, most - noon + 1, true},
		{math.MaxInt64, math.MinInt64, false}, {math.MaxInt64, -1 << 62, false}, {math.MaxInt64, 1 - 1<<62, true}, {math.MaxInt64, 1, true}, {math.MinInt64, -1, true},
		{math.MinInt64, math.MinInt64, true}, {math.MaxInt64, math.MaxInt64, true}, {-1, math.MinInt64, true}, {1, math.MaxInt64, true},
	} {
		for name, make := range map[string]func(int64) feed.Tick{"narrow": quote, "wide": wide, "compact": compact} {
			var body []byte
			for range 2 * fixedRun {
				body = AppendTick(body, new(make(test.offset)), 0)
			}
			b := PacketBody(&Packet{First: 1, Count: 2 * fixedRun, Base: test.base}, body)
			var room [2 * fixedRun]feed.Tick
			n, err := b.Decode(room[:])
			if test.bad {
				assert.ErrorContains(t, err, "beyond the bound", "%s %+v", name, test)
				continue
			}
			require.NoError(t, err, "%s %+v", name, test)
			for i := range room[:n] {
				assert.Equal(t, test.base+test.offset, room[i].EventTime, "%s %+v", name, test)
			}
			assert.Equal(t, 2*fixedRun, n)
		}
	}
	for at, ok := range map[int64]bool{-1 << 62: true, 1<<62 - 1: true, 1 << 62: false, -1<<62 - 1: false} {
		tick := wide(at)
		assert.Equal(t, ok, ValidateTick(&tick) == nil, at)
		assert.Equal(t, ok, IsFixed(&tick), at)
		_, n, _ := AppendFixed(make([]byte, 0, 4*MaxEntry), []feed.Tick{tick}, 0, 0)
		assert.Equal(t, ok, n == 1, at)
	}
}
