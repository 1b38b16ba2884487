package wscap_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files/wscap"
)

// names returns the names of the instruments, in the order of their ids.
func names(ticks []feed.Tick) (all []string) {
	for _, tick := range ticks {
		if d := tick.Definition(); d != nil && int(tick.Instrument) == len(all) {
			all = append(all, d.Name())
		}
	}
	return all
}

// The markets of Binance are venues of their own, whatever the first message of an instrument is.
func TestBinanceMarkets(t *testing.T) {
	for name, c := range map[string]struct{ message, want string }{
		"spot trade":             {`{"e":"trade","E":2,"T":1,"s":"AB","t":1,"p":"1","q":"2","m":true,"M":true}`, "AB@BINANCE"},
		"USD-M trade":            {`{"e":"trade","E":2,"T":1,"s":"AB","t":1,"p":"1","q":"2","X":"MARKET","m":true}`, "AB@BINANCE_USDM"},
		"USD-M with a date":      {`{"e":"aggTrade","E":2,"T":1,"s":"BTCUSDT_240927","a":1,"p":"1","q":"2","m":true}`, "BTCUSDT_240927@BINANCE_USDM"},
		"USD-M BUSD with a date": {`{"e":"aggTrade","E":2,"T":1,"s":"BTCBUSD_210129","a":1,"p":"1","q":"2","m":true}`, "BTCBUSD_210129@BINANCE_USDM"},
		"COIN-M trade":           {`{"e":"aggTrade","E":2,"T":1,"s":"BTCUSD_PERP","a":1,"p":"1","q":"2","m":true}`, "BTCUSD_PERP@BINANCE_COINM"},
		"COIN-M with a date":     {`{"e":"aggTrade","E":2,"T":1,"s":"BTCUSD_240927","a":1,"p":"1","q":"2","m":true}`, "BTCUSD_240927@BINANCE_COINM"},
		"COIN-M quote":           {`{"e":"bookTicker","u":1,"s":"BTCUSD_PERP","ps":"BTCUSD","b":"1","B":"1","a":"2","A":"1","T":1,"E":1}`, "BTCUSD_PERP@BINANCE_COINM"},
		"COIN-M snapshot":        {`{"lastUpdateId":5,"symbol":"BTCUSD_PERP","pair":"BTCUSD","E":1,"T":1,"bids":[["1","1"]],"asks":[]}`, "BTCUSD_PERP@BINANCE_COINM"},
		"option trade":           {`{"e":"trade","E":2,"T":1,"s":"BTC-240927-60000-C","t":1,"p":"1","q":"2","S":"-1"}`, "BTC-240927-60000-C@BINANCE_OPTIONS"},
	} {
		t.Run(name, func(t *testing.T) {
			ticks, _, _, err := ticksOf(t, wscap.Config{}, "100000000000000001 "+c.message)
			require.NoError(t, err)
			assert.Equal(t, []string{c.want}, names(ticks))
		})
	}
	update := `100000000000000001 {"e":"depthUpdate","E":1,"T":1,"s":"BTCUSD_PERP","ps":"BTCUSD","U":1,"u":5,"pu":0,"b":[["1","1"]],"a":[]}`
	ticks, _, _, err := ticksOf(t, wscap.Config{PartialBooks: true}, update)
	require.NoError(t, err)
	assert.Equal(t, []string{"BTCUSD_PERP@BINANCE_COINM"}, names(ticks))
}

// Sites that send Binance's messages are recognised by the address that the recorder connected to.
func TestBinanceSites(t *testing.T) {
	const spot = `100.5: {"e":"trade","E":2,"T":1,"s":"AB","t":1,"p":"1","q":"2","m":true,"M":true}`
	const futures = `100.5: {"e":"trade","E":2,"T":1,"s":"AB","t":1,"p":"1","q":"2","X":"MARKET","m":true}`
	for url, want := range map[string][]string{
		"wss://stream.binance.com:9443/stream?streams=ab@trade": {"AB@BINANCE", "AB@BINANCE_USDM"},
		"wss://data-stream.binance.vision/ws":                   {"AB@BINANCE", "AB@BINANCE_USDM"},
		"wss://stream.binance.us:9443/ws/ab@trade":              {"AB@BINANCE_US", "AB@BINANCE_US_USDM"},
		"wss://stream-cloud.trbinance.com/stream":               {"AB@BINANCE_TR", "AB@BINANCE_TR_USDM"},
		"wss://stream.testnet.binance.vision/ws":                {"AB@BINANCE_TESTNET", "AB@BINANCE_TESTNET_USDM"},
		"wss://fstream.asterdex.com/ws":                         {"AB@ASTERDEX", "AB@ASTERDEX_USDM"},
		"ws://127.0.0.1:8080/ws":                                {"AB@BINANCE", "AB@BINANCE_USDM"},
		"ws://localhost/ws":                                     {"AB@BINANCE", "AB@BINANCE_USDM"},
	} {
		ticks, _, _, err := ticksOf(t, wscap.Config{}, url+" <-> 100.25", spot, futures)
		require.NoError(t, err)
		assert.Equal(t, want, names(ticks), url)
	}
}

// The unit of a time is inferred from its magnitude, like that of the recorder's time.
func TestUnitsOfTime(t *testing.T) {
	for _, stamp := range []string{"1735689600123", "1735689600123000", "1735689600123000000"} {
		ticks, _, _, err := ticksOf(t, wscap.Config{},
			`1735689600123456789 {"e":"trade","E":`+stamp+`,"T":`+stamp+`,"s":"AB","t":1,"p":"1","q":"2","m":true,"M":true}`,
			`1735689600123456789 {"feed":"trade","product_id":"PI_X","uid":"u","side":"sell","type":"fill","seq":5,"time":`+stamp+`,"qty":4,"price":1}`)
		require.NoError(t, err)
		for _, tick := range ticks {
			assert.EqualValues(t, 1735689600123000000, tick.EventTime, stamp)
		}
	}
}

// A new instrument's snapshot has no book and lastUpdateId -1; its first update is number 1. A
// hole behind it is one.
func TestEmptyBook(t *testing.T) {
	const trade = `100000000000000001 {"e":"trade","E":2,"T":1,"s":"XY","t":1,"p":"1","q":"2","m":true,"M":true}`
	const empty = `100000000000000002 {"lastUpdateId":-1,"bids":[],"asks":[]}`
	_, st, state, err := ticksOf(t, wscap.Config{}, trade, empty, spot("1", "3", `["1","5"]`, ""), spot("4", "4", `["2","6"]`, ""))
	require.NoError(t, err)
	in, _ := state.Instrument(0)
	assert.Equal(t, []int64{2, 6, 1, 5}, levels(in))
	assert.Zero(t, st.Gaps+st.Unanchored)

	_, st, state, err = ticksOf(t, wscap.Config{}, trade, empty, spot("2", "3", `["1","5"]`, ""))
	require.NoError(t, err)
	in, _ = state.Instrument(0)
	assert.Empty(t, levels(in), "number 1 is missing")
	assert.EqualValues(t, 1, st.Gaps)
}

// Coinbase sends the year 1 if it has no time: the tick then has the time of arrival.
func TestNoTime(t *testing.T) {
	ticks, _, _, err := ticksOf(t, wscap.Config{},
		`100.5: {"type":"l2update","product_id":"A-B","changes":[],"time":"2021-04-17T16:44:10Z"}`,
		`100.5: {"type":"ticker","product_id":"A-B","best_bid":"1","best_ask":"2","time":"0001-01-01T00:00:00.000000Z"}`)
	require.NoError(t, err)
	assert.EqualValues(t, 100_500_000_000, ticks[0].EventTime)
}

// The members of a JSON object may stand in any order.
func TestOrderOfMembers(t *testing.T) {
	for _, line := range []string{
		`100.5: {"data":{"s":"XY","e":"trade","E":2,"T":1,"t":7,"p":"1","q":"2","m":true,"M":true},"stream":"xy@trade"}`,
		`100.5: {"E":2,"s":"XY","T":1,"t":7,"p":"1","q":"2","m":true,"M":true,"e":"trade"}`,
		`100.5: {"product_id":"XY","side":"sell","type":"match","trade_id":7,"size":"2","price":"1","time":"2021-04-17T16:43:37Z"}`,
		`100.5: {"product_id":"XY","type":"fill","uid":"7","side":"buy","seq":7,"time":8,"qty":2,"price":1,"feed":"trade"}`,
	} {
		ticks, st, _, err := ticksOf(t, wscap.Config{}, line)
		require.NoError(t, err, line)
		assert.EqualValues(t, 1, st.Trades, line)
		assert.Equal(t, "XY", ticks[0].Definition().Symbol)
		assert.True(t, wscap.Recognise([]byte(line)), line)
	}
	bids := `100.5: {"bids":[["1.0","5"]],"asks":[],"lastUpdateId":20}`
	_, st, _, err := ticksOf(t, wscap.Config{}, spot("18", "20", "", ""), bids)
	require.NoError(t, err)
	assert.EqualValues(t, 1, st.Snapshots)
}

// Coinbase sends its books again on a new connection: the old ones end there, and updates
// wait for the next snapshot. Books with numbers continue if they join.
func TestSecondConnection(t *testing.T) {
	const url = "wss://ws-feed.pro.coinbase.com <-> "
	snapshot := `1618677817.06: {"type":"snapshot","product_id":"A-B","bids":[["100","1"]],"asks":[["101","2"]]}`
	update := `1618677850.16: {"type":"l2update","product_id":"A-B","changes":[["buy","99","3"]],"time":"2021-04-17T16:44:10Z"}`
	ticks, st, state, err := ticksOf(t, wscap.Config{}, url+"1618677817.0", snapshot, url+"1618677850.0", update)
	require.NoError(t, err)
	in, _ := state.Instrument(0)
	assert.Empty(t, levels(in))
	assert.EqualValues(t, 1618677850_000000000, ticks[len(ticks)-1].EventTime)
	assert.EqualValues(t, 1, st.Unanchored)
	assert.EqualValues(t, 1, st.Resets)
	_, _, state, err = ticksOf(t, wscap.Config{}, url+"1618677817.0", snapshot, url+"1618677850.0", update, snapshot, update)
	require.NoError(t, err)
	in, _ = state.Instrument(0)
	assert.Equal(t, []int64{100, 1, 99, 3, 101, 2}, levels(in))

	_, st, state, err = ticksOf(t, wscap.Config{}, spot("18", "20", "", ""), snapshot20,
		"wss://stream.binance.com:9443/ws <-> 1618677850.0", spot("21", "22", `["1","4"]`, ""))
	require.NoError(t, err)
	in, _ = state.Instrument(0)
	assert.Equal(t, []int64{1, 4, 2, 6, 3, 7}, levels(in))
	assert.Zero(t, st.Gaps)
}
