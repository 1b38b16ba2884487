package textfile_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"tickfeed/feed"
	"tickfeed/feed/decimal"
	"tickfeed/feed/files/textfile"
	"tickfeed/feed/recorded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// read reads text one byte at a time, and returns its ticks as lines.
func read(t testing.TB, text string, cfg textfile.Config) ([]string, textfile.Stats, error) {
	t.Helper()
	src, err := textfile.Open([]string{"-"}, iotest.OneByteReader(strings.NewReader(text)), cfg)
	require.NoError(t, err)
	var got []string
	err = eachDefined(t, src, func(tick *feed.Tick, def *feed.Definition) { got = append(got, show(tick, def)) })
	return got, src.Stats(), err
}

// show returns a tick as text: prices and sizes as decimals, times as nanoseconds since 2026-03-02
// 14:30 UTC.
func show(t *feed.Tick, def *feed.Definition) string {
	p := func(v int64) string {
		if v == feed.NoPrice {
			return "-"
		}
		return string(decimal.Append(nil, v, def.PriceExponent))
	}
	s := func(v int64) string { return string(decimal.Append(nil, v, def.SizeExponent)) }
	at := t.EventTime - time.Date(2026, 3, 2, 14, 30, 0, 0, time.UTC).UnixNano()
	head := fmt.Sprintf("%d %v %s", at, t.Kind, def.Name())
	trade := func(tr feed.Trade) string {
		side := tr.Side.String()
		if side != "" {
			side = " " + side
		}
		return fmt.Sprintf("%s x %s%s id %d%s %q", p(tr.Price), s(tr.Size), side, tr.ID, t.TradeRef(), tr.Conditions)
	}
	switch t.Kind {
	case feed.KindDefinition:
		text := fmt.Sprintf("%d %s 10^%d 10^%d", t.Instrument, head, def.PriceExponent, def.SizeExponent)
		if def.TickSize != 0 {
			text += fmt.Sprintf(" tick %s lot %s %s", p(def.TickSize), s(def.Lot), def.Currency)
		}
		return text
	case feed.KindQuote:
		q := t.Quote()
		return fmt.Sprintf("%s %s x %s / %s x %s", head, p(q.Bid), s(q.BidSize), p(q.Ask), s(q.AskSize))
	case feed.KindTrade:
		return head + " " + trade(t.Trade())
	case feed.KindCorrection:
		c := t.Correction()
		return fmt.Sprintf("%s was %s x %s is %s", head, p(c.OldPrice), s(c.OldSize), trade(c.Trade))
	case feed.KindCancel:
		c := t.Cancel()
		return fmt.Sprintf("%s %s x %s id %d%s", head, p(c.Price), s(c.Size), c.ID, t.TradeRef())
	case feed.KindLevel:
		l := t.Level()
		return fmt.Sprintf("%s %v %s x %s", head, l.Side, p(l.Price), s(l.Size))
	case feed.KindClear:
		return fmt.Sprintf("%s %v", head, t.Side)
	case feed.KindStatus:
		return fmt.Sprintf("%s %v %d", head, t.Status, t.TradingDay())
	}
	return head
}

// sample holds the committed files and their ticks.
var sample = map[string][]string{
	"quotes.csv": {
		"0 1 definition AAPL@XNAS 10^-4 10^0",
		"1 quote AAPL@XNAS 187.25 x 300 / 187.27 x 100",
		"250000000 quote AAPL@XNAS 187.255 x 200 / 187.27 x 100",
		"1 250000000 definition MSFT@XNAS 10^-4 10^0",
		"250000000 quote MSFT@XNAS - x 0 / 402.1 x 50",
		"2 1000000000 definition MSFT@ARCX 10^-4 10^0",
		"1000000000 quote MSFT@ARCX 402 x 10 / - x 0",
	},
	"both.csv": {
		"0 0 definition BTC-USD 10^-4 10^-2",
		"0 quote BTC-USD 65000.1 x 0.5 / 65000.2 x 1.25",
		"0 1000000 definition BTC-USD 10^-4 10^-8",
		`1000000 trade BTC-USD 65000.2 x 0.00012345 buy id 77001 ""`,
		"2000000 quote BTC-USD 65000.1 x 0.5 / 65000.3 x 2",
		`2000000 trade BTC-USD 65000.2 x 1 sell id 0x;7 "F I"`,
	},
	"subscribe.ndjson": {
		"0 0 definition ESH6@XCME 10^-2 10^0 tick 0.25 lot 1 USD",
		"1 quote ESH6@XCME 6800.25 x 12 / 6800.5 x 9",
		"2 quote ESH6@XCME - x 0 / -0.25 x 9",
		`3 trade ESH6@XCME 6800.5 x 2 buy id 18446744073709551615 "F I"`,
		`4 trade ESH6@XCME 6800.5 x 1 sell id 0A-17 ""`,
		`5 correction ESH6@XCME was 6800.5 x 1 is 6800.25 x 1 sell id 0A-17 ""`,
		"6 cancel ESH6@XCME 6800.25 x 1 id 0A-17",
		"7 level ESH6@XCME buy 6800 x 40",
		"8 clear ESH6@XCME both",
		"9 status ESH6@XCME pre-open 20260302",
	},
}

// Each format is detected from its content, packed or not, and gives the same ticks.
func TestSamplesGiveTheSameTicks(t *testing.T) {
	for name, want := range sample {
		plain, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(t, err)
		dir := t.TempDir()
		for _, pack := range []struct {
			name string
			new  func(io.Writer) io.WriteCloser
		}{
			{"plain", func(w io.Writer) io.WriteCloser { return nopCloser{w} }},
			{"gzip", func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }},
			{"zstd", func(w io.Writer) io.WriteCloser {
				z, err := zstd.NewWriter(w)
				require.NoError(t, err)
				return z
			}},
		} {
			t.Run(name+" "+pack.name, func(t *testing.T) {
				var b bytes.Buffer
				w := pack.new(&b)
				_, err := w.Write(plain)
				require.NoError(t, err)
				require.NoError(t, w.Close())
				path := filepath.Join(dir, pack.name+".dat")
				require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
				src, err := textfile.Open([]string{path}, nil, textfile.Config{})
				require.NoError(t, err)
				var got []string
				require.NoError(t, eachDefined(t, src, func(tick *feed.Tick, def *feed.Definition) {
					got = append(got, show(tick, def))
				}))
				assert.Equal(t, want, got)
				stats := src.Stats()
				assert.EqualValues(t, len(want), stats.Ticks)
				assert.EqualValues(t, bytes.Count(plain, []byte("\n"))-strings.Count(name, "csv"), stats.Rows)
				if name == "subscribe.ndjson" {
					assert.EqualValues(t, 2, stats.Snapshot)
				}
			})
		}
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// All ways to write a CSV file give the same ticks.
func TestCSVDialects(t *testing.T) {
	want := []string{
		"0 0 definition AAPL@N 10^-4 10^0",
		`0 trade AAPL@N 187.25 x 100 id 0 "F I"`,
		`1 trade AAPL@N 187.26 x 5 id 0 ""`,
	}
	const plain = "time,symbol,ex,cond,price,size\n" +
		"1772461800000000000,AAPL,N,F I,187.25,100\n" +
		"1772461800000000001,AAPL,N,,187.26,5\n"
	for name, text := range map[string]string{
		"as it is":                       plain,
		"CRLF":                           strings.ReplaceAll(plain, "\n", "\r\n"),
		"no newline at the end":          strings.TrimSuffix(plain, "\n"),
		"byte order mark":                "\ufeff" + plain,
		"semicolons":                     strings.ReplaceAll(plain, ",", ";"),
		"tabs":                           strings.ReplaceAll(plain, ",", "\t"),
		"bars":                           strings.ReplaceAll(plain, ",", "|"),
		"blank lines":                    "\n\n" + strings.ReplaceAll(plain, "\n", "\n\n"),
		"blanks around":                  strings.ReplaceAll(strings.ReplaceAll(plain, ",", " , "), " F I", "F I"),
		"quotes":                         `"` + strings.ReplaceAll(strings.ReplaceAll(strings.TrimSuffix(plain, "\n"), ",", `","`), "\n", "\"\n\"") + `"`,
		"upper case":                     strings.Replace(plain, "time,symbol,ex,cond,price,size", "TIME,SYMBOL,EX,COND,PRICE,SIZE", 1),
		"other names":                    strings.Replace(plain, "time,symbol,ex,cond,price,size", "Time Stamp,ticker,exchange,sale_condition,last.price,Volume", 1),
		"further columns":                strings.ReplaceAll(strings.Replace(plain, "size\n", "size,open interest\n", 1), "187.25,100", "187.25,100,x") + ",",
		"header repeated":                plain[:31] + plain,
		"lesser name after a better one": strings.NewReplacer("time,", "ts_event,ts_recv,", "00,AAPL", "00,9,AAPL", "01,AAPL", "01,9,AAPL").Replace(plain),
		"better name after a lesser one": strings.NewReplacer("time,", "ts_recv,ts_event,", "17724", "9,17724").Replace(plain),
	} {
		t.Run(name, func(t *testing.T) {
			if name == "further columns" {
				text = strings.Replace(text, "187.26,5\n,", "187.26,5,\n", 1)
			}
			got, stats, err := read(t, text, textfile.Config{})
			require.NoError(t, err)
			assert.Equal(t, want, got)
			assert.EqualValues(t, 2, stats.Rows)
		})
	}
}

// A quoted cell may hold delimiters, and quotes written twice.
func TestQuotedCells(t *testing.T) {
	got, _, err := read(t, "time,symbol,conditions,\"pri\"\"ce\",price\n1772461800,\"A,\"\"B\"\"\",\"\"\"\",,1\n", textfile.Config{})
	require.NoError(t, err)
	assert.Equal(t, `0 trade A,"B" 1 x 0 id 0 "\""`, got[1])
}

// JSON may be written in any way JSON allows; unknown fields are ignored.
func TestNDJSONDialects(t *testing.T) {
	for name, text := range map[string]string{
		"as it is":         `{"time":1772461800,"symbol":"AAPL","price":187.25,"size":100}`,
		"strings":          `{"time":"1772461800","symbol":"AAPL","price":"187.25","size":"100"}`,
		"powers":           `{"time":1.7724618e9,"symbol":"AAPL","price":18725e-2,"size":1E+2}`,
		"blanks":           " { \"time\" : 1772461800 ,\t\"symbol\" : \"AAPL\", \"price\" : 187.25 , \"size\" : 100 } \r",
		"unknown fields":   `{"a":{"price":[1,{"b":"}]\\\""}]},"time":1772461800,"symbol":"AAPL","b":null,"price":187.25,"size":100,"c":true,"d":[]}`,
		"escapes":          `{"\u0074ime":1772461800,"symbol":"\u0041A\u0050L","price":"187\u002E25","size":100}`,
		"better name last": `{"qty":7,"timestamp":1,"time":1772461800,"symbol":"AAPL","price":187.25,"size":100}`,
		"lesser name last": `{"time":1772461800,"symbol":"AAPL","price":187.25,"size":100,"qty":7,"timestamp":1}`,
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := read(t, text+"\n", textfile.Config{})
			require.NoError(t, err)
			assert.Equal(t, []string{"0 0 definition AAPL 10^-4 10^0", `0 trade AAPL 187.25 x 100 id 0 ""`}, got)
		})
	}
}

// A line that cannot be read is an error that a person can act on.
func TestBadLines(t *testing.T) {
	const quotes = "DT,SYMBOL,BID,BIDSIZ,OFR,OFRSIZ\n"
	const trades = "time,symbol,price,size,side,conditions,corr,trade_id\n"
	for _, c := range []struct{ text, want string }{
		{quotes + "1772461800,XXX,12x.5,1,2,1\n", `stdin:2: column "BID": "12x.5" is not a decimal number`},
		{quotes + "1772461800,XXX,12.5,-1,2,1\n", `stdin:2: column "BIDSIZ": "-1" is negative`},
		{quotes + "1772461800,XXX,1e30,1,2,1\n", `stdin:2: column "BID": "1e30" does not fit 64 bits in units of 10^-4, which its instrument has or the line needs`},
		{quotes + "1772461800,XXX,1e-19,1,2,1\n", `stdin:2: column "BID": "1e-19" needs more than 18 decimals`},
		{quotes + "1772461800,XXX,1e-18,1,20,1\n", `stdin:2: column "OFR": "20" does not fit 64 bits in units of 10^-18, which its instrument has or the line needs`},
		{"time,symbol,bid,ask,price\n1772461800,XXX,,,\n", `stdin:2: the line has neither a price nor a bid or an ask`},
		{quotes + "1772461800,XXX,1,1\n", `stdin:2: the line has 4 columns, the header 6`},
		{quotes + "1772461800,,1,1,2,1\n", `stdin:2: column "SYMBOL" is empty`},
		{quotes + ",XXX,1,1,2,1\n", `stdin:2: column "DT" is empty`},
		{quotes + "1772461800,X\x1bX,1,1,2,1\n", `stdin:2: column "SYMBOL": "X\x1bX" cannot be a symbol: at most 64 bytes of text without control characters`},
		{quotes + "1772461800,\"XXX,1,1,2,1\n", `stdin:2: "XXX,1,1,2,1" is a quoted cell that does not end on its line`},
		{quotes + "1772461800,\"XXX\"Y,1,1,2,1\n", `stdin:2: "Y,1,1,2,1" follows a quoted cell, want a delimiter`},
		{quotes + "2026-03-02 14:30:00,XXX,1,1,2,1\n", `stdin:2: column "DT": "2026-03-02 14:30:00" is a local time; state its zone, for example with --zone America/New_York`},
		{quotes + "yesterday,XXX,1,1,2,1\n", `stdin:2: column "DT": "yesterday" is not a time: want RFC 3339, a local date and time, or a number since the Unix epoch`},
		{"{\"type\":\"level\",\"side\":\"buy\",\"time\":1,\"symbol\":\"X\",\"price\":1,\"size\":null}\n", `stdin:1: column "size" is empty`},
		{trades + "1772461800,XXX,50,3000,,,,\n1772461800,XXX,5,0.12345678901234567,,,,\n", `stdin:3: column "size": "0.12345678901234567" needs so many decimals that the sizes of its instrument before it do not fit 64 bits`},
		{trades + "1772461800,XXX,500,3,,,,\n1772461800,XXX,0.12345678901234567,1,,,,\n", `stdin:3: column "price": "0.12345678901234567" needs so many decimals that the prices of its instrument before it do not fit 64 bits`},
		{trades + "1772461800,XXX,5,1,up,,,\n", `stdin:2: column "side": "up" is not a side: want buy or sell; to ignore the column use --column side=`},
		{trades + "1772461800,XXX,5,1,,123456789,,\n", `stdin:2: column "conditions": "123456789" cannot be trade conditions: at most 8 printable ASCII characters; to leave them out use --column conditions=`},
		{trades + "1772461800,XXX,5,1,,,9,\n", `stdin:2: column "corr": "9" is not a known correction code (0, 1, 2, 7, 8, 10, 11, 12); to ignore the column use --column correction=`},
		{trades + "1772461800,XXX,5,1,,,," + strings.Repeat("x", 65) + "\n", `stdin:2: column "trade_id": "` + strings.Repeat("x", 64) + `" cannot be a trade id: at most 64 bytes of text without control characters`},
		{"time,price,size\n1,2,3\n", `stdin:1: the header names no column for the symbol; its columns are "time", "price", "size"; name it with --column symbol=NAME, or give the one symbol of the file with --symbol`},
		{"s3cret\n", "stdin:1: the header names no column for a price, bid or ask; it has one column only; name them with --column price=NAME, or bid=NAME and ask=NAME"},
		{"when,symbol,price\n", `stdin:1: the header names no column for the time; its columns are "when", "symbol", "price"; name it with --column time=NAME`},
		{"1772461800,XXX,5,1\n", `stdin:1: the file has no header: its first line is data, "1772461800", "XXX", "5", "1"; name the columns by their places with --header, such as --header time,symbol,price,size (no name for a column that is not read), or state whose files they are with --preset`},
		{"time,symbol,price,Price\n", `stdin:1: column "Price" holds the same field as "price"; choose one with --column price=NAME`},
		{"\xff\xfet\x00i\x00\n", `stdin:1: the file is UTF-16; convert it to UTF-8`},
		{"PK\x03\x04\x00\x00\n", `stdin:1: the file is not text`},
		{"[{\"price\":1}]\n", `stdin:1: the file is a JSON array; write one object on each line (jq -c '.[]')`},
		{"{\"time\":1,\"symbol\":\"X\",\"price\":{\"a\":1}}\n", `stdin:1: column "price": "{\"a\":1}" is an object or a list, want a text or a number`},
		{"{\"time\":1,\"symbol\":\"X\",\"price\":1,\"size\":1}\n{\"symbol\":\"X\",\"price\":1}\n", `stdin:2: column "time" is missing; name the field that holds it with --column time=NAME`},
		{"{\"time\":1,\"symbol\":\"X\"\n", `stdin:1: the line ends early: want a comma or a closing brace`},
		{"{\"time\":1,}\n", `stdin:1: "}" is not JSON: want a field's name in quotes`},
		{"{\"time\":1,\"symbol\":\"X\",\"bid\":1,\"bid\":2}\n", `stdin:1: column "bid" is in the line twice`},
		{"{\"time\":1,\"symbol\":\"X\",\"bid\":1,\"Bid\":2}\n", `stdin:1: column "Bid" holds the same field as "bid"; choose one with --column bid=NAME`},
		{"{\"time\":1,\"symbol\":\"X\",\"bid_px_01\":1,\"bid_px_01\":2}\n", `stdin:1: column "bid_px_01" is in the line twice`},
		{"{\"time\":nul}\n", `stdin:1: "nul}" is not JSON: want a value`},
		{"{\"time\":1} {\"time\":2}\n", `stdin:1: "{\"time\":2}" is not JSON: unexpected data after the object; write one object on each line`},
		{"{\"type\":\"subscriptions\"}\n", `stdin:1: the line has neither a price nor a bid or an ask`},
		{"{\"type\":\"level\",\"time\":1,\"symbol\":\"X\",\"price\":1,\"size\":1}\n", `stdin:1: column "side" is not a side: want buy or sell`},
		{"{\"type\":\"status\",\"time\":1,\"symbol\":\"X\",\"status\":\"lunch\"}\n", `stdin:1: column "status": "lunch" is not a trading status`},
	} {
		got, stats, err := read(t, c.text, textfile.Config{})
		var bad *textfile.LineError
		require.ErrorAs(t, err, &bad, c.text)
		assert.Equal(t, c.want, bad.Error(), c.text)
		assert.LessOrEqual(t, len(got), 2)
		_ = stats
	}
}

// The error for a bad number or time wraps its sentinel.
func TestBadLineCauses(t *testing.T) {
	for text, want := range map[string]error{
		"1,X,1x":                  decimal.ErrSyntax,
		"1,X,1e30":                decimal.ErrOverflow,
		"1,X,1e-30":               decimal.ErrInexact,
		"2026-03-02 14:30:00,X,1": textfile.ErrNoZone,
	} {
		_, _, err := read(t, "time,symbol,price\n"+text+"\n", textfile.Config{})
		assert.ErrorIs(t, err, want, text)
	}
}

// Up to SkipBad bad lines, in all files together, are skipped and counted.
func TestSkipBad(t *testing.T) {
	dir := t.TempDir()
	var paths []string
	for i, text := range []string{
		"time,symbol,price,size\n1772461800,A,1,1\n1772461800,A,x,1\n1772461800,A,2,1\n",
		"{\"time\":1772461800,\"symbol\":\"A\",\"price\":3,\"size\":1}\n{\n{\"time\":1772461800,\"symbol\":\"B\",\"price\":4,\"size\":1}\n",
	} {
		paths = append(paths, filepath.Join(dir, fmt.Sprintf("%c.txt", 'a'+i)))
		require.NoError(t, os.WriteFile(paths[i], []byte(text), 0o600))
	}
	for skip, want := range []int{1, 3, 4} {
		src, err := textfile.Open(paths, nil, textfile.Config{SkipBad: skip})
		require.NoError(t, err)
		trades, ids := 0, map[string]feed.InstrumentID{}
		err = eachDefined(t, src, func(tick *feed.Tick, def *feed.Definition) {
			ids[def.Symbol] = tick.Instrument
			if tick.Kind == feed.KindTrade {
				trades++
			}
		})
		assert.Equal(t, want, trades)
		stats := src.Stats()
		assert.EqualValues(t, skip, stats.Skipped)
		require.NotNil(t, stats.FirstBad)
		assert.Equal(t, paths[0]+`:3: column "price": "x" is not a decimal number`, stats.FirstBad.Error())
		switch skip {
		case 0:
			assert.Equal(t, stats.FirstBad, err)
		case 1:
			assert.EqualError(t, err, paths[1]+":2: the line ends early: want a field's name in quotes")
		case 2:
			assert.NoError(t, err)
			assert.EqualValues(t, 6, stats.Rows)
			assert.Equal(t, map[string]feed.InstrumentID{"A": 0, "B": 1}, ids, "instruments are those of all files")
		}
	}
}

// A line that is too long is a bad line, whatever memory it would take.
func TestLongLine(t *testing.T) {
	const head = "time,symbol,price,size\n"
	const row = "1772461800,A,1,1"
	fit := row + strings.Repeat(" ", textfile.MaxLine-len(row))
	src, err := textfile.Open([]string{"-"}, strings.NewReader(head+fit+"\n"+fit+" \n"+row+"\n"+fit+strings.Repeat(" ", 3<<20)), textfile.Config{SkipBad: 9})
	require.NoError(t, err)
	trades := 0
	require.NoError(t, eachDefined(t, src, func(tick *feed.Tick, _ *feed.Definition) {
		if tick.Kind == feed.KindTrade {
			trades++
		}
	}))
	stats := src.Stats()
	assert.Equal(t, 2, trades)
	assert.EqualValues(t, 2, stats.Skipped)
	assert.EqualError(t, stats.FirstBad, "stdin:3: the line is longer than 1048576 bytes")
}

// Trades that TAQ marks as cancelled or wrong are left out and counted.
func TestCorrectionCodes(t *testing.T) {
	text := "time,symbol,price,size,corr\n"
	for _, code := range []string{"0", "00", "1", "01", "2", "", "7", "08", "10", "11", "12"} {
		text += "1772461800,A,1,1," + code + "\n"
	}
	got, stats, err := read(t, text, textfile.Config{})
	require.NoError(t, err)
	assert.Len(t, got, 1+6)
	assert.EqualValues(t, 5, stats.Voided)
	assert.EqualValues(t, 11, stats.Rows)
}

// A bid or ask of 0 means no quote on that side, unless ZeroIsPrice is set. A trade may have the price 0.
func TestZeroPrices(t *testing.T) {
	const text = "time,symbol,bid,bidsize,ask,asksize,price,size\n1772461800,A,0.00,5,1,1,0,1\n"
	got, _, err := read(t, text, textfile.Config{})
	require.NoError(t, err)
	assert.Equal(t, []string{"0 quote A - x 0 / 1 x 1", `0 trade A 0 x 1 id 0 ""`}, got[1:])
	got, _, err = read(t, text, textfile.Config{ZeroIsPrice: true})
	require.NoError(t, err)
	assert.Equal(t, []string{"0 quote A 0 x 5 / 1 x 1", `0 trade A 0 x 1 id 0 ""`}, got[1:])
}

// The output of tickfeed is read back unchanged, whatever the magnitudes: times are in nanoseconds, 0 is
// a price, and blanks are part of a symbol.
func TestOwnFormIsNotGuessedAt(t *testing.T) {
	const csv = "session,seq,snapshot,type,symbol,venue,ts_event,ts_publish,bid,bid_size,ask,ask_size,price,size\n"
	for name, text := range map[string]string{
		"csv": csv + "0d,1,,quote,\" A\",X,1000,9,0,5,1,1,,\n0d,2,,trade,\" A\",X,2500000000,9,,,,,0,7\n",
		"ndjson": `{"session":"0d","seq":1,"type":"quote","symbol":" A","venue":"X","ts_event":1000,"bid":0,"bid_size":5,"ask":1,"ask_size":1}` + "\n" +
			`{"price":0,"ts_event":2500000000,"type":"trade","symbol":" A","venue":"X","size":7}` + "\n",
	} {
		for _, unit := range []string{"", "ms"} {
			got, _, err := read(t, text, textfile.Config{EpochUnit: unit})
			require.NoError(t, err)
			at := func(ns int64) string { return fmt.Sprint(ns - 1772461800000000000) }
			assert.Equal(t, []string{
				"0 " + at(1000) + " definition  A@X 10^-4 10^0",
				at(1000) + " quote  A@X 0 x 5 / 1 x 1",
				at(2500000000) + ` trade  A@X 0 x 7 id 0 ""`,
			}, got, name+" "+unit)
		}
	}
}

// Columns are found by Config.Columns first, exactly as they are written; the symbol and the
// venue may be given for the whole file.
func TestConfiguredColumns(t *testing.T) {
	cfg := textfile.Config{
		Symbol: "BTCUSDT", Venue: "BINANCE", EpochUnit: "ms",
		Columns: map[string]string{"time": "E", "bid": "b", "bid_size": "B", "ask": "a", "ask_size": "A", "trade_id": "", "price": ""},
	}
	want := []string{"0 0 definition BTCUSDT@BINANCE 10^-4 10^0", "0 quote BTCUSDT@BINANCE 1 x 2 / 3 x 4"}
	got, _, err := read(t, "E,b,B,a,A,id,price\n1772461800000,1,2,3,4,9,9\n", cfg)
	require.NoError(t, err)
	assert.Equal(t, want, got)
	got, _, err = read(t, `{"E":1772461800000,"b":"1","B":"2","a":"3","A":"4","id":9,"price":9}`, cfg)
	require.NoError(t, err)
	assert.Equal(t, want, got)

	_, _, err = read(t, "E,b,B,a\n", cfg)
	assert.EqualError(t, err, `stdin:1: column "A" should hold ask_size, but is not in the header; its columns are "E", "b", "B", "a"`)
}

// A date and a time of day may stand in two columns.
func TestDateColumn(t *testing.T) {
	got, _, err := read(t, "DATE,TIME_M,sym,price\n20260302,9:30:00.000000007,A,1\n", textfile.Config{Zone: "America/New_York"})
	require.NoError(t, err)
	assert.Equal(t, `7 trade A 1 x 0 id 0 ""`, got[1])
	_, _, err = read(t, "TIME_M,sym,price\n9:30:00,A,1\n", textfile.Config{Zone: "America/New_York"})
	assert.ErrorContains(t, err, "is a time of day without a date")
	_, _, err = read(t, "date,time,sym,price\nmonday,9:30:00,A,1\n", textfile.Config{Zone: "America/New_York"})
	assert.EqualError(t, err, `stdin:2: column "date": "monday" is not a date: want 2018-01-02 or 20180102`)
}

// The order of the lines decides which of the two hours is meant when clocks show an hour twice.
func TestHourThatComesTwice(t *testing.T) {
	const head = "time,symbol,price,size\n"
	times := func(text string) (all []string) {
		src, err := textfile.Open([]string{"-"}, strings.NewReader(head+strings.ReplaceAll(text, ";", ",A,1,1\n")), textfile.Config{Zone: "America/New_York"})
		require.NoError(t, err)
		require.NoError(t, eachDefined(t, src, func(tick *feed.Tick, _ *feed.Definition) {
			if tick.Kind == feed.KindTrade {
				all = append(all, time.Unix(0, tick.EventTime).UTC().Format("15:04:05"))
			}
		}))
		return all
	}
	assert.Equal(t, []string{"05:59:59", "06:00:00", "06:30:00", "07:00:00"},
		times("2024-11-03 01:59:59;2024-11-03 01:00:00;2024-11-03 01:30:00;2024-11-03 02:00:00;"))
	assert.Equal(t, []string{"05:30:00", "05:29:59", "05:45:00", "06:43:00", "06:45:00"},
		times("2024-11-03 01:30:00;2024-11-03 01:29:59;2024-11-03 01:45:00;2024-11-03 01:43:00;2024-11-03 01:45:00;"),
		"a line that is a little late does not change the hour")
	assert.Equal(t, []string{"21:00:00", "05:30:00"}, times("2024-11-03 16:00:00;2024-11-03 01:30:00;"), "the next symbol of a file by symbol")
}

// Lines may end with a carriage return alone, as old systems write them.
func TestCarriageReturns(t *testing.T) {
	const text = "time,symbol,price,size\r1772461800,A,1,5\r1772461800,A,2,5\r"
	want := []string{"0 0 definition A 10^-4 10^0", `0 trade A 1 x 5 id 0 ""`, `0 trade A 2 x 5 id 0 ""`}
	for _, text := range []string{text, strings.TrimSuffix(text, "\r"), "\r" + text, strings.ReplaceAll(text, "\r", "\r\n"), strings.ReplaceAll(text, "\r", "\n")} {
		got, stats, err := read(t, text, textfile.Config{})
		require.NoError(t, err, "%q", text)
		assert.Equal(t, want, got, "%q", text)
		assert.EqualValues(t, 2, stats.Rows)
		path := filepath.Join(t.TempDir(), "a.csv")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		src, err := textfile.Open([]string{path}, nil, textfile.Config{})
		require.NoError(t, err)
		n := 0
		require.NoError(t, eachDefined(t, src, func(*feed.Tick, *feed.Definition) { n++ }))
		assert.Equal(t, 3, n, "%q", text)
	}
}

// Open returns errors in the arguments before anything is read.
func TestOpenErrors(t *testing.T) {
	std := strings.NewReader("")
	for want, open := range map[string]func() (*textfile.Source, error){
		"no file to read": func() (*textfile.Source, error) { return textfile.Open(nil, std, textfile.Config{}) },
		"only once":       func() (*textfile.Source, error) { return textfile.Open([]string{"-", "-"}, std, textfile.Config{}) },
		"no standard":     func() (*textfile.Source, error) { return textfile.Open([]string{"-"}, nil, textfile.Config{}) },
		"is a directory":  func() (*textfile.Source, error) { return textfile.Open([]string{"testdata"}, std, textfile.Config{}) },
		"absent.csv":      func() (*textfile.Source, error) { return textfile.Open([]string{"absent.csv"}, std, textfile.Config{}) },
	} {
		_, err := open()
		assert.ErrorContains(t, err, want)
	}
	for want, cfg := range map[string]textfile.Config{
		`Format must be csv or ndjson, got "xml"`:            {Format: "xml"},
		`EpochUnit must be s, ms, us, ns or hhmmss, got "h"`: {EpochUnit: "h"},
		`Zone: "Mars/Olympus" is neither an IANA zone`:       {Zone: "Mars/Olympus"},
		`Zone: "+1" is not an offset like -05:00`:            {Zone: "+1"},
		`PriceExponent must be from -18 to 0, got -19`:       {PriceExponent: -19},
		`SizeExponent must be from -18 to 0, got 1`:          {SizeExponent: 1},
		`SkipBad must not be negative, got -1`:               {SkipBad: -1},
		`Symbol: "A\x00" has a control character`:            {Symbol: "A\x00"},
		`Columns: there is no field "prize", only time`:      {Columns: map[string]string{"prize": "p"}},
		`Columns: column "p" is given for ask and for b`:     {Columns: map[string]string{"ask": "p", "bid": "p"}},
	} {
		_, err := textfile.Open([]string{"-"}, std, cfg)
		assert.ErrorContains(t, err, want)
	}
}

// A file that cannot be unpacked ends the source with an error that names it, after the ticks
// that came before.
func TestDamagedGzip(t *testing.T) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	fmt.Fprint(w, "time,symbol,price,size\n")
	for range 1000 {
		fmt.Fprint(w, "1772461800,A,1,1\n")
	}
	require.NoError(t, w.Close())
	path := filepath.Join(t.TempDir(), "cut.csv.gz")
	require.NoError(t, os.WriteFile(path, b.Bytes()[:b.Len()-9], 0o600))
	src, err := textfile.Open([]string{path}, nil, textfile.Config{SkipBad: 5})
	require.NoError(t, err)
	n := 0
	err = eachDefined(t, src, func(*feed.Tick, *feed.Definition) { n++ })
	assert.EqualError(t, err, path+": offset 17023: the compressed file is cut off")
	assert.Greater(t, n, 900)
	_, again := src.Next(context.Background(), make([]feed.Tick, 1))
	assert.Equal(t, err, again, "the error repeats")
}

// A tick from a pipe is returned at once. A Next that waits returns when its context ends, and
// loses nothing that was read.
func TestLivePipe(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	src, err := textfile.Open([]string{"-"}, r, textfile.Config{})
	require.NoError(t, err)
	defer src.Close()
	batch := make([]feed.Tick, 100)
	write := func(s string) chan error {
		done := make(chan error, 1)
		go func() { _, err := io.WriteString(w, s); done <- err }()
		return done
	}
	done := write("time,symbol,price,size\n1772461800,A,1,1\n1772461800,A,2,")
	n, err := src.Next(context.Background(), batch)
	require.NoError(t, err)
	require.Equal(t, 2, n, "a definition and a trade; half a line waits")
	require.NoError(t, <-done)

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	n, err = src.Next(ctx, batch)
	assert.Zero(t, n)
	assert.Equal(t, context.DeadlineExceeded, err)

	done = write("7\n")
	n, err = src.Next(context.Background(), batch)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	assert.EqualValues(t, 7, batch[0].Trade().Size)
	require.NoError(t, <-done)
	assert.EqualValues(t, 3, src.Stats().Ticks)

	require.NoError(t, src.Close(), "a silent standard input does not hold Close up")
	_, err = src.Next(context.Background(), batch)
	assert.ErrorContains(t, err, "closed")
	require.NoError(t, src.Close())
}

// Ticks that do not fit in the batch are returned with the next one.
func TestSmallBatch(t *testing.T) {
	src, err := textfile.Open([]string{"testdata/both.csv"}, nil, textfile.Config{})
	require.NoError(t, err)
	defer src.Close()
	var kinds []feed.Kind
	for {
		batch := make([]feed.Tick, 1)
		n, err := src.Next(context.Background(), batch)
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		require.Equal(t, 1, n)
		kinds = append(kinds, batch[0].Kind)
	}
	assert.Equal(t, []feed.Kind{
		feed.KindDefinition, feed.KindQuote, feed.KindDefinition, feed.KindTrade, feed.KindQuote, feed.KindTrade,
	}, kinds)
}

// A source that is closed half way leaves no goroutine behind; TestMain checks this.
func TestCloseHalfWay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "long.csv")
	text := "time,symbol,price,size\n" + strings.Repeat("1772461800,A,1,1\n", 100_000)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	src, err := textfile.Open([]string{path}, nil, textfile.Config{})
	require.NoError(t, err)
	_, err = src.Next(context.Background(), make([]feed.Tick, 10))
	require.NoError(t, err)
	require.NoError(t, src.Close())
	unread, err := textfile.Open([]string{path}, nil, textfile.Config{})
	require.NoError(t, err)
	require.NoError(t, unread.Close())
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = unread.Next(ended, make([]feed.Tick, 1))
	assert.Error(t, err)
}

func ExampleOpen() {
	const trades = "time,symbol,price,size\n2026-03-02 09:30:00.25,AAPL,187.255,100\n"
	src, err := textfile.Open([]string{"-"}, strings.NewReader(trades), textfile.Config{Zone: "America/New_York"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer src.Close()
	batch := make([]feed.Tick, 64)
	for {
		n, err := src.Next(context.Background(), batch)
		for _, t := range batch[:n] {
			fmt.Println(t.Kind, t.EventTime, t.Values[0])
		}
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	// Output:
	// definition 1772461800250000000 0
	// trade 1772461800250000000 1872550
	// EOF
}

// eachDefined reads src to its end and calls f with each tick and the definition of its instrument. The ids must be dense.
func eachDefined(t testing.TB, src *textfile.Source, f func(*feed.Tick, *feed.Definition)) error {
	t.Helper()
	ids := feed.InstrumentID(0)
	return recorded.Each(t, src, func(tick *feed.Tick, state *feed.State) {
		require.LessOrEqual(t, tick.Instrument, ids, "ids are dense")
		ids = max(ids, tick.Instrument+1)
		def, _ := state.Definition(tick.Instrument)
		f(tick, def)
	})
}
