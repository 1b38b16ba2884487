package lobster_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files/lobster"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/recorded"
)

// An expectation is what an independent decoder found in a pair of files.
type expectation struct {
	Rows         int64            `json:"rows"`
	ByType       map[string]int64 `json:"by_type"`
	Trades       int64            `json:"trades_type4_5"`
	Volume       int64            `json:"volume_type4_5"`
	VolumeShown  int64            `json:"volume_type4"`
	Notional     int64            `json:"notional_x10000_type4_5"`
	MinPrice     int64            `json:"min_price_x10000"`
	MaxPrice     int64            `json:"max_price_x10000"`
	FirstTime    int64            `json:"first_ns_after_midnight"`
	LastTime     int64            `json:"last_ns_after_midnight"`
	AgainstBuys  int64            `json:"executions_against_buy_orders"`
	AgainstSells int64            `json:"executions_against_sell_orders"`
	Changes      int64            `json:"bbo_changes_including_first_row"`
	MinAsk       int64            `json:"min_ask"`
	MaxAsk       int64            `json:"max_ask"`
	MinBid       int64            `json:"min_bid"`
	MaxBid       int64            `json:"max_bid"`
	AskSizes     int64            `json:"ask_size_sum"`
	BidSizes     int64            `json:"bid_size_sum"`
	FirstRow     json.RawMessage  `json:"first_row"`
	LastRow      json.RawMessage  `json:"last_row"`
}

func expected(t testing.TB, dir string, files ...string) (e expectation) {
	t.Helper()
	all := recorded.All(t, dir)
	for _, f := range files {
		require.Contains(t, all, f)
		require.NoError(t, json.Unmarshal(all[f], &e))
	}
	return e
}

const midnight = 1340251200 * int64(time.Second) // of 2012-06-21 in New York, four hours behind UTC

// The recorded pairs agree with the results of an independent decoder; after each event the book of the state
// equals the row of the order book file.
func TestRecordedPairsAgreeWithAnotherDecoder(t *testing.T) {
	dir := recorded.Dir(t)
	for _, name := range []string{
		"AMZN_2012-06-21_34200000_57600000_*_1.csv.gz",
		"GOOG_2012-06-21_34200000_57600000_*_1.csv.gz",
		"AAPL_2012-06-21_34200000_57600000_*_10.first999.csv.gz",
	} {
		t.Run(name[:4], func(t *testing.T) {
			message, book := strings.Replace("lobster/"+name, "*", "message", 1), strings.Replace("lobster/"+name, "*", "orderbook", 1)
			want := expected(t, dir, message, book)
			src, err := lobster.Open([]string{filepath.Join(dir, message)}, lobster.Config{})
			require.NoError(t, err)
			rows := openRows(t, filepath.Join(dir, book))
			got := expectation{
				ByType: want.ByType, FirstRow: want.FirstRow, LastRow: want.LastRow,
				MinPrice: math.MaxInt64, MinAsk: math.MaxInt64, MinBid: math.MaxInt64,
			}
			err = recorded.Each(t, src, func(tick *feed.Tick, _ *feed.State) {
				switch tick.Kind {
				case feed.KindTrade:
					tr := tick.Trade()
					got.Trades++
					got.Volume += tr.Size
					got.Notional += tr.Size * tr.Price
					got.MinPrice, got.MaxPrice = min(got.MinPrice, tr.Price), max(got.MaxPrice, tr.Price)
					if tr.Conditions == 0 {
						got.VolumeShown += tr.Size
					}
					if tr.Side == feed.SideSell {
						got.AgainstBuys++
					} else if tr.Side == feed.SideBuy {
						got.AgainstSells++
					}
				case feed.KindQuote:
					got.Changes++
				case feed.KindDefinition:
					assert.Equal(t, feed.Definition{Symbol: name[:4], Venue: "NASDAQ", PriceExponent: -4, Currency: "USD"}, *tick.Definition())
				case feed.KindStatus:
					assert.Equal(t, int32(20120621), tick.TradingDay())
					assert.Equal(t, midnight+want.FirstTime, tick.EventTime)
				}
			})
			require.NoError(t, err)
			got.Rows = src.Stats().Messages
			assert.Equal(t, want.Trades, src.Stats().Trades)
			assert.Equal(t, want.ByType["5"], src.Stats().Hidden)
			assert.Zero(t, src.Stats().Backward)

			// Read again, named by the other file, and compare each event with its row.
			src, err = lobster.Open([]string{filepath.Join(dir, book)}, lobster.Config{})
			require.NoError(t, err)
			var row [][4]int64
			next := func() {
				if row = rows(); row == nil {
					return
				}
				a, b := row[0][0], row[0][2]
				got.MinAsk, got.MaxAsk = min(got.MinAsk, a), max(got.MaxAsk, a)
				got.MinBid, got.MaxBid = min(got.MinBid, b), max(got.MaxBid, b)
				got.AskSizes += row[0][1]
				got.BidSizes += row[0][3]
			}
			next()
			first, last := int64(0), int64(0)
			changed := false
			err = recorded.Each(t, src, func(tick *feed.Tick, state *feed.State) {
				if first == 0 {
					first = tick.EventTime
				}
				last = tick.EventTime
				changed = true
				if tick.Flags&feed.FlagMore != 0 {
					return
				}
				in, _ := state.Instrument(tick.Instrument)
				if !sameBook(&in, row) {
					// Rows that change nothing and are not trades have no ticks.
					for before := row; slices.Equal(before, row); {
						next()
					}
					require.True(t, sameBook(&in, row), "book at %d: %v %v, the next row that differs is %v", tick.EventTime, in.Bids, in.Asks, row)
				}
				if q := (feed.Quote{Bid: row[0][2], BidSize: row[0][3], Ask: row[0][0], AskSize: row[0][1]}); q != in.Quote {
					assert.Equal(t, q, in.Quote)
				}
			})
			require.NoError(t, err)
			require.True(t, changed)
			for row != nil {
				next()
			}
			got.FirstTime, got.LastTime = first-midnight, last-midnight
			assert.Equal(t, want, got)
		})
	}
}

func sameBook(in *feed.Instrument, row [][4]int64) bool {
	var asks, bids int
	for _, l := range row {
		if l[1] > 0 {
			if asks >= len(in.Asks) || in.Asks[asks].Price != l[0] || in.Asks[asks].Size != l[1] {
				return false
			}
			asks++
		}
		if l[3] > 0 {
			if bids >= len(in.Bids) || in.Bids[bids].Price != l[2] || in.Bids[bids].Size != l[3] {
				return false
			}
			bids++
		}
	}
	return asks == len(in.Asks) && bids == len(in.Bids)
}

// openRows returns a function that returns the rows of an order book file, nil after the last.
func openRows(t *testing.T, path string) func() [][4]int64 {
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	s := bufio.NewScanner(z)
	return func() [][4]int64 {
		if !s.Scan() {
			return nil
		}
		cells := strings.Split(s.Text(), ",")
		row := make([][4]int64, len(cells)/4)
		for i, c := range cells {
			v, err := strconv.ParseInt(c, 10, 64)
			require.NoError(t, err)
			row[i/4][i%4] = v
		}
		return row
	}
}

// Several instruments form one session in order of time.
func TestMergedByTime(t *testing.T) {
	dir := filepath.Join(recorded.Dir(t), "lobster")
	paths, err := filepath.Glob(filepath.Join(dir, "*.csv.gz"))
	require.NoError(t, err)
	require.Len(t, paths, 6)
	src, err := lobster.Open(paths, lobster.Config{})
	require.NoError(t, err)
	trades := map[string]int64{}
	last, event := int64(0), feed.InstrumentID(0)
	more := false
	err = recorded.Each(t, src, func(tick *feed.Tick, state *feed.State) {
		if tick.EventTime < last || more && event != tick.Instrument {
			require.Fail(t, "out of order, or an event is torn apart", "%+v after %d", tick, last)
		}
		last, event, more = tick.EventTime, tick.Instrument, tick.Flags&feed.FlagMore != 0
		if tick.Kind == feed.KindTrade {
			d, _ := state.Definition(tick.Instrument)
			trades[d.Symbol]++
		}
	})
	require.NoError(t, err)
	assert.Equal(t, map[string]int64{"AMZN": 11419, "GOOG": 11678, "AAPL": 159}, trades)
	assert.Equal(t, int64(57515+49482+999), src.Stats().Messages)
}

// Recorded LOBSTER files are recognised, and those of other formats are not.
func TestRecogniseRecorded(t *testing.T) {
	dir := recorded.Dir(t)
	for path, want := range map[string]bool{
		"lobster/AMZN_2012-06-21_34200000_57600000_message_1.csv.gz":             true,
		"lobster/AMZN_2012-06-21_34200000_57600000_orderbook_1.csv.gz":           true,
		"lobster/AAPL_2012-06-21_34200000_57600000_orderbook_10.first999.csv.gz": true,
		"taq/XXX_quotes_2018-01-02.csv.gz":                                       false,
		"binance/spot_btcusdt_20240808.gz":                                       false,
		"fx/fxcm_eurusd_20140507_quote.zip":                                      false,
		"itch/NASDAQ_ITCH50.first1000.itch":                                      false,
	} {
		head, err := rawfile.Head(filepath.Join(dir, path), rawfile.HeadSize)
		require.NoError(t, err)
		assert.Equal(t, want, lobster.Recognise(head), path)
	}
}

func BenchmarkRecorded(b *testing.B) {
	dir := filepath.Join(recorded.Dir(b), "lobster")
	batch := make([]feed.Tick, 256)
	messages := int64(0)
	for b.Loop() {
		src, err := lobster.Open([]string{filepath.Join(dir, "AMZN_2012-06-21_34200000_57600000_message_1.csv.gz")}, lobster.Config{})
		require.NoError(b, err)
		for err == nil {
			_, err = src.Next(context.Background(), batch)
		}
		require.Equal(b, io.EOF, err)
		messages += src.Stats().Messages
		src.Close()
	}
	b.ReportMetric(float64(messages)/b.Elapsed().Seconds(), "messages/s")
}
