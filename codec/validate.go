package codec

import (
	"errors"
	"fmt"

	"tickfeed/feed"
)

// ValidateTick returns an error if t cannot be published: its kind is unknown, a value is out of bounds, or
// its definition or summary is missing. It does not check Seq.
func ValidateTick(t *feed.Tick) error {
	v := &t.Values
	bad := func(field string, value any) error {
		return fmt.Errorf("%v of instrument %d: %s %v is out of bounds", t.Kind, t.Instrument, field, value)
	}
	if t.Instrument >= feed.MaxInstruments {
		return bad("instrument", t.Instrument)
	}
	if t.Side > feed.SideBoth {
		return bad("side", t.Side)
	}
	if !isNear(t.EventTime) {
		return bad("event time", t.EventTime)
	}
	switch t.Kind {
	case feed.KindQuote:
		if v[1]|v[3] < 0 {
			return bad("size", min(v[1], v[3]))
		}
		return nil
	case feed.KindTrade, feed.KindCancel, feed.KindCorrection:
		if v[1] < 0 {
			return bad("size", v[1])
		}
		if t.Side > feed.SideSell {
			return bad("side", t.Side)
		}
		if v[3] != 0 && !feed.Conditions(v[3]).Valid() {
			return bad("conditions", fmt.Sprintf("%x", v[3]))
		}
		if t.Extra == nil {
			return nil
		}
		if t.Extra.OldSize < 0 {
			return bad("old size", t.Extra.OldSize)
		}
		return feed.ValidateText(t.Extra.TradeRef)
	case feed.KindDefinition:
		d := t.Definition()
		if d == nil {
			return fmt.Errorf("definition of instrument %d: Extra.Definition is nil", t.Instrument)
		}
		return d.Validate()
	case feed.KindLevel:
		if v[0] == feed.NoPrice {
			return bad("price", "none")
		}
		if v[1] < 0 {
			return bad("size", v[1])
		}
		if t.Side != feed.SideBuy && t.Side != feed.SideSell {
			return bad("side", t.Side)
		}
		return nil
	case feed.KindClear:
		if t.Side == feed.SideNone {
			return bad("side", t.Side)
		}
		return nil
	case feed.KindStatus:
		if v[0] < 0 || v[0] > maxTradingDay {
			return bad("trading day", v[0])
		}
		if !isNear(v[1]) {
			return bad("expected end", v[1])
		}
		return feed.ValidateText(t.StatusReason())
	case feed.KindAuction:
		if v[1]|v[2] < 0 {
			return bad("size", min(v[1], v[2]))
		}
		if t.Side > feed.SideSell {
			return bad("side", t.Side)
		}
		if !isNear(v[3]) {
			return bad("expected time", v[3])
		}
		return nil
	case feed.KindSummary:
		s := t.Summary()
		if s == nil {
			return fmt.Errorf("summary of instrument %d: Extra.Summary is nil", t.Instrument)
		}
		if s.LastSize < 0 || s.Volume < 0 || s.Trades < 0 || s.TradingDay < 0 || s.TradingDay > maxTradingDay ||
			s.LastSide > feed.SideSell || !isNear(s.LastTime) {
			return bad("summary", *s)
		}
		return feed.ValidateText(s.LastRef)
	}
	return fmt.Errorf("tick of unknown kind %d", t.Kind)
}

const maxTradingDay = 9999_12_31

// maxTime bounds event times before and after the epoch: the years 1823 to 2116. The difference of any two fits in 64 bits.
const maxTime = 1 << 62

// maxBase bounds the base of a packet whose fixed-width entries are decoded without a check of each sum of base and offset.
// Vectors also require that the offset of a wide entry is within maxTime-maxBase.
const maxBase = maxTime - maxTime>>2

// isNear reports whether t, a time or an offset between times, is within maxTime.
func isNear(t int64) bool { return uint64(t+maxTime) < 2*maxTime }

// isPlain reports whether a base is within maxBase: up to the year 2079.
func isPlain(base int64) bool { return uint64(base+maxBase) < 2*maxBase }

// ErrMalformed is wrapped by every error about bytes that PROTOCOL.md does not allow.
var ErrMalformed = errors.New("malformed")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}
