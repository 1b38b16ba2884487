package feed_test

import (
	"encoding"
	"fmt"
	"math"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// A tick is one cache line.
func TestTickSize(t *testing.T) {
	assert.Equal(t, uintptr(64), unsafe.Sizeof(feed.Tick{}))
}

// A view returns the values it was built from, at the bounds of every field.
func TestTickViews(t *testing.T) {
	for _, p := range []int64{feed.NoPrice, math.MinInt64 + 1, -1, 0, 1, math.MaxInt64} {
		for _, size := range []int64{0, 1, feed.MaxSize} {
			for _, id := range []uint64{0, 1, math.MaxInt64, math.MaxUint64} {
				q := feed.Quote{Bid: p, BidSize: size, Ask: -p, AskSize: 3}
				tick := q.Tick(7, 42)
				assert.Equal(t, q, tick.Quote())
				assertHead(t, feed.KindQuote, tick)

				tr := feed.Trade{Price: p, Size: size, ID: id, Conditions: math.MaxUint64 - 1, Side: feed.SideSell}
				tick = tr.Tick(7, 42)
				assert.Equal(t, tr, tick.Trade())
				assert.Empty(t, tick.TradeRef())
				assertHead(t, feed.KindTrade, tick)

				c := feed.Correction{OldPrice: -p, OldSize: size, Trade: tr}
				tick = c.Tick(7, 42, "T-1")
				assert.Equal(t, c, tick.Correction())
				assert.Equal(t, "T-1", tick.TradeRef())
				assertHead(t, feed.KindCorrection, tick)

				x := feed.Cancel{Price: p, Size: size, ID: id}
				tick = x.Tick(7, 42, "")
				assert.Equal(t, x, tick.Cancel())
				assert.Nil(t, tick.Extra)
				tick = x.Tick(7, 42, "T-1")
				assert.Equal(t, x, tick.Cancel())
				assert.Equal(t, "T-1", tick.TradeRef())
				assertHead(t, feed.KindCancel, tick)

				l := feed.Level{Side: feed.SideBuy, Price: p, Size: size}
				tick = l.Tick(7, 42)
				assert.Equal(t, l, tick.Level())
				assertHead(t, feed.KindLevel, tick)
			}
		}
	}
	tick := feed.StatusTick(7, 42, feed.StatusHalted, 20261123)
	assertHead(t, feed.KindStatus, tick)
	assert.Equal(t, feed.StatusHalted, tick.Status)
	assert.Equal(t, int32(20261123), tick.TradingDay())
	tick = feed.ClearTick(7, 42, feed.SideBoth)
	assertHead(t, feed.KindClear, tick)
	assert.Equal(t, feed.SideBoth, tick.Side)

	var bare feed.Tick // of no kind, without Extra: every view is empty and none panics
	assert.Nil(t, bare.Definition())
	assert.Nil(t, bare.Summary())
	assert.Zero(t, bare.Correction())
}

func assertHead(t *testing.T, kind feed.Kind, tick feed.Tick) {
	t.Helper()
	assert.Equal(t, kind, tick.Kind)
	assert.Equal(t, feed.InstrumentID(7), tick.Instrument)
	assert.Equal(t, int64(42), tick.EventTime)
	assert.Zero(t, tick.Seq)
	assert.Zero(t, tick.Flags)
}

// Ticks are equal if all of their fields are, wherever the rare parts are stored. Each field counts.
func TestTickEqual(t *testing.T) {
	full := func() feed.Tick {
		return feed.Tick{
			Seq: 1, EventTime: 2, Instrument: 3, Kind: 4, Flags: 1, Side: 1, Status: 2, Values: [4]int64{1, 2, 3, 4},
			Extra: &feed.Extra{
				Definition: &feed.Definition{Symbol: "A"}, Summary: &feed.Summary{Open: 1},
				TradeRef: "T-1", OldPrice: 5, OldSize: 6,
			},
		}
	}
	a, b := full(), full()
	assert.True(t, a.Equal(&b))
	for name, change := range map[string]func(*feed.Tick){
		"seq":              func(t *feed.Tick) { t.Seq++ },
		"event time":       func(t *feed.Tick) { t.EventTime++ },
		"instrument":       func(t *feed.Tick) { t.Instrument++ },
		"kind":             func(t *feed.Tick) { t.Kind++ },
		"flags":            func(t *feed.Tick) { t.Flags++ },
		"side":             func(t *feed.Tick) { t.Side++ },
		"status":           func(t *feed.Tick) { t.Status++ },
		"values":           func(t *feed.Tick) { t.Values[3]++ },
		"no extra":         func(t *feed.Tick) { t.Extra = nil },
		"definition":       func(t *feed.Tick) { t.Extra.Definition.Lot++ },
		"no definition":    func(t *feed.Tick) { t.Extra.Definition = nil },
		"summary":          func(t *feed.Tick) { t.Extra.Summary.LastRef = "T-2" },
		"no summary":       func(t *feed.Tick) { t.Extra.Summary = nil },
		"textual trade id": func(t *feed.Tick) { t.Extra.TradeRef = "T-2" },
		"old price":        func(t *feed.Tick) { t.Extra.OldPrice++ },
		"old size":         func(t *feed.Tick) { t.Extra.OldSize++ },
	} {
		b := full()
		change(&b)
		assert.False(t, a.Equal(&b), name)
		assert.False(t, b.Equal(&a), name)
	}
	a.Extra, b.Extra = nil, &feed.Extra{}
	assert.True(t, a.Equal(&b), "an empty extra is none")
	assert.NotNil(t, b.Extra, "comparing changes nothing")
}

// String returns names for people; a value without a name is shown as its number.
func TestTickNames(t *testing.T) {
	for k := feed.KindDefinition; k <= feed.KindSummary; k++ {
		assert.True(t, k.Known())
		assert.NotEmpty(t, k.String())
		assert.NotContains(t, k.String(), "(")
	}
	for k, want := range map[feed.Kind]string{0: "kind(0)", feed.KindQuote: "quote", feed.KindSummary: "summary", feed.KindSummary + 1: "kind(10)", 255: "kind(255)"} {
		assert.Equal(t, want, k.String())
	}
	for s, want := range map[feed.Side]string{feed.SideNone: "", feed.SideBuy: "buy", feed.SideSell: "sell", feed.SideBoth: "both", 4: "side(4)"} {
		assert.Equal(t, want, s.String())
	}
	for s, want := range map[feed.Status]string{feed.StatusUnknown: "unknown", feed.StatusClosed: "closed", 6: "status(6)"} {
		assert.Equal(t, want, s.String())
	}
}

// Conditions are up to eight printable characters, without blanks at the end.
func TestConditionsAreEightCharacters(t *testing.T) {
	for s, want := range map[string]string{"": "", "@": "@", "@ TI": "@ TI", " F": " F", "@F I   ": "@F I", "ABCDEFGH": "ABCDEFGH", "~~~~~~~~": "~~~~~~~~", "   ": ""} {
		c, err := feed.ParseConditions(s)
		require.NoError(t, err, s)
		assert.True(t, c.Valid(), s)
		assert.Equal(t, want, c.String())
		back, err := feed.ParseConditions(c.String())
		require.NoError(t, err)
		assert.Equal(t, c, back)
	}
	assert.Equal(t, uint64('@')<<56|uint64('T')<<48, func() uint64 { c, _ := feed.ParseConditions("@T"); return uint64(c) }())
	for _, s := range []string{"ABCDEFGHI", "A\x00", "\x7f", "é", "A\n"} {
		_, err := feed.ParseConditions(s)
		assert.Error(t, err, "%q", s)
	}
	for _, c := range []feed.Conditions{1, 'A', 'A' << 48, ' ' << 56, 'A'<<56 | ' '<<48, 0x7f << 56, 0xff << 56, 'A'<<56 | 'B'<<40} {
		assert.False(t, c.Valid(), "%x", uint64(c))
	}
}

// Each value of an enumeration has a word, which reads back as the value.
func TestEnumerationsAreWords(t *testing.T) {
	type enum interface {
		encoding.TextMarshaler
		fmt.Stringer
	}
	for _, c := range []struct {
		value enum
		word  string
		back  encoding.TextUnmarshaler
	}{
		{feed.KindDefinition, "definition", new(feed.Kind)},
		{feed.KindAuction, "auction", new(feed.Kind)},
		{feed.SideNone, "", new(feed.Side)},
		{feed.SideBoth, "both", new(feed.Side)},
		{feed.StatusPreOpen, "pre-open", new(feed.Status)},
		{feed.AuctionIPO, "ipo", new(feed.AuctionKind)},
	} {
		text, err := c.value.MarshalText()
		require.NoError(t, err)
		assert.Equal(t, c.word, string(text))
		assert.Equal(t, c.word, c.value.String())
		require.NoError(t, c.back.UnmarshalText(text))
		assert.Equal(t, fmt.Sprint(c.value), fmt.Sprint(c.back))
	}
	assert.Equal(t, "kind(10)", feed.Kind(10).String(), "a packet of numbers that are gone is no tick")
	assert.EqualError(t, new(feed.Side).UnmarshalText([]byte("bid")), `side must be buy, sell or both, got "bid"`)
}
