package dbn_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/decimal"
	"tickfeed/feed/files/dbn"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/recorded"
)

// expectation is the result of an independent decoder for a file.
type expectation struct {
	Schema      string           `json:"schema"`
	Records     int64            `json:"records"`
	ByType      map[string]int64 `json:"by_rtype_len"`
	Actions     map[string]int64 `json:"actions"`
	Instruments int              `json:"instruments"`
	Trades      int64            `json:"trades_total"`
	Volume      int64            `json:"volume_total"`
	PerID       map[string]struct {
		Trades   int64 `json:"trades"`
		Volume   int64 `json:"volume"`
		MinPrice int64 `json:"min_price"`
		MaxPrice int64 `json:"max_price"`
	} `json:"trades_per_instrument"`
	First, Last record
	RawSymbols  []string `json:"raw_symbols"`
	Symbols     []string `json:"symbols"`
}

type record struct {
	Type    int    `json:"rtype"`
	TsEvent uint64 `json:"ts_event"`
	TsRecv  uint64 `json:"ts_recv"`
	Price   int64  `json:"price"`
	Size    int64  `json:"size"`
	Action  string `json:"action"`
	BidPx   int64  `json:"bid_px"`
	AskPx   int64  `json:"ask_px"`
	BidSz   int64  `json:"bid_sz"`
	AskSz   int64  `json:"ask_sz"`
}

func read(t *testing.T, cfg dbn.Config, paths ...string) ([]feed.Tick, *feed.State, rawfile.Stats) {
	t.Helper()
	src, err := dbn.Open(paths, cfg)
	require.NoError(t, err)
	ticks, state := recorded.ReadAll(t, src)
	stats := src.Stats()
	assert.EqualValues(t, len(ticks), stats.Ticks)
	return ticks, state, stats
}

// Every recorded file agrees with an independent decoder in records, trades, volume, price
// range, first and last trade and quote; files of bars and statistics are refused by name.
func TestRecordedFiles(t *testing.T) {
	dir := recorded.Dir(t)
	files := 0
	for file := range recorded.All(t, dir) {
		if !strings.HasPrefix(file, "dbn/") {
			continue
		}
		files++
		t.Run(strings.TrimPrefix(file, "dbn/"), func(t *testing.T) {
			path := filepath.Join(dir, file)
			e := recorded.Expected[expectation](t, dir, file)
			head, err := rawfile.Head(path, rawfile.HeadSize)
			require.NoError(t, err)
			assert.True(t, dbn.Recognise(head))
			if strings.HasPrefix(e.Schema, "ohlcv") || e.Schema == "statistics" {
				src, err := dbn.Open([]string{path}, dbn.Config{})
				require.NoError(t, err)
				ticks, _, err := recorded.Read(t, src)
				var format *rawfile.FormatError
				require.ErrorAs(t, err, &format)
				assert.Contains(t, err.Error(), e.Schema)
				assert.Empty(t, ticks)
				return
			}
			ticks, _, stats := read(t, dbn.Config{}, path)
			agree(t, e, ticks, stats)
		})
	}
	assert.Greater(t, files, 70)
}

func agree(t *testing.T, e expectation, ticks []feed.Tick, stats rawfile.Stats) {
	assert.Equal(t, e.Records, stats.Messages)
	byType := make(map[byte]int64)
	for k, n := range e.ByType { // 0x01/80B
		byType[hexByte(k[2])<<4|hexByte(k[3])] += n
	}
	for rtype, n := range stats.Types {
		assert.Equal(t, byType[byte(rtype)], n, "records of type 0x%02x", rtype)
	}
	trades, volume := int64(0), int64(0)
	var low, high int64
	for _, tick := range recorded.Only(ticks, feed.KindTrade) {
		tr := tick.Trade()
		if trades++; trades == 1 {
			low, high = tr.Price, tr.Price
		}
		low, high, volume = min(low, tr.Price), max(high, tr.Price), volume+tr.Size
	}
	assert.Equal(t, e.Trades, trades)
	assert.Equal(t, e.Volume, volume)
	if len(e.PerID) == 1 {
		for _, p := range e.PerID {
			assert.Equal(t, p.MinPrice, low)
			assert.Equal(t, p.MaxPrice, high)
		}
	}
	defs := recorded.Only(ticks, feed.KindDefinition)
	if e.Records > 0 {
		assert.Len(t, defs, len(distinct(defs)), "each instrument is defined once")
		switch {
		case e.Schema == "definition" && len(distinct(defs)) < e.Instruments:
			// MSFT has another id on the second day; it stays one instrument.
			assert.Len(t, distinct(defs), 1)
		case defs[0].Definition().Currency == "" && strings.HasPrefix(defs[0].Definition().Symbol, "AAPL  "):
			// An option that trades at several venues is an instrument at each.
			assert.GreaterOrEqual(t, len(defs), e.Instruments)
		default:
			assert.Len(t, defs, e.Instruments)
		}
	}
	for i, symbol := range e.RawSymbols {
		if e.Schema == "definition" {
			assert.Equal(t, symbol, defs[min(i, len(defs)-1)].Definition().Symbol)
		}
	}
	if len(e.Symbols) == 1 && e.Instruments == 1 {
		assert.Equal(t, e.Symbols[0], defs[0].Definition().Symbol)
	}
	agreeRow(t, e.First, ticks, false)
	agreeRow(t, e.Last, ticks, true)
}

// agreeRow compares the first or last record with the first or last tick of its kind.
func agreeRow(t *testing.T, r record, ticks []feed.Tick, last bool) {
	pick := func(kind feed.Kind) feed.Tick {
		only := recorded.Only(ticks, kind)
		require.NotEmpty(t, only)
		if last {
			return only[len(only)-1]
		}
		return only[0]
	}
	px := func(p int64) int64 {
		if p == 1<<63-1 {
			return feed.NoPrice
		}
		return p
	}
	quoted := r.Type == 0x01 || r.Type == 0xb1 || r.Type >= 0xc0 && r.Type <= 0xc4
	if quoted && !(r.Action == "T" && last) {
		q := pick(feed.KindQuote)
		assert.Equal(t, feed.Quote{Bid: px(r.BidPx), BidSize: r.BidSz, Ask: px(r.AskPx), AskSize: r.AskSz}, q.Quote())
		if r.Action == "" {
			assert.EqualValues(t, r.TsRecv, q.EventTime)
		} else {
			assert.EqualValues(t, r.TsEvent, q.EventTime)
		}
	}
	if r.Action == "T" {
		tr := pick(feed.KindTrade)
		assert.Equal(t, r.Price, tr.Trade().Price)
		assert.Equal(t, r.Size, tr.Trade().Size)
		assert.EqualValues(t, r.TsEvent, tr.EventTime)
	}
}

func hexByte(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}

func distinct(defs []feed.Tick) map[string]bool {
	names := make(map[string]bool)
	for _, d := range defs {
		names[d.Definition().Name()] = true
	}
	return names
}

// The same records give the same ticks, whatever version of DBN carries them.
func TestVersionsGiveTheSameTicks(t *testing.T) {
	dir := filepath.Join(recorded.Dir(t), "dbn", "versions")
	for _, schema := range []string{"trades", "mbp-1", "mbp-10", "tbbo", "mbo", "definition"} {
		v3, _, _ := read(t, dbn.Config{}, filepath.Join(dir, "test_data."+schema+".v3.dbn.zst"))
		for _, version := range []string{".v1.dbn.zst", ".v2.dbn.zst", ".dbn"} {
			ticks, _, _ := read(t, dbn.Config{}, filepath.Join(dir, "test_data."+schema+version))
			require.Len(t, ticks, len(v3), schema+version)
			for i := range ticks {
				assert.True(t, ticks[i].Equal(&v3[i]), "%s%s: tick %d: %+v, not %+v", schema, version, i, ticks[i], v3[i])
			}
		}
	}
}

// A T record of mbp-1 shows the book before its trade and does not change it: the trades of
// the mbp-1 file are those of the trades file, and every other record is one quote.
func TestTradeRecordsDoNotChangeTheBook(t *testing.T) {
	dir := filepath.Join(recorded.Dir(t), "dbn", "sessions")
	mbp, _, _ := read(t, dbn.Config{}, filepath.Join(dir, "futures_mbp-1_2024-07-01T23-58_2024-07-02T00-02.dbn.zst"))
	trades, _, _ := read(t, dbn.Config{}, filepath.Join(dir, "futures_trades_2024-07-01T23-58_2024-07-02T00-02.dbn.zst"))
	a, b := recorded.Only(mbp, feed.KindTrade), recorded.Only(trades, feed.KindTrade)
	require.Len(t, a, 120)
	for i := range a {
		a[i].Flags = 0
		assert.Equal(t, b[i], a[i])
	}
	// 2,168 records that are no trades, and a quote before the trade that begins the file.
	assert.Len(t, recorded.Only(mbp, feed.KindQuote), 2168+1)
}

// Files of several schemas have the same trades: those that an earlier file has are left out and
// counted, and a file given twice adds none. Equal trades in one file are different trades.
func TestTradesOfSeveralSchemas(t *testing.T) {
	dir := filepath.Join(recorded.Dir(t), "dbn", "sessions")
	mbp := filepath.Join(dir, "futures_mbp-1_2024-07-01T23-58_2024-07-02T00-02.dbn.zst")
	trades := filepath.Join(dir, "futures_trades_2024-07-01T23-58_2024-07-02T00-02.dbn.zst")
	for _, paths := range [][]string{{mbp, trades}, {trades, mbp}, {trades, trades}} {
		ticks, state, stats := read(t, dbn.Config{}, paths...)
		assert.Len(t, recorded.Only(ticks, feed.KindTrade), 120)
		assert.EqualValues(t, 120, stats.Duplicates)
		assert.Len(t, stats.Notes, 1)
		volume := int64(0)
		for id := range state.Len() {
			in, _ := state.Instrument(feed.InstrumentID(id))
			volume += in.Summary.Volume
		}
		assert.EqualValues(t, 253, volume)
	}
}

// The trades of mbo equal those of trades, although their records differ.
func TestTradesOfOrders(t *testing.T) {
	var trades, orders builder
	trades.trade(noon, 5, 1).trade(noon, 5, 1).trade(noon+1, 6, 2)
	orders.order(noon, 'T', 'B', 128, 0, 5, 1).order(noon, 'T', 'B', 128, 0, 5, 1).order(noon, 'T', 'B', 128, 0, 5, 1)
	ticks, _, stats := read(t, dbn.Config{}, trades.file(t), orders.file(t))
	assert.Len(t, recorded.Only(ticks, feed.KindTrade), 4)
	assert.EqualValues(t, 2, stats.Duplicates)
}

// In tbbo each trade comes after the quote before it, unless that quote repeats the last one.
func TestQuoteComesBeforeItsTrade(t *testing.T) {
	dir := filepath.Join(recorded.Dir(t), "dbn", "versions")
	ticks, _, _ := read(t, dbn.Config{}, filepath.Join(dir, "test_data.tbbo.dbn"))
	var kinds []string
	for _, tick := range ticks {
		kinds = append(kinds, tick.Kind.String())
	}
	assert.Equal(t, []string{"definition", "quote", "trade", "quote", "trade"}, kinds)
	assert.Equal(t, feed.FlagMore, ticks[1].Flags)
	assert.Zero(t, ticks[2].Flags)
}

// Records of an mbo snapshot carry the times at which orders were entered, days before; they
// get the time of the snapshot, and a quote follows when it is complete. The book is then
// never crossed, and executed orders are known.
func TestMBOSnapshotThenIncrements(t *testing.T) {
	path := filepath.Join(recorded.Dir(t), "dbn/sessions/orderbooks_mbo_2024-05-08T00-00-00_2024-05-08T00-00-02.dbn.zst")
	ticks, state, stats := read(t, dbn.Config{}, path)
	const midnight = 1715126400000000000
	assert.Equal(t, feed.KindClear, ticks[1].Kind)
	for i := range ticks {
		require.GreaterOrEqual(t, ticks[i].EventTime, int64(midnight))
	}
	quotes := recorded.Only(ticks, feed.KindQuote)
	assert.EqualValues(t, midnight, quotes[0].EventTime)
	assert.Greater(t, quotes[1].EventTime, int64(midnight))
	for _, q := range quotes {
		require.Less(t, q.Quote().Bid, q.Quote().Ask)
	}
	assert.Zero(t, stats.Unknown)
	in, ok := state.Instrument(0)
	require.True(t, ok)
	last := quotes[len(quotes)-1].Quote()
	assert.Equal(t, last.Bid, in.Bids[0].Price)
	assert.Equal(t, last.BidSize, in.Bids[0].Size)
	assert.Equal(t, last.Ask, in.Asks[0].Price)
	assert.Equal(t, last.AskSize, in.Asks[0].Size)

	only, _, _ := read(t, dbn.Config{QuotesOnly: true}, path)
	assert.Empty(t, recorded.Only(only, feed.KindLevel))
	assert.Equal(t, quotes[len(quotes)-1].Quote(), only[len(only)-1].Quote())
}

// Symbols come from definition records, metadata and symbol mapping records, venues from
// publishers.
func TestSymbolsAndVenues(t *testing.T) {
	dir := filepath.Join(recorded.Dir(t), "dbn")
	for _, c := range []struct{ file, name string }{
		{"live/live.dbn.zst", "ESZ4@GLBX"},
		{"datasets/EQUS.MINI.trades.dbn.zst", "QQQ@EQUS"},
		{"datasets/IFEU.IMPACT.definition.dbn.zst", "BRN FMJ0024!@IFEU"},
		{"sessions/futures_definition.dbn.zst", "ESU4@GLBX"},
		{"versions/test_data.definition.dbn", "MSFT@XNAS"},
	} {
		ticks, _, _ := read(t, dbn.Config{}, filepath.Join(dir, c.file))
		assert.Equal(t, c.name, ticks[0].Definition().Name(), c.file)
	}
	ticks, _, _ := read(t, dbn.Config{},
		filepath.Join(dir, "sessions/futures_definition.dbn.zst"),
		filepath.Join(dir, "sessions/futures_trades_2024-07-01T23-58_2024-07-02T00-02.dbn.zst"))
	assert.Equal(t, &feed.Definition{Symbol: "ESU4", Venue: "GLBX", PriceExponent: -9, Currency: "USD", TickSize: 250000000}, ticks[0].Definition())
	for _, tick := range recorded.Only(ticks, feed.KindTrade) {
		assert.Equal(t, ticks[0].Instrument, tick.Instrument)
	}
}

// rolling is the metadata of a DBN 3 file of schema mbo whose symbol ES.c.0 is one instrument id
// on the first day and another from the second on.
func rolling(first, second string) builder {
	le := binary.LittleEndian
	b := make(builder, 108)
	copy(b, "DBN\x03")
	copy(b[8:], "GLBX.MDP3")
	b[50], b[51] = 2, 0
	le.PutUint16(b[8+45:], 71)
	symbol := func(s string) { b = append(b, append([]byte(s), make([]byte, 71-len(s))...)...) }
	b = append(b, make([]byte, 16)...) // no definition, no symbols, partial, not found
	b = le.AppendUint32(b, 1)
	symbol("ES.c.0")
	b = le.AppendUint32(b, 2)
	b = le.AppendUint32(le.AppendUint32(b, 20231114), 20231115)
	symbol(first)
	b = le.AppendUint32(le.AppendUint32(b, 20231115), 20231116)
	symbol(second)
	le.PutUint32(b[4:], uint32(len(b)-8))
	return b
}

// A continuous symbol that moves to another instrument id stays one instrument; the book
// of the previous contract is cleared.
func TestContinuousSymbolRolls(t *testing.T) {
	const tomorrow = noon + 86400e9 // noon is 2023-11-14 22:13:20
	b := rolling("7", "8")
	b.order(noon, 'A', 'B', 128, 1, 100, 5)
	b.order(tomorrow, 'A', 'B', 128, 1, 90, 5)
	binary.LittleEndian.PutUint32(b[len(b)-56+4:], 8)
	ticks, state, _ := read(t, dbn.Config{}, b.file(t))
	defs := recorded.Only(ticks, feed.KindDefinition)
	require.Len(t, defs, 1)
	assert.Equal(t, "ES.c.0@GLBX", defs[0].Definition().Name())
	assert.Len(t, recorded.Only(ticks, feed.KindClear), 1)
	in, _ := state.Instrument(0)
	require.Len(t, in.Bids, 1)
	assert.EqualValues(t, 90, in.Bids[0].Price)
}

// An instrument id that means another symbol on its second day is another instrument then;
// an id without a mapping is its own symbol.
func TestMappingsHoldForTheirDays(t *testing.T) {
	const tomorrow = noon + 86400e9
	b := rolling("7", "8")
	first := b.trade(noon, 5, 1).trade(tomorrow, 6, 1)
	binary.LittleEndian.PutUint32((*first)[len(b)-48+4:], 9)
	ticks, _, _ := read(t, dbn.Config{}, b.file(t))
	defs := recorded.Only(ticks, feed.KindDefinition)
	require.Len(t, defs, 2)
	assert.Equal(t, "9@GLBX", defs[1].Definition().Name())

	b = rolling("7", "7")
	c := rolling("8", "7") // the second file: 7 is a symbol on the second day only
	copy(c[bytes.Index(c, []byte("ES.c.0")):], "NQ.c.0")
	b.trade(noon, 5, 1)
	c.trade(tomorrow, 6, 1)
	ticks, _, _ = read(t, dbn.Config{}, b.file(t), c.file(t))
	defs = recorded.Only(ticks, feed.KindDefinition)
	require.Len(t, defs, 2)
	assert.Equal(t, "ES.c.0@GLBX", defs[0].Definition().Name())
	assert.Equal(t, "NQ.c.0@GLBX", defs[1].Definition().Name())
}

// Records of an unknown type are counted and skipped by their length.
func TestRecordsOfLaterVersions(t *testing.T) {
	b := rolling("7", "8")
	binary.LittleEndian.PutUint16(b[8+16:], 99) // of a schema that is not known either
	b.record(0x77, 64, 7, noon, nil).trade(noon, 5, 1).record(0x77, 32, 7, noon, nil).trade(noon+1, 6, 2)
	ticks, _, stats := read(t, dbn.Config{}, b.file(t))
	assert.Len(t, recorded.Only(ticks, feed.KindTrade), 2)
	assert.EqualValues(t, 2, stats.Ignored)
	assert.EqualValues(t, 2, stats.Types[0x77])
	assert.Contains(t, stats.Notes, "records of type 0x77 are not known")
}

// DBN allows symbols of 70 bytes: those of more than 64 are cut, and stay distinct.
func TestLongSymbols(t *testing.T) {
	definition := func(id uint32, symbol string) func(b *builder) {
		return func(b *builder) {
			b.record(0x13, 520, id, noon, func(r []byte) { copy(r[238:238+71], symbol) })
		}
	}
	long := strings.Repeat("S", 64)
	var b builder
	definition(1, long)(&b)
	definition(2, long+"A")(&b)
	definition(3, long+"BCDEFG")(&b)
	definition(4, strings.Repeat("é", 35))(&b)
	ticks, _, stats := read(t, dbn.Config{}, b.file(t))
	seen := make(map[string]bool)
	for _, tick := range recorded.Only(ticks, feed.KindDefinition) {
		d := tick.Definition()
		require.NoError(t, d.Validate())
		seen[d.Symbol] = true
	}
	assert.Len(t, seen, 4)
	assert.True(t, seen[long], "64 bytes stay as they are")
	assert.Len(t, stats.Notes, 3)
}

// A mapping applies to its days only: on the days between two mappings, and before and after
// them, the symbol is the id.
func TestDaysWithoutMapping(t *testing.T) {
	const day = 86400e9
	b := rolling("7", "7")
	at := bytes.Index(b, binary.LittleEndian.AppendUint32(nil, 20231116)) - 4
	binary.LittleEndian.PutUint32(b[at:], 20231118) // the second mapping: 18 and 19 November
	binary.LittleEndian.PutUint32(b[at+4:], 20231120)
	for _, d := range []uint64{1, 0, 1, 4, 3, 5, 6, 8} { // from 13 November on
		b.trade(noon-day+d*day, int64(d), 1)
	}
	ticks, state, _ := read(t, dbn.Config{}, b.file(t))
	var got []string
	for _, tick := range recorded.Only(ticks, feed.KindTrade) {
		d, _ := state.Definition(tick.Instrument)
		got = append(got, d.Symbol)
	}
	assert.Equal(t, []string{"ES.c.0", "7", "ES.c.0", "7", "7", "ES.c.0", "ES.c.0", "7"}, got)
}

// Ten levels become the changes from the previous ones.
func TestDepthAsDifferences(t *testing.T) {
	var b builder
	depth := func(ts uint64, bids ...int64) {
		b.record(0x0a, 368, 7, ts, func(r []byte) {
			le := binary.LittleEndian
			r[28] = 'A'
			le.PutUint64(r[32:], ts)
			for i := range 10 {
				p := r[48+32*i:]
				le.PutUint64(p, 1<<63-1)
				le.PutUint64(p[8:], 1<<63-1)
				if i < len(bids) {
					le.PutUint64(p, uint64(bids[i]))
					le.PutUint32(p[16:], 5)
				}
			}
		})
	}
	depth(noon, 100, 99)
	depth(noon+1, 100, 99)
	depth(noon+2, 101, 99)
	ticks, _, _ := read(t, dbn.Config{}, b.file(t))
	var got []string
	for _, tick := range ticks[1:] {
		got = append(got, strings.Join([]string{tick.Kind.String(), num(tick.Values[0]), num(tick.Values[1])}, " "))
	}
	assert.Equal(t, []string{"level 100 5", "level 99 5", "quote 100 5", "level 100 0", "level 101 5", "quote 101 5"}, got)
}

// Trading statuses come from the status records of a real file.
func TestStatusComesFromStatusRecords(t *testing.T) {
	ticks, _, stats := read(t, dbn.Config{}, filepath.Join(recorded.Dir(t), "dbn/versions/test_data.status.v3.dbn.zst"))
	var got []string
	for _, tick := range recorded.Only(ticks, feed.KindStatus) {
		got = append(got, tick.Status.String())
	}
	assert.EqualValues(t, 4, int64(len(got))+stats.Ignored)
	assert.Equal(t, []string{"trading", "pre-open", "pre-open", "pre-open"}, got, "actions 7, 1, 1, 6")
}

func num(v int64) string {
	if v == feed.NoPrice {
		return "-"
	}
	return strings.TrimLeft(string(decimal.Append(nil, v, 0)), "+")
}

// Damage is an error with its offset. With SkipBad, a damaged record is skipped by its
// length, and a torn tail is the end.
func TestDamageHasItsOffset(t *testing.T) {
	var good builder
	good.trade(noon, 5, 1).record(0x77, 32, 7, 5, nil).trade(noon+1, 6, 2) // a time of 1970
	torn := append(builder{}, good...)
	torn.trade(noon+2, 7, 3)
	torn = torn[:len(torn)-12]
	zero := append(append(builder{}, good[:48]...), make([]byte, 48)...)
	for _, c := range []struct {
		name   string
		file   builder
		skip   int
		trades int
		offset int64
		fails  bool
	}{
		{"unknown type", good, 0, 1, 48, true},
		{"unknown type passed over", good, 1, 2, 48, false},
		{"torn tail", torn, 1, 2, 48 + 32 + 48, true},
		{"torn tail passed over", torn, 2, 2, 48, false},
		{"record without a length", zero, 100, 1, 48, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, err := dbn.Open([]string{c.file.file(t)}, dbn.Config{SkipBad: c.skip})
			require.NoError(t, err)
			ticks, _, err := recorded.Read(t, src)
			assert.Len(t, recorded.Only(ticks, feed.KindTrade), c.trades)
			var damage *rawfile.DamageError
			if c.fails {
				require.ErrorAs(t, err, &damage)
				assert.Equal(t, c.offset, damage.Offset, err)
			} else {
				require.NoError(t, err)
				assert.Equal(t, c.offset, src.Stats().FirstBad.Offset)
			}
		})
	}
}

// Metadata is never trusted further than the bytes that are there.
func TestHostileMetadata(t *testing.T) {
	path := filepath.Join(recorded.Dir(t), "dbn/versions/test_data.trades.dbn")
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	length := 8 + int(binary.LittleEndian.Uint32(whole[4:]))
	for i := 4; i < length; i++ {
		if i > 8+104 && i%7 != 0 { // behind the fixed part mostly zeros of symbols
			continue
		}
		for _, v := range []byte{0xff, whole[i] ^ 0x40} {
			b := append(builder{}, whole...)
			b[i] = v
			src, err := dbn.Open([]string{b.file(t)}, dbn.Config{SkipBad: 10})
			require.NoError(t, err)
			recorded.Read(t, src) // ends, with an error or not
		}
	}
	for _, c := range []struct {
		name string
		b    builder
	}{
		{"a later version", append(builder("DBN\x04"), whole[4:]...)},
		{"an empty file", builder{}},
		{"text", builder("date,price\n2024-01-01,5\n")},
	} {
		src, err := dbn.Open([]string{c.b.file(t)}, dbn.Config{SkipBad: 10})
		require.NoError(t, err)
		_, _, err = recorded.Read(t, src)
		var format *rawfile.FormatError
		assert.ErrorAs(t, err, &format, c.name)
	}
}

func FuzzSource(f *testing.F) {
	var b builder
	f.Add([]byte(*b.trade(noon, 5, 1).order(noon, 'A', 'B', 128, 1, 100, 5).order(noon, 'C', 'B', 0, 1, 100, 5).
		record(0x0a, 368, 7, noon, nil).record(0x13, 360, 7, noon, nil).record(0x16, 176, 7, noon, nil).
		record(0x12, 40, 7, noon, nil).record(0xc3, 80, 7, noon, nil).record(1, 80, 7, noon, nil)))
	f.Add(append([]byte("DBN\x03\x78\x00\x00\x00"), make([]byte, 200)...))
	path := filepath.Join(f.TempDir(), "fuzz.dbn")
	f.Fuzz(func(t *testing.T, b []byte) {
		require.NoError(t, os.WriteFile(path, b, 0o600))
		src, err := dbn.Open([]string{path}, dbn.Config{SkipBad: 100})
		require.NoError(t, err)
		recorded.Read(t, src)
	})
}

// BenchmarkSource reads uncompressed records from the page cache.
func BenchmarkSource(b *testing.B) {
	for _, c := range []struct{ name, file string }{
		{"mbp-1", "futures_mbp-1_2024-07-01T23-58_2024-07-02T00-02.dbn.zst"},
		{"mbo", "orderbooks_mbo_2024-05-08T00-00-00_2024-05-08T00-00-02.dbn.zst"},
	} {
		b.Run(c.name, func(b *testing.B) {
			path := filepath.Join(recorded.Dir(b), "dbn", "sessions", c.file)
			whole, err := rawfile.Head(path, 64<<20)
			require.NoError(b, err)
			length := 8 + int(binary.LittleEndian.Uint32(whole[4:]))
			big := append([]byte{}, whole...)
			for len(big) < 40<<20 {
				big = append(big, whole[length:]...)
			}
			name := filepath.Join(b.TempDir(), "big.dbn")
			require.NoError(b, os.WriteFile(name, big, 0o600))
			b.ReportAllocs()
			records := int64(0)
			for b.Loop() {
				src, err := dbn.Open([]string{name}, dbn.Config{})
				require.NoError(b, err)
				_, err = recorded.Drain(src)
				require.NoError(b, err)
				records += src.Stats().Messages
			}
			b.ReportMetric(float64(records)/b.Elapsed().Seconds()/1e6, "M/s")
		})
	}
}
