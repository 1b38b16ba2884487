package textfile_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files/textfile"
)

// Each preset reads the files that its vendor publishes. The rows are made up.
func TestPresetsReadFilesOfVendors(t *testing.T) {
	const second = int64(1_000_000_000)
	for name, c := range map[string]struct {
		preset, symbol, text string
		def                  feed.Definition
		want                 []feed.Tick
	}{
		"TAQ trades": {
			"taq", "", "DT,EX,SYMBOL,COND,SIZE,PRICE,CORR\n2018-07-02 09:30:00.5,T,XYZ,F I,10,101.25,0\n",
			feed.Definition{Symbol: "XYZ", Venue: "T", PriceExponent: -4},
			[]feed.Tick{feed.Trade{Price: 1012500, Size: 10, Conditions: letters("F I")}.Tick(0, 1530538200*second+5e8)},
		},
		"TAQ quotes": {
			"taq", "", "DT,EX,BID,BIDSIZ,OFR,OFRSIZ,SYMBOL\n2018-01-02 09:30:00,N,101.25,3,0,0,XYZ\n",
			feed.Definition{Symbol: "XYZ", Venue: "N", PriceExponent: -4},
			[]feed.Tick{feed.Quote{Bid: 1012500, BidSize: 3, Ask: feed.NoPrice}.Tick(0, 1514903400*second)},
		},
		"Polygon trades": {
			"polygon", "", "ticker,conditions,correction,exchange,id,participant_timestamp,price,sequence_number,sip_timestamp,size,tape,trf_id,trf_timestamp\n" +
				`XYZ,"12,14,37,41",0,4,52983525029461,1530538200000000123,101.2501,7,1530538200000100000,10,3,201,1530538200000090000` + "\n",
			feed.Definition{Symbol: "XYZ", PriceExponent: -4},
			[]feed.Tick{feed.Trade{Price: 1012501, Size: 10, ID: 52983525029461}.Tick(0, 1530538200*second+123)},
		},
		"Massive quotes": {
			"Massive", "", "ticker,ask_exchange,ask_price,ask_size,bid_exchange,bid_price,bid_size,conditions,indicators,participant_timestamp,sequence_number,sip_timestamp,tape,trf_timestamp\n" +
				"XYZ,11,101.26,2,12,101.25,3,1,604,1530538200000000123,8,1530538200000100000,3,0\n",
			feed.Definition{Symbol: "XYZ", PriceExponent: -4},
			[]feed.Tick{feed.Quote{Bid: 1012500, BidSize: 3, Ask: 1012600, AskSize: 2}.Tick(0, 1530538200*second+123)},
		},
		"Binance trades": {
			"binance-trades", "BTCUSDT", "id,price,qty,quote_qty,time,is_buyer_maker\n" +
				"5266583935,61800.30,0.006,370.8018,1723161256322,true\n5266583936,61800.3,1,61800.3,1723161256322123,false\n",
			feed.Definition{Symbol: "BTCUSDT", Venue: "BINANCE_USDM", PriceExponent: -4, SizeExponent: -3},
			[]feed.Tick{
				feed.Trade{Price: 618003000, Size: 6, ID: 5266583935, Side: feed.SideSell}.Tick(0, 1723161256322e6),
				feed.Trade{Price: 618003000, Size: 1000, ID: 5266583936, Side: feed.SideBuy}.Tick(0, 1723161256322123e3),
			},
		},
		"Tardis trades": {
			"tardis", "", "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n" +
				"deribit,BTC-PERPETUAL,1585699200245000,1585699200250918,82282358,sell,6421.5,10\n",
			feed.Definition{Symbol: "BTC-PERPETUAL", Venue: "deribit", PriceExponent: -4},
			[]feed.Tick{feed.Trade{Price: 64215000, Size: 10, ID: 82282358, Side: feed.SideSell}.Tick(0, 1585699200245e6)},
		},
		"Tardis quotes": {
			"tardis", "", "exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount\n" +
				"deribit,BTC-PERPETUAL,1585699200245000,1585699200250918,20,6421.5,6421,\n",
			feed.Definition{Symbol: "BTC-PERPETUAL", Venue: "deribit", PriceExponent: -4},
			[]feed.Tick{feed.Quote{Bid: 64210000, Ask: 64215000, AskSize: 20}.Tick(0, 1585699200245e6)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := textfile.Preset(c.preset)
			require.NoError(t, err)
			cfg.Symbol = c.symbol
			src, err := textfile.Open([]string{"-"}, strings.NewReader(c.text), cfg)
			require.NoError(t, err)
			defer src.Close()
			var got []feed.Tick
			batch := make([]feed.Tick, 8)
			for err == nil {
				var n int
				n, err = src.Next(context.Background(), batch)
				got = append(got, batch[:n]...)
			}
			require.Equal(t, io.EOF, err)
			require.NotEmpty(t, got)
			assert.Equal(t, c.def, *got[0].Definition())
			assert.Equal(t, c.want, got[1:])
		})
	}
	_, err := textfile.Preset("reuters")
	assert.EqualError(t, err, `there is no preset "reuters", only binance, histdata, kraken, polygon, taq, tardis, truefx`)
	cfg, err := textfile.Preset("polygon")
	require.NoError(t, err)
	cfg.Columns["symbol"] = "changed"
	again, err := textfile.Preset("polygon")
	require.NoError(t, err)
	assert.Equal(t, "ticker", again.Columns["symbol"])
}

func letters(s string) feed.Conditions {
	c, err := feed.ParseConditions(s)
	if err != nil {
		panic(err)
	}
	return c
}
