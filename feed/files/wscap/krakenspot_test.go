package wscap_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files/wscap"
)

// Kraken spot, version 1: arrays of trades and quotes.
func TestKrakenSpotArrays(t *testing.T) {
	ticks, st, state, err := ticksOf(t, wscap.Config{},
		"wss://ws.kraken.com <-> 1534614057.0",
		`1534614057.1: {"event":"systemStatus","status":"online","version":"1.9.0"}`,
		`1534614057.2: [0,[["5541.20000","0.15850568","1534614057.321597","s","l",""],["6060.00000","0.02455000","1534614057.324998","b","l",""]],"trade","XBT/USD"]`,
		`1534614057.3: [0,["5698.40000","5700.00000","1542057299.545897","1.01234567","0.98765432"],"spread","XBT/USD"]`,
		`1534614057.4: [0,{"a":["5525.40000",1,"1.000"],"b":["5525.10000",1,"2.000"],"c":["5525.10000","0.00398963"]},"ticker","XBT/USD"]`,
		`1534614057.5: [42,["1542057314.748456","1542057360.435743","3586.70000","3586.70000","3586.60000","3586.60000","3586.68894","0.03373000",2],"ohlc-5","XBT/USD"]`)
	require.NoError(t, err)
	d, _ := state.Definition(0)
	assert.Equal(t, "XBT/USD@KRAKEN", d.Name())
	assert.Equal(t, "USD", d.Currency)
	trades, quotes := kindOf(ticks, feed.KindTrade), kindOf(ticks, feed.KindQuote)
	require.Len(t, trades, 2)
	assert.EqualValues(t, 1534614057321597000, trades[0].EventTime)
	assert.Equal(t, feed.SideSell, trades[0].Side)
	assert.Equal(t, feed.SideBuy, trades[1].Side)
	require.Len(t, quotes, 2)
	assert.EqualValues(t, 1542057299545897000, quotes[0].EventTime)
	assert.EqualValues(t, 1534614057400000000, quotes[1].EventTime, "a ticker states no time")
	assert.EqualValues(t, 2, st.Other)
}

// Trades and quotes of version 1 have no number: those that a second collector repeats are recognised by their
// content.
func TestKrakenSpotOfTwoCollectors(t *testing.T) {
	trade := func(stamp string) string {
		return `1534614057.2: [0,[["5541.2","0.1","` + stamp + `","s","l",""],["5541.2","0.1","` + stamp + `","s","l",""]],"trade","XBT/USD"]`
	}
	const spread = `1534614057.3: [0,["5698.4","5700.0","1542057299.545897","1.01","0.98"],"spread","XBT/USD"]`
	ticks, st, _, err := ticksOf(t, wscap.Config{}, trade("1534614057.321597"), spread, trade("1534614057.321597"), spread, trade("1534614057.321598"))
	require.NoError(t, err)
	assert.Len(t, kindOf(ticks, feed.KindTrade), 4, "two of a message are two trades")
	assert.Len(t, kindOf(ticks, feed.KindQuote), 1)
	assert.EqualValues(t, 2, st.Repeated)
}

// Kraken spot, version 2: objects; the snapshot of trades is from before the subscription.
func TestKrakenSpotObjects(t *testing.T) {
	trade := func(kind, id string) string {
		return `1700000000.5: {"channel":"trade","type":"` + kind + `","data":[{"symbol":"MATIC/USD","side":"sell","price":0.5117,"qty":40.0,"ord_type":"market","trade_id":` + id + `,"timestamp":"2023-09-25T07:49:37.708706Z"}]}`
	}
	ticks, st, _, err := ticksOf(t, wscap.Config{}, trade("snapshot", "6"), trade("update", "7"), trade("update", "7"),
		`1700000000.5: {"channel":"ticker","type":"update","data":[{"symbol":"MATIC/USD","bid":0.5,"bid_qty":1.5,"ask":0.6,"ask_qty":2}]}`,
		`1700000000.5: {"channel":"heartbeat"}`)
	require.NoError(t, err)
	trades := kindOf(ticks, feed.KindTrade)
	require.Len(t, trades, 1)
	assert.EqualValues(t, 7, trades[0].Trade().ID)
	assert.Len(t, kindOf(ticks, feed.KindQuote), 1)
	assert.EqualValues(t, 2, st.Repeated)
}

func kindOf(ticks []feed.Tick, kind feed.Kind) (some []feed.Tick) {
	for _, tick := range ticks {
		if tick.Kind == kind {
			some = append(some, tick)
		}
	}
	return some
}

// Captures of exchanges that cannot be read are recognised, and refused by their names.
func TestStrangersAreRefusedByName(t *testing.T) {
	for name, message := range map[string]string{
		"OKX":                     `{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"px":"1"}]}`,
		"Bybit":                   `{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1,"data":[]}`,
		"Deribit":                 `{"jsonrpc":"2.0","method":"subscription","params":{}}`,
		"Bitstamp":                `{"data":{"id":1},"channel":"live_trades_btcusd","event":"trade"}`,
		"BitMEX":                  `{"table":"trade","action":"insert","data":[]}`,
		"Gate":                    `{"time":1,"channel":"spot.trades","event":"update","result":{}}`,
		"HTX (Huobi)":             `{"ch":"market.btcusdt.trade.detail","ts":1,"tick":{}}`,
		"KuCoin":                  `{"type":"message","topic":"/market/match:BTC-USDT","subject":"trade.l3match","data":{}}`,
		"Coinbase Advanced Trade": `{"channel":"ticker","timestamp":"2023-02-09T20:30:37Z","events":[]}`,
	} {
		line := "1700000000.5: " + message
		assert.True(t, wscap.Recognise([]byte(line)), name)
		_, _, _, err := ticksOf(t, wscap.Config{}, line)
		assert.ErrorContains(t, err, "a message of "+name+", which is not a known exchange")
		assert.ErrorContains(t, err, `write its trades and quotes as NDJSON, as "tickfeed help scenarios" shows`)
	}
	advanced := `{"channel":"subscriptions","client_id":"","timestamp":"2023-02-09T20:19:35.39625135Z","sequence_num":0,"events":[{"subscriptions":{}}]}`
	assert.True(t, wscap.Recognise([]byte(advanced)), "without a time of arrival")
	assert.True(t, wscap.Recognise([]byte(advanced[:len(advanced)-5])), "cut by the end of the head")
	_, _, _, err := ticksOf(t, wscap.Config{}, advanced)
	assert.ErrorContains(t, err, "a message of Coinbase Advanced Trade, which is not a known exchange")
	assert.True(t, wscap.Recognise([]byte("wss://ws.example.com/ <-> 1.0\n")))
	assert.True(t, wscap.Recognise([]byte(`1700000000.5: [0,[],"trade","XBT/USD"]`)))
	for _, message := range []string{
		`{"e":"trade","E":1,"s":"XY","t":1,"p":"1","q":"2","T":1,"m":true}`, `{"stream":"xy@trade","data":{}}`,
		`{"u":5,"s":"XY","b":"1","B":"2","a":"3","A":"4"}`, `{"feed":"trade","product_id":"PI_X"}`,
		`{"channel":"book","type":"snapshot","data":[`,
		"\ufeff \n1700000000.5: {}",
	} {
		assert.True(t, wscap.Recognise([]byte(message)), message)
	}
	assert.False(t, wscap.Recognise([]byte(`{"type":"match","trade_id":7,"price":"101.5","product_id":"BTC-USD"}`)), "rows of NDJSON")
	assert.False(t, wscap.Recognise([]byte(`{"feed":"mine","product_id":"A","price":1}`)), "rows of NDJSON")
	assert.False(t, wscap.Recognise([]byte("time,price\n1,2\n")))
	assert.False(t, wscap.Recognise([]byte(`{"symbol":"A"}`)))
}

// A time of arrival may be an ISO time, as Tardis writes it.
func TestISOArrival(t *testing.T) {
	line := `2024-08-08T23:54:14.5Z {"u":5,"s":"XY","b":"1","B":"2","a":"3","A":"4"}`
	assert.True(t, wscap.Recognise([]byte(line)))
	ticks, _, _, err := ticksOf(t, wscap.Config{}, line)
	require.NoError(t, err)
	assert.EqualValues(t, 1723161254500000000, ticks[0].EventTime)
}
