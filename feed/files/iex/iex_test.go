package iex_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files/iex"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/recorded"
)

type expectation struct {
	Packets    int64            `json:"packets"`
	Heartbeats int64            `json:"heartbeats"`
	Messages   int64            `json:"messages"`
	ByType     map[string]int64 `json:"by_type"`
	Totals     struct {
		Trades   int64 `json:"trades"`
		Volume   int64 `json:"volume"`
		Notional int64 `json:"notional_x10000"`
		Traded   int   `json:"symbols_with_trades"`
		Quoted   int   `json:"symbols_with_quotes"`
	} `json:"totals"`
	PerSymbol map[string]struct {
		Trades int64 `json:"trades"`
		Volume int64 `json:"volume"`
		Min    int64 `json:"min_price_x10000"`
		Max    int64 `json:"max_price_x10000"`
		Quotes int64 `json:"quotes"`
		Levels int64 `json:"level_updates"`
	} `json:"per_symbol"`
	FirstTrade row  `json:"first_trade"`
	LastTrade  row  `json:"last_trade"`
	FirstQuote *row `json:"first_quote"`
	LastQuote  *row `json:"last_quote"`
}

type row struct {
	Time    int64  `json:"ts_ns"`
	Symbol  string `json:"symbol"`
	Size    int64  `json:"size"`
	Price   int64  `json:"price_x10000"`
	TradeID uint64 `json:"trade_id"`
	BidSize int64  `json:"bid_size"`
	Bid     int64  `json:"bid_x10000"`
	Ask     int64  `json:"ask_x10000"`
	AskSize int64  `json:"ask_size"`
}

func read(t *testing.T, paths ...string) ([]feed.Tick, *feed.State, rawfile.Stats) {
	t.Helper()
	src, err := iex.Open(paths, iex.Config{})
	require.NoError(t, err)
	ticks, state := recorded.ReadAll(t, src)
	return ticks, state, src.Stats()
}

// Both recorded captures agree with an independent decoder: packets, messages by type, no gap, trades, shares
// and prices per symbol, first and last rows.
func TestRecordedFiles(t *testing.T) {
	dir := recorded.Dir(t)
	for _, file := range []string{"iex/TOPS16.pcap.gz", "iex/DEEP10.first-session.pcap.gz"} {
		t.Run(file, func(t *testing.T) {
			path := filepath.Join(dir, file)
			e := recorded.Expected[expectation](t, dir, file)
			head, err := rawfile.Head(path, rawfile.HeadSize)
			require.NoError(t, err)
			assert.True(t, iex.Recognise(head))
			ticks, state, stats := read(t, path)
			assert.Equal(t, e.Packets, stats.Packets)
			assert.Equal(t, e.Messages, stats.Messages)
			for kind, n := range stats.Types {
				assert.Equal(t, e.ByType[string(rune(kind))], n, "type %c", kind)
			}
			assert.Zero(t, stats.Gaps+stats.Missing+stats.Duplicates+stats.Resets+stats.Foreign+stats.Skipped, stats.Notes)
			symbol := func(tick feed.Tick) string {
				d, _ := state.Definition(tick.Instrument)
				return d.Symbol
			}
			trades := recorded.Only(ticks, feed.KindTrade)
			quotes := recorded.Only(ticks, feed.KindQuote)
			type sums struct{ trades, volume, low, high, quotes int64 }
			per := make(map[string]*sums)
			at := func(tick feed.Tick) *sums {
				s := per[symbol(tick)]
				if s == nil {
					s = &sums{low: 1 << 62}
					per[symbol(tick)] = s
				}
				return s
			}
			var volume, notional int64
			for _, tick := range trades {
				tr, s := tick.Trade(), at(tick)
				s.trades++
				s.volume += tr.Size
				s.low, s.high = min(s.low, tr.Price), max(s.high, tr.Price)
				volume += tr.Size
				notional += tr.Size * tr.Price
			}
			assert.EqualValues(t, e.Totals.Trades, len(trades))
			assert.Equal(t, e.Totals.Volume, volume)
			assert.Equal(t, e.Totals.Notional, notional)
			assert.Len(t, per, e.Totals.Traded)
			if e.FirstQuote != nil {
				for _, tick := range quotes {
					at(tick).quotes++
				}
				assert.Len(t, per, e.Totals.Quoted)
				assert.EqualValues(t, e.ByType["Q"], len(quotes))
				agreeQuote(t, *e.FirstQuote, quotes[0], symbol)
				agreeQuote(t, *e.LastQuote, quotes[len(quotes)-1], symbol)
			}
			for name, want := range e.PerSymbol {
				if want.Trades == 0 {
					continue
				}
				got := per[name]
				require.NotNil(t, got, name)
				assert.Equal(t, sums{want.Trades, want.Volume, want.Min, want.Max, got.quotes}, *got, name)
				if want.Quotes > 0 {
					assert.Equal(t, want.Quotes, got.quotes, name)
				}
			}
			agreeTrade(t, e.FirstTrade, trades[0], symbol)
			agreeTrade(t, e.LastTrade, trades[len(trades)-1], symbol)
		})
	}
}

func agreeTrade(t *testing.T, want row, got feed.Tick, symbol func(feed.Tick) string) {
	tr := got.Trade()
	assert.Equal(t, want, row{Time: got.EventTime, Symbol: symbol(got), Size: tr.Size, Price: tr.Price, TradeID: tr.ID})
	assert.Equal(t, "FT", tr.Conditions.String(), "flags 192: intermarket sweep, extended hours")
}

func agreeQuote(t *testing.T, want row, got feed.Tick, symbol func(feed.Tick) string) {
	if want.BidSize == 0 && want.Bid == 0 {
		want.Bid = feed.NoPrice
	}
	if want.AskSize == 0 && want.Ask == 0 {
		want.Ask = feed.NoPrice
	}
	q := got.Quote()
	assert.Equal(t, want, row{Time: got.EventTime, Symbol: symbol(got), Bid: q.Bid, BidSize: q.BidSize, Ask: q.Ask, AskSize: q.AskSize})
}

// A trade break names an earlier trade and carries its price and size; it becomes a cancel and reduces the
// day's volume. A capture's first statuses name the trading day.
func TestTradeBreaksAndTradingDay(t *testing.T) {
	ticks, state, _ := read(t, filepath.Join(recorded.Dir(t), "iex/TOPS16.pcap.gz"))
	type trade struct {
		id    feed.InstrumentID
		price int64
		size  int64
	}
	told := make(map[uint64]trade)
	volume := make(map[feed.InstrumentID]int64)
	cancels := 0
	for _, tick := range ticks {
		switch tick.Kind {
		case feed.KindTrade:
			tr := tick.Trade()
			told[tr.ID] = trade{tick.Instrument, tr.Price, tr.Size}
			volume[tick.Instrument] += tr.Size
		case feed.KindCancel:
			c := tick.Cancel()
			cancels++
			assert.Equal(t, told[c.ID], trade{tick.Instrument, c.Price, c.Size})
			volume[tick.Instrument] -= c.Size
		}
	}
	assert.Equal(t, 3, cancels)
	for id, v := range volume {
		in, ok := state.Instrument(id)
		require.True(t, ok)
		assert.Equal(t, v, in.Summary.Volume)
		assert.EqualValues(t, 20170710, in.Summary.TradingDay)
	}
}

// DEEP's price levels make a book; its best bid and offer are quoted at the end of each event and equal the
// state's levels.
func TestDEEPLevelsMakeQuotes(t *testing.T) {
	ticks, state, stats := read(t, filepath.Join(recorded.Dir(t), "iex/DEEP10.first-session.pcap.gz"))
	levels := recorded.Only(ticks, feed.KindLevel)
	assert.EqualValues(t, stats.Types['8']+stats.Types['5'], len(levels))
	last := make(map[feed.InstrumentID]feed.Quote)
	for _, q := range recorded.Only(ticks, feed.KindQuote) {
		last[q.Instrument] = q.Quote()
	}
	assert.Len(t, last, 5)
	for id, q := range last {
		in, ok := state.Instrument(id)
		require.True(t, ok)
		best := feed.Quote{Bid: feed.NoPrice, Ask: feed.NoPrice}
		if len(in.Bids) > 0 {
			best.Bid, best.BidSize = in.Bids[0].Price, in.Bids[0].Size
		}
		if len(in.Asks) > 0 {
			best.Ask, best.AskSize = in.Asks[0].Price, in.Asks[0].Size
		}
		assert.Equal(t, best, q)
	}
}

// packet is an IEX segment in Ethernet, IPv4 and UDP, with its pcap record.
func packet(session uint32, first uint64, messages ...[]byte) []byte {
	var body []byte
	for _, m := range messages {
		body = binary.LittleEndian.AppendUint16(body, uint16(len(m)))
		body = append(body, m...)
	}
	seg := make([]byte, 40)
	le, be := binary.LittleEndian, binary.BigEndian
	seg[0] = 1
	le.PutUint16(seg[2:], 0x8004)
	le.PutUint32(seg[4:], 1)
	le.PutUint32(seg[8:], session)
	le.PutUint16(seg[12:], uint16(len(body)))
	le.PutUint16(seg[14:], uint16(len(messages)))
	le.PutUint64(seg[24:], first)
	seg = append(seg, body...)
	frame := make([]byte, 14+20+8)
	be.PutUint16(frame[12:], 0x0800)
	frame[14], frame[14+9] = 0x45, 17
	be.PutUint16(frame[16:], uint16(28+len(seg)))
	be.PutUint16(frame[38:], uint16(8+len(seg)))
	frame = append(frame, seg...)
	record := make([]byte, 16)
	le.PutUint32(record[8:], uint32(len(frame)))
	le.PutUint32(record[12:], uint32(len(frame)))
	return append(record, frame...)
}

func header() []byte {
	b := make([]byte, 24)
	binary.LittleEndian.PutUint32(b, 0xa1b2c3d4)
	binary.LittleEndian.PutUint32(b[20:], 1)
	return b
}

func levelMessage(price int64, size uint32) []byte {
	m := make([]byte, 30)
	m[0], m[1] = '8', 1
	binary.LittleEndian.PutUint64(m[2:], 1500000000000000000)
	copy(m[10:18], "XYZ     ")
	binary.LittleEndian.PutUint32(m[18:], size)
	binary.LittleEndian.PutUint64(m[22:], uint64(price))
	return m
}

func file(t testing.TB, parts ...[]byte) string {
	path := filepath.Join(t.TempDir(), "x.pcap")
	b := header()
	for _, p := range parts {
		b = append(b, p...)
	}
	require.NoError(t, os.WriteFile(path, b, 0o600))
	return path
}

// Missing numbers are a gap, repeated numbers are left out, a new session clears the books.
func TestNumberingFindsGapsAndRepeats(t *testing.T) {
	ticks, _, stats := read(t, file(t,
		packet(1, 1, levelMessage(100, 1), levelMessage(101, 2)),
		packet(1, 1, levelMessage(100, 1), levelMessage(101, 2)), // the other line
		packet(1, 5, levelMessage(102, 3)),                       // 3 and 4 are missing
		packet(1, 6),                                             // heartbeat
		packet(2, 1, levelMessage(90, 4)),
	))
	assert.EqualValues(t, 1, stats.Gaps)
	assert.EqualValues(t, 2, stats.Missing)
	assert.EqualValues(t, 2, stats.Duplicates)
	assert.EqualValues(t, 1, stats.Resets)
	assert.Equal(t, []string{"gap: messages 3 to 4 of session 1 are missing", "session 2 follows session 1"}, stats.Notes)
	assert.Len(t, recorded.Only(ticks, feed.KindLevel), 4)
	assert.Len(t, recorded.Only(ticks, feed.KindClear), 1)
	last := ticks[len(ticks)-1]
	assert.Equal(t, feed.Quote{Bid: 90, BidSize: 4, Ask: feed.NoPrice}, last.Quote())
}

// A damaged packet is an error with its offset, or skipped; a capture of another format is refused.
func TestDamageHasItsOffset(t *testing.T) {
	good := packet(1, 1, levelMessage(100, 1))
	bad := packet(1, 2, levelMessage(101, 2)[:20])
	torn := packet(1, 3, levelMessage(102, 3))
	path := file(t, good, bad, torn[:len(torn)-5])
	src, err := iex.Open([]string{path}, iex.Config{})
	require.NoError(t, err)
	_, _, err = recorded.Read(t, src)
	var damage *rawfile.DamageError
	require.ErrorAs(t, err, &damage)
	assert.EqualValues(t, 24+len(good), damage.Offset)

	src, err = iex.Open([]string{path}, iex.Config{SkipBad: 2})
	require.NoError(t, err)
	ticks, _ := recorded.ReadAll(t, src)
	assert.Len(t, recorded.Only(ticks, feed.KindLevel), 1)
	assert.EqualValues(t, 2, src.Stats().Skipped)

	other := packet(1, 1)
	other[16+42] = 9 // no version of IEX-TP
	src, err = iex.Open([]string{file(t, other)}, iex.Config{})
	require.NoError(t, err)
	_, _, err = recorded.Read(t, src)
	var format *rawfile.FormatError
	assert.ErrorAs(t, err, &format)

	path = file(t, good)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[20] = 105
	require.NoError(t, os.WriteFile(path, b, 0o600))
	src, err = iex.Open([]string{path}, iex.Config{})
	require.NoError(t, err)
	_, _, err = recorded.Read(t, src)
	assert.ErrorContains(t, err, "its packets are of link type 105 (IEEE 802.11), which cannot be read")
}

func FuzzSource(f *testing.F) {
	f.Add(append(append(header(), packet(1, 1, levelMessage(100, 1), levelMessage(101, 0))...), packet(2, 9, levelMessage(1, 1))...))
	path := filepath.Join(f.TempDir(), "fuzz.pcap")
	f.Fuzz(func(t *testing.T, b []byte) {
		require.NoError(t, os.WriteFile(path, b, 0o600))
		iex.Recognise(b)
		src, err := iex.Open([]string{path}, iex.Config{SkipBad: 100})
		require.NoError(t, err)
		recorded.Read(t, src)
	})
}

func BenchmarkSource(b *testing.B) {
	whole, err := rawfile.Head(filepath.Join(recorded.Dir(b), "iex/TOPS16.pcap.gz"), 64<<20)
	require.NoError(b, err)
	path := filepath.Join(b.TempDir(), "tops.pcap")
	require.NoError(b, os.WriteFile(path, whole, 0o600))
	b.ReportAllocs()
	messages := int64(0)
	for b.Loop() {
		src, err := iex.Open([]string{path}, iex.Config{})
		require.NoError(b, err)
		_, err = recorded.Drain(src)
		require.NoError(b, err)
		messages += src.Stats().Messages
	}
	b.ReportMetric(float64(messages)/b.Elapsed().Seconds()/1e6, "M/s")
}

// A quote comes once the event of its levels is complete (flag 1), not before.
func TestQuoteAtTheEndOfAnEvent(t *testing.T) {
	open, complete := levelMessage(100, 1), levelMessage(101, 2)
	open[1] = 0
	ticks, _, _ := read(t, file(t, packet(1, 1, open, complete)))
	assert.Len(t, recorded.Only(ticks, feed.KindLevel), 2)
	quotes := recorded.Only(ticks, feed.KindQuote)
	require.Len(t, quotes, 1)
	assert.Equal(t, feed.Quote{Bid: 101, BidSize: 2, Ask: feed.NoPrice}, quotes[0].Quote())
}
