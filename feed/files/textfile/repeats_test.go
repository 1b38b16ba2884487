package textfile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/decimal"
	"tickfeed/feed/files/textfile"
)

// A trade in two files counts once if its id, or Databento sequence number, is the same. Without one, both
// count, and a note reports them.
func TestTradesOfSeveralFiles(t *testing.T) {
	const ids = "time,symbol,price,size,side,id\n"
	const none = "time,symbol,price,size\n"
	databento := func(rtype, price, rest, names string) string {
		return databentoHead + "action,side,price,size,sequence," + names + "symbol\n" +
			strings.ReplaceAll(databentoTimes, "%", "1") + rtype + ",1,5,T,B," + price + ",2,77," + rest + "A\n" +
			strings.ReplaceAll(databentoTimes, "%", "1") + rtype + ",1,5,T,B," + price + ",2,77," + rest + "A\n"
	}
	const aggregated = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n"
	for _, c := range []struct {
		name       string
		files      []string
		trades     []string
		duplicates int64
		notes, err string
	}{
		{
			name:   "the same ids",
			files:  []string{ids + "1772461800,A,1.50,2,buy,7\n1772461801,A,1,2,buy,8\n", ids + "1772461801,A,1.0,2,buy,8\n1772461802,A,1.00001,2,buy,9\n"},
			trades: []string{"1.5 x 2", "1 x 2", "1.00001 x 2"}, duplicates: 1, notes: "trades left out because an earlier file has them: 1",
		},
		{
			name:   "ids that begin again",
			files:  []string{ids + "1772461800,A,1.50,2,buy,7\n", ids + "1772461801,A,1.5,2,buy,7\n"},
			trades: []string{"1.5 x 2", "1.5 x 2"},
		},
		{
			name:   "within one file",
			files:  []string{ids + "1772461800,A,1.50,2,buy,7\n1772461800,A,1.50,2,buy,7\n", ids + "1772461803,A,1.5,2,buy,7\n"},
			trades: []string{"1.5 x 2", "1.5 x 2", "1.5 x 2"},
		},
		{
			name:   "no ids",
			files:  []string{none + "1772461800,A,1.50,2\n", none + "1772461800,A,1.5,2\n1772461800,A,1.5,2\n"},
			trades: []string{"1.5 x 2", "1.5 x 2", "1.5 x 2"}, notes: "trades that may repeat those of an earlier file, with the same instrument, time, price, size and side, and no id: 1",
		},
		{
			name:   "Databento's trades and mbp-1",
			files:  []string{databento("0", "101.5", "", ""), databento("1", "101500000000", "101.000000000,102.000000000,5,6,", "bid_px_00,ask_px_00,bid_sz_00,ask_sz_00,")},
			trades: []string{"101.5 x 2", "101.5 x 2"}, duplicates: 2, notes: "trades left out because an earlier file has them: 2",
		},
		{
			name: "trades and aggTrades",
			files: []string{
				"id,price,qty,quote_qty,time,is_buyer_maker\n1,1.5,1,1.5,1772461800000,true\n2,1.5,1,1.5,1772461801000,true\n3,1.5,1,1.5,1772461802000,true\n",
				aggregated + "1,1.5,2,1,2,1772461801000,true\n",
			},
			trades: []string{"1.5 x 1", "1.5 x 1", "1.5 x 1"},
			err:    `:2: column "agg_trade_id": "1" is of aggTrades, and the trades of its instrument at that time were read before`,
		},
		{
			name: "aggTrades of another time",
			files: []string{
				"id,price,qty,quote_qty,time,is_buyer_maker\n1,1.5,1,1.5,1772461800000,true\n2,1.5,1,1.5,1772461801000,true\n",
				aggregated + "1,1.5,2,1,2,1772461802000,true\n",
			},
			trades: []string{"1.5 x 1", "1.5 x 1", "1.5 x 2"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var paths []string
			for i, text := range c.files {
				path := filepath.Join(t.TempDir(), fmt.Sprint(i, ".csv"))
				require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
				paths = append(paths, path)
			}
			src, err := textfile.Open(paths, nil, textfile.Config{Symbol: "A"})
			require.NoError(t, err)
			var got []string
			err = eachDefined(t, src, func(tick *feed.Tick, def *feed.Definition) {
				if tick.Kind == feed.KindTrade {
					tr := tick.Trade()
					got = append(got, string(decimal.Append(nil, tr.Price, def.PriceExponent))+" x "+string(decimal.Append(nil, tr.Size, def.SizeExponent)))
				}
			})
			if c.err == "" {
				require.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, c.err)
			}
			assert.Equal(t, c.trades, got)
			st := src.Stats()
			assert.Equal(t, c.duplicates, st.Duplicates)
			assert.Contains(t, strings.Join(st.Notes, "\n"), c.notes)
			assert.Equal(t, c.notes == "", len(st.Notes) == 0)
		})
	}
}
