package textfile_test

import (
	"fmt"

	"tickfeed/feed"
	"tickfeed/feed/files/textfile"
)

// A Formatter writes ticks, here of session 7, as the lines that tickfeed subscribe --json prints.
func ExampleFormatter() {
	apple := &feed.Definition{Symbol: "AAPL", Venue: "XNAS", PriceExponent: -2}
	to := textfile.NewFormatter(textfile.JSONFormat{Times: textfile.RFC3339})
	to.Definition = func(feed.InstrumentID) *feed.Definition { return apple }

	trade := feed.Trade{Price: 18725, Size: 100}.Tick(0, 1_772_461_800_000_000_000)
	trade.Seq = 42
	fmt.Printf("%s", to.Append(nil, 7, 0, &trade, nil))
	// Output:
	// {"session":"0000000000000007","seq":42,"type":"trade","symbol":"AAPL","venue":"XNAS","ts_event":"2026-03-02T14:30:00.000000000Z","price":187.25,"size":100}
}
