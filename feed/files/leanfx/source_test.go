package leanfx_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files/leanfx"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/recorded"
)

// An expectation is what an independent decoder found in a file.
type expectation struct {
	Rows     int64    `json:"rows"`
	First    []string `json:"first_row"`
	Last     []string `json:"last_row"`
	MinBid   string   `json:"min_bid"`
	MaxBid   string   `json:"max_bid"`
	MinAsk   string   `json:"min_ask"`
	MaxAsk   string   `json:"max_ask"`
	SumBid   string   `json:"sum_bid"`
	SumAsk   string   `json:"sum_ask"`
	Locked   int64    `json:"rows_bid_equal_ask"`
	Crossed  int64    `json:"rows_bid_above_ask"`
	SameTime int64    `json:"rows_with_timestamp_equal_to_previous"`
}

// The recorded zips agree with the results of an independent decoder; locked and crossed quotes are kept, and
// FXCM's days are in UTC-5, Oanda's in UTC.
func TestRecordedZipsAgreeWithAnotherDecoder(t *testing.T) {
	dir := recorded.Dir(t)
	all := recorded.All(t, dir)
	for _, c := range []struct {
		file     string
		def      feed.Definition
		midnight time.Time
	}{
		{"fx/fxcm_eurusd_20140507_quote.zip", feed.Definition{Symbol: "EURUSD", Venue: "FXCM", Currency: "USD", PriceExponent: -5},
			time.Date(2014, 5, 7, 5, 0, 0, 0, time.UTC)},
		{"fx/fxcm_nzdusd_20140507_quote.zip", feed.Definition{Symbol: "NZDUSD", Venue: "FXCM", Currency: "USD", PriceExponent: -5},
			time.Date(2014, 5, 7, 5, 0, 0, 0, time.UTC)},
		{"fx/oanda_eurusd_20140508_quote.zip", feed.Definition{Symbol: "EURUSD", Venue: "OANDA", Currency: "USD", PriceExponent: -5},
			time.Date(2014, 5, 8, 0, 0, 0, 0, time.UTC)},
	} {
		t.Run(filepath.Base(c.file), func(t *testing.T) {
			var want expectation
			require.NoError(t, json.Unmarshal(all[c.file], &want))
			src, err := leanfx.Open([]string{filepath.Join(dir, c.file)}, leanfx.Config{})
			require.NoError(t, err)
			var got expectation
			minBid, maxBid, minAsk, maxAsk, sumBid, sumAsk := int64(math.MaxInt64), int64(0), int64(math.MaxInt64), int64(0), int64(0), int64(0)
			var last feed.Tick
			row := func(tick *feed.Tick) []string {
				q := tick.Quote()
				return []string{strconv.FormatInt((tick.EventTime-c.midnight.UnixNano())/1e6, 10), price(q.Bid), price(q.Ask)}
			}
			require.NoError(t, recorded.Each(t, src, func(tick *feed.Tick, _ *feed.State) {
				switch tick.Kind {
				case feed.KindDefinition:
					assert.Equal(t, c.def, *tick.Definition())
				case feed.KindStatus:
					assert.Equal(t, c.midnight.Year()*10000+int(c.midnight.Month())*100+c.midnight.Day(), int(tick.TradingDay()))
				default:
					q := tick.Quote()
					if got.Rows++; got.Rows == 1 {
						got.First = row(tick)
					} else if tick.EventTime == last.EventTime {
						got.SameTime++
					}
					last = *tick
					minBid, maxBid = min(minBid, q.Bid), max(maxBid, q.Bid)
					minAsk, maxAsk = min(minAsk, q.Ask), max(maxAsk, q.Ask)
					sumBid += q.Bid
					sumAsk += q.Ask
				}
			}))
			got.Last = row(&last)
			got.MinBid, got.MaxBid, got.MinAsk, got.MaxAsk = price(minBid), price(maxBid), price(minAsk), price(maxAsk)
			got.SumBid, got.SumAsk = price(sumBid), price(sumAsk)
			st := src.Stats()
			got.Locked, got.Crossed = st.Locked, st.Crossed
			assert.Equal(t, want, got)
			assert.Equal(t, want.Rows, st.Rows)
			assert.Zero(t, st.Backward)
		})
	}
	paths, err := filepath.Glob(filepath.Join(dir, "fx", "*.zip"))
	require.NoError(t, err)
	src, err := leanfx.Open(paths, leanfx.Config{})
	require.NoError(t, err)
	before := int64(0)
	require.NoError(t, recorded.Each(t, src, func(tick *feed.Tick, _ *feed.State) {
		if tick.EventTime < before {
			require.Fail(t, "not merged by time")
		}
		before = tick.EventTime
	}))
	assert.Equal(t, int64(89504+109542+87833), src.Stats().Rows)
	for _, path := range append(paths, filepath.Join(dir, "taq", "XXX_quotes_2018-01-02.csv.gz")) {
		head, err := rawfile.Head(path, rawfile.HeadSize)
		require.NoError(t, err)
		assert.Equal(t, filepath.Ext(path) == ".zip", leanfx.Recognise(head), path)
	}
}

// price formats five decimals, as the files do.
func price(v int64) string {
	s := strconv.FormatInt(v, 10)
	for len(s) < 6 {
		s = "0" + s
	}
	return s[:len(s)-5] + "." + s[len(s)-5:]
}

// write makes a zip with one file and returns its path.
func write(t testing.TB, path, member, text string) string {
	t.Helper()
	path = filepath.Join(t.TempDir(), path)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, pack(t, member, text), 0o600))
	return path
}

func pack(t testing.TB, member, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	if member != "" {
		w, err := z.Create(member)
		require.NoError(t, err)
		_, err = w.Write([]byte(text))
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	return b.Bytes()
}

// LEAN's folders also state the market; a price with more decimals redefines its pair.
func TestSampleMarketComesFromFolders(t *testing.T) {
	path := write(t, "forex/oanda/tick/usdjpy/20240102_quote.zip", "20240102_usdjpy_tick_quote.csv",
		"0,141.02,141.03\r\n1.000001,141.0212345,0\n")
	src, err := leanfx.Open([]string{path}, leanfx.Config{})
	require.NoError(t, err)
	var got []feed.Tick
	require.NoError(t, recorded.Each(t, src, func(tick *feed.Tick, _ *feed.State) { got = append(got, *tick) }))
	require.Len(t, got, 5)
	at := time.Date(2024, 1, 2, 0, 0, 0, 0, time.UTC).UnixNano()
	assert.Equal(t, feed.Definition{Symbol: "USDJPY", Venue: "OANDA", Currency: "JPY", PriceExponent: -5}, *got[0].Definition())
	assert.Equal(t, feed.StatusTick(0, at, feed.StatusUnknown, 20240102), got[1])
	assert.Equal(t, feed.Quote{Bid: 14102000, Ask: 14103000}.Tick(0, at), got[2])
	assert.Equal(t, int8(-7), got[3].Definition().PriceExponent)
	assert.Equal(t, feed.Quote{Bid: 1410212345, Ask: feed.NoPrice}.Tick(0, at+1_000_001), got[4])
}

// A bad row is an error with its place and reason, or is skipped within SkipBad.
func TestBadRows(t *testing.T) {
	for name, c := range map[string]struct{ row, want string }{
		"two columns":  {"1,2", "3 columns"},
		"five columns": {"1,2,3,4,5", "3 columns"},
		"time":         {"x,2,3", "is not a time"},
		"a day later":  {"86400000,2,3", "is not a time"},
		"negative":     {"-1,2,3", "is not a time"},
		"price":        {"1,2x,3", `price "2x"`},
		"too long":     {string(bytes.Repeat([]byte("1"), 2000)), "too long"},
	} {
		path := write(t, "fxcm_a.zip", "20240102_eurusd_tick_quote.csv", "1,1,1\n"+c.row+"\n2,1,1\n")
		src, err := leanfx.Open([]string{path}, leanfx.Config{})
		require.NoError(t, err)
		err = recorded.Each(t, src, func(*feed.Tick, *feed.State) {})
		var bad *rawfile.LineError
		require.ErrorAs(t, err, &bad, name)
		assert.ErrorContains(t, err, c.want, name)
		assert.Equal(t, int64(2), bad.Line)
		assert.Equal(t, int64(6), bad.Offset)
		src, err = leanfx.Open([]string{path}, leanfx.Config{SkipBad: 1})
		require.NoError(t, err)
		require.NoError(t, recorded.Each(t, src, func(*feed.Tick, *feed.State) {}))
		assert.Equal(t, int64(3), src.Stats().Rows)
		assert.Equal(t, int64(1), src.Stats().Skipped)
	}
}

// Open refuses what is not a zip of tick quotes, and two zips of one pair and day.
func TestOpenRefuses(t *testing.T) {
	good := write(t, "fxcm_a.zip", "20240102_eurusd_tick_quote.csv", "1,1,1\n")
	twin := write(t, "fxcm_b.zip", "20240102_eurusd_tick_quote.csv", "1,1,1\n")
	noZip := filepath.Join(t.TempDir(), "a.zip")
	require.NoError(t, os.WriteFile(noZip, []byte("1,1,1\n"), 0o600))
	for want, paths := range map[string][]string{
		"no file to read":            nil,
		"is a directory":             {t.TempDir()},
		"it is not a zip":            {noZip},
		"holds no file":              {write(t, "fxcm_a.zip", "", "")},
		"schema minute quote":        {write(t, "fxcm_a.zip", "20240102_eurusd_minute_quote.csv", "")},
		"schema tick trade":          {write(t, "fxcm_a.zip", "20240102_eurusd_tick_trade.csv", "")},
		"want YYYYMMDD_PAIR":         {write(t, "fxcm_a.zip", "eurusd.csv", "")},
		"20241302 is not a date":     {write(t, "fxcm_a.zip", "20241302_eurusd_tick_quote.csv", "")},
		`the market "" is not known`: {write(t, "a.zip", "20240102_eurusd_tick_quote.csv", "")},
		"are both of EURUSD@FXCM":    {good, twin},
		"quotes of cryptocurrencies": {write(t, "crypto/coinbase/tick/btcusd/20180405_quote.zip", "20180405_btcusd_tick_quote.csv", "1014,6800.01,2.5,6800.02,0.1\n")},
		"shares, futures or options": {write(t, "fxcm_a.zip", "20131007_spy_tick_quote.csv", "14400025,1677900,2,1683800,1,P,,0\n")},
	} {
		_, err := leanfx.Open(paths, leanfx.Config{})
		assert.ErrorContains(t, err, want)
	}
	locked := pack(t, "20240102_eurusd_tick_quote.csv", "1,1,1\n")
	locked[6] |= 1
	locked[bytes.Index(locked, []byte("PK\x01\x02"))+8] |= 1
	path := filepath.Join(t.TempDir(), "fxcm_a.zip")
	require.NoError(t, os.WriteFile(path, locked, 0o600))
	_, err := leanfx.Open([]string{path}, leanfx.Config{})
	assert.ErrorContains(t, err, "it is encrypted; unpack it with its password")
	_, err = leanfx.Open([]string{good}, leanfx.Config{Market: "X", Zone: "Europe/Berlin"})
	assert.NoError(t, err)
	_, err = leanfx.Open([]string{good}, leanfx.Config{Zone: "Nowhere"})
	assert.ErrorContains(t, err, "Zone")
}

// FuzzSource: no zip, and no text in one, makes a Source panic or hang.
func FuzzSource(f *testing.F) {
	b, err := os.ReadFile(write(f, "fxcm_a.zip", "20240102_eurusd_tick_quote.csv", "1,1,1\n"))
	require.NoError(f, err)
	f.Add(b, true)
	f.Add([]byte("1014,1.39248,1.39250\r\n1.5,0,1e-7"), false)
	path := filepath.Join(f.TempDir(), "fxcm_a.zip")
	f.Fuzz(func(t *testing.T, data []byte, packed bool) {
		if !packed {
			data = pack(t, "20240102_eurusd_tick_quote.csv", string(data))
		}
		require.NoError(t, os.WriteFile(path, data, 0o600))
		leanfx.Recognise(data)
		src, err := leanfx.Open([]string{path}, leanfx.Config{SkipBad: 3})
		if err != nil {
			return
		}
		ticks := int64(0)
		_ = recorded.Each(t, src, func(*feed.Tick, *feed.State) { ticks++ })
		require.Equal(t, ticks, src.Stats().Ticks)
	})
}

func BenchmarkRecorded(b *testing.B) {
	path := filepath.Join(recorded.Dir(b), "fx", "fxcm_eurusd_20140507_quote.zip")
	batch := make([]feed.Tick, 256)
	rows := int64(0)
	for b.Loop() {
		src, err := leanfx.Open([]string{path}, leanfx.Config{})
		require.NoError(b, err)
		for err == nil {
			_, err = src.Next(context.Background(), batch)
		}
		require.Equal(b, io.EOF, err)
		rows += src.Stats().Rows
		src.Close()
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
}

// A row with a time before that of the previous row is counted; a row with the same time is not.
func TestRowsThatGoBack(t *testing.T) {
	path := write(t, "fxcm_a.zip", "20240102_eurusd_tick_quote.csv", "1,1,1\n3,1,1\n3,1,1\n2,1,1\n4,1,1\n")
	src, err := leanfx.Open([]string{path}, leanfx.Config{})
	require.NoError(t, err)
	require.NoError(t, recorded.Each(t, src, func(*feed.Tick, *feed.State) {}))
	assert.Equal(t, int64(1), src.Stats().Backward)
}

// Quotes whose bid equals or exceeds the ask are counted and returned unchanged; a quote with one side is
// neither.
func TestLockedAndCrossedRows(t *testing.T) {
	path := write(t, "fxcm_a.zip", "20240102_eurusd_tick_quote.csv", "1,1,2\n2,2,2\n3,3,2\n4,4,2\n5,5,0\n6,0,5\n")
	src, err := leanfx.Open([]string{path}, leanfx.Config{})
	require.NoError(t, err)
	quotes := 0
	require.NoError(t, recorded.Each(t, src, func(tick *feed.Tick, _ *feed.State) {
		if tick.Kind == feed.KindQuote {
			quotes++
		}
	}))
	assert.Equal(t, 6, quotes)
	assert.Equal(t, int64(1), src.Stats().Locked)
	assert.Equal(t, int64(2), src.Stats().Crossed)
}
