package wscap_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/files/wscap"
	"tickfeed/feed/recorded"
)

func write(t testing.TB, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "capture")
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	return path
}

func ticksOf(t testing.TB, cfg wscap.Config, lines ...string) ([]feed.Tick, wscap.Stats, *feed.State, error) {
	t.Helper()
	src, err := wscap.Open([]string{write(t, lines...)}, cfg)
	require.NoError(t, err)
	var ticks []feed.Tick
	var last *feed.State
	err = recorded.Each(t, src, func(tick *feed.Tick, state *feed.State) { ticks, last = append(ticks, *tick), state })
	return ticks, src.Stats(), last, err
}

func without(ticks []feed.Tick, kind feed.Kind) (out []feed.Tick) {
	for _, tick := range ticks {
		if tick.Kind != kind {
			out = append(out, tick)
		}
	}
	return out
}

func levels(in feed.Instrument) (out []int64) {
	for _, side := range [][]feed.BookLevel{in.Bids, in.Asks} {
		for _, l := range side {
			out = append(out, l.Price, l.Size)
		}
	}
	return out
}

// spot is a depth update of Binance spot.
func spot(first, last, bids, asks string) string {
	return `100000000000000001 {"stream":"xy@depth","data":{"e":"depthUpdate","E":1723161255208,"s":"XY","U":` + first +
		`,"u":` + last + `,"b":[` + bids + `],"a":[` + asks + `]}}`
}

const snapshot20 = `100000000000000002 {"lastUpdateId":20,"bids":[["1.0","5"]],"asks":[["2.0","6"],["3.0","7"]]}`

// Binance spot: updates that the snapshot includes are dropped, the update that straddles it joins, a
// hole clears the book, and the next snapshot begins it again.
func TestSpotBook(t *testing.T) {
	lines := []string{
		spot("11", "15", `["9","9"]`, ""), // the snapshot holds it
		spot("16", "21", `["1","4"]`, ""), // straddles
		snapshot20,
		spot("22", "23", "", `["2.0","0"]`),
	}
	_, st, state, err := ticksOf(t, wscap.Config{}, lines...)
	require.NoError(t, err)
	in, _ := state.Instrument(0)
	assert.Equal(t, []int64{1, 4, 3, 7}, levels(in))
	assert.Equal(t, "XY@BINANCE", in.Definition.Name())
	assert.Equal(t, wscap.Stats{
		Lines: 4, Ticks: st.Ticks, Updates: 2, Snapshots: 1, Repeated: 1, SkewMin: st.SkewMin, SkewMax: st.SkewMax,
	}, st)

	lines = append(lines, spot("25", "26", `["1","1"]`, ""))
	ticks, st, state, err := ticksOf(t, wscap.Config{}, lines...)
	require.NoError(t, err)
	in, _ = state.Instrument(0)
	assert.Empty(t, levels(in))
	assert.Equal(t, feed.KindClear, ticks[len(ticks)-1].Kind)
	assert.Equal(t, int64(1), st.Gaps)
	assert.Equal(t, int64(1), st.Unanchored)
	require.Len(t, st.Reports, 1)
	assert.Contains(t, st.Reports[0], "XY@BINANCE: updates after 23 are missing, the next is 25")

	lines = append(lines, `100000000000000002 {"lastUpdateId":25,"bids":[["1.25","5"]],"asks":[]}`)
	_, st, state, err = ticksOf(t, wscap.Config{}, lines...)
	require.NoError(t, err)
	in, _ = state.Instrument(0)
	assert.Equal(t, []int64{125, 5, 100, 1}, levels(in), "the update 25 to 26 is told after the snapshot")
	assert.Equal(t, int64(2), st.Snapshots)
	assert.Zero(t, st.Unanchored)

	lines = append(lines, snapshot20) // the book is ahead of it
	_, st, state, err = ticksOf(t, wscap.Config{}, lines...)
	require.NoError(t, err)
	in, _ = state.Instrument(0)
	assert.Equal(t, []int64{125, 5, 100, 1}, levels(in))
	assert.Equal(t, int64(2), st.Repeated)
}

// A snapshot that the held updates do not reach back to leaves a hole.
func TestSnapshotTooOld(t *testing.T) {
	_, st, state, err := ticksOf(t, wscap.Config{}, spot("22", "23", `["1","1"]`, ""), snapshot20)
	require.NoError(t, err)
	in, _ := state.Instrument(0)
	assert.Empty(t, levels(in))
	assert.Equal(t, int64(1), st.Gaps)
}

// An update that ends with the snapshot is in it, and the one after it joins; an empty level
// of a snapshot is not told.
func TestSnapshotEdge(t *testing.T) {
	snapshot := strings.Replace(snapshot20, `["2.0","6"]`, `["2.0","0"]`, 1)
	ticks, st, state, err := ticksOf(t, wscap.Config{}, spot("16", "20", `["9","9"]`, ""), snapshot, spot("21", "22", `["1","4"]`, ""))
	require.NoError(t, err)
	in, _ := state.Instrument(0)
	assert.Equal(t, []int64{1, 4, 3, 7}, levels(in))
	assert.Equal(t, int64(1), st.Repeated)
	assert.Zero(t, st.Gaps)
	assert.Len(t, ticks, 1+1+2+1, "definition, clear, two levels, the update")
}

// Futures: an update joins by pu; ids between the updates of one instrument belong to others.
func TestFuturesBook(t *testing.T) {
	update := func(u, last, pu, bids string) string {
		return `100000000000000001 {"stream":"xy@depth@0ms","data":{"e":"depthUpdate","E":1723161255208,"T":1723161255207,"s":"XY","U":` +
			u + `,"u":` + last + `,"pu":` + pu + `,"b":[` + bids + `],"a":[]}}`
	}
	lines := []string{
		update("10", "15", "8", `["9","9"]`), update("17", "25", "15", `["1","4"]`),
		`100000000000000002 {"lastUpdateId":20,"E":1,"T":1,"bids":[["1","5"]],"asks":[["3","7"]]}`,
		update("31", "35", "25", `["1.5","1"]`),
	}
	ticks, st, state, err := ticksOf(t, wscap.Config{}, lines...)
	require.NoError(t, err)
	in, _ := state.Instrument(0)
	assert.Equal(t, "XY@BINANCE_USDM", in.Definition.Name())
	assert.Equal(t, []int64{15, 1, 10, 4, 30, 7}, levels(in))
	assert.Zero(t, st.Gaps)
	assert.Equal(t, int64(1723161255207000000), ticks[len(ticks)-1].EventTime, "T before E")
	_, st, _, err = ticksOf(t, wscap.Config{}, append(lines, update("40", "41", "36", ""))...)
	require.NoError(t, err)
	assert.Equal(t, int64(1), st.Gaps)
	_, st, state, err = ticksOf(t, wscap.Config{}, update("31", "35", "25", `["1.5","1"]`), lines[2])
	require.NoError(t, err)
	in, _ = state.Instrument(0)
	assert.Empty(t, levels(in), "updates between the snapshot and the first one held are missing")
	assert.Equal(t, int64(1), st.Gaps)
}

// A snapshot without symbol goes to the one instrument whose held updates it joins.
func TestSnapshotOwner(t *testing.T) {
	other := strings.NewReplacer("XY", "ZZ", "xy@", "zz@").Replace
	_, st, state, err := ticksOf(t, wscap.Config{}, spot("18", "21", "", ""), other(spot("900", "910", "", "")), snapshot20)
	require.NoError(t, err)
	id, ok := state.Lookup("XY", "BINANCE")
	require.True(t, ok)
	in, _ := state.Instrument(id)
	assert.Len(t, in.Asks, 2)
	assert.Equal(t, int64(1), st.Unanchored)
	_, st, _, err = ticksOf(t, wscap.Config{}, spot("18", "21", "", ""), other(spot("18", "21", "", "")), snapshot20)
	require.NoError(t, err)
	assert.Equal(t, int64(1), st.Unplaced)
	assert.Len(t, st.Reports, 1)
}

// A trade of Binance on either market comes once, with its condition; repeats, gaps and what is no trade are counted.
func TestBinanceTrades(t *testing.T) {
	trade := func(id, rest string) string {
		return `100000000000000001 {"stream":"xy@trade","data":{"e":"trade","E":2,"T":1,"s":"XY","t":` + id + `,"p":"1.50","q":"2",` + rest + `}}`
	}
	ticks, st, _, err := ticksOf(t, wscap.Config{},
		trade("7", `"m":true,"M":true`),                                                     // spot
		trade("7", `"X":"MARKET","m":false`),                                                // futures
		trade("7", `"X":"MARKET","m":false`),                                                // again
		trade("9", `"X":"INSURANCE_FUND","m":false`),                                        // 8 is missing
		trade("9", `"X":"NA","m":false`),                                                    // no trade
		strings.Replace(trade("3", `"m":false,"a":55`), `"e":"trade"`, `"e":"aggTrade"`, 1), // the other stream
		trade("2", `"X":"MARKET","m":true`),                                                 // back
	)
	require.NoError(t, err)
	got := without(ticks, feed.KindDefinition)
	insurance, _ := feed.ParseConditions("INSURANC")
	want := []feed.Tick{
		feed.Trade{Price: 15, Size: 2, ID: 7, Side: feed.SideSell}.Tick(0, 1e6),
		feed.Trade{Price: 15, Size: 2, ID: 7, Side: feed.SideBuy}.Tick(1, 1e6),
		feed.Trade{Price: 15, Size: 2, ID: 9, Side: feed.SideBuy, Conditions: insurance}.Tick(1, 1e6),
		feed.Trade{Price: 15, Size: 2, ID: 2, Side: feed.SideSell}.Tick(1, 1e6),
	}
	assert.Equal(t, want, got)
	assert.Equal(t, int64(2), st.Repeated)
	assert.Equal(t, int64(1), st.Other)
	assert.Equal(t, int64(1), st.Gaps)
	assert.Equal(t, int64(1), st.Resets)
	assert.Len(t, st.Reports, 2)
}

// If the exchange states no time, and with ClockArrival, the event time is the time of arrival.
func TestClockOfArrivalReplacesMissingTimes(t *testing.T) {
	quote := `1723161254.087891268: {"u":5,"s":"XY","b":"1.50","B":"2.25","a":"0.00","A":"0"}`
	trade := `1723161254088000000 {"e":"trade","E":1723161255343,"s":"XY","t":3,"p":"1.625","q":"0.0001","T":1723161255342,"m":true,"M":true}`
	ticks, st, _, err := ticksOf(t, wscap.Config{}, quote, trade)
	require.NoError(t, err)
	got := without(ticks, feed.KindDefinition)
	assert.Equal(t, feed.Quote{Bid: 15, BidSize: 225, Ask: feed.NoPrice}.Tick(0, 1723161254087891268), got[0])
	assert.Equal(t, feed.Trade{Price: 1625, Size: 1, ID: 3, Side: feed.SideSell}.Tick(0, 1723161255342000000), got[1])
	assert.Equal(t, int64(1254000000), st.SkewMin)
	assert.Len(t, ticks, 4, "defined again for the trade's decimals")
	ticks, _, _, err = ticksOf(t, wscap.Config{Clock: wscap.ClockArrival}, quote, trade)
	require.NoError(t, err)
	assert.Equal(t, int64(1723161254088000000), ticks[3].EventTime)
}

// Kraken: seq joins updates; one that does not clears the book until the next snapshot.
func TestKrakenBook(t *testing.T) {
	snapshot := `100.5: {"feed":"book_snapshot","product_id":"PI_X","timestamp":5,"seq":7,"bids":[{"price":1.5,"qty":2.0}],"asks":[{"price":1e1,"qty":3.0}]}`
	update := func(seq string) string {
		return `100.5: {"feed":"book","product_id":"PI_X","side":"buy","seq":` + seq + `,"price":1.25,"qty":4.0,"timestamp":6}`
	}
	liquidation := `100.5: {"feed":"trade","product_id":"PI_X","uid":"u-1","side":"sell","type":"liquidation","seq":5,"time":8,"qty":4.0,"price":1.5}`
	ticks, st, state, err := ticksOf(t, wscap.Config{}, update("6"), snapshot, update("7"), update("8"), liquidation)
	require.NoError(t, err)
	in, _ := state.Instrument(0)
	assert.Equal(t, []int64{150, 2, 125, 4, 1000, 3}, levels(in))
	assert.Equal(t, int64(1), st.Unanchored)
	assert.Equal(t, int64(1), st.Repeated)
	last := ticks[len(ticks)-1]
	assert.Equal(t, "u-1", last.TradeRef())
	assert.Equal(t, "LIQUIDAT", last.Trade().Conditions.String())
	assert.Equal(t, feed.SideSell, last.Side, "side is the taker's")
	_, st, state, err = ticksOf(t, wscap.Config{}, snapshot, update("9"))
	require.NoError(t, err)
	in, _ = state.Instrument(0)
	assert.Empty(t, levels(in))
	assert.Equal(t, int64(1), st.Gaps)
}

// A bad line is an error with its place and reason, or is skipped within SkipBad.
func TestBadLines(t *testing.T) {
	const good = `100.5: {"type":"match","trade_id":1,"side":"buy","size":"1","price":"1","product_id":"A-B","time":"2021-04-17T16:43:37Z"}`
	for name, c := range map[string]struct{ line, want string }{
		"no time":          {`hello {"stream":1}`, "want the time of arrival"},
		"no JSON":          {`100.5: [1,2]`, "want the time of arrival"},
		"cut short":        {good[:len(good)-5], "cut short"},
		"stranger":         {`100.5: {"table":"trade"}`, "not a known exchange"},
		"price":            {strings.Replace(good, `"price":"1"`, `"price":"1,5"`, 1), "not a decimal number"},
		"two points":       {strings.Replace(good, `"price":"1"`, `"price":"0.0495.0000"`, 1), "not a decimal number"},
		"no price":         {strings.Replace(good, `"price":"1"`, `"price":null`, 1), "not a decimal number"},
		"too many digits":  {strings.Replace(good, `"price":"1"`, `"price":"1e-19"`, 1), "more decimals"},
		"negative size":    {strings.Replace(good, `"size":"1"`, `"size":"-1"`, 1), "is negative"},
		"side":             {strings.Replace(good, `"buy"`, `"up"`, 1), "no side"},
		"time":             {strings.Replace(good, `04-17`, `04-31`, 1), "is not a time"},
		"no symbol":        {strings.Replace(good, `"A-B"`, `""`, 1), "names no instrument"},
		"control symbol":   {strings.Replace(good, `"A-B"`, `"A\u0007"`, 1), "control character"},
		"trade id":         {strings.Replace(good, `:1,`, `:-1,`, 1), "not a whole number"},
		"level":            {strings.Replace(snapshot20, `["1.0","5"]`, `["1.0"]`, 1), "not a level"},
		"ids backwards":    {spot("5", "4", "", ""), "go from 5 to 4"},
		"nested too deep":  {`100.5: {"type":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, "not a JSON object"},
		"brackets crossed": {`100.5: {"type":[{]}}`, "not a JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, _, err := ticksOf(t, wscap.Config{}, good, c.line, good)
			var bad *rawfile.LineError
			require.ErrorAs(t, err, &bad)
			assert.ErrorContains(t, err, c.want)
			assert.Equal(t, int64(2), bad.Line)
			assert.Equal(t, int64(len(good)+1), bad.Offset)
			_, st, _, err := ticksOf(t, wscap.Config{SkipBad: 1}, good, c.line, good)
			require.NoError(t, err)
			assert.Equal(t, int64(1), st.Skipped)
			assert.Equal(t, int64(1), st.Repeated)
		})
	}
}

// A file without ticks is refused, and the error names a message in it.
func TestRefusedFilesNameAMessage(t *testing.T) {
	_, _, _, err := ticksOf(t, wscap.Config{}, `100000000000000001 {"stream":"xy@kline_1m","data":{"e":"kline","E":1}}`)
	assert.ErrorContains(t, err, `holds no trades, quotes or books, only messages such as "kline"`)
	_, _, _, err = ticksOf(t, wscap.Config{}, snapshot20)
	assert.ErrorContains(t, err, `only messages such as "a book that does not say of which instrument"`)
	_, _, _, err = ticksOf(t, wscap.Config{}, "\ufeff", "  ", "wss://x <-> 1")
	assert.ErrorContains(t, err, "holds no messages of an exchange")
	_, _, _, err = ticksOf(t, wscap.Config{}, "", "wss://x <-> 1")
	assert.ErrorContains(t, err, "holds no messages of an exchange")
	_, err = wscap.Open([]string{t.TempDir()}, wscap.Config{})
	assert.ErrorContains(t, err, "is a directory")
	_, err = wscap.Open(nil, wscap.Config{})
	assert.ErrorContains(t, err, "no file")
	_, err = wscap.Open(nil, wscap.Config{SkipBad: -1})
	assert.ErrorContains(t, err, "SkipBad")
}

// FuzzSource: no file makes a Source panic, hang, or yield a tick that a state refuses.
func FuzzSource(f *testing.F) {
	f.Add([]byte(strings.Join([]string{spot("16", "21", `["1","4"]`, ""), snapshot20, spot("30", "31", "", "")}, "\n")), false)
	f.Add([]byte("wss://a <-> 1\n"+`1.5: {"type":"match","trade_id":1,"side":"buy","size":"1","price":"1","product_id":"A-B","time":"2021-04-17T16:43:37.1Z"}`+"\n"+
		`1.5: {"type":"l2update","product_id":"A-B","changes":[["buy","1","0.0"]],"time":"2021-04-17T16:43:37.1Z"}`), true)
	f.Add([]byte(`100.5: {"feed":"book_snapshot","product_id":"PI_X","timestamp":5,"seq":7,"bids":[{"price":1.5,"qty":2.0}],"asks":[]}`+"\n"+
		`100.5: {"feed":"ticker_lite","product_id":"PI_X","bid":1,"ask":2}`), true)
	f.Add([]byte(krakenSnapshot("0.00000304")+"\n"+krakenUpdate(`{"b":[["0.05000","0.00000500","1582905488.5"]],"c":"974947235"}`)), false)
	f.Add([]byte(krakenObject("snapshot", krakenBids, krakenAsks, `,"checksum":3310070434`)+"\n"+krakenObject("update", "45283.61x0.25", "45299.5x0", "")), true)
	path := filepath.Join(f.TempDir(), "capture")
	f.Fuzz(func(t *testing.T, data []byte, partial bool) {
		require.NoError(t, os.WriteFile(path, data, 0o600))
		wscap.Recognise(data)
		src, err := wscap.Open([]string{path}, wscap.Config{SkipBad: 1 << 30, PartialBooks: partial})
		require.NoError(t, err)
		ticks := int64(0)
		_ = recorded.Each(t, src, func(tick *feed.Tick, _ *feed.State) {
			ticks++
			if d := tick.Definition(); d != nil {
				require.NoError(t, d.Validate())
			}
			if tr := tick.Trade(); tick.Kind == feed.KindTrade && (tr.Size < 0 || !tr.Conditions.Valid() || feed.ValidateText(tick.TradeRef()) != nil) {
				t.Fatalf("%+v", tr)
			}
		})
		if st := src.Stats(); st.Ticks != ticks || st.Skipped > st.Lines {
			t.Fatalf("%d ticks, %+v", ticks, st)
		}
	})
}
