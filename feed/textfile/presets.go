package textfile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// presets holds the Configs of files that vendors publish, as far as their columns and times
// are not told from the files themselves.
var presets = map[string]Config{
	// NYSE TAQ as CSV: DT,EX,SYMBOL,COND,SIZE,PRICE,CORR and DT,EX,BID,BIDSIZ,OFR,OFRSIZ,SYMBOL.
	// WRDS: DATE,TIME_M,EX,SYM_ROOT,SYM_SUFFIX,…. NYSE Daily TAQ: Time|Exchange|Symbol|…, whose
	// times are hhmmssnnnnnnnnn of the SIP and whose date stands in the name of the file.
	// Times are New York's; an instrument is a symbol at one exchange.
	"taq": {Zone: "America/New_York", EpochUnit: unitClock, DateInName: true},

	// Flat files of Polygon, now Massive, of US stocks: trades_v1 and quotes_v1. The time is the
	// exchange's. Trades and quotes of a ticker are one instrument, whatever the exchange: the
	// files tell exchanges by numbers, and quotes have two. Conditions are lists of numbers and
	// are left out. The files are sorted by ticker, not by time.
	"polygon": {
		Columns: map[string]string{
			"symbol": "ticker", "time": "participant_timestamp", "venue": "", "conditions": "",
		},
		EpochUnit: "ns",
	},

	// Binance's public archive of futures trades (data.binance.vision, …-trades-….csv):
	// id,price,qty,quote_qty,time,is_buyer_maker. The symbol stands only in the name of the
	// file: set Config.Symbol. Who was the aggressor is not told. Archives of spot trades have
	// no header: give them this one, with is_best_match at its end. Their times are in
	// milliseconds until 2024 and in microseconds from 2025 on, which the magnitude tells.
	"binance-trades": {
		Columns: map[string]string{"trade_id": "id", "price": "price", "size": "qty", "time": "time", "side": ""},
		Venue:   "BINANCE",
	},

	// Tardis.dev's trades and quotes: exchange,symbol,timestamp,local_timestamp,… The time is the
	// exchange's. Its incremental_book_L2 files are levels, its book_snapshot files quotes.
	"tardis": {
		Columns:   map[string]string{"venue": "exchange", "symbol": "symbol", "time": "timestamp"},
		EpochUnit: "us",
	},
}

// Preset is the Config for the files of a vendor; its other fields may be set before Open. The
// names are those of [PresetNames]; massive is another name of polygon.
func Preset(name string) (Config, error) {
	key := strings.ToLower(name)
	if key == "massive" {
		key = "polygon"
	}
	c, ok := presets[key]
	if !ok {
		return Config{}, fmt.Errorf("there is no preset %q, only %s", name, strings.Join(PresetNames(), ", "))
	}
	c.Columns = maps.Clone(c.Columns)
	return c, nil
}

// PresetNames are the names that Preset knows, sorted.
func PresetNames() []string {
	return slices.Sorted(maps.Keys(presets))
}
