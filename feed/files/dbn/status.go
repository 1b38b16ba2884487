package dbn

import (
	"encoding/binary"
	"fmt"

	"tickfeed/feed"
)

// status appends the status of a status record, unless its action changes none.
func (d *decoder) status(out []feed.Tick, in *instrument, t int64, b []byte) []feed.Tick {
	s := feed.StatusUnknown
	switch binary.LittleEndian.Uint16(b[24:]) { // enum StatusAction of the dbn crate
	case 1, 3, 6, 11: // pre-open, quoting, new price indication, pre-close
		s = feed.StatusPreOpen
	case 2, 4, 5: // pre-cross, cross, rotation
		s = feed.StatusAuction
	case 7:
		s = feed.StatusTrading
	case 8, 9, 10: // halt, pause, suspend
		s = feed.StatusHalted
	case 12, 13, 15: // close, post-close, not available
		s = feed.StatusClosed
	default: // none, short sale restriction
		d.count.Ignored++
		return out
	}
	return append(out, feed.StatusTick(in.id, t, s, 0).Because(because(b), 0))
}

// reasons are the names of enum StatusReason of the dbn crate.
var reasons = map[uint16]string{
	1: "scheduled", 2: "surveillance intervention", 3: "market event", 4: "instrument activation",
	5: "instrument expiration", 6: "recovery in process",
	10: "regulatory", 11: "administrative", 12: "non-compliance", 13: "filings not current", 14: "SEC trading suspension",
	15: "new issue", 16: "issue available", 17: "issues reviewed", 18: "filing requirements satisfied",
	30: "news pending", 31: "news released", 32: "news and resumption times", 33: "news not forthcoming",
	40: "order imbalance", 50: "LULD pause", 60: "operational", 70: "additional information requested",
	80: "merger effective", 90: "ETF", 100: "corporate action", 110: "new security offering",
	120: "market-wide halt level 1", 121: "market-wide halt level 2", 122: "market-wide halt level 3",
	123: "market-wide halt carryover", 124: "market-wide halt resumption", 130: "quotation not available",
}

// tradingEvents are the names of enum TradingEvent of the dbn crate.
var tradingEvents = map[uint16]string{
	1: "no cancel", 2: "change of trading session", 3: "implied matching on", 4: "implied matching off",
}

// because returns the reason and the trading event of a status record in words, or "" if it has neither.
func because(b []byte) string {
	le := binary.LittleEndian
	reason := name("reason", reasons, le.Uint16(b[26:]))
	event := name("trading event", tradingEvents, le.Uint16(b[28:]))
	if reason != "" && event != "" {
		return reason + ", " + event
	}
	return reason + event
}

// name returns the name of a code, what and the code if it has none, or "" for code 0.
func name(what string, names map[uint16]string, code uint16) string {
	if text, ok := names[code]; ok || code == 0 {
		return text
	}
	return fmt.Sprintf("%s %d", what, code)
}

// auction returns the auction of an imbalance record.
func auction(b []byte) feed.Auction {
	le := binary.LittleEndian
	quantity := func(b []byte) int64 {
		if n := le.Uint32(b); n != undefQuantity {
			return int64(n)
		}
		return 0
	}
	a := feed.Auction{Price: feed.NoPrice, Size: quantity(b[88:]), Side: side(b[105]), Imbalance: quantity(b[92:])}
	for _, at := range [...]int{64, 40, 24} { // ind_match_price, cont_book_clr_price, ref_price
		if p := price(b[at:]); p != feed.NoPrice && p != 0 {
			a.Price = p
			break
		}
	}
	if at := le.Uint64(b[32:]); at < latestTime {
		a.Time = int64(at)
	}
	switch b[104] { // the venue's letter
	case 'O', 'M': // M: the core opening auction of NYSE, whose O is the early one
		a.Kind = feed.AuctionOpening
	case 'C', 'P', 'R': // P and R: closing imbalances of NYSE, extreme and regulatory
		a.Kind = feed.AuctionClosing
	case 'H', 'V':
		a.Kind = feed.AuctionHalt
	case 'I':
		a.Kind = feed.AuctionIPO
	}
	return a
}
