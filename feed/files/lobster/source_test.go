package lobster_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files/lobster"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/recorded"
)

// write makes a pair of files and returns the path of its message file.
func write(t testing.TB, stem, message, book string) string {
	t.Helper()
	dir := t.TempDir()
	name := filepath.Join(dir, strings.Replace(stem, "*", "message", 1))
	require.NoError(t, os.WriteFile(name, []byte(message), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, strings.Replace(stem, "*", "orderbook", 1)), []byte(book), 0o600))
	return name
}

func ticksOf(t testing.TB, cfg lobster.Config, paths ...string) ([]feed.Tick, lobster.Stats, error) {
	t.Helper()
	src, err := lobster.Open(paths, cfg)
	require.NoError(t, err)
	var ticks []feed.Tick
	err = recorded.Each(t, src, func(tick *feed.Tick, _ *feed.State) { ticks = append(ticks, *tick) })
	return ticks, src.Stats(), err
}

const (
	twoLevels = "XYZ_2024-03-11_34200000_57600000_*_2.csv"
	noAsk     = "9999999999,0"
	noBid     = "-9999999999,0"
)

// An event is its trade, the levels that changed, and the quote; all of its ticks but the last have FlagMore.
func TestEventsAreTradeLevelsQuote(t *testing.T) {
	path := write(t, twoLevels,
		"34200.5,1,11,100,1000000,1\n"+ // a bid
			"34200.50000001,1,12,50,1000200,-1\n"+ // an ask
			"34200.6,4,11,40,1000000,1\n"+ // the bid is hit
			"34200.6,5,0,7,1000100,-1\n"+ // a hidden offer is taken
			"34200.7,6,-1,300,1000100,-1\n"+ // a cross
			"34200.8,7,0,0,-1,-1\n34200.9,7,0,0,0,-1\n34201,7,0,0,1,-1\n", // halt, quoting, trading
		noAsk+",1000000,100,"+noAsk+","+noBid+"\n"+
			"1000200,50,1000000,100,"+noAsk+","+noBid+"\n"+
			"1000200,50,1000000,60,"+noAsk+","+noBid+"\n"+
			strings.Repeat("1000200,50,1000000,60,"+noAsk+","+noBid+"\n", 5))
	got, stats, err := ticksOf(t, lobster.Config{}, path)
	require.NoError(t, err)
	// 2024-03-11 is the first trading day of daylight saving time: 09:30 is 13:30 UTC.
	at := func(clock string) int64 {
		v, err := time.Parse("2006-01-02 15:04:05.999999999", "2024-03-11 "+clock)
		require.NoError(t, err)
		return v.UnixNano()
	}
	const more = feed.FlagMore
	flag := func(f feed.Flags, tick feed.Tick) feed.Tick { tick.Flags = f; return tick }
	h, _ := feed.ParseConditions("H")
	x, _ := feed.ParseConditions("X")
	t0, t1, t2, t3 := at("13:30:00.5"), at("13:30:00.50000001"), at("13:30:00.6"), at("13:30:00.7")
	want := []feed.Tick{
		flag(more, feed.Tick{Kind: feed.KindDefinition, EventTime: t0, Extra: &feed.Extra{Definition: &feed.Definition{
			Symbol: "XYZ", Venue: "NASDAQ", PriceExponent: -4, Currency: "USD"}}}),
		flag(more, feed.StatusTick(0, t0, feed.StatusTrading, 20240311)),
		flag(more, feed.Level{Side: feed.SideBuy, Price: 1000000, Size: 100}.Tick(0, t0)),
		feed.Quote{Bid: 1000000, BidSize: 100, Ask: feed.NoPrice}.Tick(0, t0),
		flag(more, feed.Level{Side: feed.SideSell, Price: 1000200, Size: 50}.Tick(0, t1)),
		feed.Quote{Bid: 1000000, BidSize: 100, Ask: 1000200, AskSize: 50}.Tick(0, t1),
		flag(more, feed.Trade{Price: 1000000, Size: 40, Side: feed.SideSell}.Tick(0, t2)),
		flag(more, feed.Level{Side: feed.SideBuy, Price: 1000000, Size: 60}.Tick(0, t2)),
		feed.Quote{Bid: 1000000, BidSize: 60, Ask: 1000200, AskSize: 50}.Tick(0, t2),
		feed.Trade{Price: 1000100, Size: 7, Side: feed.SideBuy, Conditions: h}.Tick(0, t2),
		feed.Trade{Price: 1000100, Size: 300, Conditions: x}.Tick(0, t3),
		feed.StatusTick(0, at("13:30:00.8"), feed.StatusHalted, 0),
		feed.StatusTick(0, at("13:30:00.9"), feed.StatusPreOpen, 0),
		feed.StatusTick(0, at("13:30:01"), feed.StatusTrading, 0),
	}
	require.Len(t, got, len(want))
	for i := range want {
		assert.True(t, want[i].Equal(&got[i]), "tick %d: want %+v, got %+v", i, want[i], got[i])
	}
	assert.Equal(t, lobster.Stats{RowStats: rawfile.RowStats{Ticks: 14}, Messages: 8, Trades: 3, Hidden: 1, Halts: 3}, stats)

	got, _, err = ticksOf(t, lobster.Config{TradesOnly: true}, path)
	require.NoError(t, err)
	assert.Len(t, got, 2+3+3)
	got, _, err = ticksOf(t, lobster.Config{NoLevels: true}, path)
	require.NoError(t, err)
	assert.Len(t, got, len(want)-3)
}

// A price that drops out of the levels of the rows leaves the book, and returns with them. An empty book gives
// no levels but a quote without prices.
func TestWindowDropsAndReturnsPrices(t *testing.T) {
	path := write(t, twoLevels,
		"34200.1,1,1,5,100,1\n34200.2,1,2,6,300,1\n34200.3,1,3,7,200,1\n34200.4,3,2,6,300,1\n34200.5,3,9,1,50,1\n",
		noAsk+",100,5,"+noAsk+","+noBid+"\n"+
			noAsk+",300,6,"+noAsk+",100,5\n"+
			noAsk+",300,6,"+noAsk+",200,7\n"+
			noAsk+",200,7,"+noAsk+",100,5\n"+
			noAsk+","+noBid+","+noAsk+","+noBid+"\n")
	got, _, err := ticksOf(t, lobster.Config{}, path)
	require.NoError(t, err)
	var levels []feed.Level
	for i := range got {
		if got[i].Kind == feed.KindLevel {
			levels = append(levels, got[i].Level())
		}
	}
	bid := func(price, size int64) feed.Level {
		return feed.Level{Side: feed.SideBuy, Price: price, Size: size}
	}
	assert.Equal(t, []feed.Level{
		bid(100, 5), bid(300, 6), bid(200, 7), bid(100, 0), bid(300, 0), bid(100, 5), bid(200, 0), bid(100, 0),
	}, levels)
	assert.Equal(t, feed.Quote{Bid: feed.NoPrice, Ask: feed.NoPrice}, got[len(got)-1].Quote())
}

// The next day of an instrument clears its book and begins a trading day; in winter New York is an hour farther
// from UTC.
func TestDaysClearTheBook(t *testing.T) {
	const message, book = "34200.1,1,1,5,100,1\n", "200,1,100,5\n"
	monday := write(t, "XYZ_2024-11-04_34200000_57600000_*_1.csv", message, book)
	friday := write(t, "XYZ_2024-11-01_34200000_57600000_*_1.csv", message, book)
	got, _, err := ticksOf(t, lobster.Config{}, monday, friday)
	require.NoError(t, err)
	require.Len(t, got, 1+4+5)
	assert.Equal(t, time.Date(2024, 11, 1, 13, 30, 0, 1e8, time.UTC).UnixNano(), got[0].EventTime)
	assert.Equal(t, int32(20241101), got[1].TradingDay())
	assert.Equal(t, time.Date(2024, 11, 4, 14, 30, 0, 1e8, time.UTC).UnixNano(), got[5].EventTime)
	assert.Equal(t, feed.KindClear, got[5].Kind)
	assert.Equal(t, int32(20241104), got[6].TradingDay())
}

// A bad row of either file is an error with its place and reason, or is skipped with the row beside it.
func TestBadRows(t *testing.T) {
	const row = "9999999999,0,100,5\n"
	for name, c := range map[string]struct{ message, book, want string }{
		"time":               {"34200.1234567891,1,1,5,100,1\n", row, "message_1.csv:1: byte 0: \"34200.1234567891\" is not a time"},
		"time beyond a day":  {"86400,1,1,5,100,1\n", row, "is not a time"},
		"five columns":       {"34200.1,1,1,5,100\n", row, "5 columns, want 6"},
		"seven columns":      {"34200.1,1,1,5,100,1,null\n", row, "more than 6 columns"},
		"type":               {"34200.1,8,1,5,100,1\n", row, "event type 8"},
		"size":               {"34200.1,1,1,0,100,1\n", row, "size 0"},
		"price":              {"34200.1,1,1,1,1e2,1\n", row, `price "1e2"`},
		"direction":          {"34200.1,1,1,1,100,0\n", row, "direction 0"},
		"halt":               {"34200.1,7,0,0,100,0\n", row, "trading halt with 100"},
		"columns of a book":  {"34200.1,1,1,5,100,1\n", "1,2,3\n", "orderbook_1.csv:1: byte 0: the row has 3 columns"},
		"too many levels":    {"34200.1,1,1,5,100,1\n", "9,1,8,1,10,1,7,1\n", "more than 4 columns"},
		"size without price": {"34200.1,1,1,5,100,1\n", "9999999999,1,8,1\n", "price of an empty level"},
		"price without size": {"34200.1,1,1,5,100,1\n", "9,0,8,1\n", "size 0"},
		"book too short":     {"34200.1,1,1,5,100,1\n34200.1,1,1,5,100,1\n", row, "message_1.csv:2: byte 20: the order book file"},
		"book too long":      {"34200.1,1,1,5,100,1\n", row + row, "orderbook_1.csv:2: byte 19: the message file"},
		"long line":          {strings.Repeat("1", 200_000) + "\n", row, "the line is too long"},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, "XYZ_2024-11-04_34200000_57600000_*_1.csv", c.message, c.book)
			_, _, err := ticksOf(t, lobster.Config{}, path)
			var bad *rawfile.LineError
			require.ErrorAs(t, err, &bad)
			assert.ErrorContains(t, err, c.want)
		})
	}
	cut := write(t, "XYZ_2024-11-04_34200000_57600000_*_1.csv", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x32", row)
	_, _, err := ticksOf(t, lobster.Config{SkipBad: 5}, cut)
	var bad *rawfile.LineError
	require.ErrorAs(t, err, &bad)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	path := write(t, "XYZ_2024-11-04_34200000_57600000_*_1.csv",
		"34200.1,1,1,5,100,1\nx\n34200.3,4,1,5,100,1\n34200.4,4,1,5,100,1\n", row+row+"x\n"+row)
	_, stats, err := ticksOf(t, lobster.Config{SkipBad: 2}, path)
	require.NoError(t, err)
	assert.Equal(t, int64(2), stats.Skipped)
	assert.Equal(t, int64(1), stats.Trades)
	assert.Equal(t, int64(2), stats.FirstBad.Line)
	_, _, err = ticksOf(t, lobster.Config{SkipBad: 1}, path)
	assert.ErrorContains(t, err, "orderbook_1.csv:3")
}

// The date is only in the name, so a file without a standard name is refused.
func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, want := range map[string]string{
		"message.csv": "are only in their names",
		"A_2024-13-04_34200000_57600000_message_1.csv":     "is not a date",
		"A_2024-11-04_34200000_57600000_message_0.csv":     "0 levels",
		"A_2024-11-04_86400000_57600000_message_1.csv":     "start 86400000",
		"A_1066-11-04_34200000_57600000_message_1.csv":     "year 1066",
		"A\x01_2024-11-04_34200000_57600000_message_1.csv": "control character",
		"A_2024-11-04_34200000_57600000_message_1.csv":     "no such file",
	} {
		_, err := lobster.Open([]string{filepath.Join(dir, name)}, lobster.Config{})
		assert.ErrorContains(t, err, want)
	}
	alone := filepath.Join(dir, "B_2024-11-04_34200000_57600000_orderbook_1.csv")
	require.NoError(t, os.WriteFile(alone, nil, 0o600))
	_, err := lobster.Open([]string{alone}, lobster.Config{})
	assert.ErrorContains(t, err, "its other half is missing")
	_, err = lobster.Open([]string{alone}, lobster.Config{SkipBad: -1})
	assert.ErrorContains(t, err, "SkipBad")
	_, err = lobster.Open(nil, lobster.Config{})
	assert.ErrorContains(t, err, "no file")

	const row, book = "34200.5,1,11,100,1000000,1\n", noAsk + ",1000000,100\n"
	morning := write(t, "C_2024-11-04_34200000_43200000_*_1.csv", row, book)
	_, err = lobster.Open([]string{morning, write(t, "C_2024-11-04_34200000_57600000_*_10.csv", row, book)}, lobster.Config{})
	assert.ErrorContains(t, err, "are both of C on 20241104", "two depths of one day have the same trades")
	_, err = lobster.Open([]string{morning, write(t, "C_2024-11-04_43200000_57600000_*_1.csv", row, book),
		write(t, "C_2024-11-05_34200000_57600000_*_1.csv", row, book), write(t, "D_2024-11-04_34200000_57600000_*_1.csv", row, book)}, lobster.Config{})
	assert.NoError(t, err)
}

// FuzzSource: no pair of files makes a Source panic, hang or yield a tick that is not valid.
func FuzzSource(f *testing.F) {
	f.Add([]byte("34200.5,1,11,100,1000000,1\n34200.6,5,0,7,1000100,-1\n"), []byte(noAsk+",1000000,100\n1000200,50,1000000,60\n"))
	f.Add([]byte("34200.8,7,0,0,-1,-1\r\n\r\n"), []byte("9,1,8,1,10,1,7,1"))
	stem := filepath.Join(f.TempDir(), "XYZ_2024-11-04_34200000_57600000_")
	f.Fuzz(func(t *testing.T, message, book []byte) {
		path := stem + "message_2.csv"
		require.NoError(t, os.WriteFile(path, message, 0o600))
		require.NoError(t, os.WriteFile(stem+"orderbook_2.csv", book, 0o600))
		lobster.Recognise(message)
		lobster.Recognise(book)
		ticks, stats, err := ticksOf(t, lobster.Config{SkipBad: 5}, path)
		if stats.Ticks != int64(len(ticks)) || err == nil && stats.Messages > int64(len(message)) {
			t.Fatalf("%d ticks, %+v", len(ticks), stats)
		}
		for i := range ticks {
			switch ticks[i].Kind {
			case feed.KindTrade:
				if tr := ticks[i].Trade(); tr.Price <= 0 || tr.Size <= 0 {
					t.Fatalf("%+v", tr)
				}
			case feed.KindQuote:
				if q := ticks[i].Quote(); q.BidSize < 0 || q.AskSize < 0 || (q.Bid == feed.NoPrice) != (q.BidSize == 0) {
					t.Fatalf("%+v", q)
				}
			}
		}
	})
}

// A row with a time before that of the previous row is counted; a row with the same time is not.
func TestRowsThatGoBack(t *testing.T) {
	row := ",1,1,5,100,1\n"
	book := noAsk + ",100,5," + noAsk + "," + noBid + "\n"
	path := write(t, twoLevels, "34200.1"+row+"34200.3"+row+"34200.3"+row+"34200.2"+row, strings.Repeat(book, 4))
	_, stats, err := ticksOf(t, lobster.Config{}, path)
	require.NoError(t, err)
	assert.Equal(t, int64(1), stats.Backward)
}

// A side with two levels of the same price is refused.
func TestLevelsOfOnePrice(t *testing.T) {
	path := write(t, twoLevels, "34200.1,1,1,5,100,1\n", noAsk+",100,5,"+noAsk+",100,7\n")
	_, _, err := ticksOf(t, lobster.Config{}, path)
	require.Error(t, err)
}

// Trades and statuses need no order book: a message file without one is read, and Notes reports it.
func TestMessagesWithoutBook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "XYZ_2024-03-11_34200000_57600000_message_2.csv")
	require.NoError(t, os.WriteFile(path, []byte("34200.5,1,11,100,1000000,1\n34200.6,4,11,40,1000000,1\n34200.8,7,0,0,-1,-1\n"), 0o600))
	for _, cfg := range []lobster.Config{{}, {NoLevels: true}} {
		got, stats, err := ticksOf(t, cfg, path)
		require.NoError(t, err)
		var kinds []feed.Kind
		for _, tick := range got {
			kinds = append(kinds, tick.Kind)
		}
		assert.Equal(t, []feed.Kind{feed.KindDefinition, feed.KindStatus, feed.KindTrade, feed.KindStatus}, kinds)
		assert.Equal(t, []string{path + ": its order book file is missing: only trades and statuses are read, no quotes and no book"}, stats.Notes)
	}
}

// Decimals that come from a float are rounded; others are refused, not truncated.
func TestTracesOfFloatsInTimes(t *testing.T) {
	for text, want := range map[string]int64{
		"34200.017459617001":  17459617,
		"34200.017459616997":  17459617,
		"34200.0174596170":    17459617,
		"57599.913117637003":  23399913117637,
		"34200.0174596175":    0, // a significant digit
		"34200.01745961750":   0,
		"34200.0174596170001": 0, // more digits than a float has
	} {
		path := write(t, twoLevels, text+",4,11,40,1000000,1\n", noAsk+","+noBid+","+noAsk+","+noBid+"\n")
		got, _, err := ticksOf(t, lobster.Config{}, path)
		if want == 0 {
			assert.ErrorContains(t, err, "is not a time: want seconds after midnight with at most nine decimals", text)
			continue
		}
		require.NoError(t, err, text)
		open := time.Date(2024, 3, 11, 13, 30, 0, 0, time.UTC).UnixNano()
		assert.Equal(t, open+want, got[len(got)-1].EventTime, text)
	}
}
