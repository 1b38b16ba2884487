package textfile_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed/files/textfile"
)

// The beginnings of the rows of Databento's schemas, as CSV with decimals and RFC 3339 times.
const (
	databentoHead  = "ts_recv,ts_event,rtype,publisher_id,instrument_id,"
	databentoTimes = "2026-03-02T14:30:00.000000009Z,2026-03-02T14:30:00.00000000%Z,"
)

// A vendorCase is a file with the columns that a vendor publishes; the rows are made up.
type vendorCase struct {
	text   string
	cfg    textfile.Config
	want   []string // ticks
	err    string   // part of the error
	pass   string   // the rows passed over
	preset string   // cfg's Symbol, Date and Columns are added to it
	note   string
}

var vendorCases = map[string]vendorCase{
	"Databento mbp-1": {
		text: databentoHead + "action,side,depth,price,size,flags,ts_in_delta,sequence,bid_px_00,ask_px_00,bid_sz_00,ask_sz_00,bid_ct_00,ask_ct_00,symbol\n" +
			strings.ReplaceAll(databentoTimes, "%", "1") + "1,1,5482,A,A,0,101.500000000,1,128,17214,1,101.250000000,101.500000000,24,11,15,9,ESH6\n" +
			strings.ReplaceAll(databentoTimes, "%", "2") + "1,1,5482,C,A,0,101.500000000,1,128,17214,2,101.250000000,101.500000000,24,10,15,9,ESH6\n" +
			strings.ReplaceAll(databentoTimes, "%", "3") + "1,1,5482,T,B,0,101.500000000,2,128,17214,3,101.250000000,101.500000000,24,10,15,9,ESH6\n" +
			strings.ReplaceAll(databentoTimes, "%", "4") + "1,1,5482,R,N,0,,0,128,17214,3,,,0,0,0,0,ESH6\n",
		want: []string{
			"0 1 definition ESH6@GLBX 10^-4 10^0",
			"1 quote ESH6@GLBX 101.25 x 24 / 101.5 x 11",
			"2 quote ESH6@GLBX 101.25 x 24 / 101.5 x 10",
			"3 quote ESH6@GLBX 101.25 x 24 / 101.5 x 10",
			`3 trade ESH6@GLBX 101.5 x 2 buy id 0 ""`,
			"4 quote ESH6@GLBX - x 0 / - x 0",
		},
	},
	"Databento mbp-1 as whole numbers, without symbols": {
		text: databentoHead + "action,side,depth,price,size,flags,ts_in_delta,sequence,bid_px_00,ask_px_00,bid_sz_00,ask_sz_00,bid_ct_00,ask_ct_00\n" +
			"1772461800000000009,1772461800000000001,1,2,5482,A,A,0,101500000000,1,128,17214,1,101250000000,101500000001,24,11,15,9\n" +
			"1772461800000000009,18446744073709551615,1,2,5482,R,N,0,9223372036854775807,1,128,17214,1,9223372036854775807,101500000000,0,11,15,9\n",
		want: []string{
			"0 1 definition 5482@XNAS 10^-9 10^0",
			"1 quote 5482@XNAS 101.25 x 24 / 101.500000001 x 11",
			"9 quote 5482@XNAS - x 0 / 101.5 x 11",
		},
	},
	"Databento trades and what is no trade": {
		text: databentoHead + "action,side,depth,price,size,flags,ts_in_delta,sequence,symbol\n" +
			strings.ReplaceAll(databentoTimes, "%", "1") + "0,1,5482,T,A,0,101.500000000,1,128,17214,1,ESH6\n" +
			strings.ReplaceAll(databentoTimes, "%", "2") + "0,1,5482,C,A,0,101.500000000,1,128,17214,2,ESH6\n",
		want: []string{"0 1 definition ESH6@GLBX 10^-4 10^0", `1 trade ESH6@GLBX 101.5 x 1 sell id 0 ""`},
		pass: "Databento records of trades whose action is not T",
	},
	"Databento bbo-1s": {
		text: databentoHead + "side,price,size,flags,sequence,bid_px_00,ask_px_00,bid_sz_00,ask_sz_00,bid_ct_00,ask_ct_00,symbol\n" +
			strings.ReplaceAll(databentoTimes, "%", "1") + "195,1,5482,A,101.500000000,1,128,1,101.250000000,101.500000000,24,11,15,9,ESH6\n" +
			"2026-03-02T14:30:00.000000009Z,,195,1,5482,N,,0,128,1,101.250000000,101.500000000,24,12,15,9,ESH6\n",
		want: []string{
			"0 9 definition ESH6@GLBX 10^-4 10^0", // at the end of the interval, as from DBN
			"9 quote ESH6@GLBX 101.25 x 24 / 101.5 x 11", "9 quote ESH6@GLBX 101.25 x 24 / 101.5 x 12",
		},
	},
	"a Databento trade without a price": {
		text: databentoHead + "action,side,depth,price,size,sequence,symbol\n" +
			strings.ReplaceAll(databentoTimes, "%", "1") + "0,1,5482,T,A,0,9223372036854775807,2,1,ESH6\n" +
			strings.ReplaceAll(databentoTimes, "%", "2") + "0,1,5482,T,A,0,101.5,2,1,ESH6\n",
		want: []string{"0 2 definition ESH6@GLBX 10^-4 10^0", `2 trade ESH6@GLBX 101.5 x 2 sell id 0 ""`},
		pass: "Databento trades without a price",
	},
	"a Databento trade without a price, in mbp-1": {
		text: databentoHead + "action,side,depth,price,size,sequence,bid_px_00,ask_px_00,bid_sz_00,ask_sz_00,symbol\n" +
			strings.ReplaceAll(databentoTimes, "%", "1") + "1,1,5482,T,A,0,,2,1,101.25,101.5,3,4,ESH6\n",
		want: []string{"0 1 definition ESH6@GLBX 10^-4 10^0", "1 quote ESH6@GLBX 101.25 x 3 / 101.5 x 4"},
		pass: "Databento trades without a price",
	},
	"a symbol of 70 bytes": {
		text: "time,symbol,price,size\n1772461800,SSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSS,1,2\n",
		want: []string{
			"0 0 definition SSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSS~bfa279f6 10^-4 10^0",
			`0 trade SSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSS~bfa279f6 1 x 2 id 0 ""`,
		},
		note: "stdin: symbol SSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSS is longer than 64 bytes: " +
			"it is shortened to SSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSS~bfa279f6",
	},
	"Databento without rtype": {
		text: "ts_event,publisher_id,instrument_id,action,price,size,bid_px_00,ask_px_00,bid_sz_00,ask_sz_00,symbol\n" +
			"1772461800000000001,1,5482,A,9223372036854775807,3,5000000000000,9223372036854775807,3,0,ESH6\n" +
			"1772461800000000002,1,5482,T,5000250000000,3,5000000000000,5000250000000,3,4,ESH6\n",
		want: []string{
			"0 1 definition ESH6@GLBX 10^-4 10^0", "1 quote ESH6@GLBX 5000 x 3 / - x 0",
			"2 quote ESH6@GLBX 5000 x 3 / 5000.25 x 4", `2 trade ESH6@GLBX 5000.25 x 3 id 0 ""`,
		},
	},
	"Databento mbo": {
		text: databentoHead + "action,side,price,size,channel_id,order_id,flags,ts_in_delta,sequence,symbol\n" +
			strings.ReplaceAll(databentoTimes, "%", "1") + "160,1,5482,T,A,101.500000000,1,0,647784973705,128,17214,1,ESH6\n",
		err: `stdin:2: column "rtype": "160" is Databento's schema mbo, which is not read from CSV or JSON`,
	},
	"Databento ohlcv": {
		text: "ts_event,rtype,publisher_id,instrument_id,open,high,low,close,volume,symbol\n" +
			"2026-03-02T14:30:00.000000000Z,33,1,5482,101.500000000,101.500000000,101.500000000,101.500000000,57,ESH6\n",
		err: `"33" is Databento's schema ohlcv-1m, bars, which are no ticks`,
	},
	"Databento statistics": {
		text: databentoHead + "ts_ref,price,quantity,sequence,ts_in_delta,stat_type,channel_id,update_action,stat_flags,symbol\n" +
			strings.ReplaceAll(databentoTimes, "%", "1") + "24,1,5482,,100.000000000,,2,26961,7,13,1,255,ESH6\n",
		err: `"24" is Databento's schema statistics, which holds no ticks`,
	},
	"Databento status": {
		text: databentoHead + "action,reason,trading_event,is_trading,is_quoting,is_short_sell_restricted,symbol\n" +
			strings.ReplaceAll(databentoTimes, "%", "1") + "18,1,5482,7,1,0,Y,Y,~,ESH6\n",
		err: `"18" is Databento's schema status`,
	},
	"Databento definition": {
		text: databentoHead + "raw_symbol,security_update_action,instrument_class,min_price_increment\n" +
			strings.ReplaceAll(databentoTimes, "%", "1") + "19,1,5482,ESH6,A,F,0.250000000\n",
		err: `"19" is Databento's schema definition`,
	},
	"Databento mbp-1 as JSON": {
		text: `{"ts_recv":"1772461800000000009","hd":{"ts_event":"1772461800000000001","rtype":1,"publisher_id":1,"instrument_id":5482},"action":"A","side":"A","depth":0,"price":"101500000000","size":1,"flags":128,"ts_in_delta":17214,"sequence":1,"levels":[{"bid_px":"101250000000","ask_px":"101500000000","bid_sz":24,"ask_sz":11,"bid_ct":15,"ask_ct":9}],"symbol":"ESH6"}` + "\n" +
			`{"levels":[{"bid_px":"101.250000000","ask_px":null,"bid_sz":24,"ask_sz":0,"bid_ct":15,"ask_ct":9},{"bid_px":"101000000000","ask_px":"102.250000000","bid_sz":7,"ask_sz":8,"bid_ct":1,"ask_ct":1},{"bid_px":"9223372036854775807","ask_px":"9223372036854775807","bid_sz":0,"ask_sz":0}],"hd":{"ts_event":"2026-03-02T14:30:00.000000002Z","rtype":10,"publisher_id":1,"instrument_id":5482},"action":"T","side":"B","price":"101.500000000","size":2,"symbol":"ESH6"}` + "\n" +
			`{"hd":{"ts_event":"1772461800000000003","rtype":23,"publisher_id":0,"instrument_id":0},"msg":"Heartbeat"}` + "\n",
		want: []string{
			"0 1 definition ESH6@GLBX 10^-4 10^0",
			"1 quote ESH6@GLBX 101.25 x 24 / 101.5 x 11",
			"2 level ESH6@GLBX buy 101.25 x 24", "2 level ESH6@GLBX buy 101 x 7", "2 level ESH6@GLBX sell 102.25 x 8",
			"2 quote ESH6@GLBX 101.25 x 24 / 102.25 x 8",
			`2 trade ESH6@GLBX 101.5 x 2 buy id 0 ""`,
		},
		pass: "Databento system messages",
	},
	"Databento mbo as JSON": {
		text: `{"ts_recv":"1","hd":{"ts_event":"1","rtype":160,"publisher_id":1,"instrument_id":5482},"action":"T","side":"A","price":"101500000000","size":1,"order_id":"1"}` + "\n",
		err:  `"160" is Databento's schema mbo`,
	},
	"Tardis incremental_book_L2": {
		text: "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount\n" +
			"deribit,BTC,1772461800000001,9,true,ask,101.5,0.5\n" +
			"deribit,BTC,1772461800000001,9,true,bid,101,0.7\n" +
			"deribit,BTC,1772461800000002,9,false,bid,101,0\n" +
			"deribit,BTC,1772461800000003,9,true,bid,100,1\n",
		want: []string{
			"0 1000 definition BTC@deribit 10^-4 10^-1",
			"1000 level BTC@deribit sell 101.5 x 0.5", "1000 level BTC@deribit buy 101 x 0.7",
			"2000 level BTC@deribit buy 101 x 0",
			"3000 clear BTC@deribit both", "3000 level BTC@deribit buy 100 x 1",
		},
	},
	"Tardis book_snapshot_5": {
		text: "exchange,symbol,timestamp,local_timestamp,asks[0].price,asks[0].amount,bids[0].price,bids[0].amount,asks[1].price,asks[1].amount,bids[1].price,bids[1].amount\n" +
			"deribit,BTC,1772461800000001,9,101.5,1,101,2,102,3,100,4\n" +
			"deribit,BTC,1772461800000002,9,101.5,1,101,2.5,,,100.00001,4\n" +
			"deribit,BTC,1772461800000003,9,102,3,101,2.5,103,1,100.00001,4\n",
		want: []string{
			"0 1000 definition BTC@deribit 10^-4 10^0",
			"1000 level BTC@deribit buy 101 x 2", "1000 level BTC@deribit buy 100 x 4",
			"1000 level BTC@deribit sell 101.5 x 1", "1000 level BTC@deribit sell 102 x 3",
			"1000 quote BTC@deribit 101 x 2 / 101.5 x 1",
			"0 2000 definition BTC@deribit 10^-5 10^-1",
			"2000 level BTC@deribit buy 100 x 0", "2000 level BTC@deribit buy 101 x 2.5", "2000 level BTC@deribit buy 100.00001 x 4",
			"2000 level BTC@deribit sell 102 x 0",
			"2000 quote BTC@deribit 101 x 2.5 / 101.5 x 1",
			"3000 level BTC@deribit sell 101.5 x 0", "3000 level BTC@deribit sell 102 x 3", "3000 level BTC@deribit sell 103 x 1",
			"3000 quote BTC@deribit 101 x 2.5 / 102 x 3",
		},
	},
	"only the quotes of several levels": {
		cfg:  textfile.Config{QuotesOnly: true},
		text: "symbol,time,bid_px_00,bid_sz_00,ask_px_00,ask_sz_00,bid_px_01,bid_sz_01\nA,1772461800,1,2,3,4,0.5,9\n",
		want: []string{"0 0 definition A 10^-4 10^0", "0 quote A 1 x 2 / 3 x 4"},
	},
	"a level that is no number": {
		text: "symbol,time,bid_px_00,bid_sz_00,ask_px_00,ask_sz_00,bid_px_01,bid_sz_01\nA,1772461800,1,2,3,4,x,9\n",
		err:  `stdin:2: column "bid of level 2": "x" is not a decimal number`,
	},
	"a level of a negative size": {
		text: "symbol,time,bid_px_00,bid_sz_00,ask_px_00,ask_sz_00,bid_px_01,bid_sz_01\nA,1772461800,1,2,3,4,0.5,-9\n",
		err:  `stdin:2: column "bid_size of level 2": "-9" is negative`,
	},
	"a level that is there twice": {
		text: "symbol,time,bid_px_00,bid_sz_00,bid_px_01,bids[1].price\n",
		err:  `column "bids[1].price" repeats the bid of level 2`,
	},
	"Databento mbp-10": {
		text: databentoHead + "action,side,depth,price,size,flags,ts_in_delta,sequence,bid_px_00,ask_px_00,bid_sz_00,ask_sz_00,bid_ct_00,ask_ct_00,bid_px_01,ask_px_01,bid_sz_01,ask_sz_01,bid_ct_01,ask_ct_01,symbol\n" +
			strings.ReplaceAll(databentoTimes, "%", "1") + "10,1,2,A,B,0,101000000000,5,0,0,1,101000000000,102000000000,5,6,1,1,100000000000,9223372036854775807,7,0,1,0,A\n" +
			strings.ReplaceAll(databentoTimes, "%", "2") + "10,1,2,T,A,0,101000000000,2,0,0,1,101000000000,102000000000,5,6,1,1,100000000000,103000000000,7,9,1,1,A\n",
		want: []string{
			"0 1 definition A@GLBX 10^-4 10^0",
			"1 level A@GLBX buy 101 x 5", "1 level A@GLBX buy 100 x 7", "1 level A@GLBX sell 102 x 6",
			"1 quote A@GLBX 101 x 5 / 102 x 6",
			"2 level A@GLBX sell 103 x 9",
			`2 trade A@GLBX 101 x 2 sell id 0 ""`,
		},
	},
	"Tardis derivative_ticker": {
		text: "exchange,symbol,timestamp,local_timestamp,funding_timestamp,funding_rate,predicted_funding_rate,open_interest,last_price,index_price,mark_price\n",
		err:  "the file holds Tardis's derivative_ticker, whose last_price repeats and is no trade",
	},
	"Tardis options_chain": {
		text: "exchange,symbol,timestamp,local_timestamp,type,strike_price,expiration,open_interest,last_price,bid_price,bid_amount,bid_iv,ask_price,ask_amount,ask_iv,mark_price,mark_iv\n",
		err:  "Tardis's options_chain",
	},
	"Binance aggTrades": {
		text: "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n" +
			"100,101.5,0.5,1,4,1772461800001,false\n101,101.5,1,5,6,1772461800002,true\n",
		cfg: textfile.Config{Symbol: "BTCUSDT"},
		want: []string{
			"0 1000000 definition BTCUSDT 10^-4 10^-1",
			`1000000 trade BTCUSDT 101.5 x 0.5 buy id 100 ""`, `2000000 trade BTCUSDT 101.5 x 1 sell id 101 ""`,
		},
	},
	"Binance bookTicker": {
		text: "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time\n" +
			"7,101,1,101.5,2,1772461800001,1772461800009\n",
		cfg:  textfile.Config{Symbol: "BTCUSDT"},
		want: []string{"0 1000000 definition BTCUSDT 10^-4 10^0", "1000000 quote BTCUSDT 101 x 1 / 101.5 x 2"},
	},
	"Binance klines": {
		text: "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n",
		err:  "the file holds bars (open, high, low, close), which are no ticks",
	},
	"Binance bookDepth": {text: "timestamp,percentage,depth,notional\n", err: "Binance's bookDepth"},
	"Binance liquidationSnapshot": {
		text: "time,symbol,side,order_type,time_in_force,original_quantity,price,average_price,order_status,last_fill_quantity,accumulated_fill_quantity\n",
		err:  "Binance's liquidationSnapshot",
	},
	"Bybit derivatives": {
		text: "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional\n" +
			"1772461800.0002,BTCUSD,Sell,7,101.5,ZeroMinusTick,3c3af38e-7df0,1,1,7\n",
		want: []string{"0 200000 definition BTCUSD 10^-4 10^0", `200000 trade BTCUSD 101.5 x 7 sell id 03c3af38e-7df0 ""`},
	},
	"Bybit spot": {
		text: "id,timestamp,price,volume,side\n1,1772461800001,101.5,0.5,buy\n",
		cfg:  textfile.Config{Symbol: "BTCUSDT"},
		want: []string{"0 1000000 definition BTCUSDT 10^-4 10^-1", `1000000 trade BTCUSDT 101.5 x 0.5 buy id 1 ""`},
	},
	"OKX trades": {
		text: "instrument_name,trade_id,side,price,size,created_time\nBTC-USDT-SWAP,9,sell,101.5,0.5,1772461800001\n",
		want: []string{"0 1000000 definition BTC-USDT-SWAP 10^-4 10^-1", `1000000 trade BTC-USDT-SWAP 101.5 x 0.5 sell id 9 ""`},
	},
	"OKX trades of old, with names in GBK beside": {
		text: "trade_id/\xbd\xbb\xd2\xd7ID,side/\xbd\xbb\xd2\xd7,size/\xca\xfd\xc1\xbf,price/\xbc\xdb\xb8\xf1,created_time/\xb3\xc9\xbd\xbb\n9,BUY,0.5,101.5,1772461800001\n",
		cfg:  textfile.Config{Symbol: "BTC-USDT"},
		want: []string{"0 1000000 definition BTC-USDT 10^-4 10^-1", `1000000 trade BTC-USDT 101.5 x 0.5 buy id 9 ""`},
	},
	"WRDS TAQ trades": {
		preset: "taq",
		text: "DATE,TIME_M,EX,SYM_ROOT,SYM_SUFFIX,TR_SCOND,SIZE,PRICE,TR_STOP_IND,TR_CORR,TR_SEQNUM,TR_ID,TR_SOURCE,TR_RF,PART_TIME\n" +
			"2026-03-02,9:30:00.000000001,N,BRK,A,@F I,5,101.5,,00,1234,77,C,,9:29:59.9\n" +
			"20260302,9:30:00.000000002,N,BRK,B,,5,101.5,,00,1235,78,C,,9:29:59.9\n" +
			"20260302,9:30:00.000000003,N,BRK,,,5,101.5,,00,1235,79,C,,9:29:59.9\n" +
			"20260302,9:30:00.000000004,N,BRK,A,,6,101.5,,00,1235,80,C,,9:29:59.9\n",
		want: []string{
			"0 1 definition BRK A@N 10^-4 10^0", `1 trade BRK A@N 101.5 x 5 id 77 "@F I"`,
			"1 2 definition BRK B@N 10^-4 10^0", `2 trade BRK B@N 101.5 x 5 id 78 ""`,
			"2 3 definition BRK@N 10^-4 10^0", `3 trade BRK@N 101.5 x 5 id 79 ""`,
			`4 trade BRK A@N 101.5 x 6 id 80 ""`,
		},
	},
	"WRDS TAQ trades with the symbol's column named": {
		preset: "taq", cfg: textfile.Config{Columns: map[string]string{"symbol": "SYM_ROOT"}},
		text: "DATE,TIME_M,EX,SYM_ROOT,SYM_SUFFIX,SIZE,PRICE\n2026-03-02,9:30:00.000000001,N,BRK,B,5,101.5\n",
		want: []string{"0 1 definition BRK B@N 10^-4 10^0", `1 trade BRK B@N 101.5 x 5 id 0 ""`},
	},
	"WRDS TAQ quotes": {
		preset: "taq",
		text: "DATE,TIME_M,EX,SYM_ROOT,SYM_SUFFIX,BID,BIDSIZ,ASK,ASKSIZ,QU_COND,QU_SEQNUM,NATBBO_IND,QU_CANCEL,QU_SOURCE\n" +
			"2026-03-02,09:30:00.000000001,N,BRK,B,101,1,102,2,R,1,0,,C\n" +
			"2026-03-02,09:30:00.000000002,N,BRK,B,101,1,103,2,R,1,0,B,C\n",
		want: []string{"0 1 definition BRK B@N 10^-4 10^0", "1 quote BRK B@N 101 x 1 / 102 x 2"},
	},
	"NYSE Daily TAQ trades": {
		preset: "taq", cfg: textfile.Config{Date: 20260302},
		text: "Time|Exchange|Symbol|Sale Condition|Trade Volume|Trade Price|Trade Stop Stock Indicator|Trade Correction Indicator|Sequence Number|Trade Id|Source of Trade|Trade Reporting Facility|Participant Timestamp|Trade Reporting Facility TRF Timestamp|Trade Through Exempt Indicator\n" +
			"093000000000001|N|BRK B|@F I|5|101.5|N|00|1|77|C||092959000000000||0\n" +
			"093000000000002|N|BRK B|@|6|101.5|N|08|2|78|C||092959000000000||0\n" +
			"END|20260302|2||||||||||||\n",
		want: []string{"0 1 definition BRK B@N 10^-4 10^0", `1 trade BRK B@N 101.5 x 5 id 77 "@F I"`},
	},
	"NYSE Daily TAQ quotes": {
		preset: "taq", cfg: textfile.Config{Date: 20260302},
		text: "Time|Exchange|Symbol|Bid_Price|Bid_Size|Offer_Price|Offer_Size|Quote_Condition|Sequence_Number|National_BBO_Ind|FINRA_BBO_Indicator|FINRA_ADF_MPID_Indicator|Quote_Cancel_Correction|Source_Of_Quote|Participant_Timestamp\n" +
			"093000000000001|N|A|101.5|2|101.6|3|R|1|2|||A|C|092959000000000\n" +
			"END|20260302|1\n",
		want: []string{"0 1 definition A@N 10^-4 10^0", "1 quote A@N 101.5 x 2 / 101.6 x 3"},
	},
	"a number beside a date": {
		text: "date,time,symbol,price,size\n20260302,34200.5,A,1,1\n",
		cfg:  textfile.Config{Zone: "UTC"},
		err:  `stdin:2: column "time": "34200.5" is a number beside a date, and its unit is not known; state it with --epoch-unit`,
	},
	"a number beside a date, of a stated unit": {
		text: "date,time,symbol,price,size\n20260302,34200.5,A,1,1\n20260302,1772461800,A,1,1\n20260302,1772761800,A,1,1\n",
		cfg:  textfile.Config{Zone: "America/New_York", EpochUnit: "s"},
		want: []string{"0 500000000 definition A 10^-4 10^0", `500000000 trade A 1 x 1 id 0 ""`, `0 trade A 1 x 1 id 0 ""`},
		err:  `stdin:4: column "time": "1772761800" is a time on another day than the date beside it`,
	},
	"a time since the epoch beside its date": {
		text: "date,time,symbol,price,size\n2026-03-02,1772461800001,A,1,1\n2026-03-02 14:30,1772461800002,A,1,1\n",
		want: []string{"0 1000000 definition A 10^-4 10^0", `1000000 trade A 1 x 1 id 0 ""`, `2000000 trade A 1 x 1 id 0 ""`},
	},
	"seconds after midnight with the trace of a float": {
		text: "date,time,symbol,price,size\n20260302,52200.017459617001,A,1,1\n",
		cfg:  textfile.Config{Zone: "UTC", EpochUnit: "s"},
		want: []string{"0 17459617 definition A 10^-4 10^0", `17459617 trade A 1 x 1 id 0 ""`},
	},
	"digits of a clock beside a date": {
		text: "date,time,symbol,price,size\n20260302,93000,A,1,1\n20260302,093000.5,A,1,1\n20260302,93000500000,A,1,1\n20260302,34200500000000,A,1,1\n",
		cfg:  textfile.Config{Zone: "America/New_York", EpochUnit: "hhmmss"},
		want: []string{
			"0 0 definition A 10^-4 10^0", `0 trade A 1 x 1 id 0 ""`, `500000000 trade A 1 x 1 id 0 ""`, `500000000 trade A 1 x 1 id 0 ""`,
			`-20879500000000 trade A 1 x 1 id 0 ""`,
		},
	},
	"Binance spot trades without a header": {
		preset: "binance", cfg: textfile.Config{Symbol: "BTCUSDT"},
		text: "4352937000,93576.00000000,0.00018000,16.84368000,1772461800000085,True,True\n4352937001,93576.01000000,0.00011000,10.29336110,1772461800000090,False,True\n",
		want: []string{
			"0 85000 definition BTCUSDT@BINANCE 10^-4 10^-5",
			`85000 trade BTCUSDT@BINANCE 93576 x 0.00018 sell id 4352937000 ""`, `90000 trade BTCUSDT@BINANCE 93576.01 x 0.00011 buy id 4352937001 ""`,
		},
	},
	"Binance futures trades without a header": {
		preset: "binance-trades", cfg: textfile.Config{Symbol: "BTCUSDT"},
		text: "9,101.5,2,203,1772461800001,true\n",
		want: []string{"0 1000000 definition BTCUSDT@BINANCE_USDM 10^-4 10^0", `1000000 trade BTCUSDT@BINANCE_USDM 101.5 x 2 sell id 9 ""`},
	},
	"Binance aggTrades with the preset": {
		preset: "binance-trades", cfg: textfile.Config{Symbol: "BTCUSDT"},
		text: "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n9,101.5,2,203,204,1772461800001,false\n",
		want: []string{"0 1000000 definition BTCUSDT@BINANCE_USDM 10^-4 10^0", `1000000 trade BTCUSDT@BINANCE_USDM 101.5 x 2 buy id 9 ""`},
	},
	"Binance spot aggTrades without a header": {
		preset: "binance", cfg: textfile.Config{Symbol: "BTCUSDT"},
		text: "9,101.5,2,203,204,1772461800001,False,True\n",
		want: []string{"0 1000000 definition BTCUSDT@BINANCE 10^-4 10^0", `1000000 trade BTCUSDT@BINANCE 101.5 x 2 buy id 9 ""`},
	},
	"Binance futures aggTrades without a header": {
		preset: "binance", cfg: textfile.Config{Symbol: "BTCUSDT"},
		text: "9,101.5,2,203,204,1772461800001,true\n",
		want: []string{"0 1000000 definition BTCUSDT@BINANCE_USDM 10^-4 10^0", `1000000 trade BTCUSDT@BINANCE_USDM 101.5 x 2 sell id 9 ""`},
	},
	"Binance bookTicker without a header": {
		preset: "binance", cfg: textfile.Config{Symbol: "BTCUSDT"},
		text: "9,101,1,101.5,2,1772461800001,1772461800009\n",
		want: []string{"0 1000000 definition BTCUSDT@BINANCE_USDM 10^-4 10^0", "1000000 quote BTCUSDT@BINANCE_USDM 101 x 1 / 101.5 x 2"},
	},
	"Binance COIN-M trades": {
		preset: "binance", cfg: textfile.Config{Symbol: "BTCUSD_PERP"},
		text: "id,price,qty,base_qty,time,is_buyer_maker\n9,101.5,2,0.02,1772461800001,true\n",
		want: []string{"0 1000000 definition BTCUSD_PERP@BINANCE_COINM 10^-4 10^0", `1000000 trade BTCUSD_PERP@BINANCE_COINM 101.5 x 2 sell id 9 ""`},
	},
	"Binance COIN-M aggTrades without a header": {
		preset: "binance", cfg: textfile.Config{Symbol: "BTCUSD_260327"},
		text: "9,101.5,2,203,204,1772461800001,false\n",
		want: []string{"0 1000000 definition BTCUSD_260327@BINANCE_COINM 10^-4 10^0", `1000000 trade BTCUSD_260327@BINANCE_COINM 101.5 x 2 buy id 9 ""`},
	},
	"Binance futures with a date": {
		preset: "binance", cfg: textfile.Config{Symbol: "BTCUSDT_260327"},
		text: "9,101.5,2,203,204,1772461800001,false\n",
		want: []string{"0 1000000 definition BTCUSDT_260327@BINANCE_USDM 10^-4 10^0", `1000000 trade BTCUSDT_260327@BINANCE_USDM 101.5 x 2 buy id 9 ""`},
	},
	"Binance at a stated venue": {
		preset: "binance", cfg: textfile.Config{Symbol: "BTCUSDT", Venue: "MINE"},
		text: "9,101.5,2,203,1772461800001,true\n",
		want: []string{"0 1000000 definition BTCUSDT@MINE 10^-4 10^0", `1000000 trade BTCUSDT@MINE 101.5 x 2 sell id 9 ""`},
	},
	"Polygon options": {
		preset: "polygon",
		text:   "ticker,conditions,correction,exchange,price,sip_timestamp,size\nO:A240119C00140000,209,0,312,1.5,1772461800000000001,7\n",
		want:   []string{"0 1 definition O:A240119C00140000 10^-4 10^0", `1 trade O:A240119C00140000 1.5 x 7 id 0 ""`},
	},
	"NYSE national best bid and offer": {
		preset: "taq", cfg: textfile.Config{Date: 20260302},
		text: "Time|Exchange|Symbol|Bid_Price|Bid_Size|Offer_Price|Offer_Size|Best_Bid_Price|Best_Bid_Size|Best_Offer_Price|Best_Offer_Size\n" +
			"093000000000001|N|A|1|2|3|4|1.5|5|2.5|6\n",
		want: []string{"0 1 definition A@N 10^-4 10^0", "1 quote A@N 1 x 2 / 3 x 4"},
		note: "stdin: each row is the quote of its exchange (Bid_Price); the national best bid and offer is not read unless --column bid=…, bid_size=…, ask=…, ask_size=… and venue= say so",
	},
	"a preset of other files": {
		preset: "histdata", text: "20120201 000000,1.3066,0\n", cfg: textfile.Config{Symbol: "A"},
		err: `the file has no header, and does not match the preset: its first line is data, "20120201 000000", "1.3066", "0"; name the columns by their places with --header`,
	},
	"a ticker": {
		text: "time,symbol,bid,ask,last,volume\n1772461800,A,1,2,1.5,1000\n",
		want: []string{"0 0 definition A 10^-4 10^0", "0 quote A 1 x 0 / 2 x 0"},
		pass: "last prices of a ticker, beside a bid and an ask,",
	},
	"a ticker as JSON": {
		text: `{"timestamp":1772461800000,"symbol":"A","bid":1,"ask":2,"last":1.5,"baseVolume":1000,"info":{}}` + "\n",
		want: []string{"0 0 definition A 10^-4 10^0", "0 quote A 1 x 0 / 2 x 0"},
		pass: "last prices of a ticker, beside a bid and an ask,",
	},
	"the last trade beside a quote": {
		text: "time,symbol,bid,ask,last,last_size\n1772461800,A,1,2,1.5,10\n",
		want: []string{"0 0 definition A 10^-4 10^0", "0 quote A 1 x 0 / 2 x 0", `0 trade A 1.5 x 10 id 0 ""`},
	},
	"a last price that is stated": {
		cfg:  textfile.Config{Columns: map[string]string{"price": "last"}},
		text: "time,symbol,bid,ask,last,volume\n1772461800,A,1,2,1.5,10\n",
		want: []string{"0 0 definition A 10^-4 10^0", "0 quote A 1 x 0 / 2 x 0", `0 trade A 1.5 x 10 id 0 ""`},
	},
	"blanks around quotes": {
		text: "time, \"symbol\" , \"price\", size\n1772461800, \"A, B\" , \"1.5\", 7\n",
		want: []string{"0 0 definition A, B 10^-4 10^0", `0 trade A, B 1.5 x 7 id 0 ""`},
	},
	"a byte order mark where files were joined": {
		text: "\ufefftime,symbol,price,size\n1772461800,A,1,7\n\ufefftime,symbol,price,size\n1772461801,A,2,7\n",
		want: []string{"0 0 definition A 10^-4 10^0", `0 trade A 1 x 7 id 0 ""`, `1000000000 trade A 2 x 7 id 0 ""`},
	},
	"the separator that Excel states": {
		text: "sep=;\ntime;symbol;price;size\n1772461800;A;1.5;7\n",
		want: []string{"0 0 definition A 10^-4 10^0", `0 trade A 1.5 x 7 id 0 ""`},
	},
	"decimal commas": {
		text: "time;symbol;price;size\n1772461800;A;1,5;7\n",
		err:  `stdin:2: column "price": "1,5" is not a decimal number: decimals are read with a point, thousands without a separator`,
	},
	"a book that is empty on both sides": {
		text: "time,symbol,bid,bid_size,ask,ask_size\n1772461800,A,,,,\n1772461801,A,\\N,NaN,null,\n",
		want: []string{"0 0 definition A 10^-4 10^0", "0 quote A - x 0 / - x 0", "1000000000 quote A - x 0 / - x 0"},
	},
	"objects over several lines": {
		text: "{\n\"time\":1772461800,\n", err: "stdin:1: the file is JSON whose objects go over several lines; write each on one line (jq -c .)",
	},
	"Binance klines without a header": {
		preset: "binance", cfg: textfile.Config{Symbol: "BTCUSDT"},
		text: "1772461800000,1,2,3,4,5,1772461859999,6,7,8,9,0\n", err: "the file holds bars",
	},
	"Binance trades without a header or a preset": {
		text: "9,101.5,2,203,1772461800001,true\n", err: "stdin:1: the file has no header: its first line is data",
	},
	"Kraken": {
		preset: "kraken", cfg: textfile.Config{Symbol: "XBTUSD"},
		text: "1772461800,101.5,0.1\n1772461801,101.5,0.2\n",
		want: []string{"0 0 definition XBTUSD@KRAKEN 10^-4 10^-1", `0 trade XBTUSD@KRAKEN 101.5 x 0.1 id 0 ""`, `1000000000 trade XBTUSD@KRAKEN 101.5 x 0.2 id 0 ""`},
	},
	"HistData": {
		preset: "histdata", cfg: textfile.Config{Symbol: "EURUSD"},
		text: "20260302 093000001,1.306600,1.306770,0\n",
		want: []string{"0 1000000 definition EURUSD@HISTDATA 10^-5 10^0", "1000000 quote EURUSD@HISTDATA 1.3066 x 0 / 1.30677 x 0"},
	},
	"TrueFX": {
		preset: "truefx", text: "EUR/USD,20260302 14:30:00.001,1.3235,1.32361\n",
		want: []string{"0 1000000 definition EUR/USD@TRUEFX 10^-5 10^0", "1000000 quote EUR/USD@TRUEFX 1.3235 x 0 / 1.32361 x 0"},
	},
	"columns by place": {
		cfg:  textfile.Config{Symbol: "A", Header: []string{"time", "", "bid", "bid_size", "ask", "ask_size"}},
		text: "1772461800;x;1;2;3;4\n1772461801;y;1;2;3;5\n",
		want: []string{"0 0 definition A 10^-4 10^0", "0 quote A 1 x 2 / 3 x 4", "1000000000 quote A 1 x 2 / 3 x 5"},
	},
	"too few columns by place": {
		cfg: textfile.Config{Symbol: "A", Header: []string{"time", "price"}}, text: "1772461800,1,2\n",
		err: "stdin:1: the line has 3 columns, the header 2",
	},
	"a size that is not known": {
		text: "time,symbol,price,Executed Shares\n1772461800,A,1,5\n",
		err:  `stdin:1: column "Executed Shares" seems to hold the size, for which there is no column with a known name; state it with --column size=NAME, or --column size= if there is none`,
	},
	"a bid size that is not known": {
		text: "time,symbol,bid,ask,bid_lots,ask_lots\n1772461800,A,1,5,1,1\n",
		err:  `column "bid_lots" seems to hold the bid_size`,
	},
	"Bybit order book": {
		text: `{"topic":"orderbook.500.BTCUSDT","type":"snapshot","ts":1772461800000,"data":{"s":"BTCUSDT","b":[["1","2"]],"a":[["3","4"]]}}` + "\n",
		err:  `the line has neither a price nor a bid or an ask; "data" holds an object or a list, which is not read`,
	},
	"OKX order book": {
		text: `{"instId":"BTC-USDT","action":"snapshot","ts":"1772461800000","asks":[["1","2","3"]],"bids":[["1","2","3"]]}` + "\n",
		err:  `"asks" holds an object or a list, which is not read`,
	},
	"OKX funding rates": {
		text: "instrument_name,contract_type,funding_rate,real_funding_rate,funding_time\n", err: "the file holds funding rates, which are no ticks",
	},
	"Coinbase messages": {
		text: `{"type":"match","trade_id":7,"maker_order_id":"a","taker_order_id":"b","side":"sell","size":"2","price":"101.5","product_id":"BTC-USD","sequence":1,"time":"2026-03-02T14:30:00Z"}` + "\n" +
			`{"type":"ticker","product_id":"BTC-USD","price":"101.5","best_bid":"101","best_ask":"102","side":"buy","time":"2026-03-02T14:30:00Z","last_size":"2"}` + "\n",
		want: []string{"0 0 definition BTC-USD 10^-4 10^0", `0 trade BTC-USD 101.5 x 2 buy id 7 ""`, "0 quote BTC-USD 101 x 0 / 102 x 0"},
	},
	"Kaiko trades": {
		text: "id,exchange,symbol,date,price,amount,taker_side_sell\n9,cbse,btcusd,1772461800000,101.5,2,true\n",
		want: []string{"0 0 definition btcusd@cbse 10^-4 10^0", `0 trade btcusd@cbse 101.5 x 2 sell id 9 ""`},
	},
	"Databento cmbp-1 and tcbbo": {
		text: databentoHead + "action,side,price,size,flags,ts_in_delta,bid_px_00,ask_px_00,bid_sz_00,ask_sz_00,bid_pb_00,ask_pb_00,symbol\n" +
			strings.ReplaceAll(databentoTimes, "%", "1") + "177,2,1,A,B,1.010000000,1,128,1,1.010000000,1.020000000,24,11,2,5,A\n" +
			strings.ReplaceAll(databentoTimes, "%", "2") + "194,2,1,T,B,1.020000000,3,128,1,1.010000000,1.020000000,24,11,2,5,A\n" +
			strings.ReplaceAll(databentoTimes, "%", "3") + "192,2,1,T,B,1.020000000,3,128,1,1.010000000,1.020000000,25,11,2,5,A\n",
		want: []string{
			"0 1 definition A@XNAS 10^-4 10^0", "1 quote A@XNAS 1.01 x 24 / 1.02 x 11",
			"2 quote A@XNAS 1.01 x 24 / 1.02 x 11", `2 trade A@XNAS 1.02 x 3 buy id 0 ""`,
			"9 quote A@XNAS 1.01 x 25 / 1.02 x 11",
		},
	},
	"Databento imbalance": {
		text: databentoHead + "ref_price,auction_time,cont_book_clr_price,paired_qty,total_imbalance_qty,auction_type,side,symbol\n" +
			strings.ReplaceAll(databentoTimes, "%", "1") + "20,2,1,1.000000000,0,1.000000000,1,1,O,B,A\n",
		err: `"20" is Databento's schema imbalance, which is not read from CSV or JSON; import its DBN encoding instead`,
	},
	"a type that is no kind": {
		text: "time,type,symbol,price,size\n1772461800,TRADE,A,1,5\n1772461800,BEST_BID,A,1,5\n",
		want: []string{"0 0 definition A 10^-4 10^0", `0 trade A 1 x 5 id 0 ""`},
		err:  `stdin:3: column "type": "BEST_BID" is not a known kind of row`,
	},
	"an action that is no trade": {
		text: "time,action,symbol,price,size\n1772461800,add,A,1,5\n",
		err:  `stdin:2: column "action": "add" does not mean that the row is a trade`,
	},
	"an update type that is no trade": {
		text: "time,update_type,symbol,price,size\n1772461800,update,A,1,5\n",
		err:  `stdin:2: column "update_type": "update" does not mean that the row is a trade`,
	},
	"sides of a book": {
		text: "time,symbol,side,price,size\n1772461800,A,bid,1,5\n",
		err:  `stdin:2: column "side": "bid" is a side of a book, so that the row may be a trade or a level`,
	},
	"sides of a book, stated to be levels": {
		text: "time,symbol,side,price,size\n1772461800,A,bid,1,5\n",
		cfg:  textfile.Config{Rows: "level"},
		want: []string{"0 0 definition A 10^-4 10^0", "0 level A buy 1 x 5"},
	},
	"trades, stated to be quotes": {
		text: "time,symbol,price,size\n1772461800,A,1,5\n",
		cfg:  textfile.Config{Rows: "quote"},
		err:  `stdin:2: column "bid" is missing, though --rows states that each row is a quote`,
	},
	"anything, stated to be trades": {
		text: "time,action,type,symbol,side,price,size\n1772461800,x,y,A,ask,1,5\n",
		cfg:  textfile.Config{Rows: "trade"},
		want: []string{"0 0 definition A 10^-4 10^0", `0 trade A 1 x 5 sell id 0 ""`},
	},
}

// The column that states the kind of a row decides: a row is a trade only if the column states it, or if no column
// states another kind.
func TestVendorFiles(t *testing.T) {
	for name, c := range vendorCases {
		t.Run(name, func(t *testing.T) {
			if c.preset != "" {
				given := c.cfg
				var err error
				c.cfg, err = textfile.Preset(c.preset)
				require.NoError(t, err)
				c.cfg.Symbol, c.cfg.Date = given.Symbol, given.Date
				if given.Venue != "" {
					c.cfg.Venue = given.Venue
				}
				if given.Columns != nil {
					c.cfg.Columns = given.Columns
				}
			}
			got, stats, err := read(t, c.text, c.cfg)
			if c.err == "" {
				require.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, c.err)
			}
			assert.Equal(t, c.want, got)
			if c.note != "" {
				assert.Equal(t, []string{c.note}, stats.Notes)
			}
			if c.pass == "" {
				assert.Empty(t, stats.Unread)
			} else {
				assert.Equal(t, []textfile.Unread{{What: c.pass, Rows: 1}}, stats.Unread)
			}
		})
	}
}
