package edit_test

import (
	"fmt"

	"tickfeed/codec"
	"tickfeed/feed"
)

const noon = 1_700_000_000_000_000_000

func rootHeader(next uint64) codec.FileHeader {
	return codec.FileHeader{Lineage: feed.Lineage{{ID: 0xb1, First: 1}}, Next: next, Source: "a test", Created: noon}
}

func definition(id feed.InstrumentID, at int64) feed.Tick {
	return feed.Tick{Kind: feed.KindDefinition, Instrument: id, EventTime: at, Extra: &feed.Extra{
		Definition: &feed.Definition{Symbol: fmt.Sprintf("S%d", id), Currency: "USD"},
	}}
}

func quote(id feed.InstrumentID, at int64) feed.Tick {
	return feed.Quote{Bid: 100, BidSize: 1, Ask: 101, AskSize: 2}.Tick(id, at)
}
