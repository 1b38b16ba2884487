package codec

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"

	"tickfeed/feed"
)

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

// The library decodes our ticks to the same values, and we decode its ticks, which have compact widths, to the same ticks.
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

func BenchmarkReferenceTick(b *testing.B) {
	ticks := variedTicks(100)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		referenceTick(&ticks[i%100], noon)
	}
}
