package textfile

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// presets holds the Configs for files of vendors. They state what cannot be inferred from the columns and times of the
// files.
var presets = map[string]Config{
	// NYSE TAQ as CSV: DT,EX,SYMBOL,COND,SIZE,PRICE,CORR and DT,EX,BID,BIDSIZ,OFR,OFRSIZ,SYMBOL.
	// WRDS: DATE,TIME_M,EX,SYM_ROOT,SYM_SUFFIX,…. NYSE Daily TAQ: Time|Exchange|Symbol|…, whose
	// times are hhmmssnnnnnnnnn of the SIP and whose date is in the name of the file.
	// Times are New York time; an instrument is a symbol at one exchange.
	"taq": {Zone: "America/New_York", EpochUnit: UnitClock, DateInName: true},

	// Flat files of Polygon, now Massive, of US stocks: trades_v1 and quotes_v1. The time is the
	// exchange's, or the SIP's in files without it, such as those of options. All trades and quotes of a ticker are
	// one instrument, because the files give exchanges as numbers, and a quote has two. Conditions are lists of numbers and
	// are left out. The files are sorted by ticker, not by time.
	"polygon": {
		Columns: map[string]string{
			"symbol": "ticker", "venue": "", "conditions": "",
		},
		EpochUnit: "ns",
	},

	// Binance's public archive (data.binance.vision): trades, aggTrades and bookTicker of spot and
	// futures, with a header or without. The symbol is only in the name of the file. The
	// aggressor is the seller if the buyer is the maker. Times are in milliseconds, or in microseconds for spot
	// from 2025 on; the unit is inferred from the magnitude. The venue has the same name as in captures:
	// BINANCE for spot, BINANCE_USDM or BINANCE_COINM for futures. klines are refused.
	"binance": {
		headerOf:     binanceHeader,
		symbolInName: regexp.MustCompile(`^([^-/]+)-(?:trades|aggTrades|bookTicker)-\d{4}-\d{2}`),
		venueOf:      binanceVenue,
	},

	// Kraken's downloads of trades, XBTUSD.csv: time, price and volume, without a header.
	"kraken": {
		Venue: "KRAKEN", EpochUnit: "s",
		headerOf:     ofWidth(map[int]string{3: "time,price,volume", 7: "time,open,high,low,close,volume,count"}),
		symbolInName: regexp.MustCompile(`^([A-Z0-9]{3,})\.csv`),
	},

	// HistData.com's ticks, DAT_ASCII_EURUSD_T_201202.csv: time, bid, ask and a volume that is
	// always 0, without a header. Times are UTC-5 all year.
	"histdata": {
		Venue: "HISTDATA", Zone: "-05:00",
		headerOf:     ofWidth(map[int]string{4: "time,bid,ask,", 6: "time,open,high,low,close,volume"}),
		symbolInName: regexp.MustCompile(`^DAT_[A-Z]+_([A-Z0-9]+)_T`),
	},

	// TrueFX's ticks: pair, time in UTC, bid and ask, without a header.
	"truefx": {
		Venue: "TRUEFX", Zone: "UTC",
		headerOf: ofWidth(map[int]string{4: "symbol,time,bid,ask"}),
	},

	// Tardis.dev's trades and quotes: exchange,symbol,timestamp,local_timestamp,… The time is the
	// exchange's. Its incremental_book_L2 files are levels, its book_snapshot files quotes.
	"tardis": {
		Columns:   map[string]string{"venue": "exchange", "symbol": "symbol", "time": "timestamp"},
		EpochUnit: "us",
	},
}

// Preset returns the Config for the files of a vendor. Its other fields may be set before Open. name is one of
// [PresetNames], or massive for polygon, or binance-trades for binance.
func Preset(name string) (Config, error) {
	key := strings.ToLower(name)
	if other, ok := otherNames[key]; ok {
		key = other
	}
	c, ok := presets[key]
	if !ok {
		return Config{}, fmt.Errorf("there is no preset %q, only %s", name, strings.Join(PresetNames(), ", "))
	}
	c.Columns = maps.Clone(c.Columns)
	return c, nil
}

var otherNames = map[string]string{"massive": "polygon", "binance-trades": "binance"}

// ofWidth returns a function that names the columns according to their number.
func ofWidth(headers map[int]string) func([]string) []string {
	return func(cells []string) []string {
		if h, ok := headers[len(cells)]; ok {
			return strings.Split(h, ",")
		}
		return nil
	}
}

// binanceHeader names the columns of Binance's files without a header. Files with the same number of columns differ in
// their flags (True, false).
func binanceHeader(cells []string) []string {
	flags := 0
	for i := len(cells) - 1; i >= 0 && (strings.EqualFold(cells[i], "true") || strings.EqualFold(cells[i], "false")); i-- {
		flags++
	}
	var h string
	switch [2]int{len(cells), flags} {
	case [2]int{6, 1}:
		h = "id,price,qty,quote_qty,time,is_buyer_maker"
	case [2]int{7, 2}:
		h = "id,price,qty,quote_qty,time,is_buyer_maker,is_best_match"
	case [2]int{7, 1}:
		h = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
	case [2]int{8, 2}:
		h = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker,is_best_match"
	case [2]int{7, 0}:
		h = "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time"
	case [2]int{12, 0}:
		h = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
	default:
		return nil
	}
	return strings.Split(h, ",")
}

// binanceVenue returns the venue of a file with columns of these names. Only spot files have is_best_match.
// COIN-M futures are named BTCUSD_PERP, BTCUSD_240329 and the like, and their trades have base_qty.
func binanceVenue(names []string, symbol string) string {
	columns := func(name string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return normal(n) == name })
	}
	switch {
	case columns("isbestmatch"):
		return "BINANCE"
	case columns("baseqty") || coinM.MatchString(symbol):
		return "BINANCE_COINM"
	}
	return "BINANCE_USDM"
}

var coinM = regexp.MustCompile(`USD_(?:PERP|\d{6})$`)

// PresetNames returns the names of the presets, sorted.
func PresetNames() []string {
	return slices.Sorted(maps.Keys(presets))
}
